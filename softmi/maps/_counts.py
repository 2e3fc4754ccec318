"""Counts that add up over batches and processes: what the yardsticks of localisation share."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torchmetrics import Metric

from softmi._checks import describe
from softmi.maps._sweep import ious_over_thresholds, score_thresholds


def all_the_same(stacked: Tensor) -> Tensor:
    """Reduce settings, which metrics must share for their counts to be added."""
    if not (stacked == stacked[0]).all():
        raise ValueError(
            f"counts of metrics with different settings cannot be merged: {stacked.tolist()}"
        )
    return stacked[0]


class Counts(Metric):
    """Counts that add up over batches and processes; an update that fails leaves no trace."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    settings: Tensor

    def _add_settings(self, *settings: float | int) -> None:
        # Settings are a state because a MetricCollection lets metrics of equal states share them,
        # and those of different settings may agree on a first batch.
        self.add_state("settings", torch.tensor(settings), dist_reduce_fx=all_the_same)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Count a batch and return its own value; after an error the counts are as before."""
        before = self.__dict__.copy()  # torchmetrics resets its states before it updates them
        try:
            return super().forward(*args, **kwargs)
        except BaseException:
            self.__dict__.update(before)
            raise


class BoxCounts(Counts):
    """Images that reach each IoU at each score threshold."""

    correct: Tensor
    at_own: Tensor
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
        self.add_state("at_own", torch.zeros(shape[0], dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self._add_settings(multi, inclusive, *self.iou_thresholds)

    @property
    def score_thresholds(self) -> Float[Tensor, " thresholds"]:
        """The T score thresholds."""
        return torch.from_numpy(score_thresholds(self.thresholds))

    def update(
        self,
        score_maps: Num[Tensor, "images height width"] | None = None,
        boxes: Num[Tensor, "images 4"] | Sequence[Num[Tensor, "_ 4"]] | None = None,
        *,
        ious: Float[Tensor, "images thresholds"] | None = None,
    ) -> None:
        """Count a batch: maps at image resolution and the true boxes, or what they amount to.

        Args:
            score_maps: uint8 or floating, shape (images, height, width); other batches may have
                another height and width.
            boxes: One box an image, shape (images, 4), or a list with the boxes of each image,
                shapes (boxes, 4): an image counts if any of them is met.
            ious: In place of both, for several metrics of the same maps: the IoUs that
                :func:`softmi.ious_over_thresholds` gives with the `thresholds`, `multi` and
                `inclusive` of this metric.

        Raises:
            TypeError: Maps neither uint8 nor floating.
            ValueError: Another rank, no images, NaN or infinite values, an image without boxes
                or impossible boxes, IoUs of another number of thresholds or outside [0, 1], or
                neither maps with boxes nor IoUs. Nothing of the batch is counted.

        """
        if ious is None and score_maps is not None and boxes is not None:
            best = ious_over_thresholds(
                score_maps, boxes, self.thresholds,
                multi=self.multi, inclusive=self.inclusive, at_least=min(self.iou_thresholds),
            )  # fmt: skip
        elif ious is not None and score_maps is None and boxes is None:
            best = ious.double()
            if best.ndim != 2 or best.shape[1] != self.thresholds or not len(best):
                raise ValueError(
                    f"need IoUs of shape (images, {self.thresholds}), got {describe(ious)}"
                )
            if not ((best >= 0) & (best <= 1)).all():
                raise ValueError(f"IoUs lie in [0, 1], got {best.min():g} to {best.max():g}")
        else:
            raise ValueError("need score maps with boxes, or IoUs alone")
        deltas = torch.tensor(self.iou_thresholds, dtype=torch.float64)[:, None, None]
        right = best >= deltas
        self.correct = self.correct + right.sum(1).to(self.correct)
        self.at_own = self.at_own + right.any(2).sum(1).to(self.at_own)
        self.total = self.total + len(best)

    @property
    def correct_counts(self) -> Int[Tensor, "ious thresholds"]:
        """Images seen so far by this process that are right, at each IoU and score threshold."""
        return self.correct

    def _of_all_processes(self) -> tuple[Tensor, Tensor, Tensor]:
        # Inside compute the states are summed already; in forward they must not be.
        ask = self._to_sync and not self._is_synced
        with self.sync_context(should_sync=ask, should_unsync=ask):
            return self.correct, self.at_own, self.total

    def curve(self) -> Float[Tensor, "ious thresholds"]:
        """Accuracy at each IoU and score threshold; NaN before any image.

        As every method below it counts the images of all processes, so all must call it.
        """
        correct, _, total = self._of_all_processes()
        return correct.double() / total

    def best_thresholds(self) -> Int[Tensor, " ious"]:
        """Index of the best score threshold at each IoU, the lowest of those that tie."""
        return self._of_all_processes()[0].argmax(1)

    def accuracy_at(self, index: Int[Tensor, " ious"]) -> Float[Tensor, " ious"]:
        """Accuracy at given score thresholds, such as another split's :meth:`best_thresholds`."""
        within = ((index >= 0) & (index < self.thresholds)).all()
        if index.numel() != len(self.iou_thresholds) or not within:
            raise ValueError(
                f"need an index in [0, {self.thresholds}) for each of the IoUs "
                f"{self.iou_thresholds}, got {index.tolist()}"
            )
        return self.curve().gather(1, index.reshape(-1, 1).to(self.correct.device))[:, 0]

    def accuracy_at_own_thresholds(self) -> Float[Tensor, " ious"]:
        """Accuracy at each IoU if every image takes the score threshold that is best for it.

        A common mistake, which flatters even maps that have not seen the image; it is here to
        show by how much. Never less than the maximum over one threshold for all.
        """
        _, at_own, total = self._of_all_processes()
        return at_own.double() / total

    def compute(self) -> Float[Tensor, "*ious"]:
        """Return the maximum over the score thresholds, at each IoU or, for V2, their mean.

        In [0, 1]; for one IoU a scalar, as torchmetrics does.
        """
        each = self.curve().max(1).values
        return each.mean() if self.average else each
