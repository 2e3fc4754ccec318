"""Evidence: result files with provenance, the ledger of claims, and computed verdicts."""

import difflib
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softmi.evidence.paths import Profile, project_root, result_path, written_whole
from softmi.evidence.registry import registered_now


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
    outcomes: str = "",
    made_for: Mapping[str, Any] | None = None,
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
        outcomes: Checksum of the outcomes that the values were computed from, as
            :func:`softmi.evidence.outcomes.save_outcomes` returns it.
        made_for: Rows of the ledger that the run was made for, where it was begun before the
            ledger as it stands (`softmi.evidence.registry.registered_before`).

    Raises:
        ValueError: A NaN or infinite number, which JSON does not hold.

    """
    record = {
        "registered": registered_now(name) if made_for is None else dict(made_for),
        "protocol": dict(protocol),
        "values": values,
        "provenance": provenance(
            profile=profile, seeds=seeds, device=device, seconds=seconds, data=data
        ),
    } | ({"outcomes": {"sha256": outcomes}} if outcomes else {})
    try:
        text = json.dumps(_plain(record), indent=1, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"result {name!r} holds NaN or infinity: {record['values']}") from error
    with written_whole(path := result_path(name, profile)) as partial:
        partial.write_text(text + "\n")
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
        command = command_of(name) if profile == "full" else "make notebooks"
        raise FileNotFoundError(f"no result {name!r} of profile {profile}: run `{command}`")
    return json.loads(path.read_text())


def command_of(name: str) -> str:
    """The command that makes a full result, or adds to it, by the result's name."""
    if name.endswith("_published"):  # takes hours a network, and is not the notebook's
        return "python -m softmi.experiments.published_long_tail"
    return f"make full NB={name[:2]}"


def lookup(result: Mapping[str, Any], path: str) -> Any:
    """Follow a dotted path through the values of a result.

    Raises:
        KeyError: A part of the path does not exist; the message lists what does, and of many
            entries those that are spelt most alike.

    """
    node: Any = result["values"]
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            known = _listed(part, node) if isinstance(node, Mapping) else type(node).__name__
            raise KeyError(f"{path!r}: no {part!r} among {known}")
        node = node[part]
    return node


def _listed(part: str, node: Mapping[str, Any], most: int = 8) -> str:
    known = sorted(node)
    if len(known) <= most:
        return str(known)
    near = difflib.get_close_matches(part, known, most, cutoff=0.0)
    return f"{near} and {len(known) - most} more"
