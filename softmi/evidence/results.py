"""Evidence: result files with provenance, the ledger of claims, and computed verdicts."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import torch

Profile = Literal["smoke", "full"]


def project_root() -> Path:
    """Return the folder that holds `claims/`, from the working folder upwards.

    The environment variable `SOFTMI_ROOT` overrides the search.

    Raises:
        FileNotFoundError: No such folder: the book's files are not part of an installed wheel.

    """
    if "SOFTMI_ROOT" in os.environ:
        return Path(os.environ["SOFTMI_ROOT"])
    for folder in (here := Path.cwd(), *here.parents):
        if (folder / "claims").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(
        f"no claims/ and notebooks/ in {here} or above: run inside the project's folder"
    )


def provenance(
    *, profile: Profile, seeds: Sequence[int], device: str, seconds: float,
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what a reader needs to trust or repeat a run; `data` maps names to checksums."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=project_root(), capture_output=True,
                                  text=True, check=True)  # fmt: skip
        except (OSError, subprocess.CalledProcessError):  # no git, or no repository
            return None
        return done.stdout.strip()

    if device.startswith("cuda") and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    elif device in ("cpu", "auto"):
        device = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    packages = ("torch", "torchvision", "numpy", "scikit-learn")
    return {
        "commit": git("rev-parse", "HEAD") or "unknown",
        # Outputs of the run itself do not make the code another one.
        "clean": git("status", "--porcelain", "--", "softmi", "notebooks/*.py") == "",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "profile": profile,
        "seeds": list(seeds),
        "device": device,
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "data": dict(data or {}),
    }


def result_path(name: str, profile: Profile) -> Path:
    """Where a result lives: `results/` for full runs, the git-ignored `results/smoke/` else."""
    folder = project_root() / "results"
    return (folder / "smoke" if profile == "smoke" else folder) / f"{name}.json"


def save_result(
    name: str,
    values: Mapping[str, Any],
    *,
    protocol: Mapping[str, Any],
    profile: Profile,
    seeds: Sequence[int],
    seconds: float,
    device: str = "cpu",
    data: Mapping[str, str] | None = None,
) -> Path:
    """Write a result with its protocol and provenance; replaced whole or not at all.

    Args:
        name: File name without suffix: the notebook's slug, or one that starts with it.
        values: Nested mappings of numbers; tensors and arrays become lists.
        protocol: What was run on what: compared with a claim's protocol to tell what is
            comparable.
        profile: "smoke" or "full"; decides the folder.
        seeds: Seeds of the run.
        seconds: Wall time.
        device: Device that it ran on.
        data: Checksums of the data, by name.

    Raises:
        ValueError: A NaN or infinite number, which JSON does not hold.

    """
    record = {
        "protocol": dict(protocol),
        "values": values,
        "provenance": provenance(
            profile=profile, seeds=seeds, device=device, seconds=seconds, data=data
        ),
    }
    path = result_path(name, profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        text = json.dumps(_plain(record), indent=1, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"result {name!r} holds NaN or infinity: {record['values']}") from error
    # A name of its own: two processes may save at the same time, and the last one stays.
    partial = path.with_name(f"{path.stem}.{uuid4().hex}.partial")
    try:
        partial.write_text(text + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _plain(value: Any) -> Any:
    """Tensors, arrays and NumPy scalars to Python's own, floats to ten significant digits."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.10g}")
    return value


def load_result(name: str, profile: Profile = "full") -> dict[str, Any]:
    """Read a result file.

    Raises:
        FileNotFoundError: Not run yet; the message gives the command that runs it.

    """
    path = result_path(name, profile)
    if not path.exists():
        command = f"make full NB={name[:2]}" if profile == "full" else "make notebooks"
        raise FileNotFoundError(f"no result {name!r} of profile {profile}: run `{command}`")
    return json.loads(path.read_text())


def lookup(result: Mapping[str, Any], path: str) -> Any:
    """Follow a dotted path through the values of a result.

    Raises:
        KeyError: A part of the path does not exist; the message lists what does.

    """
    node: Any = result["values"]
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            known = sorted(node) if isinstance(node, Mapping) else type(node).__name__
            raise KeyError(f"{path!r}: no {part!r} among {known}")
        node = node[part]
    return node
