"""Summaries, differences and their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as student_t


def summarise(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """Mean, sample standard deviation and number of repeated runs, with the values.

    Raises:
        ValueError: No values.

    """
    array = np.asarray(values, dtype=float)
    if not len(array):
        raise ValueError("nothing to summarise: no values")
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
    ours: Sequence[float] | np.ndarray,
    theirs: Sequence[float] | np.ndarray,
    *,
    confidence: float = 0.95,
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


def crossed_interval(
    outcomes: np.ndarray,
    groups: Sequence[int] | np.ndarray | None = None,
    weights: Sequence[float] | np.ndarray | None = None,
    *,
    confidence: float = 0.95,
) -> dict[str, Any]:
    r"""Mean over seeds and test images with an interval that holds the chance of both.

    Networks of S seeds answer the same I images: outcomes :math:`x_{si}`, a hit or a difference of
    two hits. Groups g of :math:`n_g` images have weights :math:`W_g`; each image of g counts
    :math:`w_i = W_g / n_g`. With row means :math:`r_s = \sum_i w_i x_{si}`, column means
    :math:`c_i` and the residuals :math:`e_{si}` of the two-way layout in each group, the mean
    :math:`\bar r` has the variance A + B - C:

    .. math::
        A = \frac{\mathrm{var}(r)}{S}, \quad
        B = \sum_g \frac{W_g^2}{n_g} \mathrm{var}_g(c), \quad
        C = \frac{1}{S} \sum_g \frac{W_g^2}{n_g}
            \frac{\sum_{s, i \in g} e_{si}^2}{(S-1)(n_g-1)}, \quad
        \bar r \pm \sqrt{t_{S-1}^2 A + t_{I-G}^2 \max(B - C, 0)}

    A holds what seeds do, B what images do; both hold the interaction C, which counts once. The
    half-widths add in squares (Graybill and Wang 1980): where one source dominates it is Student's
    interval for that source. An interval over seeds alone, :math:`\sqrt A`, takes the test set
    for all there is; with three seeds a crossed bootstrap covers .74.

    Args:
        outcomes: Shape (seeds, images), at least two of each.
        groups: Class of each image. Images are drawn within their class; by default all are of one
            group, and all count the same.
        weights: :math:`W_g` of the groups 0, 1, and so on: of any sign and sum. Images of a group
            of weight zero are left out. By default :math:`W_g = 1/G`, the mean of the groups'
            means.
        confidence: Coverage.

    Returns:
        `mean`, `low`, `high`, `n` (seeds), `images` and `groups` (I and G, of those that count),
        `values` (row means), and `variance`, the three parts: "seeds" (A - C), "images" (B - C)
        and "interaction" (C).

    Raises:
        ValueError: Another shape, fewer than two seeds, or than two images of a group, values
            that are not finite, or weights that do not fit the groups.

    """
    x = np.asarray(outcomes, dtype=float)
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 2 or not np.isfinite(x).all():
        raise ValueError(f"need finite outcomes of 2 seeds and 2 images or more, got {x.shape}")
    if groups is not None and len(groups) != x.shape[1]:
        raise ValueError(f"got {x.shape[1]} images and {len(groups)} groups")
    names = np.zeros(x.shape[1], int) if groups is None else np.asarray(groups)
    if weights is not None:
        of_group = np.asarray(weights, dtype=float)
        if groups is None or names.min() < 0 or names.max() >= len(of_group):
            raise ValueError(f"{len(of_group)} weights need groups from 0 to {len(of_group) - 1}")
        counting = of_group[names] != 0
        if set(np.flatnonzero(of_group)) - set(names[counting].tolist()) or not counting.any():
            raise ValueError("a group with a weight has no images, or no group has a weight")
        x, names = x[:, counting], names[counting]
    found, of = np.unique(names, return_inverse=True)
    sizes, seeds, images = np.bincount(of), x.shape[0], x.shape[1]
    if sizes.min() < 2:
        raise ValueError(f"a group has fewer than two images: sizes {sizes.tolist()}")
    share = np.full(len(found), 1 / len(found)) if weights is None else of_group[found]  # W_g
    rows = x @ (share / sizes)[of]
    by_rows = rows.var(ddof=1) / seeds
    by_columns = both = 0.0
    for group, size in enumerate(sizes):
        own = x[:, of == group]
        columns = own.mean(0)
        rest = own - own.mean(1, keepdims=True) - columns + own.mean()
        by_columns += share[group] ** 2 / size * columns.var(ddof=1)
        both += share[group] ** 2 / size * (rest**2).sum() / ((seeds - 1) * (size - 1) * seeds)
    variance = {"seeds": by_rows - both, "images": by_columns - both, "interaction": both}
    parts = {"n": seeds, "images": images, "groups": len(found),
             "variance": {k: float(v) for k, v in variance.items()}}  # fmt: skip
    mean, half = float(rows.mean()), _half_width(parts, (1 - confidence) / 2)
    ends = {"low": mean - half, "high": mean + half}
    return {"mean": mean, **ends, "values": rows.tolist(), **parts}


def _half_width(crossed: Mapping[str, Any], tail: float) -> float:
    """Half of a crossed interval that leaves out `tail` on either side, from its stored parts."""
    variance, freedom = crossed["variance"], crossed["images"] - crossed["groups"]
    of_seeds = student_t.isf(tail, crossed["n"] - 1) ** 2 * (
        variance["seeds"] + variance["interaction"]
    )
    of_images = student_t.isf(tail, freedom) ** 2 * max(variance["images"], 0.0)
    return float(np.sqrt(max(of_seeds, 0.0) + of_images))


def crossed_p_value(crossed: Mapping[str, Any]) -> float:
    r"""Two-sided p-value of "the mean is zero" that belongs to a crossed interval.

    The largest p at which the interval of coverage 1 - p of :func:`crossed_interval` still holds
    zero, from the parts of variance that it returns:

    .. math:: t_{S-1, 1-p/2}^2 \, A + t_{I-G, 1-p/2}^2 \max(B - C, 0) = \bar r^2

    Where nothing varies it is 1 for a mean of zero, else 0; values below 1e-12 are given as 0.
    """
    mean = abs(crossed["mean"])

    def beyond(p: float) -> float:
        return _half_width(crossed, p / 2) - mean

    if beyond(1e-12) <= 0:
        return 0.0 if mean else 1.0
    return float(brentq(beyond, 1e-12, 1.0, xtol=1e-14))


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    r"""Adjusted p-values of a family, by Holm's step-down rule (1979).

    .. math:: \tilde p_{(j)} = \max_{i \le j} \min\bigl((m - i + 1)\, p_{(i)}, 1\bigr)

    with :math:`p_{(1)} \le \dots \le p_{(m)}`. Rejecting where :math:`\tilde p \le \alpha` makes
    any wrong rejection in the family no more likely than :math:`\alpha`.

    Raises:
        ValueError: A value outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    """
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must be in [0, 1], got {p.tolist()}")
    order = np.argsort(p)
    steps = np.minimum((len(p) - np.arange(len(p))) * p[order], 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps) if len(p) else steps
    return adjusted.tolist()


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


def has_spread(ours: Any) -> bool:
    """Whether a number of ours comes with an interval, or with what gives one."""
    return isinstance(ours, Mapping) and ("low" in ours or ours.get("sd") is not None)
