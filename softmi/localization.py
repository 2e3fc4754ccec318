r"""From score maps to boxes, and how good the boxes are: the field's yardsticks as torchmetrics.

Boxes are x0 y0 x1 y1 in pixels. By default x1 and y1 are exclusive (a box of one pixel has area
1); `inclusive=True` counts pixels as the evaluator of Choe et al. (2020) does.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torchmetrics import Metric

from softmi._validation import describe


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
        ValueError: A last axis other than 4, or a box with NaN, x1 < x0 or y1 < y0.

    """
    a, b = a.to(torch.float64), b.to(torch.float64)
    for name, box in (("a", a), ("b", b)):
        if box.ndim == 0 or box.shape[-1] != 4:
            raise ValueError(f"{name} must have shape (..., 4), got {describe(box)}")
        if not (box[..., 2:] >= box[..., :2]).all():  # NaN too
            raise ValueError(
                f"{name} holds a box with NaN, x1 < x0 or y1 < y0; boxes are x0 y0 x1 y1"
            )
    one = 1.0 if inclusive else 0.0
    top_left = torch.maximum(a[..., :2], b[..., :2])
    bottom_right = torch.minimum(a[..., 2:], b[..., 2:])
    overlap = (bottom_right - top_left + one).clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2] + one).prod(-1)
    area_b = (b[..., 2:] - b[..., :2] + one).prod(-1)
    union = area_a + area_b - overlap
    return torch.where(union > 0, overlap / union.where(union > 0, 1.0), 0.0)


def _as_uint8(score_maps: Tensor) -> np.ndarray:
    """Bytes as they are; float maps min-max normalised image by image, to 255 levels."""
    if score_maps.ndim != 3 or 0 in score_maps.shape:
        raise ValueError(
            f"score_maps must have shape (images, height, width), got {describe(score_maps)}"
        )
    if score_maps.dtype == torch.uint8:
        return score_maps.cpu().numpy()
    if not score_maps.is_floating_point():
        raise TypeError(f"score_maps must be uint8 or floating, got {describe(score_maps)}")
    if not torch.isfinite(score_maps).all():
        raise ValueError("score_maps hold NaN or infinite values")
    maps = score_maps.detach().double()
    low = maps.amin((1, 2), keepdim=True)
    spread = maps.amax((1, 2), keepdim=True) - low
    # A constant map says nothing about where: it becomes all zeros, hence an empty box.
    normalised = torch.where(spread > 0, (maps - low) / spread.clamp(min=1e-300), 0.0)
    return (255 * normalised).to(torch.uint8).cpu().numpy()


def _boxes(score_map: np.ndarray, threshold: float, multi: bool, inclusive: bool) -> np.ndarray:
    """Bounding boxes of the contours of one byte map above threshold x maximum, (boxes, 4)."""
    level = int(threshold * score_map.max())
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

    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    found = [torch.from_numpy(_boxes(m, threshold, multi, inclusive))
             for m in _as_uint8(score_maps)]  # fmt: skip
    return found if multi else torch.cat(found)


