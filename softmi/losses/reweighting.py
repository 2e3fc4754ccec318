"""Losses that count the samples of rare classes, or hard ones, more than others."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from softmi._checks import PriorLike, check_reduction, per_class
from softmi.losses._base import _checked, _Loss, _weighted


def balanced_class_weights(
    class_counts: PriorLike, *, beta: float | None = None
) -> Float[Tensor, " classes"]:
    r"""Weights that raise rare classes, for `class_weights` here and `weight` in PyTorch.

    .. math:: w_k \propto \frac{1}{n_k} \qquad\text{or}\qquad
              w_k \propto \frac{1 - \beta}{1 - \beta^{n_k}}

    with :math:`n_k` samples of class k: inverse frequencies by default, and with `beta` the
    class-balanced weights of Cui et al. (2019), which count effective samples. Both are scaled to
    mean 1 over the :math:`M^+` classes that have samples; the first is then
    :math:`n / (M^+ n_k)` divided by its mean. A class without samples has weight 0.
    :math:`\beta = 0` gives equal weights, :math:`\beta \to 1` the inverse frequencies.

    Args:
        class_counts: :math:`n_k`, shape (classes,).
        beta: :math:`\beta` in [0, 1), in the paper 0.9 to 0.9999; None for inverse frequencies.

    Returns:
        :math:`w`, shape (classes,), in PyTorch's default dtype.

    Raises:
        ValueError: Counts negative or all zero, or `beta` out of range.

    Example:
        >>> balanced_class_weights([30, 10, 0])
        tensor([0.5000, 1.5000, 0.0000])

    Source: cui2019, class-balanced weights.
    """
    counts = per_class(class_counts=class_counts)
    if beta is None:
        weights = 1 / counts
    elif 0 <= beta < 1:
        # 1 - beta^n without losing digits where beta is close to 1; the numerator cancels.
        log_beta = torch.tensor(beta, dtype=counts.dtype, device=counts.device).log()
        weights = -1 / torch.expm1(counts * log_beta)
    else:
        raise ValueError(f"beta must be in [0, 1), or None for inverse frequencies, got {beta}")
    occurs = counts > 0
    weights = weights.where(occurs, 0.0)
    return (weights * (occurs.sum() / weights.sum())).to(torch.get_default_dtype())


def focal_loss(
    logits: Float[Tensor, "batch classes"],
    targets: Int[Tensor, " batch"],
    *,
    gamma: float = 2.0,
    class_weights: PriorLike | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    r"""Focal loss (Lin et al. 2017) of the softmax: sure samples count less.

    .. math:: L = -w_y \, (1 - q_y)^\gamma \log q_y,
              \qquad q_y = \frac{\exp f_y(x)}{\sum_k \exp f_k(x)}

    with logits :math:`f_k`, class weights :math:`w_k` (:math:`\alpha` in the paper) and focus
    :math:`\gamma`; :math:`\gamma = 0` is the weighted cross-entropy. The paper has one sigmoid
    for each class and divides by the number of objects: for two classes with logits
    :math:`(0, z)` this is its loss of :math:`z`, and the mean is here over samples. "mean" with
    class weights divides by the sum of the targets' weights, as PyTorch's cross-entropy does.

    Args:
        logits: :math:`f_k(x)`, shape (batch, classes). Half precision is computed in float32.
        targets: Labels y, integers, shape (batch,).
        gamma: :math:`\gamma \ge 0`; 2 in the paper.
        class_weights: :math:`w`, shape (classes,), such as :func:`balanced_class_weights`; None
            for ones.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError: Logits not floating point, or targets not integers.
        ValueError: Shapes that do not match, an empty batch, logits that are NaN, infinite or, for
            a target, minus infinity (which elsewhere rules out a class), targets out of range,
            weights negative or zero for the whole batch, negative `gamma`. On accelerators and
            under `torch.compile` values are not checked.

    Example:
        >>> logits, targets = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
        >>> plain = focal_loss(logits, targets, gamma=0.0).item()  # cross-entropy
        >>> round(plain, 4), round(focal_loss(logits, targets).item(), 4)  # sure: hardly counts
        (0.1269, 0.0018)

    Source: lin2017, focal loss.
    """
    weights = None if class_weights is None else per_class(logits, class_weights=class_weights)
    logits, targets = _checked(logits, targets, reduction)
    if not gamma >= 0:
        raise ValueError(f"gamma must not be negative, got {gamma}")
    minus_log_q = F.cross_entropy(logits, targets, reduction="none")
    # 1 - q_y to full precision. Where it is zero its powers have infinite derivatives, and the
    # product with a loss of zero would be NaN.
    doubt = -torch.expm1(-minus_log_q)
    losses = doubt.clamp(min=torch.finfo(doubt.dtype).tiny) ** gamma * minus_log_q
    return _weighted(losses, logits, targets, weights, reduction)


class FocalLoss(_Loss):
    r"""Module around :func:`focal_loss` that carries the class weights as a buffer.

    Args:
        gamma: :math:`\gamma \ge 0`.
        class_weights: Shape (classes,), or None for ones.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: Negative `gamma` or weights, or an unknown reduction.

    Example:
        >>> loss = FocalLoss(gamma=2.0)
        >>> value = loss(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])).item()
        >>> round(value, 4)  # (1 - 1/2)^2 log 2
        0.1733

    """

    class_weights: Tensor | None

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        class_weights: PriorLike | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        check_reduction(reduction)
        self.gamma = gamma
        self.reduction = reduction
        weights = None if class_weights is None else per_class(class_weights=class_weights)
        self.register_buffer("class_weights", weights)

    def forward(
        self, logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, "..."]:
        """Return the loss of a batch; see :func:`focal_loss`."""
        weights = self.class_weights
        return focal_loss(
            logits, targets, gamma=self.gamma, class_weights=weights, reduction=self.reduction
        )

    def extra_repr(self) -> str:
        """Show what the loss was made with."""
        weighted = self.class_weights is not None
        return f"gamma={self.gamma}, weighted={weighted}, reduction={self.reduction!r}"
