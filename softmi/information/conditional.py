"""Information of a classifier's own outputs, given the label. In nats."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi._checks import at_least_float32, check_outputs


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

    Source: yang2023, CMI.
    """
    check_outputs(logits, targets)
    log_p = torch.log_softmax(at_least_float32(logits), dim=1)
    membership = torch.nn.functional.one_hot(targets.long(), logits.shape[1]).to(log_p.dtype)
    counts = membership.sum(0).clamp(min=1)
    centroids = (membership.T @ log_p.exp()) / counts[:, None]  # (classes, classes)
    divergence = log_p.exp() * log_p - torch.xlogy(log_p.exp(), centroids[targets.long()])
    return divergence.sum(1).mean()
