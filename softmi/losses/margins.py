r"""Rivals of the prior-corrected softmax on imbalanced classes: weights, focal loss, margins.

Unlike the losses of :mod:`softmi.losses` these are not one loss under several names: they have
other gradients and other minimisers.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from softmi._checks import (
    PriorLike,
    as_class_weights,
    at_least_float32,
    check_classes,
    check_reduction,
    per_class,
    values_can_be_checked,
)
from softmi.losses._base import _checked, _Loss, _weighted
from softmi.losses.reweighting import balanced_class_weights


def ldam_loss(
    logits: Float[Tensor, "batch classes"],
    targets: Int[Tensor, " batch"],
    class_counts: PriorLike,
    *,
    max_margin: float = 0.5,
    scale: float = 30.0,
    class_weights: PriorLike | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    r"""Label-distribution-aware margin loss (Cao et al. 2019): rare classes need a wider margin.

    .. math::
        L = -w_y \log \frac{e^{s (f_y - \Delta_y)}}
                           {e^{s (f_y - \Delta_y)} + \sum_{k \ne y} e^{s f_k}},
        \qquad \Delta_k = \Delta_{\max} \left( \frac{n_k}{\min_j n_j} \right)^{-1/4}

    with logits :math:`f_k`, class weights :math:`w_k`, scale :math:`s`, :math:`n_k` training
    samples of class k (the minimum is over classes that have some) and the largest margin
    :math:`\Delta_{\max}`. Margins mean something for bounded logits: the paper takes cosines, the
    outputs of :class:`NormalisedLinear`. "mean" with class weights divides by the sum of the
    targets' weights, as PyTorch's cross-entropy and the authors' code do.

    Args:
        logits: :math:`f_k(x)`, shape (batch, classes). Half precision is computed in float32.
        targets: Labels y, integers, shape (batch,).
        class_counts: :math:`n_k`, shape (classes,); zeros allowed, except for a target's class.
        max_margin: :math:`\Delta_{\max} \ge 0`, the margin of the rarest class.
        scale: :math:`s > 0`.
        class_weights: :math:`w`, shape (classes,); None for ones.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError: Logits not floating point, or targets not integers.
        ValueError: Shapes that do not match, an empty batch, logits that are NaN, infinite or, for
            a target, minus infinity (which elsewhere rules out a class), targets out of range or
            of a class without samples, counts or weights that are negative or all zero, a
            negative margin or a scale that is not positive. On accelerators and under
            `torch.compile` values are not checked.

    Example:
        >>> cosines, targets = torch.tensor([[0.2, 0.1]]), torch.tensor([1])
        >>> common = ldam_loss(cosines, targets, [100, 900]).item()
        >>> rare = ldam_loss(cosines, targets, [900, 100]).item()  # the rarer has more margin
        >>> round(common, 2), round(rare, 2)
        (11.66, 18.0)

    Source: cao2019, LDAM loss.
    """
    margins = _margins(per_class(logits, class_counts=class_counts), max_margin)
    weights = None if class_weights is None else per_class(logits, class_weights=class_weights)
    logits, targets = _checked(logits, targets, reduction)
    moved = _less_margins(logits, targets, margins, scale)  # s f_k, and s (f_y - Delta_y)
    losses = F.cross_entropy(moved, targets, reduction="none")
    return _weighted(losses, logits, targets, weights, reduction)


def _margins(counts: Tensor, max_margin: float) -> Tensor:
    """Delta_k = Delta_max (n_k / min n)^(-1/4), shape (classes,)."""
    if not max_margin >= 0:
        raise ValueError(f"max_margin must not be negative, got {max_margin}")
    # A class without samples is no target: an infinite margin shows that where values are not
    # checked.
    least = counts.where(counts > 0, torch.inf).min()
    return (max_margin * (counts / least) ** -0.25).where(counts > 0, torch.inf)


def _less_margins(logits: Tensor, targets: Tensor, margins: Tensor, scale: float) -> Tensor:
    """s f, with s Delta_y taken off at the label of each row, shape (batch, classes)."""
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    unseen = torch.isinf(margins[targets])
    if values_can_be_checked(logits, unseen) and unseen.any():
        raise ValueError(
            f"targets contain classes without samples: {targets[unseen].unique().tolist()}"
        )
    own = targets[:, None]
    return (scale * logits).scatter_add(1, own, -scale * margins.to(logits)[own])


class LDAMLoss(_Loss):
    r"""Module around :func:`ldam_loss`, with deferred re-weighting (LDAM-DRW, Cao et al. 2019).

    With `reweight_from` the class weights stay out until that epoch, counted from 0, and are used
    from it on; the paper begins at 160 of 200 epochs. The loss is told the epoch by
    :meth:`set_epoch`, as PyTorch's `DistributedSampler` is: :func:`softmi.fit` does so, a loop of
    your own has to. The epoch is no part of the `state_dict`; telling it anew after a checkpoint
    is loaded gives the weights of a run that was never interrupted.

    Args:
        class_counts: Training samples per class, shape (classes,).
        max_margin: Margin of the rarest class.
        scale: Factor of the logits.
        class_weights: Shape (classes,). None for ones; with `reweight_from` for
            `balanced_class_weights(class_counts, beta=0.9999)`, the choice of the authors' code.
        reweight_from: First epoch with class weights; None uses `class_weights` from the start.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: Counts or weights that are negative or all zero or differ in length, a
            negative margin or epoch, a scale that is not positive, an unknown reduction.

    Example:
        >>> loss = LDAMLoss([900, 100], reweight_from=160)
        >>> loss.set_epoch(160)
        >>> loss.reweighting
        True

    Source: cao2019, deferred re-weighting.
    """

    margins: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        class_counts: PriorLike,
        max_margin: float = 0.5,
        scale: float = 30.0,
        *,
        class_weights: PriorLike | None = None,
        reweight_from: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        counts = per_class(class_counts=class_counts)
        if not scale > 0:
            raise ValueError(f"scale must be positive, got {scale}")
        if reweight_from is not None and reweight_from < 0:
            raise ValueError(f"reweight_from must not be negative, got {reweight_from}")
        check_reduction(reduction)
        self.max_margin = max_margin
        self.scale = scale
        self.reweight_from = reweight_from
        self.reduction = reduction
        if class_weights is None and reweight_from is not None:
            class_weights = balanced_class_weights(counts, beta=0.9999)
        if class_weights is not None:
            class_weights = as_class_weights(class_weights, classes=len(counts))
        self.register_buffer("margins", _margins(counts, max_margin))
        self.register_buffer("class_weights", class_weights)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, counted from 0; class weights are used from `reweight_from`."""
        # Only the answer is kept: torch.compile would take each new epoch for a new program.
        self.reweighting = self.reweight_from is None or epoch >= self.reweight_from

    def forward(
        self, logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, "..."]:
        """Return the loss of a batch; see :func:`ldam_loss`."""
        check_classes(logits, self.margins.numel(), "the loss was made for")
        weights = self.class_weights if self.reweighting else None
        logits, targets = _checked(logits, targets, self.reduction)
        moved = _less_margins(logits, targets, self.margins, self.scale)
        losses = F.cross_entropy(moved, targets, reduction="none")
        return _weighted(losses, logits, targets, weights, self.reduction)

    def extra_repr(self) -> str:
        """Show what the loss was made with."""
        return (
            f"classes={self.margins.numel()}, max_margin={self.max_margin}, scale={self.scale}, "
            f"weighted={self.class_weights is not None}, reweight_from={self.reweight_from}, "
            f"reduction={self.reduction!r}"
        )


