"""Numbers of chapter 08 from the outcomes of its heads: shares of images, with intervals.

All intervals are over seeds, images and the choice of thresholds
(:func:`softmi.evidence.chosen.chosen_interval`), and follow from the outcomes that are kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softmi.evidence.chosen import chosen_interval
from softmi.evidence.outcomes import Outcomes
from softmi.evidence.statistics import bootstrap_interval, crossed_interval, gather
from softmi.experiments.infocam_summary import BOX, difference
from softmi.experiments.localisation import BOX_NAMES, CONTRASTS
from softmi.experiments.localisation_accuracy import blind_boxes
from softmi.experiments.localisation_audit_data import Source
from softmi.experiments.published_code import (
    effect_of_unclamped_overlap,
    printed_accuracy,
    scores_by_misread_boxes,
)

MAIN = "softmax"  # the head that has controls, boxes and the ingredients of the window
# What is said of a cell beside its intervals.
COUNTED = ("held_out", "max_box_acc", "v2", "max_box_acc_v2", "per_image", "fixed", "threshold")
INTERVAL = ("mean", "low", "high", "low_classes", "high_classes", "n", "values", "variance")
OF_A_HEAD = ("accuracy", "information", "cosine")
Records = Mapping[tuple[str, int], Mapping[str, Any]]  # by head and seed


def gather_outcomes(
    records: Records, source: Source, blind: Mapping[str, Mapping[str, Any]]
) -> Outcomes:
    """Hits of one network: of each cell and control by head, and of boxes that see nothing.

    Args:
        records: By head and seed, as :func:`softmi.experiments.localisation_audit.measure` gives.
        source: The data.
        blind: As :func:`softmi.experiments.localisation_accuracy.blind_boxes` gives.

    """
    of_heads: dict[str, list[Mapping[str, Any]]] = {}
    for head, seed in sorted(records):
        of_heads.setdefault(head, []).append(records[head, seed])
    found: dict[str, list[Mapping[str, Tensor]]] = {}
    for head, of_seeds in of_heads.items():
        for kind in ("cells", "controls"):
            for name in of_seeds[0].get(kind, {}):
                found[f"{head}/{name}"] = [record[kind][name] for record in of_seeds]
    found[BOX] = [blind["centred_best"]] * len(of_heads[MAIN])
    splits = {"held": source.held, "test": source.test}
    hits = {
        f"{head}/recognised": np.stack([r["recognised"].numpy() for r in of_seeds])
        for head, of_seeds in of_heads.items()
    }
    hits |= {f"box/{name}": box["hits"].numpy()[None] for name, box in blind.items()}
    return Outcomes(
        source.targets[source.learn].bincount().numpy(),
        {s: source.targets[of].numpy().astype(np.uint8) for s, of in splits.items()},
        hits={"test": hits},
        sweeps={
            split: {
                name: np.stack([entry[f"{split}_hits"].numpy() for entry in of_seeds])
                for name, of_seeds in found.items()
            }
            for split in splits
        },
    )


def of_all_networks(outcomes: Mapping[str, Outcomes]) -> Outcomes:
    """Outcomes of several networks on the same images as one, names of networks before theirs."""
    first = next(iter(outcomes.values()))

    def together(kind: str, split: str) -> dict[str, np.ndarray]:
        return {
            f"{network}/{name}": array
            for network, of in outcomes.items()
            for name, array in getattr(of, kind).get(split, {}).items()
        }

    return Outcomes(
        first.counts, first.labels,
        hits={"test": together("hits", "test")},
        sweeps={split: together("sweeps", split) for split in first.labels},
    )  # fmt: skip


def of_network(outcomes: Outcomes, network: str) -> Outcomes:
    """Return the outcomes of one network out of those of several, the way back."""
    start = f"{network}/"

    def own(of: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
        return {
            split: {k.removeprefix(start): v for k, v in by.items() if k.startswith(start)}
            for split, by in of.items()
        }

    return Outcomes(
        outcomes.counts, outcomes.labels, own(outcomes.hits), sweeps=own(outcomes.sweeps)
    )


def differences(outcomes: Outcomes) -> dict[str, Any]:
    """All intervals of a network that its outcomes hold.

    Returns:
        `grid` by head, contrast and geometry: shares of test images `gt_known`, `top1`, and of
        paired differences `minus_cam`, to CAM in the same geometry, and `minus_no_window`, also
        by resampled classes. Of the main head `minus_centred_box`, `controls` and
        `controls_difference`; `boxes`, the shares of those that see nothing.

    """
    sweeps, recognised = outcomes.sweeps, outcomes.hits["test"]
    names = [name for name in sweeps["test"] if name != BOX]
    values: dict[str, Any] = {"grid": {}, "minus_centred_box": {}, "controls": {}}
    for name in names:
        head, _, cell = name.partition("/")
        contrast, _, geometry = cell.partition(" ")
        if contrast not in CONTRASTS:
            values["controls"][cell] = _share(outcomes, name)
            continue
        right = recognised[f"{head}/recognised"][:, :, None]
        entry = {
            "gt_known": _share(outcomes, name),
            "top1": _kept(chosen_interval(
                [sweeps["held"][name]], [sweeps["test"][name] & right]
            )),
        }  # fmt: skip
        if contrast != "cam":
            entry["minus_cam"] = _minus(outcomes, name, f"{head}/cam {geometry}")
        if geometry != "none":
            entry["minus_no_window"] = _minus(outcomes, name, f"{head}/{contrast} none")
        values["grid"].setdefault(head, {}).setdefault(contrast, {})[geometry] = entry
        if head == MAIN:
            of_box = _minus(outcomes, name, BOX)
            values["minus_centred_box"].setdefault(contrast, {})[geometry] = of_box
    values["controls_difference"] = {
        f"{key}_minus_both": _minus(outcomes, f"{MAIN}/{name}", f"{MAIN}/both")
        for key, name in (("nearer", "nearer the middle"), ("smaller", "smaller"))
    }
    values["boxes"] = {
        name: bootstrap_interval(recognised[f"box/{name}"][0]) for name in BOX_NAMES
    }
    values["boxes"]["centred_best"] = _share(outcomes, BOX, seeds=1)
    return values


def compare(ours: Outcomes, a: str, theirs: Outcomes, b: str) -> dict[str, Any]:
    """Difference of two heads on the same images, cell by cell of those that both have.

    Args:
        ours: Outcomes that hold the cells of the first,
        a: which begin with this, such as "MobileNetV2/softmax".
        theirs: Outcomes that hold the cells of the second,
        b: which begin with this.

    Returns:
        By contrast, without a window and in the authors'.

    """
    found: dict[str, Any] = {}
    for name in ours.sweeps["test"]:
        start, _, cell = name.rpartition("/")
        contrast, _, geometry = cell.partition(" ")
        main = geometry == "none" or geometry.startswith("padded")
        if start != a or contrast not in CONTRASTS or not main:
            continue
        both = {
            split: {"a": ours.sweeps[split][name], "b": theirs.sweeps[split][f"{b}/{cell}"]}
            for split in ("held", "test")
        }
        pair = Outcomes(ours.counts, ours.labels, {}, sweeps=both)
        found.setdefault(contrast, {})[geometry] = _minus(pair, "a", "b")
    return found


def _share(outcomes: Outcomes, name: str, *, seeds: int | None = None) -> dict[str, Any]:
    held, test = (outcomes.sweeps[split][name][:seeds] for split in ("held", "test"))
    return _kept(chosen_interval([held], [test]))


def _minus(outcomes: Outcomes, a: str, b: str) -> dict[str, Any]:
    return _kept(difference(outcomes, [a], b))


def _kept(interval: Mapping[str, Any]) -> dict[str, Any]:
    return {key: interval[key] for key in INTERVAL if key in interval}


def summarise_network(
    records: Records, source: Source, batch_sizes: Sequence[int]
) -> tuple[dict[str, Any], Outcomes]:
    """Values of a result file for one network and data set, but for its rates; and its outcomes.

    Args:
        records: By head and seed.
        source: The data.
        batch_sizes: Batches of the authors' evaluation.

    """
    heads = list(dict.fromkeys(head for head, _ in records))
    first = records[MAIN, min(seed for head, seed in records if head == MAIN)]
    targets, boxes = source.targets[source.test], source.boxes[source.test]
    blind = blind_boxes(
        boxes, source.boxes[source.held], source.size, recognised=first["recognised"]
    )
    outcomes = gather_outcomes(records, source, blind)
    values = differences(outcomes)
    for head in heads:
        of_seeds = [records[key] for key in sorted(records) if key[0] == head]
        for contrast, by in values["grid"][head].items():
            for geometry, entry in by.items():
                cells = [record["cells"][f"{contrast} {geometry}"] for record in of_seeds]
                entry |= gather([{key: cell[key] for key in COUNTED} for cell in cells])
    values["heads"] = {
        head: summarise_heads([records[key] for key in sorted(records) if key[0] == head])
        for head in heads
    }
    values["boxes"] = {
        name: {"side": blind[name]["side"], "gt_known": share}
        for name, share in values["boxes"].items()
    }
    values |= {
        "split": source.split,
        "running_means": {
            name: printed_accuracy(first["cells"][f"{name} none"]["hits"], targets, batch_sizes)
            for name in list(CONTRASTS)[:3]
        },
        "signs": effect_of_unclamped_overlap(first["boxes"], boxes),
    }
    if source.size == 64:  # pictures of Tiny-ImageNet's size
        values["misread"] = scores_by_misread_boxes(first["boxes"], boxes, source.size)
    return values, outcomes


def summarise_heads(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is said of a head beside the grid: spread over seeds, and over images where it has.

    Args:
        records: Of its seeds.

    """
    heads = [record["head"] for record in records]
    found = gather([{key: h[key] for key in OF_A_HEAD} for h in heads])
    alike = {
        name: torch.stack([record["alike"][name] for record in records]).numpy()
        for name in records[0]["alike"]
    }
    return found | {
        "correlation": {
            name: _kept(crossed_interval(x) if len(x) > 1 else bootstrap_interval(x[0]))
            for name, x in alike.items()
        },
        "nats": gather([h["nats"] for h in heads]),
        "box": heads[0]["box"],
    }
