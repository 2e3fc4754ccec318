"""Distributions of an input and a label that know their own mutual information.

Most are labelled tasks with a known density, see :class:`LabelledTask`; :class:`DiscreteJoint` is
a table, and :class:`LabelNoise` corrupts the labels of any data set by a known channel.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.integrate import quad
from scipy.special import gammainccinv
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

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

    """
    if classes < 1 or not 0 < factor < math.inf:
        raise ValueError(
            f"need at least one class and a positive, finite factor, got classes={classes}, "
            f"factor={factor}"
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

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.prior.numel()

    @property
    @abstractmethod
    def _columns(self) -> int:
        """Number of columns of X."""

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


def _as_means(means: Tensor | list) -> Tensor:
    means = torch.as_tensor(means, dtype=torch.float64)
    if means.ndim != 2 or 0 in means.shape:
        raise ValueError(f"means must have shape (classes, dimensions), got {describe(means)}")
    check_finite(means, name="means")
    return means


class GaussianClasses(LabelledTask):
    r"""Labels from a prior, inputs from one Gaussian a class with a shared covariance.

    .. math:: Y \sim \pi, \qquad X \mid Y = k \sim \mathcal{N}(\mu_k, \Sigma)

    The synthetic task of Qin et al. (2019) is :meth:`five_on_a_line`; :meth:`random_means` has
    classes in general position, in any number of dimensions.

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
        self.means = _as_means(means)
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

    @classmethod
    def random_means(
        cls,
        classes: int,
        dimensions: int,
        *,
        separation: float | int,
        prior: PriorLike | None = None,
        seed: int = 0,
    ) -> "GaussianClasses":
        r"""Unit Gaussians about random means, as hard in any number of dimensions.

        .. math:: \mu_k = \frac{s}{\sqrt d} z_k, \qquad z_k \sim \mathcal{N}(0, I_d)

        The squared distance of two means is :math:`2 s^2` in expectation whatever :math:`d`, and
        comes close to it in many dimensions.

        Args:
            classes: Number of classes.
            dimensions: :math:`d`.
            separation: :math:`s`, in standard deviations of the noise.
            prior: Shape (classes,); None is uniform.
            seed: Of the means; the global generator is not touched. Draw samples with another
                one: from the same, the noise would repeat the means.

        Raises:
            ValueError: Fewer than one class or dimension, a separation that is negative or not
                finite, or a prior that is no distribution over the classes.

        """
        if classes < 1 or dimensions < 1 or not 0 <= separation < math.inf:
            raise ValueError(
                f"need at least one class and dimension and a finite separation >= 0, got "
                f"classes={classes}, dimensions={dimensions}, separation={separation}"
            )
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(classes, dimensions, generator=generator, dtype=torch.float64)
        return cls(separation / math.sqrt(dimensions) * z, _prior_or_uniform(prior, classes))

    @property
    def _columns(self) -> int:
        return self.means.shape[1]

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
        self._check_inputs(x)
        whitened, centres = self._whiten(x), self._whiten(self.means)
        return whitened @ centres.T - 0.5 * centres.square().sum(1)

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
        return super().mutual_information(samples=samples, seed=seed)


def _line_quadrature(positions: np.ndarray, prior: np.ndarray) -> tuple[float, float]:
    """Mutual information of unit Gaussians at `positions` on a line, with quad's error bound."""
    order = np.argsort(positions)
    positions = positions[order]
    half_log_2pi = 0.5 * math.log(2 * math.pi)
    # Tails beyond ten standard deviations hold less than 1e-22 of the mass.
    breaks = [*_bends(positions), positions[0] - 10, positions[-1] + 10,
              *(positions - 10), *(positions + 10)]  # fmt: skip
    return _quadrature(
        lambda t: -0.5 * (t - positions) ** 2 - half_log_2pi, np.log(prior[order]), breaks
    )


def _bends(positions: np.ndarray) -> np.ndarray:
    """Each mean, in order, and half-way between neighbours: the integrand bends there."""
    return np.concatenate([positions, (positions[1:] + positions[:-1]) / 2])


def _quadrature(
    log_densities: Callable[[float], np.ndarray],
    log_prior: np.ndarray,
    breaks: np.ndarray | list[float],
) -> tuple[float, float]:
    """Mutual information of a scalar input, piece by piece between `breaks`, with its bound."""

    def integrand(t: float) -> float:
        log_density = log_densities(t)
        log_joint = log_prior + log_density
        return float(np.exp(log_joint) @ (log_density - np.logaddexp.reduce(log_joint)))

    value = error = 0.0
    for a, b in pairwise(np.unique(breaks)):
        part, part_error = quad(integrand, a, b, epsabs=1e-14, epsrel=1e-12, limit=200)
        value += part
        error += part_error
    return value, error


def _prior_or_uniform(prior: PriorLike | None, classes: int) -> Tensor:
    if prior is None:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    return as_prior(prior, classes=classes, like=torch.empty(0, dtype=torch.float64))


class StudentTClasses(LabelledTask):
    r"""Labels from a prior, inputs from one multivariate Student t a class: heavy tails.

    .. math::
        X = \mu_Y + Z \sqrt{\nu / W}, \qquad Z \sim \mathcal{N}(0, I_d), \quad W \sim \chi^2_\nu,
        \qquad
        \log p(x|k) = c - \frac{\nu + d}{2} \log \Bigl(1 + \frac{\|x - \mu_k\|^2}{\nu}\Bigr)

    with :math:`c` common to the classes (Kotz and Nadarajah 2004). The coordinates
    are uncorrelated but dependent: they share :math:`W`.

    Args:
        means: :math:`\mu`, shape (classes, dimensions).
        prior: :math:`\pi`, shape (classes,).
        degrees_of_freedom: :math:`\nu`; variances exist above 2, means above 1. Below 0.5 a draw
            might overflow float32.

    Raises:
        ValueError: Non-finite or ill-shaped means, a prior that is no distribution, or degrees of
            freedom below 0.5 or not finite.

    Example:
        >>> task = StudentTClasses([[-1.0], [1.0]], [0.5, 0.5])
        >>> round(task.mutual_information().value, 4)
        0.2343

    """

    def __init__(
        self, means: Tensor | list, prior: PriorLike, degrees_of_freedom: float | int = 3.0
    ) -> None:
        self.means = _as_means(means)
        self.prior = as_prior(prior, classes=self.means.shape[0], like=self.means)
        if not 0.5 <= degrees_of_freedom < math.inf:
            raise ValueError(
                f"degrees_of_freedom must be finite and at least 0.5, got {degrees_of_freedom}"
            )
        self.degrees_of_freedom = float(degrees_of_freedom)

    @property
    def _columns(self) -> int:
        return self.means.shape[1]

    def _sample_given(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(len(y), self._columns, generator=generator, dtype=torch.float64)
        # By inversion: torch's gamma sampler takes no generator. From the upper tail, so that the
        # 0 which `rand` may return gives an infinite chi-square and not a division by zero.
        uniform = torch.rand(len(y), generator=generator, dtype=torch.float64)
        half = self.degrees_of_freedom / 2
        chi_square = torch.from_numpy(2 * gammainccinv(half, uniform.numpy()))
        scale = (self.degrees_of_freedom / chi_square).sqrt()
        return (self.means[y] + noise * scale[:, None]).float()

    def log_likelihoods(
        self, x: Float[Tensor, "samples columns"]
    ) -> Float[Tensor, "samples classes"]:
        r"""Log-likelihood of each class up to a common constant: :math:`\log p(x|k) - c`.

        These are the ideal logits of a prior-corrected network.
        """
        self._check_inputs(x)
        # Not by the expansion of the square, which far out in the tails would lose all digits.
        distance = torch.cdist(
            x.to(torch.float64), self.means, compute_mode="donot_use_mm_for_euclid_dist"
        )
        nu = self.degrees_of_freedom
        return -(nu + self._columns) / 2 * (distance.square() / nu).log1p()

    def mutual_information(
        self, *, samples: int = 1_000_000, seed: int = 0
    ) -> KnownMutualInformation:
        r"""True :math:`I(X;Y)` in nats.

        In one dimension by adaptive quadrature over the whole line, otherwise a seeded Monte-Carlo
        mean of the exact pointwise values, with its standard error. (Means on a line do not help,
        unlike for Gaussians: the distance from the line still tells of :math:`W`.)

        Args:
            samples: Monte-Carlo samples, where they are needed.
            seed: Seed of those samples; the global generator is not touched.

        """
        possible = self.means[self.prior > 0]
        if bool((possible == possible[0]).all()):
            return KnownMutualInformation(0.0, 0.0, "exact")
        if self._columns > 1:
            return super().mutual_information(samples=samples, seed=seed)
        positions, order = possible[:, 0].sort()
        log_prior = self.prior[self.prior > 0][order].log().numpy()
        positions, nu = positions.numpy(), self.degrees_of_freedom  # type: ignore[assignment]
        log_c = _log_gamma_step(nu / 2) - 0.5 * math.log(nu * math.pi)
        middles = (positions[1:] + positions[:-1]) / 2
        ends = np.concatenate([[-math.inf], middles, [math.inf]])
        # A break at each power of ten, on either side of each mean: quad would not find the mean
        # in a long interval, nor the tail beside it.
        decades = 10.0 ** np.arange(2 + math.ceil(math.log10(positions[-1] - positions[0] + 1)))
        value = error = 0.0
        for centre, low, high in zip(positions, ends[:-1], ends[1:], strict=True):
            away = positions - centre  # about the nearest mean, where t keeps its digits
            breaks = np.array([-math.inf, *-decades, 0.0, *decades, math.inf])
            part, part_error = _quadrature(
                lambda t, away=away: log_c - (nu + 1) / 2 * np.log1p((t - away) ** 2 / nu),  # type: ignore[misc]
                log_prior,
                breaks.clip(low - centre, high - centre),
            )
            value, error = value + part, error + part_error
        return KnownMutualInformation(value, error, "quadrature")


def _log_gamma_step(a: float) -> float:
    """Log of Gamma(a + 1/2) / Gamma(a), without the difference of two large logarithms."""
    if a < 50:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    # The series of Tricomi and Erdélyi (1951): from a = 50 on the next term is below 1e-17.
    b = 1 / a
    return 0.5 * math.log(a) - b / 8 + b**3 / 192 - b**5 / 640 + 17 * b**7 / 14336


class Rings(LabelledTask):
    r"""Concentric rings in the plane: the classes share their mean and differ in radius alone.

    .. math::
        X = R\,(\cos A, \sin A), \qquad R \mid Y = k \sim \mathcal{N}(r_k, \sigma^2),
        \quad A \sim \mathcal{U}(0, 2\pi), \qquad r_k = s\,(k + 1)

    The angle tells nothing, and of the signed radius only :math:`\rho = |R| = \|X\|` is seen; it
    follows a folded normal distribution (Leone et al. 1961), and :math:`I(X;Y) = I(\rho;Y)`.

    Args:
        classes: Number of rings.
        prior: :math:`\pi`, shape (classes,); None is uniform.
        spacing: :math:`s`, the distance of neighbouring rings.
        noise: :math:`\sigma`.
        extra: Columns of standard normal noise that follow the two and tell nothing.

    Raises:
        ValueError: Fewer than one class, a prior that is no distribution over the classes, a
            spacing or noise that is not positive and finite, or negative `extra`.

    Example:
        >>> task = Rings(3, spacing=2.0, noise=0.5, extra=10)
        >>> round(task.mutual_information().value, 4)
        1.018
        >>> task.sample(5)[0].shape
        torch.Size([5, 12])

    """

    def __init__(
        self,
        classes: int,
        prior: PriorLike | None = None,
        *,
        spacing: float | int = 2.0,
        noise: float | int = 0.5,
        extra: int = 0,
    ) -> None:
        if classes < 1 or extra < 0:
            raise ValueError(
                f"need at least one class and extra >= 0, got classes={classes}, extra={extra}"
            )
        if not (0 < spacing < math.inf and 0 < noise < math.inf):
            raise ValueError(
                f"spacing and noise must be positive and finite, got {spacing} and {noise}"
            )
        self.prior = _prior_or_uniform(prior, classes)
        self.radii = spacing * torch.arange(1, classes + 1, dtype=torch.float64)
        self.noise, self.extra = float(noise), extra

    @property
    def _columns(self) -> int:
        return 2 + self.extra

    def _sample_given(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        normal = torch.randn(len(y), 1 + self.extra, generator=generator, dtype=torch.float64)
        angle = 2 * math.pi * torch.rand(len(y), generator=generator, dtype=torch.float64)
        radius = self.radii[y] + self.noise * normal[:, 0]
        plane = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        return torch.cat([plane, normal[:, 1:]], dim=1).float()

    def log_likelihoods(
        self, x: Float[Tensor, "samples columns"]
    ) -> Float[Tensor, "samples classes"]:
        r"""Log-likelihood of each class up to a term of x alone.

        .. math:: -\frac{(\rho - r_k)^2}{2 \sigma^2} + \log(1 + e^{-2 \rho r_k / \sigma^2})

        These are the ideal logits of a prior-corrected network.
        """
        self._check_inputs(x)
        rho = x[:, :2].to(torch.float64).norm(dim=1, keepdim=True)
        folded = softplus(-2 / self.noise**2 * rho * self.radii)
        return -0.5 * ((rho - self.radii) / self.noise).square() + folded

    def mutual_information(
        self, *, samples: int = 1_000_000, seed: int = 0
    ) -> KnownMutualInformation:
        r"""True :math:`I(X;Y) = I(\rho;Y)` in nats, by adaptive quadrature.

        `samples` and `seed` are those of other tasks, and not needed here.
        """
        possible = self.prior > 0
        if int(possible.sum()) == 1:
            return KnownMutualInformation(0.0, 0.0, "exact")
        radii, sigma = self.radii[possible].numpy(), self.noise
        log_c = -math.log(sigma) - 0.5 * math.log(2 * math.pi)
        # Tails beyond ten standard deviations hold less than 1e-22 of the mass.
        breaks = [0.0, *_bends(radii), *(radii - 10 * sigma), *(radii + 10 * sigma)]

        def log_folded(t: float) -> np.ndarray:
            inner, outer = (t - radii) / sigma, (t + radii) / sigma
            return log_c + np.logaddexp(-0.5 * inner**2, -0.5 * outer**2)

        log_prior = self.prior[possible].log().numpy()
        value, error = _quadrature(log_folded, log_prior, [b for b in breaks if b >= 0])
        return KnownMutualInformation(value, error, "quadrature")


class NoisyXor(LabelledTask):
    r"""Parity of the signs of noisy coordinates: any one coordinate left out, nothing is known.

    .. math::
        X_j = S_j + \sigma Z_j, \qquad S_j \sim \mathcal{U}\{-1, 1\}, \quad
        Z_j \sim \mathcal{N}(0, 1), \qquad Y = \tfrac12 \Bigl(1 - \prod_{j=1}^d S_j\Bigr)

    Given x the signs are independent with mean :math:`\tanh(x_j / \sigma^2)`, hence
    :math:`p(Y = 0 \mid x) = \frac12 (1 + \prod_j \tanh(x_j / \sigma^2))`: the parity check of
    low-density codes (Gallager 1962, lemma 1).

    Args:
        dimensions: :math:`d`, the informative columns.
        noise: :math:`\sigma`.
        extra: Columns of standard normal noise that follow them and tell nothing.

    Raises:
        ValueError: Fewer than one dimension, noise that is not positive and finite, or negative
            `extra`.

    Example:
        >>> round(NoisyXor(dimensions=2, noise=0.5).mutual_information().value, 4)
        0.5789

    """

    def __init__(self, dimensions: int = 2, noise: float | int = 0.5, extra: int = 0) -> None:
        if dimensions < 1 or extra < 0 or not 0 < noise < math.inf:
            raise ValueError(
                f"need dimensions >= 1, extra >= 0 and a positive, finite noise, got "
                f"dimensions={dimensions}, extra={extra}, noise={noise}"
            )
        self.dimensions, self.noise, self.extra = dimensions, float(noise), extra
        self.prior = _prior_or_uniform(None, 2)

    @property
    def _columns(self) -> int:
        return self.dimensions + self.extra

    def _sample_given(self, y: Tensor, generator: torch.Generator | None) -> Tensor:
        normal = torch.randn(len(y), self._columns, generator=generator, dtype=torch.float64)
        bits = torch.randint(2, (len(y), self.dimensions - 1), generator=generator)
        last = (y + bits.sum(1)) % 2  # the signs but one are free, the last makes the parity
        signs = 1.0 - 2.0 * torch.cat([bits, last[:, None]], dim=1)
        informative = signs + self.noise * normal[:, : self.dimensions]
        return torch.cat([informative, normal[:, self.dimensions :]], dim=1).float()

    def log_likelihoods(self, x: Float[Tensor, "samples columns"]) -> Float[Tensor, "samples 2"]:
        r"""Log-likelihood of even and odd parity up to a term of x alone: log posteriors here.

        These are the ideal logits of a prior-corrected network.
        """
        self._check_inputs(x)
        # The product of tanh rounds to one where the odds still have digits: in log-odds instead,
        # 2 atanh(tanh(a/2) tanh(b/2)) = sign(ab) min(|a|, |b|) + log1p(...) - log1p(...).
        odds = 2 / self.noise**2 * x[:, : self.dimensions].to(torch.float64)
        total = odds[:, 0]
        for other in odds[:, 1:].unbind(1):
            total = (
                total.sign() * other.sign() * torch.minimum(total.abs(), other.abs())
                + (-(total + other).abs()).exp().log1p()
                - (-(total - other).abs()).exp().log1p()
            )
        return torch.stack([logsigmoid(total), logsigmoid(-total)], dim=1)

    def mutual_information(
        self, *, samples: int = 1_000_000, seed: int = 0
    ) -> KnownMutualInformation:
        r"""True :math:`I(X;Y)` in nats, by quadrature in any number of dimensions.

        With :math:`P = \prod_j T_j`, :math:`T_j = \tanh(X_j / \sigma^2)`, the conditional entropy
        is that of a coin of bias :math:`P`, and its series takes the dimensions apart:

        .. math::
            I(X;Y) = \mathbb{E} \sum_{i \ge 1} \frac{P^{2i}}{2i(2i - 1)}
                   = \sum_{i \ge 1} \frac{(\mathbb{E}\, T^{2i})^d}{2i(2i - 1)}

        The moments are one-dimensional integrals. A thousand terms are summed, the rest by the
        Euler-Maclaurin formula. The standard error is the change from halving the step, plus
        rounding.
        """
        fine, coarse = (_xor_information(self.dimensions, self.noise, n) for n in (100, 50))
        return KnownMutualInformation(fine, abs(fine - coarse) + 1e-15, "quadrature")


def _xor_information(dimensions: int, noise: float, panels: int) -> float:
    # T is a function of a = x / noise^2, by symmetry normal about 1 / noise^2 (sign +1), and
    # |T| = 1 to within e^-80 above a = 40, whatever even power of it is met below.
    mean, sd = noise**-2, 1 / noise
    end = min(40.0, mean + 12 * sd)
    a, weight = _gauss_legendre(0.0, end, panels)
    density = np.exp(-0.5 * ((a - mean) / sd) ** 2) + np.exp(-0.5 * ((a + mean) / sd) ** 2)
    mass = weight * density / (sd * math.sqrt(2 * math.pi))
    beyond = 0.5 * math.erfc((end - mean) / (sd * math.sqrt(2)))
    log_t = np.log1p(-np.exp(-2 * a)) - np.log1p(np.exp(-2 * a))  # tanh itself rounds to 1

    def term(i: np.ndarray) -> np.ndarray:
        moment = np.exp(2 * i[:, None] * log_t) @ mass + beyond
        return moment**dimensions / (2 * i * (2 * i - 1))

    head = np.arange(1.0, 1002.0)
    terms = term(head)
    # sum_{i > N} f(i) = int_{N + 1/2}^inf f + f'(N + 1/2) / 24 + O(N^-5), here in log i; beyond
    # e^37 no more than 1e-17 is left.
    log_i, weight = _gauss_legendre(math.log(1000.5), 37.0, panels)
    i = np.exp(log_i)
    rest = weight @ (i * term(i)) + (terms[1000] - terms[999]) / 24
    return float(terms[:1000].sum() + rest)


def _gauss_legendre(a: float, b: float, panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the composite 16-point rule."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    half = (b - a) / panels / 2
    centres = a + half * (2 * np.arange(panels) + 1)
    return (centres[:, None] + half * nodes).ravel(), np.tile(half * weights, panels)


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


class LabelNoise:
    r"""A channel that turns a clean label into a noisy one, whatever the input.

    .. math:: W_{kj} = p(\tilde Y = j \mid Y = k), \qquad X \to Y \to \tilde Y

    On real data nobody knows :math:`I(X;Y)`, but labels sent through a known channel have a known
    :math:`I(Y;\tilde Y)`, and :math:`I(X;\tilde Y)` is at most that (data processing), equal if
    the input determines the clean label, and nearly so if it nearly does: see :meth:`bounds`.

    Args:
        transition: :math:`W`, shape (classes, noisy classes), rows that are distributions.
        prior: :math:`\pi` of the clean label, shape (classes,).

    Raises:
        ValueError: A row or a prior that is no distribution, or shapes that do not match.

    Example:
        >>> noise = LabelNoise.symmetric(10, 0.2)
        >>> round(noise.mutual_information().value, 4)
        1.3627
        >>> low, high = noise.bounds(0.01)
        >>> round(low, 4), round(high, 4)
        (1.3351, 1.3627)

    """

    def __init__(self, transition: Tensor | list, prior: PriorLike) -> None:
        self.transition = _as_channel(transition, name="transition")
        self.prior = as_prior(prior, classes=len(self.transition), like=self.transition)

    @classmethod
    def symmetric(
        cls, classes: int, rate: float | int, prior: PriorLike | None = None
    ) -> "LabelNoise":
        r"""A label is kept with probability :math:`1 - r`, else any other is taken alike.

        .. math:: W_{kk} = 1 - r, \qquad W_{kj} = \frac{r}{M - 1} \quad (j \ne k)

        Args:
            classes: :math:`M`, at least 2.
            rate: :math:`r`, in [0, 1]; at :math:`1 - 1/M` the noisy label tells nothing.
            prior: Shape (classes,); None is uniform.

        Raises:
            ValueError: Fewer than two classes, a rate outside [0, 1], or a prior that is no
                distribution over the classes.

        """
        if classes < 2 or not 0 <= rate <= 1:
            raise ValueError(
                f"need classes >= 2 and a rate in [0, 1], got classes={classes}, rate={rate}"
            )
        transition = torch.full((classes, classes), rate / (classes - 1), dtype=torch.float64)
        transition.fill_diagonal_(1 - rate)
        return cls(transition, _prior_or_uniform(prior, classes))

    @property
    def classes(self) -> int:
        """Number of clean classes."""
        return self.prior.numel()

    @property
    def joint(self) -> DiscreteJoint:
        r"""Table of :math:`p(y, \tilde y)`: the clean label is its input, the noisy one its class.

        Its `prior` is that of the noisy label.
        """
        return DiscreteJoint(self.prior[:, None] * self.transition)

    def apply(
        self, y: Int[Tensor, " samples"], generator: torch.Generator | None = None
    ) -> Int[Tensor, " samples"]:
        """Draw a noisy label for each clean one; int64.

        Raises:
            TypeError: Labels that are not integers.
            ValueError: Labels outside [0, classes), or not in one dimension.

        """
        if y.is_floating_point() or y.dtype == torch.bool:
            raise TypeError(f"y must be integer class indices, got {describe(y)}")
        if y.ndim != 1 or (y.numel() and not 0 <= int(y.min()) <= int(y.max()) < self.classes):
            raise ValueError(
                f"y must be one-dimensional with values in [0, {self.classes}), got {describe(y)}"
                + (f", values from {y.min()} to {y.max()}" if y.numel() else "")
            )
        if not y.numel():
            return y.long()
        rows = self.transition[y.long()]
        return torch.multinomial(rows, 1, generator=generator)[:, 0]

    def mutual_information(self) -> KnownMutualInformation:
        r""":math:`I(Y;\tilde Y)` in nats, exact up to rounding."""
        return self.joint.mutual_information()

    def bounds(
        self,
        error_rate: float | int | None = None,
        *,
        confusion: Tensor | list | None = None,
    ) -> tuple[float, float]:
        r"""Lower and upper bound of :math:`I(X;\tilde Y)` in nats, for inputs that tell of Y.

        The upper one is :math:`I(Y;\tilde Y)`. The lower one follows from how well some classifier
        :math:`\hat Y = g(X)` finds the *clean* label; give its error rate or, better, its
        confusion matrix. What is estimated from a sample makes the bound an estimate too.

        **From the confusion matrix**, :math:`I(X;\tilde Y) \ge I(\hat Y;\tilde Y)`. Proof: data
        processing along :math:`\tilde Y \to X \to \hat Y`; and as :math:`\hat Y` and
        :math:`\tilde Y` are independent given Y, their joint table is
        :math:`\sum_k \pi_k C_{ki} W_{kj}`.

        **From the error rate** :math:`e`, with :math:`\phi(t) = -t \log t - (1-t) \log(1-t) +
        t \log(M-1)` up to its maximum :math:`\log M` at :math:`1 - 1/M`, constant beyond, and
        :math:`\eta = \max_{k,l} \frac12 \sum_j |W_{kj} - W_{lj}|`,

        .. math:: I(Y;\tilde Y) - I(X;\tilde Y) = I(Y;\tilde Y \mid X) \le \eta\, H(Y \mid X)
            \le \eta\, \phi(e) .

        Proof: the chain rule along :math:`X \to Y \to \tilde Y`; the channel contracts information
        by Dobrushin's :math:`\eta` (Polyanskiy and Wu 2017), applied to :math:`Y \to Y \to
        \tilde Y` given each x; Fano's inequality.

        For a symmetric channel of rate :math:`r \le 1 - 1/M` this sharpens to
        :math:`\phi(e \circ r) - \phi(r)` with :math:`e \circ r = e + r - e r M/(M-1)`, the error
        of both in a row. Proof: :math:`I(Y;\tilde Y|X=x) = H(\tilde Y|x) - \phi(r)`, and Fano's
        inequality for :math:`\tilde Y` given :math:`\hat Y`, wrong with probability
        :math:`e \circ r`, bounds :math:`H(\tilde Y|X) \le H(\tilde Y|\hat Y)`.

        The bound from a classifier's confusion matrix is never below that from its error rate.
        Proof: :math:`I(Y;\tilde Y) - I(\hat Y;\tilde Y) = I(Y;\tilde Y|\hat Y)`, and both proofs
        above hold with :math:`\hat Y` for X.

        Args:
            error_rate: Probability that the best classifier errs, or an upper bound on it, such as
                the error rate of any classifier.
            confusion: :math:`C_{ki} = p(\hat Y = i \mid Y = k)`, shape (classes, predictions).

        Raises:
            ValueError: Not exactly one of the two, an error rate outside [0, 1], or a confusion
                matrix without a distribution for each clean class.

        """
        if (error_rate is None) == (confusion is None):
            raise ValueError(
                f"give either error_rate or confusion, got {error_rate} and {confusion}"
            )
        high = self.mutual_information().value
        if confusion is not None:
            table = _as_channel(confusion, name="confusion")
            if len(table) != self.classes:
                raise ValueError(
                    f"confusion must have a row for each of {self.classes} classes, got "
                    f"{describe(table)}"
                )
            joint = DiscreteJoint((self.prior[:, None] * table).T @ self.transition)
            return min(high, joint.mutual_information().value), high
        assert error_rate is not None
        if not 0 <= error_rate <= 1:
            raise ValueError(f"error_rate must lie in [0, 1], got {error_rate}")
        classes, rate = self.classes, self._symmetric_rate()
        if rate is None:
            loss = self._contraction() * _fano(float(error_rate), classes)
        else:
            error = min(error_rate, 1 - 1 / classes)
            both = error + rate - error * rate * classes / (classes - 1)
            loss = _fano(both, classes) - _fano(rate, classes)
        return min(high, max(0.0, high - loss)), high

    def _contraction(self) -> float:
        """Dobrushin's coefficient: the largest total variation between two rows."""
        return float(torch.cdist(self.transition, self.transition, p=1).max()) / 2

    def _symmetric_rate(self) -> float | None:
        """Rate of a symmetric channel that errs no more than by chance; None for any other."""
        classes = self.classes
        if classes < 2 or self.transition.shape != (classes, classes):
            return None
        rate = 1 - float(self.transition.diagonal().mean())
        expected = torch.full_like(self.transition, rate / (classes - 1)).fill_diagonal_(1 - rate)
        # A tolerance for rounding only: the sharper bound assumes the symmetry.
        close = torch.allclose(self.transition, expected, rtol=0, atol=1e-12)
        return max(0.0, rate) if close and rate <= 1 - 1 / classes else None


def _as_channel(rows: Tensor | list, *, name: str) -> Tensor:
    rows = torch.as_tensor(rows, dtype=torch.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} must have shape (classes, outputs), got {describe(rows)}")
    sums = rows.sum(1)
    # Rows divided by their sum in float32 miss one by some of its roundings.
    if not torch.isfinite(rows).all() or (rows < 0).any() or (sums - 1).abs().max() > 1e-6:
        raise ValueError(
            f"each row of {name} must be non-negative and sum to 1, got sums {sums.tolist()} and "
            f"a smallest entry {float(rows.min())}"
        )
    return rows


def _fano(error: float, classes: int) -> float:
    """Largest conditional entropy of a label that is guessed with this error, in nats."""
    error = min(error, 1 - 1 / classes)
    if error <= 0:
        return 0.0
    return -error * math.log(error / (classes - 1)) - (1 - error) * math.log1p(-error)
