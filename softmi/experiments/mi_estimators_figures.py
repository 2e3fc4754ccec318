"""Figures and tables of chapter 03, from a run's records and from the values of its result."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt

from softmi.evidence.figures import colour, label_line
from softmi.evidence.tables import markdown_table
from softmi.experiments.mi_estimators_summaries import DECIDING, OURS, RIVALS, best_rival

METHODS = (*OURS, *RIVALS)
MEMBERS = (
    "discriminant analysis",
    "logistic regression",
    "kernel logistic regression",
    "networks",
)
Values = Mapping[str, Any]


def draw_estimates(record: Values) -> None:
    """One dot for each estimate of one run, from the lowest to the highest, and the truth."""
    methods = sorted(record["methods"].items(), key=lambda item: item[1]["value"])
    _, axes = plt.subplots(figsize=(7.2, 3.3))
    for i, (method, found) in enumerate(methods):
        name = "PC-softmax" if method == "softmi" else method
        axes.plot(found["value"], i, "o", color=colour(name), markersize=7)
    axes.axvline(record["truth"]["low"], color=colour("truth"), linewidth=1.5)
    axes.axvline(record["label_entropy"], color=colour("truth"), linestyle=":", linewidth=1)
    axes.set_yticks(range(len(methods)), [method for method, _ in methods])
    axes.set(xlabel="I(X;Y) in nats; line: truth, dotted: the cap H(Y)",
             ylim=(-0.6, len(methods) - 0.4))  # fmt: skip
    axes.set_title(f"Ten Gaussians in 20 dimensions, {record['n']:,} samples, this page's run")
    plt.show()


def draw_errors(values: Values) -> None:
    """Error of each estimator against the number of dimensions, balanced and long-tailed."""
    drawn = ("softmi", "extrapolated", "nearest neighbours", "logistic regression", "MINE",
             "InfoNCE")  # fmt: skip
    above = {"softmi": -0.035, "extrapolated": 0.03, "InfoNCE": 0.018,
             "logistic regression": -0.018}  # fmt: skip
    _, panels = plt.subplots(1, 2, figsize=(7.2, 3.8), sharey=True)
    for axes, kind in zip(panels, ("balanced", "long_tailed"), strict=True):
        axes.axhline(0, color=colour("truth"), linewidth=1)
        for method in drawn:
            name = "PC-softmax" if method == "softmi" else method
            line = [values["tasks"][f"gauss_{kind}_d{d}"]["methods"][method]["error"]["mean"]
                    for d in (1, 5, 20, 100)]  # fmt: skip
            axes.plot(range(4), line, "o-", color=colour(name), markersize=5, linewidth=1.8)
            if kind == "long_tailed":
                label_line(axes, 3.05, line[-1] + above.get(method, 0), name, method)
        axes.set(xticks=range(4), xticklabels=(1, 5, 20, 100), xlabel="dimensions",
                 xlim=(-0.2, 3.2 if kind == "balanced" else 5.6))  # fmt: skip
        axes.set_title(kind.replace("_", "-"))
    panels[0].set_ylabel("error in nats")
    plt.show()


def plain_name(task: str) -> str:
    """Name of a task as tables show it."""
    return task.replace("gauss_", "").replace("_", " ").replace(" d", ", d = ")


def errors_table(values: Values) -> str:
    """Mean error of each method on the Gaussian tasks, beside the luck of the draw."""
    rows = []
    for kind in ("balanced", "long_tailed"):
        for d in (1, 5, 20, 100, 1000):
            task = values["tasks"][name := f"gauss_{kind}_d{d}"]
            errors = [f"{task['methods'][m]['error']['mean']:+.3f}" for m in METHODS]
            rows.append((plain_name(name), f"{task['truth']['low']:.3f}",
                         f"{task['exact_error']['mean']:+.3f}", *errors))  # fmt: skip
    return markdown_table(["error, nats", "truth", "densities known", *METHODS], rows)


def absolute_errors_table(values: Values) -> str:
    """Mean absolute errors on the deciding tasks, ours and the best rival's."""
    rows = []
    for kind, key in (("truth", "absolute_error"), ("densities known", "paired_error")):
        for name in DECIDING:
            methods = values["tasks"][name]["methods"]
            best = best_rival(methods, key)
            errors = [methods[m][key] for m in (*OURS, best)]
            ours, removed, theirs = (f"{error:.4f}" for error in errors)
            rows.append((kind, plain_name(name), ours, removed, best, theirs,
                         f"{errors[1] / errors[2]:.2f}"))  # fmt: skip
    header = ["mean absolute error, against", "task", "softmi", "extrapolated", "best rival",
              "its error", "extrapolated / best rival"]  # fmt: skip
    return markdown_table(header, rows)


