"""Boxes of maps and their overlap: an evaluator without OpenCV, and hand cases."""

import numpy as np
import pytest
import torch
import torchvision
from score_maps import small_maps, stacked
from slow_reference import (
    all_boxes,
    holes_of,
    largest_boxes,
    pixel_iou,
    polygon_area,
    regions_above,
)

from softmi import box_iou, boxes_from_score_maps

MAPS = torch.zeros(2, 4, 4, dtype=torch.uint8)

either_convention = pytest.mark.parametrize("inclusive", [False, True], ids=["pixels", "choe"])


def has_tie(score_map: np.ndarray, threshold: float) -> bool:
    return len(largest_boxes(score_map, threshold)) > 1


# --- The slow reference itself ----------------------------------------------------------------


def test_reference_area_and_holes_by_hand():
    square = np.zeros((6, 6), dtype=bool)
    square[1:5, 1:5] = True
    assert polygon_area(square) == 9  # through pixel centres: 3 x 3
    square[1, 1] = False
    assert polygon_area(square) == 8.5  # a corner cut
    assert polygon_area(np.eye(6, dtype=bool)) == 0
    square[2:4, 2:4] = False
    (hole,) = holes_of(square)
    assert hole.sum() == 4
    assert len(regions_above(square.astype(np.uint8), 0.0)) == 1


# --- Boxes ------------------------------------------------------------------------------------


@either_convention
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.35, 0.5, 0.71, 0.9, 0.99])
def test_boxes_are_those_of_an_evaluator_without_opencv(threshold, inclusive):
    found = boxes_from_score_maps(stacked(), threshold, inclusive=inclusive)
    everything = boxes_from_score_maps(stacked(), threshold, multi=True, inclusive=inclusive)
    for score_map, box, boxes in zip(small_maps(), found, everything, strict=True):
        # Where several contours share the largest area the box is that of one of them.
        assert tuple(box.tolist()) in largest_boxes(score_map, threshold, inclusive=inclusive)
        assert {tuple(b) for b in boxes.tolist()} == all_boxes(
            score_map, threshold, inclusive=inclusive
        )


def test_fixture_holds_the_hard_cases():
    contours = [len(all_boxes(m, 0.5)) for m in small_maps()]
    holes = [sum(len(holes_of(r)) for r in regions_above(m, 0.5)) for m in small_maps()]
    ties = [has_tie(m, 0.5) for m in small_maps()]
    assert len(small_maps()) == 40
    assert max(contours) > 5
    assert sum(h > 0 for h in holes) > 5
    assert sum(ties) >= 1
    assert sum(len(regions_above(m, 0.5)) == 0 for m in small_maps()) == 1  # the empty map


@pytest.mark.parametrize(
    ("rows", "threshold", "box"),
    [
        (["0000", "0930", "0900", "0000"], 0.5, [1, 1, 2, 3]),
        (["0000", "0930", "0900", "0000"], 0.3, [1, 1, 3, 3]),  # 3 > floor(2.7)
        (["0000", "0930", "0900", "0000"], 0.34, [1, 1, 2, 3]),  # 3 > floor(3.06) is false
        (["9999", "9999", "9999", "9999"], 0.99, [0, 0, 4, 4]),
        (["0000", "0000", "0000", "0000"], 0.0, [0, 0, 0, 0]),
        (["9000", "0000", "0099", "0099"], 0.5, [2, 2, 4, 4]),  # area beats order
    ],
)
def test_boxes_by_hand(rows, threshold, box):
    score_map = torch.tensor([[[int(c) for c in row] for row in rows]], dtype=torch.uint8)
    assert boxes_from_score_maps(score_map, threshold).tolist() == [box]
    clipped = [*box[:2], min(box[2], 3), min(box[3], 3)]
    assert boxes_from_score_maps(score_map, threshold, inclusive=True).tolist() == [clipped]


