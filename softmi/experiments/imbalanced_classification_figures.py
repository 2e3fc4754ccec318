"""Tables and figures of chapter 05, from the values of a result."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from softmi.evidence.figures import colour
from softmi.evidence.tables import format_points, in_percent, markdown_table
from softmi.experiments.imbalanced_classification_summaries import METHODS, NETWORKS, TESTS

Values = Mapping[str, Any]

PARTS = {
    "train": "training part",
    "authors": "authors' test part",
    "official": "official test set",
}
LABELS = {"softmax": "softmax", "pc_softmax": "PC-softmax"}
NAMES = {
    "micro": "micro",
    "class_mean": "class mean",
    "at_training_prior": "at the training prior",
}
WAYS = {  # what one would call each network and rule, and what the rule decides for
    ("softmax", "training"): ("softmax", "training prior"),
    ("pc_softmax", "training"): ("PC-softmax, prior put back", "training prior"),
    ("softmax", "equal"): ("post-hoc: softmax, prior taken out", "equal classes"),
    ("pc_softmax", "equal"): ("PC-softmax", "equal classes"),
    ("softmax", "test"): ("softmax, moved to the test's prior", "test's own prior"),
    ("pc_softmax", "test"): ("PC-softmax, moved to the test's prior", "test's own prior"),
}
CONTRAST_NAMES = {
    "pc_minus_softmax": "PC-softmax − softmax",
    "posthoc_minus_softmax": "post-hoc − softmax",
    "pc_minus_posthoc": "PC-softmax − post-hoc",
    "pc_prior_back_minus_softmax": "PC-softmax with prior put back − softmax",
    "softmax_moved_minus_softmax": "softmax moved to the test's prior − softmax",
    "pc_moved_minus_pc": "PC-softmax moved to the test's prior − PC-softmax",
    "rule": "rule: equal classes − training prior",
    "loss": "loss: PC-softmax − softmax",
}
SHOWN = (  # panels of the headline figure
    ("authors", "micro", "authors' test:\nmicro"),
    ("authors", "class_mean", "authors' test:\nclass mean"),
    ("official", "micro", "official test:\nmicro"),
    ("official", "at_training_prior", "official test, at\nthe training prior"),
)


def parts_table(values: Values) -> str:
    """Pictures and share of even digits of each part."""
    rows = [
        (name, f"{values['counts'][part]:,}", f"{100 * values['even_share'][part]:.1f} %")
        for part, name in PARTS.items()
    ]
    return markdown_table(("part", "pictures", "even digits"), rows)


def accuracy_table(values: Values, test: str) -> str:
    """Network and rule against the measures, for one test, with a baseline."""
    rows = []
    for (network, rule), names in WAYS.items():
        found = values[test]["accuracy"][network][rule]
        rows.append((*names, *(in_percent(found[m], 2) for m in NAMES)))
    base = values[test]["commonest_class"]
    shown = (in_percent(base[m], 2) for m in NAMES)
    rows.append(("always the commonest class", "no picture", *shown))
    header = ("method", "decides for", *(f"{name}, %" for name in NAMES.values()))
    return markdown_table(header, rows)


def difference_table(values: Values, test: str) -> str:
    """Differences of one test in points, with intervals over seeds and test pictures."""
    found = values[test]["differences"]
    rows = [
        (name, *(format_points(found[key][m]) for m in NAMES))
        for key, name in CONTRAST_NAMES.items()
    ]
    return markdown_table(("difference", *NAMES.values()), rows)


def gain_table(values: Values) -> str:
    """What moving the logits brings, averaged over all shares of even digits."""
    rows = [(LABELS[n], format_points(values["prior_curve"][n]["gain"])) for n in NETWORKS]
    return markdown_table(("network", "moved to the test's prior − as trained"), rows)


def information_table(values: Values) -> str:
    """Information in nats, moved to the test's prior and with the training prior kept."""
    rows = []
    for test in TESTS:
        found = values[test]["information"]
        for network in NETWORKS:
            nats = [found[network][key] for key in ("own_prior", "training_prior_kept")]
            shown = (f"{n['mean']:.3f} ± {n['sd']:.3f}" for n in nats)
            ceiling = f"{found['ceiling']['mean']:.3f}"
            rows.append((PARTS[test], LABELS[network], *shown, ceiling))
    header = ("test", "network", "moved to the test's prior", "training prior kept",
              "ceiling H(Y)")  # fmt: skip
    return markdown_table(header, rows)


def certainty_table(values: Values) -> str:
    """Cross-entropy, and how far to trust the probabilities, as trained and moved."""
    rows = []
    for test in TESTS:
        for network, rule in {"softmax": "training", "pc_softmax": "equal"}.items():
            for kind, name in {rule: "as trained", "test": "moved to the test's prior"}.items():
                found = values[test]["accuracy"][network][kind]
                cost = f"{found['cross_entropy']['mean']:.4f} ± {found['cross_entropy']['sd']:.4f}"
                keys = ("too_sure_rare", "too_sure_common", "calibration_error")
                shown = (in_percent(found[key], 2).replace("-", "−") for key in keys)
                rows.append((PARTS[test], f"{LABELS[network]}, {name}", cost, *shown))
    header = ("test", "network", "cross-entropy, nats", "too sure of rare answers, %",
              "of common answers, %", "calibration error, %")  # fmt: skip
    return markdown_table(header, rows)


