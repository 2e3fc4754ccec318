"""Parity of noisy bits, which no single feature tells."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from softmi.synthetic._quadrature import _gauss_legendre
from softmi.synthetic.task import KnownMutualInformation, LabelledTask, _prior_or_uniform


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
                "need dimensions >= 1, extra >= 0 and a positive, finite noise, got "
                f"{dimensions=}, {extra=}, {noise=}"
            )
        self.dimensions, self.noise, self.extra = dimensions, float(noise), extra
        self._columns = dimensions + extra
        self.prior = _prior_or_uniform(None, 2)

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
