"""Verdicts of chapters 07 and 08: equal to a plain count, box by box at every threshold."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from softmi import LocalizationAccuracy, MaxBoxAccuracy, box_iou, boxes_from_score_maps
from softmi.experiments.localisation import Task, place
from softmi.experiments.localisation_accuracy import BLIND, blind_boxes, evaluate
from softmi.maps import MaxBoxAccuracyV2

REFERENCE = Path(os.environ.get("SOFTMI_DATA", "/nowhere")) / "reference" / "wsol_dev.npz"
COUNTS = Path(__file__).parents[1] / "data" / "wsol_dev_counts.json"
IOUS = (0.3, 0.5, 0.7)


def task_of(maps: Tensor, size: int = 32, seed: int = 1) -> Task:
    n = len(maps)
    draw = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, size // 2, (n, 2), generator=draw).float()
    boxes = torch.cat([corner, corner + size // 2], 1)
    logits = torch.randn(n, 3, generator=draw)
    targets = torch.zeros(n, dtype=torch.long)
    return Task({"cam": maps}, logits, targets, boxes, torch.arange(n) % 2 == 0, size)


def plain_ious(
    large: Tensor, boxes: Tensor, thresholds: int, *, multi: bool, inclusive: bool = False
) -> Tensor:
    """IoU of each image at each threshold, box by box: what the public sweep makes fast."""
    rows = []
    for one, box in zip(large, boxes, strict=True):
        row = []
        for i in range(thresholds):
            found = boxes_from_score_maps(
                one[None], i * (1 / thresholds), multi=multi, inclusive=inclusive
            )[0]
            row.append(float(box_iou(found.reshape(-1, 4), box, inclusive=inclusive).max()))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def plain_evaluate(task: Task, name: str, geometry: str, thresholds: int) -> dict:
    """The chapters' own count before they called the public metrics."""
    large = place(task.maps[name], geometry, task.size)
    held, test = task.splits
    right = plain_ious(large, task.boxes, thresholds, multi=False) >= 0.5
    chosen = int(right[held].sum(0).argmax())
    curve, hits = right[test].double().mean(0), right[test, chosen]
    recognised = task.logits[test].argmax(1) == task.targets[test]
    honest, best = [], []
    overlap = plain_ious(large, task.boxes, thresholds, multi=True)
    for iou in IOUS:
        of_all = overlap >= iou
        of_test = of_all[test].double().mean(0)
        honest.append(float(of_test[int(of_all[held].sum(0).argmax())]))
        best.append(float(of_test.max()))
    return {
        "gt_known": float(hits.double().mean()),
        "top1": float((hits & recognised).double().mean()),
        "threshold": chosen / thresholds,
        "held_out": float(right[held, chosen].double().mean()),
        "fixed": float(curve[round(0.2 * thresholds)]),
        "max_box_acc": float(curve.max()),
        "per_image": float(right[test].any(1).double().mean()),
        "curve": curve,
        "hits": hits,
        "held_hits": right[held],
        "test_hits": right[test],
        "v2": sum(honest) / 3,
        "max_box_acc_v2": sum(best) / 3,
    }


@pytest.mark.parametrize(
    ("geometry", "seed"), [("none", 2), ("padded_3", 3), ("shrink_3", 4), ("blur_3", 5)]
)
def test_metrics_count_what_the_plain_loop_counts(geometry, seed):
    maps = torch.rand(30, 6, 6, generator=torch.Generator().manual_seed(seed))
    task = task_of(maps, seed=seed)
    expected = plain_evaluate(task, "cam", geometry, 20)
    found = evaluate(task, "cam", geometry, 20, v2=True, batch_size=7)
    assert found.keys() == expected.keys()
    for key in ("curve", "hits", "held_hits", "test_hits"):
        assert torch.equal(found.pop(key), expected.pop(key))
    assert found == pytest.approx(expected, abs=1e-15)  # the mean of three counts may round
    without = evaluate(task, "cam", geometry, 20)
    assert {k: v for k, v in found.items() if "v2" not in k}.items() <= without.items()


