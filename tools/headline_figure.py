"""The picture of the book's first page: headline claims, the paper's numbers beside ours."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from softmi.evidence.figures import save_figure, use_style
from softmi.evidence.ledger import VERDICTS, Judgement
from softmi.evidence.statistics import interval
from tools.scoreboard import MARKS

# Panels: title and factor to its unit, and the claims shown with a short name each.
PANELS: Mapping[tuple[str, float], Mapping[str, str]] = {
    ("Does it measure information? Error in nats", 1): {
        "synthetic-pc-softmax": "PC-softmax, worst of 8 tasks",
        "synthetic-softmax-entropy": "softmax + H(Y), likewise",
        "limits-random-labels-cross-fitted": "labels that mean nothing",
    },
    ("Does it help rare classes? Class mean, points", 100): {
        "pc-raises-class-mean": "PC − softmax, MNIST",
        "lt-pc-class-mean": "PC − softmax, CIFAR-10-LT",
        "posthoc-equals-pc": "PC = post-hoc, MNIST",
    },
    ("Does it find the object? GT-known on birds, points", 100): {
        "infocam-above-cam": "infoCAM − CAM",
        "infocam-plus-above-cam": "infoCAM+ − CAM",
        "window-sum-gains": "window sum − none",
    },
}
# One shape and one colour a verdict, in a light and a dark version: Okabe and Ito's hues.
SHAPES = dict(zip(VERDICTS, "o^vXs__oXoXo^X", strict=True))
GREY = {"color": "#88888844", "linewidth": 0, "zorder": 0}
_OF_MARK = {"✓": ("#00795A", "#2CC69A"), "≈": ("#0072B2", "#56B4E9"), "✗": ("#C04A00", "#FF9A5C")}
_NONE = ("#666666", "#B5B5B5")
COLOURS = {dark: {v: _OF_MARK.get(MARKS[v], _NONE)[dark] for v in VERDICTS} for dark in (0, 1)}


def headline_figure(path: Path, judgements: Mapping[str, Judgement], *, dark: bool) -> None:
    """Draw each headline claim: its number with interval, what is asked for, its verdict."""
    ink = "#d8d8d8" if dark else "#333333"
    use_style()
    for key in ("text.color", "axes.titlecolor", "xtick.color", "ytick.color"):
        plt.rcParams[key] = ink
    heights = [len(claims) for claims in PANELS.values()]
    figure, panels = plt.subplots(
        len(PANELS), figsize=(5.4, 0.3 * sum(heights) + 0.6 * len(PANELS)), height_ratios=heights
    )
    for axes, ((title, factor), claims) in zip(panels, PANELS.items(), strict=True):
        rows = [judgements[claim] for claim in claims]
        axes.set_xlim(limits(rows, factor))
        for row, judgement in enumerate(rows):
            draw_claim(axes, -row, judgement, factor, COLOURS[dark][judgement.verdict], ink)
        axes.annotate(
            title, (0, 1), xycoords=("figure fraction", "axes fraction"), xytext=(4, 5),
            textcoords="offset points", fontsize=11, fontweight="bold",
        )  # fmt: skip
        axes.set_yticks([-row for row in range(len(rows))], list(claims.values()), fontsize=10)
        axes.set_ylim(0.5 - len(rows), 0.5)
        axes.tick_params(axis="x", labelsize=9, pad=0)
        axes.grid(visible=False)
        axes.patch.set_alpha(0)
        axes.spines[["left", "bottom"]].set_visible(False)
    figure.patch.set_alpha(0)
    save_figure(figure, path)


def limits(rows: Sequence[Judgement], factor: float) -> tuple[float, float]:
    """Return the ends of an axis that holds all numbers of a panel, and some air."""
    ends = [end for j in rows for end in interval(j.ours)]
    ends += [j.claim.check.target for j in rows]
    low, high = min(ends), max(ends)
    air = 0.08 * (high - low)
    return factor * (low - air), factor * (high + air)


def draw_claim(
    axes: Axes, y: float, judgement: Judgement, factor: float, colour: str, ink: str
) -> None:
    """One row: grey where the claim asks the number to be, the number, the paper's, a mark."""
    check, ours = judgement.claim.check, judgement.ours
    if judgement.claim.value is not None:
        axes.plot(factor * judgement.claim.value, y, "D", color=ink, markersize=7)
    elif check.relation != "equals":
        end = axes.get_xlim()[check.relation == "above"]
        axes.fill_betweenx([y - 0.3, y + 0.3], factor * check.target, end, **GREY)
    else:
        low, high = check.target - check.margin, check.target + check.margin
        axes.fill_betweenx([y - 0.3, y + 0.3], factor * low, factor * high, **GREY)
    axes.plot([factor * end for end in interval(ours)], [y, y], color=colour, linewidth=2)
    axes.plot(
        factor * (ours["mean"] if isinstance(ours, Mapping) else ours), y,
        SHAPES[judgement.verdict], markersize=8, color=colour, markeredgewidth=1.6,
        markerfacecolor="none" if COLOURS[0][judgement.verdict] == _NONE[0] else colour,
    )  # fmt: skip
    axes.annotate(
        MARKS[judgement.verdict], (1, y), xycoords=("axes fraction", "data"), xytext=(6, 0),
        textcoords="offset points", va="center", fontsize=12, color=colour,
        fontfamily="DejaVu Sans", annotation_clip=False,
    )  # fmt: skip


def caption(judgements: Mapping[str, Judgement]) -> str:
    """Return the caption: how to read the picture, and how many it shows of each verdict."""
    shown = [judgements[claim] for claims in PANELS.values() for claim in claims]
    counts = Counter(j.verdict for j in shown)
    marks = ", ".join(f"{MARKS[v]} {v} ({counts[v]})" for v in VERDICTS if counts[v])
    printed = any(j.claim.value is not None for j in shown)
    theirs = "; diamonds are the paper's own numbers" if printed else ""
    return (
        "Ours as a mark with its 95 % interval, often narrower than the mark; grey is where the "
        f"claim wants it{theirs}; PC is PC-softmax.\n{marks}."
    )


def alternative_text(judgements: Mapping[str, Judgement]) -> str:
    """Return the picture in words: each claim with its number and verdict."""
    panels = []
    for (title, factor), claims in PANELS.items():
        rows = []
        for claim, name in claims.items():
            j = judgements[claim]
            ours = j.ours["mean"] if isinstance(j.ours, Mapping) else j.ours
            paper = "" if j.claim.value is None else f", the paper's {factor * j.claim.value:.4g}"
            rows.append(f"{name} {factor * ours:.2g}{paper}, {j.verdict}")
        panels.append(f"{title}: {'; '.join(rows)}.")
    return " ".join(panels)
