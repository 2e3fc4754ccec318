"""The figures and tables of chapter 02, from the `values` of its archived result."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from softmi.evidence.figures import colour, label_line
from softmi.evidence.tables import format_number, markdown_table
from softmi.experiments.mi_on_synthetic_data_networks import DIMENSIONS, READINGS, TASKS, truth_of
from softmi.information.pointwise import entropy

Values = Mapping[str, Any]
# Of each reading: its name in figures and tables, its marker, and its shift aside in a figure.
LOOKS = {
    "pc_softmax": ("PC-softmax", "o", -0.08),
    "softmax_entropy": ("softmax + H(Y)", "s", 0.08),
    "softmax_log_m": ("softmax + log M", "^", 0.0),
}
_NAMES = [name for name, _, _ in LOOKS.values()]


def _plain(name: str) -> str:
    return name.replace("_d", ", d = ")


def _spread(entry: Mapping[str, float], sign: str = "") -> str:
    return f"{entry['mean']:{sign}.4f} ± {entry['sd']:.4f}"


def _negated(number: float | Values) -> float | Values:
    """Return minus a number, which has an interval in a run of today and had none before."""
    if not isinstance(number, Mapping):
        return -number
    return {"mean": -number["mean"], "low": -number["high"], "high": -number["low"]}


# --- Figures ----------------------------------------------------------------------------------


def draw_readings(values: Values) -> Figure:
    """Draw the readings on imbalanced tasks: networks trained here, and those released."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.7), sharey=True)
    names = [f"imbalanced_d{d}" for d in DIMENSIONS]
    ceiling = values["tasks"][names[0]]["label_entropy"]
    for axes, tasks, title in (
        (left, values["tasks"], "Trained to convergence"),
        (right, values["released"], "As released by the authors"),
    ):
        axes.axhline(ceiling, color=colour("truth"), linestyle=":", linewidth=1)
        truth = [values["tasks"][name]["truth"] for name in names]
        axes.plot(range(4), truth, color=colour("truth"), linewidth=1.5)
        for key, (method, marker, shift) in LOOKS.items():
            means = [tasks[name][key]["estimate"]["mean"] for name in names]
            axes.plot(np.arange(4) + shift, means, marker, color=colour(method), markersize=6.5)
        axes.set(xticks=range(4), xticklabels=DIMENSIONS, xlabel="dimensions d", title=title,
                 xlim=(-0.4, 3.5))  # fmt: skip
    left.set(ylabel="I(X;Y) in nats, imbalanced", ylim=(0.9, 1.68))
    label_line(left, -0.4, ceiling + 0.025, "truth", "ceiling H(Y)")
    label_line(left, 1.4, 1.29, "truth", "truth")
    label_line(left, -0.35, 1.43, "softmax + log M")
    label_line(left, 1.45, 1.12, "PC-softmax")
    label_line(left, 1.45, 1.06, "softmax + H(Y)")
    label_line(right, 1.3, 1.13, "softmax + H(Y)")
    label_line(right, 0.15, 0.94, "PC-softmax")
    label_line(right, -0.35, 1.37, "softmax + log M")
    return figure


def draw_shortfalls(values: Values) -> Figure:
    """Draw how far below the truth networks stay: open as released, filled as trained here."""
    figure, axes = plt.subplots(figsize=(7.2, 3.6))
    for key in READINGS:
        method, marker, shift = LOOKS[key]
        for i, (name, task) in enumerate(values["tasks"].items()):
            if key not in values["released"][name]:
                continue  # balanced: the same network and the same number
            position = i + (shift if name.startswith("imbalanced") else 0)
            look: dict[str, Any] = {"color": colour(method), "marker": marker, "markersize": 7}
            axes.plot(position, task[key]["shortfall"]["mean"], **look)
            released = -values["released"][name][key]["error"]["mean"]
            axes.plot(position, released, fillstyle="none", **look)
    axes.axhline(0.01, color=colour("truth"), linestyle=":", linewidth=1)
    label_line(axes, 6.55, 0.0125, "truth", "0.01 nats")
    label_line(axes, 3.6, 0.0022, "softmax + H(Y)", "■ softmax + H(Y)")
    label_line(axes, 3.6, 0.0015, "PC-softmax", "● PC-softmax")
    label_line(axes, -0.5, 0.12, "truth", "open: as released")
    label_line(axes, -0.5, 0.0012, "truth", "filled: trained here")
    for middle, kind in ((1.5, "balanced"), (5.5, "imbalanced")):
        below = axes.get_xaxis_transform()
        axes.text(middle, -0.13, kind, transform=below, ha="center", va="top")
    axes.set(yscale="log", xlim=(-0.6, 7.6), xlabel=" ", ylabel="shortfall from the truth, nats")
    axes.set_xticks(range(8), [f"d = {d}" for d in DIMENSIONS + DIMENSIONS])
    axes.set_title("What the released networks miss, training finds")
    return figure


