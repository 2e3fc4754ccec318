"""Critics trained by a bound: what they find, and on which samples they are scored."""

import functools
import math

import numpy as np
import pytest
import torch
from labelled_samples import (
    ROUNDING,
    SMILE_1,
    TASK,
    random_scores,
)
from slow_reference import EPS

from softmi.estimators import (
    critic_mutual_information,
    donsker_varadhan,
    infonce,
    jensen_shannon,
    logistic_regression_mutual_information,
    nearest_neighbour_mutual_information,
    nwj,
    smile,
)
from softmi.estimators.critic import _moving_average_objective

QUICK = {"hidden": (32,), "lr": 2e-2, "epochs": 10, "batch_size": 256}


@pytest.mark.parametrize(
    ("bound", "options"),
    [
        (donsker_varadhan, {}),
        (donsker_varadhan, {"ema": 0.9}),
        (nwj, {}),
        (infonce, {}),
        (smile, {}),
    ],
    ids=["dv", "dv with moving average", "nwj", "infonce", "smile"],
)
def test_a_trained_critic_finds_the_information_of_two_gaussians(bound, options):
    x, y = TASK.sample(2000, torch.Generator().manual_seed(2))
    found = critic_mutual_information(x, y, bound, **QUICK, **options)
    truth = TASK.mutual_information().value
    pmi = TASK.pointwise_mutual_information(x).gather(1, y[:, None])
    error = float(pmi.std()) / math.sqrt(len(y))  # of the best possible critic
    # 0.02 nats for what 10 epochs on 1280 samples leave unlearnt; only downwards.
    assert truth - 4 * error - 0.02 < found.value < truth + 4 * error
    assert found.value == float(found) == pytest.approx(np.mean(found.folds), abs=8 * EPS)
    assert found.standard_error == pytest.approx(np.std(found.folds, ddof=1) / math.sqrt(5))
    # Five folds: chi with four degrees of freedom lies in (0.3, 2.2) twice, but for 1 in 1000.
    assert 0.1 * error < found.standard_error < 3 * error


def test_a_critic_finds_nothing_in_noise_though_it_could_learn_it_by_heart():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 50, generator=generator), torch.randint(3, (400,), generator=generator)
    found = critic_mutual_information(x, y, infonce, epochs=20)
    assert found.value < 4 * found.standard_error
    assert found.value > -0.05  # stopped before it had learnt much by heart


def test_the_seed_alone_decides_whatever_the_container_and_the_names_of_the_labels():
    x, y = TASK.sample(200, torch.Generator().manual_seed(3))
    few = {**QUICK, "epochs": 2}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = critic_mutual_information(x, y, infonce, **few)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.rand(5)
    assert critic_mutual_information(x.numpy(), (7 * y - 3).numpy(), infonce, **few) == first
    assert critic_mutual_information(x, y, infonce, **few, seed=1) != first


def test_a_critic_does_not_depend_on_the_units_of_the_inputs():
    x, y = TASK.sample(200, torch.Generator().manual_seed(3))
    x = torch.cat([x, torch.full_like(x, 0.1)], dim=1)  # a constant feature has no unit
    few = {**QUICK, "epochs": 2}
    there = critic_mutual_information(1000 * x.double() + 5e4, y, infonce, **few)
    here = critic_mutual_information(x, y, infonce, **few)
    # Rounding of standardised inputs to float32, through two epochs of steps.
    assert there.value == pytest.approx(here.value, abs=1e-4)


def test_the_bound_is_taken_once_on_each_fold_of_held_out_samples():
    x, y = TASK.sample(203, torch.Generator().manual_seed(4))
    sizes, labels = [], []

    def recording(logits, targets):
        assert logits.dtype == torch.float64
        assert not logits.requires_grad
        sizes.append(len(targets))
        labels.extend(targets.tolist())
        return infonce(logits, targets)

    few = {**QUICK, "epochs": 2}
    found = critic_mutual_information(x, y, recording, objective=infonce, folds=4, **few)
    assert sorted(sizes) == [50, 51, 51, 51]
    assert sorted(labels) == sorted(y.tolist())
    assert found == critic_mutual_information(x, y, infonce, folds=4, **few)


