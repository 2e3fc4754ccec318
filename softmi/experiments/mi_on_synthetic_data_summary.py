"""The numbers of chapter 02: from what each seed measured to summaries over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softmi.evidence.extremes import largest
from softmi.evidence.statistics import gather, paired_difference, summarise
from softmi.experiments.mi_on_synthetic_data_networks import (
    BY_HEART,
    READINGS,
    TASKS,
    WATCHED,
    Settings,
    gradient_difference,
    over_count,
    truth_of,
)
from softmi.information.pointwise import entropy


def summarise_units(
    units: Sequence[Mapping[str, Any]], settings: Settings, seed: int
) -> dict[str, Any]:
    """Return the numbers of the chapter that need no released network.

    Args:
        units: One a seed, as `run_seed` gives them.
        settings: Of the run.
        seed: Of the random logits on which the gradients are compared.

    """
    tasks = {name: summarise_task(name, units) for name in settings.names}
    balanced = [n for n in settings.names if n.startswith("balanced")]
    values_of = [unit["tasks"][name] for unit in units for name in balanced]
    return {
        "tasks": tasks,
        "worst_error": {
            reading: worst({name: task[reading]["error"] for name, task in tasks.items()})
            for reading in READINGS
        },
        "lower_bound": summarise_bound(units),
        "comparison": summarise_comparison(units, settings),
        "balanced": {
            "gradient_difference": gradient_difference(seed),
            "largest_difference": max(
                abs(r["softmax"]["value"] - r["pc_softmax"]["value"]) for r in values_of
            ),
        },
        "permuted": {
            name: summarise_permuted(name, [unit["permuted"][name] for unit in units])
            for name in settings.permuted
        },
        "memorise": summarise_memorise([unit["memorise"] for unit in units], settings),
    }


def worst(errors: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the error whose mean is largest in size, with the name of its `task`."""
    name = max(errors, key=lambda name: abs(errors[name]["mean"]))
    return {**errors[name], "task": name}


def summarise_task(name: str, units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return truth, readings, errors and shortfalls of one task, over seeds."""
    truth = truth_of(name)
    out = {"truth": truth, "label_entropy": float(entropy(TASKS[name].prior))}
    for reading, network in READINGS.items():
        found = [unit["tasks"][name][network] for unit in units]
        out[reading] = gather([
            {"estimate": r["value"], "error": r["value"] - truth, "shortfall": r["shortfall"]}
            for r in found
        ]) | {
            "standard_error": float(np.mean([r["standard_error"] for r in found])),
            "paper_size": at_paper_size([r["tests"] for r in found]),
        }  # fmt: skip
    log_m = [unit["tasks"][name]["softmax"]["log_m"] for unit in units]
    out["softmax_log_m"] = gather([{"estimate": v, "error": v - truth} for v in log_m])
    return out


def at_paper_size(tests: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Return readings on test sets of the paper's size: the first a seed, and the spread of all.

    Args:
        tests: For each seed, what was read on each test set.

    """
    columns = {
        "estimate": np.array([[t["value"] for t in of_seed] for of_seed in tests]),
        "exact": np.array([[t["exact"] for t in of_seed] for of_seed in tests]),
    }
    columns["difference"] = columns["estimate"] - columns["exact"]
    out: dict[str, Any] = {
        key: summarise(column[:, 0].tolist()) for key, column in columns.items()
    }
    out["sd_over_test_sets"] = {  # within a seed, hence for one network; then pooled over seeds
        key: float(np.sqrt(column.var(axis=1, ddof=1).mean())) for key, column in columns.items()
    }
    return out


def summarise_bound(units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    r"""Return how close valid readings come to the exact value of their points, from below.

    The excess of a network in standard errors of its points, :math:`z_k = -s_k / e_k`, is itself
    known with a standard error of one; `largest_excess_in_standard_errors` is the largest over
    all networks of all seeds, with the interval that allows for that choice.
    """
    tasks = [task for unit in units for task in unit["tasks"].items()]
    # The two readings of a balanced task are of one network, trained with plain softmax.
    found = [
        reading
        for name, readings in tasks
        for method, reading in readings.items()
        if method == "softmax" or name.startswith("imbalanced")
    ]
    excess = [-r["shortfall"] / r["shortfall_error"] for r in found]
    return {
        "networks": len(found),
        "largest_excess": max(-r["shortfall"] for r in found),
        "largest_excess_in_standard_errors": largest(excess, [1.0] * len(excess)),
    }


def paired(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return the mean difference of two numbers a seed, with its interval if there are two."""
    if len(ours) > 1:
        return paired_difference(ours, theirs)
    return summarise([a - b for a, b in zip(ours, theirs, strict=True)])  # no interval


def summarise_comparison(units: Sequence[Mapping[str, Any]], settings: Settings) -> dict[str, Any]:
    """Return the mean absolute errors over the imbalanced tasks, and their differences.

    Each error is against the exact value of the same points.
    """
    names = [f"imbalanced_d{d}" for d in settings.dimensions]

    def errors(network: str, *, log_m: bool = False) -> list[float]:
        return [
            float(np.mean([
                abs((over_count(n) if log_m else 0.0) - unit["tasks"][n][network]["shortfall"])
                for n in names
            ]))
            for unit in units
        ]  # fmt: skip

    wrong, plain, pc = errors("softmax", log_m=True), errors("softmax"), errors("pc_softmax")
    return {
        "pc_softmax": summarise(pc),
        "softmax_entropy": summarise(plain),
        "softmax_log_m": summarise(wrong),
        "log_m_minus_pc": paired(wrong, pc),
        "entropy_minus_pc": paired(plain, pc),
    }


def summarise_permuted(name: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is read in shuffled labels of one task, over seeds."""
    out: dict[str, Any] = {"over_count": over_count(name)}
    for reading, network in READINGS.items():
        out[reading] = gather([
            {where: r[network][where]["value"] for where in ("in_sample", "held_out")}
            for r in found
        ])  # fmt: skip
    out["softmax_log_m"] = gather([{"held_out": r["softmax"]["held_out"]["log_m"]} for r in found])
    return out


def summarise_memorise(
    found: Sequence[Mapping[str, list[float]]], settings: Settings
) -> dict[str, Any]:
    """Return the curves of learning by heart, their means over seeds and where they end."""
    out: dict[str, Any] = {
        "points": BY_HEART,
        "epochs": [epoch for epoch in WATCHED if epoch <= settings.memorise],
        "label_entropy": float(entropy(TASKS["imbalanced_d10"].prior)),
    }
    for where in ("in_sample", "held_out"):
        curves = np.array([curve[where] for curve in found])
        out[where] = {"curve": curves.mean(0), "last": summarise(curves[:, -1].tolist())}
    return out
