"""The best box of a map at every threshold, in one pass."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

from softmi._checks import check_shape, describe
from softmi.maps.boxes import _as_uint8, _check_boxes, box_iou


def score_thresholds(thresholds: int) -> np.ndarray:
    """0, 1/T, ... (T-1)/T."""
    # As the reference's np.arange(0, 1, interval): i * step, not i / T, which differ in the last
    # bit and so in int(t * max).
    return np.arange(thresholds) * (1 / thresholds)


def _boxes_of_images(
    boxes: Tensor | Sequence[Tensor], images: int
) -> list[list[tuple[float, float, float, float]]]:
    """Return the true boxes image by image, checked."""
    if isinstance(boxes, Tensor):
        check_shape(boxes, (images, 4), "boxes")
        joined, counts = boxes, [1] * images
    else:
        if len(boxes) != images:
            raise ValueError(
                f"boxes must be one tensor ({images}, 4) or {images} of shape (boxes, 4), one an "
                f"image, got {len(boxes)}"
            )
        for i, b in enumerate(boxes):
            if not isinstance(b, Tensor) or b.ndim != 2 or b.shape[1] != 4 or not len(b):
                what = describe(b) if isinstance(b, Tensor) else type(b).__name__
                raise ValueError(
                    f"boxes[{i}] must hold the boxes of image {i}, shape (boxes, 4), at least "
                    f"one, got {what}"
                )
        joined, counts = torch.cat([b.cpu().double() for b in boxes]), [len(b) for b in boxes]
    joined = joined.detach().cpu().double()
    _check_boxes(joined, "boxes")
    return [[tuple(b) for b in part.tolist()] for part in joined.split(counts)]


def iou_with_best(
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


def _judge(
    rectangle: Sequence[int], truths: Sequence[tuple[float | int, ...]],
    right: int, bottom: int, one: int,
) -> tuple[float, bool]:  # fmt: skip
    """Best IoU of a rectangle x, y, width, height, and whether one inside could reach the floor.

    Not inside the sweep: a function is not made, and in tests not decorated, for each map.
    """
    x, y, w, h = rectangle
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


def _sweep(
    score_map: np.ndarray,
    true_boxes: Sequence[tuple[float, float, float, float]],
    levels: Sequence[int],
    *,
    inclusive: bool,
    multi: bool,
    floor: float = 0.0,
) -> list[float]:
    """Best IoU with any true box at rising levels: of the largest contour, or of all contours.

    No contour reaches an IoU of `floor` where the box around the whole mask does not cover that
    share of a true box; and masks are nested, so the sweep ends there. Contours lie in the boxes
    of the contours of every lower level: with `multi`, each level looks only at those that still
    covered enough at the level before. Exact for IoUs of `floor` or more; those below it may come
    out as others below it.
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

    frame = (right, bottom, one)
    if not score_map.any():  # nothing is above any level: the reference's empty box
        return [_judge((0, 0, 0, 0), truths, *frame)[0]] * len(levels)
    best = [0.0] * len(levels)
    around = [] if multi else _mask_boxes(score_map, levels)
    left, top, end, foot = 0, 0, width, height  # where to look
    for k, level in enumerate(levels):
        if not multi:
            left, top, end, foot = around[k]
        if end <= left or not _judge((left, top, end - left, foot - top), truths, *frame)[1]:
            break
        _, mask = cv2.threshold(score_map[top:foot, left:end], level, 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(
            mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        if not multi:
            largest = max(contours, key=cv2.contourArea) if len(contours) > 1 else contours[0]
            best[k] = _judge(cv2.boundingRect(largest), truths, *frame)[0]
            continue
        left, top, end, foot = width, height, 0, 0
        for contour in contours:
            x, y, w, h = rectangle = cv2.boundingRect(contour)
            iou, worth = _judge(rectangle, truths, *frame)
            best[k] = iou if iou > best[k] else best[k]
            if worth:
                left, top = x if x < left else left, y if y < top else top
                end, foot = x + w if x + w > end else end, y + h if y + h > foot else foot
    return best


def best_ious(
    score_maps: Num[Tensor, "images height width"],
    boxes: Num[Tensor, "images 4"] | Sequence[Num[Tensor, "_ 4"]],
    at: Float[np.ndarray, " thresholds"],
    *,
    multi: bool,
    inclusive: bool,
    at_least: float,
) -> Float[Tensor, "images thresholds"]:
    """IoU as in :func:`ious_over_thresholds`, at given score thresholds, in any order."""
    bytes_ = _as_uint8(score_maps)
    truths = _boxes_of_images(boxes, len(bytes_))
    found = np.empty((len(bytes_), len(at)))
    for row, score_map, truth in zip(found, bytes_, truths, strict=True):
        # A byte map has 256 levels at most, however many thresholds there are.
        levels, place = np.unique((at * int(score_map.max())).astype(int), return_inverse=True)
        ious = _sweep(
            score_map, truth, levels.tolist(), inclusive=inclusive, multi=multi, floor=at_least
        )
        row[:] = np.take(ious, place)
    return torch.from_numpy(found)


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
    return best_ious(
        score_maps, boxes, score_thresholds(thresholds),
        multi=multi, inclusive=inclusive, at_least=at_least,
    )  # fmt: skip