def weights_table(values: Values) -> str:
    """Largest distance of a weight between two ways to write one loss, and to another loss."""
    rows = []
    for key, way in {"balanced": "balanced softmax", "plain": "plain softmax, for scale"}.items():
        apart = (values["weights_apart"][f"{dtype}_{key}"] for dtype in ("float32", "float64"))
        rows.append((way, *(f"{d['worst']:.0e}" for d in apart)))
    return markdown_table(("PC-softmax against", "float32", "float64"), rows)


def draw_rules(values: Values, test: str, title: str) -> None:
    """Accuracy against the rule, a line for each network and seed, the mean in bold."""
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.4))
    names = {"class_mean": "class mean", "at_training_prior": "accuracy at the training prior"}
    for axes, (measure, name) in zip(panels, names.items(), strict=True):
        for network in NETWORKS:
            found = values[test]["accuracy"][network]
            pair = np.array([found[rule][measure]["values"] for rule in ("training", "equal")])
            ink = colour(LABELS[network])
            axes.plot([0, 1], 100 * pair, color=ink, linewidth=0.8, alpha=0.35)
            axes.plot([0, 1], 100 * pair.mean(1), "o-", color=ink, linewidth=2.5, markersize=6)
        axes.set(xlim=(-0.25, 1.25), ylabel="%", title=name)
        axes.set_xticks([0, 1], ["decides for the\ntraining prior", "decides for\nequal classes"])
    for height, network in zip((0.04, 0.13), NETWORKS, strict=True):
        panels[0].text(0.97, height, f"trained with {LABELS[network]}", ha="right",
                       color=colour(LABELS[network]), transform=panels[0].transAxes)  # fmt: skip
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    plt.show()


def draw_headline(values: Values) -> None:
    """The three methods in four measures, a line a seed and a bar for the mean."""
    figure, panels = plt.subplots(1, len(SHOWN), figsize=(7.2, 3.6), sharey=True)
    for axes, (test, measure, title) in zip(panels, SHOWN, strict=True):
        found = values[test]["accuracy"]
        points = 100 * np.array([found[n][r][measure]["values"] for n, r in METHODS.values()])
        axes.plot(points, color="#999999", linewidth=0.8, alpha=0.7)
        for i, (method, of) in enumerate(zip(METHODS, points, strict=True)):
            axes.plot(np.full(len(of), i), of, "o", color=colour(method), markersize=4)
            axes.plot([i - 0.3, i + 0.3], [of.mean()] * 2, color=colour(method), linewidth=3)
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(-0.5, len(METHODS) - 0.5))
        axes.set_xticks(range(len(METHODS)), list(METHODS), rotation=40, ha="right")
    panels[0].set_ylabel("accuracy, %")
    title = "Both corrections do the same: what they gain in one measure they lose in another"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    plt.show()


def draw_classes(values: Values) -> None:
    """Accuracy within each digit of the official test, mean and standard deviation."""
    _, axes = plt.subplots(figsize=(7.2, 3.4))
    order = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    places = zip((-0.2, 0.0, 0.2), (0.20, 0.12, 0.04), METHODS, strict=True)
    for offset, height, method in places:
        points = values["official"]["per_class"][method]
        mean, sd = (100 * np.array(points[key])[order] for key in ("mean", "sd"))
        ink = colour(method)
        axes.errorbar(np.arange(10) + offset, mean, sd, fmt="o", markersize=5, color=ink)
        axes.text(0.98, height, method, color=ink, transform=axes.transAxes, ha="right")
    axes.axvline(4.5, color="#999999", linewidth=1)
    axes.set_xticks(range(10), [str(k) for k in order])
    axes.grid(axis="x", visible=False)
    axes.set(xlim=(-0.6, 9.6), ylabel="accuracy within the digit, %")
    axes.set_xlabel("rare in training  |  common in training")
    axes.set_title("The corrections favour the rare digits at the cost of the common ones")
    plt.show()


def draw_prior_curve(values: Values) -> None:
    """Micro accuracy against the share of even digits, as trained and moved to the test."""
    _, axes = plt.subplots(figsize=(7.2, 3.8))
    found = values["prior_curve"]
    share = 100 * np.array(found["even_share"])
    for network, label in LABELS.items():
        for kind, style in {"as_trained": "-", "corrected": "--"}.items():
            mean = 100 * np.array(found[network][kind]["mean"])
            axes.plot(share, mean, style, color=colour(label), linewidth=2)
            if kind == "as_trained":
                axes.annotate(f"{label}\nas trained", (share[-1], mean[-1]), (5, 0), va="center",
                              textcoords="offset points", color=colour(label))  # fmt: skip
    for part, name in {
        "train": "training",
        "authors": "authors' test",
        "official": "official",
    }.items():
        x = 100 * values["even_share"][part]
        axes.axvline(x, color="#999999", linewidth=1, zorder=0)
        axes.annotate(name, (x, 0.02), (3, 0), rotation=90, va="bottom", color="#666666",
                      xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
    axes.set(xlim=(0, 100), xlabel="share of even digits in the test, %")
    axes.set_ylabel("micro accuracy, %")
    axes.set_title("Dashed, moved to the test's prior: either network will do, if it is known")
    plt.show()
