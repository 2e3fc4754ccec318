"""The spread over seeds beside that over methods: by hand, and where the truth is known."""

import numpy as np
import pytest
from scipy.stats import t

from softmi.experiments.seed_spread import log_ratio, spread_over_seeds


def drawn(rng, ratio: float, seeds: int, images: int = 200) -> np.ndarray:
    """Outcomes of four methods whose accuracies differ by `1 / ratio` times what seeds do."""
    levels = np.array([-1.0, -0.3, 0.4, 0.9])
    levels *= 0.05 / levels.std(ddof=1)
    of_seeds = 0.05 * ratio * rng.normal(size=(4, seeds, 1))
    of_images = rng.normal(0, 0.3, (1, 1, images))  # shared, and so of no matter to the ratio
    return 0.5 + levels[:, None, None] + of_seeds + of_images


def test_the_ratio_is_that_of_the_standard_deviations():
    table = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert np.exp(log_ratio(table)) == pytest.approx(2**0.5 / 3)
    found = spread_over_seeds(table[:, :, None] + np.zeros((2, 3, 4)))
    assert found["over_seeds"] == pytest.approx(1)
    assert found["over_methods"] == pytest.approx(3 / 2**0.5)
    assert found["ratio"]["mean"] == pytest.approx(2**0.5 / 3)


@pytest.mark.parametrize(("ratio", "seeds"), [(0.2, 5), (1.0, 5), (0.5, 3)])
def test_the_interval_covers(ratio, seeds):
    """Not below .95 by more than three standard errors of 300 experiments."""
    rng = np.random.default_rng(seeds)
    held = 0
    for _ in range(300):
        found = spread_over_seeds(drawn(rng, ratio, seeds))["ratio"]
        held += found["low"] <= ratio <= found["high"]
    assert held / 300 >= 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5


def test_few_images_widen_the_interval():
    """Methods that differ by pictures of their own may not differ on others."""
    rng = np.random.default_rng(0)
    own = rng.random((3, 1, 800)) < np.array([0.5, 0.55, 0.6])[:, None, None]
    hits = own ^ (rng.random((3, 5, 800)) < 0.05)
    wide, narrow = (spread_over_seeds(hits[:, :, :n])["ratio"] for n in (200, 800))
    assert np.log(wide["high"] / wide["low"]) > np.log(narrow["high"] / narrow["low"])


def test_the_slope_is_that_of_the_ratio():
    """The influence of an image, against a finite difference of its weight."""
    rng = np.random.default_rng(1)
    hits = rng.random((3, 4, 60)) < 0.6
    hits[0, :, :20] = True
    table = hits.mean(2)
    images = []
    for i in range(60):
        step = 1e-6 * (hits[:, :, i] - table)
        images.append((log_ratio(table + step) - log_ratio(table - step)) / 2e-6)
    expected = np.var(images, ddof=1) / 60
    left_out = np.array([log_ratio(np.delete(table, s, 1)) for s in range(4)])
    of_seeds = 3 / 4 * ((left_out - left_out.mean()) ** 2).sum()
    half = np.sqrt(t.ppf(0.975, 3) ** 2 * of_seeds + t.ppf(0.975, 59) ** 2 * expected)
    found = spread_over_seeds(hits)["ratio"]
    assert np.log(found["high"] / found["mean"]) == pytest.approx(half, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 5), (2, 2, 5)])
def test_one_method_or_two_seeds_have_no_interval(shape):
    with pytest.raises(ValueError, match="need two methods and three seeds or more"):
        spread_over_seeds(np.zeros(shape))
