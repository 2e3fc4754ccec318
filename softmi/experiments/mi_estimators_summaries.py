"""What the runs of chapter 03 amount to: means over seeds, coverage, what the claims rest on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from softmi.evidence.statistics import summarise
from softmi.experiments.estimator_tasks import IMAGES

OURS = ("softmi", "extrapolated")
RIVALS = ("nearest neighbours", "logistic regression", "DV", "MINE", "NWJ", "InfoNCE", "SMILE")
# The tasks that decide the claims about many dimensions, and those about few.
DECIDING = tuple(f"gauss_{kind}_d{d}" for kind in ("balanced", "long_tailed") for d in (20, 100))
LOW_DIMENSIONS = tuple(
    f"gauss_{kind}_d{d}" for kind in ("balanced", "long_tailed") for d in (1, 5)
)

Record = dict[str, Any]


def summaries(
    runs: Mapping[str, Sequence[Record]],
    truth: Mapping[str, Record],
    intervals: Mapping[str, Sequence[Record]],
    bounds: Mapping[str, Sequence[Record]],
) -> Record:
    """All numbers of the chapter's result file.

    Args:
        runs: Records of the comparison, one a seed, by task.
        truth: Known mutual information, by task.
        intervals: Records of repeated samples whose intervals are judged, by task.
        bounds: The same of certified bounds.

    """
    tables = {name: task_summary(found) for name, found in runs.items()}
    coverage = {n: coverage_of(found, truth[n]["value"]) for n, found in intervals.items()}
    certified = {n: certified_of(found, truth[n]["value"]) for n, found in bounds.items()}
    shares = [c["inside"]["mean"] for c in coverage.values()]
    return {
        "tasks": tables,
        "truth": truth,
        "coverage": coverage,
        "smallest_coverage": min(shares),
        "largest_coverage": max(shares),
        "certified": certified,
        "smallest_share_certified": min(
            b[which]["mean"] for b in certified.values() for which in ("estimated", "known")
        ),
    } | conclusions(tables, runs)


def task_summary(found: Sequence[Record]) -> Record:
    """Means over the seeds of one task: of its samples, and of each method's value and errors.

    An error is the distance to the truth, or to the nearer of its bounds and zero between them; a
    *paired* error is that to the exact information of the very samples.
    """
    first = found[0]
    out: Record = {k: first[k] for k in ("n", "features")}
    out["truth"] = {k: first["truth"][k] for k in ("low", "high")}
    out["label_entropy"] = summarise([f["label_entropy"] for f in found])
    out["certified"] = summarise([f["certified"] for f in found])
    out["trustworthy"] = float(np.mean([f["trustworthy"] for f in found]))
    out["weights"] = np.mean([f["weights"] for f in found], axis=0).tolist()
    out["calibration"] = {
        k: float(np.mean([f["calibration"][k] for f in found]))
        for k in first["calibration"] if k != "temperature"  # infinite where nothing is learnt
    }  # fmt: skip
    known = [f["truth"]["exact_on_sample"] for f in found]
    if known[0] is not None:
        exact_errors = [k - first["truth"]["low"] for k in known]
        out["exact_error"] = summarise(exact_errors)
        out["exact_absolute_error"] = float(np.mean(np.abs(exact_errors)))
    out["methods"] = {m: _method_summary(m, found) for m in first["methods"]}
    return out


def _method_summary(method: str, found: Sequence[Record]) -> Record:
    of = [f["methods"][method] for f in found]
    values, known = [m["value"] for m in of], [f["truth"]["exact_on_sample"] for f in found]
    errors = [
        max(0.0, v - f["truth"]["high"]) + min(0.0, v - f["truth"]["low"])
        for v, f in zip(values, found, strict=True)
    ]
    out = {
        "value": summarise(values),
        "error": summarise(errors),
        "absolute_error": float(np.mean(np.abs(errors))),
        "seconds": float(np.mean([m["seconds"] for m in of])),
    }
    if known[0] is not None:
        distances = [abs(v - k) for v, k in zip(values, known, strict=True)]
        out["paired_error"] = float(np.mean(distances))
    if of[0]["se"] is not None:
        out["se"] = float(np.mean([m["se"] for m in of]))
    return out


def best_rival(methods: Mapping[str, Record], key: str = "absolute_error") -> str:
    """Name of the rival whose error of that kind is least."""
    return min(RIVALS, key=lambda method: methods[method][key])


def share(hits: Sequence[bool]) -> Record:
    """Share of hits with Wilson's 95 % interval."""
    test = binomtest(int(np.sum(hits)), len(hits)).proportion_ci(method="wilson")
    low, high = float(test.low), float(test.high)
    return {"mean": float(np.mean(hits)), "low": low, "high": high, "n": len(hits)}


