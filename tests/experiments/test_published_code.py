"""What the authors' evaluation computes: hand-computed numbers, and how it differs from a mean."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from softmi import box_iou
from softmi.experiments.published_code import (
    mean_of_running_means,
    unclamped_iou,
    weights_of_running_means,
)


def meter(hits, batch_size):
    """The same by the steps of the original: a meter that averages the share so far."""
    right = seen = total = count = 0
    for start in range(0, len(hits), batch_size):
        batch = hits[start : start + batch_size]
        right, seen = right + sum(batch), seen + len(batch)
        total, count = total + right / seen * len(batch), count + len(batch)
    return total / count


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50, 99, 100, 1000])
def test_running_means_equal_a_meter_that_is_fed_step_by_step(batch_size):
    hits = torch.rand(100, generator=torch.Generator().manual_seed(batch_size)) < 0.4
    expected = meter(hits.double().tolist(), batch_size)
    # 100 additions of numbers below 1, in another order
    assert mean_of_running_means(hits, batch_size) == pytest.approx(expected, abs=100 * 2**-52)


def test_one_batch_gives_the_mean():
    hits = torch.tensor([1, 0, 0, 1, 1])
    assert mean_of_running_means(hits, 5) == pytest.approx(0.6, abs=1e-15)


def test_hand_computed_number_depends_on_the_order():
    hits = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert mean_of_running_means(hits, 2) == 0.75
    assert mean_of_running_means(hits.flip(0), 2) == 0.25


def test_weights_average_to_one_and_fall():
    weights = weights_of_running_means(2878, 30)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-12)
    assert (weights.diff() <= 0).all()
    assert float(weights[0]) > 5
    assert float(weights[-1]) < 0.02


def test_weights_tend_to_minus_the_logarithm_of_the_place():
    weights, n = weights_of_running_means(100_000, 10), 100_000
    for low, high in ((0.01, 0.02), (0.1, 0.2), (0.5, 0.6), (0.9, 1.0)):
        expected = quad(lambda t: -np.log(t), low, high)[0] / (high - low)
        found = float(weights[round(low * n) : round(high * n)].mean())
        # the sum of n_b / N_b is a Riemann sum of 1 / t: off by at most one step at each end
        assert found == pytest.approx(expected, abs=2 * 10 / n / low)


@pytest.mark.parametrize(("images", "batch"), [(0, 3), (5, 0)])
def test_no_images_or_no_batch_is_an_error(images, batch):
    with pytest.raises(ValueError, match=f"got {images} and {batch}"):
        weights_of_running_means(images, batch)


def test_unclamped_overlap_of_boxes_apart_in_both_axes_is_positive():
    a, b = torch.tensor([[0, 0, 50, 50], [100, 100, 150, 150]])
    # sides 50 - 100 + 1 = -49, their product 2401; areas 51 x 51
    assert float(unclamped_iou(a, b)) == pytest.approx(2401 / (2 * 2601 - 2401))
    assert float(box_iou(a, b)) == 0


def test_unclamped_overlap_equals_the_true_one_where_boxes_meet():
    corner = torch.randint(0, 40, (500, 2, 2), generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corner, corner + 45], -1)  # all contain the pixel (42, 42)
    a, b = boxes.unbind(1)
    torch.testing.assert_close(unclamped_iou(a, b), box_iou(a, b, inclusive=True), atol=0, rtol=0)
