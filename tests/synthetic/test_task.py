"""What all tasks share: priors, samples, Bayes' rule, quadrature against Monte Carlo."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from known_tasks import RINGS, STUDENT, TRIANGLE, XOR, brute_force_log_densities, rotation
from slow_reference import EPS

from softmi import DiscreteJoint, entropy, mutual_information
from softmi.datasets import long_tailed_counts
from softmi.synthetic import (
    LabelledTask,
    NoisyXor,
    Rings,
    StudentTClasses,
    long_tailed_prior,
)

# --- Samples ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw",
    [
        lambda g: TRIANGLE.sample(100, g),
        lambda g: TRIANGLE.sample_counts([20, 30, 50], g),
        lambda g: DiscreteJoint([[0.3, 0.2], [0.1, 0.4]]).sample(100, g),
    ],
    ids=["sample", "sample_counts", "DiscreteJoint"],
)
def test_samples_are_a_function_of_the_generator_and_leave_the_global_one_alone(draw):
    before = torch.get_rng_state()
    a, b, c = (draw(torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    assert all(torch.equal(u, v) for u, v in zip(a, b, strict=True))
    assert not all(torch.equal(u, v) for u, v in zip(a, c, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


# --- Tasks in more dimensions, with heavy tails, rings and parity -----------------------------


@pytest.mark.parametrize(("classes", "factor"), [(10, 100), (10, 50.0), (3, 0.5), (7, 1), (1, 9)])
@pytest.mark.paper("cui2019", "long-tailed profile")
def test_long_tail_is_geometric_from_first_to_last(classes, factor):
    prior = long_tailed_prior(classes, factor)
    assert prior.dtype == torch.float64
    assert prior.sum().item() == pytest.approx(1, abs=4 * EPS)
    steps = (prior[1:] / prior[:-1]).tolist()
    # Each probability is an exponential, right to a few eps of its exponent, below 5.
    expected = [factor ** (-1 / max(1, classes - 1))] * (classes - 1)
    assert steps == pytest.approx(expected, rel=1e-14)


def test_long_tail_is_the_profile_of_the_counts_cut_from_cifar():
    weights = long_tailed_prior(10)
    scaled = 5000 * weights / weights[0]
    exact = torch.tensor(long_tailed_counts())
    assert torch.equal((scaled + 1e-9).floor().long(), exact)  # the last is 50, but for rounding


new_tasks = pytest.mark.parametrize("task", [STUDENT, RINGS, XOR], ids=["Student", "Rings", "Xor"])


@new_tasks
def test_posterior_is_bayes_rule_on_brute_force_densities(task):
    x, _ = task.sample(200, torch.Generator().manual_seed(0))
    log_p = brute_force_log_densities(task, x.double().numpy())
    prior = task.prior.numpy()
    mixture = scipy.special.logsumexp(log_p + np.log(prior), axis=1, keepdims=True)
    found = task.pointwise_mutual_information(x)
    # Log-densities of size 50 at most, each right to a few eps of that.
    np.testing.assert_allclose(found.numpy(), log_p - mixture, rtol=0, atol=1e-12)
    scores = task.log_likelihoods(x).numpy()
    np.testing.assert_allclose(scores - scores[:, :1], log_p - log_p[:, :1], rtol=0, atol=1e-12)
    # p(x|y) / p(x) has mean one under the prior, for each x.
    np.testing.assert_allclose(found.exp().numpy() @ prior, 1, rtol=0, atol=1e-12)


@new_tasks
def test_ideal_logits_of_each_task_report_its_exact_values(task):
    x, y = task.sample(300, torch.Generator().manual_seed(1))
    estimate = mutual_information(task.log_likelihoods(x), y, task.prior, prior_corrected=True)
    exact = task.pointwise_mutual_information(x).gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(estimate.pointwise, exact, rtol=0, atol=1e-12)


@new_tasks
def test_new_samples_are_a_function_of_the_generator_and_leave_the_global_one_alone(task):
    before = torch.get_rng_state()
    a, b, c = (task.sample(50, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    task.mutual_information()
    assert all(torch.equal(u, v) for u, v in zip(a, b, strict=True))
    assert not torch.equal(a[0], c[0])
    assert torch.equal(torch.get_rng_state(), before)
    x, y = a
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert y.max() < task.classes == len(task.prior)


@new_tasks
def test_new_labels_follow_the_prior_or_the_counts(task):
    n = 40_000
    _, y = task.sample(n, torch.Generator().manual_seed(2))
    found = torch.bincount(y, minlength=task.classes).double() / n
    error = (task.prior * (1 - task.prior) / n).sqrt()
    assert ((found - task.prior).abs() <= 4 * error).all()
    counts = list(range(1, task.classes + 1))
    x, y = task.sample_counts(counts)
    assert torch.bincount(y).tolist() == counts
    assert len(x) == sum(counts)


# --- Their truth ------------------------------------------------------------------------------


def test_extra_columns_and_the_angle_tell_nothing():
    bare = Rings(3, [0.5, 0.2, 0.3], spacing=1.0, noise=0.6)
    assert bare.mutual_information() == RINGS.mutual_information()
    more = NoisyXor(3, noise=0.7, extra=8)
    assert more.mutual_information() == XOR.mutual_information()
    x, _ = RINGS.sample(20, torch.Generator().manual_seed(0))
    turned = torch.cat([x[:, :2].double() @ rotation(2), 7 * x[:, 2:].double()], dim=1)
    # The radius is rounded by the turn: 8 eps times slopes of 3 / 0.36 and radii of 5.
    torch.testing.assert_close(
        RINGS.pointwise_mutual_information(turned),
        RINGS.pointwise_mutual_information(x),
        rtol=0,
        atol=8 * EPS * 50,
    )


@pytest.mark.parametrize(
    "task",
    [
        StudentTClasses([[0.0], [2.0], [5.0]], [0.2, 0.3, 0.5], 1.5),
        RINGS,
        XOR,
        NoisyXor(6, noise=0.4),
        NoisyXor(2, noise=0.05),
    ],
    ids=["Student", "Rings", "Xor 3", "Xor 6", "Xor 2"],
)
def test_quadrature_of_each_task_agrees_with_monte_carlo(task):
    known = task.mutual_information()
    simulated = LabelledTask.mutual_information(task, samples=50_000)
    assert (known.method, simulated.method) == ("quadrature", "monte carlo")
    assert simulated.value == pytest.approx(
        known.value, abs=4 * simulated.standard_error + known.standard_error
    )


@pytest.mark.parametrize(
    ("task", "exactly"),
    [
        (StudentTClasses([[1.0, 2.0], [1.0, 2.0]], [0.3, 0.7]), True),
        (StudentTClasses([[0.0], [1e-6]], [0.5, 0.5]), False),
        (StudentTClasses([[0.0], [9.0]], [1.0, 0.0]), True),
        (Rings(2, [0.0, 1.0]), True),
        (Rings(2, noise=1e4), False),
        (NoisyXor(2, noise=100), False),
        (NoisyXor(40, noise=2), False),
    ],
)
def test_independence_is_no_information(task, exactly):
    known = task.mutual_information()
    assert known.method == ("exact" if exactly else "quadrature")
    assert known.value == pytest.approx(0.0, abs=0.0 if exactly else 1e-7)


@pytest.mark.parametrize(
    "task",
    [
        StudentTClasses([[0.0], [1e9], [-1e9]], [0.2, 0.3, 0.5], 2),
        Rings(4, long_tailed_prior(4), spacing=20.0, noise=1),
        NoisyXor(5, noise=0.05),
    ],
    ids=["Student", "Rings", "Xor"],
)
def test_classes_far_apart_tell_the_label_entropy(task):
    # At 1e9 a Student tail of two degrees holds 1e-18, at ten deviations a normal one 1e-23.
    assert task.mutual_information().value == pytest.approx(entropy(task.prior).item(), abs=1e-12)


# --- Hostile input to them --------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: long_tailed_prior(0), "at least one class .* classes=0"),
        (lambda: long_tailed_prior(3, 0.0), "positive, finite factor, .*factor=0.0"),
        (lambda: long_tailed_prior(3, math.nan), "factor=nan"),
    ],
)  # fmt: skip
def test_bad_requests_to_long_tails_are_refused_with_what_came_in(make, message):
    with pytest.raises(ValueError, match=message):
        make()
