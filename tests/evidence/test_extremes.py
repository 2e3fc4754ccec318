"""The largest of several numbers: its interval holds the largest of the true ones."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t

from softmi.evidence.extremes import largest, largest_rate
from softmi.evidence.statistics import has_spread, interval, summarise
from softmi.evidence.verdicts import decide


def test_the_largest_of_one_has_the_interval_of_student():
    one = summarise([0.3, 0.5, 0.1, 0.4])
    found = largest([one["mean"]], [one["sd"] / 2], 3)
    assert (found["low"], found["high"]) == pytest.approx(interval(one))
    assert has_spread(found)


def test_the_lower_end_pays_for_the_choice_and_the_upper_end_does_not():
    found = largest([1.0, 1.0, 1.0, 1.0], [0.1] * 4)
    assert found["mean"] == 1
    assert found["high"] == pytest.approx(1 + norm.isf(0.025) * 0.1)
    assert found["low"] == pytest.approx(1 - norm.isf(0.025 / 4) * 0.1)
    assert largest([1.0, 1.0], [0.1, 0.1], 4)["high"] == pytest.approx(
        1 + student_t.isf(0.025, 4) * 0.1
    )


def test_an_estimate_that_is_not_the_largest_counts_by_what_it_may_be():
    """An uncertain number below the largest one leaves open how high the largest may be."""
    found = largest([1.0, 0.9], [0.01, 0.5])
    assert found["high"] == pytest.approx(0.9 + norm.isf(0.025) * 0.5)
    assert found["low"] == pytest.approx(1 - norm.isf(0.0125) * 0.01)


@pytest.mark.parametrize("true", [[0.0] * 12, [0.0] * 6 + [1.0] * 6, [*np.linspace(-3, 0, 12)]])
def test_it_holds_the_largest_of_twelve_means_of_five_runs(true):
    draw, top, trials = np.random.default_rng(0), max(true), 2_000
    runs = np.asarray(true)[None, :, None] + draw.standard_normal((trials, 12, 5))
    means, errors = runs.mean(2), runs.std(2, ddof=1) / math.sqrt(5)
    found = [interval(largest(m, e, 4)) for m, e in zip(means, errors, strict=True)]
    held = np.mean([low <= top <= high for low, high in found])
    assert held > 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)
    below = np.mean([decide(low, high, "below", top, 0.0) == "met" for low, high in found])
    assert below < 0.025 + 3 * math.sqrt(0.025 * 0.975 / trials)


def test_no_hits_leave_a_rate_of_three_in_as_many():
    found = largest_rate([0, 0], 1_200)
    assert (found["mean"], found["low"], found["n"], found["of"]) == (0, 0, 1_200, 2)
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 1_200))


def test_a_rate_is_outside_its_interval_in_one_case_of_twenty_at_most():
    draw, rate, trials = np.random.default_rng(1), 0.04, 2_000
    hits = draw.binomial(200, rate, trials).tolist()
    known = {h: interval(largest_rate([h], 200)) for h in set(hits)}
    held = np.mean([known[h][0] <= rate <= known[h][1] for h in hits])
    assert held > 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)
    several, alone = largest_rate([3, 8, 5], 200), largest_rate([8], 200)
    assert several["high"] == alone["high"]
    assert several["low"] < alone["low"]


def test_bad_input_is_an_error(no_shape_checks):
    for values, errors in (([], []), ([1.0], [0.1, 0.1]), ([1.0], [-0.1]), ([1.0], [math.nan])):
        with pytest.raises(ValueError, match="each with its error"):
            largest(values, errors)
    for hits in ([], [-1], [11]):
        with pytest.raises(ValueError, match="hits between 0 and 10"):
            largest_rate(hits, 10)
