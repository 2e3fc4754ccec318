"""Figures of chapter 07, from its results."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from softmi.evidence.figures import colour
from softmi.experiments.infocam_data import SceneNetwork, TwoDigits
from softmi.experiments.localisation import CONTRAST_NAMES, CONTRASTS, geometry_label
from softmi.maps import boxes_from_score_maps, map_to_picture, sum_in_boxes

INK = {
    "cam": "CAM",
    "infocam": "infoCAM",
    "infocam_plus": "infoCAM+",
    "rivals_1": "rivals",
    "rivals_3": "rivals",
}
# The book brings the script; elsewhere only the sentence is left.
MAP_TO_POINT_AT = """
<div class="play play-nats-figure">
<p>In the book a map to point at stands here, the same as on its page
<a href="../book/play.html#try-nats">Try it</a>.</p>
</div>
<link rel="stylesheet" href="../_static/play.css">
<script src="../_static/play-data.js"></script>
<script src="../_static/play.js"></script>
"""
PIXELS = (-0.5, 47.5, 47.5, -0.5)  # cells over the pixels of a scene


def draw_box(axes: Axes, box: Num[Tensor, " 4"], method: str, linestyle: str = "-") -> None:
    """Draw a box in the colour of a method."""
    x0, y0, x1, y1 = (float(v) for v in box)
    axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, linewidth=1.6,
                             edgecolor=colour(method), linestyle=linestyle))  # fmt: skip


def show(axes: Axes, image: Num[Tensor, "height width"], **options: Any) -> None:
    """Show cells and pixels as they are."""
    axes.imshow(image.numpy(), interpolation="nearest", **options)


def bare(axes: Axes, title: str = "") -> None:
    """Leave a picture without ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.set_title(title, fontsize=9.5)


def title(figure: Figure, text: str) -> None:
    """Set a title over all panels, at the left."""
    figure.suptitle(text, fontsize=10, x=0.01, ha="left")


def right_scenes(learned: SceneNetwork, number: int = 3) -> list[int]:
    """Return the first scenes that the network names rightly."""
    right = learned.logits.argmax(1) == learned.scenes.targets
    return right.nonzero()[:number, 0].tolist()


def draw_maps(learned: SceneNetwork) -> Figure:
    """Three scenes, the map of their class for each contrast, and the box of the map."""
    figure, axes = plt.subplots(3, 6, figsize=(7.2, 3.9))
    scenes, shown = learned.scenes, right_scenes(learned)
    for row, i in zip(axes, shown, strict=True):
        show(row[0], scenes.images[i, 0], cmap="gray")
        bare(row[0], "scene" if i == shown[0] else "")
        draw_box(row[0], scenes.boxes[i], "true box")
        for ax, name in zip(row[1:], CONTRASTS, strict=True):
            large = map_to_picture(learned.maps[name][i : i + 1], 48)
            show(ax, large[0], cmap="magma")
            bare(ax, CONTRAST_NAMES[name] if i == shown[0] else "")
            draw_box(ax, scenes.boxes[i], "true box")
            draw_box(ax, boxes_from_score_maps(large, 0.4)[0], "infoCAM+", "--")
    title(figure, "Five maps of the same class: true box (green), box of the map at 0.4 of its "
                  "range (dashed)")  # fmt: skip
    return figure


def draw_gauge(
    learned: SceneNetwork, moved: Mapping[str, Float[Tensor, "scenes cells cells"]]
) -> Figure:
    """CAM and infoCAM of one scene, for one classifier in two gauges."""
    i = right_scenes(learned)[0]
    figure, axes = plt.subplots(1, 4, figsize=(7.2, 2.2))
    panels = [(name, where) for name in ("cam", "infocam") for where in ("", ", moved weights")]
    for ax, (name, where) in zip(axes, panels, strict=True):
        maps = moved if where else learned.maps
        show(ax, map_to_picture(maps[name][i : i + 1], 48)[0], cmap="magma")
        bare(ax, CONTRAST_NAMES[name] + where)
        draw_box(ax, learned.scenes.boxes[i], "true box")
    title(figure, "One classifier, written in two ways: the same probabilities, but not the same "
                  "CAM")  # fmt: skip
    return figure


def show_signed(axes: Axes, nats: Float[Tensor, "cells cells"]) -> None:
    """Show a map in red where it speaks for the class and in blue where against."""
    top = float(nats.abs().max())
    show(axes, nats, cmap="RdBu_r", vmin=-top, vmax=top, extent=PIXELS)


def draw_nats(learned: SceneNetwork) -> Figure:
    """Nats a cell of one scene against its likeliest rival and the least likely class."""
    i, scenes = right_scenes(learned)[1], learned.scenes
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.9))
    y = int(scenes.targets[i])
    show(axes[0], scenes.images[i, 0], cmap="gray", extent=PIXELS)
    bare(axes[0], f"a {y}")
    draw_box(axes[0], scenes.boxes[i], "true box")
    rank = [k for k in learned.logits[i].argsort().tolist() if k != y]
    against = {"rivals_1": rank[-1], "infocam_plus": rank[0]}
    for ax, (name, k) in zip(axes[1:], against.items(), strict=True):
        nats = learned.maps[name][i]
        show_signed(ax, nats)
        part = float(sum_in_boxes(nats[None], scenes.boxes[i : i + 1], (48, 48)))
        bare(ax, f"{y} against {k}")
        outside = float(nats.sum()) - part
        ax.set_xlabel(f"in the box {part:.1f} nats,\noutside {outside:.1f}", fontsize=9.5)
        draw_box(ax, scenes.boxes[i], "true box")
    title(figure, "Information for the right class over another, cell by cell (red: for, blue: "
                  "against)")  # fmt: skip
    return figure


