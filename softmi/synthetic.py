"""Distributions of an input and a label that know their own mutual information."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.integrate import quad
from torch import Tensor

from softmi._validation import PriorLike, as_prior, check_finite, describe
from softmi.information import entropy


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


class GaussianClasses:
    r"""Labels from a prior, inputs from one Gaussian a class with a shared covariance.

    .. math:: Y \sim \pi, \qquad X \mid Y = k \sim \mathcal{N}(\mu_k, \Sigma)

    The synthetic task of Qin et al. (2019) is :meth:`five_on_a_line`.

    Args:
        means: :math:`\mu`, shape (classes, dimensions).
        prior: :math:`\pi`, shape (classes,).
        covariance: :math:`\Sigma`, shape (dimensions, dimensions); None is the identity.

    Raises:
        ValueError: Shapes that do not match, non-finite means, a covariance that is not
            symmetric positive definite, a prior that is no distribution.

    Example:
        >>> task = GaussianClasses([[-1.0], [1.0]], [0.5, 0.5])
        >>> round(task.mutual_information().value, 4)
        0.3368

    """

    def __init__(
        self, means: Tensor | list, prior: PriorLike, covariance: Tensor | list | None = None
    ) -> None:
        self.means = torch.as_tensor(means, dtype=torch.float64)
        if self.means.ndim != 2 or 0 in self.means.shape:
            raise ValueError(
                f"means must have shape (classes, dimensions), got {describe(self.means)}"
            )
        check_finite(self.means, name="means")
        classes, dimensions = self.means.shape
        self.prior = as_prior(prior, classes=classes, like=self.means)
        self._cholesky: Tensor | None = None
        if covariance is not None:
            sigma = torch.as_tensor(covariance, dtype=torch.float64)
            if sigma.shape != (dimensions, dimensions):
                raise ValueError(
                    f"covariance must have shape ({dimensions}, {dimensions}) to match means of "
                    f"shape {tuple(self.means.shape)}, got {describe(sigma)}"
                )
            factor, failure = torch.linalg.cholesky_ex(sigma)
            if failure or not torch.allclose(sigma, sigma.T):
                raise ValueError(f"covariance must be symmetric positive definite, got {sigma}")
            self._cholesky = factor

    @classmethod
    def five_on_a_line(cls, dimensions: int, *, balanced: bool = True) -> "GaussianClasses":
        r"""The synthetic task of Qin et al. (2019), from the authors' code.

        Five unit Gaussians with means (0, 2, -2, 4, -4) on every coordinate; prior uniform, or
        (1, 2, 3, 4, 5)/15 in that order.
        """
        positions = torch.tensor([0.0, 2.0, -2.0, 4.0, -4.0], dtype=torch.float64)
        weights = torch.ones(5) if balanced else torch.arange(1.0, 6.0)
        weights = weights.double()
        return cls(positions[:, None].expand(5, dimensions).clone(), weights / weights.sum())

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.means.shape[0]

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "samples dimensions"], Int[Tensor, " samples"]]:
        """Draw n pairs; labels are drawn from the prior. X is float32, y int64."""
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        y = torch.multinomial(self.prior, n, replacement=True, generator=generator)
        return self._sample_given(y, generator), y

    def sample_counts(
        self, counts: list[int], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "samples dimensions"], Int[Tensor, " samples"]]:
        """Draw exactly `counts[k]` samples of class k, as the paper does, class after class."""
        if len(counts) != self.classes or min(counts) < 0 or sum(counts) == 0:
            raise ValueError(f"counts must be {self.classes} numbers of samples, got {counts}")
        y = torch.repeat_interleave(torch.arange(self.classes), torch.tensor(counts))
        return self._sample_given(y, generator), y

    def _sample_given(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(len(y), self.means.shape[1], generator=generator, dtype=torch.float64)
        if self._cholesky is not None:
            noise = noise @ self._cholesky.T
        return (self.means[y] + noise).float()

    def _whiten(self, x: Tensor) -> Tensor:
        x = x.to(torch.float64)
        if self._cholesky is None:
            return x
        return torch.linalg.solve_triangular(self._cholesky, x.T, upper=False).T

    def log_likelihoods(
        self, x: Float[Tensor, "samples dimensions"]
    ) -> Float[Tensor, "samples classes"]:
        r"""Log-likelihood of each class up to a term of x alone: :math:`\log p(x|k) + c(x)`.

        These are the ideal logits of a prior-corrected network.
        """
        if x.ndim != 2 or x.shape[1] != self.means.shape[1]:
            raise ValueError(
                f"x must have shape (samples, {self.means.shape[1]}), got {describe(x)}"
            )
        whitened, centres = self._whiten(x), self._whiten(self.means)
        return whitened @ centres.T - 0.5 * centres.square().sum(1)

    def pointwise_mutual_information(
        self, x: Float[Tensor, "samples dimensions"]
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

        When the whitened means lie on a line (always for two classes, and in the paper's task)
        the projection onto it is sufficient for Y, and the integral is one-dimensional: adaptive
        quadrature gives it to about twelve digits. Otherwise a seeded Monte-Carlo mean of the
        exact pointwise values, with its standard error.

        Args:
            samples: Monte-Carlo samples, where they are needed.
            seed: Seed of those samples; the global generator is not touched.

        """
        centres = self._whiten(self.means)
        centres = centres[self.prior > 0]
        prior = self.prior[self.prior > 0]
        directions = centres - centres[0]
        _, singular, vectors = torch.linalg.svd(directions, full_matrices=False)
        scale = float(singular[0]) if singular.numel() else 0.0
        if scale == 0.0:
            return KnownMutualInformation(0.0, 0.0, "exact")
        if singular.numel() == 1 or float(singular[1]) <= 1e-12 * scale:
            value, error = _line_quadrature((directions @ vectors[0]).numpy(), prior.numpy())
            return KnownMutualInformation(value, error, "quadrature")
        generator = torch.Generator().manual_seed(seed)
        total = total_square = 0.0
        remaining = samples
        while remaining > 0:  # in blocks: 1000 dimensions would not fit at once
            n = min(remaining, max(1, 20_000_000 // self.means.shape[1]), 100_000)
            x, y = self.sample(n, generator)
            pmi = self.pointwise_mutual_information(x).gather(1, y[:, None])
            total += float(pmi.sum())
            total_square += float(pmi.square().sum())
            remaining -= n
        mean = total / samples
        variance = max(0.0, total_square / samples - mean**2)
        return KnownMutualInformation(mean, math.sqrt(variance / samples), "monte carlo")


def _line_quadrature(positions: np.ndarray, prior: np.ndarray) -> tuple[float, float]:
    """Mutual information of unit Gaussians at `positions` on a line, with quad's error bound."""
    order = np.argsort(positions)
    positions, log_prior = positions[order], np.log(prior[order])
    half_log_2pi = 0.5 * math.log(2 * math.pi)

    def integrand(t: float) -> float:
        log_density = -0.5 * (t - positions) ** 2 - half_log_2pi
        log_joint = log_prior + log_density
        return float(np.exp(log_joint) @ (log_density - np.logaddexp.reduce(log_joint)))

    # Breaks at each mean and half-way between neighbours: the integrand bends there. Tails beyond
    # ten standard deviations hold less than 1e-22 of the mass.
    breaks = np.unique(
        np.concatenate([positions, (positions[1:] + positions[:-1]) / 2, positions[[0]] - 10,
                        positions[[-1]] + 10, positions - 10, positions + 10])
    )  # fmt: skip
    value = error = 0.0
    for a, b in pairwise(breaks):
        part, part_error = quad(integrand, a, b, epsabs=1e-14, epsrel=1e-12, limit=200)
        value += part
        error += part_error
    return value, error


class DiscreteJoint:
    r"""A joint table over a discrete input and a label: everything about it is exact.

    Args:
        table: :math:`p(x, y)`, shape (inputs, classes), non-negative, summing to one.

    Raises:
        ValueError: A table that is not a distribution over two axes.

    Example:
        >>> round(DiscreteJoint([[0.5, 0.0], [0.0, 0.5]]).mutual_information().value, 4)
        0.6931

    """

    def __init__(self, table: Tensor | list) -> None:
        self.table = torch.as_tensor(table, dtype=torch.float64)
        if self.table.ndim != 2 or 0 in self.table.shape:
            raise ValueError(
                f"table must have shape (inputs, classes), got {describe(self.table)}"
            )
        as_prior(self.table.flatten())  # raises unless it is a distribution

    @property
    def prior(self) -> Float[Tensor, " classes"]:
        """Marginal of the label."""
        return self.table.sum(0)

    @property
    def input_marginal(self) -> Float[Tensor, " inputs"]:
        """Marginal of the input."""
        return self.table.sum(1)

    def posterior(self) -> Float[Tensor, "inputs classes"]:
        """p(y|x), a row for each input; uniform for an input that never occurs."""
        marginal = self.input_marginal[:, None]
        return torch.where(marginal > 0, self.table / marginal, 1 / self.table.shape[1])

    def mutual_information(self) -> KnownMutualInformation:
        r""":math:`H(X) + H(Y) - H(X, Y)`, in nats, exact up to rounding."""
        value = entropy(self.input_marginal) + entropy(self.prior) - entropy(self.table.flatten())
        return KnownMutualInformation(max(0.0, float(value)), 0.0, "exact")

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Int[Tensor, " samples"], Int[Tensor, " samples"]]:
        """Draw n pairs of input index and label."""
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        cell = torch.multinomial(self.table.flatten(), n, replacement=True, generator=generator)
        return cell // self.table.shape[1], cell % self.table.shape[1]
