"""Intervals hold all the chance there is: checked where the truth is known."""

import numpy as np
import pytest
import scipy.stats

from softmi.evidence.statistics import (
    crossed_interval,
    crossed_p_value,
    holm,
    interval,
    paired_difference,
    standard_errors,
    summarise,
)

# Standard deviations of seeds, images and their interaction.
REGIMES = {
    "seeds": (0.02, 0.05, 0.1),
    "images": (0.001, 0.5, 0.1),
    "interaction": (0.0005, 0.02, 0.5),
    "mixed": (0.01, 0.3, 0.4),
}


def drawn(rng, regime: str, seeds: int, images: int = 400) -> np.ndarray:
    of_seeds, of_images, of_both = REGIMES[regime]
    return (
        rng.normal(0, of_seeds, (seeds, 1))
        + rng.normal(0, of_images, (1, images))
        + rng.normal(0, of_both, (seeds, images))
    )


def coverage(regime: str, seeds: int, experiments: int) -> tuple[float, float]:
    """Shares of intervals that hold the truth: seeds and images, and seeds alone."""
    rng = np.random.default_rng(100 * seeds + list(REGIMES).index(regime))
    both = alone = 0
    for _ in range(experiments):
        x = drawn(rng, regime, seeds)
        crossed = crossed_interval(x)
        both += crossed["low"] <= 0 <= crossed["high"]
        over_seeds = paired_difference(x.mean(1), np.zeros(seeds))
        alone += over_seeds["low"] <= 0 <= over_seeds["high"]
    return both / experiments, alone / experiments


@pytest.mark.minutes
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("regime", REGIMES)
def test_the_crossed_interval_covers_in_every_regime(regime, seeds):
    both, alone = coverage(regime, seeds, 1000)
    assert both >= 0.93
    if regime in ("images", "mixed"):  # where the test images matter, seeds alone are not enough
        assert alone < 0.93


def test_the_crossed_interval_covers_where_an_interval_over_seeds_does_not():
    """A short form of the test above; 0.95 less three standard errors of 200 experiments."""
    both, alone = coverage("images", 3, 200)
    assert both >= 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5
    assert alone < 0.5


def test_it_is_students_interval_over_seeds_where_images_do_not_matter():
    x = np.random.default_rng(0).normal(size=(4, 1)) + np.zeros((4, 50))
    found, expected = crossed_interval(x), paired_difference(x[:, 0], np.zeros(4))
    assert (found["low"], found["high"]) == pytest.approx((expected["low"], expected["high"]))


def test_it_is_students_interval_over_images_where_seeds_do_not_matter():
    column = np.random.default_rng(0).normal(size=30)
    found = crossed_interval(np.tile(column, (3, 1)))
    expected = scipy.stats.t.interval(0.95, 29, column.mean(), scipy.stats.sem(column))
    assert (found["low"], found["high"]) == pytest.approx(expected)


def test_its_parts_are_those_of_the_two_way_layout():
    """Against the sums of squares written out, unweighted and by class."""
    x = np.random.default_rng(1).normal(size=(3, 12))
    rows, columns, mean = x.mean(1), x.mean(0), x.mean()
    rest = sum(
        (x[s, i] - rows[s] - columns[i] + mean) ** 2 for s in range(3) for i in range(12)
    ) / (2 * 11)
    parts = crossed_interval(x)["variance"]
    assert parts["interaction"] == pytest.approx(rest / 36)
    assert parts["seeds"] == pytest.approx(rows.var(ddof=1) / 3 - rest / 36)
    assert parts["images"] == pytest.approx(columns.var(ddof=1) / 12 - rest / 36)

    groups = np.repeat([0, 1], [4, 8])
    found = crossed_interval(x, groups)
    assert found["mean"] == pytest.approx((x[:, :4].mean() + x[:, 4:].mean()) / 2)
    halves = [crossed_interval(x[:, groups == g])["variance"] for g in (0, 1)]
    for part in ("images", "interaction"):
        assert found["variance"][part] == pytest.approx(sum(h[part] for h in halves) / 4)


def test_groups_of_one_size_have_the_mean_of_all():
    x = np.random.default_rng(2).normal(size=(3, 40))
    assert crossed_interval(x, np.arange(40) % 4)["mean"] == pytest.approx(x.mean())


def test_equal_weights_of_classes_are_the_mean_of_the_classes_means():
    x, groups = np.random.default_rng(3).normal(size=(4, 60)), np.repeat([0, 1, 2], [10, 20, 30])
    plain, weighted = crossed_interval(x, groups), crossed_interval(x, groups, [1 / 3] * 3)
    assert weighted["values"] == pytest.approx(plain["values"])
    assert weighted["variance"] == pytest.approx(plain["variance"])
    assert (weighted["low"], weighted["high"]) == pytest.approx((plain["low"], plain["high"]))


def test_weights_are_those_of_the_classes_means_and_their_variances():
    """Groups are drawn apart: the parts of the variance add with the squares of the weights."""
    x, groups = np.random.default_rng(4).normal(size=(3, 30)), np.repeat([0, 1, 2], 10)
    found = crossed_interval(x, groups, [0.7, 0.0, 0.3])
    own = [crossed_interval(x[:, groups == g]) for g in (0, 2)]
    expected = 0.7 * np.array(own[0]["values"]) + 0.3 * np.array(own[1]["values"])
    assert found["values"] == pytest.approx(expected.tolist())
    assert (found["images"], found["groups"]) == (20, 2)  # the group of weight zero is left out
    for part in ("images", "interaction"):
        parts = [o["variance"][part] for o in own]
        assert found["variance"][part] == pytest.approx(0.49 * parts[0] + 0.09 * parts[1])
    alone = crossed_interval(x[:, groups == 1])
    kept = crossed_interval(x, groups, [0.0, 1.0, 0.0])
    assert (kept["low"], kept["high"]) == pytest.approx((alone["low"], alone["high"]))


