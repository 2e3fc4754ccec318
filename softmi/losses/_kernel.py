"""The cross-entropy that all prior-corrected losses are made of, in one buffer."""

import math
from typing import Any, NamedTuple

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
    transformed,
    values_can_be_checked,
)
from softmi.losses._base import _readable, _reduce


def _tempered(log_prior: Tensor, tau: float) -> Tensor:
    """Return tau log pi, with 0 log 0 = 0: without correction no class leaves the sum."""
    return tau * log_prior if tau else torch.zeros_like(log_prior)


class _Target(NamedTuple):
    """What each row should be: a distribution t over the classes, however it was given."""

    given: Tensor  # labels, shape (batch,), or probabilities, shape (batch, classes)
    smoothing: float = 0.0  # share of t that goes to `even`
    even: Tensor | None = None  # equal shares of the classes that can occur, shape (classes,)


def _at(target: _Target, values: Tensor) -> Tensor:
    """sum_k t_k values_k of each row, at a label its value; one row of `values` stands for all."""
    if target.given.is_floating_point():
        mean = _expected(target.given, values.expand_as(target.given))
    elif values.ndim == 1:
        mean = values[target.given]
    else:
        mean = values.gather(1, target.given[:, None])[:, 0]
    if target.even is not None:
        smoothed = target.smoothing * _expected(target.even, values)
        mean = (1 - target.smoothing) * mean + smoothed
    return mean


def _prepared(
    logits: Tensor,
    targets: Tensor,
    log_prior: Tensor,
    tau: float,
    label_smoothing: float,
    reduction: str,
) -> tuple[Tensor, _Target, Tensor]:
    """Check everything but the prior, which is checked; return f, t and tau log pi of a loss."""
    check_logits(logits)
    soft = isinstance(targets, Tensor) and targets.is_floating_point() and targets.ndim == 2
    check = check_soft_targets if soft else check_targets
    check(targets, logits, values=_readable(logits, targets))
    check_reduction(reduction)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    f = at_least_float32(logits)
    tau_log_pi = _tempered(log_prior.to(f), tau)
    target = _Target(targets.to(f) if soft else targets.long())
    if label_smoothing:
        # Over the classes that can occur: the others do not appear in the normaliser, and would
        # be rewarded for growing without bound.
        even = torch.isfinite(tau_log_pi).to(tau_log_pi)
        target = target._replace(smoothing=label_smoothing, even=even / even.sum())
    return f, target, tau_log_pi


def _cross_entropy(f: Tensor, offset: Tensor, target: _Target) -> Tensor:
    """CE(f + offset, t) = -sum_k t_k log softmax(f + offset)_k of each row, shape (batch,)."""
    if target.given.is_floating_point() or target.smoothing:
        return _at(target, -torch.log_softmax(f + offset, dim=1))
    return _label_losses(f, offset, target.given)


def _reduced(
    losses: Tensor, f: Tensor, target: _Target, tau_log_pi: Tensor, reduction: str
) -> Tensor:
    """Mean, sum or all of the losses; if they are not finite, the error says why."""
    loss = _reduce(losses, reduction)
    if values_can_be_checked(loss) and not math.isfinite(loss.detach().sum()):
        soft = target.given.is_floating_point()
        mass = target.given > 0 if soft else F.one_hot(target.given, f.shape[1]).bool()
        impossible = (mass & torch.isneginf(tau_log_pi)).any(0).nonzero().flatten().tolist()
        smoothed = mass if target.even is None else mass | (target.even > 0)
        explain_losses(losses, f, smoothed)
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
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
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


def _label_losses(logits: Tensor, offset: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(logits + offset) at the label of each row, shape (batch,)."""
    # On other devices kernels need not read a row before they write it, compilers fuse by
    # themselves, and PyTorch has every derivative that `torch.func` can ask for.
    in_one_buffer = logits.device.type == "cpu" and not torch.compiler.is_compiling()
    if in_one_buffer and not offset.requires_grad and not transformed(logits, offset, targets):
        return _LabelLosses.apply(logits, offset, targets)[0]
    return F.cross_entropy(logits + offset, targets, reduction="none")


def _expected(weights: Tensor, values: Tensor) -> Tensor:
    """Mean of `values` over the last dimension under `weights`, with 0 times infinity = 0."""
    return (weights * values.where((weights != 0) | torch.isfinite(values), 0.0)).sum(-1)
