"""Average precision of the pixels of maps, against masks."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from softmi._checks import check_shape
from softmi.maps._counts import Counts
from softmi.maps._sweep import score_thresholds
from softmi.maps.boxes import _as_uint8, _normalised


class PixelAveragePrecision(Counts):
    r"""PxAP: area under the precision-recall curve of all pixels together (Choe et al. 2020).

    .. math::
        \mathrm{PxAP} = \sum_l P(\tau_l) \, [R(\tau_l) - R(\tau_{l+1})], \qquad
        P(\tau) = \frac{\#\{s \ge \tau, y = 1\}}{\#\{s \ge \tau\}}, \quad
        R(\tau) = \frac{\#\{s \ge \tau, y = 1\}}{\#\{y = 1\}}

    over the scores s in [0, 1] and true values y of the pixels of all images, with rising
    thresholds :math:`\tau_l = 0, 1/T, \dots, (T-1)/T, 1`. Scores are bytes over 255, or floats
    min-max normalised image by image. Kept are two histograms, of foreground and background
    scores, so that memory does not grow.

    The thresholds of the reference evaluator are coarser than bytes, which costs a little
    precision within each bin. `thresholds=None` gives each of the 256 byte values a bin (floats
    are cut to bytes, as for boxes): this is the average precision of byte maps, exactly.

    Args:
        thresholds: T, or None for the 256 byte values.
        kwargs: Options of `torchmetrics.Metric`.

    Raises:
        ValueError: No thresholds.

    Example:
        >>> score_maps = torch.tensor([[[0, 100, 200, 255]]], dtype=torch.uint8)
        >>> metric = PixelAveragePrecision()
        >>> metric.update(score_maps, torch.tensor([[[0, 1, 0, 1]]]))
        >>> round(metric.compute().item(), 4)  # 1/2 x 1 + 1/2 x 2/3
        0.8333

    Source: choe2020, PxAP.
    """

    histogram: Tensor

    def __init__(self, thresholds: int | None = 100, **kwargs: object) -> None:
        super().__init__(**kwargs)
        if thresholds is not None and thresholds < 1:
            raise ValueError(f"thresholds must be at least 1, or None, got {thresholds}")
        self.thresholds = thresholds
        # Rows: background and foreground. The last bin holds the scores of 1.
        bins = 256 if thresholds is None else thresholds + 1
        self.add_state("histogram", torch.zeros(2, bins, dtype=torch.long), dist_reduce_fx="sum")
        self._add_settings(thresholds or 0)

    def update(
        self,
        score_maps: Num[Tensor, "images height width"],
        masks: Num[Tensor, "images height width"] | Bool[Tensor, "images height width"],
        ignore: Num[Tensor, "images height width"]
        | Bool[Tensor, "images height width"]
        | None = None,
    ) -> None:
        """Count a batch.

        Args:
            score_maps: uint8 or floating, shape (images, height, width).
            masks: 1 or True on the object, 0 or False elsewhere, of the same shape.
            ignore: 1 or True for background pixels that do not count, of the same shape. Pixels
                of the object count all the same, as in the reference evaluator.

        Raises:
            TypeError: Maps neither uint8 nor floating.
            ValueError: Masks of another shape or with other values than 0 and 1, another rank,
                no images, NaN or infinite scores. Nothing of the batch is counted.

        """
        if self.thresholds is None:
            bins = torch.from_numpy(_as_uint8(score_maps)).long()
        else:
            # The reference's np.histogram: a bin holds its lower edge.
            edges = torch.from_numpy(np.append(score_thresholds(self.thresholds), 1.0))
            scores = _normalised(score_maps)
            bins = torch.bucketize(scores, edges.to(scores.device), right=True).cpu() - 1
        foreground = self._as_bool(masks, score_maps, "masks")
        counted = torch.ones_like(foreground)
        if ignore is not None:
            counted = foreground | ~self._as_bool(ignore, score_maps, "ignore")
        width = self.histogram.shape[1]
        joint = (bins + width * foreground)[counted]
        counts = torch.bincount(joint, minlength=2 * width).reshape(2, width)
        self.histogram = self.histogram + counts.to(self.histogram)

    @staticmethod
    def _as_bool(masks: Tensor, score_maps: Tensor, name: str) -> Tensor:
        check_shape(masks, score_maps.shape, name, " of the score maps")
        true = (masks == 1).cpu()
        if not (true | (masks == 0).cpu()).all():
            values = masks.unique().tolist()
            raise ValueError(
                f"{name} must hold 0 and 1 (or False and True) only, got {len(values)} values "
                f"from {values[0]} to {values[-1]}"
            )
        return true

    def curve(self) -> tuple[Float[Tensor, " bins"], Float[Tensor, " bins"]]:
        """Precision and recall of the pixels that score at least a threshold, from the highest.

        The first entry is the bin of scores of 1, or of byte 255. Precision is NaN where no pixel
        scores as high, recall where no pixel is foreground. Counts the pixels of all processes,
        so all must call it.
        """
        ask = self._to_sync and not self._is_synced
        with self.sync_context(should_sync=ask, should_unsync=ask):
            background, foreground = self.histogram.flip(1).cumsum(1).double()
        return foreground / (foreground + background), foreground / foreground[-1]

    def compute(self) -> Float[Tensor, ""]:
        """Return PxAP, in [0, 1]; NaN if no pixel was foreground."""
        precision, recall = self.curve()
        gained = recall.diff(prepend=recall.new_zeros(1))
        return (precision.nan_to_num() * gained).sum()
