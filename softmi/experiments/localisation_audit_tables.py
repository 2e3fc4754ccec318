"""Tables of chapter 08, in Markdown, from the values of its results."""

from collections.abc import Mapping, Sequence
from typing import Any

from softmi.evidence.tables import in_percent, markdown_table
from softmi.experiments.localisation import (
    BOX_NAMES,
    CONTRAST_NAMES,
    CONTRASTS,
    geometry_label,
)

Values = Mapping[str, Mapping[str, Any]]  # by data set and network

HEAD = {
    "softmax": "softmax, SGD",
    "softmax_adam": "softmax, Adam",
    "softmax_skewed": "softmax, skewed classes",
    "pc_softmax_skewed": "PC-softmax, skewed classes",
}
THRESHOLD = {
    "fixed": "0.2, as theirs",
    "gt_known": "held-out images choose",
    "max_box_acc": "the test chooses",
    "per_image": "each image chooses",
}


def settings_of(values: Values) -> list[tuple[str, str]]:
    """Return the pairs of data set and network, in order."""
    return [(data, network) for data, networks in values.items() for network in networks]


def share(entry: float | Mapping[str, float]) -> str:
    """Write a share in per cent, with its interval if there is one."""
    if not isinstance(entry, Mapping):
        return in_percent(entry)
    low, high = in_percent(entry["low"]), in_percent(entry["high"])
    return f"{in_percent(entry['mean'])} [{low}, {high}]"


def grid_table(values: Values, geometries: Sequence[str]) -> str:
    """GT-known of the main head for each contrast and geometry, and of boxes that see nothing."""
    networks = [values[d][n] for d, n in settings_of(values)]
    rows = [
        (CONTRAST_NAMES[c], geometry_label(g),
         *(share(v["grid"]["softmax"][c][g]["gt_known"]) for v in networks))
        for c in CONTRASTS for g in geometries
    ]  # fmt: skip
    rows += [
        (f"*box: {name}*", "sees nothing", *(share(v["boxes"][box]["gt_known"]) for v in networks))
        for box, name in BOX_NAMES.items()
    ]
    return markdown_table(("map or box", "geometry", *_columns(values)), rows)


def running_means_table(values: Values) -> str:
    """Share of hits, what the authors' code would print for it, and for other orders."""
    rows = []
    for data, network in settings_of(values):
        for name, entry in values[data][network]["running_means"].items():
            for key, at in entry.items():
                if key == "accuracy":
                    continue
                low, high = (in_percent(at["other_orders"][end]) for end in ("low", "high"))
                rows.append((data, network, CONTRAST_NAMES[name], key.split("_")[1],
                             share(entry["accuracy"]), share(at["printed"]),
                             f"{low} to {high}"))  # fmt: skip
    header = ("data", "network", "map", "batch", "share of hits, %", "mean of running means, %",
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


def threshold_table(values: Values) -> str:
    """GT-known of infoCAM, by who chooses the threshold."""
    rows = []
    for data, network in settings_of(values):
        cell = values[data][network]["grid"]["softmax"]["infocam"]["none"]
        rows.append((data, network, *thresholds_row(cell)))
    return markdown_table(("data", "network", *THRESHOLD.values()), rows)


def thresholds_row(cell: Mapping[str, Any]) -> list[str]:
    """GT-known in per cent for each key of `THRESHOLD`."""
    return [in_percent(cell[key]) for key in THRESHOLD]


def heads_table(values: Values) -> str:
    """How accurate each head is, how centred, and how much its maps are alike."""
    rows = [
        (data, network, HEAD[name], in_percent(head["accuracy"]["mean"]),
         f"{head['cosine']['mean']:.3f}",
         *(f"{head['correlation'][c]['mean']:.3f}"
           for c in ("infocam", "infocam_plus", "rivals_3")))
        for data, network in settings_of(values)
        for name, head in values[data][network]["heads"].items()
    ]  # fmt: skip
    header = ("data", "network", "head", "accuracy, %", "cosine with centred weights",
              "CAM and infoCAM", "CAM and infoCAM+", "CAM and 3 rivals")  # fmt: skip
    return markdown_table(header, rows)


def windows_table(values: Values) -> str:
    """GT-known of CAM and of infoCAM for each head and geometry."""
    networks = [values[d][n]["grid"] for d, n in settings_of(values)]

    def both(cells: Mapping[str, Any], geometry: str) -> str:
        means = (cells[name][geometry]["gt_known"]["mean"] for name in ("cam", "infocam"))
        return " / ".join(map(in_percent, means))

    rows = [
        (HEAD[head], geometry_label(g), *(both(grid[head], g) for grid in networks))
        for head in networks[0]
        for g in networks[0][head]["cam"]
    ]
    return markdown_table(("head", "geometry", *_columns(values)), rows)


def controls_table(values: Values) -> str:
    """GT-known of CAM's boxes moved and made smaller, and of another image's CAM."""
    networks = [values[d][n]["controls"] for d, n in settings_of(values)]

    def named(control: str) -> str:
        what, comma, geometry = control.partition(", ")
        return what + comma + (geometry_label(geometry) if geometry else "")

    rows = [(named(name), *(share(v[name]) for v in networks)) for name in networks[0]]
    return markdown_table(("GT-known, %: boxes of CAM", *_columns(values)), rows)


def nats_table(values: Values) -> str:
    """Information in the true box and in all, beside the box's share of the area."""
    rows = []
    for data, network in settings_of(values):
        head = values[data][network]["heads"]["softmax"]
        of = {name: (entry["inside"], entry["total"]) for name, entry in head["nats"].items()}
        shares = [
            f"{of[name][0]:.2f} of {of[name][1]:.2f} ({100 * of[name][0] / of[name][1]:.0f} %)"
            for name in ("infocam", "infocam_plus")
        ]
        rival = f"{of['rivals_1'][0]:+.2f} of {of['rivals_1'][1]:+.2f}"
        rows.append((data, network, in_percent(head["box"], 0), *shares, rival))
    header = ("data", "network", "box's share of the area, %", "infoCAM: nats in the box",
              "infoCAM+", "1 rival")  # fmt: skip
    return markdown_table(header, rows)


def split_table(values: Values) -> str:
    """How many images train, choose and are judged, and the rates that were chosen."""
    rows = []
    for data, network in settings_of(values):
        split, rates = values[data][network]["split"], values[data][network]["rates"]
        rows.append((
            f"{data}, {network}", *(f"{split[part]:,}" for part in ("learn", "held", "test")),
            *(f"{rates[optimizer]['rate']:g}" for optimizer in ("sgd", "adam")),
        ))  # fmt: skip
    header = ("images and rates", "train", "choose", "test", "rate of SGD", "rate of Adam")
    return markdown_table(header, rows)


def _columns(values: Values) -> list[str]:
    return [f"{data}, {network}" for data, network in settings_of(values)]