@pytest.mark.parametrize("multi", [False, True], ids=["largest", "any"])
def test_counts_of_the_metrics_are_those_of_the_plain_loop(multi):
    draw = torch.Generator().manual_seed(9)
    maps = torch.rand(25, 20, 26, generator=draw).pow(3)
    corner = torch.randint(0, 12, (25, 2), generator=draw)
    boxes = torch.cat([corner, corner + torch.randint(3, 15, (25, 2), generator=draw)], 1)
    overlap = plain_ious(maps, boxes, 25, multi=multi)
    metric = MaxBoxAccuracyV2(25) if multi else MaxBoxAccuracy(IOUS, 25)
    metric.update(maps, boxes)
    for counts, iou in zip(metric.correct_counts, IOUS, strict=True):
        assert torch.equal(counts, (overlap >= iou).sum(0))


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE.exists(), reason="SOFTMI_DATA/reference/wsol_dev.npz not there")
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_plain_loop_counts_what_the_reference_evaluator_counts(kind):
    """On maps whose counts the code of Choe et al. (2020) gave; the metrics' are tested there."""
    expected, pack = json.loads(COUNTS.read_text())[kind], np.load(REFERENCE)
    maps, boxes = (torch.from_numpy(pack[k]) for k in ("score_maps", "boxes_x0y0x1y1"))
    overlap = plain_ious(maps, boxes, 100, multi=kind == "multi", inclusive=True)
    for iou in IOUS:
        assert (overlap >= iou).sum(0).tolist() == expected[f"{100 * iou:.0f}"]


def test_choosing_on_the_test_flatters_and_choosing_by_image_more():
    maps = torch.rand(80, 6, 6, generator=torch.Generator().manual_seed(3))
    found = evaluate(task_of(maps), "cam", "none", 20)
    assert found["gt_known"] <= found["max_box_acc"] <= found["per_image"]
    assert float(found["curve"].max()) == found["max_box_acc"]


def test_verdict_equals_boxes_at_the_held_out_threshold_and_the_metric():
    maps = torch.rand(60, 6, 6, generator=torch.Generator().manual_seed(2))
    task = task_of(maps)
    found = evaluate(task, "cam", "none", thresholds=10)
    held, test = task.splits
    large = place(maps, "none", 32)
    right = {t: LocalizationAccuracy(top_k=None) for t in range(10)}
    for t, metric in right.items():
        boxes = boxes_from_score_maps(large[held], t / 10)
        metric.update(boxes, task.logits[held].argmax(1), task.targets[held], task.boxes[held])
    accuracy = [float(metric.compute()) for metric in right.values()]
    assert found["held_out"] == max(accuracy)
    assert found["threshold"] == pytest.approx(accuracy.index(max(accuracy)) / 10)
    boxes = boxes_from_score_maps(large[test], found["threshold"])
    for top_k, key in ((None, "gt_known"), (1, "top1")):
        metric = LocalizationAccuracy(top_k=top_k)
        metric.update(boxes, task.logits[test].argmax(1), task.targets[test], task.boxes[test])
        assert found[key] == float(metric.compute())


def test_v2_is_the_mean_over_three_overlaps():
    maps = torch.rand(40, 6, 6, generator=torch.Generator().manual_seed(4))
    task = task_of(maps)
    found, test = evaluate(task, "cam", "none", 10, v2=True), task.splits[1]
    three = MaxBoxAccuracy(IOUS, 10, multi=True)
    three.update(place(maps[test], "none", 32), task.boxes[test])
    each = three.compute().tolist()
    assert each == sorted(each, reverse=True)  # falls with stricter overlaps
    assert found["max_box_acc_v2"] == pytest.approx(np.mean(each))
    assert found["v2"] <= found["max_box_acc_v2"]


# --- Boxes that see nothing -------------------------------------------------------------------


def test_blind_boxes_are_those_of_a_plain_count():
    """The chapters' own count before they called `softmi.maps`."""
    draw = torch.Generator().manual_seed(5)
    corner = torch.rand(120, 2, generator=draw) * 24
    boxes = torch.cat([corner, corner + 12 + torch.rand(120, 2, generator=draw) * 28], 1)
    held, test = boxes[:60], boxes[60:]
    recognised = torch.arange(60) % 3 > 0
    found = blind_boxes(test, held, 64, recognised=recognised)

    def right(side: float, some: Tensor, iou: float) -> Tensor:
        half = 64 * side / 2
        return box_iou(torch.tensor([32 - half] * 2 + [32 + half] * 2), some) >= iou

    sides = [round(0.05 * i, 2) for i in range(2, 21)]
    best = {u: max(sides, key=lambda s, u=u: int(right(s, held, u).sum())) for u in IOUS}
    assert len(set(best.values())) > 1
    for name, side in (BLIND | {"centred_best": best[0.5]}).items():
        hits, chosen = right(side, test, 0.5), best if name == "centred_best" else {}
        assert found[name]["side"] == side
        assert torch.equal(found[name]["hits"], hits)
        assert found[name]["gt_known"] == float(hits.double().mean())
        assert found[name]["top1"] == float((hits & recognised).double().mean())
        each = [float(right(chosen.get(u, side), test, u).double().mean()) for u in IOUS]
        assert found[name]["v2"] == pytest.approx(np.mean(each))
