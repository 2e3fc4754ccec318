"""The twelve networks that the authors released, measured again and trained further.

They are files of the authors' repository, in the folder `authors_mi_checkpoints` of the data and
named by their path in the repository with `_` for `/`: one network for each balanced task, and for
each imbalanced one a PC-softmax and a plain softmax network.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softmi.datasets import data_root, sha256
from softmi.evidence.statistics import gather, summarise
from softmi.experiments.mi_on_synthetic_data_networks import (
    DIMENSIONS,
    METHODS,
    READINGS,
    TASKS,
    Points,
    Settings,
    class_counts,
    estimate,
    loss_of,
    over_count,
    read,
    train,
    truth_of,
)
from softmi.experiments.mi_on_synthetic_data_summary import worst
from softmi.models.small import MLP
from softmi.synthetic.gaussian import GaussianClasses

FILES = {
    "balanced_softmax": "balanced_dataset_class_net_best_lat_{d}.ckpt",
    "imbalanced_softmax": "imbalanced_dataset_traditional_softmax_lat-{d}_class_net_best_tra.ckpt",
    "imbalanced_pc_softmax": "imbalanced_dataset_pc_softmax_lat-{d}_class_net_best_emp.ckpt",
}
FLOOR = 1e-6  # what the authors' code adds to an output before the logarithm
MORE_EPOCHS, MORE_RATE = 5, 1e-3  # of the further training
# An earlier measurement of the same files, by other code (NumPy) on other random points: nats for
# d = 1, 2, 5, 10.
EARLIER: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("balanced", "softmax_entropy"): (0.990, 1.287, 1.483, 1.538),
    ("imbalanced", "softmax_log_m"): (1.112, 1.316, 1.420, 1.367),
    ("imbalanced", "softmax_entropy"): (0.992, 1.196, 1.301, 1.247),
    ("imbalanced", "pc_softmax"): (0.943, 1.208, 1.319, 1.339),
}


class NeverCleared(torch.optim.Adam):
    """Adam on gradients that pile up, batch after batch, as in the authors' committed loop."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Leave the gradients as they are."""


def released_files() -> dict[str, str]:
    """Names of the authors' files, and their checksums.

    Raises:
        FileNotFoundError: One of them is not there.

    """
    return {p.name: sha256(p) for name in TASKS for _, p in _files_of(name)}


def _files_of(name: str) -> Iterator[tuple[str, Path]]:
    kind, d = name.split("_d")
    for method in METHODS:
        if f"{kind}_{method}" in FILES:
            file = FILES[f"{kind}_{method}"].format(d=d)
            yield method, data_root() / "authors_mi_checkpoints" / file


def released_networks(name: str) -> Iterator[tuple[str, Path, MLP]]:
    """Method, file and network of each checkpoint of one task."""
    for method, path in _files_of(name):
        model = MLP(int(name.split("_d")[1]), 5)
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        yield method, path, model


def floor_effect(model: MLP, task: GaussianClasses, points: Points, *, corrected: bool) -> float:
    """Return what the authors' floor changes in the mean, in nats.

    Their code adds 1e-6 to s, or to the softmax, before the logarithm.
    """
    found = estimate(model, task, points, corrected=corrected)
    log_s = found.pointwise + (0 if corrected else task.prior.log()[points[1]])
    return float((torch.log(log_s.exp() + FLOOR) - log_s).mean())


def measure_released(settings: Settings) -> dict[str, Any]:
    """Measure each released network on one large sample and on test sets of the paper's size.

    Returns:
        By task and method what `read` says of the large sample, `tests` of the others,
        `floor_effect`, `file` and its `sha256`.

    """
    out: dict[str, Any] = {}
    for name, task in TASKS.items():
        draw = torch.Generator().manual_seed(400_000)
        fresh = task.sample(settings.released_fresh, draw)
        counts = class_counts(name, 1_000)
        tests = [task.sample_counts(counts, draw) for _ in range(settings.released_tests)]
        out[name] = {}
        for method, path, model in released_networks(name):
            corrected = method == "pc_softmax"
            out[name][method] = read(model, task, fresh, corrected=corrected) | {
                "tests": [read(model, task, test, corrected=corrected) for test in tests],
                "floor_effect": floor_effect(model, task, fresh, corrected=corrected),
                "file": path.name,
                "sha256": sha256(path),
            }
    return out


