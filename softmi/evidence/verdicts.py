r"""What an interval says about a statement: one rule, the same for and against.

A statement asks a number to lie above or below a target t, or to equal it. The margin
:math:`m \ge 0` is the largest difference that does not matter; it is stated before the run. The
interval [low, high] holds all the chance there is.

=============  ==================================  ===============================================
asked for      met                                 not met
=============  ==================================  ===============================================
above t        low > t + m                         reversed: high < t - m; equivalent: all within
                                                   t +- m; missed: high < t + m
below t        high < t - m                        the mirror image
equals t       all within t +- m                   missed: all outside t +- m
=============  ==================================  ===============================================

Anything else is open: the interval does not decide.
"""

import math
from typing import Literal

Relation = Literal["above", "below", "equals"]
Outcome = Literal["met", "missed", "equivalent", "reversed", "open"]


def decide(low: float, high: float, relation: Relation, target: float, margin: float) -> Outcome:
    """Return what the interval [low, high] says about a statement, by the table above.

    A number without spread is the interval [x, x].

    Args:
        low: Lower end.
        high: Upper end, not below `low`.
        relation: What is asked for.
        target: Number that it is asked to be above, below or equal to.
        margin: Largest difference that does not matter.

    Raises:
        ValueError: An interval that is none, a margin that is negative, NaN anywhere, or an
            unknown relation.

    Example:
        >>> decide(0.01, 0.05, "above", 0.0, 0.0), decide(-0.01, 0.05, "above", 0.0, 0.0)
        ('met', 'open')

    """
    if not low <= high or not margin >= 0 or not math.isfinite(target):
        raise ValueError(
            f"need low <= high, a margin of at least 0 and a finite target, got [{low}, {high}], "
            f"{margin} and {target}"
        )
    if relation == "below":
        return decide(-high, -low, "above", -target, margin)
    within = target - margin <= low and high <= target + margin
    if relation == "equals":
        outside = high < target - margin or low > target + margin
        return "met" if within else "missed" if outside else "open"
    if relation != "above":
        raise ValueError(f"relation must be above, below or equals, got {relation!r}")
    if low > target + margin:
        return "met"
    if high < target - margin:
        return "reversed"
    if within:
        return "equivalent"
    return "missed" if high < target + margin else "open"
