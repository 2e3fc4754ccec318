"""The sweep over thresholds gives what box by box gives, to the last bit."""

import cv2
import numpy as np
import pytest
import torch
from slow_reference import all_boxes, largest_boxes, pixel_iou

from softmi import boxes_from_score_maps
from softmi.maps import box_iou, ious_over_thresholds
from softmi.maps._sweep import _mask_boxes

either_convention = pytest.mark.parametrize("inclusive", [False, True], ids=["pixels", "choe"])
either_kind = pytest.mark.parametrize("multi", [False, True], ids=["largest", "any"])


def random_map(kind: str, rng: np.random.Generator) -> np.ndarray:
    """One byte map of random height and width, 1 to 34 pixels."""
    height, width = rng.integers(1, 35, 2)
    ys, xs = np.mgrid[:height, :width]
    y, x = rng.uniform(0, height), rng.uniform(0, width)
    if kind == "noise":
        values = rng.integers(0, 256, (height, width))
    elif kind == "few levels":
        values = rng.integers(0, 4, (height, width)) * rng.integers(1, 80)
    elif kind == "smooth":
        values = cv2.GaussianBlur(rng.random((height, width)), (0, 0), rng.uniform(0.5, 5))
        values = 255 * (values - values.min()) / (np.ptp(values) + 1e-9)
    elif kind == "plateaus":
        values = np.kron(rng.integers(0, 256, (9, 9)), np.ones((4, 4)))[:height, :width]
    elif kind == "constant":
        values = np.full((height, width), rng.choice([0, 1, 90, 255]))
    elif kind == "rings":
        values = 127 + 127 * np.sin(np.hypot(ys - y, xs - x) * rng.uniform(0.3, 2))
    elif kind == "lines":  # contours without area, over the border
        values = np.zeros((height, width))
        values[int(y)], values[:, int(x)] = 200, 150
    else:  # "twins": two largest contours
        values = np.zeros((height, width))
        values[: height // 3, : width // 3] = 255
        values[height - height // 3 :, width - width // 3 :] = 255
    return values.astype(np.uint8)


KINDS = ["noise", "few levels", "smooth", "plateaus", "constant", "rings", "lines", "twins"]


def random_case(kind: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, int]:
    """A map, one to three true boxes that may leave it or have fractions, a number of steps."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    score_map = torch.from_numpy(random_map(kind, rng))[None]
    corners = np.sort(rng.integers(-3, 38, (rng.integers(1, 4), 2, 2)), 1)
    boxes = torch.from_numpy(corners.reshape(-1, 4)).double()
    return score_map, boxes * rng.choice([1.0, 1.0, 1.37]), int(rng.integers(1, 30))


def box_by_box(
    score_map: torch.Tensor, boxes: torch.Tensor, steps: int, multi: bool, inclusive: bool
) -> list[float]:
    """The whole map at every threshold, nothing skipped: the reference's loop in plain OpenCV."""
    image = score_map[0].numpy()
    height, width = image.shape
    one = 1 if inclusive else 0
    found = []
    for i in range(steps):
        level = int(i * (1 / steps) * int(image.max()))
        _, mask = cv2.threshold(image, level, 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        if contours and not multi:
            contours = [max(contours, key=cv2.contourArea)]
        best = 0.0
        for x0, y0, w, h in [cv2.boundingRect(c) for c in contours] or [(0, 0, 0, 0)]:
            x1, y1 = min(x0 + w, width - one), min(y0 + h, height - one)
            for u0, v0, u1, v1 in boxes.tolist():
                overlap = max(0, min(x1, u1) - max(x0, u0) + one)
                overlap *= max(0, min(y1, v1) - max(y0, v0) + one)
                union = (x1 - x0 + one) * (y1 - y0 + one) + (u1 - u0 + one) * (v1 - v0 + one)
                best = max(best, overlap / (union - overlap) if union > overlap else 0.0)
        found.append(best)
    return found


@either_convention
@either_kind
@pytest.mark.parametrize("kind", KINDS)
def test_sweep_equals_box_by_box(kind, multi, inclusive):
    for seed in range(25):
        score_map, boxes, steps = random_case(kind, seed)
        expected = box_by_box(score_map, boxes, steps, multi, inclusive)
        options = {"multi": multi, "inclusive": inclusive}
        assert ious_over_thresholds(score_map, [boxes], steps, **options).tolist() == [expected]
        # With a least IoU of interest, verdicts from there on are the same.
        least = (0.1, 0.3, 0.5, 0.7, 1.0)[seed % 5]
        quick = ious_over_thresholds(score_map, [boxes], steps, at_least=least, **options)[0]
        for delta in {least, min(1.0, least + 0.15), 1.0}:
            assert (quick >= delta).tolist() == [iou >= delta for iou in expected]


def test_box_by_box_is_what_boxes_from_score_maps_gives():
    for seed, kind in enumerate(KINDS):
        score_map, boxes, steps = random_case(kind, seed)
        at = [boxes_from_score_maps(score_map, i * (1 / steps)) for i in range(steps)]
        found = [box_iou(b[:, None], boxes[None]).max().item() for b in at]
        assert found == box_by_box(score_map, boxes, steps, False, False)


def test_fixture_tells_kinds_and_conventions_apart():
    """Else the tests above would pass for a sweep that mixes them up."""
    differ = {"kind": 0, "convention": 0, "between": 0}
    for kind in KINDS:
        for seed in range(20):
            case = random_case(kind, seed)
            largest, anyone = box_by_box(*case, False, False), box_by_box(*case, True, False)
            differ["kind"] += largest != anyone
            differ["convention"] += largest != box_by_box(*case, False, True)
            differ["between"] += any(0.3 <= iou < 1 for iou in anyone)
    assert min(differ.values()) > 20


@either_convention
@either_kind
def test_sweep_equals_an_evaluator_without_opencv(multi, inclusive):
    rng = np.random.default_rng(7)
    boxes_at = all_boxes if multi else largest_boxes
    decided = 0
    for kind in ("smooth", "rings", "few levels"):
        score_map = random_map(kind, rng)[:20, :20]
        true = sorted(rng.integers(0, 12, 2).tolist()) + sorted(rng.integers(12, 20, 2).tolist())
        found = ious_over_thresholds(
            torch.from_numpy(score_map.copy())[None], torch.tensor([true]), 10,
            multi=multi, inclusive=inclusive,
        )  # fmt: skip
        for i, iou in enumerate(found[0].tolist()):
            boxes = boxes_at(score_map, i * 0.1, inclusive=inclusive)
            ious = [pixel_iou(b, true, inclusive=inclusive, side=40) for b in boxes]
            if multi or len(boxes) == 1:  # no tie for the largest
                decided += 1
                assert iou == pytest.approx(max(ious), abs=1e-15)
    assert decided > 15


def test_several_true_boxes_take_the_best_of_them():
    # One object at each end; the map sees the left one, with a column too many.
    score_map = torch.zeros(1, 8, 20)
    score_map[0, 2:6, 1:6] = 1
    left, right = [1, 2, 5, 6], [14, 2, 18, 6]
    for order in ([left, right], [right, left]):
        found = ious_over_thresholds(score_map, [torch.tensor(order)], 4)
        assert found.tolist() == [[16 / 20] * 4]
    assert ious_over_thresholds(score_map, torch.tensor([right]), 4).tolist() == [[0.0] * 4]


def test_images_may_have_different_numbers_of_boxes():
    score_maps = torch.zeros(2, 4, 4)
    score_maps[:, :2, :2] = 1
    lists = [torch.tensor([[2, 2, 4, 4], [0, 0, 2, 2]]), torch.tensor([[0, 0, 2, 4]])]
    assert ious_over_thresholds(score_maps, lists, 2).tolist() == [[1.0, 1.0], [0.5, 0.5]]


def test_masks_boxes_are_those_of_the_pixels_above():
    rng = np.random.default_rng(3)
    for kind in KINDS:
        score_map = random_map(kind, rng)
        levels = list(range(int(score_map.max())))
        for level, (x0, y0, x1, y1) in zip(levels, _mask_boxes(score_map, levels), strict=True):
            ys, xs = np.nonzero(score_map > level)
            assert (x0, y0, x1, y1) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


@either_convention
def test_an_empty_map_has_the_empty_box(inclusive):
    """In the reference's pixels the box 0 0 0 0 is the first pixel; in ours it is nothing."""
    score_map = torch.zeros(1, 4, 4, dtype=torch.uint8)
    found = ious_over_thresholds(
        score_map, torch.tensor([[0, 0, 1, 1]]), 3, multi=True, inclusive=inclusive
    )
    assert found.tolist() == [[0.25 if inclusive else 0.0] * 3]


def test_thousand_thresholds_hold_no_more_than_the_bytes():
    score_map = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    fine = ious_over_thresholds(score_map, torch.tensor([[0, 8, 16, 16]]), 1000)
    assert len(fine.unique()) <= 256
    coarse = ious_over_thresholds(score_map, torch.tensor([[0, 8, 16, 16]]), 10)
    for i in range(10):  # 0.3 is i * 0.1 and i * 0.001, which may differ in the last bit
        if int(100 * i * 0.001 * 255) == int(i * 0.1 * 255):
            assert fine[0, 100 * i] == coarse[0, i]


def test_boxes_beyond_the_image_are_never_wholly_covered():
    whole = torch.ones(1, 10, 10, dtype=torch.uint8)
    assert ious_over_thresholds(whole, torch.tensor([[0, 0, 20, 10]]), 1).item() == 0.5
    assert ious_over_thresholds(whole, torch.tensor([[30, 30, 40, 40]]), 1).item() == 0.0
    assert ious_over_thresholds(whole, torch.tensor([[3, 3, 3, 3]]), 1).item() == 0.0  # no area


def test_a_tiny_spread_of_a_float_map_still_says_where():
    score_map = torch.zeros(1, 4, 4, dtype=torch.float64)
    score_map[0, 1, 1] = 5e-324  # the smallest number above zero
    assert boxes_from_score_maps(score_map, 0.5).tolist() == [[1, 1, 2, 2]]


BYTES = torch.zeros(2, 4, 4, dtype=torch.uint8)
BOXES = torch.tensor([[0, 0, 2, 2], [1, 1, 3, 3]])


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("maps", "boxes", "steps", "error", "message"),
    [
        (BYTES, BOXES, 0, ValueError, "thresholds must be at least 1, got 0"),
        (BYTES, BOXES[:1], 5, ValueError, r"boxes must have shape \(2, 4\), got shape \(1, 4\)"),
        (BYTES, [BOXES], 5, ValueError, r"2 of shape \(boxes, 4\), one an image, got 1"),
        (BYTES, [BOXES, BOXES[:0]], 5, ValueError, r"boxes\[1\] .* at least one, got shape \(0,"),
        (BYTES, [BOXES, [[0, 0, 1, 1]]], 5, ValueError, r"boxes\[1\] .* got list"),
        (BYTES, [BOXES, BOXES[0]], 5, ValueError, r"boxes\[1\] .* got shape \(4,\)"),
        (BYTES, BOXES.flip(1), 5, ValueError, r"boxes holds a box .* \[2\.0, 2\.0, 0\.0, 0\.0\]"),
        (BYTES, BOXES * torch.nan, 5, ValueError, "boxes holds a box with NaN"),
        (BYTES, BOXES.double() + torch.tensor([0, 0, torch.inf, 0]), 5, ValueError, "infinite"),
        (BYTES[:0], BOXES[:0], 5, ValueError, r"got shape \(0, 4, 4\)"),
        (BYTES.bool(), BOXES, 5, TypeError, "uint8 or floating, got .*bool"),
        (torch.tensor([[[0.0, torch.nan]], [[0, 1]]]), BOXES, 5, ValueError, "NaN .* in 1 of 2"),
        (torch.tensor([[[0.0, 1]], [[-1e308, 1e308]]]).double() * 10, BOXES, 5, ValueError,
         "infinite values .* in 1 of 2 images, the first is 1"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_came_in(maps, boxes, steps, error, message):
    with pytest.raises(error, match=message):
        ious_over_thresholds(maps, boxes, steps)


@pytest.mark.parametrize("least", [-0.1, 1.5, float("nan")])
def test_a_least_iou_outside_its_range_is_refused(least):
    with pytest.raises(ValueError, match=r"at_least must be in \[0, 1\], got"):
        ious_over_thresholds(BYTES, BOXES, at_least=least)
