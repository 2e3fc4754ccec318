"""Figures of chapter 04, each from the values of one section of its result."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

from softmi.evidence.figures import colour, label_line
from softmi.experiments.mi_limits import METHODS
from softmi.experiments.pc_softmax_defects import DEFECTS, FAIR

Section = Mapping[str, Any]


def draw_cap(cap: Section) -> None:
    """True information against the spacing of classes in a row, and the caps."""
    _, axes = plt.subplots(figsize=(7.2, 3.4))
    for classes, curve in cap["curves"].items():
        top = math.log(int(classes))
        axes.plot(cap["spacings"], curve, color=colour("truth"), linewidth=1.8)
        axes.axhline(top, color=colour("truth"), linestyle=":", linewidth=1)
        label_line(axes, 10.0, top - 0.12, "truth", f"log {classes}")
    axes.set(xscale="log", xlabel="distance between neighbouring classes, in standard deviations",
             ylabel="true I(X;Y), nats", xlim=(0.25, 16), xticks=(0.25, 0.5, 1, 2, 4, 8, 16),
             xticklabels=("¼", "½", "1", "2", "4", "8", "16"), ylim=(0, 3.0))  # fmt: skip
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("At the cap, any distance looks the same")
    plt.show()


def draw_confidence(confidence: Section) -> None:
    """Readings on fresh points against the epoch, raw and at one temperature; and accuracy."""
    epochs, curves = confidence["epochs"], confidence["curves"]
    _, (axes, below) = plt.subplots(
        2, 1, figsize=(7.2, 4.6), sharex=True, gridspec_kw={"height_ratios": (3, 1)}
    )
    axes.axhline(confidence["truth"], color=colour("truth"), linewidth=1.5)
    axes.plot(epochs, curves["raw"], color=colour("softmax + H(Y)"), linewidth=2)
    axes.plot(epochs, curves["scaled"], color=colour("post-hoc"), linewidth=2)
    label_line(axes, 1.0, confidence["truth"] - 0.06, "truth", "truth")
    axes.set(xscale="log", ylabel="reading, nats", xlim=(1, 100))
    below.plot(epochs, curves["accuracy"], color=colour("truth"), linewidth=2)
    below.set(ylim=(0, 1), ylabel="accuracy", xlabel="epoch", xticks=(1, 3, 10, 30, 100),
              xticklabels=(1, 3, 10, 30, 100))  # fmt: skip
    below.xaxis.set_minor_formatter(NullFormatter())
    label_line(axes, 12.0, curves["scaled"][-1] - 0.15, "post-hoc", "one temperature")
    label_line(axes, 20.0, curves["raw"][-1] + 0.1, "softmax + H(Y)", "as trained")
    axes.set_title("Trained for too long: as accurate, but less informative")
    plt.show()


def draw_variance(variance: Section) -> None:
    """Mean and standard deviation of each reading against the truth, with the law."""
    levels = list(variance["levels"].values())
    truth, log_batch = [v["truth"] for v in levels], math.log(variance["batch"])
    markers = dict(zip(METHODS, "vDo^s", strict=True))
    _, (left, right) = plt.subplots(1, 2, figsize=(7.2, 4.0))
    left.plot(truth, truth, color=colour("truth"), linewidth=1)
    left.axhline(log_batch, color=colour("truth"), linestyle=":", linewidth=1)
    for method, marker in markers.items():
        for axes, what in ((left, "mean"), (right, "sd")):
            axes.plot(truth, [v[what][method] for v in levels], marker + "-",
                      color=colour(method), markersize=5.5, linewidth=1.3)  # fmt: skip
    right.plot(truth, [v["law_sd_all_pairs"] for v in levels], "--", color=colour("truth"),
               linewidth=1.3)  # fmt: skip
    left.set(xlabel="true I(X;Y), nats", ylabel="mean over batches, nats", ylim=(0, 12))
    right.set(xlabel="true I(X;Y), nats", ylabel="standard deviation, nats", yscale="log")
    label_line(left, 5.4, log_batch + 0.4, "truth", "log of batch")
    for i, method in enumerate(markers):
        text = f"{'▼◆●▲■'[i]} {'classifier' if method.startswith('soft') else method}"
        label_line(left, 0.1, 11.5 - 0.75 * i, method, text)
    left.set_title("What is read")
    right.set_title("How much it swings")
    label_line(right, 3.6, 0.06, "truth", "dashed: the law")
    plt.show()


def draw_certified(certified: Section) -> None:
    """Certified bounds against samples for three tasks, and against ever more classes."""
    symbols, log_n = certified["symbols"], math.log(certified["symbol_samples"])
    known, counted = ("PC-softmax", "o-"), ("softmax + H(Y)", "s-")
    _, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.8))
    for task in certified["tasks"].values():
        left.axhline(task["truth"], color=colour("truth"), linestyle=":", linewidth=1)
        for key, (method, marker) in (("counted", counted), ("known", known)):
            left.plot(certified["sizes"], task[key], marker, color=colour(method), markersize=4)
        label_line(left, 1.3e5, task["truth"] + 0.02, "truth", f"{task['truth']:.2f}")
    left.axhline(0, color=colour("truth"), linewidth=1)
    left.set(xscale="log", xlim=(25, 9e5), ylim=(-1.0, 1.6), xlabel="samples n",
             ylabel="certified bound, nats")  # fmt: skip
    label_line(left, 30.0, 1.5, "PC-softmax", "● prior known")
    label_line(left, 2_500.0, 1.5, "softmax + H(Y)", "■ prior counted")
    classes = [int(m) for m in symbols]
    for key, (method, marker) in (("truth", ("truth", "-")), ("known", known),
                                  ("counted", counted)):  # fmt: skip
        right.plot(classes, [v[key] for v in symbols.values()], marker, color=colour(method),
                   markersize=4)  # fmt: skip
    right.axhline(log_n, color=colour("truth"), linestyle=":", linewidth=1)
    label_line(right, 2.0, log_n + 0.35, "truth", "log n")
    label_line(right, 20.0, 2.2, "truth", "truth: log M")
    right.set(xscale="log", xlabel="classes M, n = 1,000 samples", ylim=(-1, 10))
    left.set_title("Few classes: n decides")
    right.set_title("Many classes: log n is the end")
    plt.show()


def draw_constant(constant: Section) -> None:
    """Truth, cap and the reading with log M against the imbalance of five classes."""
    factors = constant["factors"]
    truth, caps = ([r[k] for r in constant["rows"]] for k in ("truth", "cap"))
    wrong = [r["truth"] + r["over_count"] for r in constant["rows"]]
    _, axes = plt.subplots(figsize=(7.2, 3.3))
    axes.plot(factors, truth, color=colour("truth"), linewidth=1.8)
    axes.plot(factors, caps, ":", color=colour("truth"), linewidth=1.2)
    axes.plot(factors, wrong, "^-", markersize=5, color=colour("softmax + log M"))
    label_line(axes, 60.0, 1.49, "softmax + log M")
    label_line(axes, 60.0, 1.16, "truth", "cap H(Y)")
    label_line(axes, 6.0, 1.2, "truth", "truth")
    axes.set(xscale="log", xlabel="imbalance: the first class over the last", ylabel="nats",
             ylim=(0.5, 1.7), xticks=(1, 10, 100, 1000), xticklabels=(1, 10, 100, 1000),
             xlim=(1, 1000))  # fmt: skip
    axes.set_title("The rarer the tail, the larger the over-count")
    plt.show()


def draw_dismissal(dismissal: Section) -> None:
    """Error of each variant as a bar, for each kind of task."""
    _, panels = plt.subplots(1, 2, figsize=(7.2, 4.6), sharey=True)
    for axes, (kind, entry) in zip(panels, dismissal.items(), strict=True):
        for i, k in enumerate(DEFECTS):
            error = entry["readings"][k]["error"]
            shown_as = "PC-softmax" if k in FAIR else "softmax + log M"
            axes.barh(i, error["mean"], xerr=error["sd"], height=0.62, alpha=0.9,
                      color=colour(shown_as))  # fmt: skip
        axes.axvline(0, color=colour("truth"), linewidth=1.2)
        axes.axvline(-entry["truth"], color=colour("truth"), linestyle=":", linewidth=1)
        axes.set(title=f"{kind}: truth {entry['truth']:.2f}", xlabel="error, nats")
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(DEFECTS)), list(DEFECTS.values()))
    panels[0].invert_yaxis()
    plt.show()