def weighted_coverage(seeds: int, experiments: int) -> float:
    """Share of intervals that hold the truth, of hits in classes of unlike size and weight.

    Each image has a propensity of its own, each network a shift of all, and a class as many images
    and as much weight as in a skewed test that is judged by the classes' shares of training.
    """
    rng = np.random.default_rng(seeds)
    sizes, weights = np.array([20, 60, 120, 200]), np.array([0.5, 0.3, 0.15, 0.05])
    groups, levels = np.repeat(np.arange(4), sizes), np.array([0.9, 0.8, 0.6, 0.4])
    held = 0
    for _ in range(experiments):
        # Uniform about its class's level, so that the mean hit of a class is its level exactly.
        image = levels[groups] + rng.uniform(-0.08, 0.08, len(groups))
        x = rng.random((seeds, len(groups))) < image + rng.uniform(-0.02, 0.02, (seeds, 1))
        found = crossed_interval(x, groups, weights)
        held += found["low"] <= weights @ levels <= found["high"]
    return held / experiments


@pytest.mark.minutes
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_weighted_interval_covers(seeds):
    """Not below .95 by three standard errors of 2,000 experiments, or by what is discrete."""
    assert 0.93 <= weighted_coverage(seeds, 2000)


def test_the_weighted_interval_covers_in_a_short_form():
    assert weighted_coverage(5, 200) >= 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5


def test_the_p_value_is_where_the_interval_ends_at_zero():
    x = np.random.default_rng(5).normal(0.2, 1.0, (5, 80))
    p = crossed_p_value(crossed_interval(x))
    assert 0.0001 < p < 0.9
    edge = crossed_interval(x, confidence=1 - p)
    assert edge["low"] == pytest.approx(0, abs=1e-9)
    turned = crossed_p_value(crossed_interval(-x))
    assert turned == pytest.approx(p)


def test_the_p_value_is_students_where_images_do_not_matter():
    values = np.array([0.3, 0.1, 0.4, 0.15])
    found = crossed_p_value(crossed_interval(values[:, None] + np.zeros((4, 50))))
    assert found == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)


def test_the_p_value_of_what_does_not_vary_is_none_or_all():
    assert crossed_p_value(crossed_interval(np.zeros((3, 10)))) == 1.0
    assert crossed_p_value(crossed_interval(np.ones((3, 10)))) == 0.0


@pytest.mark.parametrize(
    ("groups", "weights", "message"),
    [
        (None, [1.0], "1 weights need groups from 0 to 0"),
        ([0, 0, 1, 2], [0.5, 0.5], "2 weights need groups from 0 to 1"),
        ([0, 0, 0, 0], [0.5, 0.5], "has no images"),
        ([0, 0, 1, 1], [0.0, 0.0], "no group has a weight"),
    ],
)
def test_weights_that_do_not_fit_the_groups_are_refused(groups, weights, message):
    with pytest.raises(ValueError, match=message):
        crossed_interval(np.zeros((2, 4)), groups, weights)


@pytest.mark.parametrize(
    ("outcomes", "groups", "message"),
    [
        (np.zeros(3), None, r"got \(3,\)"),
        (np.zeros((1, 5)), None, r"got \(1, 5\)"),
        (np.zeros((3, 1)), None, r"got \(3, 1\)"),
        (np.full((2, 2), np.nan), None, "finite outcomes"),
        (np.zeros((2, 3)), [0, 1], "3 images and 2 groups"),
        (np.zeros((2, 3)), [0, 0, 1], r"fewer than two images: sizes \[2, 1\]"),
    ],
)
def test_what_has_no_interval_is_refused(outcomes, groups, message):
    with pytest.raises(ValueError, match=message):
        crossed_interval(outcomes, groups)


def test_holm_is_the_rule_written_out():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        holm([0.1, 1.2])


def test_holm_keeps_wrong_rejections_of_a_family_rare():
    """Ten true nulls: a rejection in at most 5 % of 4,000 families, to three standard errors."""
    p = np.random.default_rng(0).random((4000, 10))
    wrong = np.mean([min(holm(row)) <= 0.05 for row in p])
    assert wrong <= 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


def test_there_is_no_mean_of_nothing():
    with pytest.raises(ValueError, match="nothing to summarise: no values"):
        summarise([])


def test_standard_errors_above_zero_are_students_t_of_one_sample():
    difference = paired_difference([0.52, 0.48, 0.55, 0.50], [0.41, 0.49, 0.46, 0.38])
    expected = scipy.stats.ttest_1samp(difference["values"], 0.0).statistic
    assert standard_errors(difference) == pytest.approx(expected, rel=1e-12)


def test_the_interval_of_a_number_is_its_own_else_students_else_the_number():
    assert interval(0.3) == (0.3, 0.3)
    assert interval(paired_difference([2.0, 4.0], [1.0, 1.0])) != interval(2.0)
    assert interval({"mean": 0.5, "sd": 0.1, "n": 3, "low": 0.2, "high": 0.6}) == (0.2, 0.6)
    values = [0.1, 0.3, 0.8]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert interval(summarise(values)) == pytest.approx((low, high), rel=1e-12)
    assert interval(summarise([0.4])) == (0.4, 0.4)  # one run has no spread
