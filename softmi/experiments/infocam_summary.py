"""From the records of chapter 07's seeds to the values of its result file.

The main cells of the grid have all seeds; all other geometries and the control have the first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from softmi.evidence.statistics import bootstrap_interval, gather, summarise
from softmi.experiments.localisation import CONTRASTS

COUNTED = (
    "gt_known", "top1", "fixed", "max_box_acc", "v2", "max_box_acc_v2", "held_out", "threshold",
)  # fmt: skip
OF_A_HEAD = ("accuracy", "information", "cosine", "smallest_cosine")
CellPath = tuple[str, ...]  # of a cell in a record


def mean_hits(
    records: Sequence[Mapping[str, Any]], path: CellPath
) -> Float[np.ndarray, " images"]:
    """Right or not, image by image, of the cell at a path: a mean over seeds."""
    found = []
    for record in records:
        cell: Any = record
        for key in path:
            cell = cell[key]
        found.append(cell["hits"].double().numpy())
    return np.mean(found, axis=0)


def difference(
    records: Sequence[Mapping[str, Any]],
    a: CellPath,
    b: CellPath,
    classes: Int[np.ndarray, " images"],
) -> dict[str, Any]:
    """Difference of two cells paired by image, with intervals from images and whole classes."""
    d = mean_hits(records, a) - mean_hits(records, b)
    by_class = bootstrap_interval(d, classes)
    return bootstrap_interval(d) | {
        "low_classes": by_class["low"], "high_classes": by_class["high"], "seeds": len(records),
    }  # fmt: skip


def collect(
    records: Sequence[Mapping[str, Any]], classes: Int[np.ndarray, " images"]
) -> dict[str, Any]:
    """Values of the result file.

    Args:
        records: Of the seeds, as `measure` and `measure_birds` of
            :mod:`softmi.experiments.infocam` give.
        classes: Of the test images: whole classes are resampled too.

    """
    first, main = records[0], list(records[0]["grid"]["cam"])
    cells = [(n, g) for n in CONTRASTS for g in main]

    def against(of: Any) -> dict[str, Any]:
        """Differences of every main cell to the one at the path that `of` gives."""
        found: dict[str, Any] = {n: {} for n in CONTRASTS}
        for n, g in cells:
            found[n][g] = difference(records, ("grid", n, g), of(n, g), classes)
        return found

    values: dict[str, Any] = {
        "grid": gather([
            {n: {g: {k: r["grid"][n][g][k] for k in COUNTED} for g in main} for n in CONTRASTS}
            for r in records
        ]),
        "minus_cam": against(lambda n, g: ("grid", "cam", g)),
        "minus_no_window": against(lambda n, g: ("grid", n, "none")),
        "minus_centred_box": against(lambda n, g: ("baselines", "centred_best")),
        "baselines": {
            name: {k: box[k] for k in ("side", "gt_known", "v2")}
            | {"top1": summarise([r["baselines"][name]["top1"] for r in records])}
            for name, box in first["baselines"].items()
        },
        "nats": gather([
            {n: e | {"area": r["head"]["box"]} for n, e in r["head"]["nats"].items()}
            for r in records
        ]),
        "centring_error": summarise([r["centring_error"] for r in records]),
    }  # fmt: skip
    values |= of_first_seed(first, classes)
    n, g = max(cells, key=lambda c: values["grid"][c[0]][c[1]]["held_out"]["mean"])
    values["chosen"] = {
        "contrast": n, "geometry": g, "gt_known": values["grid"][n][g]["gt_known"],
        "minus_centred_box": values["minus_centred_box"][n][g],
    }  # fmt: skip
    if "split" in first:  # heads on a frozen network
        values |= gather([{k: r["head"][k] for k in OF_A_HEAD} for r in records])
        values["map_correlation"] = gather([r["head"]["correlation"] for r in records])
        for key in ("mean_weight_direction", "adam_cosine"):
            values[key] = summarise([r[key] for r in records])
        values |= {"mirror": first["mirror"], "split": first["split"]}
    return values


def of_first_seed(first: Mapping[str, Any], classes: Int[np.ndarray, " images"]) -> dict[str, Any]:
    """All geometries, the ingredients of the window sum, the control and the curves."""
    every, main = first["geometries"], list(first["grid"]["cam"])
    kept = ("gt_known", "max_box_acc", "threshold")
    return {
        "geometries": {n: {g: {k: c[k] for k in kept} for g, c in by.items()}
                       for n, by in every.items()},
        "ingredients": {
            n: {g: difference([first], ("geometries", n, g), ("geometries", n, "none"), classes)
                for g in every[n] if g != "none"}
            for n in ("cam", "infocam_plus")
        },
        "permuted": {g: {k: c[k] for k in kept[:2]} for g, c in first["permuted"].items()},
        "curves": {n: {g: np.round(every[n][g]["curve"].numpy(), 4).tolist() for g in main}
                   for n in ("cam", "infocam", "infocam_plus")},
    }  # fmt: skip
