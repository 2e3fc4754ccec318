"""Maps of cells over pictures: by hand, by an interpolation written out, and what is refused."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from softmi import boxes_from_score_maps, map_to_picture, window_sum

MAPS = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def cubic(distance: float) -> float:
    """Keys' kernel with a = -3/4, as OpenCV and PyTorch have it."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return (((d - 5) * d + 8) * d - 4) * a if d < 2 else 0.0


def weights(cells: int, pixels: int, mode: str) -> np.ndarray:
    """Weight of each cell in each pixel along one axis, cells beyond the border repeating it."""
    found = np.zeros((pixels, cells))
    for x in range(pixels):
        place = (x + 0.5) * cells / pixels - 0.5
        for cell in range(math.floor(place) - 1, math.floor(place) + 3):
            share = cubic(place - cell) if mode == "bicubic" else max(0, 1 - abs(place - cell))
            if mode == "nearest":
                share = float(cell == math.floor(x * cells / pixels))
            found[x, min(max(cell, 0), cells - 1)] += share
    return found


@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("size", [(4, 5), (8, 5), (13, 31), (3, 2)])
def test_pixels_are_those_of_the_formula(mode, size):
    rows, columns = weights(4, size[0], mode), weights(5, size[1], mode)
    expected = torch.from_numpy(np.einsum("hi,nij,wj->nhw", rows, MAPS.numpy(), columns))
    found = map_to_picture(MAPS, size, mode=mode)
    assert found.shape == (3, *size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.usefixtures("no_shape_checks")  # annotations know tuples of Python's integers only
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_by_default_it_is_the_line_that_it_replaced_to_the_last_bit(dtype):
    maps = MAPS.to(dtype)
    line = F.interpolate(maps[:, None], size=(28, 30), mode="bicubic", align_corners=False)[:, 0]
    assert torch.equal(map_to_picture(maps, (28, 30)), line)
    square = F.interpolate(maps[:, None], size=28, mode="bicubic")[:, 0]
    for size in (28, (28, 28), [28, 28], torch.empty(1, 1, 28, 28).shape[2:], np.int64(28)):
        assert torch.equal(map_to_picture(maps, size), square)


def test_box_of_one_bright_cell_is_that_cell():
    spot = torch.zeros(1, 7, 7)
    spot[0, 1, 5] = 1
    squares = map_to_picture(spot, 280, mode="nearest")
    assert boxes_from_score_maps(squares, 0.5).tolist() == [[200, 40, 240, 80]]


def test_window_sum_pulls_to_the_centre_and_makes_smaller():
    """From h cells to h + s - 1 of the same picture."""
    spot = torch.zeros(1, 7, 7)
    spot[0, 1, 5] = 1
    squares = map_to_picture(window_sum(spot, 4), 280, mode="nearest")
    assert boxes_from_score_maps(squares, 0.5).tolist() == [[140, 28, 252, 140]]


@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest"])
def test_a_constant_map_stays_constant_and_images_do_not_see_each_other(mode):
    ones = map_to_picture(torch.full((1, 3, 3), 2.5), (7, 11), mode=mode)
    torch.testing.assert_close(ones, torch.full((1, 7, 11), 2.5))
    whole = map_to_picture(MAPS, 9, mode=mode)
    for i in range(3):
        assert torch.equal(map_to_picture(MAPS[i : i + 1], 9, mode=mode)[0], whole[i])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_maps_become_float32_pictures(dtype):
    found = map_to_picture(MAPS.to(dtype), 16)
    assert found.dtype == torch.float32
    assert torch.equal(found, map_to_picture(MAPS.to(dtype).float(), 16))
    # Bicubic overshoots: a cell near the largest float16 would become infinite.
    large = torch.tensor([[[-60000.0, 60000.0, 60000.0, -60000.0]]], dtype=torch.float16)
    assert map_to_picture(large, (1, 16)).max() > 65504


def test_gradients_reach_the_cells_and_inputs_stay_as_they_were():
    maps, before = MAPS[:1, :3, :3].clone().requires_grad_(True), MAPS.clone()
    assert torch.autograd.gradcheck(lambda m: map_to_picture(m, 5), (maps,))
    map_to_picture(MAPS, 9)
    assert torch.equal(MAPS, before)


@pytest.mark.gpu
def test_pictures_are_the_same_on_a_gpu():
    found = map_to_picture(MAPS.cuda(), (13, 31)).cpu()
    torch.testing.assert_close(found, map_to_picture(MAPS, (13, 31)), rtol=0, atol=1e-13)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("maps", "options", "error", "message"),
    [
        (MAPS.int(), {}, TypeError, r"maps must be floating point, got .*int32"),
        (MAPS > 0.5, {}, TypeError, r"floating point, got .*bool"),
        (MAPS[0], {}, ValueError, r"\(images, height, width\), got shape \(4, 5\)"),
        (MAPS[None], {}, ValueError, r"got shape \(1, 3, 4, 5\)"),
        (MAPS[:0], {}, ValueError, r"got shape \(0, 4, 5\)"),
        (MAPS[:, :0], {}, ValueError, r"got shape \(3, 0, 5\)"),
        (MAPS * torch.nan, {}, ValueError, r"maps must be finite: 60 of 60 .* \(0, 0, 0\) is nan"),
        (MAPS.clone().fill_(torch.inf), {}, ValueError, "maps must be finite.* is inf"),
        (MAPS, {"size": 0}, ValueError, "at least 1, got 0"),
        (MAPS, {"size": (8, -1)}, ValueError, r"at least 1, got \(8, -1\)"),
        (MAPS, {"size": (8, 8, 8)}, ValueError, r"\(height, width\) .* got \(8, 8, 8\)"),
        (MAPS, {"size": 8.5}, ValueError, r"whole pixels, .* got 8\.5"),
        (MAPS, {"size": (8, 8.0)}, ValueError, r"whole pixels, .* got \(8, 8\.0\)"),
        (MAPS, {"mode": "cubic"}, ValueError, r"mode must be one of \('bicubic', .* got 'cubic'"),
    ],
)
def test_bad_input_is_refused_with_what_came_in(maps, options, error, message):
    with pytest.raises(error, match=message):
        map_to_picture(maps, **{"size": 8} | options)
