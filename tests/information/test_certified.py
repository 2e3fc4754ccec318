"""The certified bound: its formulas by hand, and how often it holds."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from classifier_outputs import (
    faithful_case,
    random_case,
)

import softmi
from softmi import (
    mutual_information,
)


def certified_by_hand(q, y, prior, delta, epsilon, *, known):
    """The two formulas of the docstring in plain Python, from posteriors and the prior."""
    n, m = q.shape
    z = [
        math.log((1 - epsilon) * q[i, y[i]] + epsilon / m) - math.log(prior[y[i]])
        for i in range(n)
    ]
    mean = sum(z) / n
    loss_bound = math.log(m / epsilon)
    if known:
        variance = sum((v - mean) ** 2 for v in z) / (n - 1)
        positive = [p for p in prior if p > 0]
        spread = loss_bound + math.log(max(positive) / min(positive))
        log_term = math.log(2 / delta)
        return mean - math.sqrt(2 * variance * log_term / n) - 7 * spread * log_term / 3 / (n - 1)
    losses = [-v - math.log(prior[k]) for v, k in zip(z, y, strict=True)]
    loss = sum(losses) / n
    variance = sum((v - loss) ** 2 for v in losses) / (n - 1)
    log_term = math.log(4 / delta)
    slack = math.sqrt(2 * variance * log_term / n) + 7 * loss_bound * log_term / 3 / (n - 1)
    entropy = -sum(p * math.log(p) for p in prior if p)
    return entropy - loss - slack - label_slack_by_hand(m, n, delta / 2)


def label_slack_by_hand(m, n, delta):
    """The formula of the docstring, its maximum over p searched for."""
    p = np.geomspace(1e-12, 1 / m, 20_001)
    return min(
        scale / 2 * m * (p ** (1 - scale) * np.log(p) ** 2).max() + math.log(1 / delta) / n / scale
        for scale in np.logspace(-6, -0.01, 400)
    )


@pytest.mark.parametrize("known", [True, False], ids=["known prior", "estimated prior"])
@pytest.mark.parametrize(("delta", "epsilon"), [(0.05, 1e-3), (0.001, 0.2)])
@pytest.mark.paper("maurer2009", "empirical Bernstein bound")
def test_certified_bound_equals_an_independent_computation(known, delta, epsilon):
    logits, targets, prior = faithful_case(23, n=300)
    estimate = mutual_information(logits, targets, prior if known else None)
    used = prior if known else torch.bincount(targets).double() / 300
    expected = certified_by_hand(
        torch.softmax(logits, 1).numpy(), targets.tolist(), used.tolist(), delta, epsilon,
        known=known,
    )  # fmt: skip
    found = estimate.certified_lower_bound(delta, epsilon=epsilon)
    # Estimated: the search over p is good to the square of its relative step, 1e-3.
    assert found == pytest.approx(expected, rel=1e-12 if known else 1e-5)


def test_certified_bound_of_corrected_logits_is_that_of_the_posterior_they_imply():
    logits, targets, prior = faithful_case(24, n=300)
    corrected = mutual_information(logits, targets, prior, prior_corrected=True)
    plain = mutual_information(logits + prior.log(), targets, prior)
    assert corrected.certified_lower_bound() == pytest.approx(
        plain.certified_lower_bound(), rel=1e-12
    )


def test_certified_bound_may_use_label_frequencies_inside_the_classifier():
    # The first step holds labels fixed: what depends on them alone has seen no input.
    logits, targets, _ = random_case(24, n=300)
    frequencies = torch.bincount(targets).double() / 300
    corrected = mutual_information(logits, targets, prior_corrected=True)
    plain = mutual_information(logits + frequencies.log(), targets)
    assert corrected.certified_lower_bound() == pytest.approx(
        plain.certified_lower_bound(), rel=1e-12
    )


PRIORS = [
    [0.5, 0.5], [0.9, 0.1], [0.999, 0.001], [0.2] * 5, [0.6, 0.1, 0.1, 0.1, 0.1],
    [0.05] * 20, [0.81] + [0.01] * 19, [1 / 300] * 300, [0.5] + [0.5 / 299] * 299,
]  # fmt: skip


@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: f"{len(p)} labels, {max(p):.3f}")
def test_label_slack_bounds_every_moment_generating_function(prior):
    """The inequality behind it, for the largest d there is: an input that determines the label."""
    p = np.array(prior)
    d = -np.log(p)
    for scale in np.logspace(-3, -0.01, 60):
        log_v = max(
            math.log(len(p)) + (1 - scale) * log_q + 2 * math.log(-log_q)
            for log_q in np.linspace(-100, -math.log(len(p)), 4_001)
        )
        exact = math.log((p * np.exp(scale * (d - (p * d).sum()))).sum())
        # The grid may miss the maximum by the square of its step, 0.025, relatively.
        assert exact <= scale**2 / 2 * math.exp(log_v) * (1 + 1e-3)


@pytest.mark.parametrize("n", [50, 2_000])
@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: f"{len(p)} labels, {max(p):.3f}")
def test_mean_surprise_of_drawn_labels_exceeds_the_label_slack_at_most_delta_of_the_time(prior, n):
    p = np.array(prior)
    counts = np.random.default_rng(n).multinomial(n, p, size=4_000)
    excess = counts @ -np.log(p) / n + (p * np.log(p)).sum()
    slack = softmi.information.certified._label_slack(len(p), n, 0.1)
    # Four standard errors of 4,000 trials at a tenth.
    assert (excess > slack).mean() <= 0.1 + 4 * math.sqrt(0.1 * 0.9 / 4_000)
    assert slack < 2.5 * math.log(max(7.4, len(p))) * math.sqrt(2 * math.log(10) / n)


def test_largest_loss_is_the_weighted_mean_with_its_slack_and_what_is_absent_loses_the_limit():
    loss = torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.2], dtype=torch.float64)
    targets = torch.tensor([0, 0, 0, 1, 1, 1])
    prior, limit, delta = torch.tensor([0.45, 0.45, 0.1], dtype=torch.float64), 5.0, 0.1
    # Both labels that are here count 0.45 / 0.5 = 0.9 times; the third is not.
    weighted = 0.9 * loss.numpy()
    slack = math.sqrt(2 * weighted.var(ddof=1) * math.log(20) / 6)
    slack += 7 * 0.9 * limit * math.log(20) / (3 * 5)
    found = softmi.information.certified._largest_loss(loss, targets, prior, limit, delta)
    assert found == pytest.approx(weighted.mean() + slack + 0.1 * limit, rel=1e-12)


def test_a_fold_of_one_sample_certifies_nothing_and_leaves_the_bound_to_the_others():
    """It has no variance: at a third of delta, the bound is that of the better of the others."""
    logits, targets, prior = faithful_case(25, n=301)
    q = mutual_information(logits, targets, prior)
    folds = (torch.arange(301) % 2).index_fill(0, torch.tensor([300]), 2)
    pointwise = q.pointwise

    def bound(which: torch.Tensor, folds: torch.Tensor, delta: float) -> float:
        return softmi.information.certified.certified_lower_bound(
            pointwise[which], targets[which], q.prior, folds, delta=delta
        )

    everything = bound(folds >= 0, folds, 0.06)
    alone = [bound(folds == f, folds[folds == f], 0.02) for f in (0, 1)]
    assert everything == pytest.approx(max(alone), rel=1e-12)


def test_largest_loss_caps_the_weight_of_a_label_that_is_rarer_than_it_should_be():
    # Weight 20 would multiply the range by 20: better to give up the rest of that label.
    targets = torch.tensor([0] * 399 + [1])
    loss = torch.full((400,), 0.25, dtype=torch.float64)
    prior, limit, delta = torch.tensor([0.95, 0.05], dtype=torch.float64), 4.0, 0.05
    cap = 0.95 / (399 / 400)
    rest = 0.05 - cap / 400
    weighted = np.full(400, cap * 0.25)
    slack = math.sqrt(2 * weighted.var(ddof=1) * math.log(40) / 400)
    slack += 7 * cap * limit * math.log(40) / (3 * 399)
    found = softmi.information.certified._largest_loss(loss, targets, prior, limit, delta)
    assert found == pytest.approx(weighted.mean() + rest * limit + slack, rel=1e-12)


@pytest.mark.parametrize("prior", [[0.5, 0.3, 0.2], [0.98, 0.01, 0.01]])
def test_largest_loss_lies_above_the_expected_loss_of_every_set_of_labels(prior):
    """Inputs drawn anew for fixed labels, losses that are rarely large."""
    rng, limit = np.random.default_rng(3), 6.0
    prior, rates = torch.tensor(prior, dtype=torch.float64), np.array([0.02, 0.05, 0.01])
    targets = torch.tensor([0] * 120 + [1] * 20 + [2] * 10)
    truth = float(prior @ torch.from_numpy(rates)) * limit
    below, trials = 0, 500
    for _ in range(trials):
        loss = torch.from_numpy(limit * (rng.random(150) < rates[targets]))
        found = softmi.information.certified._largest_loss(loss, targets, prior, limit, 0.1)
        below += found < truth
    # Four standard errors of the trials at a tenth.
    assert below <= trials * 0.1 + 4 * math.sqrt(trials * 0.09)


def test_certified_bound_ignores_classes_that_cannot_occur_in_its_range():
    logits, targets, prior = faithful_case(25, n=300, classes=3)
    prior = [*prior.tolist(), 0.0]
    wider = torch.cat([logits, torch.full((300, 1), -1e4)], dim=1)
    q = torch.softmax(wider, 1).numpy()
    assert mutual_information(wider, targets, prior).certified_lower_bound() == pytest.approx(
        certified_by_hand(q, targets.tolist(), prior, 0.05, 1e-3, known=True), rel=1e-12
    )


@pytest.mark.parametrize("known", [True, False], ids=["known prior", "estimated prior"])
def test_certified_bound_approaches_the_estimate_as_samples_grow(known):
    logits, targets, _ = random_case(26, n=100, scale=0.5)
    prior = torch.bincount(targets).double() / 100  # repeated, they must not contradict it
    gaps = []
    for repeats in (1, 100, 10_000):
        estimate = mutual_information(
            logits.repeat(repeats, 1), targets.repeat(repeats), prior if known else None
        )
        gaps.append(estimate.value - estimate.certified_lower_bound())
    # What is left at a million samples: the mixture's epsilon, and slack of 1e-2 at most.
    assert gaps[0] > gaps[1] > gaps[2]
    assert 0 < gaps[2] < 0.05


def test_certified_bound_falls_as_more_certainty_is_asked():
    estimate = mutual_information(*random_case(27)[:2])
    bounds = [estimate.certified_lower_bound(delta) for delta in (0.5, 0.05, 1e-6)]
    assert bounds == sorted(bounds, reverse=True)
    assert len(set(bounds)) == 3


@pytest.mark.parametrize(
    ("known", "n", "flips", "informative"),
    [(True, 200, 1e-3, 0.2), (False, 3000, 1.5e-4, 0.1)],
    ids=["known prior", "estimated prior"],
)
def test_certified_bound_holds_where_an_over_confident_classifier_fools_the_normal_interval(
    known, n, flips, informative
):
    """A channel that rarely flips its bit, and a classifier that is certain it never does.

    Most test sets hold no flip: the plain estimate is then the whole label entropy with standard
    error zero, above the truth. The certified bound must stay below the truth all the same.
    """
    truth = math.log(2) + flips * math.log(flips) + (1 - flips) * math.log1p(-flips)
    generator = torch.Generator().manual_seed(7)
    repeats, fooled, held, bounds = 400, 0, 0, []
    for _ in range(repeats):
        x = torch.randint(2, (n,), generator=generator)
        y = x ^ (torch.rand(n, generator=generator) < flips).long()
        logits = torch.where(F.one_hot(x, 2).bool(), 1e4, -1e4)
        estimate = mutual_information(logits, y, [0.5, 0.5] if known else None)
        bound = estimate.certified_lower_bound(0.05)
        fooled += estimate.low > truth
        held += bound <= truth
        bounds.append(bound)
    # Of 400 trials at 95 % at least 380 - 4 * 4.4 hold; the bound is conservative, so more do.
    assert held >= 362
    if known:  # the plug-in label entropy varies more than the truth lies below it
        assert fooled > 0.5 * repeats
    assert np.median(bounds) > informative


@pytest.mark.usefixtures("no_shape_checks")
def test_certified_bound_refuses_what_it_cannot_certify():
    logits, targets, prior = random_case(28)
    estimate = mutual_information(logits, targets)
    for bad in (0, 1, -0.1):
        with pytest.raises(ValueError, match=rf"in \(0, 1\), got {bad} and 0\.001"):
            estimate.certified_lower_bound(bad)
        with pytest.raises(ValueError, match=rf"in \(0, 1\), got 0\.05 and {bad}"):
            estimate.certified_lower_bound(epsilon=bad)
    one = mutual_information(logits[:1], targets[:1], prior)
    with pytest.raises(ValueError, match="at least two samples, got 1"):
        one.certified_lower_bound()
