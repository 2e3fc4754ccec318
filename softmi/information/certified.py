"""A certified lower bound on the mutual information of input and label, and its steps."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi._checks import label_frequencies
from softmi.information.labels import LabelPrior


def certified_lower_bound(
    pointwise: Float[Tensor, " samples"],
    targets: Int[Tensor, " samples"],
    prior: LabelPrior,
    folds: Int[Tensor, " samples"] | None = None,
    *,
    delta: float = 0.05,
    epsilon: float = 1e-3,
) -> float:
    r"""A number that is below the true :math:`I(X;Y)` with probability at least 1 - delta.

    It holds for any classifier that has not seen the inputs it scores, however badly it is
    calibrated, and for any number of samples: no normal approximation. The classifier is mixed
    with the uniform distribution, :math:`q_\epsilon = (1-\epsilon) q + \epsilon / M`, so that
    its log-loss :math:`\ell_i = -\log q_\epsilon(y_i | x_i)` is at most :math:`B = \log(M /
    \epsilon)`, M being the number of labels that can occur.

    With a known prior and one classifier this is the empirical Bernstein bound (Maurer and Pontil
    2009, theorem 4) for :math:`Z_i = -\ell_i - \log \pi_{y_i}`, with :math:`V` the sample variance
    of Z and :math:`R = B + \log(\pi_{\max} / \pi_{\min})` its range:

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

    A lower bound stays one when it is cut to the cap :math:`H(Y)` of the prior in use: it never
    lies above. The distribution-free limit of McAllester and Stratos (2020), no such bound above
    O(log n), does not bite for labels, since :math:`I \le \log M`.

    Args:
        pointwise: :math:`\log q(y_i|x_i) - \log \pi_{y_i}` of each sample, shape (samples,).
        targets: Labels :math:`y_i`, shape (samples,).
        prior: The prior in use, with an entry for every label that can occur: M is their number.
        folds: Which classifier scored each sample; None if it was one for all.
        delta: Probability with which the bound may fail, in (0, 1).
        epsilon: Weight of the uniform distribution, in (0, 1); fixed before the data is seen.

    Returns:
        The bound in nats; negative when it says nothing.

    Raises:
        ValueError: `delta` or `epsilon` outside (0, 1), fewer than two samples, or labels that
            contradict the prior.

    Example:
        >>> targets = torch.arange(1000) % 2
        >>> prior = LabelPrior(torch.tensor([0.5, 0.5]).double(), "known")
        >>> pointwise = torch.full((1000,), math.log(0.9 / 0.5))  # 0.59 nats
        >>> round(certified_lower_bound(pointwise, targets, prior), 2)
        0.52

    Source: maurer2009, empirical Bernstein bound.
    """
    if not 0 < delta < 1 or not 0 < epsilon < 1:
        raise ValueError(f"delta and epsilon must be in (0, 1), got {delta} and {epsilon}")
    n, pi = len(pointwise), prior.probabilities
    if n < 2:
        raise ValueError(f"a certified bound needs at least two samples, got {n}")
    if prior.status == "mismatched":
        raise ValueError("no certified bound: the labels contradict the prior")
    classes, log_prior = len(pi), pi.log()[targets]
    log_q = pointwise + log_prior
    floor = torch.full_like(log_q, math.log(epsilon / classes))
    loss = -torch.logaddexp(log_q + math.log1p(-epsilon), floor)
    limit = math.log(classes / epsilon)  # B
    if prior.status == "known" and folds is None:
        support = pi[pi > 0]
        spread = limit + float((support.max() / support.min()).log())
        z = -loss - log_prior
        return min(float(z.mean()) - _bernstein(z, spread, delta), prior.entropy)
    step = delta if prior.status == "known" else delta / 2
    folds = torch.zeros(n) if folds is None else folds
    parts = [folds == fold for fold in folds.unique().tolist()]
    most = min(_largest_loss(loss[i], targets[i], pi, limit, step / len(parts)) for i in parts)
    bound = prior.entropy - most
    if prior.status == "estimated":
        bound -= _label_slack(classes, n, step)
    return min(bound, prior.entropy)


def _bernstein(values: Float[Tensor, " samples"], spread: float, delta: float) -> float:
    r"""How far the mean of values in an interval of width `spread` may lie below its expectation.

    With probability 1 - delta: empirical Bernstein, Maurer and Pontil (2009), theorems 4 and 11.

    .. math:: \sqrt{\frac{2 V \log(2/\delta)}{n}} + \frac{7 R \log(2/\delta)}{3(n-1)}
    """
    n, term = len(values), math.log(2 / delta)
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