class MaxBoxAccuracy(Metric):
    r"""Share of images whose box reaches an IoU, at the best threshold (Choe et al. 2020).

    .. math::
        \mathrm{MaxBoxAcc}(\delta) = \max_\tau \frac{1}{N} \sum_n
        \mathbb{1}\bigl[\mathrm{IoU}(\mathrm{box}(m_n, \tau), B_n) \ge \delta\bigr]

    One threshold for all images: taking the best one image by image is a common mistake that
    inflates it. `MaxBoxAccV2` is the mean over `iou_thresholds=(0.3, 0.5, 0.7)` with
    `multi=True`. The maximum over :math:`\tau` is a choice made on the evaluated images: for an
    honest number take :meth:`best_thresholds` of a held-out split to :meth:`accuracy_at`.

    Args:
        iou_thresholds: The :math:`\delta` (I of them).
        thresholds: T score thresholds, 0, 1/T, ... (T-1)/T.
        multi: An image counts if any contour's box reaches the IoU, not only the largest's.
        inclusive: The pixel conventions of the reference evaluator.

    Raises:
        ValueError: No or impossible thresholds.

    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(
        self,
        iou_thresholds: Sequence[float] = (0.5,),
        thresholds: int = 100,
        multi: bool = False,
        inclusive: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        if not iou_thresholds or not all(0 < t <= 1 for t in iou_thresholds) or thresholds < 1:
            raise ValueError(
                f"need IoU thresholds in (0, 1] and at least one score threshold, got "
                f"{tuple(iou_thresholds)} and {thresholds}"
            )
        self.iou_thresholds = tuple(iou_thresholds)
        self.thresholds = thresholds
        self.multi = multi
        self.inclusive = inclusive
        shape = (len(self.iou_thresholds), thresholds)
        self.add_state("correct", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    @property
    def score_thresholds(self) -> Float[Tensor, " thresholds"]:
        """The T score thresholds."""
        # As the reference's np.arange(0, 1, interval): i * step, not i / T, which differ in the
        # last bit and so in int(t * max).
        step = 1 / self.thresholds
        return torch.tensor([i * step for i in range(self.thresholds)], dtype=torch.float64)

    def update(
        self, score_maps: Num[Tensor, "images height width"], boxes: Num[Tensor, "images 4"]
    ) -> None:
        """Count a batch: maps at image resolution, and one true box an image."""
        if boxes.shape != (len(score_maps), 4):
            raise ValueError(
                f"boxes must have shape ({len(score_maps)}, 4), got {describe(boxes)}"
            )
        bytes_ = _as_uint8(score_maps)
        steps = self.score_thresholds.tolist()
        counts = torch.zeros_like(self.correct, device="cpu")
        deltas = torch.tensor(self.iou_thresholds, dtype=torch.float64)[:, None]
        for score_map, box in zip(bytes_, boxes.cpu(), strict=True):
            found = [_boxes(score_map, t, self.multi, self.inclusive) for t in steps]
            iou = box_iou(torch.from_numpy(np.concatenate(found)), box, inclusive=self.inclusive)
            best = torch.stack([part.max() for part in iou.split([len(f) for f in found])])
            counts += best >= deltas
        self.correct += counts.to(self.correct.device)
        self.total += len(bytes_)

    @property
    def correct_counts(self) -> Int[Tensor, "ious thresholds"]:
        """Images seen so far that are right, at each IoU and score threshold."""
        return self.correct

    def curve(self) -> Float[Tensor, "ious thresholds"]:
        """Accuracy at each IoU and score threshold."""
        return self.correct.double() / self.total

    def best_thresholds(self) -> Int[Tensor, " ious"]:
        """Index of the best score threshold at each IoU."""
        return self.correct.argmax(1)

    def accuracy_at(self, index: Int[Tensor, " ious"]) -> Float[Tensor, " ious"]:
        """Accuracy at given score thresholds, such as another split's :meth:`best_thresholds`."""
        return self.curve().gather(1, index.reshape(-1, 1).to(self.correct.device))[:, 0]

    def compute(self) -> Float[Tensor, " ious"]:
        """Return MaxBoxAcc at each IoU, in [0, 1]; for one IoU a scalar, as torchmetrics does."""
        return self.curve().max(1).values


class LocalizationAccuracy(Metric):
    r"""Share of images localised, and recognised if `top_k` is given, at one fixed threshold.

    Localised means :math:`\mathrm{IoU} \ge \delta`. With `top_k=None` this is GT-known Loc: boxes
    come from the true class's map and predictions are ignored. With `top_k=1`, Top-1 Loc, the
    prediction must be right too; with 5, Top-5 Loc.

    A plain ratio of counts: the authors' code averages running means, so that its number depends
    on the order of the images.

    Args:
        top_k: Rank within which the true class must be predicted; None for GT-known.
        iou_threshold: :math:`\delta`.
        inclusive: Pixel convention of :func:`box_iou`.

    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    correct: Tensor
    total: Tensor

    def __init__(
        self,
        top_k: int | None = 1,
        iou_threshold: float = 0.5,
        inclusive: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        if (top_k is not None and top_k < 1) or not 0 < iou_threshold <= 1:
            raise ValueError(f"got top_k={top_k}, iou_threshold={iou_threshold}")
        self.top_k = top_k
        self.iou_threshold = iou_threshold
        self.inclusive = inclusive
        self.add_state("correct", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        boxes: Num[Tensor, "images 4"],
        predicted: Int[Tensor, " images *ranks"],
        targets: Int[Tensor, " images"],
        true_boxes: Num[Tensor, "images 4"],
    ) -> None:
        """Count a batch; `predicted` is the top class, or classes by falling score (images, K)."""
        ranked = predicted if predicted.ndim == 2 else predicted[:, None]
        if not len(boxes) == len(ranked) == len(targets) == len(true_boxes):
            raise ValueError(
                f"boxes, predicted, targets and true_boxes must agree in length, got "
                f"{len(boxes)}, {len(ranked)}, {len(targets)} and {len(true_boxes)}"
            )
        if self.top_k is not None and ranked.shape[1] < self.top_k:
            raise ValueError(
                f"top_k={self.top_k} needs as many ranked classes, got {describe(predicted)}"
            )
        right = self._localised(boxes, true_boxes)
        if self.top_k is not None:
            right &= (ranked[:, : self.top_k] == targets[:, None]).any(1).to(right.device)
        self.correct += right.sum()
        self.total += len(boxes)

    def _localised(self, boxes: Tensor, true_boxes: Tensor) -> Bool[Tensor, " images"]:
        return box_iou(boxes, true_boxes.to(boxes.device), inclusive=self.inclusive).ge(
            self.iou_threshold
        )

    def compute(self) -> Float[Tensor, ""]:
        """Return the accuracy, in [0, 1]."""
        return self.correct.double() / self.total
