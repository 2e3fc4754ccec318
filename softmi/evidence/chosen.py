r"""Intervals for numbers that rest on a choice made on held-out images, such as a threshold.

A map has a box at each of T thresholds. The one that is best for the held-out images is taken, and
judged on the test. Other held-out images would have chosen another, so the choice is made again in
each draw of the bootstrap: an interval that takes it as given is too narrow.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt16
from scipy.stats import norm
from scipy.stats import t as student_t

from softmi.evidence.statistics import crossed_interval

Hits = Bool[np.ndarray, "_seeds _images _choices"]
AT_A_TIME = 200  # draws whose counts are multiplied at once


def best_choice(held: Hits) -> Int[np.ndarray, " _seeds"]:
    """The choice of each seed with the most hits among held-out images; the first of equals."""
    return held.mean(1).argmax(1)


def chosen_interval(
    held: Sequence[Hits],
    test: Sequence[Hits],
    groups: tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray] | None = None,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    r"""Accuracy at chosen thresholds, or a difference of two, over seeds, images and choices.

    Method m hits test image i with the network of seed s at choice t, :math:`h^m_{sit} = 1`, and
    held-out image j, :math:`g^m_{sjt} = 1`, or not. Each network takes the choice that is best for
    the held-out images, and is judged by it:

    .. math::
        t^m_s = \arg\max_t \sum_j g^m_{sjt} , \qquad
        x_{si} = h^1_{si\,t^1_s} - h^2_{si\,t^2_s} , \qquad
        \bar r = \frac{1}{SI} \sum_{s,i} x_{si}

    A draw of the bootstrap counts held-out and test images as often as they are drawn, chooses
    anew, and averages over the seeds. Let :math:`d_-` and :math:`d_+` be the quantiles of what
    this gives, less the mean of all draws: choices are made twice by chance there, which lowers
    all of them. They hold what images and choices do, and with it the interaction of seeds and
    images, of variance C, which belongs to the seeds, of which there are few. With A and C as in
    :func:`softmi.evidence.statistics.crossed_interval`, the interval is

    .. math:: \bar r \mp \sqrt{t_{S-1}^2 \, A + \max\bigl(d_\mp^2 - z^2 C, 0\bigr)}

    which is that function's where nothing is left to choose and draws are normal. Of one network
    it holds images and choices alone.

    Args:
        held: Hits of one method or of two, shape (seeds, held-out images, choices) each. Methods
            may differ in their choices.
        test: The same of the test images.
        groups: Class of each held-out and of each test image: then whole classes of the test are
            drawn, the same in both.
        confidence: Coverage.
        draws: Of the bootstrap.
        seed: Of the draws.

    Returns:
        `mean`, `low`, `high`, `n` (seeds), `images` and `held` (their numbers), `values` (means of
        each seed), `choices`, the index chosen by each seed, for each method, and `variance` as
        the crossed interval has it, the choices taken as given; of one network there is none.

    Raises:
        ValueError: Other than one method or two, shapes that do not belong together, no seeds, or
            fewer than two test images.

    """
    if not 1 <= len(held) == len(test) <= 2:
        raise ValueError(f"need one method or two, got {len(held)} held out, {len(test)} tested")
    shapes = [(*g.shape, *h.shape) for g, h in zip(held, test, strict=True)]
    if any(len(s) != 6 or s[0] != s[3] or s[2] != s[5] or s[:2] != shapes[0][:2] or
           s[4] != shapes[0][4] for s in shapes):  # fmt: skip
        raise ValueError(f"need (seeds, images, choices) that belong together, got {shapes}")
    seeds, others, _, _, images, _ = shapes[0]
    if not seeds or not others or images < 2:
        raise ValueError(f"need a seed, a held-out image and two test images, got {shapes}")
    if groups is not None and (len(groups[0]), len(groups[1])) != (others, images):
        raise ValueError(f"need groups of {others} and {images} images, got "
                         f"{len(groups[0])} and {len(groups[1])}")  # fmt: skip
    choices = [best_choice(g) for g in held]
    hits = [
        np.take_along_axis(h, t[:, None, None], 2)[..., 0].astype(float)
        for h, t in zip(test, choices, strict=True)
    ]
    x = hits[0] - hits[1] if len(hits) == 2 else hits[0]
    rows, variance = x.mean(1), {"seeds": 0.0, "interaction": 0.0}
    if seeds > 1:
        variance = crossed_interval(x, confidence=confidence)["variance"]
    choosing, judged = ([h.astype(np.float32) for h in both] for both in (held, test))
    classes = groups and tuple(tuple(np.asarray(of).tolist()) for of in groups)
    counts = _counts(seed, draws, (others, images), classes)
    means = np.concatenate([
        _drawn_means(choosing, judged, *(of.astype(np.float32) for of in part)) for part in counts
    ])
    tail, freedom = (1 - confidence) / 2, max(seeds - 1, 1)
    of_seeds = student_t.isf(tail, freedom) ** 2 * (variance["seeds"] + variance["interaction"])
    of_both = norm.isf(tail) ** 2 * variance["interaction"]
    deviations = np.quantile(means, [tail, 1 - tail]) - means.mean()
    below, above = np.sqrt(max(of_seeds, 0.0) + np.maximum(deviations**2 - of_both, 0.0)).tolist()
    mean = float(rows.mean())
    return {
        "mean": mean,
        "low": mean - below,
        "high": mean + above,
        "n": seeds,
        "images": images,
        "held": others,
        "values": rows.tolist(),
        "choices": [t.tolist() for t in choices],
    } | ({"variance": variance} if seeds > 1 else {})


Drawn = UInt16[np.ndarray, "_draws _images"]
Counts = Float32[np.ndarray, "_draws _images"]  # whole numbers, exact up to 2^24
FloatHits = Float32[np.ndarray, "_seeds _images _choices"]
Groups = tuple[tuple[int, ...], tuple[int, ...]]


@lru_cache(maxsize=4)  # the differences of a result are over the same images and the same draws
def _counts(
    seed: int, draws: int, images: tuple[int, int], groups: Groups | None
) -> list[tuple[Drawn, Drawn]]:
    """How often each held-out and each test image is drawn, `AT_A_TIME` draws a part."""
    draw = np.random.default_rng(seed)
    numbers = [min(AT_A_TIME, draws - done) for done in range(0, draws, AT_A_TIME)]
    return [_counts_of_part(draw, number, images, groups) for number in numbers]


def _counts_of_part(
    draw: np.random.Generator, number: int, images: tuple[int, int], groups: Groups | None
) -> tuple[Drawn, Drawn]:
    if groups is None:
        held, test = (_multinomial(draw, n, number) for n in images)
        return held, test
    names, of_test = np.unique(groups[1], return_inverse=True)
    picks = np.pad(_multinomial(draw, len(names), number), ((0, 0), (0, 1)))
    # Held-out images of a class that is not judged come last, and are never drawn.
    of_held = np.where(np.isin(groups[0], names), np.searchsorted(names, groups[0]), len(names))
    return picks[:, of_held], picks[:, of_test]


def _multinomial(draw: np.random.Generator, n: int, number: int) -> UInt16[np.ndarray, "_ _n"]:
    return draw.multinomial(n, np.full(n, 1 / n), number).astype(np.uint16)


def _drawn_means(
    held: Sequence[FloatHits], test: Sequence[FloatHits], of_held: Counts, of_test: Counts
) -> Float[np.ndarray, " _draws"]:
    """Mean over seeds of what is chosen and judged anew by images that count as often as drawn."""
    total, images = np.zeros(len(of_held)), of_test.sum(1).astype(float)
    for sign, g, h in zip((1, -1), held, test, strict=False):
        for of_seed, judged in zip(g, h, strict=True):
            best = (of_held @ of_seed).argmax(1)
            total += sign * (of_test @ judged)[np.arange(len(best)), best] / images
    return total / len(held[0])
