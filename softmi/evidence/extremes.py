r"""The largest of several numbers that chance moves, with an interval that knows it was chosen.

The largest of K estimates lies above the largest of the K true numbers on average, for it is
chosen by its luck too. Its interval allows for that on the side where it matters. Let
:math:`\theta_{k^*}` be the largest of the true numbers, and each have an interval
:math:`[l_k(a), u_k(a)]` that misses it with probability a on either side. Then

.. math:: \Bigl[ \max_k l_k\bigl(\tfrac{\alpha}{2K}\bigr), \;
                 \max_k u_k\bigl(\tfrac{\alpha}{2}\bigr) \Bigr]

holds :math:`\theta_{k^*}` with probability :math:`1 - \alpha` at least, however the estimates
depend on each other. Its lower end is too high only if some :math:`l_k` is (Bonferroni); its upper
end is too low only if :math:`u_{k^*}` is, one of them and not chosen by luck, so that K plays no
part.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from scipy.stats import t as student_t


def largest(
    estimates: Sequence[float] | np.ndarray,
    errors: Sequence[float] | np.ndarray,
    freedom: float | int = math.inf,
    *,
    confidence: float = 0.95,
) -> dict[str, Any]:
    r"""Largest of K estimates with its interval, from Student's of each.

    .. math:: l_k(a), u_k(a) = \hat\theta_k \mp t_{\nu, 1-a} \, e_k

    Args:
        estimates: :math:`\hat\theta_k`, in any unit.
        errors: Their standard errors :math:`e_k`, in the same unit.
        freedom: :math:`\nu`, degrees of freedom of the errors; infinity where they are known.
        confidence: :math:`1 - \alpha`.

    Returns:
        `mean`, the largest estimate; `low` and `high`; and `of`, K.

    Raises:
        ValueError: No estimates, other errors in number, or errors that are negative or NaN.

    Example:
        >>> found = largest([0.0, 1.0], [0.1, 0.1])
        >>> round(found["low"], 3), round(found["high"], 3)
        (0.776, 1.196)

    """
    x, e = np.asarray(estimates, dtype=float), np.asarray(errors, dtype=float)
    if not len(x) or x.shape != e.shape or not (e >= 0).all():
        raise ValueError(f"need estimates, each with its error, got {x.tolist()}, {e.tolist()}")
    tail = (1 - confidence) / 2
    return {
        "mean": float(x.max()),
        "low": float((x - student_t.isf(tail / len(x), freedom) * e).max()),
        "high": float((x + student_t.isf(tail, freedom) * e).max()),
        "of": len(x),
    }


def largest_rate(hits: Sequence[int], trials: int, *, confidence: float = 0.95) -> dict[str, Any]:
    r"""Largest of K rates with its interval, from those of Clopper and Pearson (1934).

    .. math:: P(B(n, l_k) \ge h_k) = a, \qquad P(B(n, u_k) \le h_k) = a

    with B binomial; l is 0 for no hits, u is 1 for n. Where the trials of one rate have other
    chances of a hit, their number of hits varies less than a binomial one of their mean chance
    (Hoeffding 1956): about that mean the interval then says rather too little than too much.

    Args:
        hits: :math:`h_k`, of each rate.
        trials: n, the same of each.
        confidence: As in :func:`largest`.

    Returns:
        `mean`, the largest rate; `low` and `high`; `n`, trials; and `of`, K.

    Raises:
        ValueError: No rates, or hits that are not between 0 and the trials.

    Example:
        >>> round(largest_rate([0, 0], 1200)["high"], 5)
        0.00307

    """
    if not len(hits) or not all(0 <= h <= trials for h in hits):
        raise ValueError(f"need hits between 0 and {trials}, got {list(hits)}")

    def ends(share: int) -> list[tuple[float, float]]:
        level = 1 - (1 - confidence) / share
        found = [binomtest(h, trials).proportion_ci(level, method="exact") for h in hits]
        return [(float(ci.low), float(ci.high)) for ci in found]

    return {
        "mean": max(hits) / trials,
        "low": max(low for low, _ in ends(len(hits))),
        "high": max(high for _, high in ends(1)),
        "n": trials,
        "of": len(hits),
    }
