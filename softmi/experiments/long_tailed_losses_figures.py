"""Tables and figures of chapter 06, from the values of a result.

They show the losses that a result holds. One of the table of losses that it does not hold is
listed as "not run", and drawn nowhere.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from softmi.evidence.figures import colour, hue, label_line
from softmi.evidence.ledger import load_claims
from softmi.evidence.results import load_result, result_path
from softmi.evidence.tables import format_number, format_points, in_percent, markdown_table
from softmi.experiments.long_tailed_losses import NAME
from softmi.experiments.long_tailed_recipes import RECIPES
from softmi.experiments.long_tailed_summaries import (
    POSTHOC,
    TAU_OF,
    contrasts,
    methods,
    short_name,
)
from softmi.experiments.loss_table import LOSSES, loss_row
from softmi.experiments.published_long_tail import NAME as PUBLISHED

Values = Mapping[str, Any]

NAMES = {
    "micro": "micro",
    "class_mean": "class mean",
    "at_training_prior": "at the training prior",
    "many": "many",
    "medium": "medium",
    "few": "few",
}
TITLES = {
    "cifar10lt": "CIFAR-10-LT, a hundred to one (GAPNet, 16 channels wide, 10 epochs)",
    "mnist": "MNIST, ten to one",
    "cub50": "CUB-50, three to one",
}
PARTS = {"authors": "the authors' test part", "official": "the official test set"}
BASELINES = {"commonest_class": "always the commonest class", "uniform_guess": "uniform guess"}
# Claims with a number of a paper: the recipe of our result, and the number in it.
BESIDE = {
    "lt-menon-softmax": ("cifar10lt_published", "official", "softmax", "as_trained", "class_mean"),
    "lt-menon-posthoc": ("cifar10lt_published", "official", "softmax", "equal", "class_mean"),
    "lt-menon-loss": ("cifar10lt_published", "official", "PC-softmax", "as_trained", "class_mean"),
    "cub-pc-micro": ("cub50", "authors", "PC-softmax", "as_trained", "micro"),
    "cub-pc-class-mean": ("cub50", "authors", "PC-softmax", "as_trained", "class_mean"),
}


def ink(method: str) -> str:
    """Colour of a method: the hue of its row in the table of losses, else that of the book."""
    own = LOSSES[method].hue if method in LOSSES else ""
    return hue(own) if own else colour(method)


def marker(method: str) -> str:
    """Marker of a method."""
    return LOSSES[method].marker if method in LOSSES else "P"


def archived() -> dict[str, dict[str, Any]]:
    """Full results that are there, by data set."""
    found = {name: f"{NAME}_{name}" for name in TITLES}
    return {n: load_result(r) for n, r in found.items() if result_path(r, "full").exists()}


# --- Tables ------------------------------------------------------------------------------------


def recipes_table() -> str:
    """What each data set is trained with, and where the numbers are from."""
    rows = [
        (r.data, r.network, r.epochs, r.batch_size, f"{r.rate:g}", f"{r.momentum:g}",
         f"{r.weight_decay:g}", r.source)
        for r in RECIPES.values()
    ]  # fmt: skip
    header = ("data", "network", "epochs", "batch", "rate", "momentum", "weight decay", "from")
    return markdown_table(header, rows)


def formula_table() -> str:
    """What a sample costs by each loss, the numbers chosen, and what the logits carry."""
    rows, trained_by = [], methods(LOSSES)[POSTHOC][0]
    tempered = replace(loss_row("tau=1"), name="logit adjustment", chosen=(r"\tau",))
    for row in (*LOSSES.values(), tempered):
        name = f"{row.name}, and *{POSTHOC}*" if row.name == trained_by else row.name
        carried = f"${row.carries}$" if row.carries else "nothing"
        rows.append((
            f"{name} ({row.paper})" if row.paper else name,
            ", ".join(f"${part}$" for part in (row.formula, *row.where)),
            ", ".join(f"${number}$" for number in row.chosen) or "none",
            carried if row.exact else f"{carried}, distorted",
        ))  # fmt: skip
    header = ("name", "loss of a sample $(x, y)$", "numbers chosen", "the logits carry")
    return markdown_table(header, rows)


def each_test(
    table: Callable[[Values], str], results: Values, parts: Iterable[str] = tuple(PARTS)
) -> str:
    """A heading and a table for each data set and test of some results."""
    blocks = []
    for name, record in results.items():
        found = record["values"]
        for part in (part for part in parts if part in found):
            pictures = found["pictures"]
            counts = f"{pictures['train']:,} pictures to train, {pictures[part]:,} to test"
            heading = f"**{TITLES[name]}**, {PARTS[part]}: {counts}."
            blocks.append(f"{heading}\n\n{table(found[part])}\n")
    return "\n".join(blocks) or "Nothing is archived yet."


def accuracy_table(found: Values) -> str:
    """Methods against measures, with two baselines that look at no picture."""
    accuracy = found["accuracy"]
    trained = next(iter(accuracy.values()))["as_trained"]
    measures = [m for m in NAMES if m in trained]
    rows = [
        (method, *(in_percent(accuracy[loss][rule][m]) for m in measures))
        for method, (loss, rule) in methods(accuracy).items()
    ]
    rows += [(name, *["not run"] * len(measures)) for name in LOSSES if name not in accuracy]
    if "PC-softmax" in accuracy:
        back = accuracy["PC-softmax"]["training"]
        rows.append(("PC-softmax, prior put back", *(in_percent(back[m]) for m in measures)))
    for key, name in BASELINES.items():
        if base := found.get(key):
            shown = (in_percent(base[m]) if m in base else "–" for m in measures)
            rows.append((name, *shown))
    return markdown_table(("%, trained with", *(NAMES[m] for m in measures)), rows)


def shown_contrasts(found: Values) -> dict[str, str]:
    """Keys of the differences that are shown, and what they are called.

    Those of :func:`softmi.experiments.long_tailed_summaries.contrasts`, and PC-softmax with the
    prior put back.
    """
    shown = {
        f"{short_name(a)}_minus_{short_name(b)}": f"{a} − {b}"
        for a, b in contrasts(found["accuracy"])
    }
    shown["pc_prior_back_minus_softmax"] = "PC-softmax, prior put back − softmax"
    return {key: text for key, text in shown.items() if key in found["differences"]}


def difference_table(found: Values) -> str:
    """Differences in points, with intervals over seeds and test pictures."""
    shown = shown_contrasts(found)
    measures = [
        m
        for m in ("micro", "class_mean", "at_training_prior", "few")
        if all(m in found["differences"][key] for key in shown)
    ]
    rows = [
        (text, *(format_points(found["differences"][key][m]) for m in measures))
        for key, text in shown.items()
    ]
    return markdown_table(("difference", *(NAMES[m] for m in measures)), rows)


def family_table(found: Values) -> str:
    """P-values of the differences that rows rest on, alone and corrected for their number."""
    if "family" not in found:
        return "The p-values come with the next full run."
    shown = shown_contrasts(found)
    rows = [
        (shown[key], NAMES[measure], *(f"{number[k]:.2g}" for k in ("p", "holm")))
        for key, measures in found["family"].items()
        for measure, number in measures.items()
    ]
    return markdown_table(("difference", "in", "p", "p, Holm"), rows)


def certainty_table(found: Values) -> str:
    """Calibration error and cross-entropy before and after the correction, and information."""
    rows = []
    for loss in (name for name in LOSSES if name in found["accuracy"]):
        number = found["accuracy"][loss]
        before, after, nats = number["as_trained"], number["test"], number["information"]
        rows.append((
            loss, *(in_percent(n["calibration_error"]) for n in (before, after)),
            *(f"{n['cross_entropy']['mean']:.3f}" for n in (before, after)),
            f"{nats['mean']:.3f} ± {nats['sd']:.3f}".replace("-", "−"),
        ))  # fmt: skip
    header = ("trained with", "calibration error, %", "moved to the test's prior",
              "cross-entropy, nats", "moved", "information, nats")  # fmt: skip
    ceiling = f"The ceiling of the information is $H(Y) = {found['label_entropy']:.3f}$ nats."
    return f"{markdown_table(header, rows)}\n\n{ceiling}\n"


def spread_table(results: Values) -> str:
    """Spread over seeds beside that over the methods that correct."""
    rows = []
    for name, record in results.items():
        for part in (part for part in PARTS if part in record["values"]):
            for measure, number in record["values"][part]["spread"].items():
                points = (f"{100 * number[k]:.2f}" for k in ("over_seeds", "over_methods"))
                where = f"{RECIPES[name].data}, {PARTS[part]}"
                ratio = format_number(number["ratio"], 2)
                rows.append((where, NAMES[measure], *points, ratio))
    header = ("test", "accuracy", "over seeds, points", "over methods, points", "ratio")
    return markdown_table(header, rows) if rows else "Nothing is archived yet."


def published_tables() -> str:
    """Accuracies and differences by the published recipe, from the units that are there."""
    if not result_path(PUBLISHED, "full").exists():
        return "The published recipe is **not run yet**."
    record = load_result(PUBLISHED)
    found, seeds = record["values"]["official"], record["provenance"]["seeds"]
    blocks = [f"{len(record['values']['units'])} networks, seeds {', '.join(map(str, seeds))}."]
    blocks.append(accuracy_table(found))
    if found["differences"]:
        blocks.append(difference_table(found))
        blocks.append(family_table(found))
    return "\n\n".join(blocks)


def papers_table() -> str:
    """Published numbers as they stand in the ledger, and ours."""
    ledger, rows = {claim.id: claim for claim in load_claims()}, []
    for key, (recipe, part, loss, rule, measure) in BESIDE.items():
        claim, ours = ledger[key], "not run"
        name = f"{NAME}_{recipe.removeprefix('cifar10lt_')}"
        if result_path(name, "full").exists():
            accuracy = load_result(name)["values"][part]["accuracy"]
            ours = in_percent(accuracy[loss][rule][measure])
        method = loss if rule == "as_trained" else POSTHOC
        what = f"{claim.setting['data']}: {method}, {NAMES[measure]}"
        value = f"{100 * claim.value:.2f}" if claim.value is not None else "–"
        rows.append((what, value, claim.setting["network"], ours, RECIPES[recipe].data,
                     RECIPES[recipe].network))  # fmt: skip
    header = ("number", "published, %", "with", "ours, %", "on", "with")
    return markdown_table(header, rows)


# --- Figures -----------------------------------------------------------------------------------


def _two_panels(title: str, height: float, **options: Any) -> tuple[Figure, Any]:
    figure, panels = plt.subplots(1, 2, figsize=(7.2, height), **options)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure, panels


def draw_methods(found: Values, title: str) -> None:
    """A row a method: a dot a seed and the mean, for two accuracies."""
    ways = methods(found["accuracy"])
    _, panels = _two_panels(title, 0.4 * len(ways) + 0.8, sharey=True)
    for axes, measure in zip(panels, ("class_mean", "at_training_prior"), strict=True):
        for row, (method, (loss, rule)) in enumerate(ways.items()):
            points = 100 * np.array(found["accuracy"][loss][rule][measure]["values"])
            axes.plot(points, np.full(len(points), row), marker(method), color=ink(method),
                      markersize=5, alpha=0.5)  # fmt: skip
            mean = [points.mean()] * 2
            axes.plot(mean, [row - 0.3, row + 0.3], color=ink(method), linewidth=3)
        axes.set(xlabel=f"{NAMES[measure]}, %", ylim=(len(ways) - 0.4, -0.6))
    panels[0].set_yticks(range(len(ways)), list(ways))
    plt.show()


def draw_tau(found: Values, title: str) -> None:
    """Class mean and accuracy at the training prior against tau."""
    curve = found["curves"]["tau"]
    labels = {"softmax": POSTHOC, "PC-softmax": "PC-softmax"}
    _, panels = _two_panels(title, 3.4)
    for axes, measure in zip(panels, ("class_mean", "at_training_prior"), strict=True):
        for loss in (name for name in TAU_OF if name in curve):
            y = 100 * np.array(curve[loss][measure])
            axes.plot(curve["tau"], y, color=colour(labels[loss]), linewidth=2)
        for tau, number in curve["trained"].items():
            mean, sd = (100 * number[measure][key] for key in ("mean", "sd"))
            axes.errorbar(float(tau.replace("_", ".")), mean, sd, fmt="o", color=colour("truth"),
                          markersize=6)  # fmt: skip
        axes.axvline(1, color="#999999", linewidth=1, zorder=0)
        axes.set(xlabel=r"$\tau$ in all", ylabel="%", title=NAMES[measure])
    names = {POSTHOC: "softmax, post-hoc", "PC-softmax": "PC-softmax, moved on",
             "truth": r"trained with $\tau$"}  # fmt: skip
    for height, (key, text) in zip((0.22, 0.13, 0.04), names.items(), strict=True):
        panels[1].text(0.03, height, text, color=colour(key), transform=panels[1].transAxes)
    plt.show()


def draw_priors(found: Values, title: str) -> None:
    """Micro accuracy against the prior of the test, as trained and moved."""
    curve = found["curves"]["prior"]
    _, axes = plt.subplots(figsize=(7.2, 3.6))
    for loss in (name for name in TAU_OF if name in curve):
        for kind, style in {"as_trained": "-", "moved": "--"}.items():
            y = 100 * np.array(curve[loss][kind])
            axes.plot(curve["power"], y, style, color=ink(loss), linewidth=2)
        label_line(axes, 1.0, 100 * curve[loss]["as_trained"][-1], loss)
    axes.set_xticks([-1, 0, 1], ["tail reversed", "equal shares", "as in training"])
    axes.set(xlabel="class shares of the test", ylabel="micro accuracy, %", xlim=(-1.05, 1.3))
    axes.set_title(title)
    plt.show()


def draw_reliability(found: Values, title: str) -> None:
    """Share of right answers against the probability of the answer, as trained and moved."""
    losses = [name for name in LOSSES if name in found["reliability"]]
    _, panels = _two_panels(title, 3.8, sharey=True)
    kinds = {"as_trained": "as trained", "moved": "moved to the test's prior"}
    for axes, (kind, name) in zip(panels, kinds.items(), strict=True):
        axes.plot([0, 100], [0, 100], color="#999999", linewidth=1)
        for loss in losses:
            points = {k: np.array(v) for k, v in found["reliability"][loss][kind].items()}
            used = points["share"] > 0.005
            axes.plot(100 * points["sure"][used], 100 * points["right"][used], color=ink(loss),
                      marker=marker(loss), markersize=4)  # fmt: skip
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="probability of the answer, %", title=name)
    for i, loss in enumerate(losses):
        panels[0].text(0.03, 0.93 - 0.08 * i, loss, color=ink(loss),
                       transform=panels[0].transAxes)  # fmt: skip
    panels[0].set_ylabel("right, %")
    plt.show()