def draw_memorise(values: Values) -> Figure:
    """Draw what is read while shuffled labels are learnt by heart, in sample and on fresh points.

    The truth is zero.
    """
    found, name = values["memorise"], "PC-softmax"
    figure, axes = plt.subplots(figsize=(7.2, 3.3))
    axes.axhline(0, color=colour("truth"), linewidth=1.5)
    axes.axhline(found["label_entropy"], color=colour("truth"), linestyle=":", linewidth=1)
    for where, style in (("in_sample", "--"), ("held_out", "-")):
        curve = found[where]["curve"]
        axes.plot(found["epochs"], curve, style, color=colour(name), linewidth=2)
    label_line(axes, 1.0, -0.4, "truth", "truth: 0")
    label_line(axes, 1.0, found["label_entropy"] - 0.4, "truth", "ceiling H(Y)")
    label_line(axes, 60.0, 0.4, name, "on its training points")
    label_line(axes, 10.0, -3.0, name, "on fresh points")
    axes.set(xscale="log", xlabel="epoch", ylabel=f"{name} reading, nats", xlim=(1, 300),
             xticks=(1, 10, 100), xticklabels=(1, 10, 100))  # fmt: skip
    axes.set_title("Read in-sample, meaningless labels seem to be fully explained")
    return figure


# --- Tables -----------------------------------------------------------------------------------


def truth_table() -> str:
    """Return the true mutual information of the eight tasks, by quadrature, and its ceilings."""
    rows = []
    for kind in ("balanced", "imbalanced"):
        truths = [f"{truth_of(f'{kind}_d{d}'):.4f}" for d in DIMENSIONS]
        prior = TASKS[f"{kind}_d1"].prior
        rows.append((kind, *truths, f"{entropy(prior):.4f}", f"{math.log(len(prior)):.4f}"))
    dimensions = [f"d = {d}" for d in DIMENSIONS]
    return markdown_table(("true I(X;Y), nats", *dimensions, "ceiling H(Y)", "log M"), rows)


def live_table(values: Values) -> str:
    """Return the three readings of a run, with their spread if there is more than one seed."""
    rows = [
        (_plain(name), f"{t['truth']:.3f}", *(format_number(t[key]["estimate"]) for key in LOOKS))
        for name, t in values["tasks"].items()
    ]
    return markdown_table(("live run, nats", "truth", *_NAMES), rows)


def readings_table(values: Values) -> str:
    """Return mean and spread of the three readings of each task, with the error of the mean."""
    rows = []
    for name, task in values["tasks"].items():
        found = [task[key] for key in LOOKS]
        cells = [f"{_spread(f['estimate'])} ({f['error']['mean']:+.4f})" for f in found]
        rows.append((_plain(name), f"{task['truth']:.4f}", *cells))
    return markdown_table(("nats (error)", "truth", *_NAMES), rows)


def bound_table(values: Values) -> str:
    """Return how close valid readings come to the truth from below, and how alike two losses are.

    The second for balanced classes.
    """
    bound, balanced = values["lower_bound"], values["balanced"]
    errors = _negated(bound["largest_excess_in_standard_errors"])
    rows = [
        ("networks", bound["networks"]),
        ("smallest shortfall, nats", f"{-bound['largest_excess']:.5f}"),
        ("smallest shortfall, in its standard errors", format_number(errors, 1)),
        ("balanced: largest difference of the two readings of a network, nats",
         f"{balanced['largest_difference']:.0e}"),
        ("balanced: largest difference of the two gradients",
         f"{balanced['gradient_difference']:.0e}"),
    ]  # fmt: skip
    return markdown_table(("all tasks and seeds", "ours"), rows)


def against_mine_table(values: Values) -> str:
    """Return the errors of MINE and of the classifier on each task, and their mean difference."""
    found = values["against_mine"]
    rows = [
        (_plain(name), *(_spread(found[m][name], "+") for m in ("mine", "pc_softmax")), "")
        for name in values["tasks"]
    ]
    groups = {"all": "all tasks", "few_dimensions": "one and two dimensions",
              "more_dimensions": "five and ten"}  # fmt: skip
    rows += [(label, "", "", format_number(found[k], 4)) for k, label in groups.items()]
    header = ("error, nats", "MINE", "PC-softmax", "MINE's size less PC-softmax's")
    return markdown_table(header, rows)


