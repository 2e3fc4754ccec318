r"""The prior-corrected softmax: one kernel, and the names that others gave it.

Adding :math:`\tau \log \pi_k` to the logits before an ordinary cross-entropy is at once PC-softmax
(Qin et al. 2019), balanced softmax (Ren et al. 2020) and the logit-adjusted loss (Menon et al.
2021). They differ by constants that do not depend on the network, so that gradients, minimisers
and training trajectories are the same.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from softmi._validation import (
    PriorLike,
    as_prior,
    at_least_float32,
    check_finite,
    check_logits,
    check_targets,
    describe,
)


def _values_can_be_checked(tensor: Tensor) -> bool:
    """Value checks read data: on an accelerator they would wait for it, under compile they break
    the graph. There, bad values propagate as in PyTorch's own cross-entropy.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _tempered(log_prior: Tensor, tau: float) -> Tensor:
    """Return tau log pi, with 0 log 0 = 0: without correction no class leaves the sum."""
    return tau * log_prior if tau else torch.zeros_like(log_prior)


def pc_log_softmax(
    logits: Float[Tensor, "batch classes"], prior: PriorLike, *, tau: float = 1.0
) -> Float[Tensor, "batch classes"]:
    r"""Logarithm of :func:`pc_softmax`, computed without leaving log-space.

    .. math:: \log s_y(x) = f_y(x) - \log \sum_k \pi_k^\tau \exp f_k(x)

    Args and errors as in :func:`pc_softmax`.
    """
    check_logits(logits, allow_empty=True)
    if _values_can_be_checked(logits):
        check_finite(logits)
    logits = at_least_float32(logits)
    pi = as_prior(
        prior, classes=logits.shape[1], like=logits, values=_values_can_be_checked(logits)
    )
    # A common offset of all logits cancels: taken out first, it costs no digits.
    logits = logits - logits.detach().amax(dim=1, keepdim=True)
    return logits - torch.logsumexp(logits + _tempered(pi.log(), tau), dim=1, keepdim=True)


def pc_softmax(
    logits: Float[Tensor, "batch classes"], prior: PriorLike, *, tau: float = 1.0
) -> Float[Tensor, "batch classes"]:
    r"""Probability-corrected softmax: an estimate of the density ratio p(x, y) / (p(x) p(y)).

    .. math:: s_y(x) = \frac{\exp f_y(x)}{\sum_k \pi_k^\tau \exp f_k(x)}

    with logits :math:`f_k`, class prior :math:`\pi_k` and temper :math:`\tau` (Qin et al. 2019,
    section on imbalanced data; :math:`\tau = 1` there). It is a ratio, not a probability: for
    :math:`\tau = 1`, :math:`\sum_k \pi_k s_k = 1` and :math:`0 < s_k < 1/\pi_k`; and
    :math:`\arg\max_k s_k = \arg\max_k f_k`, so the prediction takes all classes as equally likely.

    Not to be confused with the *post-compensated* softmax of Hong et al. (2021), also written PC
    softmax, which trains with plain cross-entropy: see :func:`adjust_logits`.

    Args:
        logits: :math:`f_k(x)`, shape (batch, classes). Half precision is computed in float32.
        prior: :math:`\pi`, shape (classes,). A class of zero prior leaves the sum.
        tau: 1 for PC-softmax, 0 for the plain softmax.

    Raises:
        TypeError: Logits that are not floating point.
        ValueError: Wrong shapes, NaN or infinite logits, a prior that is no distribution. On
            accelerators and under `torch.compile` values are not checked.

    Example:
        >>> s = pc_softmax(torch.tensor([[0.0, 0.0]]), prior=[0.75, 0.25])
        >>> s.tolist()  # no evidence either way: both ratios are 1
        [[1.0, 1.0]]

    """
    return pc_log_softmax(logits, prior, tau=tau).exp()


