r"""Boxes: overlap, boxes of score maps, one sweep over all thresholds, boxes that see nothing.

Boxes are x0 y0 x1 y1 in pixels. By default x1 and y1 are exclusive (a box of one pixel has area
1); `inclusive=True` counts pixels as the evaluator of Choe et al. (2020) does.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from softmi._checks import describe


def _check_boxes(boxes: Tensor, name: str) -> None:
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        raise ValueError(f"{name} must have shape (..., 4), got {describe(boxes)}")
    wrong = ~((boxes[..., 2:] >= boxes[..., :2]).all(-1) & torch.isfinite(boxes).all(-1))
    if wrong.any():  # the first test fails for NaN too
        first = boxes[wrong][0].tolist()
        raise ValueError(
            f"{name} holds a box with NaN, an infinite side, x1 < x0 or y1 < y0; boxes are "
            f"x0 y0 x1 y1, the first wrong one is {first}"
        )


def box_iou(
    a: Num[Tensor, "*#batch 4"], b: Num[Tensor, "*#batch 4"], *, inclusive: bool = False
) -> Float[Tensor, "*batch"]:
    r"""Intersection over union of boxes, pair by pair.

    .. math:: \mathrm{IoU} = \frac{|A \cap B|}{|A| + |B| - |A \cap B|}

    Disjoint boxes give 0 (the authors' code forgets to clamp the sides of the intersection), and
    so do boxes without area.

    Args:
        a: Boxes x0 y0 x1 y1, shape (..., 4).
        b: Boxes of the same shape, or one that broadcasts to it.
        inclusive: x1 and y1 belong to the box: sides are x1 - x0 + 1.

    Raises:
        ValueError: A last axis other than 4, or a box with NaN, infinity, x1 < x0 or y1 < y0.

    Example:
        >>> box_iou(torch.tensor([0, 0, 2, 2]), torch.tensor([1, 0, 3, 2])).item()  # 2 of 6 pixels
        0.3333333333333333

    """
    a, b = a.to(torch.float64), b.to(torch.float64)
    _check_boxes(a, "a")
    _check_boxes(b, "b")
    one = 1.0 if inclusive else 0.0
    top_left = torch.maximum(a[..., :2], b[..., :2])
    bottom_right = torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (bottom_right - top_left + one).clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2] + one).prod(-1)
    area_b = (b[..., 2:] - b[..., :2] + one).prod(-1)
    union = area_a + area_b - overlap
    return torch.where(union > 0, overlap / union.where(union > 0, 1.0), 0.0)


def _check_maps(score_maps: Tensor) -> None:
    if score_maps.ndim != 3 or 0 in score_maps.shape:
        raise ValueError(
            f"score_maps must have shape (images, height, width), got {describe(score_maps)}"
        )
    if score_maps.dtype != torch.uint8 and not score_maps.is_floating_point():
        raise TypeError(f"score_maps must be uint8 or floating, got {describe(score_maps)}")


def _normalised(score_maps: Tensor) -> Tensor:
    """Scores in [0, 1], float64: bytes over 255; floats min-max normalised image by image."""
    _check_maps(score_maps)
    # In double, as the reference evaluator does it, whatever type the network computes in.
    maps = score_maps.detach().double()
    if score_maps.dtype == torch.uint8:
        return maps / 255
    low = maps.amin((1, 2), keepdim=True)
    spread = maps.amax((1, 2), keepdim=True) - low
    bad = ~torch.isfinite(maps).flatten(1).all(1) | ~torch.isfinite(spread)[:, 0, 0]
    if bad.any():
        raise ValueError(
            f"score_maps hold NaN or infinite values (or span more than float64 does) in "
            f"{int(bad.sum())} of {len(maps)} images, the first is {int(bad.nonzero()[0])}"
        )
    # A constant map says nothing about where: it becomes all zeros, hence an empty box.
    return torch.where(spread > 0, (maps - low) / spread.where(spread > 0, 1.0), 0.0)


def _as_uint8(score_maps: Tensor) -> np.ndarray:
    """Bytes as they are; float maps min-max normalised image by image, to 255 levels."""
    if score_maps.dtype == torch.uint8:
        _check_maps(score_maps)
        return np.ascontiguousarray(score_maps.cpu().numpy())
    return (255 * _normalised(score_maps)).to(torch.uint8).cpu().numpy()


def _boxes(score_map: np.ndarray, threshold: float, multi: bool, inclusive: bool) -> np.ndarray:
    """Bounding boxes of the contours of one byte map above threshold x maximum, (boxes, 4)."""
    level = int(threshold * int(score_map.max()))
    _, mask = cv2.threshold(score_map, level, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((1, 4), dtype=np.int64)
    if not multi:
        contours = [max(contours, key=cv2.contourArea)]
    boxes = np.array([cv2.boundingRect(c) for c in contours], dtype=np.int64)
    boxes[:, 2:] += boxes[:, :2]
    if inclusive:  # the reference clips the exclusive end into the image and calls it inclusive
        height, width = score_map.shape
        boxes[:, 2:] = np.minimum(boxes[:, 2:], (width - 1, height - 1))
    return boxes


def boxes_from_score_maps(
    score_maps: Num[Tensor, "images height width"],
    threshold: float,
    *,
    multi: bool = False,
    inclusive: bool = False,
) -> Int[Tensor, "images 4"] | list[Int[Tensor, "boxes 4"]]:
    r"""Bounding box of the region where a map exceeds a share of its maximum.

    The region is :math:`\{ m(i, j) > \lfloor t \max m \rfloor \}` on a map of bytes, with
    threshold t. A map of floats is first min-max normalised to [0, 255], image by image.

    Args:
        score_maps: uint8 or floating, shape (images, height, width), at image resolution.
        threshold: t in [0, 1).
        multi: Boxes of all contours, holes too, instead of that of the largest contour.
        inclusive: The conventions of Choe et al. (2020): the box ends at x + width clipped to
            the last pixel. Default: x + width, exclusive.

    Returns:
        Shape (images, 4); with `multi` a list of (boxes, 4). An image with nothing above the
        threshold has the empty box 0 0 0 0.

    Raises:
        TypeError: Maps neither uint8 nor floating.
        ValueError: Another rank, no images, NaN or infinite values, a threshold outside [0, 1).

    Example:
        >>> score_maps = torch.zeros(1, 8, 8)
        >>> score_maps[0, 2:6, 1:4] = 1.0
        >>> boxes_from_score_maps(score_maps, threshold=0.5).tolist()
        [[1, 2, 4, 6]]

    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    found = [torch.from_numpy(_boxes(m, threshold, multi, inclusive))
             for m in _as_uint8(score_maps)]  # fmt: skip
    return found if multi else torch.cat(found)