def test_smile_is_trained_by_jensen_shannon():
    x, y = TASK.sample(200, torch.Generator().manual_seed(3))
    few = {**QUICK, "epochs": 2}
    for bound in (smile, SMILE_1):
        expected = critic_mutual_information(x, y, bound, objective=jensen_shannon, **few)
        assert critic_mutual_information(x, y, bound, **few) == expected


def test_a_batch_is_never_a_single_sample():
    x, y = TASK.sample(23, torch.Generator().manual_seed(3))
    found = critic_mutual_information(x, y, infonce, folds=2, epochs=1, batch_size=2)
    assert math.isfinite(found.value)


def test_overflow_of_nwj_does_not_spoil_the_critic():
    x, y = TASK.sample(200, torch.Generator().manual_seed(3))
    found = critic_mutual_information(x, y, nwj, hidden=(64,), lr=10.0, epochs=5)
    assert not math.isnan(found.value)


@pytest.mark.paper("belghazi2018", "corrected gradient")
def test_moving_average_replaces_the_denominator_of_the_gradient():
    objective, targets = _moving_average_objective(0.75), torch.arange(6)
    first, second = (random_scores(seed, n=6, columns=6).requires_grad_() for seed in (0, 1))

    def partition(scores):
        return (scores.exp().sum() - scores.diagonal().exp().sum()) / 30

    (gradient,) = torch.autograd.grad(objective(first, targets), first)
    (plain,) = torch.autograd.grad(donsker_varadhan(first), first)
    torch.testing.assert_close(gradient, plain, rtol=0, atol=ROUNDING)
    average = 0.75 * partition(first).detach() + 0.25 * partition(second).detach()
    (gradient,) = torch.autograd.grad(objective(second, targets), second)
    expected = second.diagonal().mean() - partition(second) / average
    (expected,) = torch.autograd.grad(expected, second)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=ROUNDING)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds=1 for 60"),
        ({"folds": 7}, "at least 10 samples each, got folds=7 for 60"),
        ({"epochs": 0}, "epochs >= 1"),
        ({"patience": 0}, "patience >= 1"),
        ({"batch_size": 1}, "batch_size >= 2"),
        ({"lr": 0.0}, "lr > 0"),
        ({"ema": 1.0}, r"ema must be in \(0, 1\)"),
        ({"ema": 0.9, "bound": nwj}, "train donsker_varadhan"),
    ],
)
def test_the_trainer_says_what_is_wrong_with_its_options(options, message):
    x, y = TASK.sample(60, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        critic_mutual_information(x, y, **{"bound": donsker_varadhan, **options})


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "estimator",
    [
        functools.partial(critic_mutual_information, bound=infonce),
        nearest_neighbour_mutual_information,
        logistic_regression_mutual_information,
    ],
    ids=["critic", "neighbours", "logistic"],
)
@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.zeros(60), np.zeros(60, int), ValueError, r"\(samples, features\).*\(60,\)"),
        (np.zeros((60, 0)), np.zeros(60, int), ValueError, r"\(60, 0\)"),
        (np.zeros((60, 2)), np.zeros(59, int), ValueError, "X has 60 samples, but y has 59"),
        (np.zeros((60, 2)), np.zeros((60, 1), int), ValueError, r"y must have.*\(60, 1\)"),
        (np.zeros((60, 2)), np.zeros(60), TypeError, "integer labels, got float64"),
        (np.full((60, 2), np.nan), np.zeros(60, int), ValueError, "X must be finite: 120 of 120"),
        (np.zeros((60, 2), complex), np.zeros(60, int), ValueError, "real numbers"),
    ],
)
def test_estimators_say_what_is_wrong_with_the_data(estimator, x, y, error, message):
    with pytest.raises(error, match=message):
        estimator(x, y)
