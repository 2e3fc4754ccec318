"""Summaries, differences and their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student_t


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation and number of repeated runs, with the values."""
    array = np.asarray(values, dtype=float)
    spread = float(array.std(ddof=1)) if len(array) > 1 else None
    return {"mean": float(array.mean()), "sd": spread, "n": len(array), "values": array.tolist()}


def gather(records: Sequence[Any]) -> Any:
    """One nested mapping of summaries over seeds, from one nested mapping of numbers a seed.

    Raises:
        ValueError: No records.

    """
    if not records:
        raise ValueError("nothing to gather: no records")
    if isinstance(records[0], Mapping):
        return {key: gather([record[key] for record in records]) for key in records[0]}
    return summarise([float(record) for record in records])


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], *, confidence: float = 0.95
) -> dict[str, Any]:
    r"""Mean of the differences of runs that share a seed, with Student's interval.

    .. math:: \bar d \pm t_{n-1} \, s_d / \sqrt n, \qquad d_i = a_i - b_i

    Raises:
        ValueError: Fewer than two pairs, or sequences of different lengths.

    """
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError(f"need at least two pairs, got {len(ours)} and {len(theirs)} values")
    differences = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    n, mean = len(differences), float(differences.mean())
    # scipy.stats.ttest_rel gives the same interval, but a warning or NaN where all differences
    # agree, as they do between two methods that are one.
    half = float(student_t.ppf((1 + confidence) / 2, n - 1) * differences.std(ddof=1) / n**0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n,
            "values": differences.tolist()}  # fmt: skip


def standard_errors(difference: Mapping[str, Any]) -> float:
    r"""How many standard errors a paired difference is above zero, over runs.

    .. math:: t = \bar d \, \sqrt n / s_d

    Args:
        difference: `values`, the differences :math:`d_i`, as :func:`paired_difference` gives.

    """
    values = np.asarray(difference["values"], dtype=float)
    return float(values.mean() / (values.std(ddof=1) / len(values) ** 0.5))


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[int] | np.ndarray | None = None,
    *,
    confidence: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> dict[str, Any]:
    r"""Mean of values and its percentile interval over resampled values (Efron 1979).

    .. math:: \bar v^* = \frac{1}{n} \sum_j c_j u_j , \qquad
              c \sim \mathrm{Multinomial}(n, n_j / n)

    with distinct values :math:`u_j`, found :math:`n_j` times among n: how often each *value* is
    drawn is all that the mean depends on, so that a share of hits costs no more than its counts.

    Args:
        values: One for each image, say: a hit, or a difference of hits.
        groups: Group of each value, such as its class. Then whole groups are resampled, and the
            mean is that of all values in the drawn groups.
        confidence: Of the interval.
        draws: Resampled means.
        seed: Of the resampling.

    Raises:
        ValueError: No values, values that are not finite, or groups of another length.

    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"need finite values in one dimension, got shape {array.shape}")
    draw = np.random.default_rng(seed)
    if groups is None:
        found, counts = np.unique(array, return_counts=True)
        means = draw.multinomial(len(array), counts / len(array), draws) @ found / len(array)
    else:
        if len(groups) != len(array):
            raise ValueError(f"got {len(array)} values and {len(groups)} groups")
        of = np.unique(np.asarray(groups), return_inverse=True)[1]
        sums, sizes = np.bincount(of, array), np.bincount(of)
        picks = draw.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), draws)
        means = (picks @ sums) / (picks @ sizes)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return {"mean": float(array.mean()), "low": low, "high": high, "n": len(array)}


def interval(ours: Any) -> tuple[float, float]:
    """Return the interval of a number of ours: low and high, else Student's 95 % of the mean."""
    if not isinstance(ours, Mapping):
        return float(ours), float(ours)
    if "low" in ours:
        return ours["low"], ours["high"]
    if ours.get("sd") is None:
        return ours["mean"], ours["mean"]
    half = float(student_t.ppf(0.975, ours["n"] - 1)) * ours["sd"] / ours["n"] ** 0.5
    return ours["mean"] - half, ours["mean"] + half
