"""Average precision of pixels: by hand, bin by bin, and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from softmi.maps import PixelAveragePrecision

MAPS = torch.zeros(2, 4, 4, dtype=torch.uint8)


# --- PxAP -------------------------------------------------------------------------------------


@pytest.mark.paper("choe2020", "PxAP")
def test_pixel_average_precision_by_hand():
    # From the top: 255 is object, 200 is not, 100 is, 0 is not: precision 1 at recall 1/2, and
    # 2/3 at recall 1. The ignored pixel at 255 would halve the first.
    maps = torch.tensor([[[0, 100, 200], [255, 255, 0]]], dtype=torch.uint8)
    masks = torch.tensor([[[0, 1, 0], [1, 0, 0]]])
    ignore = torch.tensor([[[0, 1, 0], [0, 1, 1]]])  # on the object it has no effect
    metric = PixelAveragePrecision()
    assert metric(maps, masks, ignore).item() == pytest.approx(1 / 2 + 1 / 2 * 2 / 3, abs=1e-15)
    assert metric.histogram.sum() == 4
    plain = PixelAveragePrecision()
    assert plain(maps, masks).item() == pytest.approx(1 / 2 * 1 / 2 + 1 / 2 * 2 / 4, abs=1e-15)
    precision, recall = plain.curve()
    assert precision[0] == 0.5  # pixels of 255, one in two
    assert recall[[0, -1]].tolist() == [0.5, 1.0]


def pixels(seed: int, images: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, 256, (images, 9, 11), generator=generator).to(torch.uint8)
    masks = torch.rand(maps.shape, generator=generator) < maps / 400 + 0.1
    return maps, masks


def by_histogram(scores: np.ndarray, truth: np.ndarray, thresholds: int) -> float:
    """Spell the sum out, bin by bin: a pixel is found at every threshold up to its score."""
    edges = [*np.arange(0, 1, 1 / thresholds)[:thresholds], 1.0]
    area, recall_before = 0.0, 0.0
    for edge in reversed(edges):
        found = scores >= edge
        if found.any():
            recall = (found & truth).sum() / truth.sum()
            area += (found & truth).sum() / found.sum() * (recall - recall_before)
            recall_before = recall
    return float(area)


@pytest.mark.parametrize("thresholds", [1, 7, 100, 1000])
def test_pixel_average_precision_counts_by_the_thresholds(thresholds):
    maps, masks = pixels(0)
    metric = PixelAveragePrecision(thresholds)
    metric.update(maps, masks)
    expected = by_histogram(maps.double().numpy() / 255, masks.numpy(), thresholds)
    assert metric.compute().item() == pytest.approx(expected, abs=1e-14)


def test_float_maps_are_normalised_image_by_image_and_bins_hold_their_lower_edge():
    maps, masks = pixels(1)
    floats = torch.rand(maps.shape, generator=torch.Generator().manual_seed(2)) * 7 - 3
    low, high = floats.double().amin((1, 2), True), floats.double().amax((1, 2), True)
    metric = PixelAveragePrecision(20)
    metric.update(floats, masks)
    expected = by_histogram(((floats.double() - low) / (high - low)).numpy(), masks.numpy(), 20)
    assert metric.compute().item() == pytest.approx(expected, abs=1e-14)
    edges = torch.tensor([[[0, 1, 0.5, 0.49, 0.5]]], dtype=torch.float64)
    metric = PixelAveragePrecision(2)
    metric.update(edges, torch.ones_like(edges))
    assert metric.histogram.tolist() == [[0, 0, 0], [2, 2, 1]]


def test_a_bin_a_byte_is_the_average_precision_of_all_pixels():
    metric, fine = PixelAveragePrecision(None), PixelAveragePrecision(1000)
    everything = [pixels(seed, images) for seed, images in ((3, 1), (4, 5), (5, 2))]
    for batch in everything:
        metric.update(*batch)
        fine.update(*batch)
    scores, truth = (torch.cat([b[i].flatten() for b in everything]) for i in (0, 1))
    expected = average_precision_score(truth.numpy(), scores.numpy())
    assert metric.compute().item() == pytest.approx(expected, abs=1e-12)
    assert fine.compute().item() == pytest.approx(expected, abs=1e-12)  # finer than bytes


def test_memory_of_pixel_average_precision_does_not_grow():
    metric = PixelAveragePrecision()
    before = metric.histogram.shape
    for seed in range(20):
        metric.update(*pixels(seed))
    assert metric.histogram.shape == before
    assert metric.histogram.sum() == 20 * 6 * 9 * 11


def test_limits_of_pixel_average_precision():
    maps, masks = pixels(6)
    perfect = PixelAveragePrecision()
    assert perfect(255 * masks.to(torch.uint8), masks).item() == 1.0
    constant = PixelAveragePrecision()  # says nothing: the share of foreground
    share = masks.double().mean().item()
    assert constant(torch.full(maps.shape, 3.5), masks).item() == pytest.approx(share, abs=1e-15)
    empty = PixelAveragePrecision()
    assert empty(maps, torch.zeros_like(masks)).isnan()  # nothing to find
    assert PixelAveragePrecision()(maps, torch.ones_like(masks)).item() == pytest.approx(1.0)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("masks", "ignore", "message"),
    [
        (torch.zeros(2, 4, 5), None, r"masks must have shape \(2, 4, 4\) of the score maps"),
        (torch.zeros(2, 4, 4), torch.zeros(1, 4, 4), "ignore must have shape"),
        (torch.full((2, 4, 4), 255), None, r"masks must hold 0 and 1 .* 1 values from 255"),
        (torch.full((2, 4, 4), 0.5), None, r"got 1 values from 0\.5"),
        (torch.full((2, 4, 4), torch.nan), None, "masks must hold 0 and 1"),
        (torch.zeros(2, 4, 4), torch.full((2, 4, 4), 2), "ignore must hold 0 and 1"),
    ],
)
def test_bad_masks_are_refused_with_what_came_in(masks, ignore, message):
    metric = PixelAveragePrecision()
    with pytest.raises(ValueError, match=message):
        metric.update(MAPS, masks, ignore)
    assert not metric.histogram.any()
    with pytest.raises(ValueError, match="thresholds must be at least 1, or None, got 0"):
        PixelAveragePrecision(0)
