r"""The prior-corrected softmax: one kernel, and the names that others gave it.

Adding :math:`\tau \log \pi_k` to the logits before an ordinary cross-entropy is at once PC-softmax
(Qin et al. 2019), balanced softmax (Ren et al. 2020) and the logit-adjusted loss (Menon et al.
2021). They differ by constants that do not depend on the network, so that gradients, minimisers
and training trajectories are the same.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi._checks import (
    PriorLike,
    as_prior,
    at_least_float32,
    check_classes,
    check_finite,
    check_logits,
    per_class,
    values_can_be_checked,
)
from softmi.losses._base import _Loss
from softmi.losses._kernel import _at, _cross_entropy, _prepared, _reduced, _tempered

# Labels, or a distribution over classes for each sample.
Targets = Int[Tensor, " batch"] | Float[Tensor, "batch classes"]


def pc_log_softmax(
    logits: Float[Tensor, "batch classes"], prior: PriorLike, *, tau: float = 1.0
) -> Float[Tensor, "batch classes"]:
    r"""Logarithm of :func:`pc_softmax`, computed without leaving log-space.

    .. math:: \log s_y(x) = f_y(x) - \log \sum_k \pi_k^\tau \exp f_k(x)

    Args and errors as in :func:`pc_softmax`.

    Example:
        >>> log_s = pc_log_softmax(torch.tensor([[1.0, 0.0]]), [0.5, 0.5])
        >>> [round(v, 3) for v in log_s[0].tolist()]
        [0.38, -0.62]

    """
    check_logits(logits, allow_empty=True)
    values = values_can_be_checked(logits)
    if values:
        check_finite(logits)
    logits = at_least_float32(logits)
    pi = as_prior(prior, classes=logits.shape[1], like=logits, values=values)
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

    Source: qin2019, PC-softmax.
    """
    return pc_log_softmax(logits, prior, tau=tau).exp()


