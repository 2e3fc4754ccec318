"""Rings: samples and quadrature against mpmath and fine tables."""

import math

import mpmath as mp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from known_tasks import FOUR_DEVIATIONS, RINGS, exact_scalar_information, p_value
from slow_reference import relative_error

from softmi import DiscreteJoint
from softmi.synthetic import (
    Rings,
    StudentTClasses,
)

# --- Tasks in more dimensions, with heavy tails, rings and parity -----------------------------


def test_ring_samples_have_folded_radii_even_angles_and_plain_extras():
    task = Rings(2, [0.3, 0.7], spacing=0.5, noise=0.6, extra=2)
    x, y = task.sample(20_000, torch.Generator().manual_seed(0))
    assert x.shape == (20_000, 4)
    rho = x[:, :2].double().norm(dim=1)
    angle = torch.atan2(x[:, 1], x[:, 0])
    for k, radius in enumerate([0.5, 1.0]):
        own = rho[y == k]
        assert p_value(own, scipy.stats.foldnorm(radius / 0.6, scale=0.6)) > FOUR_DEVIATIONS
        even = scipy.stats.uniform(-np.pi, 2 * np.pi)
        assert p_value(angle[y == k], even) > FOUR_DEVIATIONS
        for j in (2, 3):
            assert p_value(x[y == k, j], scipy.stats.norm) > FOUR_DEVIATIONS


# --- Their truth ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacing", "noise"), [(2.0, 0.5), (1.0, 0.8), (0.5, 3.0), (1.0, 0.05)]
)
def test_ring_quadrature_agrees_with_mpmath_to_1e12(spacing, noise):
    prior = [0.5, 0.25, 0.25]
    known = Rings(3, prior, spacing=spacing, noise=noise).mutual_information()
    radii = [spacing * k for k in (1, 2, 3)]
    with mp.workdps(20):

        def densities(t):
            return [mp.npdf(t, r, noise) + mp.npdf(t, -r, noise) for r in radii]

        reach = [mp.mpf(radii[2]) + noise * n for n in (2, 5, 13)]
        inner = [spacing * mp.mpf(n) / 2 for n in range(7)]
        near = [r + s * 4 * noise for r in radii for s in (-1, 1) if r + s * 4 * noise > 0]
        exact = exact_scalar_information(densities, prior, sorted({*inner, *near, *reach}))
    assert known.method == "quadrature"
    assert relative_error(known.value, exact) < 1e-12


def test_ring_information_is_that_of_a_fine_table_of_radii():
    edges = np.linspace(0, 12, 4001)
    cells = [np.diff(scipy.stats.foldnorm(r / 0.6, scale=0.6).cdf(edges)) for r in (1, 2, 3)]
    table = np.stack(cells, 1) * RINGS.prior.numpy()
    binned = DiscreteJoint((table / table.sum()).tolist()).mutual_information().value
    exact = RINGS.mutual_information().value
    # Binning loses what the score varies by within a cell, at most (h r / sigma^2)^2 / 24.
    assert exact - (0.003 * 3 / 0.36) ** 2 / 24 <= binned <= exact + 1e-12


def test_a_ring_or_mean_of_zero_prior_is_ignored():
    known = Rings(3, [0.4, 0.6, 0.0], noise=1.0).mutual_information()
    assert known.value == pytest.approx(
        Rings(2, [0.4, 0.6], noise=1.0).mutual_information().value, rel=1e-12
    )
    known = StudentTClasses([[0.0], [1.0], [2.0]], [0.4, 0.0, 0.6]).mutual_information()
    two = StudentTClasses([[0.0], [2.0]], [0.4, 0.6]).mutual_information()
    assert known.value == pytest.approx(two.value, rel=1e-12)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rings(0), "classes=0"),
        (lambda: Rings(2, extra=-1), "extra=-1"),
        (lambda: Rings(2, noise=0.0), "positive and finite, got 2.0 and 0.0"),
        (lambda: Rings(2, spacing=math.inf), "positive and finite, got inf and 0.5"),
        (lambda: Rings(2, [1.0]), "1 entries, but there are 2 classes"),
        (lambda: RINGS.log_likelihoods(torch.zeros(5, 2)), r"\(samples, 3\), got shape \(5, 2\)"),
    ],
)  # fmt: skip
def test_bad_requests_to_rings_are_refused_with_what_came_in(make, message):
    with pytest.raises(ValueError, match=message):
        make()
