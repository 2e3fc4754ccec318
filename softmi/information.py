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

from softmi._validation import (
    PriorLike,
    as_prior,
    at_least_float32,
    check_finite,
    check_logits,
    check_targets,
    label_frequencies,
)


def entropy(prior: PriorLike) -> Float[Tensor, ""]:
    r"""Shannon entropy of a distribution over classes, in nats.

    .. math:: H(Y) = -\sum_k \pi_k \log \pi_k, \qquad 0 \log 0 := 0

    It is the ceiling of every classifier-based estimate: :math:`I(X;Y) \le H(Y) \le \log M`.

    Args:
        prior: Class probabilities :math:`\pi`, shape (classes,).

    Raises:
        ValueError: `prior` is not a distribution.

    Example:
        >>> round(entropy([0.5, 0.25, 0.25]).item(), 4)  # 1.5 bits
        1.0397

    """
    return entr(as_prior(prior)).sum()


def pointwise_mutual_information(
    logits: Float[Tensor, "batch classes"], prior: PriorLike, *, prior_corrected: bool = False
) -> Float[Tensor, "batch classes"]:
    r"""Pointwise mutual information between each input and each label, in nats.

    .. math::
        \mathrm{PMI}(x; y) = \log \frac{p(y \mid x)}{p(y)} \approx
        \begin{cases}
        \log \mathrm{softmax}(f(x))_y - \log \pi_y & \text{plain cross-entropy} \\
        \log \frac{\exp f_y(x)}{\sum_k \pi_k \exp f_k(x)} & \text{prior-corrected}
        \end{cases}

    The two cases are one: the second is the first on the logits :math:`f + \log \pi`
    (Qin et al. 2019, PC-softmax; identity derived in the first chapter of the book).

    Args:
        logits: :math:`f_k(x)`, shape (batch, classes).
        prior: Class probabilities :math:`\pi` that the network was trained under.
        prior_corrected: True if the logits come from a network trained with
            :func:`softmi.pc_cross_entropy` (logits :math:`\approx \log p(x|y) + c(x)`), False
            for plain cross-entropy (logits :math:`\approx \log p(y|x) + c(x)`).

    Returns:
        Shape (batch, classes), in float32 or, for float64 logits, float64. With plain logits the
        column of a class of zero prior is infinite; with prior-corrected ones it is finite.

    Raises:
        TypeError: Logits that are not floating point.
        ValueError: Wrong shapes, empty or non-finite logits, a prior that is no distribution.

    Example:
        >>> logits = torch.log(torch.tensor([[0.9, 0.1]]))  # q(y|x) against p(y) = 1/2
        >>> pmi = pointwise_mutual_information(logits, [0.5, 0.5])
        >>> [round(v, 3) for v in pmi[0].tolist()]  # log 1.8 and log 0.2, in nats
        [0.588, -1.609]

    """
    check_logits(logits)
    check_finite(logits)
    logits = at_least_float32(logits)
    log_prior = as_prior(prior, classes=logits.shape[1], like=logits).log()
    if prior_corrected:
        # A common offset of all logits cancels: taken out first, it costs no digits.
        logits = logits - logits.detach().amax(dim=1, keepdim=True)
        return logits - torch.logsumexp(logits + log_prior, dim=1, keepdim=True)
    return torch.log_softmax(logits, dim=1) - log_prior


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


def _bernstein(values: Float[Tensor, " samples"], spread: float, delta: float) -> float:
    """How far the mean of values in an interval of width `spread` may lie below its expectation.

    With probability 1 - delta: empirical Bernstein, Maurer and Pontil (2009), theorems 4 and 11.
    """
    n, term = len(values), math.log(2 / delta)
    if n < 2:
        return math.inf
    return math.sqrt(2 * float(values.var()) * term / n) + 7 * spread * term / (3 * (n - 1))


