"""Label noise: capacities, samples, bounds about exact information."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from slow_reference import EPS

from softmi import DiscreteJoint, entropy
from softmi.synthetic import (
    LabelNoise,
    long_tailed_prior,
)

# --- Label noise ------------------------------------------------------------------------------


def random_channel(rng: np.random.Generator, rows: int, columns: int, spread: float) -> list:
    return rng.dirichlet(np.full(columns, spread), rows).tolist()


@pytest.mark.parametrize(("classes", "rate"), [(2, 0.11), (10, 0.2), (10, 0.4), (100, 0.6)])
def test_symmetric_noise_has_the_capacity_of_its_channel(classes, rate):
    noise = LabelNoise.symmetric(classes, rate)
    kept = scipy.stats.entropy([rate, 1 - rate]) + rate * math.log(classes - 1)
    known = noise.mutual_information()
    # A sum over M^2 cells and two over M, of terms below one: rounding of a few eps each.
    assert known.value == pytest.approx(math.log(classes) - kept, abs=64 * EPS)
    assert known.method == "exact"
    assert noise.classes == classes
    torch.testing.assert_close(noise.joint.prior, noise.prior)  # uniform stays uniform


def test_no_noise_keeps_the_label_entropy_and_full_noise_nothing():
    prior = long_tailed_prior(10)
    clean = LabelNoise.symmetric(10, 0, prior)
    assert clean.mutual_information().value == pytest.approx(entropy(prior).item(), abs=1e-14)
    full = LabelNoise.symmetric(10, 0.9, prior)
    assert full.mutual_information().value == pytest.approx(0, abs=1e-14)


def test_noisy_labels_follow_the_channel_and_the_generator():
    rng = np.random.default_rng(0)
    noise = LabelNoise(random_channel(rng, 3, 4, 1.0), [0.2, 0.3, 0.5])
    y = torch.arange(3).repeat_interleave(20_000)
    before = torch.get_rng_state()
    a, b, c = (noise.apply(y, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert (a.dtype, a.shape) == (torch.int64, y.shape)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    found = torch.bincount(4 * y + a, minlength=12).double().reshape(3, 4) / 20_000
    error = (noise.transition * (1 - noise.transition) / 20_000).sqrt()
    assert ((found - noise.transition).abs() <= 4 * error).all()
    assert torch.equal(LabelNoise.symmetric(3, 0.0).apply(y), y)
    assert noise.apply(y[:0]).shape == (0,)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("informative", [0.03, 0.3, 3.0])
def test_bounds_hold_about_the_exact_information_of_random_inputs(symmetric, informative):
    """A discrete X with any posterior: I(X; noisy Y) is a table's, exact."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        classes, inputs = int(rng.integers(2, 6)), int(rng.integers(2, 9))
        posterior = rng.dirichlet(np.full(classes, informative), inputs)
        table = torch.from_numpy(rng.dirichlet(np.ones(inputs))[:, None] * posterior)
        prior = table.sum(0)
        noise = (
            LabelNoise.symmetric(classes, float(rng.uniform()), prior)
            if symmetric
            else LabelNoise(random_channel(rng, classes, int(rng.integers(2, 6)), 1.0), prior)
        )
        exact = DiscreteJoint(table @ noise.transition).mutual_information().value
        guess = table.argmax(1)
        error = min(1.0, max(0.0, 1 - table.amax(1).sum().item()))
        joint = torch.zeros(classes, classes).double().index_add_(1, guess, table.T.contiguous())
        confusion = joint / prior[:, None]
        high = noise.mutual_information().value
        from_error, from_confusion = noise.bounds(error), noise.bounds(confusion=confusion)
        assert from_error[1] == from_confusion[1] == high
        rounding = 1e-14  # entropies below 2 nats of tables of 72 cells at most
        assert 0 <= from_error[0] <= from_confusion[0] + rounding
        assert from_confusion[0] <= exact + rounding
        assert exact <= high + rounding
        # Never worse than subtracting what Fano says of H(Y|X), and monotone in the error.
        fano = scipy.stats.entropy([error, 1 - error]) + error * math.log(classes - 1)
        assert from_error[0] >= high - fano - rounding
        assert noise.bounds(min(1.0, error + 0.1))[0] <= from_error[0] + rounding


