"""Do seeds differ less than methods? A ratio of spreads, with its interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import t as student_t

from softmi.evidence.statistics import crossed_interval


def log_ratio(table: Float[np.ndarray, "methods seeds"]) -> float:
    r"""Logarithm of the spread over seeds over that over methods.

    .. math::
        \theta = \tfrac12 \log \frac1M \sum_m \mathrm{var}_s(T_{ms})
                 - \tfrac12 \log \mathrm{var}_m(\bar T_m)

    A spread of zero counts as 1e-9.
    """
    over_seeds, over_methods = table.var(1, ddof=1).mean(), table.mean(1).var(ddof=1)
    return 0.5 * float(np.log(max(over_seeds, 1e-18)) - np.log(max(over_methods, 1e-18)))


def spread_over_seeds(
    outcomes: Shaped[np.ndarray, "methods seeds images"],
    groups: Sequence[int] | np.ndarray | None = None,
    weights: Sequence[float] | np.ndarray | None = None,
    *,
    confidence: float = 0.95,
) -> dict[str, Any]:
    r"""Standard deviation over seeds within a method, and over the means of methods.

    With the accuracies :math:`T_{ms}`, the weighted means of the outcomes as in
    :func:`softmi.evidence.statistics.crossed_interval`, and :math:`\theta` of
    :func:`softmi.experiments.seed_spread.log_ratio`,
    the ratio has the interval

    .. math::
        \exp\Bigl(\theta \pm \sqrt{t_{S-1}^2 V_S + t_{I-G}^2 V_I}\Bigr), \quad
        V_S = \frac{S-1}{S} \sum_s \bigl(\theta_{(s)} - \bar\theta_{(\cdot)}\bigr)^2, \quad
        V_I = \sum_g \frac{W_g^2}{n_g} \mathrm{var}_g(u), \quad
        u_i = \sum_{m,s} \frac{\partial \theta}{\partial T_{ms}} x_{msi}

    :math:`V_S` leaves out one seed of all methods at a time, since they share first weights and
    batches; on the scale of the logarithm the jackknife suits a spread (Miller 1974), where
    resampling as few as five seeds would understate it. A ratio of spreads is no mean of outcomes,
    so images enter by its slope. Chance of seeds and images together is in both parts: the
    interval is if anything too wide.

    Args:
        outcomes: Hits of the networks, of two methods and three seeds or more.
        groups: Class of each image.
        weights: Of the classes.
        confidence: Coverage.

    Returns:
        `over_seeds`, `over_methods`, and `ratio` with `mean` (the ratio itself), `low`, `high`,
        `n` (seeds) and `images`.

    Raises:
        ValueError: Fewer than two methods or three seeds, or what `crossed_interval` refuses.

    """
    if outcomes.shape[0] < 2 or outcomes.shape[1] < 3:
        raise ValueError(f"need two methods and three seeds or more, got shape {outcomes.shape}")
    means = [crossed_interval(x, groups, weights) for x in outcomes]
    table = np.array([found["values"] for found in means])
    methods, seeds = table.shape
    left_out = np.array([log_ratio(np.delete(table, s, axis=1)) for s in range(seeds)])
    of_seeds = (seeds - 1) / seeds * float(((left_out - left_out.mean()) ** 2).sum())

    centre = table.mean(1, keepdims=True)
    within = max(float(table.var(1, ddof=1).mean()), 1e-18)
    between = max(float(table.mean(1).var(ddof=1)), 1e-18)
    slope = (table - centre) / (methods * (seeds - 1) * within) - (centre - centre.mean()) / (
        (methods - 1) * seeds * between
    )
    influence = np.tensordot(slope, outcomes.astype(float), axes=2)
    # Two rows alike have no interaction: what is left of the interval's parts is that of images.
    of_images = crossed_interval(np.stack([influence] * 2), groups, weights)
    level = (1 + confidence) / 2
    freedom = of_images["images"] - of_images["groups"]
    half = np.sqrt(
        student_t.ppf(level, seeds - 1) ** 2 * of_seeds
        + student_t.ppf(level, freedom) ** 2 * of_images["variance"]["images"]
    )
    theta = log_ratio(table)
    low, ratio, high = np.exp([theta - half, theta, theta + half]).tolist()
    return {
        "over_seeds": float(within**0.5),
        "over_methods": float(between**0.5),
        "ratio": {"mean": ratio, "low": low, "high": high, "n": seeds,
                  "images": of_images["images"]},
    }  # fmt: skip
