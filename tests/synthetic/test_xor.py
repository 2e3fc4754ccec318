"""Parity: samples, quadrature, and digits where a product of tanh rounds to one."""

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
    XOR,
    line,
)

from softmi.synthetic import (
    NoisyXor,
)

# --- Tasks in more dimensions, with heavy tails, rings and parity -----------------------------


def test_only_all_signs_together_tell_of_the_parity():
    x, y = XOR.sample(40_000, torch.Generator().manual_seed(0))
    assert x.shape == (40_000, 4)
    sign_of_label = 1.0 - 2 * y.double()
    for columns in itertools.chain.from_iterable(
        itertools.combinations(range(4), n) for n in range(1, 5)
    ):
        product = x[:, list(columns)].double().prod(1) * sign_of_label
        expected = 1.0 if columns == (0, 1, 2) else 0.0
        sem = product.std().item() / math.sqrt(len(product))
        assert product.mean().item() == pytest.approx(expected, abs=4 * sem)
    spread = x[:, :3].double().square()  # 1 + noise^2
    sem = spread.std(0) / math.sqrt(len(x))
    assert ((spread.mean(0) - 1 - XOR.noise**2).abs() <= 4 * sem).all()


# --- Their truth ------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.2, 0.5, 1, 3.0])
def test_parity_of_one_sign_is_two_gaussians(noise):
    known = NoisyXor(1, noise=noise).mutual_information()
    gauss = line([-1 / noise, 1 / noise], [0.5, 0.5]).mutual_information()
    assert known.value == pytest.approx(gauss.value, rel=1e-12)


@pytest.mark.parametrize(("dimensions", "noise", "nodes"), [(2, 0.3, 800), (2, 1.0, 300),
                                                           (3, 0.9, 150)])  # fmt: skip
def test_parity_quadrature_agrees_with_the_integral_over_all_coordinates(dimensions, noise, nodes):
    """The trapezoidal rule converges geometrically for analytic integrands that decay."""
    axis = np.linspace(-1 - 9 * noise, 1 + 9 * noise, nodes)
    grid = np.meshgrid(*[axis] * dimensions, indexing="ij", sparse=True)
    plus = [scipy.stats.norm.pdf(g, 1, noise) for g in grid]
    minus = [scipy.stats.norm.pdf(g, -1, noise) for g in grid]
    even, odd = 1.0, 0.0
    for p, m in zip(plus, minus, strict=True):
        even, odd = (even * p + odd * m) / 2, (even * m + odd * p) / 2
    mixture = even + odd  # of joint densities p(x, y)
    total = scipy.special.rel_entr(2 * even, mixture) + scipy.special.rel_entr(2 * odd, mixture)
    exact = total.sum() / 2 * (axis[1] - axis[0]) ** dimensions
    known = NoisyXor(dimensions, noise=noise).mutual_information()
    assert known.method == "quadrature"
    assert known.value == pytest.approx(exact, abs=1e-11)
    assert known.standard_error < 1e-12


def test_parity_keeps_its_digits_where_the_product_of_tanh_rounds_to_one():
    x = torch.tensor([[3.0, 2.0], [3.0, -2.0], [-3.0, 1e-3]]).double()
    found = NoisyXor(2, noise=0.2).log_likelihoods(x)
    with mp.workdps(200):
        for row, scores in zip(x.tolist(), found.tolist(), strict=True):
            product = mp.fprod(mp.tanh(mp.mpf(v) / mp.mpf(0.2) ** 2) for v in row)
            for sign, score in zip((1, -1), scores, strict=True):
                # Log-odds of up to 100 are sums of terms rounded to eps times that.
                assert score == pytest.approx(float(mp.log((1 + sign * product) / 2)), abs=1e-13)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoisyXor(0), "dimensions=0"),
        (lambda: NoisyXor(2, noise=0), "noise=0"),
        (lambda: NoisyXor(2, extra=-2), "extra=-2"),
        (lambda: XOR.log_likelihoods(torch.zeros(4)), r"\(samples, 4\), got shape \(4,\)"),
    ],
)  # fmt: skip
def test_bad_requests_to_parity_are_refused_with_what_came_in(make, message):
    with pytest.raises(ValueError, match=message):
        make()
