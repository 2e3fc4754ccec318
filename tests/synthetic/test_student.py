"""Student t classes: samples and quadrature against mpmath and SciPy."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from known_tasks import (
    FOUR_DEVIATIONS,
    STUDENT,
    brute_force_log_densities,
    exact_scalar_information,
    line,
    p_value,
)
from slow_reference import relative_error

from softmi.synthetic import (
    StudentTClasses,
)

# --- Tasks in more dimensions, with heavy tails, rings and parity -----------------------------


@pytest.mark.parametrize("degrees_of_freedom", [0.5, 3.0, 40])
def test_student_samples_have_the_coordinates_and_the_radius_of_the_distribution(
    degrees_of_freedom,
):
    task = StudentTClasses([[1.0, -2.0, 0.0], [5.0, 5.0, 5.0]], [0.5, 0.5], degrees_of_freedom)
    x, _ = task.sample_counts([5000, 0], torch.Generator().manual_seed(0))
    centred = x.double() - task.means[0]
    for j in range(3):
        assert p_value(centred[:, j], scipy.stats.t(degrees_of_freedom)) > FOUR_DEVIATIONS
    # |x - mu|^2 / d has Snedecor's F distribution: the coordinates share their scale.
    square = centred.square().sum(1) / 3
    assert p_value(square, scipy.stats.f(3, degrees_of_freedom)) > FOUR_DEVIATIONS


def test_student_samples_have_the_moments_of_the_distribution():
    task = StudentTClasses([[0.0, 0.0], [3.0, -1.0]], [0.4, 0.6], 9)
    x, y = task.sample(60_000, torch.Generator().manual_seed(1))
    centred = x.double() - task.means[y]
    for values, expected in ((centred, 0.0), (centred.square(), 9 / 7)):
        sem = values.std(0) / math.sqrt(len(values))
        assert ((values.mean(0) - expected).abs() <= 4 * sem).all()


# --- Their truth ------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees_of_freedom", [0.5, 1, 3.0, 90, 110.0, 20_000])
@pytest.mark.parametrize(
    ("positions", "prior"), [([-1.0, 1.0], [0.25, 0.75]), ([3.0, 0.0, 40.0], [0.5, 0.25, 0.25])]
)
def test_student_quadrature_agrees_with_mpmath_to_1e12(positions, prior, degrees_of_freedom):
    known = StudentTClasses([[p] for p in positions], prior, degrees_of_freedom)
    known = known.mutual_information()
    with mp.workdps(20):
        nu = mp.mpf(degrees_of_freedom)
        c = mp.gamma((nu + 1) / 2) / mp.gamma(nu / 2) / mp.sqrt(nu * mp.pi)

        def densities(t):
            return [c * (1 + (t - p) ** 2 / nu) ** (-(nu + 1) / 2) for p in positions]

        ends = sorted(positions)
        middles = [(a + b) / 2 for a, b in itertools.pairwise(ends)]
        outer = [-mp.inf, ends[0] - 20, *[p + 3 for p in ends], ends[-1] + 20, mp.inf]
        points = sorted([*ends, *middles, *outer])
        exact = exact_scalar_information(densities, prior, points)
    assert known.method == "quadrature"
    assert relative_error(known.value, exact) < 1e-12
    assert known.standard_error < 1e-11


def test_many_degrees_of_freedom_are_gaussian():
    student = StudentTClasses([[-1.0], [1.0]], [0.5, 0.5], 1e12).mutual_information()
    gauss = line([-1.0, 1.0], [0.5, 0.5]).mutual_information()
    assert student.value == pytest.approx(gauss.value, abs=1e-11)  # 1/nu, times ten
    heavy = StudentTClasses([[-1.0], [1.0]], [0.5, 0.5], 2).mutual_information()
    assert heavy.value < gauss.value


def test_student_monte_carlo_in_the_plane_agrees_with_the_integral():
    def integral(n: int) -> float:
        # The square (-1, 1)^2 onto the plane by x = u / (1 - u^2): heavy tails and all.
        nodes, weights = np.polynomial.legendre.leggauss(n)
        line_x, line_w = nodes / (1 - nodes**2), weights * (1 + nodes**2) / (1 - nodes**2) ** 2
        x = np.stack(np.meshgrid(line_x, line_x), axis=-1).reshape(-1, 2)
        log_p = brute_force_log_densities(STUDENT, x)
        log_joint = log_p + np.log(STUDENT.prior.numpy())
        pmi = log_p - scipy.special.logsumexp(log_joint, axis=1, keepdims=True)
        return float(np.outer(line_w, line_w).ravel() @ (np.exp(log_joint) * pmi).sum(1))

    exact = integral(200)
    assert exact == pytest.approx(integral(140), abs=1e-6)  # converged
    known = STUDENT.mutual_information(samples=100_000)
    assert known.method == "monte carlo"
    assert 0 < known.standard_error < 0.003
    assert known.value == pytest.approx(exact, abs=4 * known.standard_error)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StudentTClasses([0.0, 1.0], [0.5, 0.5]), r"got shape \(2,\)"),
        (lambda: StudentTClasses([[0.0], [math.inf]], [0.5, 0.5]), r"\(1, 0\) is inf"),
        (lambda: StudentTClasses([[0.0], [1.0]], [0.5, 0.6]), r"got a sum of 1\.1"),
        (lambda: StudentTClasses([[0.0]], [1.0], 0.4), "at least 0.5, got 0.4"),
        (lambda: StudentTClasses([[0.0]], [1.0], math.nan), "at least 0.5, got nan"),
        (lambda: STUDENT.log_likelihoods(torch.zeros(5, 3)), r"2\), got shape \(5, 3\)"),
        (lambda: STUDENT.sample(0), "n must be at least 1, got 0"),
        (lambda: STUDENT.sample_counts([1, 2]), r"3 numbers of samples, got \[1, 2\]"),
    ],
)  # fmt: skip
def test_bad_requests_to_students_are_refused_with_what_came_in(make, message):
    with pytest.raises(ValueError, match=message):
        make()
