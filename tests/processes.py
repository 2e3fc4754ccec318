"""Run a piece of a test in two processes that talk over gloo, as distributed training does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

BEFORE = """
import json, sys
import torch
import torch.distributed as dist

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
data = torch.load(f"{folder}/data.pt", weights_only=True)
"""
AFTER = """
with open(f"{folder}/rank{rank}.json", "w") as file:
    json.dump(result, file)
dist.destroy_process_group()
"""


def two_processes(body: str, data: dict, folder: Path) -> list[dict]:
    """Run `body` in both, which finds `rank` and `data` and leaves a `result` that JSON holds."""
    torch.save(data, folder / "data.pt")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BEFORE + body + AFTER, str(rank), str(folder)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=180)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]
