r"""Information quantities as pure functions of a classifier's logits. Everything is in nats.

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

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.special import entr, ndtri

from softmi._checks import (
    PriorLike,
    as_prior,
    check_finite,
    check_logits,
    check_targets,
    label_frequencies,
)
from softmi.information.certified import _bernstein, _label_slack, _largest_loss


@dataclass(frozen=True)
class MutualInformationEstimate:
    r"""An estimate of :math:`I(X;Y)` with its uncertainty, in nats unless `unit` says "bits".

    Attributes:
        value: The estimate: mean of the pointwise mutual information of the scored samples.
        standard_error: Of `value`; infinite for a single sample.
        low: Lower end of the normal-theory confidence interval.
        high: Upper end of that interval.
        label_entropy: :math:`H(Y)` under the prior in use: no mutual information exceeds it.
        n_samples: Number of samples scored.
        unit: "nats" or "bits".
        pointwise: The summands, shape (samples,): :math:`\log q(y_i|x_i) - \log \pi_{y_i}`, in
            nats whatever `unit` says.

    Example:
        >>> from softmi import mutual_information
        >>> logits = 9.0 * torch.eye(2).repeat(50, 1)  # sure, and right
        >>> found = mutual_information(logits, torch.arange(100) % 2, prior=[0.5, 0.5])
        >>> round(found.value, 3), round(found.in_bits().value, 3)
        (0.693, 1.0)

    """

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
    _targets: Int[Tensor, " samples"] = field(
        repr=False, compare=False, default_factory=lambda: torch.empty(0, dtype=torch.long)
    )
    _prior: Float[Tensor, " classes"] = field(
        repr=False, compare=False, default_factory=lambda: torch.empty(0)
    )
    _prior_is_known: bool = field(repr=False, compare=False, default=False)
    # Cross-fitting: which classifier scored each sample; empty where there was but one.
    _folds: Int[Tensor, " _"] = field(
        repr=False, compare=False, default_factory=lambda: torch.empty(0, dtype=torch.long)
    )

    def __float__(self) -> float:
        return self.value

    def in_bits(self) -> "MutualInformationEstimate":
        """Return the same estimate in bits (1 bit = log 2 nats)."""
        if self.unit == "bits":
            return self
        nats = ("value", "standard_error", "low", "high", "label_entropy")
        return replace(
            self, unit="bits", **{name: getattr(self, name) / math.log(2) for name in nats}
        )

    def certified_lower_bound(self, delta: float = 0.05, *, epsilon: float = 1e-3) -> float:
        r"""A number that is below the true :math:`I(X;Y)` with probability at least 1 - delta.

        It holds for any classifier that has not seen the inputs it scores, however badly it is
        calibrated, and for any number of samples: no normal approximation. The classifier is mixed
        with the uniform distribution, :math:`q_\epsilon = (1-\epsilon) q + \epsilon / M`, so that
        its log-loss :math:`\ell_i = -\log q_\epsilon(y_i | x_i)` is at most :math:`B = \log(M /
        \epsilon)`, M being the number of labels that can occur.

        With a known prior (given to :func:`mutual_information`) and one classifier this is the
        empirical Bernstein bound (Maurer and Pontil 2009, theorem 4) for :math:`Z_i = -\ell_i -
        \log \pi_{y_i}`, with :math:`V` the sample variance of Z and :math:`R = B +
        \log(\pi_{\max} / \pi_{\min})` its range:

        .. math:: \bar Z - \sqrt{\frac{2 V \log(2/\delta)}{n}} - \frac{7 R \log(2/\delta)}{3(n-1)}

        With the prior estimated each of two steps may fail with probability :math:`\delta/2`.
        First the labels are held fixed, with frequencies :math:`\hat\pi`. Inputs are then still
        independent, and their information with a label of that prior is at least
        :math:`H(\hat\pi)` minus the mean log-loss, for which the same inequality holds (their
        theorem 11: independent is enough), V being that of the losses. Then the labels: the
        information under :math:`\hat\pi` is at most the mean of :math:`d(y_i) =
        \mathrm{KL}(p(x|y_i) \,\|\, p(x))`, whose expectation is :math:`I(X;Y)`. As :math:`0 \le
        d(y) \le -\log \pi_y`, Chernoff's bound leaves no more than :math:`t_n` between the two:

        .. math::
            H(\hat\pi) - \bar\ell - \sqrt{\frac{2 V \log(4/\delta)}{n}}
            - \frac{7 B \log(4/\delta)}{3(n-1)} - t_n, \qquad
            t_n = \min_{0 < \lambda < 1} \frac{\lambda}{2} v_M(\lambda)
            + \frac{\log(2/\delta)}{\lambda n}

        with :math:`v_M(\lambda) = M \max_{p \le 1/M} p^{1-\lambda} \log^2 p`, which is about
        :math:`\log^2 M`.

        After cross-fitting no single classifier has seen none of the inputs. The first step is
        then taken for each of the K folds with its share of :math:`\delta`, and the best of the K
        holds: all do at once. Labels held fixed may be in folds in any way, stratified too: a
        sample of fold k counts :math:`\min(\pi_y / \hat\pi^k_y, c)` times, with :math:`\hat\pi^k`
        the frequencies in the fold and :math:`\pi` the prior in use, and the rest of a label's
        probability is taken to lose :math:`B`; c is chosen by the labels alone. With a known prior
        there is no second step.

        The distribution-free limit of McAllester and Stratos (2020), no such bound above
        O(log n), does not bite for labels, since :math:`I \le \log M`.

        Args:
            delta: Probability with which the bound may fail, in (0, 1).
            epsilon: Weight of the uniform distribution, in (0, 1); fixed before the data is seen.

        Returns:
            The bound in the unit of this estimate; negative when it says nothing.

        Raises:
            ValueError: `delta` or `epsilon` outside (0, 1), fewer than two samples, or an estimate
                from batches, which keeps no summands.

        """
        if not 0 < delta < 1 or not 0 < epsilon < 1:
            raise ValueError(f"delta and epsilon must be in (0, 1), got {delta} and {epsilon}")
        n = self.n_samples
        if n < 2:
            raise ValueError(f"a certified bound needs at least two samples, got {n}")
        if self.pointwise.numel() != n:
            raise ValueError("no certified bound: a streamed estimate keeps no summands")
        pi, targets = self._prior, self._targets
        log_prior = pi.log()[targets]
        log_q = self.pointwise + log_prior
        loss = -torch.logaddexp(
            log_q + math.log1p(-epsilon), torch.full_like(log_q, math.log(epsilon / len(pi)))
        )
        limit = math.log(len(pi) / epsilon)
        folds = self._folds.unique().tolist()
        if self._prior_is_known and not folds:
            support = pi[pi > 0]
            spread = limit + float((support.max() / support.min()).log())
            z = -loss - log_prior
            bound = float(z.mean()) - _bernstein(z, spread, delta)
        else:
            parts = [self._folds == fold for fold in folds] or [torch.ones(n, dtype=torch.bool)]
            step = delta if self._prior_is_known else delta / 2
            most = min(
                _largest_loss(loss[i], targets[i], pi, limit, step / len(parts)) for i in parts
            )
            bound = float(entr(pi).sum()) - most
            if not self._prior_is_known:
                bound -= _label_slack(len(pi), n, step)
        return bound / math.log(2) if self.unit == "bits" else bound


def _interval(value: float, standard_error: float, confidence: float) -> tuple[float, float]:
    """The normal-theory interval."""
    z = float(ndtri(torch.tensor((1 + confidence) / 2, dtype=torch.float64)))
    return value - z * standard_error, value + z * standard_error


def mutual_information(
    logits: Float[Tensor, "batch classes"],
    targets: Int[Tensor, " batch"],
    prior: PriorLike | None = None,
    *,
    prior_corrected: bool = False,
    confidence: float = 0.95,
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

    Args:
        logits: :math:`f_k(x_i)`, shape (batch, classes); any floating dtype, accumulated in
            float64.
        targets: Labels :math:`y_i`, integers in [0, classes), shape (batch,).
        prior: Class probabilities :math:`\pi`; None takes the label frequencies of `targets`.
            A prior-corrected network should be given the prior that it was trained with if
            that differs from the frequencies in `targets` only by sampling.
        prior_corrected: True for logits trained with :func:`softmi.pc_cross_entropy`, False for
            plain cross-entropy.
        confidence: Coverage of the interval (low, high), in (0, 1).

    Returns:
        The estimate, its standard error (standard deviation of the summands over
        :math:`\sqrt N`) and its interval.

    Raises:
        TypeError: Logits not floating point, or targets not integers.
        ValueError: Shapes that do not match, no samples, NaN or infinite logits, targets out of
            range or of zero prior, a prior that is no distribution.

    Example:
        >>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]]).repeat(50, 1)
        >>> targets = torch.tensor([0, 1]).repeat(50)
        >>> estimate = mutual_information(logits, targets)
        >>> round(estimate.value, 3), round(estimate.in_bits().value, 3)
        (0.693, 1.0)

    """
    check_logits(logits)
    check_finite(logits)
    check_targets(targets, logits)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    logits, targets = logits.detach().double(), targets.detach().long()
    classes = logits.shape[1]
    known = prior is not None
    pi = as_prior(
        label_frequencies(targets, classes) if prior is None else prior,
        classes=classes,
        like=logits,
    ).double()
    if (pi[targets] == 0).any():
        impossible = targets[pi[targets] == 0].unique().tolist()
        raise ValueError(f"targets contain classes of zero prior: {impossible}")
    # A common offset of all logits cancels: taken out first, it costs no digits.
    logits = logits - logits.amax(dim=1, keepdim=True)
    adjusted = logits + pi.log() if prior_corrected else logits
    log_q = -torch.nn.functional.cross_entropy(adjusted, targets, reduction="none")
    return _estimate(log_q, targets, pi, known, confidence)


def _estimate(
    log_q: Float[Tensor, " samples"],
    targets: Int[Tensor, " samples"],
    prior: Float[Tensor, " classes"],
    prior_is_known: bool,
    confidence: float,
) -> MutualInformationEstimate:
    r"""The estimate from :math:`\log q(y_i|x_i)` of each sample, all in float64."""
    pointwise, n = log_q - prior.log()[targets], len(log_q)
    value = float(pointwise.mean())
    standard_error = float(pointwise.std()) / math.sqrt(n) if n > 1 else math.inf
    low, high = _interval(value, standard_error, confidence)
    return MutualInformationEstimate(
        value=value,
        standard_error=standard_error,
        low=low,
        high=high,
        label_entropy=float(entr(prior).sum()),
        n_samples=n,
        pointwise=pointwise,
        _targets=targets,
        _prior=prior,
        _prior_is_known=prior_is_known,
    )
