"""What the authors' evaluation computes: hand-computed numbers, and how it differs from a mean."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from softmi import box_iou
from softmi.experiments.published_code import (
    effect_of_unclamped_overlap,
    mean_of_running_means,
    printed_accuracy,
    scores_by_misread_boxes,
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


def test_printed_number_is_that_of_the_list_sorted_by_class():
    hits, targets = torch.tensor([0, 1, 0, 1]).bool(), torch.tensor([1, 0, 1, 0])
    found = printed_accuracy(hits, targets, [2, 4], orders=100)
    assert found["accuracy"] == 0.5
    assert (found["batch_2"]["printed"], found["batch_2"]["off"]) == (0.75, 0.25)
    assert found["batch_2"]["other_orders"] == {"low": 0.25, "high": 0.75}  # the two extremes
    assert found["batch_4"]["other_orders"] == {"low": 0.5, "high": 0.5}  # one batch: a mean


def test_misread_boxes_reward_the_picture_and_not_the_truth():
    # In the corner all is read rightly; a box at the far edge becomes four times as large.
    true = torch.tensor([[0.0, 0, 40, 40], [32, 32, 64, 64]])
    found = scores_by_misread_boxes(true, true, 64)
    assert found["misread"] == found["leaves_the_picture"] == 0.5
    assert found["perfect"] == 0.5
    assert found["best_possible"] == 0.5  # a quarter of 64 x 64 lies inside the picture
    assert found["whole_picture_true"] == 0  # 0.39 and 0.25
    assert found["infocam_true"] == 1


def test_overlap_without_a_clamp_makes_hits_of_boxes_apart():
    true = torch.tensor([[0, 0, 50, 50], [0, 0, 50, 50], [0, 0, 50, 50]])
    ours = torch.tensor([[100, 100, 150, 150], [10, 10, 50, 50], [60, 0, 90, 50]])
    # apart in both axes; overlapping; apart in one, where the overlap is negative
    assert effect_of_unclamped_overlap(ours, true) == {"differ": 2, "false_hits": 1, "images": 3}
