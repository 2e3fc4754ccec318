"""Quadrature for the information of tasks that have no closed form."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.integrate import quad


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


def _log_gamma_step(a: float) -> float:
    """Log of Gamma(a + 1/2) / Gamma(a), without the difference of two large logarithms."""
    if a < 50:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    # The series of Tricomi and Erdélyi (1951): from a = 50 on the next term is below 1e-17.
    b = 1 / a
    return 0.5 * math.log(a) - b / 8 + b**3 / 192 - b**5 / 640 + 17 * b**7 / 14336


def _gauss_legendre(a: float, b: float, panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the composite 16-point rule."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    half = (b - a) / panels / 2
    centres = a + half * (2 * np.arange(panels) + 1)
    return (centres[:, None] + half * nodes).ravel(), np.tile(half * weights, panels)
