"""Mutual information over batches, in constant memory and across processes (torchmetrics)."""

import functools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.special import entr
from torchmetrics import Metric

from softmi._checks import PriorLike, as_prior, check_finite, check_logits, check_targets, describe
from softmi.information.estimate import MutualInformationEstimate, _interval


class MutualInformation(Metric):
    r"""Estimate :math:`I(X;Y)` from batches of held-out logits, without keeping them.

    The number is that of :func:`softmi.mutual_information` on all samples at once (Qin et al.
    2019), for any batches in any order and any split over processes. What is kept of each class
    k is the number :math:`n_k`, the mean :math:`m_k` and the centred sum of squares :math:`S_k`
    of :math:`\log q(y_i | x_i)` over the samples with :math:`y_i = k`. With the prior
    :math:`\pi` (the label frequencies :math:`n_k / n` if it is None, known only at the end) and
    :math:`n = \sum_k n_k`,

    .. math::
        \hat I = \sum_k \frac{n_k}{n} (m_k - \log \pi_k), \qquad
        (n - 1)\, s^2 = \sum_k S_k + \sum_k n_k (m_k - \log \pi_k - \hat I)^2,

    and the standard error is :math:`s / \sqrt n`. Parts are merged as in Chan et al. (1983):
    plain sums of squares would cancel where the spread is small beside the mean.

    :meth:`compute` returns a :class:`softmi.MutualInformationEstimate` without its summands, so
    that it has no certified bound. `float(metric.compute())` is the number alone, for loggers.
    Called as a function the metric returns the estimate of that batch, whose prior, if None, is
    that of the batch.

    Args:
        num_classes: Number of classes, M.
        prior: Class probabilities :math:`\pi`, shape (num_classes,); None takes the label
            frequencies of all samples.
        prior_corrected: True for logits trained with :func:`softmi.pc_cross_entropy`, False for
            plain cross-entropy. True needs the prior, which is then part of q.
        confidence: Coverage of the interval (low, high), in (0, 1).
        kwargs: Options of `torchmetrics.Metric`.

    Raises:
        ValueError: No classes, a prior that is no distribution over them, none at all for
            prior-corrected logits, or a confidence outside (0, 1).

    Example:
        >>> metric = MutualInformation(num_classes=2)
        >>> for _ in range(50):
        ...     metric.update(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 1]))
        >>> estimate = metric.compute()
        >>> round(estimate.value, 3), round(estimate.in_bits().value, 3), estimate.n_samples
        (0.693, 1.0, 100)

    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    moments: Tensor
    offset: Tensor
    prior: Tensor | None

    def __init__(
        self,
        num_classes: int,
        prior: PriorLike | None = None,
        *,
        prior_corrected: bool = False,
        confidence: float = 0.95,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be in (0, 1), got {confidence}")
        if prior_corrected and prior is None:
            raise ValueError(
                "prior_corrected=True needs the prior that the network was trained with: the "
                "frequencies of the labels are known only after the last batch"
            )
        doubles = torch.zeros(num_classes, dtype=torch.float64)
        self.num_classes = num_classes
        self.prior_corrected = prior_corrected
        self.confidence = confidence
        self.prior = None
        if prior is not None:
            self.prior = as_prior(prior, classes=num_classes, like=doubles).cpu()
        # Rows: number, mean and centred sum of squares of log q(y|x), class by class.
        self.add_state("moments", doubles.repeat(3, 1), dist_reduce_fx=_merged)
        # What is added to logits is a state because a MetricCollection lets metrics of equal
        # states share them, and those of different priors may agree on a first batch.
        offset = self.prior.log().to(doubles) if prior_corrected else doubles  # type: ignore[union-attr]
        self.add_state("offset", offset, dist_reduce_fx="max")

    def update(
        self, logits: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]
    ) -> None:
        """Add a batch of logits, of any floating dtype and on any device, and its labels.

        Args:
            logits: :math:`f_k(x_i)`, shape (batch, num_classes), of samples that the classifier
                was not trained on; taken to the device of the metric and to float64.
            targets: Labels, integers in [0, num_classes), shape (batch,).

        Raises:
            TypeError: Logits not floating point, or targets not integers.
            ValueError: Another number of classes, shapes that do not match, no samples, NaN or
                infinite logits, targets out of range or of zero prior. The batch is left out.

        """
        check_logits(logits)
        if logits.shape[1] != self.num_classes:
            raise ValueError(
                f"the metric was made for {self.num_classes} classes, but logits have "
                f"{describe(logits)}"
            )
        check_finite(logits)
        check_targets(targets, logits)
        device = self.moments.device
        logits, targets = logits.detach().to(device).double(), targets.to(device).long()
        # A common offset of all logits cancels: taken out first, it costs no digits.
        adjusted = logits - logits.amax(dim=1, keepdim=True) + self.offset
        log_q = -torch.nn.functional.cross_entropy(adjusted, targets, reduction="none")

        def sums(values: Tensor) -> Tensor:
            return torch.zeros_like(self.offset).index_add(0, targets, values)

        count = sums(torch.ones_like(log_q))
        self._check_possible(count)
        mean = sums(log_q) / count.clamp(min=1)
        # What rounding left out of a long sum.
        mean = mean + sums(log_q - mean[targets]) / count.clamp(min=1)
        squares = sums((log_q - mean[targets]).square())
        self.moments = _merged(torch.stack([self.moments, torch.stack([count, mean, squares])]))

    def compute(self) -> MutualInformationEstimate:
        """Return the estimate from all batches so far, of all processes.

        Raises:
            ValueError: There were no samples.

        """
        count, mean, squares = self.moments.cpu()
        n = int(count.sum())
        if n == 0:
            raise ValueError("no samples yet: call update(logits, targets) before compute()")
        # Again: a MetricCollection may have updated a metric of another prior in this one's place.
        self._check_possible(count)
        pi = count / n if self.prior is None else self.prior
        # Classes without samples weigh nothing; the log of their prior may be infinite.
        pointwise = torch.where(count > 0, mean - pi.log(), 0.0)
        value = float((count * pointwise).sum()) / n
        spread = float((squares + count * (pointwise - value).square()).sum())
        standard_error = math.sqrt(spread / (n - 1) / n) if n > 1 else math.inf
        low, high = _interval(value, standard_error, self.confidence)
        return MutualInformationEstimate(
            value=value,
            standard_error=standard_error,
            low=low,
            high=high,
            label_entropy=float(entr(pi).sum()),
            n_samples=n,
            _prior=pi,
            _prior_is_known=self.prior is not None,
        )

    def _check_possible(self, count: Tensor) -> None:
        if self.prior is None:
            return
        impossible = ((count.cpu() > 0) & (self.prior == 0)).nonzero().flatten().tolist()
        if impossible:
            raise ValueError(f"targets contain classes of zero prior: {impossible}")

    def _wrap_compute(self, compute: Callable) -> Callable:
        wrapped = super()._wrap_compute(lambda: _Sealed(compute()))
        return functools.wraps(compute)(lambda: wrapped().content)

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = "") -> Metric:
        # Moving a model to bfloat16 must not round the sums: follow the device, keep the dtype,
        # and stay where one is if it has no float64.
        def moved(tensor: Tensor) -> Tensor:
            device = fn(torch.empty(0, device=tensor.device)).device
            return tensor if device.type == "mps" else tensor.to(device)

        # As with compute: torchmetrics would take the batch's estimate apart.
        kept, self._forward_cache = self._forward_cache, None
        super()._apply(moved, exclude_state)
        self._forward_cache = kept
        return self


def group_accuracies(
    recalls: Float[Tensor, " classes"],
    class_counts: Sequence[int] | Int[Tensor, " classes"],
    *,
    many: int = 100,
    few: int = 20,
) -> dict[str, float]:
    """Mean accuracy over the classes with many, a medium number of and few training samples.

    The convention of Liu et al. (2019): more than `many`, `few` to `many`, fewer than `few`.
    Groups without a class are left out.

    Args:
        recalls: Accuracy within each class, shape (classes,), such as
            `MulticlassAccuracy(classes, average=None)` of torchmetrics gives.
        class_counts: Training samples of each class.
        many: More samples than this are many.
        few: Fewer samples than this are few.

    Raises:
        ValueError: Another number of counts than of recalls, or few > many.

    Example:
        >>> group_accuracies(torch.tensor([1.0, 0.5, 0.0]), [500, 100, 5])
        {'many': 1.0, 'medium': 0.5, 'few': 0.0}

    """
    counts = torch.as_tensor(class_counts)
    if counts.shape != recalls.shape or few > many:
        raise ValueError(
            f"need a count for each of {len(recalls)} recalls and few <= many, got "
            f"{describe(counts)}, few={few}, many={many}"
        )
    groups = {"many": counts > many, "medium": (counts >= few) & (counts <= many)}
    groups["few"] = counts < few
    return {name: float(recalls[g].double().mean()) for name, g in groups.items() if g.any()}


class _Sealed:
    """Hides a result from torchmetrics, which rebuilds dataclasses and fails on frozen ones."""

    def __init__(self, content: MutualInformationEstimate) -> None:
        self.content = content


def _merged(parts: Float[Tensor, "parts 3 classes"]) -> Float[Tensor, "3 classes"]:
    """Number, mean and centred sum of squares of the union (Chan, Golub and LeVeque 1983)."""
    counts, means, squares = parts.unbind(1)
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count.clamp(min=1)
    between = (counts * (means - mean).square()).sum(0)
    return torch.stack([count, mean, squares.sum(0) + between])