@pytest.mark.parametrize("error", [0.0, 0.05, 0.3, 0.75])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.6])
def test_error_bound_is_attained_by_a_symmetrically_corrupted_copy(rate, error):
    noise, copy = LabelNoise.symmetric(4, rate), LabelNoise.symmetric(4, error)
    exact = DiscreteJoint(copy.joint.table.T @ noise.transition).mutual_information().value
    assert noise.bounds(error)[0] == pytest.approx(exact, abs=1e-14)
    assert noise.bounds(confusion=copy.transition)[0] == pytest.approx(exact, abs=1e-14)


def test_an_input_that_determines_the_label_closes_the_bounds():
    rng = np.random.default_rng(3)
    noise = LabelNoise(random_channel(rng, 4, 4, 0.5), long_tailed_prior(4))
    for low, high in (noise.bounds(0), noise.bounds(confusion=torch.eye(4))):
        assert low == pytest.approx(high, abs=1e-14)
    # So do permuted predictions: only information counts.
    low, high = noise.bounds(confusion=torch.eye(4)[[2, 0, 3, 1]])
    assert low == pytest.approx(high, abs=1e-14)


def test_a_channel_of_equal_rows_tells_nothing_and_its_bounds_say_so():
    noise = LabelNoise([[0.2, 0.8]] * 3, [0.1, 0.3, 0.6])
    assert noise.bounds(0.4) == pytest.approx((0.0, 0.0), abs=1e-15)


def test_channel_contraction_beats_fano_where_the_channel_is_noisy():
    noise = LabelNoise([[0.6, 0.4], [0.3, 0.7]], [0.5, 0.5])
    low, high = noise.bounds(0.02)
    fano = scipy.stats.entropy([0.02, 0.98])
    assert low == pytest.approx(high - 0.3 * fano, abs=1e-15)  # rows 0.3 apart
    assert high - fano < 0 < low


# --- Hostile input to them --------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
def test_labels_that_are_no_indices_are_refused():
    with pytest.raises(TypeError, match=r"integer class indices, got .*float32"):
        LabelNoise.symmetric(3, 0.1).apply(torch.tensor([0.0]))


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelNoise([0.5, 0.5], [1.0]), r"transition must have shape .*\(2,\)"),
        (lambda: LabelNoise([[0.5, 0.6]], [1.0]), r"row of transition .* sums \[1\.1\]"),
        (lambda: LabelNoise([[1.5, -0.5]], [1.0]), "smallest entry -0.5"),
        (lambda: LabelNoise([[math.nan, 1.0]], [1.0]), r"transition must be finite.* is nan"),
        (lambda: LabelNoise([[0.5, 0.5]], [0.5, 0.5]), "2 entries, but there are 1 classes"),
        (lambda: LabelNoise.symmetric(1, 0.1), "classes=1, rate=0.1"),
        (lambda: LabelNoise.symmetric(3, 1.1), "classes=3, rate=1.1"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(), "error_rate or confusion, got None"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(-0.1), r"lie in \[0, 1\], got -0.1"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(math.nan), r"lie in \[0, 1\], got nan"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(confusion=[[1.0]] * 2), "each of 3 classes"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(confusion=[[9.0]] * 3), "row of confusion"),
        (lambda: LabelNoise.symmetric(3, 0.1).apply(torch.tensor([0, 3])), "values from 0 to 3"),
        (lambda: LabelNoise.symmetric(3, 0.1).apply(torch.tensor([-1])), "values from -1 to -1"),
        (lambda: LabelNoise.symmetric(3, 0.1).apply(torch.tensor([[0]])), r"shape \(1, 1\)"),
    ],
)  # fmt: skip
def test_bad_requests_to_label_noise_are_refused_with_what_came_in(make, message):
    with pytest.raises(ValueError, match=message):
        make()