def paper_size_table(values: Values) -> str:
    """Return the spread over test sets of the paper's size, of the reading and its parts."""
    rows = []
    for name, task in values["tasks"].items():
        paper = task["pc_softmax"]["paper_size"]
        kinds = ("exact", "estimate", "difference")
        cells = [f"{paper['sd_over_test_sets'][kind]:.4f}" for kind in kinds]
        rows.append((_plain(name), *cells, _spread(paper["difference"], "+")))
    header = ("PC-softmax, nats", "s.d. exact", "s.d. reading", "s.d. difference",
              "difference, over seeds")  # fmt: skip
    return markdown_table(header, rows)


def released_table(values: Values) -> str:
    """Return the readings of the released networks, with their differences from the truth."""
    rows = []
    for name, task in values["released"].items():
        cells = [
            f"{task[key]['estimate']['mean']:.3f} ({task[key]['error']['mean']:+.3f})"
            if key in task
            else "–"
            for key in LOOKS
        ]
        rows.append((_plain(name), f"{task['truth']:.3f}", *cells))
    return markdown_table(("released, nats (error)", "truth", *_NAMES), rows)


def two_errors_table(values: Values) -> str:
    """Return the two errors of softmax with log M on imbalanced tasks, and their sum."""
    rows = []
    for d in DIMENSIONS:
        task = values["released"][f"imbalanced_d{d}"]
        pc, plain, wrong = (task[key]["error"]["mean"] for key in LOOKS)
        rows.append((d, *(f"{error:+.3f}" for error in (wrong - plain, plain, wrong, pc))))
    header = ("d", "wrong constant", "not learnt", "sum: softmax + log M", "PC-softmax")
    return markdown_table(header, rows)


def continued_table(values: Values) -> str:
    """Return the errors of the released networks before and after five epochs, and of ours."""
    rows = []
    for name, task in values["released"].items():
        for key in (key for key in READINGS if key in task):
            after, ours = task[key]["error_after_five_epochs"], values["tasks"][name][key]
            released, here = task[key]["error"]["mean"], -ours["shortfall"]["mean"]
            cells = (f"{released:+.4f}", _spread(after, "+"), f"{here:+.4f}")
            rows.append((_plain(name), LOOKS[key][0], *cells))
    header = ("error, nats", "network", "as released", "after 5 more epochs", "trained here")
    return markdown_table(header, rows)


def never_cleared_table(values: Values) -> str:
    """Return the errors of PC-softmax trained here, as released, and with uncleared gradients."""
    rows = []
    for d in DIMENSIONS:
        task = values["released"][f"imbalanced_d{d}"]
        ours = values["tasks"][f"imbalanced_d{d}"]["pc_softmax"]["shortfall"]
        never = task["never_cleared"]["error"]
        cells = (f"{-ours['mean']:+.3f}", f"{task['pc_softmax']['error']['mean']:+.3f}")
        rows.append((d, *cells, f"{never['mean']:+.3f} ± {never['sd']:.3f}"))
    header = ("d", "error, trained here", "as released", "trained here, gradients never cleared")
    return markdown_table(header, rows)


def permuted_table(values: Values) -> str:
    """Return what is read in shuffled labels, on fresh points and on the training set."""
    rows = []
    for name, task in values["permuted"].items():
        cells = [f"{task[key]['held_out']['mean']:+.4f}" for key in LOOKS]
        in_sample = task["pc_softmax"]["in_sample"]["mean"]
        rows.append((_plain(name), *cells, f"{in_sample:+.4f}"))
    return markdown_table(("fresh points, nats", *_NAMES, "PC-softmax, training set"), rows)


def setting_table(result: Mapping[str, Any]) -> str:
    """Return what the full run was: training, sizes, and the effect of the authors' floor.

    Args:
        result: The whole archived result.

    """
    protocol, floor = result["protocol"], result["values"]["released_summary"]
    files = result["provenance"]["data"]
    rows = [
        ("training", protocol["training"]),
        *((f"{kind} points", f"{size:,} training, {protocol['test_points'][kind]:,} test")
          for kind, size in protocol["train_points"].items()),
        ("fresh points", f"{protocol['test_points']['fresh']:,} a network"),
        ("released networks", f"{len(files)} files, with checksums in the result"),
        ("effect of the floor, at most", f"{floor['largest_floor_effect']:.1e} nats"),
    ]  # fmt: skip
    return markdown_table(("full run", ""), rows)
