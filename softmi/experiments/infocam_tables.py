"""Tables of chapter 07, from its results; Markdown."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from softmi.evidence.statistics import bootstrap_interval
from softmi.evidence.tables import format_number, in_percent, in_points, markdown_table
from softmi.experiments.infocam_data import TwoDigits
from softmi.experiments.localisation import BOX_NAMES, CONTRAST_NAMES, CONTRASTS, geometry_label

Values = Mapping[str, Any]  # of the result file
ALL_COLUMNS = {
    "gt_known": "GT-known, %",
    "top1": "Top-1, %",
    "fixed": "threshold 0.2, %",
    "v2": "V2, %",
    "max_box_acc": "MaxBoxAcc, %",
}


def two_digits_table(two: TwoDigits) -> str:
    """Nats in the box of the digit that is explained, in the other's, and elsewhere."""
    rows = []
    for name, (mine, theirs) in two.inside.items():
        total = two.maps[name].sum((1, 2))
        right = bootstrap_interval((mine > theirs).double().numpy())
        rows.append((
            CONTRAST_NAMES.get(name, "the other digit"), f"{mine.mean():.1f}",
            f"{theirs.mean():.1f}", f"{(total - mine - theirs).mean():.1f}",
            f"{100 * right['mean']:.0f} [{100 * right['low']:.0f}, {100 * right['high']:.0f}]",
        ))  # fmt: skip
    header = ("map of one digit against", "nats in its box", "in the other's box", "elsewhere",
              "more in its own, %")  # fmt: skip
    return markdown_table(header, rows)


def two_digits_result(values: Values) -> str:
    """The same of several networks, with intervals over networks and scenes."""

    def nats(entry: Mapping[str, Any]) -> str:
        return "{mean:.1f} [{low:.1f}, {high:.1f}]".format(**entry).replace("-", "−")

    rows = [
        (CONTRAST_NAMES.get(name, "the other digit"), nats(by["own"]), nats(by["other"]),
         nats({k: 100 * by["more_in_own"][k] for k in ("mean", "low", "high")}))
        for name, by in values.items()
        if name != "leak"
    ]  # fmt: skip
    header = ("map of one digit against", "nats in its box", "in the other's box",
              "more in its own, %")  # fmt: skip
    return markdown_table(header, rows)


def grid_table(values: Values, columns: Sequence[str] = ("gt_known", "top1")) -> str:
    """Maps and boxes that have seen nothing, in one table."""
    rows = [
        (CONTRAST_NAMES[n], geometry_label(g), *(in_percent(cell[k]) for k in columns))
        for n, by in values["grid"].items()
        for g, cell in by.items()
    ]
    rows += [
        (f"*box: {BOX_NAMES[name]}*", "sees nothing",
         *(in_percent(box[k]) if k in box else "–" for k in columns))
        for name, box in values["baselines"].items()
    ]  # fmt: skip
    return markdown_table(("map or box", "geometry", *(ALL_COLUMNS[k] for k in columns)), rows)


def cells_table(fine: Values, coarse: Values) -> str:
    """What finer cells change: maps of 14 x 14 cells beside those of 7 x 7, in points."""

    def row(label: str, write: Callable[[Any], str], *path: str) -> tuple[str, ...]:
        return label, *(write(reduce(getitem, path, values)) for values in (fine, coarse))

    rows = [
        row("CAM, no window, %", in_percent, "grid", "cam", "none", "gt_known"),
        row("CAM, padded window 4, %", in_percent, "grid", "cam", "padded_4", "gt_known"),
        row("centred box, %", in_percent, "baselines", "centred_best", "gt_known"),
        row("CAM − centred box", in_points, "minus_centred_box", "cam", "none"),
        row("CAM in the window − centred box", in_points, "minus_centred_box", "cam", "padded_4"),
        row("the window's gain, CAM", in_points, "minus_no_window", "cam", "padded_4"),
        row("infoCAM − CAM, no window", in_points, "minus_cam", "infocam", "none"),
        row("infoCAM − CAM, in the window", in_points, "minus_cam", "infocam", "padded_4"),
        row("infoCAM+ − CAM, no window", in_points, "minus_cam", "infocam_plus", "none"),
        row("infoCAM+ − CAM, in the window", in_points, "minus_cam", "infocam_plus", "padded_4"),
    ]
    return markdown_table(("birds", "14 x 14 cells", "7 x 7 cells"), rows)


def contrast_table(values: Values) -> str:
    """Differences to CAM at a fixed geometry, by images and by classes."""
    rows = []
    for name, by in values["minus_cam"].items():
        for geometry, entry in by.items() if name != "cam" else ():
            of_classes = {"low": entry["low_classes"], "high": entry["high_classes"]}
            shown = in_points(entry | of_classes).partition(" ")[2]
            label = geometry_label(geometry)
            rows.append((f"{CONTRAST_NAMES[name]} − CAM", label, in_points(entry), shown))
    return markdown_table(("difference", "geometry", "points, 95 %", "by classes"), rows)


def ingredients_table(values: Values) -> str:
    """Each ingredient of the window sum alone, against no window."""
    by = values["ingredients"]
    rows = [
        (geometry_label(g), in_points(by["cam"][g]), in_points(by["infocam_plus"][g]))
        for g in by["cam"]
    ]
    return markdown_table(("ingredient, window", "CAM, points", "infoCAM+, points"), rows)


def control_table(values: Values) -> str:
    """GT-known of the image's own CAM and of another image's."""
    rows = [
        (geometry_label(g), in_percent(values["grid"]["cam"][g]["gt_known"]),
         in_percent(other["gt_known"]))
        for g, other in values["permuted"].items()
    ]  # fmt: skip
    return markdown_table(("GT-known, %", "CAM of the image", "CAM of another image"), rows)


def centred_box_table(values: Values) -> str:
    """Maps less the best centred box."""
    rows = [
        (CONTRAST_NAMES[n], geometry_label(g), in_points(entry))
        for n in ("cam", "infocam", "infocam_plus")
        for g, entry in values["minus_centred_box"][n].items()
    ]
    return markdown_table(("map", "geometry", "minus best centred box, points"), rows)


def heads_table(values: Values) -> str:
    """The gauge and the information of the trained heads."""
    rows = [
        ("test accuracy of the head", format_number(values["accuracy"])),
        ("information about the species, H(Y) − CE, nats", format_number(values["information"])),
        ("cosine of class weights and centred ones, SGD", format_number(values["cosine"], 4)),
        ("the same, Adam", format_number(values["adam_cosine"], 4)),
        ("cosine of the mean weight before and after training, SGD",
         format_number(values["mean_weight_direction"], 4)),
        *((f"correlation of the maps of CAM and {CONTRAST_NAMES[n]}",
           format_number(values["map_correlation"][n], 4)) for n in CONTRASTS if n != "cam"),
    ]  # fmt: skip
    seeds = values["accuracy"]["n"]
    return markdown_table((f"CUB-50, {seeds} heads", "mean ± s.d."), rows)


def nats_table(values: Values) -> str:
    """Nats of each map for the right class, and how many are in the true box."""
    rows = [
        (CONTRAST_NAMES[n], f"{e['total']['mean']:.2f}", f"{e['inside']['mean']:.2f}",
         f"{100 * e['inside']['mean'] / e['total']['mean']:.0f} %",
         f"{100 * e['area']['mean']:.0f} %")
        for n, e in values["nats"].items() if n != "cam"
    ]  # fmt: skip
    header = ("nats for the right class", "whole map", "in the true box", "share",
              "box's share of the area")  # fmt: skip
    return markdown_table(header, rows)
