"""Sums over windows and boxes: by hand, by convolution, pixel by pixel."""

import pytest
import scipy.signal
import torch

from softmi import sum_in_boxes, window_sum
from softmi.maps import share_of_cells

# --- Window sum -------------------------------------------------------------------------------


@pytest.mark.paper("qin2021infocam", "region of infoCAM")
def test_window_sum_by_hand():
    one = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert window_sum(one, 2).tolist() == [[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]
    assert window_sum(one, 2, pad=False).tolist() == [[[10]]]
    assert window_sum(one, 1).tolist() == one.tolist()


@pytest.mark.parametrize("window", [1, 2, 3, 4])
@pytest.mark.parametrize(("pad", "mode"), [(True, "full"), (False, "valid")])
def test_window_sum_is_a_convolution_with_ones(window, pad, mode):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    found = window_sum(maps, window, pad=pad)
    ones = torch.ones(window, window).double().numpy()
    for one, expected in zip(maps, found, strict=True):
        oracle = scipy.signal.convolve2d(one.numpy(), ones, mode=mode)
        torch.testing.assert_close(expected, torch.from_numpy(oracle), rtol=0, atol=1e-14)


@pytest.mark.paper("qin2021infocam", "region of infoCAM")
@pytest.mark.parametrize(
    ("side", "window", "padded", "inside"), [(14, 4, 17, 11), (4, 3, 6, 2), (7, 2, 8, 6)]
)
def test_window_sum_grows_the_map_as_the_authors_does(side, window, padded, inside):
    """14 to 17 cells on CUB, 4 to 6 on Tiny-ImageNet."""
    maps = torch.ones(1, side, side)
    assert window_sum(maps, window).shape == (1, padded, padded)
    assert window_sum(maps, window, pad=False).shape == (1, inside, inside)
    # Each cell is counted in every window that holds it.
    assert window_sum(maps, window).sum() == window**2 * side**2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_maps_are_summed_in_float32(dtype):
    maps = torch.full((1, 4, 4), 5000.0, dtype=dtype)  # 16 of them are beyond float16
    found = window_sum(maps, 4)
    assert found.dtype == torch.float32
    assert torch.equal(found, window_sum(maps.float(), 4))
    assert found.max() == 16 * maps.float()[0, 0, 0]


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool], ids=str)
def test_windows_of_bytes_would_wrap_and_are_refused(dtype):
    with pytest.raises(TypeError, match=f"maps must be floating point, got .*{dtype}"):
        window_sum(torch.ones(1, 4, 4).to(dtype), 2)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("maps", "window", "pad", "message"),
    [
        (torch.zeros(2, 2), 2, True, r"\(batch, height, width\), got shape \(2, 2\)"),
        (torch.zeros(1, 2, 2), 0, True, r"at least 1 and fit \(1, 2, 2\), got 0"),
        (torch.zeros(1, 2, 3), 3, False, r"fit \(1, 2, 3\), got 3"),
    ],
)
def test_bad_windows_are_refused_with_what_came_in(maps, window, pad, message):
    with pytest.raises(ValueError, match=message):
        window_sum(maps, window, pad=pad)


# --- The nats of a region ---------------------------------------------------------------------


def test_shares_of_cells_are_areas():
    boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0], [4.0, 0.0, 6.0, 16.0], [3.0, 3.0, 5.0, 5.0]])
    whole, band, square = share_of_cells(boxes, (4, 4), (16, 16))
    assert (whole == 1).all()
    assert torch.equal(band[0], torch.tensor([0, 0.5, 0, 0], dtype=torch.float64))
    assert square[:2, :2].eq(1 / 16).all()
    assert float(square.sum()) == 4 / 16


@pytest.mark.parametrize(
    ("boxes", "cells", "message"),
    [
        (torch.zeros(4), (3, 3), r"\(4,\)"),
        (torch.zeros(1, 4), (0, 3), r"\(0, 3\)"),
        (torch.tensor([[0, 2, 1, 1]]), (3, 3), "y1 < y0"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_shares_of_impossible_cells_are_refused(boxes, cells, message):
    with pytest.raises(ValueError, match=message):
        share_of_cells(boxes, cells, (9, 9))


def test_sum_in_boxes_by_hand():
    maps = torch.tensor([[[1.0, 2.0], [4.0, 8.0]]]).expand(6, 2, 2)
    boxes = [[0, 0, 5, 5], [0, 0, 10, 10], [5, 0, 10, 5], [2.5, 0, 7.5, 10], [3, 3, 3, 9],
             [-5, -5, 5, 2.5]]  # fmt: skip
    sums = sum_in_boxes(maps, torch.tensor(boxes), (10, 10))
    assert sums.tolist() == [1, 15, 2, 7.5, 0, 0.5]


def test_a_box_holds_the_pixels_of_the_map_in_steps_that_it_covers():
    """Cells of 6 x 4 pixels, each pixel with its share of the cell, and boxes of whole pixels."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(50, 5, 3, generator=generator, dtype=torch.float64)
    corners = torch.stack([torch.randint(19, (50, 2), generator=generator),
                           torch.randint(21, (50, 2), generator=generator)], 2)  # fmt: skip
    low, high = corners.sort(1).values.unbind(1)
    boxes = torch.stack([low[:, 0], low[:, 1], high[:, 0], high[:, 1]], 1)
    pixels = maps.repeat_interleave(4, 1).repeat_interleave(6, 2) / 24
    expected = [p[y0:y1, x0:x1].sum() for p, (x0, y0, x1, y1) in zip(pixels, boxes, strict=True)]
    found = sum_in_boxes(maps, boxes, (18, 20))
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-13)


def test_parts_of_a_picture_sum_to_the_whole_map():
    maps = torch.randn(1, 7, 7, dtype=torch.float64).expand(4, 7, 7)
    x, y = 71.3, 155.9
    parts = [[0, 0, x, y], [x, 0, 224, y], [0, y, x, 200], [x, y, 224, 200]]
    sums = sum_in_boxes(maps, torch.tensor(parts, dtype=torch.float64), (224, 200))
    torch.testing.assert_close(sums.sum(), maps[0].sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("maps", "boxes", "size", "error", "message"),
    [
        (torch.zeros(2, 3, 3), torch.zeros(1, 4), (9, 9), ValueError, r"\(2, 3, 3\).*\(1, 4\)"),
        (torch.zeros(3, 3), torch.zeros(3, 4), (9, 9), ValueError, r"\(3, 3\)"),
        (torch.zeros(1, 3, 3).int(), torch.zeros(1, 4), (9, 9), TypeError, "int32"),
        (torch.zeros(1, 3, 3), torch.zeros(1, 4), (9, 0), ValueError, r"\(9, 0\)"),
        (torch.zeros(1, 3, 3), torch.tensor([[2, 0, 1, 1]]), (9, 9), ValueError, "x1 < x0"),
        (torch.zeros(1, 3, 3), torch.full((1, 4), torch.nan), (9, 9), ValueError, "NaN"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_regions_that_make_no_sense_are_refused(maps, boxes, size, error, message):
    with pytest.raises(error, match=message):
        sum_in_boxes(maps, boxes, size)
