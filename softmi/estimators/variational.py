r"""Variational bounds of :math:`I(X;Y)` for a label Y, as functions of a critic's scores.

A variational bound compares a critic :math:`T(x, y)` on pairs drawn together with pairs drawn
apart. Here it is a function of the score matrix :math:`S_{ij} = T(x_i, y_j)`: its diagonal holds
the n joint pairs, the other entries n(n - 1) pairs from the product of the marginals (Poole et
al. 2019; Song and Ermon 2020). For a label the matrix has at most M distinct columns, so that
`bound(logits, targets)` equals `bound(logits[:, targets])` without forming it. Nats throughout.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from softmi._checks import at_least_float32, check_logits, check_targets, describe

Bound = Callable[[Tensor, Tensor], Tensor]


def _parts(scores: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return scores, those of the joint pairs, each column's copies, and those off-diagonal."""
    check_logits(scores, name="scores", finite=True)
    n, columns = scores.shape
    if targets is None:
        if n != columns:
            raise ValueError(
                f"scores must be square, T(x_i, y_j) for every pair of a batch, or come with "
                f"targets; got {describe(scores)}"
            )
        targets = torch.arange(n, device=scores.device)
    check_targets(targets, scores)
    if n < 2:
        raise ValueError(f"a bound needs at least two samples, got scores of {describe(scores)}")
    scores, targets = at_least_float32(scores), targets.long()
    joint = scores.gather(1, targets[:, None])[:, 0]
    copies = torch.bincount(targets, minlength=columns).to(scores)
    apart = copies.repeat(n, 1).scatter_add_(1, targets[:, None], -torch.ones_like(scores[:, :1]))
    return scores, joint, copies, apart


def _log_mean_exp(scores: Tensor, weights: Tensor) -> Tensor:
    """Return the logarithm of the mean of exp(scores) under `weights`."""
    return torch.logsumexp((scores + weights.log()).flatten(), 0) - weights.sum().log()


