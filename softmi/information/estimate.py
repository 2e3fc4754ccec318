r"""The mutual information of input and label, estimated from a classifier's logits. In nats.

The chain of ideas, in the notation used throughout (M classes, prior :math:`\pi_k = p(Y=k)`,
logits :math:`f_k(x)`):

.. math::
    I(X;Y) = H(Y) - H(Y \mid X) \ge H(Y) - \mathrm{CE},
    \qquad \mathrm{CE} = -\mathbb{E} \log \mathrm{softmax}(f(X))_Y .

The gap is :math:`\mathbb{E}_x \mathrm{KL}(p(y|x) \,\|\, q(y|x))`, so that training with
cross-entropy tightens a lower bound on the mutual information between input and label.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.special import ndtri

from softmi._checks import PriorLike, check_outputs
from softmi.information.certified import certified_lower_bound
from softmi.information.labels import LabelPrior, PriorMismatch, label_prior
from softmi.information.nats import InNats


@dataclass(frozen=True)
class MutualInformationEstimate(InNats):
    r"""An estimate of :math:`I(X;Y)` with its uncertainty, in nats unless `unit` says "bits".

    No mutual information exceeds the entropy of its label, and no number here does: the mean of
    the summands may, by rounding, or, under a known prior, when rare labels were drawn a little
    too often; it is then cut to the cap, and :attr:`at_cap` says so.

    Attributes:
        value: The estimate: mean of the pointwise mutual information of the scored samples, or
            `label_entropy` if that is less.
        standard_error: Of that mean; infinite for a single sample.
        low: Lower end of the normal-theory confidence interval.
        high: Upper end of that interval; both are cut to what no information exceeds for sure,
            :math:`H(Y)` of a given prior, :math:`\log M` where the prior is estimated.
        label_entropy: :math:`H(Y)` under the prior in use: no mutual information exceeds it.
        n_samples: Number of samples scored.
        unit: "nats" or "bits".
        pointwise: The summands, shape (samples,): :math:`\log q(y_i|x_i) - \log \pi_{y_i}`, in
            nats whatever `unit` says; empty for an estimate from batches.
        prior: The prior in use, and whether it was counted, known, or contradicted by the labels.
        targets: Labels of the summands, shape (samples,); None without summands.
        folds: Which classifier scored each sample; None if it was one for all.

    Example:
        >>> from softmi import mutual_information
        >>> logits = 9.0 * torch.eye(2).repeat(50, 1)  # sure, and right
        >>> found = mutual_information(logits, torch.arange(100) % 2, prior=[0.5, 0.5])
        >>> round(found.value, 3), round(found.in_bits().value, 3)
        (0.693, 1.0)

    """

    NATS: ClassVar = ("value", "standard_error", "low", "high", "label_entropy")

    value: float
    standard_error: float
    low: float
    high: float
    label_entropy: float
    n_samples: int
    unit: str = "nats"
    pointwise: Float[Tensor, " samples"] = field(
        repr=False, compare=False, default_factory=lambda: torch.empty(0)
    )
    prior: LabelPrior | None = field(compare=False, default=None)
    targets: Int[Tensor, " samples"] | None = field(repr=False, compare=False, default=None)
    folds: Int[Tensor, " samples"] | None = field(repr=False, compare=False, default=None)

    @classmethod
    def of_mean(
        cls,
        mean: float,
        standard_error: float,
        prior: LabelPrior,
        *,
        n_samples: int,
        confidence: float = 0.95,
    ) -> "MutualInformationEstimate":
        """Make an estimate of a mean and its error, cut to what information cannot exceed."""
        cap = prior.entropy
        low, high = normal_interval(mean, standard_error, confidence, highest=prior.ceiling)
        return cls(min(mean, cap), standard_error, low, high, cap, n_samples, prior=prior)

    @classmethod
    def of_summands(
        cls,
        pointwise: Float[Tensor, " samples"],
        targets: Int[Tensor, " samples"],
        prior: LabelPrior,
        folds: Int[Tensor, " samples"] | None = None,
        *,
        confidence: float = 0.95,
    ) -> "MutualInformationEstimate":
        r"""Make an estimate of :math:`\log q(y_i|x_i) - \log \pi_{y_i}` of each sample."""
        n = len(pointwise)
        standard_error = float(pointwise.std()) / math.sqrt(n) if n > 1 else math.inf
        found = cls.of_mean(
            float(pointwise.mean()), standard_error, prior, n_samples=n, confidence=confidence
        )
        return replace(found, pointwise=pointwise, targets=targets, folds=folds)

    @property
    def at_cap(self) -> bool:
        """Whether the mean of the summands reached the cap, so that the value is the cap."""
        return self.value >= self.label_entropy

    def certified_lower_bound(self, delta: float = 0.05, *, epsilon: float = 1e-3) -> float:
        """A number that is below the true :math:`I(X;Y)` with probability at least 1 - delta.

        For any classifier that has not seen the inputs it scores, and any number of samples:
        formulas and proof are those of :func:`softmi.information.certified_lower_bound`. Never
        above `label_entropy`.

        Args:
            delta: Probability with which the bound may fail, in (0, 1).
            epsilon: Weight of the uniform distribution, in (0, 1); fixed before the data is seen.

        Returns:
            The bound in the unit of this estimate; negative when it says nothing.

        Raises:
            ValueError: `delta` or `epsilon` outside (0, 1), fewer than two samples, labels that
                contradict the prior, or an estimate from batches, which keeps no summands.

        """
        if self.prior is None or self.targets is None:
            raise ValueError("no certified bound: a streamed estimate keeps no summands")
        bound = certified_lower_bound(
            self.pointwise, self.targets, self.prior, self.folds, delta=delta, epsilon=epsilon
        )
        return bound / math.log(2) if self.unit == "bits" else bound


def normal_interval(
    value: float, standard_error: float, confidence: float, *, highest: float = math.inf
) -> tuple[float, float]:
    r"""The normal-theory interval :math:`\hat I \pm z\, \mathrm{s.e.}`, cut to at most `highest`.

    A truth that cannot exceed `highest` is covered as often as without the cut. With an infinite
    error it is the whole line.
    """
    if math.isinf(standard_error):
        return -math.inf, math.inf
    z = float(ndtri(torch.tensor((1 + confidence) / 2, dtype=torch.float64)))
    low, high = value - z * standard_error, value + z * standard_error
    return min(low, highest), min(high, highest)


def label_log_probabilities(
    logits: Float[Tensor, "batch classes"],
    targets: Int[Tensor, " batch"],
    log_prior: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, " batch"]:
    r"""What a classifier gives to each label, in the logits' dtype.

    .. math::
        \log q(y_i | x_i) = \log \mathrm{softmax}(f(x_i) \;[+ \log \pi \text{ if given}])_{y_i}

    Args:
        logits: :math:`f_k(x_i)`, finite, shape (batch, classes).
        targets: Labels :math:`y_i`, int64, shape (batch,).
        log_prior: :math:`\log \pi` of prior-corrected logits, shape (classes,); None for plain
            ones.

    """
    # A common offset of all logits cancels: taken out first, it costs no digits.
    logits = logits - logits.amax(dim=1, keepdim=True)
    adjusted = logits if log_prior is None else logits + log_prior
    return -cross_entropy(adjusted, targets, reduction="none")


def mutual_information(
    logits: Float[Tensor, "batch classes"],
    targets: Int[Tensor, " batch"],
    prior: PriorLike | None = None,
    *,
    prior_corrected: bool = False,
    confidence: float = 0.95,
    prior_mismatch: PriorMismatch = "raise",
) -> MutualInformationEstimate:
    r"""Estimate :math:`I(X;Y)` from a classifier's logits on samples that it was not trained on.

    .. math::
        \hat I = \frac{1}{N} \sum_{i=1}^{N} \bigl[ \log q(y_i | x_i) - \log \pi_{y_i} \bigr]
        = H(Y) - \mathrm{CE}, \qquad
        q(\cdot | x) = \mathrm{softmax}(f(x) \;[+ \log \pi \text{ if prior-corrected}])

    In expectation it is a lower bound, low by :math:`\mathbb{E}\,\mathrm{KL}(p(y|x) \| q(y|x))`:
    what the classifier has not learnt, and its miscalibration. On training samples it is no
    bound at all: a network that memorises random labels reports :math:`H(Y)`.

    Departs from Qin et al. (2019), whose code adds :math:`\log M` to the plain softmax on skewed
    data too; that over-counts by :math:`\log M - H(Y)`. The two agree for a uniform prior.

    **Whose prior.** All of it is about the distribution that `targets` were drawn from, and so is
    the prior: known by design (such as uniform), or else left out. The prior that a network was
    *trained* with is the right one only for labels drawn like those of the training set. On a
    balanced test set leave it out: prior-corrected logits hold under any prior, and logits of
    plain cross-entropy are taken over by :func:`softmi.adjust_logits`. A prior that the labels
    contradict (see :func:`softmi.information.label_prior`) is refused, as the mean would not be a
    bound on anything, and could exceed every cap.

    Args:
        logits: :math:`f_k(x_i)`, shape (batch, classes), any floating dtype, accumulated in
            float64. Log-probabilities are logits too; probabilities are not, which a warning
            says.
        targets: Labels :math:`y_i`, integers in [0, classes), shape (batch,). Every label that can
            occur has its column in `logits`.
        prior: Class probabilities :math:`\pi` of the labels, shape (classes,), in the order of the
            columns; None takes the label frequencies of `targets`.
        prior_corrected: True for logits trained with :func:`softmi.pc_cross_entropy`, False for
            plain cross-entropy.
        confidence: Coverage of the interval (low, high), in (0, 1).
        prior_mismatch: "allow" takes a prior though the labels contradict it, as to recompute what
            other code printed. The estimate is then marked (`prior.status` is "mismatched"), cut
            to the cap like any other, no lower bound, and has no certificate.

    Returns:
        The estimate, its standard error (standard deviation of the summands over
        :math:`\sqrt N`) and its interval.

    Raises:
        TypeError: Logits not floating point, or targets not integers.
        ValueError: Shapes that do not match, no samples, NaN or infinite logits, targets out of
            range or of zero prior, a prior that is no distribution or that the labels contradict.

    Example:
        >>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]]).repeat(50, 1)
        >>> targets = torch.tensor([0, 1]).repeat(50)
        >>> estimate = mutual_information(logits, targets)
        >>> round(estimate.value, 3), round(estimate.in_bits().value, 3)
        (0.693, 1.0)

    Source: qin2019, softmax estimator of mutual information.
    """
    check_outputs(logits, targets)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    logits, targets = logits.detach().double(), targets.detach().long()
    counts = torch.bincount(targets, minlength=logits.shape[1])
    used = label_prior(counts, prior, prior_mismatch=prior_mismatch)
    log_prior = used.probabilities.log()
    log_q = label_log_probabilities(logits, targets, log_prior if prior_corrected else None)
    pointwise = log_q - log_prior[targets]  # their mean: H(Y) - CE
    return MutualInformationEstimate.of_summands(pointwise, targets, used, confidence=confidence)
