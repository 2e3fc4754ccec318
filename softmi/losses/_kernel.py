"""The cross-entropy that all prior-corrected losses are made of, in one buffer."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from softmi._checks import (
    at_least_float32,
    check_logits,
    check_reduction,
    check_soft_targets,
    check_targets,
    explain_losses,
    values_can_be_checked,
)
from softmi.losses._base import _reduce


def _tempered(log_prior: Tensor, tau: float) -> Tensor:
    """Return tau log pi, with 0 log 0 = 0: without correction no class leaves the sum."""
    return tau * log_prior if tau else torch.zeros_like(log_prior)


def _cross_entropy(
    logits: Tensor,
    targets: Tensor,
    log_prior: Tensor,
    tau: float,
    reduction: str,
    label_smoothing: float,
    *,
    of_ratio: bool,
) -> Tensor:
    """The kernel: everything above and below calls it with a prior that is already checked.

    `of_ratio` says whether to add the term tau log pi of the target, which makes it the loss of
    PC-softmax. It is added last, so that gradients cannot depend on it.
    """
    check_logits(logits)
    values = values_can_be_checked(logits)
    soft = isinstance(targets, Tensor) and targets.is_floating_point() and targets.ndim == 2
    (check_soft_targets if soft else check_targets)(targets, logits, values=values)
    check_reduction(reduction)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    logits = at_least_float32(logits)
    targets = targets.to(logits) if soft else targets.long()
    log_prior = _tempered(log_prior.to(logits), tau)
    if soft or label_smoothing:
        log_q = torch.log_softmax(logits + log_prior, dim=1)
    if soft:
        losses = _expected(targets, -log_q)
    elif label_smoothing:
        losses = F.nll_loss(log_q, targets, reduction="none")
    else:
        losses = _label_losses(logits, log_prior, targets)
    constant = _expected(targets, log_prior.expand_as(targets)) if soft else log_prior[targets]
    if label_smoothing:
        # Over the classes that can occur: the others do not appear in the normaliser, and would
        # be rewarded for growing without bound.
        even = torch.isfinite(log_prior).to(log_prior)
        even = even / even.sum()
        losses = (1 - label_smoothing) * losses + label_smoothing * _expected(even, -log_q)
        constant = (1 - label_smoothing) * constant + label_smoothing * _expected(even, log_prior)
    if of_ratio:
        losses = losses + constant
    loss = _reduce(losses, reduction)
    if values and not math.isfinite(loss.detach().sum()):
        mass = targets > 0 if soft else F.one_hot(targets, logits.shape[1]).bool()
        impossible = (mass & torch.isneginf(log_prior)).any(0).nonzero().flatten().tolist()
        smoothed = torch.isfinite(log_prior) & bool(label_smoothing)
        explain_losses(losses, logits, mass | smoothed)
        if impossible:
            raise ValueError(f"targets contain classes of zero prior: {impossible}")
    return loss


class _LabelLosses(torch.autograd.Function):
    """-log q_y and q = softmax(logits + offset) of each row, in one buffer, with one exponential.

    The sum of logits and offset is needed for the softmax and never again, so that the result may
    take its place; and the gradient is q, less one at the label. Autograd would fill another
    buffer in each direction and exponentiate again in the second: with many classes such passes
    over memory are what the correction costs.
    """

    @staticmethod
    def forward(logits: Tensor, offset: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        q = logits.contiguous() + offset  # rows in one piece are read before they are written
        torch.softmax(q, 1, out=q)
        own = q.gather(1, targets[:, None])[:, 0]
        losses = -own.log()
        if own.min() < (tiny := torch.finfo(own.dtype).tiny):  # digits of q_y are lost below
            rows = own < tiny
            losses[rows] = F.cross_entropy(logits[rows] + offset, targets[rows], reduction="none")
        return losses, q

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1], inputs[2])

    @staticmethod
    def backward(
        ctx: Any, by_losses: Tensor | None, by_q: Tensor | None
    ) -> tuple[Tensor | None, None, None]:
        q, targets = ctx.saved_tensors
        gradient = None
        if by_losses is not None:
            scale = by_losses[:, None]
            gradient = (q * scale).scatter_add_(1, targets[:, None], -scale)
        if by_q is not None:  # in second derivatives
            of_q = q * (by_q - (by_q * q).sum(1, keepdim=True))
            gradient = of_q if gradient is None else gradient + of_q
        return gradient, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], logits: Tensor, offset: Tensor, targets: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        def plain(logits: Tensor, offset: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            log_q = torch.log_softmax(logits + offset, dim=1)
            return -log_q.gather(1, targets[:, None])[:, 0], log_q.exp()

        return torch.vmap(plain, in_dims)(logits, offset, targets), (0, 0)


def _label_losses(logits: Tensor, offset: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(logits + offset) at the label of each row, shape (batch,)."""
    # Elsewhere kernels need not read a row before they write it, and compilers fuse by themselves.
    in_one_buffer = logits.device.type == "cpu" and not torch.compiler.is_compiling()
    if in_one_buffer and not offset.requires_grad:
        return _LabelLosses.apply(logits, offset, targets)[0]
    return F.cross_entropy(logits + offset, targets, reduction="none")


def _expected(weights: Tensor, values: Tensor) -> Tensor:
    """Mean of `values` over the last dimension under `weights`, with 0 times infinity = 0."""
    return (weights * values.where((weights != 0) | torch.isfinite(values), 0.0)).sum(-1)