def coverage_of(found: Sequence[Record], truth: float) -> Record:
    """How often intervals hold the truth, and on which side they miss it."""
    return {
        "truth": truth,
        "inside": share([f["low"] <= truth <= f["high"] for f in found]),
        "below": float(np.mean([f["high"] < truth for f in found])),
        "above": float(np.mean([f["low"] > truth for f in found])),
        "lower_interval_reaches_truth": share([f["lower_high"] >= truth for f in found]),
        "error": float(np.mean([f["value"] - truth for f in found])),
        "error_of_lower": float(np.mean([f["lower"] - truth for f in found])),
        "spread": float(np.std([f["value"] for f in found], ddof=1)),
        "half_width": float(np.mean([(f["high"] - f["low"]) / 2 for f in found])),
        "trustworthy": float(np.mean([f["trustworthy"] for f in found])),
    }


def certified_of(found: Sequence[Record], truth: float) -> Record:
    """How often certified bounds lie below the truth, with the prior known and estimated."""
    out: Record = {
        which: share([f[which] <= truth for f in found])
        | {"median": float(np.median([f[which] for f in found]))}
        for which in ("estimated", "known")
    }
    return out | {"truth": truth, "lower": float(np.mean([f["lower"] for f in found]))}


def conclusions(
    tables: Mapping[str, Record], runs: Mapping[str, Sequence[Record]]
) -> dict[str, Any]:
    """The numbers that claims rest on, from summaries and records of all tasks."""

    def of(key: str) -> dict[str, dict[str, float]]:
        methods = {n: tables[n]["methods"] for n in DECIDING}
        return {n: {m: methods[n][m][key] for m in methods[n]} for n in DECIDING}

    error, paired = of("absolute_error"), of("paired_error")
    best = {n: min(error[n][m] for m in RIVALS) for n in DECIDING}
    best_paired = {n: min(paired[n][m] for m in RIVALS) for n in DECIDING}
    pooled = {m: sum(error[n][m] for n in DECIDING) for m in (*RIVALS, "extrapolated")}
    # Below zero: above the entropy of its labels no mean of log-probabilities can be.
    ranges = [
        -3 * ours["se"] - ours["value"]
        for found in runs.values() for f in found for ours in [f["methods"]["softmi"]]
    ]  # fmt: skip
    # Where the pool has learnt nothing it says so, and hardly anything varies: one sample's worth.
    independent = [
        abs(f["methods"][m]["value"]) / max(f["methods"][m]["se"], 1 / f["n"])
        for f in runs["independent_d20"] for m in OURS
    ]  # fmt: skip
    images = [
        max(ours["value"] - f["truth"]["high"], 0) / ours["se"]
        for n in IMAGES for f in runs[n] for ours in [f["methods"]["softmi"]]
    ]  # fmt: skip
    neighbours = tables["gauss_balanced_d100"]
    lost = -neighbours["methods"]["nearest neighbours"]["error"]["mean"]
    return {
        "smallest_lead": min(best[n] - error[n]["softmi"] for n in DECIDING),
        "smallest_paired_lead": min(best_paired[n] - paired[n]["softmi"] for n in DECIDING),
        "largest_ratio": max(error[n]["extrapolated"] / best[n] for n in DECIDING),
        "largest_paired_ratio": max(paired[n]["extrapolated"] / best_paired[n] for n in DECIDING),
        "largest_exact_ratio": max(tables[n]["exact_absolute_error"] / best[n] for n in DECIDING),
        "pooled_ratio": pooled["extrapolated"] / min(pooled[m] for m in RIVALS),
        "largest_error_low_dimensions": max(
            abs(tables[n]["methods"][m]["error"]["mean"]) for n in LOW_DIMENSIONS for m in OURS
        ),
        "worst_excess_of_range": max(ranges),
        "independence_in_standard_errors": max(independent),
        "images_above_bound_in_standard_errors": max(images),
        "neighbours_lost_at_100": lost / neighbours["truth"]["low"],
        "best_rival": {n: best_rival(tables[n]["methods"]) for n in DECIDING},
    }
