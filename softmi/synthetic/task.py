"""What a task with known mutual information is, and the priors that tasks take."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi._checks import PriorLike, as_prior, check_floating, describe


@dataclass(frozen=True)
class KnownMutualInformation:
    """True mutual information of a task, in nats, and how it was obtained.

    Attributes:
        value: The mutual information.
        standard_error: Monte-Carlo standard error, or for quadrature a bound on the error.
        method: "exact", "quadrature" or "monte carlo".

    """

    value: float
    standard_error: float
    method: str

    def __float__(self) -> float:
        return self.value


def long_tailed_prior(classes: int, factor: float | int = 100.0) -> Float[Tensor, " classes"]:
    r"""Exponentially falling class probabilities, the long tail of Cui et al. (2019).

    .. math:: \pi_k \propto \gamma^{-k/(M-1)}, \qquad k = 0, \dots, M - 1

    so that the first class is :math:`\gamma` times as frequent as the last; the profile of
    CIFAR-10-LT (Cui et al. 2019; Cao et al. 2019).

    Args:
        classes: Number of classes :math:`M`.
        factor: Imbalance factor :math:`\gamma`; 1 is the uniform distribution.

    Raises:
        ValueError: No class, or a factor that is not positive and finite.

    Example:
        >>> [round(p, 3) for p in long_tailed_prior(3, 100).tolist()]
        [0.901, 0.09, 0.009]

    Source: cui2019, long-tailed profile.
    """
    if classes < 1 or not 0 < factor < math.inf:
        raise ValueError(
            f"need at least one class and a positive, finite factor, got {classes=}, {factor=}"
        )
    exponents = -torch.arange(classes, dtype=torch.float64) / max(1, classes - 1)
    return torch.softmax(exponents * math.log(factor), dim=0)


class LabelledTask(ABC):
    r"""A label from a prior, an input from a density that is known given the label.

    .. math:: Y \sim \pi, \qquad X \mid Y = k \sim p(x \mid k)

    What all such tasks share: samples, the exact pointwise mutual information, the accuracy of the
    best possible classifier, and the mutual information as a Monte-Carlo mean where a task has
    nothing better.

    Attributes:
        prior: :math:`\pi`, float64, shape (classes,).

    """

    prior: Tensor
    _columns: int  # of X

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.prior.numel()

    @abstractmethod
    def _sample_given(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw one input for each label, in float32."""

    @abstractmethod
    def log_likelihoods(
        self, x: Float[Tensor, "samples columns"]
    ) -> Float[Tensor, "samples classes"]:
        r"""Log-likelihood of each class up to a term of x alone: :math:`\log p(x|k) + c(x)`.

        These are the ideal logits of a prior-corrected network.
        """

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "samples columns"], Int[Tensor, " samples"]]:
        """Draw n pairs; labels are drawn from the prior. X is float32, y int64."""
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        y = torch.multinomial(self.prior, n, replacement=True, generator=generator)
        return self._sample_given(y, generator), y

    def sample_counts(
        self, counts: list[int], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "samples columns"], Int[Tensor, " samples"]]:
        """Draw exactly `counts[k]` samples of class k, as the paper does, class after class."""
        if len(counts) != self.classes or min(counts) < 0 or sum(counts) == 0:
            raise ValueError(f"counts must be {self.classes} numbers of samples, got {counts}")
        y = torch.repeat_interleave(torch.arange(self.classes), torch.tensor(counts))
        return self._sample_given(y, generator), y

    def pointwise_mutual_information(
        self, x: Float[Tensor, "samples columns"]
    ) -> Float[Tensor, "samples classes"]:
        r"""Exact :math:`\log p(x|y) - \log p(x)` of each sample with each label, in nats."""
        scores = self.log_likelihoods(x)
        return scores - torch.logsumexp(scores + self.prior.log(), dim=1, keepdim=True)

    def bayes_accuracy(self, n: int = 1_000_000, *, seed: int = 0) -> tuple[float, float]:
        """Accuracy of the best possible classifier under the prior, and its standard error."""
        x, y = self.sample(n, torch.Generator().manual_seed(seed))
        right = (self.log_likelihoods(x) + self.prior.log()).argmax(1) == y
        return float(right.double().mean()), float(right.double().std()) / math.sqrt(n)

    def mutual_information(
        self, *, samples: int = 1_000_000, seed: int = 0
    ) -> KnownMutualInformation:
        r"""True :math:`I(X;Y)` in nats.

        .. math:: I(X;Y) = \sum_k \pi_k \int p(x|k) \log \frac{p(x|k)}{\sum_j \pi_j p(x|j)} \, dx

        A seeded Monte-Carlo mean of the exact pointwise values, with its standard error.

        Args:
            samples: Monte-Carlo samples, where they are needed.
            seed: Seed of those samples; the global generator is not touched.

        Raises:
            ValueError: No samples.

        """
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        generator = torch.Generator().manual_seed(seed)
        total = total_square = 0.0
        remaining = samples
        while remaining > 0:  # in blocks: 1000 dimensions would not fit at once
            n = min(remaining, max(1, 20_000_000 // self._columns), 100_000)
            x, y = self.sample(n, generator)
            pmi = self.pointwise_mutual_information(x).gather(1, y[:, None])
            total += float(pmi.sum())
            total_square += float(pmi.square().sum())
            remaining -= n
        mean = total / samples
        variance = max(0.0, total_square / samples - mean**2)
        return KnownMutualInformation(mean, math.sqrt(variance / samples), "monte carlo")

    def _check_inputs(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self._columns:
            raise ValueError(f"x must have shape (samples, {self._columns}), got {describe(x)}")


def _table(rows: Tensor | list, name: str, shape: str) -> Tensor:
    """Return finite numbers of the given shape in words, such as "(classes, dimensions)"."""
    table = torch.as_tensor(rows, dtype=torch.float64)
    check_floating(table, name, shape, finite=True)
    return table


def _prior_or_uniform(prior: PriorLike | None, classes: int) -> Tensor:
    if prior is None:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    return as_prior(prior, classes=classes, like=torch.empty(0, dtype=torch.float64))
