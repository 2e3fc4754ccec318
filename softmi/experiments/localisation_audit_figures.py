"""Figures of chapter 08, from its results."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from softmi.datasets.scenes import Scenes
from softmi.datasets.tiny_imagenet import misread_boxes
from softmi.evidence.figures import colour
from softmi.experiments.localisation import CONTRAST_NAMES, CONTRASTS, GEOMETRY_NAMES
from softmi.experiments.localisation_audit import WINDOWS
from softmi.experiments.localisation_audit_tables import HEAD, Values, in_window, settings_of
from softmi.experiments.published_code import weights_of_running_means

INK = {
    "infocam": "infoCAM",
    "infocam_plus": "infoCAM+",
    "rivals_1": "rivals",
    "rivals_3": "rivals",
}
KINDS = {"padded": "truth", "blur": "CAM", "shrink": "centred box"}


def draw_weights(lists: Sequence[tuple[int, int]] = ((2878, 30), (5000, 640))) -> Figure:
    """Weight of an image in the authors' number by its place, for lists of images in batches."""
    figure, axes = plt.subplots(figsize=(7.2, 3))
    for (images, batch), style in zip(lists, ("-", "--"), strict=True):
        place = np.arange(images) / images
        label = f"{images:,} images, batches of {batch}"
        weights = weights_of_running_means(images, batch)
        axes.plot(place, weights, style, color=colour("centred box"), label=label)
    axes.axhline(1, color=colour("truth"), label="a mean")
    axes.set(xlabel="place in the list", ylabel="weight of an image", ylim=(0, 6), xlim=(0, 1))
    axes.set_title("The first classes of the list make the result")
    axes.legend()
    return figure


def draw_misread_boxes(scenes: Scenes, shown: Sequence[int] = (0, 1, 2)) -> Figure:
    """True boxes of scenes, and the same as the authors' code reads them."""
    figure, panels = plt.subplots(1, len(shown), figsize=(7.2, 2.6))
    size = scenes.images.shape[-1]
    read = misread_boxes(scenes.boxes, size)
    for axes, i in zip(panels, shown, strict=True):
        axes.imshow(scenes.images[i, 0].numpy(), cmap="gray", extent=(0, size, size, 0))
        true = (scenes.boxes[i], "true box", "-")
        for box, ink, style in (true, (read[i], "centred box", "--")):
            x0, y0, x1, y1 = box.tolist()
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, linewidth=1.8,
                                     edgecolor=colour(ink), linestyle=style))  # fmt: skip
        axes.set(xlim=(0, 100), ylim=(100, 0), xticks=[], yticks=[])
        axes.grid(False)
    figure.suptitle("The true box (green), and what the released code takes for it (dashed)",
                    fontsize=10, x=0.01, ha="left")  # fmt: skip
    return figure


def draw_contrasts(values: Values) -> Figure:
    """GT-known of each contrast minus that of CAM in the authors' window, by setting and head."""
    places = settings_of(values)
    figure, panels = plt.subplots(1, 4, figsize=(7.2, 1.4 + 0.42 * len(places)), sharey=True)
    for axes, name in zip(panels, list(CONTRASTS)[1:], strict=True):
        for y, (data, network) in enumerate(places):
            for j, head in enumerate(HEAD):
                cell = values[data][network]["grid"][head][name][in_window(data)]
                _draw_interval(axes, cell["minus_cam"], -y - 0.25 * (j - 1), fmt="osD"[j],
                               color=colour(INK[name]), markersize=4, linewidth=1)  # fmt: skip
        _finish(axes, CONTRAST_NAMES[name])
    _name_settings(panels[0], places)
    figure.supxlabel("GT-known minus that of CAM, points; both in the authors' window",
                     fontsize=10)  # fmt: skip
    figure.suptitle("infoCAM gains where Adam trained the head (squares)", fontsize=11, x=0.01,
                    ha="left")  # fmt: skip
    return figure


def draw_windows(values: Values) -> Figure:
    """GT-known of CAM with the window sum or an ingredient of it, minus that without."""
    places = settings_of(values)
    figure, axes = plt.subplots(figsize=(7.2, 1.4 + 0.36 * len(places)))
    for y, (data, network) in enumerate(places):
        cells = values[data][network]["grid"]["softmax"]["cam"]
        for j, (kind, ink) in enumerate(KINDS.items()):
            entry = cells[f"{kind}_{WINDOWS[data]}"]["minus_no_window"]
            label = None if y else GEOMETRY_NAMES[kind]
            _draw_interval(axes, entry, -y - 0.25 * (j - 1), fmt="osD"[j], markersize=5,
                           color=colour(ink), label=label)  # fmt: skip
    _finish(axes, "The window sum gains everywhere; what in it gains differs")
    _name_settings(axes, places)
    axes.legend(fontsize=9)
    axes.set_xlabel("GT-known of CAM minus that without a window, points")
    return figure


def _draw_interval(axes: Axes, entry: Mapping[str, float], y: float, **style: Any) -> None:
    """A difference in points, with its interval."""
    middle, low, high = (100 * entry[key] for key in ("mean", "low", "high"))
    axes.errorbar(middle, y, xerr=[[middle - low], [high - middle]], **style)


def _finish(axes: Axes, title: str) -> None:
    axes.axvline(0, color=colour("truth"), linewidth=1)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", visible=False)


def _name_settings(axes: Axes, places: Sequence[tuple[str, str]]) -> None:
    labels = [f"{data}\n{network}" for data, network in places]
    axes.set(yticks=[-y for y in range(len(places))], yticklabels=labels)