def _largest_loss(
    loss: Float[Tensor, " samples"],
    targets: Int[Tensor, " samples"],
    prior: Float[Tensor, " classes"],
    limit: float,
    delta: float,
) -> float:
    r"""Upper end of :math:`\sum_y \pi_y \mathbb{E}[\ell | y]`, for losses in [0, `limit`].

    It holds with probability 1 - delta for independent inputs whose labels are given: each loss
    counts :math:`\min(\pi_y / \hat\pi_y, c)` times, and what that leaves of a label's probability
    is taken to lose `limit`. The cap c balances that rest against the range of weighted losses.
    """
    n = len(loss)
    if n < 2:
        return math.inf
    frequencies = label_frequencies(targets, len(prior)).to(prior)

    def rest(cap: float) -> float:
        return float((prior - cap * frequencies).clamp(min=0).sum())

    ratio = prior / frequencies  # infinite for labels that are not here
    candidates = ratio[frequencies > 0].unique().tolist()
    cap = min(candidates, key=lambda c: rest(c) + 7 * c * math.log(2 / delta) / (3 * (n - 1)))
    weighted = ratio.clamp(max=cap)[targets] * loss
    return float(weighted.mean()) + rest(cap) * limit + _bernstein(weighted, cap * limit, delta)


def _label_slack(classes: int, n: int, delta: float) -> float:
    r"""How far the mean of n draws of d(Y) may lie above its expectation.

    With probability 1 - delta, for any d with :math:`0 \le d(y) \le -\log \pi_y` and any prior on
    `classes` labels. With
    :math:`\varphi(u) = e^u - 1 - u \le \tfrac{u^2}{2} e^u`, rising for positive u,

    .. math::
        \log \mathbb{E}\, e^{\lambda (d - \mathbb{E} d)} \le \mathbb{E}\, \varphi(\lambda d)
        \le \sum_y \pi_y \varphi(-\lambda \log \pi_y)
        \le \frac{\lambda^2}{2} \sum_y \pi_y^{1-\lambda} \log^2 \pi_y
        \le \frac{\lambda^2}{2} M \max_{p \le 1/M} p^{1-\lambda} \log^2 p ,

    the last step because :math:`p^{1-\lambda} \log^2 p` lies below a concave function that rises
    as it does up to its maximum, where :math:`\log p = -2/(1-\lambda)`, and is level from there.
    Any :math:`\lambda` that does not depend on the data is allowed: the best of a fixed grid.
    """
    scale = torch.logspace(-6, -0.01, 400, dtype=torch.float64)  # lambda
    log_p = torch.clamp(-2 / (1 - scale), max=-math.log(classes))
    # log v: at many classes the terms themselves would overflow
    log_v = math.log(classes) + (1 - scale) * log_p + 2 * log_p.neg().log()
    return float((scale / 2 * log_v.exp() + math.log(1 / delta) / (n * scale)).min())


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


def conditional_mutual_information(
    logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    r"""Concentration of a classifier's outputs within each class, in nats.

    .. math::
        I(X; \hat Y \mid Y) = \frac{1}{N} \sum_{i=1}^{N}
        \mathrm{KL}\bigl(P_{x_i} \,\|\, Q^{y_i}\bigr), \qquad
        Q^y = \frac{1}{N_y} \sum_{i: y_i = y} P_{x_i},

    with :math:`P_x = \mathrm{softmax}(f(x))` the output distribution and :math:`Q^y` the centroid
    of class y (Yang et al. 2023, arXiv 2309.09123, CMI). A property of the model's outputs: zero
    when all inputs of a class give the same output, and no estimate of :math:`I(X;Y)`.

    Args:
        logits: Shape (batch, classes).
        targets: Labels that define the groups, shape (batch,).

    Raises:
        TypeError: Logits not floating point, or targets not integers.
        ValueError: Shapes that do not match, no samples, non-finite logits, targets out of range.

    Example:
        >>> logits = torch.tensor([[50.0, 0.0], [0.0, 50.0]])  # two opposite, sure outputs
        >>> same = conditional_mutual_information(logits, torch.tensor([0, 0])).item()
        >>> apart = conditional_mutual_information(logits, torch.tensor([0, 1])).item()
        >>> round(same, 4), round(apart, 4)  # log 2 in one class, nothing in two
        (0.6931, 0.0)

    """
    check_logits(logits)
    check_finite(logits)
    check_targets(targets, logits)
    log_p = torch.log_softmax(at_least_float32(logits), dim=1)
    membership = torch.nn.functional.one_hot(targets.long(), logits.shape[1]).to(log_p.dtype)
    counts = membership.sum(0).clamp(min=1)
    centroids = (membership.T @ log_p.exp()) / counts[:, None]  # (classes, classes)
    divergence = log_p.exp() * log_p - torch.xlogy(log_p.exp(), centroids[targets.long()])
    return divergence.sum(1).mean()