def pc_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    targets: Targets,
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

    Soft targets :math:`t_k`, from mixup or a teacher, give :math:`L = -\sum_k t_k \log s_k(x)`.
    With `label_smoothing` :math:`\epsilon` the target puts :math:`\epsilon / M^+` on each of the
    :math:`M^+` classes of positive prior (a class that cannot occur gets none).

    A logit of minus infinity rules its class out of a row, as in PyTorch's cross-entropy; it must
    not be the target's.

    Args:
        logits: :math:`f_k(x)`, shape (batch, classes). Half precision is computed in float32.
        targets: Labels y, integers, shape (batch,); or probabilities t, floating point, shape
            (batch, classes), whose rows sum to 1.
        prior: :math:`\pi`, shape (classes,); zeros allowed, except for a target's class.
        tau: Strength of the correction; 0 is the plain cross-entropy.
        reduction: "mean", "sum" or "none".
        label_smoothing: :math:`\epsilon` in [0, 1).

    Raises:
        TypeError: Logits not floating point, or labels not integers.
        ValueError: Shapes that do not match, an empty batch, logits that are NaN, infinite or, for
            a target, minus infinity, targets out of range or of zero prior, soft targets or a
            prior that are no distributions. On accelerators and under `torch.compile` values are
            not checked.

    Example:
        >>> logits, targets = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
        >>> loss = pc_cross_entropy(logits, targets, [0.75, 0.25])
        >>> round(-loss.item(), 4)  # nats that this input carries about its label
        0.172

    """
    log_prior = per_class(logits, prior=prior).log()
    f, y, tau_log_pi = _prepared(logits, targets, log_prior, tau, label_smoothing, reduction)
    # The term without the network comes last, so that gradients cannot depend on it.
    losses = _cross_entropy(f, tau_log_pi, y) + _at(y, tau_log_pi)
    return _reduced(losses, f, y, tau_log_pi, reduction)


def logit_adjusted_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    targets: Targets,
    prior: PriorLike,
    *,
    tau: float = 1.0,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Float[Tensor, "..."]:
    r"""Logit-adjusted cross-entropy (Menon et al. 2021): :func:`pc_cross_entropy` but a constant.

    .. math::
        L = \mathrm{CE}(f + \tau \log \pi,\, y)
          = -\log \frac{\pi_y^\tau \exp f_y(x)}{\sum_k \pi_k^\tau \exp f_k(x)}

    with logits :math:`f_k`, prior :math:`\pi_k` and strength :math:`\tau`.
    It is the loss of :func:`pc_cross_entropy` without its last term, :math:`\tau \log \pi_y`,
    computed by the same code: gradients and trained weights are the same to the bit. Its value is
    never negative, and is no estimate of mutual information.

    Args and errors as in :func:`pc_cross_entropy`.

    Example:
        >>> from torch.nn.functional import cross_entropy
        >>> logits, targets = torch.randn(4, 2), torch.tensor([0, 1, 0, 0])
        >>> prior = torch.tensor([0.75, 0.25])
        >>> loss = logit_adjusted_cross_entropy(logits, targets, prior)
        >>> torch.allclose(loss, cross_entropy(logits + prior.log(), targets))
        True

    Source: menon2021, logit-adjusted cross-entropy.
    """
    log_prior = per_class(logits, prior=prior).log()
    f, y, tau_log_pi = _prepared(logits, targets, log_prior, tau, label_smoothing, reduction)
    losses = _cross_entropy(f, tau_log_pi, y)
    return _reduced(losses, f, y, tau_log_pi, reduction)


def balanced_softmax_cross_entropy(
    logits: Float[Tensor, "batch classes"],
    targets: Targets,
    class_counts: PriorLike,
    *,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Float[Tensor, "..."]:
    r"""Cross-entropy of the balanced softmax (Ren et al. 2020), from samples per class.

    .. math:: L = \mathrm{CE}(f + \log n,\, y)
                = -\log \frac{n_y \exp f_y(x)}{\sum_k n_k \exp f_k(x)}

    with logits :math:`f_k` and :math:`n_k` training samples of class k. With
    :math:`n_k = N \pi_k` the total :math:`N` cancels: this is
    :func:`logit_adjusted_cross_entropy` at :math:`\tau = 1`, and so computed, which keeps the
    numbers small where the paper's code adds :math:`\log n_k`. The meta-sampler of the paper is
    not part of it.

    Args:
        class_counts: :math:`n_k`, shape (classes,); zeros allowed, except for a target's class.

    The other arguments and errors are those of :func:`pc_cross_entropy`; also ValueError if
    counts are negative or all zero.

    Example:
        >>> logits, targets = torch.zeros(1, 2), torch.tensor([1])
        >>> loss = balanced_softmax_cross_entropy(logits, targets, class_counts=[3, 1])
        >>> round(loss.item(), 4)  # log 4
        1.3863

    Source: ren2020, balanced softmax.
    """
    counts = per_class(logits, class_counts=class_counts)
    log_pi = (counts / counts.sum()).log()
    f, y, log_pi = _prepared(logits, targets, log_pi, 1.0, label_smoothing, reduction)
    losses = _cross_entropy(f, log_pi, y)
    return _reduced(losses, f, y, log_pi, reduction)


class PCSoftmaxLoss(_Loss):
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

    def forward(
        self, logits: Float[Tensor, "batch classes"], targets: Targets
    ) -> Float[Tensor, "..."]:
        """Return the loss of a batch; see :func:`pc_cross_entropy`."""
        check_classes(logits, self.log_prior.numel(), "the loss holds a prior over")
        f, y, tau_log_pi = _prepared(
            logits, targets, self.log_prior, self.tau, self.label_smoothing, self.reduction
        )
        losses = _cross_entropy(f, tau_log_pi, y) + _at(y, tau_log_pi)
        return _reduced(losses, f, y, tau_log_pi, self.reduction)

    def extra_repr(self) -> str:
        """Show what the loss was made with."""
        return (
            f"classes={self.log_prior.numel()}, tau={self.tau}, reduction={self.reduction!r}, "
            f"label_smoothing={self.label_smoothing}"
        )


def _log_prior(prior: PriorLike | None, class_counts: PriorLike | None) -> Tensor:
    given = per_class(prior=prior, class_counts=class_counts)
    return (given if class_counts is None else given / given.sum()).log()