def donsker_varadhan(
    scores: Float[Tensor, "batch columns"], targets: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    r"""Donsker and Varadhan's representation of the mutual information, which MINE trains.

    .. math:: I \ge \mathbb{E}_{p(x,y)} T - \log \mathbb{E}_{p(x)p(y)} e^T

    with equality for :math:`T = \log \frac{p(x,y)}{p(x)p(y)} + \text{const}` (Belghazi et al.
    2018). The logarithm of a sample mean lies below that of the mean on average: in
    finite samples the value is biased upwards, and its variance grows like :math:`e^I`.

    Args:
        scores: :math:`T(x_i, y_j)`, shape (batch, batch), the joint pairs on the diagonal; or,
            with `targets`, :math:`T(x_i, k)` for each class, shape (batch, classes).
        targets: Labels :math:`y_j`, shape (batch,): the matrix is then `scores[:, targets]`.

    Raises:
        TypeError: Scores not floating point, or targets not integers.
        ValueError: Scores neither square nor with targets that match, not finite, or of fewer
            than two samples.

    Example:
        >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> donsker_varadhan(scores).item(), donsker_varadhan(scores + 7).item()
        (2.0, 2.0)

    Source: belghazi2018, Donsker-Varadhan representation.
    """
    scores, joint, _, apart = _parts(scores, targets)
    # A common offset cancels: taken out first, it costs no digits.
    top = scores.detach().max()
    return (joint - top).mean() - _log_mean_exp(scores - top, apart)


def nwj(
    scores: Float[Tensor, "batch columns"], targets: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    r"""Bound of Nguyen, Wainwright and Jordan (2010): the f-GAN bound for the KL divergence.

    .. math:: I \ge \mathbb{E}_{p(x,y)} T - e^{-1} \mathbb{E}_{p(x)p(y)} e^T

    with equality for :math:`T = 1 + \log \frac{p(x,y)}{p(x)p(y)}` (Poole et al. 2019). Unbiased,
    and below :func:`donsker_varadhan` on any scores; its variance grows like :math:`e^I`. Args and
    errors as in :func:`donsker_varadhan`.

    Example:
        >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> best = scores - donsker_varadhan(scores) + 3.0  # any offset but one loses
        >>> round(nwj(scores).item(), 4), round(nwj(best).item(), 4)
        (1.6321, 2.0)

    Source: nguyen2010, variational bound of the KL divergence.
    """
    scores, joint, _, apart = _parts(scores, targets)
    return joint.mean() - (_log_mean_exp(scores, apart) - 1).exp()


def infonce(
    scores: Float[Tensor, "batch columns"], targets: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    r"""InfoNCE: find the partner of each input among the batch.

    .. math::
        I \ge \mathbb{E} \frac{1}{n} \sum_{i=1}^n
        \log \frac{e^{T(x_i, y_i)}}{\frac{1}{n} \sum_{j=1}^n e^{T(x_i, y_j)}}

    (van den Oord et al. 2018; Poole et al. 2019). Never above :math:`\log n` for a
    batch of n. For a label it is minus the loss of :func:`softmi.pc_cross_entropy` under the
    batch's own label frequencies, hence never above their entropy: the probability-corrected
    softmax is InfoNCE whose negatives are all labels. Args and errors as in
    :func:`donsker_varadhan`.

    Example:
        >>> scores = torch.tensor([[9.0, 0.0], [0.0, 9.0]])  # almost sure of each partner
        >>> round(infonce(scores).item(), 4), round(math.log(2), 4)
        (0.693, 0.6931)

    Source: oord2018, InfoNCE.
    """
    scores, joint, copies, _ = _parts(scores, targets)
    # A common offset of a row cancels: taken out first, it costs no digits.
    top = scores.detach().amax(dim=1, keepdim=True)
    normaliser = torch.logsumexp(scores - top + copies.log(), dim=1) - math.log(len(scores))
    return (joint - top[:, 0] - normaliser).mean()


def smile(
    scores: Float[Tensor, "batch columns"],
    targets: Int[Tensor, " batch"] | None = None,
    *,
    clip: float = 5.0,
) -> Float[Tensor, ""]:
    r"""SMILE: Donsker and Varadhan's value with clipped exponentials in the partition function.

    .. math::
        \mathbb{E}_{p(x,y)} T
        - \log \mathbb{E}_{p(x)p(y)} \max(\min(e^T, e^{\tau}), e^{-\tau})

    (Song and Ermon 2020). NOT a bound: the variance that the clip removes returns as
    bias, and joint scores above :math:`\tau` cost nothing, so that training by this value
    diverges. Train the critic by :func:`jensen_shannon`, as the authors' code does.

    Args:
        scores: As in :func:`donsker_varadhan`.
        targets: As there.
        clip: :math:`\tau`, positive; infinity gives :func:`donsker_varadhan`.

    Raises:
        TypeError: As in :func:`donsker_varadhan`.
        ValueError: As there; or a clip that is not positive.

    Example:
        >>> scores = torch.tensor([[2.0, -9.0], [-9.0, 2.0]])
        >>> smile(scores, clip=5.0).item(), donsker_varadhan(scores).item()
        (7.0, 11.0)

    Source: song2020, SMILE.
    """
    if not clip > 0:
        raise ValueError(f"clip must be positive, got {clip}")
    scores, joint, _, apart = _parts(scores, targets)
    return joint.mean() - _log_mean_exp(scores.clamp(-clip, clip), apart)


def jensen_shannon(
    scores: Float[Tensor, "batch columns"], targets: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    r"""Objective of a discriminator between pairs drawn together and apart.

    .. math::
        \mathbb{E}_{p(x,y)} \log \sigma(T) + \mathbb{E}_{p(x)p(y)} \log(1 - \sigma(T)),
        \qquad \sigma(T) = \frac{1}{1 + e^{-T}}

    Largest at :math:`T = \log \frac{p(x,y)}{p(x)p(y)}`, where it is :math:`2 \mathrm{JS} - 2 \log
    2` with the Jensen-Shannon divergence between joint and product (Nowozin et al. 2016; Hjelm et
    al. 2019). A stable way to train a critic, no estimate of :math:`I`. Args and
    errors as in :func:`donsker_varadhan`.

    Example:
        >>> knows_nothing, knows = torch.zeros(2, 2), torch.tensor([[2.0, -2.0], [-2.0, 2.0]])
        >>> round(jensen_shannon(knows_nothing).item(), 4), round(jensen_shannon(knows).item(), 4)
        (-1.3863, -0.2539)

    Source: hjelm2019, Jensen-Shannon objective.
    """
    scores, joint, _, apart = _parts(scores, targets)
    product = (apart * logsigmoid(-scores)).sum() / apart.sum()
    return logsigmoid(joint).mean() + product
