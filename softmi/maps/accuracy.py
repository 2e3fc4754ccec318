r"""How good boxes and maps are: the yardsticks of localisation as torchmetrics.

A score threshold that is chosen on the images it is judged on flatters the map. So choose it on a
held-out split: count that with :class:`MaxBoxAccuracy` or :class:`MaxBoxAccuracyV2` and hand it to
:class:`BoxAccuracy`, which counts the test split. Boxes that see nothing (`softmi.baselines`)
belong beside every number.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torchmetrics import Metric

from softmi._checks import describe
from softmi.maps._sweep import _best_iou_of_boxes, _score_thresholds, ious_over_thresholds

V2_IOUS = (0.3, 0.5, 0.7)


def _all_the_same(stacked: Tensor) -> Tensor:
    """Reduce settings, which metrics must share for their counts to be added."""
    if not (stacked == stacked[0]).all():
        raise ValueError(
            f"counts of metrics with different settings cannot be merged: {stacked.tolist()}"
        )
    return stacked[0]


class _Counts(Metric):
    """Counts that add up over batches and processes; an update that fails leaves no trace."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    settings: Tensor

    def _add_settings(self, *settings: float | int) -> None:
        # Settings are a state because a MetricCollection lets metrics of equal states share them,
        # and those of different settings may agree on a first batch.
        self.add_state("settings", torch.tensor(settings), dist_reduce_fx=_all_the_same)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Count a batch and return its own value; after an error the counts are as before."""
        before = self.__dict__.copy()  # torchmetrics resets its states before it updates them
        try:
            return super().forward(*args, **kwargs)
        except BaseException:
            self.__dict__.update(before)
            raise


class _BoxCounts(_Counts):
    """Images that reach each IoU at each score threshold."""

    correct: Tensor
    total: Tensor

    def __init__(
        self,
        iou_thresholds: Sequence[float],
        thresholds: int,
        multi: bool,
        inclusive: bool,
        average: bool,
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
        self.average = average
        shape = (len(self.iou_thresholds), thresholds)
        self.add_state("correct", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self._add_settings(multi, inclusive, *self.iou_thresholds)

    @property
    def score_thresholds(self) -> Float[Tensor, " thresholds"]:
        """The T score thresholds."""
        return torch.from_numpy(_score_thresholds(self.thresholds))

    def update(
        self,
        score_maps: Num[Tensor, "images height width"],
        boxes: Num[Tensor, "images 4"] | Sequence[Num[Tensor, "_ 4"]],
    ) -> None:
        """Count a batch: maps at image resolution, and the true boxes.

        Args:
            score_maps: uint8 or floating, shape (images, height, width); other batches may have
                another height and width.
            boxes: One box an image, shape (images, 4), or a list with the boxes of each image,
                shapes (boxes, 4): an image counts if any of them is met.

        Raises:
            TypeError: Maps neither uint8 nor floating.
            ValueError: Another rank, no images, NaN or infinite values, an image without boxes
                or impossible boxes. Nothing of the batch is counted.

        """
        best = ious_over_thresholds(
            score_maps, boxes, self.thresholds,
            multi=self.multi, inclusive=self.inclusive, at_least=min(self.iou_thresholds),
        )  # fmt: skip
        deltas = torch.tensor(self.iou_thresholds, dtype=torch.float64)[:, None, None]
        counts = (best >= deltas).sum(1)
        self.correct = self.correct + counts.to(self.correct)
        self.total = self.total + len(best)

    @property
    def correct_counts(self) -> Int[Tensor, "ious thresholds"]:
        """Images seen so far by this process that are right, at each IoU and score threshold."""
        return self.correct

    def _of_all_processes(self) -> tuple[Tensor, Tensor]:
        # Inside compute the states are summed already; in forward they must not be.
        ask = self._to_sync and not self._is_synced
        with self.sync_context(should_sync=ask, should_unsync=ask):
            return self.correct, self.total

    def curve(self) -> Float[Tensor, "ious thresholds"]:
        """Accuracy at each IoU and score threshold; NaN before any image.

        As every method below it counts the images of all processes, so all must call it.
        """
        correct, total = self._of_all_processes()
        return correct.double() / total

    def best_thresholds(self) -> Int[Tensor, " ious"]:
        """Index of the best score threshold at each IoU, the lowest of those that tie."""
        return self._of_all_processes()[0].argmax(1)

    def accuracy_at(self, index: Int[Tensor, " ious"]) -> Float[Tensor, " ious"]:
        """Accuracy at given score thresholds, such as another split's :meth:`best_thresholds`."""
        if (
            index.numel() != len(self.iou_thresholds)
            or not ((index >= 0) & (index < self.thresholds)).all()
        ):
            raise ValueError(
                f"need an index in [0, {self.thresholds}) for each of the IoUs "
                f"{self.iou_thresholds}, got {index.tolist()}"
            )
        return self.curve().gather(1, index.reshape(-1, 1).to(self.correct.device))[:, 0]

    def _maximum(self) -> Tensor:
        each = self.curve().max(1).values
        return each.mean() if self.average else each


