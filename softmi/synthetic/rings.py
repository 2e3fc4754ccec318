"""Classes as concentric rings, which no line separates."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from softmi._checks import PriorLike
from softmi.synthetic._quadrature import _bends, _quadrature
from softmi.synthetic.task import KnownMutualInformation, LabelledTask, _prior_or_uniform


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
            raise ValueError(f"need at least one class and extra >= 0, got {classes=}, {extra=}")
        if not (0 < spacing < math.inf and 0 < noise < math.inf):
            raise ValueError(
                f"spacing and noise must be positive and finite, got {spacing} and {noise}"
            )
        self.prior = _prior_or_uniform(prior, classes)
        self.radii = spacing * torch.arange(1, classes + 1, dtype=torch.float64)
        self.noise, self.extra, self._columns = float(noise), extra, 2 + extra

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
