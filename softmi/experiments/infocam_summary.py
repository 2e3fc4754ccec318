"""From the records of chapter 07's seeds to the values of its result file.

The main cells of the grid have all seeds; all other geometries and the control have the first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from softmi.evidence.chosen import Hits, chosen_interval
from softmi.evidence.outcomes import Outcomes
from softmi.evidence.statistics import gather, summarise
from softmi.experiments.localisation import CONTRASTS

COUNTED = (
    "gt_known", "top1", "fixed", "max_box_acc", "v2", "max_box_acc_v2", "held_out", "threshold",
)  # fmt: skip
OF_A_HEAD = ("accuracy", "information", "cosine", "smallest_cosine")
BOX = "centred box"  # its side is chosen on held-out images as thresholds are


def outcomes_of(
    records: Sequence[Mapping[str, Any]], classes: Mapping[str, Tensor]
) -> Outcomes:
    """Hits of every main cell, of the centred box and, of the first seed, of all other geometries.

    Args:
        records: Of the seeds, as `measure` of :mod:`softmi.experiments.infocam` gives.
        classes: Of the images that train ("train"), choose ("held") and are judged ("test").

    """
    cells = {
        f"{n} {g}": [r["grid"][n][g] for r in records]
        for n, by in records[0]["grid"].items()
        for g in by
    }
    cells[BOX] = [r["baselines"]["centred_best"] for r in records]
    for n in ("cam", "infocam_plus"):
        for g, cell in records[0]["geometries"][n].items():
            cells.setdefault(f"{n} {g}", [cell])
    return Outcomes(
        classes["train"].bincount().numpy(),
        {split: classes[split].numpy().astype(np.uint8) for split in ("held", "test")},
        hits={},
        sweeps={
            split: {
                name: np.stack([c[f"{split}_hits"].numpy() for c in of_seeds])
                for name, of_seeds in cells.items()
            }
            for split in ("held", "test")
        },
    )


def difference(outcomes: Outcomes, a: Sequence[str], b: str) -> dict[str, Any]:
    """Difference of two cells paired by image, over the seeds that both have.

    Its interval is over seeds, images and chosen thresholds; `low_classes` and `high_classes`
    come from resampling whole classes instead.

    Args:
        outcomes: Hits at all thresholds.
        a: A cell; or several, of which held-out images choose one with its threshold.
        b: What it is compared with.

    """

    def pair(split: str) -> list[Hits]:
        sweeps = outcomes.sweeps[split]
        ours = np.concatenate([sweeps[name] for name in a], axis=2)
        seeds = min(len(ours), len(sweeps[b]))
        return [ours[:seeds], sweeps[b][:seeds]]

    held, test = pair("held"), pair("test")
    classes = outcomes.labels["held"], outcomes.labels["test"]
    by_class = chosen_interval(held, test, classes)
    return chosen_interval(held, test) | {
        "low_classes": by_class["low"], "high_classes": by_class["high"], "seeds": len(held[0]),
    }  # fmt: skip


def differences(outcomes: Outcomes) -> dict[str, Any]:
    """All differences of a result, from what is kept with it."""
    sweeps = outcomes.sweeps["held"]
    cells = [tuple(name.split()) for name in sweeps if name != BOX]
    main = [(n, g) for n, g in cells if ("infocam", g) in cells]  # others have the first seed

    def against(of: Any) -> dict[str, Any]:
        found: dict[str, Any] = {n: {} for n in CONTRASTS}
        for n, g in main:
            found[n][g] = difference(outcomes, [f"{n} {g}"], of(n, g))
        return found

    names = [f"{n} {g}" for n, g in main]
    no_window = against(lambda n, g: f"{n} none")
    each = np.stack([sweeps[name].mean(1).max(1) for name in names], axis=1)  # seeds, cells
    return {
        "minus_cam": against(lambda n, g: f"cam {g}"),
        "minus_no_window": no_window,
        "minus_centred_box": against(lambda n, g: BOX),
        "ingredients": {
            n: {g: no_window[n].get(g) or difference(outcomes, [f"{n} {g}"], f"{n} none")
                for m, g in cells if m == n and g != "none"}
            for n in ("cam", "infocam_plus")
        },
        "chosen": {
            "cells": [names[i] for i in each.argmax(1)],
            "minus_centred_box": difference(outcomes, names, BOX),
        },
    }  # fmt: skip


def collect(
    records: Sequence[Mapping[str, Any]], classes: Mapping[str, Tensor]
) -> tuple[dict[str, Any], Outcomes]:
    """Values of the result file, and the outcomes that its differences follow from.

    Args:
        records: Of the seeds, as `measure` and `measure_birds` of
            :mod:`softmi.experiments.infocam` give.
        classes: Of the images that train, choose and are judged: whole classes are resampled too.

    """
    first, main = records[0], list(records[0]["grid"]["cam"])
    outcomes = outcomes_of(records, classes)
    values: dict[str, Any] = {
        "grid": gather([
            {n: {g: {k: r["grid"][n][g][k] for k in COUNTED} for g in main} for n in CONTRASTS}
            for r in records
        ]),
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
    values |= differences(outcomes) | of_first_seed(first)
    if "split" in first:  # heads on a frozen network
        values |= gather([{k: r["head"][k] for k in OF_A_HEAD} for r in records])
        values["map_correlation"] = gather([r["head"]["correlation"] for r in records])
        for key in ("mean_weight_direction", "adam_cosine"):
            values[key] = summarise([r[key] for r in records])
        values |= {"mirror": first["mirror"], "split": first["split"]}
    return values, outcomes


def of_first_seed(first: Mapping[str, Any]) -> dict[str, Any]:
    """All geometries, the control and the curves."""
    every, main = first["geometries"], list(first["grid"]["cam"])
    kept = ("gt_known", "max_box_acc", "threshold")
    return {
        "geometries": {n: {g: {k: c[k] for k in kept} for g, c in by.items()}
                       for n, by in every.items()},
        "permuted": {g: {k: c[k] for k in kept[:2]} for g, c in first["permuted"].items()},
        "curves": {n: {g: np.round(every[n][g]["curve"].numpy(), 4).tolist()
                       for g in main if not g.startswith("blur")}
                   for n in ("cam", "infocam", "infocam_plus")},
    }  # fmt: skip