class MaxBoxAccuracy(_BoxCounts):
    r"""Share of images whose box reaches an IoU, at the best threshold (Choe et al. 2020).

    .. math::
        \mathrm{MaxBoxAcc}(\delta) = \max_\tau \frac{1}{N} \sum_n
        \mathbb{1}\bigl[\mathrm{IoU}(\mathrm{box}(m_n, \tau), B_n) \ge \delta\bigr]

    with maps :math:`m_n` of N images and their true boxes :math:`B_n` (the best of them where
    there are several). One threshold :math:`\tau` for all images: taking the best one image by
    image is a common mistake that inflates it. The maximum over :math:`\tau` is a choice made on
    the evaluated images: for an honest number count a held-out split with this metric and the
    test split with :class:`BoxAccuracy`.

    Args:
        iou_thresholds: The :math:`\delta` (I of them).
        thresholds: T score thresholds, 0, 1/T, ... (T-1)/T.
        multi: An image counts if any contour's box reaches the IoU, not only the largest's.
        inclusive: The pixel conventions of the reference evaluator.
        kwargs: Options of `torchmetrics.Metric`.

    Raises:
        ValueError: No or impossible thresholds.

    Example:
        >>> score_maps, boxes = torch.zeros(1, 8, 8), torch.tensor([[2, 2, 6, 6]])
        >>> score_maps[0, 2:6, 2:5] = 1.0
        >>> metric = MaxBoxAccuracy(iou_thresholds=(0.5, 0.9))
        >>> metric.update(score_maps, boxes)
        >>> metric.compute().tolist()
        [1.0, 0.0]

    Source: choe2020, MaxBoxAcc.
    """

    def __init__(
        self,
        iou_thresholds: Sequence[float] = (0.5,),
        thresholds: int = 100,
        multi: bool = False,
        inclusive: bool = False,
        **kwargs: object,
    ) -> None:
        super().__init__(iou_thresholds, thresholds, multi, inclusive, False, **kwargs)

    def compute(self) -> Float[Tensor, " ious"]:
        """Return MaxBoxAcc at each IoU, in [0, 1]; for one IoU a scalar, as torchmetrics does."""
        return self._maximum()


class MaxBoxAccuracyV2(_BoxCounts):
    r"""MaxBoxAccV2: the mean of MaxBoxAcc over IoUs 0.3, 0.5 and 0.7, boxes of all contours.

    .. math:: \tfrac13 \sum_{\delta \in \{.3, .5, .7\}} \max_\tau \frac1N \sum_n \mathbb{1}
        \bigl[\max_{P \in \mathcal{P}(m_n, \tau)} \mathrm{IoU}(P, B_n) \ge \delta\bigr]

    with :math:`\mathcal{P}(m_n, \tau)` the boxes of all contours of the n-th map above
    :math:`\tau` (Choe et al. 2020, journal version). Each :math:`\delta` takes its own best
    threshold, chosen on the evaluated images; see :class:`BoxAccuracy`.

    Args:
        thresholds: T score thresholds, 0, 1/T, ... (T-1)/T.
        inclusive: The pixel conventions of the reference evaluator.
        kwargs: Options of `torchmetrics.Metric`.

    Raises:
        ValueError: No thresholds.

    Example:
        >>> score_maps, boxes = torch.zeros(1, 8, 8), torch.tensor([[2, 2, 6, 6]])
        >>> score_maps[0, 2:6, 2:5] = 1.0  # IoU 3/4 with the true box
        >>> metric = MaxBoxAccuracyV2(thresholds=10)
        >>> metric.update(score_maps, boxes)
        >>> metric.compute().item()
        1.0

    Source: choe2020, MaxBoxAccV2.
    """

    def __init__(self, thresholds: int = 100, inclusive: bool = False, **kwargs: object) -> None:
        super().__init__(V2_IOUS, thresholds, True, inclusive, True, **kwargs)

    def compute(self) -> Float[Tensor, ""]:
        """Return MaxBoxAccV2, in [0, 1]."""
        return self._maximum()


