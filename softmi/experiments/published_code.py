r"""What the authors' localisation code computes, as functions, so that its effect can be measured.

Only for the audit in chapter 08: nothing else in the library uses them. The numbers that one wants
are :class:`softmi.LocalizationAccuracy` and :func:`softmi.box_iou`. How their loader misreads the
boxes of Tiny-ImageNet is :func:`softmi.datasets.misread_boxes`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from softmi.datasets.tiny_imagenet import misread_boxes
from softmi.maps.boxes import box_iou


def mean_of_running_means(
    hits: Bool[Tensor, " images"] | Num[Tensor, " images"], batch_size: int
) -> float:
    r"""Number that the authors' evaluation prints for GT-known and Top-1 (`util_eval.py`).

    After each batch the share of hits *so far* goes into a meter that averages, weighted by the
    size of the batch:

    .. math:: \frac{1}{N} \sum_{b} n_b \, \frac{1}{N_b} \sum_{i \le N_b} h_i

    with hits :math:`h_i`, batches of :math:`n_b` images and :math:`N_b` images up to and with
    batch b. An image at position t of the list, as a share of its length, weighs about
    :math:`-\log t` where it should weigh 1: the first tenth of a long list has a third of the
    weight, the last tenth less than a hundredth.

    Args:
        hits: Right or not, in the order of the list.
        batch_size: Images in a batch.

    Raises:
        ValueError: No images, or a batch size below 1.

    """
    return float(weights_of_running_means(len(hits), batch_size) @ hits.double()) / len(hits)


def weights_of_running_means(images: int, batch_size: int) -> Float[Tensor, " images"]:
    r"""Weight of each image in :func:`mean_of_running_means`; their mean is 1.

    .. math:: w_i = \sum_{b \ge b(i)} \frac{n_b}{N_b}

    with :math:`b(i)` the batch of image i, and :math:`n_b`, :math:`N_b` as there.
    """
    if images < 1 or batch_size < 1:
        raise ValueError(f"need images and a batch size, got {images} and {batch_size}")
    sizes = torch.tensor(
        [min(batch_size, images - start) for start in range(0, images, batch_size)]
    ).double()
    later = (sizes / sizes.cumsum(0)).flip(0).cumsum(0).flip(0)
    return later.repeat_interleave(sizes.long())


def unclamped_iou(
    a: Num[Tensor, "*#batch 4"], b: Num[Tensor, "*#batch 4"]
) -> Float[Tensor, "*batch"]:
    r"""Intersection over union as in the authors' `util_bbox.py`: sides are not clamped at zero.

    .. math:: \frac{w h}{|A| + |B| - w h}, \qquad
              w = \min(x_1, x_1') - \max(x_0, x_0') + 1

    and h likewise, for boxes that include their last pixel. Two boxes that are apart in both axes
    have w, h < 0 and so a positive product. :func:`softmi.box_iou` is the right one.
    """
    a, b = a.double(), b.double()
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + 1
    overlap = sides.prod(-1)
    areas = [(box[..., 2:] - box[..., :2] + 1).prod(-1) for box in (a, b)]
    return overlap / (areas[0] + areas[1] - overlap)


def printed_accuracy(
    hits: Bool[Tensor, " images"],
    targets: Int[Tensor, " images"],
    batch_sizes: Sequence[int],
    *,
    orders: int = 200,
) -> dict[str, Any]:
    """Compare the share of hits with what the authors' code would print for the very same hits.

    Args:
        hits: Right or not, image by image.
        targets: Labels; the authors' lists are sorted by them.
        batch_sizes: Batches to try.
        orders: Random orders of the same images, seeded by their number.

    Returns:
        `accuracy`, the share; for each size `batch_<size>` with `printed`, in the order of the
        classes, `off`, that minus the share, and `other_orders`, `low` and `high`, between which
        95 % of other orders lie.

    """
    listed = hits[targets.argsort(stable=True)].double()
    share = float(listed.mean())
    found: dict[str, Any] = {"accuracy": share}
    for size in batch_sizes:
        printed = mean_of_running_means(listed, size)
        elsewhere = [
            mean_of_running_means(listed[torch.randperm(len(listed), generator=draw)], size)
            for draw in (torch.Generator().manual_seed(i) for i in range(orders))
        ]
        low, high = np.quantile(elsewhere, [0.025, 0.975]).tolist()
        found[f"batch_{size}"] = {
            "printed": printed,
            "off": printed - share,
            "other_orders": {"low": low, "high": high},
        }
    return found


def scores_by_misread_boxes(
    boxes: Num[Tensor, "images 4"], true_boxes: Num[Tensor, "images 4"], size: int
) -> dict[str, float]:
    """Score what a map can offer by the boxes of Tiny-ImageNet as the authors' code reads them.

    All by their overlap, which counts last pixels in, at an IoU of 1/2.

    Args:
        boxes: Ours, of the method that is judged.
        true_boxes: x0 y0 x1 y1 in pixels, x1 and y1 exclusive.
        size: Side of the pictures in pixels.

    Returns:
        Shares of images: `leaves_the_picture` and `misread`, of boxes as read; `perfect`, the
        score of the true corners, and `best_possible`, that of the best box inside the picture;
        `whole_picture` and `infocam` (ours), and the same by the true boxes with `_true`.

    """
    true = true_boxes.double()
    read = misread_boxes(true, size)
    corners = true - torch.tensor([0.0, 0, 1, 1], dtype=torch.float64)  # as listed
    whole = torch.tensor([0.0, 0, size - 1, size - 1], dtype=torch.float64)
    inside = torch.cat([read[:, :2].clamp(0, size), read[:, 2:].clamp(0, size)], 1)

    def hit(found: Tensor, against: Tensor) -> float:
        return float((box_iou(found, against, inclusive=True) >= 0.5).double().mean())

    return {
        "leaves_the_picture": float((read[:, 2:] > size).any(1).double().mean()),
        "misread": float((true[:, :2] > 0).any(1).double().mean()),  # all but those in the corner
        "perfect": hit(corners, read),
        "best_possible": hit(inside, read),
        "whole_picture": hit(whole, read),
        "whole_picture_true": hit(whole, corners),
        "infocam": hit(boxes, read),
        "infocam_true": hit(boxes, corners),
    }


def effect_of_unclamped_overlap(
    boxes: Num[Tensor, "images 4"], true_boxes: Num[Tensor, "images 4"]
) -> dict[str, int]:
    """Count where the authors' overlap differs from the true one, and where it makes a hit."""
    wrong = unclamped_iou(boxes, true_boxes)
    right = box_iou(boxes, true_boxes, inclusive=True)
    return {
        "differ": int((wrong - right).abs().gt(1e-9).sum()),
        "false_hits": int(((wrong >= 0.5) & (right < 0.5)).sum()),
        "images": len(true_boxes),
    }