def test_largest_means_enclosed_area_and_not_pixels():
    score_map = np.zeros((1, 12, 20), dtype=np.uint8)
    score_map[0, 1, :] = 255  # a line of 20 pixels encloses nothing
    score_map[0, 4:7, 2:5] = 255  # 9 pixels, area 4
    score_map[0, 5, 3] = 0  # a hole does not lessen it
    assert boxes_from_score_maps(torch.from_numpy(score_map), 0.5).tolist() == [[2, 4, 5, 7]]


def test_float_maps_are_min_max_normalised_each_on_its_own():
    maps = stacked()[:5].double()  # bumps: their boxes differ
    # Powers of two and whole numbers: neither rounds these maps, so the bytes are the same.
    scale = torch.tensor([1, 8, 0.25, 1024, 2**-10]).double()[:, None, None]
    offset = torch.tensor([0, -5, 300, 1000, 7]).double()[:, None, None]
    boxes = boxes_from_score_maps(maps, 0.4)
    assert len(boxes.unique(dim=0)) == 5
    assert torch.equal(boxes_from_score_maps(maps * scale + offset, 0.4), boxes)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    as_bytes = (255 * ((maps - low) / (high - low))).to(torch.uint8)
    assert torch.equal(boxes_from_score_maps(as_bytes, 0.4), boxes)


def test_float_maps_are_cut_to_256_levels_downwards():
    # 255 x 0.5019 = 127.98 is level 127, which is not above floor(0.5 x 255) = 127.
    one = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.5019], [0.0, 0.0, 0.0]]])
    assert boxes_from_score_maps(one, 0.5).tolist() == [[1, 1, 2, 2]]
    assert boxes_from_score_maps(one + one.gt(0.5) * 0.001, 0.5).tolist() == [[1, 1, 3, 2]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_float_maps_of_any_type_give_their_boxes(dtype):
    maps = torch.zeros(1, 6, 8, dtype=dtype)
    maps[0, 2:5, 3:6] = 1
    assert boxes_from_score_maps(maps - 7, 0.5).tolist() == [[3, 2, 6, 5]]


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
def test_a_constant_float_map_says_nothing_about_where(value):
    maps = torch.full((1, 4, 6), value)
    assert boxes_from_score_maps(maps, 0.5).tolist() == [[0, 0, 0, 0]]
    assert boxes_from_score_maps(maps, 0.5, multi=True)[0].tolist() == [[0, 0, 0, 0]]


def test_a_constant_byte_map_is_taken_at_its_word():
    """The reference evaluator's reading: all of it is above a share of its maximum."""
    maps = torch.full((1, 4, 6), 7, dtype=torch.uint8)
    assert boxes_from_score_maps(maps, 0.5).tolist() == [[0, 0, 6, 4]]


def test_gradients_are_not_needed():
    maps = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert boxes_from_score_maps(maps, 0.5).shape == (1, 4)


# --- IoU --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "iou", "inclusive_iou"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1, 1),
        ([0, 0, 10, 10], [2, 2, 7, 7], 25 / 100, 36 / 121),  # nested
        ([0, 0, 10, 10], [5, 0, 15, 10], 50 / 150, 66 / 176),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0, 11 / 231),  # touching: inclusive pixels overlap
        ([0, 0, 10, 10], [11, 0, 20, 10], 0, 0),  # disjoint in x
        ([0, 0, 10, 10], [0, 30, 10, 40], 0, 0),  # disjoint in y
        ([0, 0, 50, 50], [100, 100, 150, 150], 0, 0),  # in both: the authors' code says .857
        ([3, 3, 3, 3], [3, 3, 3, 3], 0, 1),  # no area; or one pixel
        ([0, 0, 0, 0], [0, 0, 10, 10], 0, 1 / 121),  # nothing found
        ([0, 0, 4, 0], [0, 0, 4, 4], 0, 5 / 25),
    ],
)
def test_iou_by_hand(a, b, iou, inclusive_iou):
    a, b = torch.tensor(a), torch.tensor(b)
    for u, v in ((a, b), (b, a)):
        assert box_iou(u, v).item() == pytest.approx(iou, abs=1e-15)
        assert box_iou(u, v, inclusive=True).item() == pytest.approx(inclusive_iou, abs=1e-15)