class BoxAccuracy(_BoxCounts):
    r"""Share of images whose box reaches an IoU, at the threshold that a held-out split chose.

    .. math::
        \frac{1}{N} \sum_n \mathbb{1}\bigl[\mathrm{IoU}(\mathrm{box}(m_n, \hat\tau_\delta), B_n)
        \ge \delta\bigr], \qquad \hat\tau_\delta = \arg\max_\tau
        \text{ of the same on the held-out images}

    The honest form of MaxBoxAcc, or of MaxBoxAccV2: everything but the images is taken from the
    metric of the held-out split. At :math:`\delta = 0.5` this is GT-known Loc.

    Args:
        held_out: A :class:`MaxBoxAccuracy` or :class:`MaxBoxAccuracyV2` that has counted the
            held-out images. Of several processes all must be here.
        kwargs: Options of `torchmetrics.Metric`.

    Raises:
        TypeError: `held_out` is another thing.
        ValueError: It has counted no images.

    Example:
        >>> score_maps, boxes = torch.zeros(1, 8, 8), torch.tensor([[2, 2, 6, 6]])
        >>> score_maps[0, 2:6, 2:6], score_maps[0, 0, 0] = 1.0, 0.3
        >>> held_out = MaxBoxAccuracy(thresholds=10)
        >>> held_out.update(score_maps, boxes)
        >>> metric = BoxAccuracy(held_out)
        >>> metric.update(score_maps.flip(1), boxes)
        >>> metric.compute().item(), metric.maximum_chosen_on_these_images().item()
        (1.0, 1.0)

    """

    chosen: Tensor

    def __init__(self, held_out: MaxBoxAccuracy | MaxBoxAccuracyV2, **kwargs: object) -> None:
        if not isinstance(held_out, MaxBoxAccuracy | MaxBoxAccuracyV2):
            raise TypeError(
                f"held_out must be a MaxBoxAccuracy or MaxBoxAccuracyV2 that has counted the "
                f"held-out images, got {type(held_out).__name__}"
            )
        super().__init__(
            held_out.iou_thresholds, held_out.thresholds, held_out.multi, held_out.inclusive,
            held_out.average, **kwargs,
        )  # fmt: skip
        if not held_out._of_all_processes()[1]:
            raise ValueError("held_out has counted no images: update it before")
        self.add_state("chosen", held_out.best_thresholds().cpu(), dist_reduce_fx=_all_the_same)

    @property
    def chosen_thresholds(self) -> Float[Tensor, " ious"]:
        """The score threshold that the held-out images chose for each IoU."""
        return self.score_thresholds[self.chosen.cpu()]

    def compute(self) -> Float[Tensor, "*ious"]:
        """Return the accuracy at each IoU, in [0, 1]; for V2, or for one IoU, a scalar."""
        each = self.accuracy_at(self.chosen)
        return each.mean() if self.average else each

    def maximum_chosen_on_these_images(self) -> Float[Tensor, "*ious"]:
        """Return the test-chosen maximum, MaxBoxAcc or MaxBoxAccV2: never less than the honest."""
        return self._maximum().squeeze()


class LocalizationAccuracy(_Counts):
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

    Example:
        >>> metric = LocalizationAccuracy(top_k=1)
        >>> boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 4]])
        >>> truth = torch.tensor([[0, 0, 4, 4], [5, 5, 9, 9]])
        >>> metric.update(boxes, torch.tensor([1, 1]), torch.tensor([1, 1]), truth)
        >>> metric.compute().item()  # both recognised, one localised
        0.5

    """

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
        self._add_settings(top_k or 0, iou_threshold, inclusive)

    def update(
        self,
        boxes: Num[Tensor, "images 4"],
        predicted: Int[Tensor, " images *ranks"],
        targets: Int[Tensor, " images"],
        true_boxes: Num[Tensor, "images 4"] | Sequence[Num[Tensor, "_ 4"]],
    ) -> None:
        """Count a batch.

        Args:
            boxes: The predicted box of each image.
            predicted: The top class, shape (images,), or classes by falling score (images, K).
            targets: The true class.
            true_boxes: One box an image, shape (images, 4), or a list with the boxes of each
                image, shapes (boxes, 4), of which the best counts.

        Raises:
            ValueError: Lengths that do not agree, fewer than `top_k` ranked classes, impossible
                boxes or an image without. Nothing of the batch is counted.

        """
        if predicted.ndim not in (1, 2) or targets.ndim != 1 or boxes.ndim != 2:
            raise ValueError(
                f"need predicted of shape (images,) or (images, classes), targets (images,) and "
                f"boxes (images, 4), got {describe(predicted)}; {describe(targets)}; "
                f"{describe(boxes)}"
            )
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
        right = _best_iou_of_boxes(boxes, true_boxes, inclusive=self.inclusive) >= (
            self.iou_threshold
        )
        if self.top_k is not None:
            known = (ranked[:, : self.top_k] == targets.to(ranked.device)[:, None]).any(1)
            right &= known.to(right.device)
        self.correct = self.correct + right.sum().to(self.correct)
        self.total = self.total + len(boxes)

    def compute(self) -> Float[Tensor, ""]:
        """Return the accuracy, in [0, 1]; NaN before any image."""
        return self.correct.double() / self.total
