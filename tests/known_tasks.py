"""Tasks of known information, and brute-force densities, that several test files share."""

import itertools

import mpmath as mp
import numpy as np
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from softmi import GaussianClasses
from softmi.synthetic import (
    LabelledTask,
    NoisyXor,
    Rings,
    StudentTClasses,
)

IMBALANCED = [k / 15 for k in range(1, 6)]
PAPER_LINE = [0.0, 2.0, -2.0, 4.0, -4.0]


def line(positions: list[float], prior: list[float]) -> GaussianClasses:
    return GaussianClasses([[p] for p in positions], prior)


def rotation(dimensions: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(
        torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)
    ).Q


TRIANGLE = GaussianClasses([[0.0, 0.0], [2.0, 0.0], [0.5, 1.5]], [0.2, 0.3, 0.5])
STUDENT = StudentTClasses([[0.0, 0.0], [2.0, 0.0], [0.5, 1.5]], [0.2, 0.3, 0.5])
RINGS = Rings(3, [0.5, 0.2, 0.3], spacing=1.0, noise=0.6, extra=1)
XOR = NoisyXor(3, noise=0.7, extra=1)


def brute_force_log_densities(task: LabelledTask, x: np.ndarray) -> np.ndarray:
    """SciPy's densities, and a sum over all signs for the parity."""
    if isinstance(task, StudentTClasses):
        df, shape = task.degrees_of_freedom, np.eye(x.shape[1])
        return np.stack(
            [scipy.stats.multivariate_t(m, shape, df).logpdf(x) for m in task.means.numpy()], -1
        )
    if isinstance(task, Rings):
        rho, sigma = np.hypot(x[:, 0], x[:, 1]), task.noise
        columns = [
            scipy.stats.foldnorm(r / sigma, scale=sigma).logpdf(rho) - np.log(2 * np.pi * rho)
            for r in task.radii.tolist()
        ]
        return np.stack(columns, 1) + scipy.stats.norm.logpdf(x[:, 2:]).sum(1, keepdims=True)
    densities = np.zeros((len(x), 2))
    for signs in itertools.product([1, -1], repeat=task.dimensions):
        near = scipy.stats.norm.pdf(x[:, : task.dimensions], signs, task.noise).prod(1)
        densities[:, int(np.prod(signs) < 0)] += near / 2 ** (task.dimensions - 1)
    extra = scipy.stats.norm.logpdf(x[:, task.dimensions :]).sum(1, keepdims=True)
    return np.log(densities) + extra


FOUR_DEVIATIONS = 6.3e-5  # of a normal: the tail probability that no p-value may fall below


def p_value(sample: Tensor, distribution) -> float:
    return scipy.stats.kstest(sample.double().numpy(), distribution.cdf).pvalue


def exact_scalar_information(densities, prior: list[float], points: list) -> mp.mpf:
    """The defining integral of a scalar input, by mpmath, between `points`."""

    def integrand(t):
        p = densities(t)
        mixture = mp.fsum(a * b for a, b in zip(prior, p, strict=True))
        return mp.fsum(a * b * mp.log(b / mixture) for a, b in zip(prior, p, strict=True))

    return mp.quad(integrand, points)