def draw_two_digits(two: TwoDigits) -> Figure:
    """Scenes with two digits: CAM of the first, and its map against the second."""
    figure, axes = plt.subplots(3, 3, figsize=(5.4, 5.2))
    for i, row in enumerate(axes):
        here, there = two.scenes.targets[i].tolist()
        show(row[0], two.scenes.images[i, 0], cmap="gray", extent=PIXELS)
        bare(row[0], f"a {here} and a {there}")
        names = {"cam": f"CAM of the {here}", "other": f"{here} against {there}"}
        for ax, (name, text) in zip(row[1:], names.items(), strict=True):
            show_signed(ax, two.maps[name][i])
            bare(ax, text)
        for ax in row:
            draw_box(ax, two.scenes.boxes[i, 0], "true box")
            draw_box(ax, two.scenes.boxes[i, 1], "centred box", ":")
    title(figure, "The digit that is explained (green), the other one (dotted)")
    return figure


def draw_geometries(values: Mapping[str, Any]) -> Figure:
    """GT-known of each contrast in each main geometry, beside the best centred box."""
    figure, axes = plt.subplots(figsize=(7.2, 3.8))
    main, test = list(values["grid"]["cam"]), values["split"]["test"]
    for x, geometry in enumerate(main):
        for shift, name in zip(np.linspace(-0.3, 0.3, 5), CONTRASTS, strict=True):
            share, ink = values["grid"][name][geometry]["gt_known"]["mean"], colour(INK[name])
            # Images, not seeds, are the larger source of chance: two standard errors of a share.
            half = 200 * (share * (1 - share) / test) ** 0.5
            mark = "s" if name == "rivals_3" else "o"
            axes.errorbar(x + shift, 100 * share, half, fmt=mark, color=ink, markersize=6)
            if x == 0:
                end, ha, va = (1, "left", "bottom") if name == "rivals_3" else (-1, "right", "top")
                axes.annotate(CONTRAST_NAMES[name], (x + shift, 100 * share + end * half),
                              (-3 * end, 4 * end), textcoords="offset points", color=ink,
                              fontsize=9, rotation=60, ha=ha, va=va)  # fmt: skip
    box, ink = 100 * values["baselines"]["centred_best"]["gt_known"], colour("centred box")
    axes.axhline(box, color=ink, linestyle="--", linewidth=1.5)
    axes.annotate("centred box, sees nothing", (len(main) - 0.55, box), (0, -4), color=ink,
                  textcoords="offset points", fontsize=9, ha="right", va="top")  # fmt: skip
    axes.set(xticks=range(len(main)), xticklabels=[geometry_label(g) for g in main],
             xlim=(-0.6, len(main) - 0.5), ylim=(18, 72), ylabel="GT-known, %",
             title="The geometry decides more than the contrast")  # fmt: skip
    axes.grid(axis="x", visible=False)
    return figure


def draw_means(means: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Averages over the test images: of the true boxes, and of CAM in each main geometry."""
    figure, axes = plt.subplots(1, 4, figsize=(7.2, 2.2))
    for ax, (name, mean) in zip(axes, means.items(), strict=True):
        show(ax, torch.tensor(mean), cmap="magma", vmin=0)
        bare(ax, "true boxes" if name == "boxes" else f"CAM, {geometry_label(name)}")
    title(figure, "Averages over the test images: birds are in the middle")
    return figure


def draw_thresholds(values: Mapping[str, Any]) -> Figure:
    """GT-known against the score threshold, in each main geometry."""
    figure, axes = plt.subplots(figsize=(7.2, 3.5))
    styles: dict[str, Any] = {"no window": "-", "padded": "--", "shrunk": ":"}
    for y, (name, by) in zip((45, 40, 35), values["curves"].items(), strict=True):
        ink = colour(INK[name])
        for style, curve in zip(styles.values(), by.values(), strict=True):
            at = np.arange(len(curve)) / len(curve)
            axes.plot(at, 100 * np.array(curve), style, color=ink, linewidth=1.8)
        axes.text(0.8, y, CONTRAST_NAMES[name], color=ink, fontsize=9)
    ink = colour("truth")
    lines = [Line2D([], [], linestyle=s, color=ink, label=n) for n, s in styles.items()]
    axes.legend(handles=lines, loc="upper right", fontsize=9)
    axes.axvline(0.2, color=colour("truth"), linewidth=0.8, linestyle=":")
    axes.set_title("A fixed threshold favours one geometry over another")
    axes.set(xlabel="threshold, share of the map's range", ylabel="GT-known, %")
    axes.set(xlim=(0, 1), ylim=(0, 72))
    return figure
