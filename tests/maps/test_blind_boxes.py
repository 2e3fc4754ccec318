"""Boxes that see nothing: by hand, by counting, and beside every result."""

import numpy as np
import pytest
import torch

from softmi.maps import (
    LocalizationAccuracy,
    baseline_results,
    best_centred_side,
    box_iou,
    centred_box,
    localization_table,
)

SIZE = (40, 60)  # height, width


def boxes_of(seed: int, n: int = 50) -> torch.Tensor:
    """Large boxes near the middle of a picture of 40 x 60."""
    draw = torch.Generator().manual_seed(seed)
    start = torch.rand(n, 2, generator=draw) * torch.tensor([20.0, 12.0])
    end = torch.tensor([60.0, 40.0]) - torch.rand(n, 2, generator=draw) * 12
    return torch.cat([start, end], 1)


@pytest.mark.parametrize(
    ("side", "box", "inclusive_box"),
    [
        (1.0, [0, 0, 60, 40], [0, 0, 59, 39]),
        (0.5, [15, 10, 45, 30], [15, 10, 44, 29]),
        (0.75, [7.5, 5, 52.5, 35], [7.5, 5, 51.5, 34]),
        (0.01, [29.7, 19.8, 30.3, 20.2], [29.7, 19.8, 29.7, 19.8]),  # less than a pixel
    ],
)
def test_centred_boxes_by_hand(side, box, inclusive_box):
    assert centred_box(SIZE, side).tolist() == pytest.approx(box)
    assert centred_box(SIZE, side, inclusive=True).tolist() == pytest.approx(inclusive_box)


@pytest.mark.parametrize("inclusive", [False, True])
def test_whole_picture_covers_every_pixel_in_either_convention(inclusive):
    every = torch.tensor([0, 0, 59, 39]) if inclusive else torch.tensor([0, 0, 60, 40])
    assert box_iou(centred_box(SIZE, 1.0, inclusive=inclusive), every, inclusive=inclusive) == 1


def test_best_side_is_found_by_trying_all():
    boxes = boxes_of(0)
    sides = [0.3, 0.5, 0.65, 0.8, 1.0]
    for delta in (0.3, 0.5, 0.7):
        right = [
            float((box_iou(centred_box(SIZE, s), boxes.double()) >= delta).sum()) for s in sides
        ]
        chosen = best_centred_side(boxes, SIZE, iou_threshold=delta, sides=sides[::-1])
        assert chosen == sides[int(np.argmax(right))]


def test_best_side_of_objects_all_alike_is_theirs():
    boxes = centred_box(SIZE, 0.6).expand(9, 4)
    assert best_centred_side(boxes, SIZE, iou_threshold=0.95) == 0.6
    # IoU of sides a < b is (a / b)^2: 0.45 is the smallest with 0.5 or more.
    assert best_centred_side(boxes, SIZE) == 0.45


def test_results_are_those_of_the_metric_and_the_side_is_not_chosen_on_the_test():
    boxes = boxes_of(1)
    held_out = centred_box(SIZE, 0.3).expand(5, 4)
    recognised = torch.arange(50) % 3 == 0
    found = baseline_results(boxes, held_out, SIZE, recognised={"Top-1": recognised})
    assert list(found) == [
        "whole picture", "centred, side 0.75", "centred, side 0.5", "centred, best side",
    ]  # fmt: skip
    predicted = (~recognised).long()
    best = {delta: best_centred_side(held_out, SIZE, iou_threshold=delta) for delta in V2}
    assert best[0.5] != best_centred_side(boxes, SIZE)
    for name, side in zip(found, (1.0, 0.75, 0.5, best[0.5]), strict=True):
        box = centred_box(SIZE, side).expand(50, 4)
        for column, top_k in (("GT-known", None), ("Top-1", 1)):
            metric = LocalizationAccuracy(top_k)
            metric.update(box, predicted, torch.zeros(50, dtype=torch.long), boxes.double())
            assert found[name][column] == metric.compute().item()
    expected = [
        (box_iou(centred_box(SIZE, side), boxes.double()) >= delta).double().mean()
        for delta, side in best.items()
    ]
    assert found["centred, best side"]["V2"] == pytest.approx(float(sum(expected)) / 3)


V2 = (0.3, 0.5, 0.7)


def test_one_of_several_true_boxes_suffices():
    far = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    several = [torch.cat([far, centred_box(SIZE, 0.75)[None]]), far]
    found = baseline_results(several, several, SIZE)
    assert found["centred, side 0.75"] == {"GT-known": 0.5, "V2": 0.5}


def test_every_table_holds_the_boxes_that_see_nothing():
    results = {
        "CAM": {"GT-known": 0.4012, "MaxBoxAcc": 0.5},
        "infoCAM": {"GT-known": {"mean": 0.41, "sd": 0.02}, "V2": {"mean": 0.3, "sd": None}},
    }
    table = localization_table(results, boxes_of(2), boxes_of(3), SIZE)
    assert table.columns == ("GT-known", "MaxBoxAcc", "V2")
    assert len(table.rows) == 6
    lines = table.markdown().splitlines()
    assert lines[0] == "| map or box | GT-known, % | MaxBoxAcc, % | V2, % |"
    assert lines[2] == "| CAM | 40.1 | 50.0 | – |"
    assert lines[3] == "| infoCAM | 41.0 ± 2.0 | – | 30.0 |"
    blind = baseline_results(boxes_of(2), boxes_of(3), SIZE)["whole picture"]
    shown = f"{100 * blind['GT-known']:.1f} | – | {100 * blind['V2']:.1f}"
    assert lines[4] == f"| *box: whole picture* | {shown} |"
    assert table._repr_markdown_() == table.markdown()
    some = localization_table(results, boxes_of(2), boxes_of(3), SIZE, columns=["V2"])
    assert some.columns == ("V2",)


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_input_is_refused_with_what_came_in():
    boxes = boxes_of(4)
    for side in (0.0, 1.1):
        with pytest.raises(ValueError, match=rf"side in \(0, 1\] .* got {side}"):
            centred_box(SIZE, side)
    with pytest.raises(ValueError, match=r"a picture, got 0\.5 and \(0, 60\)"):
        centred_box((0, 60), 0.5)
    with pytest.raises(ValueError, match="choose from, got 0 and 19"):
        best_centred_side(boxes[:0], SIZE)
    with pytest.raises(ValueError, match="choose from, got 50 and 0"):
        best_centred_side(boxes, SIZE, sides=())
    with pytest.raises(ValueError, match=r"recognised\['Top-1'\] .* \(50,\), got shape \(3,\)"):
        baseline_results(boxes, boxes, SIZE, recognised={"Top-1": boxes[:3, 0] > 0})
    with pytest.raises(ValueError, match="boxes holds a box with NaN"):
        baseline_results(boxes * torch.nan, boxes, SIZE)
    with pytest.raises(ValueError, match="no boxes to judge"):
        baseline_results(boxes[:0], boxes, SIZE)
    with pytest.raises(ValueError, match="no results to set beside"):
        localization_table({}, boxes, boxes, SIZE)
    with pytest.raises(ValueError, match=r"no row has the columns \['Top-5'\]"):
        localization_table({"CAM": {"V2": 0.1}}, boxes, boxes, SIZE, columns=["Top-5"])
