"""One multivariate Student t a class: heavy tails."""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import gammainccinv
from torch import Tensor

from softmi._checks import PriorLike, as_prior
from softmi.synthetic._quadrature import _log_gamma_step, _quadrature
from softmi.synthetic.task import KnownMutualInformation, LabelledTask, _table


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
        self.means = _table(means, "means", "(classes, dimensions)")
        classes, self._columns = self.means.shape
        self.prior = as_prior(prior, classes=classes, like=self.means)
        if not 0.5 <= degrees_of_freedom < math.inf:
            raise ValueError(
                f"degrees_of_freedom must be finite and at least 0.5, got {degrees_of_freedom}"
            )
        self.degrees_of_freedom = float(degrees_of_freedom)

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
