"""One Gaussian a class."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from softmi._checks import PriorLike, as_prior, check_shape
from softmi.synthetic._quadrature import _line_quadrature
from softmi.synthetic.task import KnownMutualInformation, LabelledTask, _prior_or_uniform, _table


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
        self.means = _table(means, "means", "(classes, dimensions)")
        classes, dimensions = self.means.shape
        self._columns = dimensions
        self.prior = as_prior(prior, classes=classes, like=self.means)
        self._cholesky: Tensor | None = None
        if covariance is not None:
            sigma = torch.as_tensor(covariance, dtype=torch.float64)
            match = f" to match means of shape {tuple(self.means.shape)}"
            check_shape(sigma, (dimensions, dimensions), "covariance", match)
            factor, failure = torch.linalg.cholesky_ex(sigma)
            if failure or not torch.allclose(sigma, sigma.T):
                raise ValueError(f"covariance must be symmetric positive definite, got {sigma}")
            self._cholesky = factor

    @classmethod
    def five_on_a_line(cls, dimensions: int, *, balanced: bool = True) -> "GaussianClasses":
        r"""The synthetic task of Qin et al. (2019), from the authors' code.

        Five unit Gaussians with means (0, 2, -2, 4, -4) on every coordinate; prior uniform, or
        (1, 2, 3, 4, 5)/15 in that order.

        Source: qin2019, synthetic data.
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
                "need at least one class and dimension and a finite separation >= 0, got "
                f"{classes=}, {dimensions=}, {separation=}"
            )
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(classes, dimensions, generator=generator, dtype=torch.float64)
        return cls(separation / math.sqrt(dimensions) * z, _prior_or_uniform(prior, classes))

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
        centres = self._whiten(self.means)[self.prior > 0]
        prior = self.prior[self.prior > 0]
        directions = centres - centres[0]
        _, singular, vectors = torch.linalg.svd(directions, full_matrices=False)
        if singular[0] == 0:
            return KnownMutualInformation(0.0, 0.0, "exact")
        if len(singular) == 1 or singular[1] <= 1e-12 * singular[0]:
            value, error = _line_quadrature((directions @ vectors[0]).numpy(), prior.numpy())
            return KnownMutualInformation(value, error, "quadrature")
        return super().mutual_information(samples=samples, seed=seed)
