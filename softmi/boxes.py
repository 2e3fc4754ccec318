r"""Boxes: overlap, boxes of score maps, one sweep over all thresholds, boxes that see nothing.

Boxes are x0 y0 x1 y1 in pixels. By default x1 and y1 are exclusive (a box of one pixel has area
1); `inclusive=True` counts pixels as the evaluator of Choe et al. (2020) does.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from softmi._validation import describe


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


# --- All thresholds in one sweep --------------------------------------------------------------


def _score_thresholds(thresholds: int) -> np.ndarray:
    """0, 1/T, ... (T-1)/T."""
    # As the reference's np.arange(0, 1, interval): i * step, not i / T, which differ in the last
    # bit and so in int(t * max).
    return np.arange(thresholds) * (1 / thresholds)


def _boxes_of_images(
    boxes: Tensor | Sequence[Tensor], images: int
) -> list[list[tuple[float, float, float, float]]]:
    """Return the true boxes image by image, checked."""
    if isinstance(boxes, Tensor) and boxes.shape != (images, 4):
        raise ValueError(f"boxes must have shape ({images}, 4), got {describe(boxes)}")
    if len(boxes) != images:
        raise ValueError(
            f"boxes must be one tensor ({images}, 4) or {images} of shape (boxes, 4), one an "
            f"image, got {len(boxes)}"
        )
    for i, some in enumerate(boxes):
        if isinstance(boxes, Tensor):
            continue
        if not isinstance(some, Tensor) or some.ndim != 2 or some.shape[1] != 4 or not len(some):
            what = describe(some) if isinstance(some, Tensor) else type(some).__name__
            raise ValueError(
                f"boxes[{i}] must hold the boxes of image {i}, shape (boxes, 4), at least one, "
                f"got {what}"
            )
    joined = boxes if isinstance(boxes, Tensor) else torch.cat([b.cpu().double() for b in boxes])
    joined = joined.detach().cpu().double()
    _check_boxes(joined, "boxes")
    counts = [1] * images if isinstance(boxes, Tensor) else [len(b) for b in boxes]
    return [[tuple(b) for b in part.tolist()] for part in joined.split(counts)]


def _best_iou_of_boxes(
    found: Tensor, boxes: Tensor | Sequence[Tensor], *, inclusive: bool
) -> Float[Tensor, " images"]:
    """IoU of one box an image with the best of its true boxes, float64 on the CPU."""
    truths = _boxes_of_images(boxes, len(found))
    counts = torch.tensor([len(t) for t in truths])
    flat = torch.tensor([b for t in truths for b in t], dtype=torch.float64).reshape(-1, 4)
    ious = box_iou(found.detach().cpu().repeat_interleave(counts, 0), flat, inclusive=inclusive)
    best = torch.zeros(len(found), dtype=torch.float64)
    return best.scatter_reduce(0, torch.arange(len(found)).repeat_interleave(counts), ious, "amax")


def _mask_boxes(score_map: np.ndarray, levels: Sequence[int]) -> list[tuple[int, ...]]:
    """Box x0 y0 x1 y1 (exclusive) around everything above each level, all of them at once."""
    # The first column with a pixel above a level is where the maximum so far exceeds it.
    sides = []
    for profile in (score_map.max(0), score_map.max(1)):
        first = np.maximum.accumulate(profile).searchsorted(levels, "right")
        last = np.maximum.accumulate(profile[::-1]).searchsorted(levels, "right")
        sides.append((first, len(profile) - last))
    (x0, x1), (y0, y1) = sides
    return list(zip(x0.tolist(), y0.tolist(), x1.tolist(), y1.tolist(), strict=True))


def _sweep(
    score_map: np.ndarray,
    true_boxes: Sequence[tuple[float, float, float, float]],
    levels: Sequence[int],
    *,
    inclusive: bool,
    single: bool,
    multi: bool,
    floor: float = 0.0,
) -> tuple[list[float], list[float]]:
    """Best IoU with any true box at rising levels: of the largest contour, and of all contours.

    No contour reaches an IoU of `floor` where the box around the whole mask does not cover that
    share of a true box; and masks are nested, so the sweep ends there. Contours lie in the boxes
    of the contours of every lower level: if only `multi` is asked for, each level looks only at
    those that still covered enough at the level before. Exact for IoUs of `floor` or more; those
    below it may come out as others below it. What is not asked for is left at 0.
    """
    height, width = score_map.shape
    one = 1 if inclusive else 0
    right, bottom = width - one, height - one  # the reference clips the end into the image
    # IoU >= floor needs an overlap of floor x the true box's area. The slack is for true boxes
    # whose area is no whole number: it costs a look too many, and nothing else.
    truths = [
        (*b, area, floor * (1 - 1e-9) * area)
        for b in true_boxes
        for area in [(b[2] - b[0] + one) * (b[3] - b[1] + one)]
    ]

    def judge(x: int, y: int, w: int, h: int) -> tuple[float, bool]:
        """Best IoU of a rectangle, and whether one inside it could reach the floor."""
        x1 = x + w if x + w < right else right  # min and max take twice the time
        y1 = y + h if y + h < bottom else bottom
        best, worth = 0.0, False
        for tx0, ty0, tx1, ty1, area, needed in truths:
            across = (x1 if x1 < tx1 else tx1) - (x if x > tx0 else tx0) + one
            down = (y1 if y1 < ty1 else ty1) - (y if y > ty0 else ty0) + one
            if across > 0 and down > 0:
                overlap = across * down
                iou = overlap / ((x1 - x + one) * (y1 - y + one) + area - overlap)
                best = iou if iou > best else best
                worth = worth or overlap >= needed
        return best, worth

    of_largest, of_any = [0.0] * len(levels), [0.0] * len(levels)
    if not score_map.any():  # nothing is above any level: the reference's empty box
        empty = [judge(0, 0, 0, 0)[0]] * len(levels)
        return empty, empty
    around = _mask_boxes(score_map, levels) if single else []
    left, top, end, foot = 0, 0, width, height  # where to look
    for k, level in enumerate(levels):
        if single:
            left, top, end, foot = around[k]
        if end <= left or not judge(left, top, end - left, foot - top)[1]:
            break
        _, mask = cv2.threshold(score_map[top:foot, left:end], level, 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(
            mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        if single:
            largest = max(contours, key=cv2.contourArea) if len(contours) > 1 else contours[0]
            of_largest[k] = judge(*cv2.boundingRect(largest))[0]
        if multi:
            left, top, end, foot = width, height, 0, 0
            for contour in contours:
                x, y, w, h = cv2.boundingRect(contour)
                iou, worth = judge(x, y, w, h)
                of_any[k] = iou if iou > of_any[k] else of_any[k]
                if worth:
                    left, top = x if x < left else left, y if y < top else top
                    end, foot = x + w if x + w > end else end, y + h if y + h > foot else foot
    return of_largest, of_any


def ious_over_thresholds(
    score_maps: Num[Tensor, "images height width"],
    boxes: Num[Tensor, "images 4"] | Sequence[Num[Tensor, "_ 4"]],
    thresholds: int = 100,
    *,
    multi: bool = False,
    inclusive: bool = False,
    at_least: float = 0.0,
) -> Float[Tensor, "images thresholds"]:
    r"""IoU of the predicted box with the true one, at every score threshold.

    .. math:: \max_{P \in \mathcal{P}(m, t)} \max_{B \in \mathcal{B}} \mathrm{IoU}(P, B),
        \qquad t = 0, \tfrac1T, \dots, \tfrac{T-1}{T}

    with :math:`\mathcal{P}(m, t)` the boxes that :func:`boxes_from_score_maps` finds above
    threshold t (one, or with `multi` those of all contours), :math:`\mathcal{B}` the true boxes
    of the image and T the number of thresholds. Exact, and faster than box by box: thresholds
    that cut at the same byte share a mask, and regions that cannot meet a true box are skipped.

    Args:
        score_maps: uint8 or floating, shape (images, height, width), at image resolution.
        boxes: One true box an image, shape (images, 4), or a list with the boxes of each image,
            shapes (boxes, 4), of which the best counts. A box may reach beyond the image: what
            lies outside can only be missed.
        thresholds: T.
        multi: The best of all contours' boxes, as in MaxBoxAccV2, instead of the largest's.
        inclusive: The pixel conventions of Choe et al. (2020).
        at_least: Smallest IoU of interest: those below it may come out as others below it, and
            the sweep is faster.

    Raises:
        TypeError: Maps neither uint8 nor floating.
        ValueError: Another rank, no images, NaN or infinite values, an image without boxes,
            impossible boxes, no thresholds, or `at_least` outside [0, 1].

    Example:
        >>> score_maps = torch.zeros(1, 8, 8)
        >>> score_maps[0, 2:6, :], score_maps[0, 2:6, 2:6] = 0.5, 1.0  # a dim band
        >>> ious_over_thresholds(score_maps, torch.tensor([[2, 2, 6, 6]]), thresholds=4).tolist()
        [[0.5, 0.5, 1.0, 1.0]]

    """
    if thresholds < 1:
        raise ValueError(f"thresholds must be at least 1, got {thresholds}")
    if not 0 <= at_least <= 1:
        raise ValueError(f"at_least must be in [0, 1], got {at_least}")
    bytes_ = _as_uint8(score_maps)
    truths = _boxes_of_images(boxes, len(bytes_))
    steps = _score_thresholds(thresholds)
    found = np.empty((len(bytes_), thresholds))
    for row, score_map, truth in zip(found, bytes_, truths, strict=True):
        # A byte map has 256 levels at most, however many thresholds there are.
        levels, at = np.unique((steps * int(score_map.max())).astype(int), return_inverse=True)
        of_largest, of_any = _sweep(
            score_map, truth, levels.tolist(),
            inclusive=inclusive, single=not multi, multi=multi, floor=at_least,
        )  # fmt: skip
        row[:] = np.take(of_any if multi else of_largest, at)
    return torch.from_numpy(found)
