r"""The finite-sample gap of a cross-fitted estimate, removed by training on halves as well."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi.information.estimate import MutualInformationEstimate, normal_interval
from softmi.information.labels import LabelPrior
from softmi.information.nats import InNats

GAP_ERROR = 0.3  # standard deviation of the extrapolation, in units of the gap
TRUSTED = 0.1  # largest share of the gap in an estimate that is to be trusted


@dataclass(frozen=True)
class ExtrapolatedMutualInformation(InNats):
    r"""An estimate of :math:`I(X;Y)` from which the finite-sample gap is removed; no lower bound.

    Attributes:
        value: :math:`2 \hat I(m) - \hat I(m/2)` plus a term for the label frequencies, in nats, or
            `label_entropy` if that is less.
        standard_error: Sampling error and uncertainty of the gap together.
        low: Lower end of the interval.
        high: Upper end of the interval; both are cut to what no information exceeds for sure.
        gap: What was added to the cross-fitted estimate.
        unit: "nats" or "bits".
        label_entropy: The cap, for unlimited samples as the value is: :math:`H(Y)` of a given
            prior, else :math:`\hat H(Y) + (M-1)/(2n)` with M the number of labels seen (Miller
            1955), at most the logarithm of the number of all.
        trustworthy: Whether the gap between :math:`\hat I(m)` and :math:`\hat I(m/2)` is at most a
            tenth of the value or within its sampling error.

    """

    NATS: ClassVar = ("value", "standard_error", "low", "high", "gap", "label_entropy")

    value: float
    standard_error: float
    low: float
    high: float
    gap: float
    unit: str = "nats"
    label_entropy: float = math.inf
    trustworthy: bool = True


def extrapolate(
    log_q: Float[np.ndarray, " samples"],
    log_q_half: Float[np.ndarray, " samples"],
    targets: Int[Tensor, " samples"],
    prior: LabelPrior,
    *,
    confidence: float = 0.95,
) -> ExtrapolatedMutualInformation:
    r"""Remove the gap, if it is proportional to one over the number of training samples.

    .. math::
        \hat I_\infty = 2 \hat I(m) - \hat I(m/2) + \frac{S-1}{2n}, \qquad
        S = \frac{1}{n} \sum_i \frac{q(y_i|x_i)}{\hat\pi_{y_i}}

    with :math:`(S-M)/(2n)` in place of the last term under a known prior of M labels;
    :class:`softmi.SoftmaxMutualInformation` derives it.

    Args:
        log_q: :math:`\log q(y_i|x_i)` of held-out samples by classifiers trained on m others.
        log_q_half: The same by classifiers trained on half as many, their mean.
        targets: Labels of the samples, shape (samples,).
        prior: The prior in use.
        confidence: Coverage of the interval.

    Example:
        >>> targets = torch.arange(100) % 2
        >>> log_q, log_q_half = np.full(100, np.log(0.8)), np.full(100, np.log(0.75))
        >>> prior = LabelPrior(torch.tensor([0.5, 0.5]).double(), "known")
        >>> found = extrapolate(log_q, log_q_half, targets, prior)
        >>> round(found.gap, 3), round(found.value, 3)
        (0.063, 0.533)

    """
    n, pi = len(log_q), prior.probabilities
    estimate, sampling = (
        MutualInformationEstimate.of_summands(
            torch.from_numpy(values) - pi.log()[targets], targets, prior, confidence=confidence
        )
        for values in (log_q, 2 * log_q - log_q_half)
    )
    gap = float((log_q - log_q_half).mean())
    ratio = float(np.exp(estimate.pointwise.numpy()).mean())  # S
    seen = len(targets.unique())
    if prior.status == "estimated":
        missing = (ratio - 1) / (2 * n)
        cap = min(prior.entropy + (seen - 1) / (2 * n), prior.ceiling)
    else:
        missing, cap = (ratio - int((pi > 0).sum())) / (2 * n), prior.entropy
    mean = float(sampling.pointwise.mean()) + missing
    standard_error = math.hypot(sampling.standard_error, GAP_ERROR * gap)
    low, high = normal_interval(mean, standard_error, confidence, highest=prior.ceiling)
    value = min(mean, cap)
    return ExtrapolatedMutualInformation(
        value=value,
        standard_error=standard_error,
        low=low,
        high=high,
        gap=value - estimate.value,
        label_entropy=cap,
        trustworthy=abs(gap) <= max(TRUSTED * abs(value), sampling.standard_error),
    )
