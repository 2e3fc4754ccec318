"""Mutual information over batches, in constant memory and across processes (torchmetrics)."""

import functools
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from softmi._checks import PriorLike, as_prior, check_classes, check_outputs, describe
from softmi.information.estimate import MutualInformationEstimate, label_log_probabilities
from softmi.information.labels import PriorMismatch, check_possible, label_prior


class _OfWholeResults(Metric):
    """A metric whose result is kept whole, and whose states keep their precision.

    All that is borrowed from the private parts of torchmetrics stands here: it rebuilds
    dataclasses that a metric returns, and rounds states when the model around them is rounded.
    """

    def _wrap_compute(self, compute: Callable) -> Callable:
        # Sealed: torchmetrics rebuilds dataclasses, and fails on frozen ones.
        wrapped = super()._wrap_compute(lambda: SimpleNamespace(content=compute()))
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


class MutualInformation(_OfWholeResults):
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

    A given prior is that of all labels together, and :meth:`compute` refuses one that they
    contradict, as :func:`softmi.mutual_information` does. A single batch, which may hold few
    classes, is not judged: where it contradicts the prior its estimate is marked as "mismatched".

    Args:
        num_classes: Number of classes, M.
        prior: Class probabilities :math:`\pi` of the labels, shape (num_classes,); None takes the
            frequencies of all of them.
        prior_corrected: True for logits trained with :func:`softmi.pc_cross_entropy`, False for
            plain cross-entropy. True needs the prior, which is then part of q: on a balanced
            test set the uniform one, whatever the network was trained with.
        confidence: Coverage of the interval (low, high), in (0, 1).
        prior_mismatch: "allow" takes a prior though the labels contradict it; see
            :func:`softmi.mutual_information`.
        kwargs: Options of `torchmetrics.Metric`.

    Raises:
        ValueError: No classes, a prior that is no distribution over them, none at all for
            prior-corrected logits, a confidence outside (0, 1), or another `prior_mismatch`.

    Example:
        >>> metric = MutualInformation(num_classes=2)
        >>> for _ in range(50):
        ...     metric.update(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 1]))
        >>> estimate = metric.compute()
        >>> round(estimate.value, 3), round(estimate.in_bits().value, 3), estimate.n_samples
        (0.693, 1.0, 100)

    Source: qin2019, softmax estimator of mutual information.
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
        prior_mismatch: PriorMismatch = "raise",
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be in (0, 1), got {confidence}")
        if prior_corrected and prior is None:
            raise ValueError(
                "prior_corrected=True needs the prior that the network was trained with, or that "
                "of the labels where they follow another one: their frequencies are known only "
                "after the last batch"
            )
        if prior_mismatch not in ("raise", "allow"):
            raise ValueError(f'prior_mismatch must be "raise" or "allow", got {prior_mismatch!r}')
        doubles = torch.zeros(num_classes, dtype=torch.float64)
        self.num_classes = num_classes
        self.prior_corrected = prior_corrected
        self.confidence = confidence
        self.prior_mismatch = prior_mismatch
        self._of_batch = False
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
        check_classes(logits, self.num_classes, "the metric was made for")
        check_outputs(logits, targets)
        device = self.moments.device
        logits, targets = logits.detach().to(device).double(), targets.to(device).long()
        log_q = label_log_probabilities(logits, targets, self.offset)

        def sums(values: Tensor) -> Tensor:
            return torch.zeros_like(self.offset).index_add(0, targets, values)

        count = sums(torch.ones_like(log_q))
        if self.prior is not None:
            check_possible(count.cpu(), self.prior)
        mean = sums(log_q) / count.clamp(min=1)
        # What rounding left out of a long sum.
        mean = mean + sums(log_q - mean[targets]) / count.clamp(min=1)
        squares = sums((log_q - mean[targets]).square())
        self.moments = _merged(torch.stack([self.moments, torch.stack([count, mean, squares])]))

    def forward(self, *args: Any, **kwargs: Any) -> MutualInformationEstimate:
        """Add a batch as :meth:`update` does, and return its own estimate."""
        self._of_batch = True
        try:
            return super().forward(*args, **kwargs)
        finally:
            self._of_batch = False

    def compute(self) -> MutualInformationEstimate:
        """Return the estimate from all batches so far, of all processes.

        Raises:
            ValueError: There were no samples, or their labels contradict the prior.

        """
        count, mean, squares = self.moments.cpu()
        n = int(count.sum())
        if n == 0:
            raise ValueError("no samples yet: call update(logits, targets) before compute()")
        # A MetricCollection may have updated a metric of another prior in this one's place.
        mismatch: PriorMismatch = "allow" if self._of_batch else self.prior_mismatch
        prior = label_prior(count, self.prior, prior_mismatch=mismatch)
        # Classes without samples weigh nothing; the log of their prior may be infinite.
        pointwise = torch.where(count > 0, mean - prior.probabilities.log(), 0.0)
        value = float((count * pointwise).sum()) / n
        spread = float((squares + count * (pointwise - value).square()).sum())
        standard_error = math.sqrt(spread / (n - 1) / n) if n > 1 else math.inf
        return MutualInformationEstimate.of_mean(
            value, standard_error, prior, n_samples=n, confidence=self.confidence
        )


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


def _merged(parts: Float[Tensor, "parts 3 classes"]) -> Float[Tensor, "3 classes"]:
    """Number, mean and centred sum of squares of the union (Chan, Golub and LeVeque 1983)."""
    counts, means, squares = parts.unbind(1)
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count.clamp(min=1)
    between = (counts * (means - mean).square()).sum(0)
    return torch.stack([count, mean, squares.sum(0) + between])
