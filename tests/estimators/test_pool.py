"""The pool of classifiers: its convex problem, folds and floors."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from scipy.special import log_softmax
from small_fits import LDA, X, Y

from softmi.estimators._pool import (
    fit_stack,
    kept_weights,
    log_loss,
    pool_weights,
    smoothed_log_prior,
    with_floor,
)
from softmi.estimators._samples import deal


def members_for_a_pool(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An over-confident good member, a weak one, and one that is worse than none."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    truth = np.eye(3)[y]
    pmi = np.stack([
        3 * (truth + 0.7 * rng.standard_normal((n, 3))),
        0.5 * truth + 0.5 * rng.standard_normal((n, 3)),
        -truth + 0.3 * rng.standard_normal((n, 3)),
    ])  # fmt: skip
    return pmi, y, smoothed_log_prior(y, 3)


def pool_objective(w, pmi, y, log_prior) -> float:
    """Total log-loss and the pull to equal weights, per sample."""
    log_q = log_softmax(log_prior + np.tensordot(w, pmi, 1), axis=1)
    pull = 2 * ((np.asarray(w) - 1 / len(w)) ** 2).sum()
    return (pull - log_q[np.arange(len(y)), y].sum()) / len(y)


@pytest.mark.parametrize("seed", range(3))
def test_pool_weights_solve_their_convex_problem(seed):
    case = members_for_a_pool(seed)
    found = pool_weights(*case)
    best = scipy.optimize.minimize(
        pool_objective, np.full(3, 0.5), args=case, method="SLSQP", bounds=[(0, None)] * 3,
        options={"ftol": 1e-13, "maxiter": 500},
    )  # fmt: skip
    assert pool_objective(found, *case) <= best.fun + 1e-7
    # Curvature is 1e-2 at the least (the pull): 1e-7 in value is 5e-3 in weight.
    np.testing.assert_allclose(found, best.x, rtol=0, atol=5e-3)
    assert found[2] == 0
    assert (found >= 0).all()


def test_one_member_is_temperature_scaling():
    pmi, y, log_prior = members_for_a_pool(7)
    (found,) = pool_weights(pmi[:1], y, log_prior)
    grid = np.linspace(0, 2, 4001)
    losses = [pool_objective([w], pmi[:1], y, log_prior) for w in grid]
    # The grid's step is 5e-4; the solver stops at a gradient of 1e-5 where the curvature is > 0.1.
    assert found == pytest.approx(grid[int(np.argmin(losses))], abs=1e-3)
    assert 0.05 < found < 0.95  # over-confident: cooled


def test_members_that_know_nothing_keep_equal_weights():
    _, y, log_prior = members_for_a_pool(1)
    np.testing.assert_array_equal(pool_weights(np.zeros((4, 400, 3)), y, log_prior), 0.25)


@pytest.mark.parametrize("folds", [2, 3, 5, 17])
@pytest.mark.parametrize("seed", range(3))
def test_folds_are_of_equal_size_and_stratified(folds, seed):
    rng = np.random.default_rng(seed)
    y = rng.choice(6, size=203, p=[0.5, 0.3, 0.1, 0.05, 0.03, 0.02])
    fold = deal(y, folds, rng)
    assert sorted(np.unique(fold)) == list(range(folds))
    counts = np.array([np.bincount(fold[y == k], minlength=folds) for k in np.unique(y)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert np.ptp(counts.sum(0)) <= 1
    # Which samples of a class go where is drawn anew each time.
    assert (deal(y, folds, rng) != fold).any()


def test_the_floor_keeps_a_distribution_and_makes_nothing_impossible():
    log_prior = np.log([0.7, 0.2, 0.1])
    with np.errstate(divide="ignore"):
        log_q = np.log([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.7, 0.2, 0.1]])
    found = np.exp(with_floor(log_q, log_prior, 98))
    np.testing.assert_allclose(found.sum(1), 1, rtol=0, atol=1e-15)
    by_hand = 0.99 * np.exp(log_q) + 0.01 * np.exp(log_prior)
    np.testing.assert_allclose(found, by_hand, rtol=1e-13)


def test_too_few_samples_to_learn_from_leave_the_frequencies():
    stack = fit_stack(X, Y, np.arange(9), 2, classifiers=None, seed=0, device="cpu")
    expected = (np.bincount(Y[:9], minlength=2) + 0.5) / 10
    np.testing.assert_allclose(np.exp(stack.log_probabilities(X)), expected[None].repeat(120, 0))


@pytest.mark.parametrize("members", [1, 2, 3])
@pytest.mark.parametrize("excess", [-0.05, 0.05])
def test_weights_that_gain_no_more_than_their_number_are_dropped(members, excess):
    """Akaike's rule, from both sides: the total gain is set to k - 0.05 or k + 0.05."""
    pmi, y, log_prior = members_for_a_pool(3)
    pmi = np.repeat(pmi[:1], members, axis=0)
    none = log_loss(pmi, np.zeros(members), y, log_prior)

    def gain(weight: float) -> float:
        weights = np.full(members, weight / members)
        return (none - log_loss(pmi, weights, y, log_prior)) * len(y) - members

    weight = scipy.optimize.brentq(lambda w: gain(w) - excess, 0, 0.05)
    weights = np.full(members, weight / members)
    kept = kept_weights(weights, pmi, y, log_prior)
    np.testing.assert_array_equal(kept, weights if excess > 0 else 0)


def test_a_stack_fitted_to_noise_gives_up():
    rng = np.random.default_rng(0)
    given_up = []
    for seed in range(8):
        x, y = rng.standard_normal((80, 3)), rng.integers(2, size=80)
        stack = fit_stack(x, y, np.arange(80), 2, classifiers=[LDA], seed=seed, device="cpu")
        given_up.append(not stack.weights.any())
        if given_up[-1]:
            prior = np.exp(smoothed_log_prior(y, 2))[None]
            np.testing.assert_allclose(np.exp(stack.log_probabilities(x)), prior.repeat(80, 0))
    # Noise gains more than one nat in all with a chance of P(chi2_1 > 2) / 2 = 0.08.
    assert sum(given_up) >= 6
