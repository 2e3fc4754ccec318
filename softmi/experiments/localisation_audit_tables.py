"""Tables of chapter 08, in Markdown, from the values of its results."""

from collections.abc import Mapping, Sequence
from typing import Any

from softmi.evidence.tables import in_percent, in_points, markdown_table
from softmi.experiments.localisation import (
    BOX_NAMES,
    CONTRAST_NAMES,
    CONTRASTS,
    geometry_label,
)
from softmi.experiments.localisation_audit import WINDOWS

Values = Mapping[str, Mapping[str, Any]]  # by data set and network

HEAD = {
    "softmax": "softmax, SGD",
    "softmax_adam": "softmax, Adam",
    "pc_softmax_skewed": "PC-softmax, skewed classes",
}
VARIANT = {"softmax": "fine-tuned", "softmax_adl": "fine-tuned with ADL"}
THRESHOLD = {
    "fixed": "0.2, as theirs",
    "gt_known": "held-out images choose",
    "max_box_acc": "the test chooses",
    "per_image": "each image chooses",
    "v2": "V2, held-out images choose",
    "max_box_acc_v2": "V2, the test chooses",
}


def settings_of(values: Values) -> list[tuple[str, str]]:
    """Return the pairs of data set and network, in order."""
    return [(data, network) for data, networks in values.items() for network in networks]


def in_window(data: str) -> str:
    """Return the geometry of the authors' window on a data set."""
    return f"padded_{WINDOWS[data]}"


def share(entry: float | Mapping[str, float]) -> str:
    """Write a share in per cent, with its interval if there is one."""
    if not isinstance(entry, Mapping):
        return in_percent(entry)
    if "low" not in entry:
        return in_percent(entry["mean"])
    low, high = in_percent(entry["low"]), in_percent(entry["high"])
    return f"{in_percent(entry['mean'])} [{low}, {high}]"


def grid_table(values: Values, *, window: bool) -> str:
    """GT-known of the main head for each contrast, and of the best box that sees nothing.

    Args:
        values: By data set and network.
        window: In the authors' window, or without one.

    """
    rows = [
        (data, network,
         *(share(v["grid"]["softmax"][c][in_window(data) if window else "none"]["gt_known"])
           for c in CONTRASTS),
         share(v["boxes"]["centred_best"]["gt_known"]))
        for data, network in settings_of(values)
        for v in [values[data][network]]
    ]  # fmt: skip
    names = (CONTRAST_NAMES[c] for c in CONTRASTS)
    return markdown_table(("data", "network", *names, BOX_NAMES["centred_best"]), rows)


def running_means_table(values: Values, contrast: str = "infocam") -> str:
    """Share of hits, what the authors' code would print for it, and for other orders."""
    rows = []
    for data, network in settings_of(values):
        entry = values[data][network]["running_means"][contrast]
        for key, at in entry.items():
            if key == "accuracy":
                continue
            low, high = (in_percent(at["other_orders"][end]) for end in ("low", "high"))
            rows.append((data, network, key.split("_")[1], share(entry["accuracy"]),
                         share(at["printed"]), f"{low} to {high}"))  # fmt: skip
    header = ("data", "network", "batch", "share of hits, %", "mean of running means, %",
              "in other orders")  # fmt: skip
    return markdown_table(header, rows)


def misread_table(values: Values, network: str = "MobileNetV2") -> str:
    """GT-known on Tiny-ImageNet by the true boxes, and by the boxes as they were read."""
    found = values["Tiny-ImageNet"][network]["misread"]
    rows = [
        ("the true boxes themselves", "100.0", share(found["perfect"])),
        ("the best box inside the picture", "100.0", share(found["best_possible"])),
        ("the whole picture", share(found["whole_picture_true"]), share(found["whole_picture"])),
        ("infoCAM", share(found["infocam_true"]), share(found["infocam"])),
    ]
    return markdown_table(("GT-known, %, Tiny-ImageNet", "true boxes", "boxes as read"), rows)


def threshold_table(values: Values, contrast: str = "infocam") -> str:
    """Localisation in the authors' window, by who chooses the threshold, and by V2."""
    rows = [
        (data, network,
         *thresholds_row(values[data][network]["grid"]["softmax"][contrast][in_window(data)]))
        for data, network in settings_of(values)
    ]  # fmt: skip
    return markdown_table(("data", "network", *THRESHOLD.values()), rows)


def thresholds_row(cell: Mapping[str, Any]) -> list[str]:
    """Mean accuracy in per cent for each key of `THRESHOLD` that a cell has."""
    found = [cell[key] for key in THRESHOLD if key in cell]
    return [in_percent(e["mean"] if isinstance(e, Mapping) else e) for e in found]


