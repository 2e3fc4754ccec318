r"""How good boxes and maps are: the yardsticks of localisation as torchmetrics.

A score threshold that is chosen on the images it is judged on flatters the map. So choose it on a
held-out split: count that with :class:`MaxBoxAccuracy` or :class:`MaxBoxAccuracyV2` and hand it to
:class:`BoxAccuracy`, which counts the test split. Boxes that see nothing belong beside every
number: :func:`softmi.maps.localization_table`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from softmi._checks import describe
from softmi.maps._counts import BoxCounts, Counts, all_the_same
from softmi.maps._sweep import best_ious, iou_with_best

V2_IOUS = (0.3, 0.5, 0.7)


class MaxBoxAccuracy(BoxCounts):
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


class MaxBoxAccuracyV2(BoxCounts):
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


class BoxAccuracy(BoxCounts):
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
        if not held_out._of_all_processes()[2]:
            raise ValueError("held_out has counted no images: update it before")
        self.add_state("chosen", held_out.best_thresholds().cpu(), dist_reduce_fx=all_the_same)

    @property
    def chosen_thresholds(self) -> Float[Tensor, " ious"]:
        """The score threshold that the held-out images chose for each IoU."""
        return self.score_thresholds[self.chosen.cpu()]

    def hits(
        self,
        score_maps: Num[Tensor, "images height width"],
        boxes: Num[Tensor, "images 4"] | Sequence[Num[Tensor, "_ 4"]],
    ) -> Bool[Tensor, "images ious"]:
        """Return for each image whether it is right at each IoU, at the chosen thresholds.

        Counts nothing: it is for intervals and for differences image by image. The mean over all
        images that were counted is `compute`. Arguments and errors as in `update`.
        """
        ious = best_ious(
            score_maps, boxes, self.chosen_thresholds.numpy(),
            multi=self.multi, inclusive=self.inclusive, at_least=min(self.iou_thresholds),
        )  # fmt: skip
        return ious >= torch.tensor(self.iou_thresholds, dtype=torch.float64)

    def compute(self) -> Float[Tensor, "*ious"]:
        """Return the accuracy at each IoU, in [0, 1]; for V2, or for one IoU, a scalar."""
        each = self.accuracy_at(self.chosen)
        return each.mean() if self.average else each

    def maximum_chosen_on_these_images(self) -> Float[Tensor, "*ious"]:
        """Return the test-chosen maximum, MaxBoxAcc or MaxBoxAccV2: never less than the honest."""
        return super().compute().squeeze()


class LocalizationAccuracy(Counts):
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
        ious = iou_with_best(boxes, true_boxes, inclusive=self.inclusive)
        right = ious >= self.iou_threshold
        if self.top_k is not None:
            known = (ranked[:, : self.top_k] == targets.to(ranked.device)[:, None]).any(1)
            right &= known.to(right.device)
        self.correct = self.correct + right.sum().to(self.correct)
        self.total = self.total + len(boxes)

    def compute(self) -> Float[Tensor, ""]:
        """Return the accuracy, in [0, 1]; NaN before any image."""
        return self.correct.double() / self.total