def pc_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    targets: Int[Tensor, " batch"],
    prior: PriorLike,
    *,
    tau: float = 1.0,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Float[Tensor, "..."]:
    r"""Cross-entropy of the probability-corrected softmax.

    .. math::
        L = -\log s_y(x) = \mathrm{CE}(f + \tau \log \pi,\, y) + \tau \log \pi_y

    The last term does not depend on the network: gradients are those of balanced softmax (Ren et
    al. 2020) and of the logit-adjusted loss (Menon et al. 2021). At :math:`\tau = 1` minus the
    mean loss is an estimate of :math:`I(X;Y)` (Qin et al. 2019), so the loss may be negative.
    Training leaves :math:`f_k \approx \log p(x|k) + c(x)`: predict with the plain argmax when
    classes are equally likely at test time, with :func:`adjust_logits` otherwise.

    With `label_smoothing` :math:`\epsilon` the target puts :math:`\epsilon / M^+` on each of the
    :math:`M^+` classes of positive prior (a class that cannot occur gets none).

    Args:
        logits: :math:`f_k(x)`, shape (batch, classes). Half precision is computed in float32.
        targets: Labels y, integers, shape (batch,).
        prior: :math:`\pi`, shape (classes,); zeros allowed, except for a target's class.
        tau: Strength of the correction; 0 is the plain cross-entropy.
        reduction: "mean", "sum" or "none".
        label_smoothing: :math:`\epsilon` in [0, 1).

    Raises:
        TypeError: Logits not floating point, or targets not integers.
        ValueError: Shapes that do not match, an empty batch, NaN or infinite logits, targets out
            of range or of zero prior, a prior that is no distribution. On accelerators and under
            `torch.compile` values are not checked.

    """
    pi = as_prior(
        prior,
        classes=logits.shape[-1] if isinstance(logits, Tensor) and logits.ndim == 2 else None,
        values=not isinstance(prior, Tensor) or _values_can_be_checked(prior),
    )
    return _pc_cross_entropy(logits, targets, pi.log(), tau, reduction, label_smoothing)


def _pc_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    log_prior: Tensor,
    tau: float,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    """The kernel: everything above and below calls it with a prior that is already checked."""
    check_logits(logits)
    values = _values_can_be_checked(logits)
    check_targets(targets, logits, values=values)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    logits, targets = at_least_float32(logits), targets.long()
    log_prior = _tempered(log_prior.to(logits), tau)
    adjusted = logits + log_prior if tau else logits
    losses = F.cross_entropy(adjusted, targets, reduction="none") + log_prior[targets]
    if label_smoothing:
        # -log s_k for every class that can occur; the zero-prior ones would be rewarded for
        # growing without bound, since they do not appear in the normaliser.
        possible = torch.isfinite(log_prior)
        minus_log_s = torch.logsumexp(adjusted, dim=1, keepdim=True) - logits
        smooth = minus_log_s.where(possible, 0.0).sum(1) / possible.sum()
        losses = (1 - label_smoothing) * losses + label_smoothing * smooth
    # Two sums find any bad logit: a row's loss misses only -inf in a column not its target's.
    if values and not torch.isfinite(losses.detach().sum() + logits.detach().sum()):
        check_finite(logits)
        impossible = targets[~torch.isfinite(losses)].unique().tolist()
        if impossible:
            raise ValueError(f"targets contain classes of zero prior: {impossible}")
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def adjust_logits(
    logits: Float[Tensor, "batch classes"],
    *,
    train_prior: PriorLike | None = None,
    test_prior: PriorLike | None = None,
    tau: float = 1.0,
) -> Float[Tensor, "batch classes"]:
    r"""Move logits from one class prior to another after training (post-hoc correction).

    .. math:: g_k(x) = f_k(x) - \tau \log \pi^{\text{train}}_k + \tau \log \pi^{\text{test}}_k

    For a network trained with plain cross-entropy give `train_prior` (Saerens et al. 2002; Menon
    et al. 2021; the post-compensated softmax of Hong et al. 2021). For one trained with
    :func:`pc_cross_entropy` leave it out: its logits carry no prior.

    Args:
        logits: :math:`f_k(x)`, shape (batch, classes).
        train_prior: Prior to take out; None takes out nothing.
        test_prior: Prior to put in; None means equally likely classes.
        tau: Strength of the correction.

    Raises:
        TypeError: Logits that are not floating point.
        ValueError: Wrong shapes, priors that are no distributions, or a class of zero
            `train_prior`, for which the network says nothing.

    """
    check_logits(logits, allow_empty=True)
    logits = at_least_float32(logits)
    values = _values_can_be_checked(logits)
    if train_prior is not None:
        pi = as_prior(train_prior, classes=logits.shape[1], like=logits, values=values)
        if values and (pi == 0).any():
            absent = (pi == 0).nonzero().flatten().tolist()
            raise ValueError(f"train_prior is zero for classes {absent}: nothing to correct from")
        logits = logits - _tempered(pi.log(), tau)
    if test_prior is not None:
        pi = as_prior(test_prior, classes=logits.shape[1], like=logits, values=values)
        logits = logits + _tempered(pi.log(), tau)
    return logits


