"""How chapters 07 and 08 judge maps: by the public metrics, thresholds from held-out images."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from softmi.experiments.localisation import Task, place
from softmi.maps import (
    SIDES,
    BoxAccuracy,
    MaxBoxAccuracy,
    MaxBoxAccuracyV2,
    baseline_results,
    best_centred_side,
    box_iou,
    centred_box,
    ious_over_thresholds,
)


def evaluate(
    task: Task,
    name: str,
    geometry: str,
    thresholds: int = 100,
    *,
    v2: bool = False,
    batch_size: int = 100,
) -> dict[str, Any]:
    """Localisation of one kind of map: the threshold from held-out images, the rest from the test.

    Counted by :class:`softmi.MaxBoxAccuracy` and :class:`softmi.BoxAccuracy` at an IoU of one
    half, both from one sweep over the thresholds.

    Args:
        task: Maps, boxes, and the division of the images.
        name: Which maps.
        geometry: As in `place`.
        thresholds: T score thresholds 0, 1/T, ..., as in :class:`softmi.MaxBoxAccuracy`.
        v2: Add MaxBoxAccV2 (Choe et al. 2020): `v2` at the thresholds of the held-out images,
            `max_box_acc_v2` at those that are best for the test.
        batch_size: Images at a time.

    Returns:
        `gt_known` and `top1` at the threshold that is best for the held-out images; `threshold`;
        `held_out`, its accuracy there; `fixed`, GT-known at 0.2 as in the authors' code;
        `max_box_acc`, at the threshold that is best for the test; `per_image`, each test image at
        its own best threshold (a common mistake); `curve`, over thresholds; `hits`, right or not
        for each test image; and for intervals that choose anew `held_hits` and `test_hits`, right
        or not at each threshold, shape (images, T).

    """
    held, test = task.splits
    kinds: list[MaxBoxAccuracy | MaxBoxAccuracyV2] = [MaxBoxAccuracy(thresholds=thresholds)]
    if v2:
        kinds.append(MaxBoxAccuracyV2(thresholds))
    parts: list[list[Tensor]] = [[] for _ in kinds]
    for rows in torch.arange(len(task.targets)).split(batch_size):
        large = place(task.maps[name][rows], geometry, task.size)
        for kind, part in zip(kinds, parts, strict=True):
            part.append(ious_over_thresholds(
                large, task.boxes[rows], thresholds,
                multi=kind.multi, at_least=min(kind.iou_thresholds),
            ))  # fmt: skip
    metrics = []
    for kind, part in zip(kinds, parts, strict=True):
        ious = torch.cat(part)
        kind.update(ious=ious[held])
        metrics.append(BoxAccuracy(kind))
        metrics[-1].update(ious=ious[test])
    first, right = metrics[0], torch.cat(parts[0]) >= metrics[0].iou_thresholds[0]
    curve, hits = first.curve()[0], right[test, int(first.chosen)]
    recognised = task.logits[test].argmax(1) == task.targets[test]
    values = {
        "gt_known": float(first.compute()),
        "top1": float((hits & recognised).double().mean()),
        "threshold": float(first.chosen_thresholds),
        "held_out": float(kinds[0].compute()),
        "fixed": float(curve[round(0.2 * thresholds)]),
        "max_box_acc": float(first.maximum_chosen_on_these_images()),
        "per_image": float(first.accuracy_at_own_thresholds()),
        "curve": curve,
        "hits": hits,
        "held_hits": right[held],
        "test_hits": right[test],
    }
    if v2:
        values["v2"] = float(metrics[1].compute())
        values["max_box_acc_v2"] = float(metrics[1].maximum_chosen_on_these_images())
    return values


BLIND = {"full": 1.0, "centred_75": 0.75, "centred_50": 0.5}  # sides of given boxes


def blind_boxes(
    boxes: Float[Tensor, "images 4"],
    held_out_boxes: Float[Tensor, "held 4"],
    size: int,
    *,
    recognised: Bool[Tensor, " images"],
) -> dict[str, dict[str, Any]]:
    """Boxes that see nothing: full, three-quarter, half, and centred with the best side.

    By :func:`softmi.maps.baseline_results`, with what an interval needs beside it.

    Args:
        boxes: True boxes of the test images.
        held_out_boxes: Those of the images that choose the best side, at each IoU for itself.
        size: Side of the pictures in pixels.
        recognised: Whether the classifier is right about each test image, for Top-1.

    Returns:
        A mapping by "full", "centred_75", "centred_50" and "centred_best" of `side`, as a share
        of the picture's; `gt_known`, `top1`, `v2`; `hits`, right or not for each test image. The
        last also has `held_hits` and `test_hits`, right or not with each of `softmi.maps.SIDES`.

    """
    picture = (size, size)
    results = baseline_results(
        boxes, held_out_boxes, picture, recognised={"Top-1": recognised}, sides=(*BLIND.values(),)
    )
    sides = BLIND | {"centred_best": best_centred_side(held_out_boxes, picture)}
    found = {}
    for (name, side), result in zip(sides.items(), results.values(), strict=True):
        hits = box_iou(centred_box(picture, side), boxes) >= 0.5
        accuracy = {"gt_known": result["GT-known"], "top1": result["Top-1"], "v2": result["V2"]}
        found[name] = {"side": side, "hits": hits} | accuracy
    for key, true in (("held_hits", held_out_boxes), ("test_hits", boxes)):
        of_sides = [box_iou(centred_box(picture, side), true) >= 0.5 for side in SIDES]
        found["centred_best"][key] = torch.stack(of_sides, dim=1)
    return found
