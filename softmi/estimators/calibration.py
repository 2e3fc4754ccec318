"""What fitting the weights of the pool changed, on samples that no member has seen."""

import math
from dataclasses import dataclass

import numpy as np

BINS = 15  # of the calibration error


@dataclass(frozen=True)
class Calibration:
    """What fitting the weights of the pool changed, on samples that no member has seen.

    Attributes:
        log_loss_before: Mean log-loss of the members at equal weights that sum to one, in nats.
        log_loss_after: With the fitted weights.
        error_before: Expected calibration error: mean distance between the probability given to
            the likeliest label and the share of right answers, over 15 bins of equal width.
        error_after: With the fitted weights.
        temperature: One over the mean sum of the weights over folds; infinite at zero weights.

    """

    log_loss_before: float
    log_loss_after: float
    error_before: float
    error_after: float
    temperature: float


def binned_excess(log_q: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Confidence less hits, summed in each of `BINS` bins of confidence, shape (BINS,)."""
    confidence = np.exp(log_q.max(1))
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    excess = confidence - (log_q.argmax(1) == labels)
    return np.bincount(bins, excess, minlength=BINS)


def pool_calibration(
    excess: np.ndarray, log_loss: np.ndarray, weights: list[np.ndarray], n: int
) -> Calibration:
    r"""Sum up n held-out samples, before and after the weights of the pool were fitted.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \bigl| \mathrm{conf}_b - \mathrm{acc}_b \bigr|

    Args:
        excess: :func:`binned_excess` before and after, shape (2, BINS).
        log_loss: Summed log-loss before and after, shape (2,).
        weights: Of the members, one array a fold.
        n: Number of samples.

    Source: guo2017, expected calibration error.
    """
    before, after = (float(np.abs(row).sum()) for row in excess / n)
    total = float(np.mean([w.sum() for w in weights]))
    return Calibration(
        log_loss_before=float(log_loss[0] / n),
        log_loss_after=float(log_loss[1] / n),
        error_before=before,
        error_after=after,
        temperature=1 / total if total > 0 else math.inf,
    )
