"""Verdicts follow from whole intervals, by one rule for and against."""

import math

import pytest

from softmi.evidence.verdicts import decide

TABLE = [
    # low, high, relation, target, margin, outcome
    (0.11, 0.30, "above", 0.0, 0.1, "met"),
    (0.10, 0.30, "above", 0.0, 0.1, "open"),  # the margin itself is not beyond it
    (0.05, 0.30, "above", 0.0, 0.1, "open"),
    (-0.30, 0.30, "above", 0.0, 0.1, "open"),
    (-0.05, 0.05, "above", 0.0, 0.1, "equivalent"),
    (-0.10, 0.10, "above", 0.0, 0.1, "equivalent"),
    (-0.30, 0.05, "above", 0.0, 0.1, "missed"),
    (-0.30, -0.11, "above", 0.0, 0.1, "reversed"),
    (0.01, 0.02, "above", 0.0, 0.0, "met"),
    (-0.01, 0.02, "above", 0.0, 0.0, "open"),
    (0.00, 0.02, "above", 0.0, 0.0, "open"),
    (-0.02, 0.00, "above", 0.0, 0.0, "open"),  # zero is not excluded
    (-0.02, -0.01, "above", 0.0, 0.0, "reversed"),
    (1.2, 1.4, "above", 1.0, 0.1, "met"),
    (0.5, 0.5, "above", 0.0, 0.0, "met"),  # no spread
    (0.0, 0.0, "above", 0.0, 0.0, "equivalent"),
    (-0.5, -0.5, "above", 0.0, 0.0, "reversed"),
    (0.95, 1.05, "equals", 1.0, 0.1, "met"),
    (0.9, 1.1, "equals", 1.0, 0.1, "met"),
    (0.85, 1.05, "equals", 1.0, 0.1, "open"),
    (0.5, 1.5, "equals", 1.0, 0.1, "open"),
    (1.05, 1.2, "equals", 1.0, 0.1, "open"),
    (1.2, 1.3, "equals", 1.0, 0.1, "missed"),
    (0.7, 0.8, "equals", 1.0, 0.1, "missed"),
    (3.0, 3.0, "equals", 3.0, 0.0, "met"),
    (3.1, 3.1, "equals", 3.0, 0.0, "missed"),
    (-math.inf, 0.5, "above", 0.0, 0.1, "open"),
]


@pytest.mark.parametrize(("low", "high", "relation", "target", "margin", "outcome"), TABLE)
def test_the_table_of_all_cases(low, high, relation, target, margin, outcome):
    # Binary fractions of the ends, so that "on the margin" is exact.
    assert decide(low, high, relation, target, margin) == outcome


@pytest.mark.parametrize(("low", "high", "relation", "target", "margin", "outcome"), TABLE)
def test_below_is_the_mirror_of_above(low, high, relation, target, margin, outcome):
    mirrored = "below" if relation == "above" else relation
    assert decide(-high, -low, mirrored, -target, margin) == outcome


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 0.0, "above", 0.0, 0.0), "low <= high"),
        ((math.nan, 1.0, "above", 0.0, 0.0), "low <= high"),
        ((0.0, math.nan, "below", 0.0, 0.0), "low <= high"),
        ((0.0, 1.0, "above", 0.0, -0.1), "margin of at least 0"),
        ((0.0, 1.0, "above", 0.0, math.nan), "margin of at least 0"),
        ((0.0, 1.0, "above", math.inf, 0.0), "finite target"),
        ((0.0, 1.0, "near", 0.0, 0.0), "above, below or equals, got 'near'"),
    ],
)
def test_what_is_no_interval_or_no_check_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        decide(*arguments)