def test_authors_unclamped_formula_is_not_ours():
    """Both sides of the intersection are negative, and their product is positive (bug D)."""
    a, b = np.array([0, 0, 50, 50]), np.array([100, 100, 150, 150])
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1
    area = 51 * 51
    assert sides.prod() / (2 * area - sides.prod()) == pytest.approx(0.857, abs=5e-4)
    assert box_iou(torch.from_numpy(a), torch.from_numpy(b), inclusive=True) == 0


def random_boxes(seed: int, n: int = 60, side: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, side, (n, 2, 2), generator=generator).sort(1).values
    return torch.cat([corners[:, 0], corners[:, 1]], dim=1)


@either_convention
def test_iou_counts_pixels(inclusive):
    a, b = random_boxes(0), random_boxes(1)
    found = box_iou(a, b, inclusive=inclusive)
    for u, v, iou in zip(a.tolist(), b.tolist(), found.tolist(), strict=True):
        assert iou == pytest.approx(pixel_iou(u, v, inclusive=inclusive), abs=1e-15)


def test_iou_equals_torchvision_pair_by_pair():
    a, b = random_boxes(2).double() + 0.25, random_boxes(3).double() + 0.25
    a[:, 2:] += 0.5  # no box without area, where torchvision divides by zero
    expected = torchvision.ops.box_iou(a, b).diagonal()
    torch.testing.assert_close(box_iou(a, b), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_iou_does_not_depend_on_the_unit(scale):
    a, b = random_boxes(4).double(), random_boxes(5).double()
    assert torch.equal(box_iou(a * scale, b * scale), box_iou(a, b))


def test_iou_broadcasts_one_box_against_many():
    a = random_boxes(6)
    assert torch.equal(box_iou(a, a[3]), box_iou(a, a[3].expand(60, 4)))
    assert box_iou(a[:, None], a[None, :5]).shape == (60, 5)


# --- Hostile input ----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("maps", "threshold", "error", "message"),
    [
        (MAPS, 1.0, ValueError, r"threshold must be in \[0, 1\), got 1\.0"),
        (MAPS, -0.1, ValueError, r"\[0, 1\), got -0\.1"),
        (MAPS[0], 0.5, ValueError, r"\(images, height, width\), got shape \(4, 4\)"),
        (MAPS[:0], 0.5, ValueError, r"got shape \(0, 4, 4\)"),
        (MAPS.int(), 0.5, TypeError, "uint8 or floating, got .*int32"),
        (torch.full((1, 2, 2), torch.nan), 0.5, ValueError, "NaN or infinite"),
        (torch.full((1, 2, 2), torch.inf), 0.5, ValueError, "NaN or infinite"),
    ],
)
def test_bad_maps_are_refused_with_what_came_in(maps, threshold, error, message):
    with pytest.raises(error, match=message):
        boxes_from_score_maps(maps, threshold)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([0, 0, 1], [0, 0, 1, 1], r"a must have shape \(\.\.\., 4\), got shape \(3,\)"),
        ([0, 0, 1, 1], 3.0, r"b must have shape \(\.\.\., 4\), got shape \(\)"),
        ([5, 0, 1, 1], [0, 0, 1, 1], "a holds a box with .* x0 y0 x1 y1"),
        ([0, 0, 1, 1], [0, 5, 1, 1], "b holds a box"),
        ([0, 0, float("nan"), 1], [0, 0, 1, 1], "a holds a box with NaN"),
    ],
)
def test_bad_boxes_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        box_iou(torch.tensor(a), torch.tensor(b))
