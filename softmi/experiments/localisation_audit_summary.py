"""Numbers of chapter 08 from the outcomes of its heads: shares of images, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi.evidence.statistics import bootstrap_interval, gather
from softmi.experiments.localisation import CONTRASTS
from softmi.experiments.localisation_accuracy import blind_boxes
from softmi.experiments.localisation_audit_data import Source
from softmi.experiments.published_code import (
    effect_of_unclamped_overlap,
    printed_accuracy,
    scores_by_misread_boxes,
)

MAIN = "softmax"  # the head that has several seeds, controls and boxes


@dataclass(frozen=True)
class Outcomes:
    """What all heads of one network did on one data set.

    Attributes:
        records: By head and seed, as :func:`softmi.experiments.localisation_audit.measure` gives.
        source: The data.

    """

    records: Mapping[tuple[str, int], Mapping[str, Any]]
    source: Source

    @property
    def targets(self) -> Int[Tensor, " test"]:
        """Labels of the images that are judged."""
        return self.source.targets[self.source.test]

    @property
    def boxes(self) -> Float[Tensor, "test 4"]:
        """Their true boxes."""
        return self.source.boxes[self.source.test]

    @property
    def first(self) -> Mapping[str, Any]:
        """Record of the main head with the first seed."""
        return self.of(MAIN)[0]

    def of(self, head: str) -> list[Mapping[str, Any]]:
        """Records of a head, by seed."""
        return [self.records[key] for key in sorted(self.records) if key[0] == head]

    def cells(self, head: str, cell: str) -> list[Mapping[str, Any]]:
        """What each seed found in a cell of the grid, of those that have it."""
        return [r["cells"][cell] for r in self.of(head) if cell in r["cells"]]

    def hits(self, head: str, cell: str) -> Float[Tensor, " test"]:
        """Right or not, image by image: the mean over the seeds that have the cell."""
        return torch.stack([c["hits"] for c in self.cells(head, cell)]).double().mean(0)

    def difference(
        self, head: str, cell: str, other: str, groups: Int[Tensor, " test"] | None = None
    ) -> dict[str, Any]:
        """Interval of the difference of two cells, paired by image, over seeds that have both."""
        both = [r["cells"] for r in self.of(head) if cell in r["cells"]]
        found = [c[cell]["hits"].double() - c[other]["hits"].double() for c in both]
        mean = torch.stack(found).mean(0).numpy()
        return bootstrap_interval(mean, None if groups is None else groups.numpy())


def summarise_network(
    outcomes: Outcomes, geometries: Sequence[str], batch_sizes: Sequence[int]
) -> dict[str, Any]:
    """Return the values of a result file for one network and data set, but for its rates.

    Args:
        outcomes: Of all heads.
        geometries: The columns of the grid.
        batch_sizes: Batches of the authors' evaluation.

    """
    heads = list(dict.fromkeys(head for head, _ in outcomes.records))
    first, source = outcomes.first, outcomes.source
    everybody = torch.ones(len(outcomes.targets), dtype=torch.bool)  # no Top-1 is asked for
    blind = blind_boxes(
        outcomes.boxes, source.boxes[source.held], source.size, recognised=everybody
    )
    of_box = blind["centred_best"]["hits"].double()
    hits = {name: first["cells"][f"{name} none"]["hits"] for name in list(CONTRASTS)[:3]}
    moved = {name: hit.double().numpy() for name, hit in first["controls"].items()}
    values = {
        "grid": {head: summarise_cells(outcomes, head, geometries) for head in heads},
        "heads": {h: summarise_heads([r["head"] for r in outcomes.of(h)]) for h in heads},
        "split": source.split,
        "pc_from_softmax": first["pc_from_softmax"],
        "boxes": {
            name: {"side": box["side"], "gt_known": bootstrap_interval(box["hits"].numpy())}
            for name, box in blind.items()
        },
        "minus_centred_box": {
            name: {
                g: bootstrap_interval((outcomes.hits(MAIN, f"{name} {g}") - of_box).numpy())
                for g in geometries
            }
            for name in CONTRASTS
        },
        "running_means": {
            name: printed_accuracy(hit, outcomes.targets, batch_sizes)
            for name, hit in hits.items()
        },
        "signs": effect_of_unclamped_overlap(first["boxes"], outcomes.boxes),
        "controls": {name: bootstrap_interval(hit) for name, hit in moved.items()},
        "controls_difference": {
            f"{key}_minus_both": bootstrap_interval(moved[name] - moved["both"])
            for key, name in (("nearer", "nearer the middle"), ("smaller", "smaller"))
        },
    }
    if source.size == 64:  # pictures of Tiny-ImageNet's size
        values["misread"] = scores_by_misread_boxes(first["boxes"], outcomes.boxes, source.size)
    return values


def summarise_cells(
    outcomes: Outcomes, head: str, geometries: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return each cell of a head by contrast and geometry, with intervals and differences.

    Shares of test images: `gt_known`; `minus_cam`, the difference to CAM in the same geometry,
    also by resampled classes; `minus_no_window`. Means over seeds: `top1`, `threshold` and so on
    as one run has them.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in CONTRASTS}
    for name in CONTRASTS:
        for geometry in geometries:
            cell, cam = f"{name} {geometry}", f"cam {geometry}"
            entry: dict[str, Any] = {
                key: float(np.mean([c[key] for c in outcomes.cells(head, cell)]))
                for key in ("top1", "held_out", "max_box_acc", "per_image", "fixed", "threshold")
            }
            by_classes = outcomes.difference(head, cell, cam, outcomes.targets)
            entry["gt_known"] = bootstrap_interval(outcomes.hits(head, cell).numpy())
            entry["minus_cam"] = outcomes.difference(head, cell, cam) | {
                "low_classes": by_classes["low"],
                "high_classes": by_classes["high"],
            }
            entry["minus_no_window"] = outcomes.difference(head, cell, f"{name} none")
            found[name][geometry] = entry
    return found


def summarise_heads(heads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds of what is said of a head beside the grid."""
    spread = ("accuracy", "information", "cosine", "correlation")
    nats = {
        name: {k: float(np.mean([h["nats"][name][k] for h in heads])) for k in ("total", "inside")}
        for name in heads[0]["nats"]
    }
    found = gather([{key: h[key] for key in spread} for h in heads])
    return found | {"nats": nats, "box": heads[0]["box"]}
