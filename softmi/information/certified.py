"""Steps of the certified lower bound on the mutual information of input and label."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi._checks import label_frequencies


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