def run_continued(name: str, seed: int, settings: Settings, device: str) -> dict[str, Any]:
    """Train the released networks of a task further; and ours, with gradients never cleared.

    Returns:
        For each released network by its method, and for imbalanced tasks for `never_cleared`,
        what `read` says of a large fresh sample.

    """
    task, draw = TASKS[name], torch.Generator().manual_seed(300_000 + seed)
    x, y = task.sample_counts(class_counts(name, settings.train), draw)
    fresh, out = task.sample(settings.fresh, draw), {}
    for method, _, network in released_networks(name):
        model, _ = train(x, y, loss_of(method, task), seed, model=network, epochs=MORE_EPOCHS,
                         batch=settings.batch, rate=MORE_RATE, device=device)  # fmt: skip
        out[method] = read(model, task, fresh, corrected=method == "pc_softmax")
    if name.startswith("imbalanced"):
        model, _ = train(x, y, loss_of("pc_softmax", task), seed, epochs=settings.epochs,
                         batch=settings.batch, device=device, adam=NeverCleared)  # fmt: skip
        out["never_cleared"] = read(model, task, fresh, corrected=True)
    return out


def summarise_released(
    name: str, measured: Mapping[str, Any], continued: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the numbers of one task's released networks.

    Args:
        name: Of the task.
        measured: As `measure_released` gives it for this task.
        continued: As `run_continued` gives it, for each seed.

    """
    out: dict[str, Any] = {"truth": truth_of(name)}
    for reading, method in READINGS.items():
        if method not in measured:
            continue
        found = measured[method]
        out[reading] = {
            "estimate": _with_interval(found["value"], found["standard_error"]),
            # against the exact value of the same points: the same mean, a smaller error
            "error": _with_interval(-found["shortfall"], found["shortfall_error"]),
            "sd_over_test_sets": float(np.std([t["value"] for t in found["tests"]], ddof=1)),
            "floor_effect": found["floor_effect"],
            "error_after_five_epochs": summarise([-m[method]["shortfall"] for m in continued]),
        }
    found = measured["softmax"]
    out["softmax_log_m"] = {
        "estimate": _with_interval(found["log_m"], found["standard_error"]),
        "error": _with_interval(over_count(name) - found["shortfall"], found["shortfall_error"]),
    }
    if "never_cleared" in continued[0]:
        errors = [{"error": -m["never_cleared"]["shortfall"]} for m in continued]
        out["never_cleared"] = gather(errors)
    return out


def summarise_authors(
    measured: Mapping[str, Any], units: Sequence[Mapping[str, Any]], settings: Settings
) -> dict[str, Any]:
    """Return the numbers of the released networks, `released` by task and `released_summary`."""
    tasks = {
        name: summarise_released(name, measured[name], [u["continued"][name] for u in units])
        for name in settings.names
    }
    of_reading = {r: {n: t[r] for n, t in tasks.items() if r in t} for r in READINGS}
    return {
        "released": tasks,
        "released_summary": {
            "samples": settings.released_fresh,
            "test_sets": settings.released_tests,
            "largest_deviation_from_earlier": largest_deviation(tasks),
            "largest_floor_effect": max(
                abs(found["floor_effect"])
                for networks in of_reading.values()
                for found in networks.values()
            ),
            "worst_error": {
                reading: worst({name: found["error"] for name, found in networks.items()})
                for reading, networks in of_reading.items()
            },
        },
    }


def largest_deviation(tasks: Mapping[str, Any]) -> float:
    """Largest distance from the earlier measurement of the same files, in nats.

    Args:
        tasks: By name, as `summarise_released` gives them.

    """
    return max(
        abs(tasks[f"{kind}_d{d}"][reading]["estimate"]["mean"] - earlier)
        for (kind, reading), row in EARLIER.items()
        for d, earlier in zip(DIMENSIONS, row, strict=True)
    )


def _with_interval(mean: float, standard_error: float) -> dict[str, float]:
    half = 1.96 * standard_error
    return {"mean": mean, "low": mean - half, "high": mean + half}
