"""What the losses share: checks, reductions, and a module that survives `.half()`."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softmi._checks import (
    at_least_float32,
    check_logits,
    check_reduction,
    check_targets,
    explain_losses,
    values_can_be_checked,
)


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


class _Loss(nn.Module):
    """A loss whose buffers follow the device but not a cast to half precision."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "_Loss":
        # .half() must not round log-priors to three digits (Apple's devices have no float64).
        own = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(lambda t: t if any(t is b for b in own.values()) else fn(t), recurse)
        for name, buffer in own.items():
            device = fn(torch.empty(0, device=buffer.device)).device
            dtype = torch.float32 if device.type == "mps" else buffer.dtype
            setattr(self, name, buffer.to(device, dtype))
        return self


def _readable(logits: Tensor, targets: object) -> bool:
    """Whether the values of both can be checked; what is no tensor is refused later."""
    return values_can_be_checked(*(t for t in (logits, targets) if isinstance(t, Tensor)))


def _checked(logits: Tensor, targets: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    check_logits(logits)
    check_targets(targets, logits, values=_readable(logits, targets))
    check_reduction(reduction)
    return at_least_float32(logits), targets.long()


def _weighted(
    losses: Tensor, logits: Tensor, targets: Tensor, weights: Tensor | None, reduction: str
) -> Tensor:
    """Reduce what each row costs, times the weight of its class, and explain what is not finite.

    Minus infinity among the logits of the other classes passes: a softmax rules those classes out.
    A loss that is built on something else, such as squares, has to look for it by itself.
    """
    values = values_can_be_checked(losses)
    if values and not torch.isfinite(losses.detach().sum()):
        explain_losses(losses, logits, F.one_hot(targets, logits.shape[1]).bool())
    if weights is None:
        return _reduce(losses, reduction)
    own = weights.to(losses)[targets]
    if reduction != "mean":
        return _reduce(own * losses, reduction)
    if values and own.sum() == 0:
        raise ValueError(
            f"the class weights of all {len(targets)} targets are zero: their weighted mean is "
            "not defined"
        )
    return (own * losses).sum() / own.sum()
