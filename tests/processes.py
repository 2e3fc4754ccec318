"""Run pieces of a test in processes of their own, alone or talking over gloo.

The processes are forked from one that has imported torch and the library, so that only the first
of a test run waits for that.
"""

import json
import multiprocessing
import os
import textwrap
import traceback
from pathlib import Path
from typing import Any

import torch

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload([
    "softmi.evidence.results", "softmi.maps.accuracy", "softmi.maps.pixels", "softmi.metrics",
    "softmi.losses.margins", "softmi.losses.prior_corrected", "softmi.models.small",
    "softmi.training.loop", "torch.distributed",
])  # fmt: skip


def in_processes(
    body: str, folder: Path, number: int = 2, *, dies_with: int = 0
) -> list[dict[str, Any]]:
    """Run `body` in processes, which find `rank` and `folder`; return what each calls `result`.

    Args:
        body: Code; what it calls `result` is something that JSON holds.
        folder: An empty one, for what they write.
        number: Of processes.
        dies_with: Exit code that each should end with.

    """
    settings = dict(os.environ)
    processes = [
        FORKING.Process(target=_run, args=(textwrap.dedent(body), rank, str(folder), settings))
        for rank in range(number)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(180)
        codes = [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [path.read_text() for path in sorted(folder.glob("rank*.failed"))]
    assert codes == [dies_with] * number, "\n".join([f"exit codes {codes}", *said])
    if dies_with:
        return []
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(number)]


def _run(body: str, rank: int, folder: str, settings: dict[str, str]) -> None:
    os.environ.update(settings)
    torch.set_num_threads(1)
    names: dict[str, Any] = {"rank": rank, "folder": folder, "result": {}}
    try:
        exec(compile(body, f"<process {rank}>", "exec"), names)
        Path(folder, f"rank{rank}.json").write_text(json.dumps(names["result"]))
    except BaseException:
        Path(folder, f"rank{rank}.failed").write_text(traceback.format_exc())
        raise


BEFORE = """
import os
import torch
import torch.distributed as dist

os.environ["GLOO_SOCKET_IFNAME"] = "lo"
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
data = torch.load(f"{folder}/data.pt", weights_only=True)
"""
AFTER = """
dist.destroy_process_group()
"""


def two_processes(body: str, data: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Run `body` in two processes of one gloo group, which also find `data`."""
    torch.save(data, folder / "data.pt")
    return in_processes(BEFORE + body + AFTER, folder)