class PCSoftmaxLoss(nn.Module):
    r"""Module around :func:`pc_cross_entropy` that carries the prior as a buffer.

    The buffer follows the module through `.to()`, DDP and `state_dict`; it stays in float32 or
    better, so that a half-precision model keeps a precise prior.

    Args:
        prior: Class probabilities :math:`\pi`, shape (classes,); or
        class_counts: training samples per class, from which :math:`\pi_k = n_k / \sum_j n_j`.
            Exactly one of the two.
        tau: Strength of the correction; 1 is PC-softmax, 0 plain cross-entropy.
        reduction: "mean", "sum" or "none".
        label_smoothing: In [0, 1), spread over the classes of positive prior.

    Raises:
        ValueError: Both or neither of `prior` and `class_counts`, negative counts or none at all.

    Example:
        >>> loss = PCSoftmaxLoss(class_counts=[900, 100])
        >>> logits = torch.zeros(4, 2, requires_grad=True)
        >>> round(loss(logits, torch.tensor([0, 0, 1, 1])).item(), 6)  # no evidence: zero nats
        0.0

    """

    log_prior: Tensor

    def __init__(
        self,
        prior: PriorLike | None = None,
        *,
        class_counts: PriorLike | None = None,
        tau: float = 1.0,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.tau = tau
        self.reduction = reduction
        self.label_smoothing = label_smoothing
        self.register_buffer("log_prior", _log_prior(prior, class_counts))

    @property
    def prior(self) -> Tensor:
        """The class probabilities in use."""
        return self.log_prior.exp()

    def update_prior(
        self, prior: PriorLike | None = None, *, class_counts: PriorLike | None = None
    ) -> None:
        """Replace the prior, also by one over another number of classes; device is kept."""
        new = _log_prior(prior, class_counts)
        self.log_prior = new.to(self.log_prior.device)

    def _apply(self, fn, recurse: bool = True):
        # .half() must not round log-priors to three digits: follow the device, keep the dtype
        # (Apple's devices have no float64).
        super()._apply(lambda t: t if t is self.log_prior else fn(t), recurse)
        device = fn(torch.empty(0, device=self.log_prior.device)).device
        dtype = torch.float32 if device.type == "mps" else self.log_prior.dtype
        self.log_prior = self.log_prior.to(device, dtype)
        return self

    def forward(
        self, logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
    ) -> Float[Tensor, "..."]:
        """Return the loss of a batch; see :func:`pc_cross_entropy`."""
        check_logits(logits)
        if logits.shape[1] != self.log_prior.numel():
            raise ValueError(
                f"the loss holds a prior over {self.log_prior.numel()} classes, but logits have "
                f"{describe(logits)}"
            )
        return _pc_cross_entropy(
            logits, targets, self.log_prior, self.tau, self.reduction, self.label_smoothing
        )

    def extra_repr(self) -> str:
        """Show what the loss was made with."""
        return (
            f"classes={self.log_prior.numel()}, tau={self.tau}, reduction={self.reduction!r}, "
            f"label_smoothing={self.label_smoothing}"
        )


def _log_prior(prior: PriorLike | None, class_counts: PriorLike | None) -> Tensor:
    if (prior is None) == (class_counts is None):
        raise ValueError("give exactly one of prior and class_counts")
    if prior is not None:
        return as_prior(prior).log()
    counts = torch.as_tensor(class_counts).double()
    if counts.ndim != 1 or not torch.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(f"class_counts must be non-negative, shape (classes,), got {counts}")
    if counts.sum() == 0:
        raise ValueError(f"class_counts hold no sample: {counts.tolist()}")
    return (counts / counts.sum()).log()
