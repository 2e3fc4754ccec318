"""The entropy of labels, and the information of one input about each of them. In nats."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.special import entr

from softmi._checks import PriorLike, as_prior, at_least_float32, check_outputs


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

    Source: qin2019, PC-softmax.
    """
    check_outputs(logits)
    logits = at_least_float32(logits)
    log_prior = as_prior(prior, classes=logits.shape[1], like=logits).log()
    if prior_corrected:
        # A common offset of all logits cancels: taken out first, it costs no digits.
        logits = logits - logits.detach().amax(dim=1, keepdim=True)
        return logits - torch.logsumexp(logits + log_prior, dim=1, keepdim=True)
    return torch.log_softmax(logits, dim=1) - log_prior