def tasks_table(values: Values) -> str:
    """All tasks: truth, cap and certified bound beside our estimates and the best rival's."""
    rows = []
    for name, task in values["tasks"].items():
        low, high = task["truth"]["low"], task["truth"]["high"]
        methods = task["methods"]
        best = best_rival(methods)
        rows.append((
            plain_name(name), f"{task['n']:,}",
            f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}",
            f"{task['label_entropy']['mean']:.3f}", f"{task['certified']['mean']:.3f}",
            *(f"{methods[m]['value']['mean']:.3f} ± {methods[m]['se']:.3f}" for m in OURS),
            f"{methods[best]['value']['mean']:.3f} ({best})",
            {0.0: "no", 1.0: "yes"}.get(task["trustworthy"], "in part"),
        ))  # fmt: skip
    header = ["nats", "n", "truth", "H(Y)", "certified", "softmi ± s.e.", "extrapolated ± s.e.",
              "best rival", "trustworthy"]  # fmt: skip
    return markdown_table(header, rows)


def weights_table(values: Values) -> str:
    """Mean weight of each member of the pool on each task, and what calibration changed."""
    rows = [
        (plain_name(name), *(f"{w:.2f}" for w in task["weights"]),
         f"{task['calibration']['error_before']:.3f}", f"{task['calibration']['error_after']:.3f}")
        for name, task in values["tasks"].items()
    ]  # fmt: skip
    header = ["mean weight", *MEMBERS, "calibration error, equal weights", "fitted weights"]
    return markdown_table(header, rows)


def coverage_table(values: Values) -> str:
    """How often the interval of the extrapolated estimate holds the truth, and where it misses."""
    rows = []
    for name, c in values["coverage"].items():
        share = c["inside"]
        rows.append((
            name.replace("_", " "), f"{c['truth']:.3f}", f"{share['n']}",
            f"{100 * share['mean']:.1f} % [{100 * share['low']:.1f}, {100 * share['high']:.1f}]",
            f"{100 * c['below']:.1f} %", f"{100 * c['above']:.1f} %", f"{c['error']:+.4f}",
            f"{c['error_of_lower']:+.4f}", f"{c['spread']:.4f}", f"{c['half_width']:.4f}",
        ))  # fmt: skip
    header = ["task", "truth", "samples", "holds the truth", "all below", "all above",
              "mean error", "mean error, not extrapolated", "spread", "half width"]  # fmt: skip
    return markdown_table(header, rows)


def certified_table(values: Values) -> str:
    """How often the certified bound lies below the truth, with the prior known and estimated."""
    rows = [
        (name.replace("_", " "), which, f"{b['truth']:.3f}", f"{b['lower']:.3f}",
         f"{b[which]['median']:+.3f}", f"{100 * b[which]['mean']:.1f} %", b[which]["n"])
        for name, b in values["certified"].items() for which in ("known", "estimated")
    ]  # fmt: skip
    header = ["task", "prior", "truth", "mean estimate", "median certified bound",
              "below the truth", "samples"]  # fmt: skip
    return markdown_table(header, rows)


def seconds_table(values: Values) -> str:
    """Seconds of one estimate, of ours and of each rival."""
    rows = []
    for name in ("gauss_balanced_d5", "gauss_balanced_d20", "gauss_balanced_d100"):
        methods = values["tasks"][name]["methods"]
        rows.append((plain_name(name),
                     *(f"{methods[m]['seconds']:.1f}" for m in ("softmi", *RIVALS))))  # fmt: skip
    return markdown_table(["seconds", "softmi, both", *RIVALS], rows)