class NormalisedLinear(nn.Module):
    r"""Linear head of cosines, for :class:`LDAMLoss`.

    .. math:: f_k(z) = \frac{w_k^\top z}{\lVert w_k \rVert \, \lVert z \rVert}

    with features :math:`z` and weights :math:`w_k`: every logit lies in [-1, 1]. There is no
    bias. Weights start as random unit vectors; a feature vector of zero gives logits of zero.
    Half precision is normalised in float32.

    Args:
        in_features: Length of :math:`z`.
        out_features: Number of classes.

    Example:
        >>> head = NormalisedLinear(5, 3)
        >>> z = torch.randn(4, 5)
        >>> torch.allclose(head(z), head(10 * z), atol=1e-6)  # lengths do not count
        True

    Source: cao2019, normalised last layer.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        # The gradient of a row falls with its length: all begin at one.
        self.weight = nn.Parameter(F.normalize(torch.randn(out_features, in_features), dim=1))

    def forward(
        self, features: Float[Tensor, "*batch in_features"]
    ) -> Float[Tensor, "*batch out_features"]:
        """Return the cosine of each feature vector with each class."""
        features, weight = at_least_float32(features), at_least_float32(self.weight)
        return F.linear(F.normalize(features, dim=-1), F.normalize(weight, dim=1))

    def extra_repr(self) -> str:
        """Show the shape."""
        return f"in_features={self.in_features}, out_features={self.out_features}"