def heads_table(values: Values, network: str = "MobileNetV2") -> str:
    """How accurate each head is, how centred, and how much its maps are alike."""
    rows = [
        (data, HEAD[name], in_percent(head["accuracy"]["mean"]), f"{head['cosine']['mean']:.3f}",
         *(f"{head['correlation'][c]['mean']:.3f}"
           for c in ("infocam", "infocam_plus", "rivals_3")))
        for data, networks in values.items()
        for name, head in networks[network]["heads"].items()
    ]  # fmt: skip
    header = ("data", "head", "accuracy, %", "cosine with centred weights", "CAM and infoCAM",
              "CAM and infoCAM+", "CAM and 3 rivals")  # fmt: skip
    return markdown_table(header, rows)


def differences_table(values: Values) -> str:
    """GT-known of infoCAM and infoCAM+ minus that of CAM, for each head, without and with window.

    In points; the family of differences shares its test images and is not corrected.
    """
    rows = [
        (data, network, HEAD[head],
         *(in_points(grid[head][c][g]["minus_cam"])
           for c in ("infocam", "infocam_plus") for g in ("none", in_window(data))))
        for data, network in settings_of(values)
        for grid in [values[data][network]["grid"]]
        for head in grid
    ]  # fmt: skip
    header = ("data", "network", "head", "infoCAM, no window", "infoCAM, window",
              "infoCAM+, no window", "infoCAM+, window")  # fmt: skip
    return markdown_table(header, rows)


def controls_table(values: Values) -> str:
    """GT-known of CAM's boxes moved and made smaller, and of another image's CAM."""
    names = ("as they are", "smaller", "nearer the middle", "both")
    rows = []
    for data, network in settings_of(values):
        found = values[data][network]["controls"]
        others = [f"another image's CAM, {g}" for g in ("none", f"shrink_{WINDOWS[data]}")]
        rows.append((data, network, *(share(found[name]) for name in (*names, *others))))
    header = ("data", "network", *names, "another image's CAM", "the same, shrunk only")
    return markdown_table(header, rows)


def nats_table(values: Values) -> str:
    """Information in the true box and in all, beside the box's share of the area."""
    rows = []
    for data, network in settings_of(values):
        head = values[data][network]["heads"]["softmax"]
        of = {
            name: (entry["inside"]["mean"], entry["total"]["mean"])
            for name, entry in head["nats"].items()
        }
        shares = [
            f"{of[name][0]:.2f} of {of[name][1]:.2f} ({100 * of[name][0] / of[name][1]:.0f} %)"
            for name in ("infocam", "infocam_plus")
        ]
        rival = f"{of['rivals_1'][0]:+.2f} of {of['rivals_1'][1]:+.2f}"
        rows.append((data, network, in_percent(head["box"], 0), *shares, rival))
    header = ("data", "network", "box's share of the area, %", "infoCAM: nats in the box",
              "infoCAM+", "1 rival")  # fmt: skip
    return markdown_table(header, rows)


def fine_tuned_table(values: Mapping[str, Any], geometries: Sequence[str]) -> str:
    """GT-known of each variant of the fine-tuned block, and what it gains on the frozen network.

    Args:
        values: Of the result on fine-tuning.
        geometries: Such as "none" and "padded_4".

    """
    rows = [
        (VARIANT[v], CONTRAST_NAMES[c], geometry_label(g), share(by[c][g]["gt_known"]),
         in_points(by[c][g]["minus_cam"]) if c != "cam" else "",
         in_points(values["minus_frozen"][v][c][g]))
        for v, by in values["grid"].items()
        for c in list(CONTRASTS)[:3]
        for g in geometries
    ]  # fmt: skip
    header = ("network", "map", "geometry", "GT-known, %", "minus CAM, points",
              "minus the frozen network's, points")  # fmt: skip
    return markdown_table(header, rows)


def split_table(values: Values) -> str:
    """How many images train, choose and are judged, and the rates that were chosen."""
    rows = []
    for data, network in settings_of(values):
        split, rates = values[data][network]["split"], values[data][network]["rates"]
        rows.append((
            data, network, *(f"{split[part]:,}" for part in ("learn", "held", "test")),
            *(f"{rates[optimizer]['rate']:g}" for optimizer in ("sgd", "adam")),
        ))  # fmt: skip
    header = ("data", "network", "train", "choose", "test", "rate of SGD", "rate of Adam")
    return markdown_table(header, rows)
