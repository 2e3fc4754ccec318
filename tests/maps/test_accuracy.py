"""Counts of right boxes: an evaluator without OpenCV, the reference's counts, hand cases."""

import json
import os
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import two_processes
from score_maps import small_maps, stacked, true_boxes
from sklearn.metrics import average_precision_score
from slow_reference import all_boxes, largest_boxes, pixel_iou
from torchmetrics import MetricCollection

from softmi import LocalizationAccuracy, MaxBoxAccuracy, boxes_from_score_maps
from softmi.maps import (
    BoxAccuracy,
    MaxBoxAccuracyV2,
    PixelAveragePrecision,
    ious_over_thresholds,
)

REFERENCE = Path(os.environ.get("SOFTMI_DATA", "/nowhere")) / "reference" / "wsol_dev.npz"
COUNTS = Path(__file__).parent.parent / "data" / "wsol_dev_counts.json"

MAPS = torch.zeros(2, 4, 4, dtype=torch.uint8)
BOXES = torch.tensor([[0, 0, 2, 2], [1, 1, 3, 3]])

either_convention = pytest.mark.parametrize("inclusive", [False, True], ids=["pixels", "choe"])


# --- MaxBoxAccuracy ---------------------------------------------------------------------------

IOUS = (0.3, 0.5, 0.7)


@cache
def slow_hits(multi: bool, inclusive: bool, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image is right at each IoU and threshold, (IoUs, thresholds, images), twice.

    Where contours tie for the largest area, the first array takes the worst, the second the best.
    """
    hits = np.zeros((2, len(IOUS), steps, len(small_maps())), dtype=bool)
    boxes_at = all_boxes if multi else largest_boxes
    for n, (score_map, true) in enumerate(zip(small_maps(), true_boxes().tolist(), strict=True)):
        ious_of_level: dict[int, list[float]] = {}
        for i in range(steps):
            threshold = i * (1 / steps)
            level = int(threshold * int(score_map.max()))
            if level not in ious_of_level:
                boxes = boxes_at(score_map, threshold, inclusive=inclusive)
                ious_of_level[level] = [
                    pixel_iou(b, true, inclusive=inclusive, side=18) for b in boxes
                ]
            ious = ious_of_level[level]
            for j, delta in enumerate(IOUS):
                hits[:, j, i, n] = (max(ious) if multi else min(ious)) >= delta, max(ious) >= delta
    return hits[0], hits[1]


@pytest.mark.paper("choe2020", "MaxBoxAcc")
@either_convention
@pytest.mark.parametrize("multi", [False, True], ids=["largest", "any"])
def test_counts_equal_those_of_an_evaluator_without_opencv(multi, inclusive):
    least, greatest = slow_hits(multi, inclusive, 25)
    decided = (least == greatest).all((0, 1))  # images where no tie bears on the verdict
    assert decided.sum() >= (40 if multi else 34)
    exact = MaxBoxAccuracy(IOUS, thresholds=25, multi=multi, inclusive=inclusive)
    exact.update(stacked()[decided], true_boxes()[decided])
    assert exact.correct_counts.tolist() == least[:, :, decided].sum(2).tolist()
    assert (
        exact.compute().tolist() == (least.sum(2, where=decided).max(1) / decided.sum()).tolist()
    )

    whole = MaxBoxAccuracy(IOUS, thresholds=25, multi=multi, inclusive=inclusive)
    whole.update(stacked(), true_boxes())
    found = whole.correct_counts.numpy()
    assert (least.sum(2) <= found).all()
    assert (found <= greatest.sum(2)).all()


def test_all_contours_count_more_than_the_largest():
    """The reference maps cannot tell the two apart; these can."""
    largest, anyone = MaxBoxAccuracy(IOUS), MaxBoxAccuracy(IOUS, multi=True)
    for metric in (largest, anyone):
        metric.update(stacked(), true_boxes())
    assert (anyone.correct_counts >= largest.correct_counts).all()
    assert (anyone.correct_counts > largest.correct_counts).any(1).all()


@pytest.mark.paper("choe2020", "MaxBoxAcc")
@pytest.mark.skipif(not REFERENCE.exists(), reason="SOFTMI_DATA/reference/wsol_dev.npz not there")
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_counts_equal_those_of_the_reference_evaluator(kind):
    """64 maps of 224 x 224; counts by the code of Choe et al. (2020), one by one."""
    expected = json.loads(COUNTS.read_text())[kind]
    pack = np.load(REFERENCE)
    metric = MaxBoxAccuracy(IOUS, multi=kind == "multi", inclusive=True)
    metric.update(torch.from_numpy(pack["score_maps"]), torch.from_numpy(pack["boxes_x0y0x1y1"]))
    assert metric.correct_counts.tolist() == [expected[f"{100 * d:.0f}"] for d in IOUS]
    assert metric.compute().tolist() == [57 / 64, 33 / 64, 7 / 64]


@pytest.mark.paper("choe2020", "MaxBoxAccV2")
@pytest.mark.paper("choe2020", "PxAP")
@pytest.mark.skipif(not REFERENCE.exists(), reason="SOFTMI_DATA/reference/wsol_dev.npz not there")
def test_v2_and_pixel_average_precision_equal_those_of_the_reference_evaluator():
    pack = np.load(REFERENCE)
    expected = json.loads(REFERENCE.with_suffix(".json").read_text())
    score_maps = torch.from_numpy(pack["score_maps"])
    v2 = MaxBoxAccuracyV2(inclusive=True)
    pixels, exact = PixelAveragePrecision(), PixelAveragePrecision(thresholds=None)
    for part in torch.arange(64).split(25):
        v2.update(score_maps[part], torch.from_numpy(pack["boxes_x0y0x1y1"])[part])
        for metric in (pixels, exact):
            metric.update(score_maps[part], torch.from_numpy(pack["masks"])[part])
    assert 100 * v2.compute().item() == pytest.approx(expected["multi"]["mean"], abs=1e-12)
    assert 100 * pixels.compute().item() == pytest.approx(expected["pxap"], abs=1e-9)
    of_pixels = average_precision_score(pack["masks"].ravel(), pack["score_maps"].ravel())
    assert exact.compute().item() == pytest.approx(of_pixels, abs=1e-12)
    assert exact.compute() - pixels.compute() > 1e-3  # coarse bins cost something


def test_score_thresholds_are_those_of_the_reference_to_the_last_bit():
    assert MaxBoxAccuracy().score_thresholds.tolist() == np.arange(0, 1, 0.01).tolist()


@pytest.mark.parametrize("split", [[40], [1] * 40, [17, 3, 20]])
def test_batches_do_not_matter(split):
    whole = MaxBoxAccuracy(IOUS, thresholds=20)
    whole.update(stacked(), true_boxes())
    parts = MaxBoxAccuracy(IOUS, thresholds=20)
    for maps, boxes in zip(stacked().split(split), true_boxes().split(split), strict=True):
        parts.update(maps, boxes)
    assert torch.equal(parts.correct_counts, whole.correct_counts)
    assert torch.equal(parts.compute(), whole.compute())


def test_order_of_images_does_not_matter():
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    a, b = MaxBoxAccuracy(IOUS, thresholds=20), MaxBoxAccuracy(IOUS, thresholds=20)
    a.update(stacked(), true_boxes())
    b.update(stacked()[order], true_boxes()[order])
    assert torch.equal(a.correct_counts, b.correct_counts)


def test_merged_metrics_are_one_metric():
    first, second, whole = (MaxBoxAccuracy(IOUS, thresholds=20) for _ in range(3))
    first.update(stacked()[:13], true_boxes()[:13])
    second.update(stacked()[13:], true_boxes()[13:])
    whole.update(stacked(), true_boxes())
    first.merge_state(pickle.loads(pickle.dumps(second)))
    assert torch.equal(first.correct_counts, whole.correct_counts)
    assert first.total == 40
    first.reset()
    assert first.total == 0
    assert not first.correct_counts.any()


def two_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Image 0 needs a high threshold (a wide dim halo), image 1 a low one (a dim half)."""
    maps = torch.zeros(2, 10, 10, dtype=torch.uint8)
    maps[0] = 100
    maps[0, 2:6, 2:6] = 200
    maps[1, 1:9, 1:9] = 100
    maps[1, 1:9, 1:5] = 200
    return maps, torch.tensor([[2, 2, 6, 6], [1, 1, 9, 9]])


def test_one_threshold_is_chosen_for_all_images():
    metric = MaxBoxAccuracy((0.8,), thresholds=10)
    metric.update(*two_images())
    # Level 100 is 0.5 of the maximum: from there on image 0 is right, below it image 1.
    assert metric.correct_counts.tolist() == [[1] * 10]
    assert metric.compute().item() == 0.5
    each = [MaxBoxAccuracy((0.8,), thresholds=10) for _ in range(2)]
    for metric, maps, box in zip(each, *two_images(), strict=True):
        metric.update(maps[None], box[None])
        assert metric.compute().item() == 1.0  # the best one image by image would say 1
    assert each[0].correct_counts.tolist() == [[0] * 5 + [1] * 5]
    assert each[1].correct_counts.tolist() == [[1] * 5 + [0] * 5]


def test_threshold_of_one_split_is_applied_to_another():
    choose, evaluate = MaxBoxAccuracy((0.3, 0.8), thresholds=10), MaxBoxAccuracy((0.3, 0.8), 10)
    maps, boxes = two_images()
    choose.update(maps[:1], boxes[:1])
    evaluate.update(maps, boxes)
    # At IoU 0.3 image 0 is right only from 0.5 on too: its whole picture has IoU 0.16.
    assert choose.best_thresholds().tolist() == [5, 5]
    assert evaluate.accuracy_at(choose.best_thresholds()).tolist() == [1.0, 0.5]
    assert evaluate.accuracy_at(torch.tensor([0, 9])).tolist() == [0.5, 0.5]
    assert evaluate.curve().shape == (2, 10)
    assert (evaluate.accuracy_at(choose.best_thresholds()) <= evaluate.compute()).all()


def test_forward_returns_the_batch_and_keeps_the_sum():
    metric = MaxBoxAccuracy((0.8,), thresholds=10)
    maps, boxes = two_images()
    assert metric(maps[:1], boxes[:1]).item() == 1.0
    assert metric(maps[1:], boxes[1:]).item() == 1.0
    assert metric.compute().item() == 0.5


@pytest.mark.parametrize(("ious", "shape"), [((0.5,), ()), ((0.3, 0.5), (2,))])
def test_one_iou_gives_a_scalar_as_torchmetrics_does(ious, shape):
    metric = MaxBoxAccuracy(ious, thresholds=10)
    metric.update(*two_images())
    assert metric.compute().shape == shape


@pytest.mark.gpu
def test_counts_are_the_same_on_a_gpu():
    here, there = MaxBoxAccuracy(IOUS, 20), MaxBoxAccuracy(IOUS, 20).cuda()
    here.update(stacked(), true_boxes())
    there.update(stacked().cuda(), true_boxes().cuda())
    assert torch.equal(here.correct_counts, there.correct_counts.cpu())


# --- MaxBoxAccV2, and thresholds from held-out images -----------------------------------------


@pytest.mark.paper("choe2020", "MaxBoxAccV2")
def test_v2_is_the_mean_of_three_maxima_over_all_contours():
    v2, three = MaxBoxAccuracyV2(thresholds=20), MaxBoxAccuracy(IOUS, 20, multi=True)
    for metric in (v2, three):
        metric.update(stacked(), true_boxes())
    assert torch.equal(v2.correct_counts, three.correct_counts)
    assert v2.compute().item() == pytest.approx(three.compute().mean().item(), abs=1e-15)
    assert len(three.compute().unique()) == 3


@pytest.mark.parametrize("held_out", [MaxBoxAccuracy(IOUS, 20), MaxBoxAccuracyV2(20, True)])
def test_held_out_images_choose_the_threshold(held_out):
    held_out = held_out.clone()
    held_out.update(stacked()[::2], true_boxes()[::2])
    honest = BoxAccuracy(held_out)
    greedy = held_out.clone()
    greedy.reset()
    for metric in (honest, greedy):
        metric.update(stacked()[1::2], true_boxes()[1::2])
    each = greedy.accuracy_at(held_out.best_thresholds())
    expected = each.mean() if held_out.average else each
    assert torch.equal(honest.compute(), expected)
    assert torch.equal(honest.maximum_chosen_on_these_images(), greedy.compute())
    assert (honest.compute() <= greedy.compute()).all()
    chosen = held_out.curve().argmax(1)
    assert honest.chosen_thresholds.tolist() == [int(i) * (1 / 20) for i in chosen]
    # The threshold is fixed: neither more held-out images nor a reset move it.
    held_out.update(*two_images())
    honest.reset()
    assert torch.equal(honest.chosen, chosen)


def test_honest_number_can_be_less_than_the_maximum():
    maps, boxes = two_images()
    held_out = MaxBoxAccuracy((0.8,), thresholds=10)
    held_out.update(maps[:1], boxes[:1])  # right from 0.5 on
    honest = BoxAccuracy(held_out)
    assert honest(maps[1:], boxes[1:]).item() == 0.0  # right below 0.5
    assert honest.maximum_chosen_on_these_images().item() == 1.0
    assert honest.compute().shape == ()


def test_box_accuracy_is_gt_known_of_boxes_at_the_chosen_threshold():
    held_out = MaxBoxAccuracy(thresholds=20)
    held_out.update(stacked()[::2], true_boxes()[::2])
    honest, gt_known = BoxAccuracy(held_out), LocalizationAccuracy(top_k=None)
    maps, boxes = stacked()[1::2], true_boxes()[1::2]
    honest.update(maps, boxes)
    zeros = torch.zeros(len(maps), dtype=torch.long)
    found = boxes_from_score_maps(maps, honest.chosen_thresholds.item())
    gt_known.update(found, zeros, zeros, boxes)
    assert honest.compute() == gt_known.compute()


@pytest.mark.parametrize("held_out", [MaxBoxAccuracy(IOUS, 20), MaxBoxAccuracyV2(20, True)])
def test_hits_are_the_accuracy_image_by_image(held_out):
    held_out = held_out.clone()
    held_out.update(stacked()[::2], true_boxes()[::2])
    honest, maps, boxes = BoxAccuracy(held_out), stacked()[1::2], true_boxes()[1::2]
    honest.update(maps, boxes)
    before = {k: v.clone() for k, v in honest.metric_state.items()}
    hits = honest.hits(maps, boxes)
    assert hits.shape == (20, 3)
    assert torch.equal(hits.double().mean(0), honest.accuracy_at(honest.chosen))
    assert 0 < hits.sum() < hits.numel()
    # Each image as if it were alone, and nothing is counted.
    for i, row in enumerate(hits):
        alone = BoxAccuracy(held_out)
        alone.update(maps[i : i + 1], [boxes[i : i + 1]])
        assert torch.equal(alone.accuracy_at(alone.chosen), row.double())
    assert all(torch.equal(v, before[k]) for k, v in honest.metric_state.items())


@pytest.mark.parametrize("held_out", [MaxBoxAccuracy(IOUS, 20), MaxBoxAccuracyV2(20, True)])
def test_known_ious_are_counted_as_their_maps_are(held_out):
    """Once for all metrics that share them; also those of a larger least IoU than needed."""
    known = ious_over_thresholds(
        stacked(), true_boxes(), 20, multi=held_out.multi, inclusive=held_out.inclusive,
        at_least=min(held_out.iou_thresholds),
    )  # fmt: skip
    by_maps, by_ious = held_out.clone(), held_out.clone()
    by_maps.update(stacked()[::2], true_boxes()[::2])
    by_ious.update(ious=known[::2])
    assert torch.equal(by_ious.correct_counts, by_maps.correct_counts)
    maps_judged, ious_judged = BoxAccuracy(by_maps), BoxAccuracy(by_ious)
    maps_judged.update(stacked()[1::2], true_boxes()[1::2])
    ious_judged.update(ious=known[1::2])
    assert torch.equal(ious_judged.compute(), maps_judged.compute())
    own = [m.accuracy_at_own_thresholds() for m in (ious_judged, maps_judged)]
    assert torch.equal(*own)


@pytest.mark.usefixtures("no_shape_checks")
def test_maps_and_ious_are_not_mixed_and_impossible_ious_are_refused():
    metric = MaxBoxAccuracy(thresholds=4)
    all_three = {"score_maps": MAPS, "boxes": BOXES, "ious": torch.zeros(2, 4)}
    for arguments in ({}, {"score_maps": MAPS}, {"boxes": BOXES}, all_three):
        with pytest.raises(ValueError, match="maps with boxes, or IoUs alone"):
            metric.update(**arguments)
    for shape in ((2, 5), (4,), (0, 4)):
        with pytest.raises(ValueError, match=r"need IoUs of shape \(images, 4\), got shape"):
            metric.update(ious=torch.zeros(shape))
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"IoUs lie in \[0, 1\]"):
            metric.update(ious=torch.full((2, 4), bad))
    assert metric.total == 0


def test_own_thresholds_flatter_image_by_image():
    metric = MaxBoxAccuracy((0.8,), thresholds=10)
    metric.update(*two_images())
    assert metric.accuracy_at_own_thresholds().tolist() == [1.0]  # of which one is right at most
    assert metric.compute().item() == 0.5
    whole = MaxBoxAccuracy(IOUS, thresholds=20)
    each = [MaxBoxAccuracy(IOUS, thresholds=20) for _ in range(40)]
    for one, i in zip(each, range(40), strict=True):
        one.update(stacked()[i : i + 1], true_boxes()[i : i + 1])
        whole.update(stacked()[i : i + 1], true_boxes()[i : i + 1])
    expected = torch.stack([one.compute() for one in each]).mean(0)
    assert torch.equal(whole.accuracy_at_own_thresholds(), expected)
    assert (expected > whole.compute()).all()


@pytest.mark.usefixtures("no_shape_checks")
def test_a_threshold_needs_held_out_images():
    with pytest.raises(ValueError, match="held_out has counted no images"):
        BoxAccuracy(MaxBoxAccuracy())
    with pytest.raises(TypeError, match=r"MaxBoxAccuracyV2 .* got float"):
        BoxAccuracy(0.2)
    with pytest.raises(ValueError, match=r"index in \[0, 100\) for each .* got \[100\]"):
        MaxBoxAccuracy().accuracy_at(torch.tensor([100]))
    with pytest.raises(ValueError, match=r"for each of the IoUs \(0\.5,\), got \[1, 2\]"):
        MaxBoxAccuracy().accuracy_at(torch.tensor([1, 2]))


def test_several_true_boxes_an_image_count_once():
    maps, boxes = two_images()
    elsewhere = torch.tensor([[7, 7, 9, 9]])
    one, several = MaxBoxAccuracy((0.8,), 10), MaxBoxAccuracy((0.8,), 10)
    one.update(maps, boxes)
    several.update(maps, [torch.cat([elsewhere, boxes[:1], boxes[:1]]), boxes[1:]])
    assert torch.equal(one.correct_counts, several.correct_counts)
    top = LocalizationAccuracy(None)
    zero = torch.zeros(2, dtype=torch.long)
    top.update(boxes, zero, zero, [torch.cat([elsewhere, boxes[:1]]), elsewhere])
    assert top.compute().item() == 0.5


def test_batches_of_other_sizes_add_up():
    metric = MaxBoxAccuracy((0.8,), thresholds=10)
    maps, boxes = two_images()
    metric.update(maps[:1], boxes[:1])
    metric.update(maps[1:, :9, :9].repeat_interleave(2, 1), boxes[1:] * torch.tensor([1, 2, 1, 2]))
    assert metric.total == 2
    assert metric.correct_counts.tolist() == [[1] * 10]


# --- As torchmetrics --------------------------------------------------------------------------


def filled() -> dict[str, tuple[object, tuple, tuple]]:
    """Each metric, with a batch for it and one that it must refuse after half of its work."""
    maps, boxes = two_images()
    wrong = torch.stack([maps[0].double(), torch.full((10, 10), torch.nan, dtype=torch.double)])
    held_out = MaxBoxAccuracy((0.3, 0.8), 10)
    held_out.update(maps, boxes)
    y = torch.tensor([0, 1])
    turned = torch.stack([boxes[0], boxes[1].flip(0)])
    return {
        "max": (MaxBoxAccuracy((0.8,), 10), (maps, boxes), (wrong, boxes)),
        "v2": (MaxBoxAccuracyV2(10), (maps, boxes), (maps, turned)),
        "held_out": (BoxAccuracy(held_out), (maps, boxes), (wrong, boxes)),
        "top1": (LocalizationAccuracy(), (boxes, y, y * 0, boxes), (turned, y, y, boxes)),
        "pixels": (PixelAveragePrecision(), (maps, maps > 150), (wrong, maps > 150)),
    }


each_metric = pytest.mark.parametrize("name", list(filled()))


@each_metric
@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_refused_batch_leaves_no_trace(name, call):
    metric, batch, refused = filled()[name]
    metric.update(*batch)
    before = {k: v.clone() for k, v in metric.metric_state.items()}
    with pytest.raises(ValueError, match="NaN"):
        getattr(metric, call)(*refused)
    assert all(torch.equal(v, before[k]) for k, v in metric.metric_state.items())
    value = metric.compute()
    # It goes on as if nothing had happened, by either way.
    metric(*batch)
    metric.update(*batch)
    assert torch.equal(metric.compute(), value)  # the same batch thrice: the same shares


@each_metric
def test_state_survives_saving_copies_and_moves(name):
    metric, batch, _ = filled()[name]
    metric.persistent(True)
    metric.update(*batch)
    fresh = filled()[name][0]
    fresh.load_state_dict(metric.state_dict())
    for twin in (fresh, pickle.loads(pickle.dumps(metric)), metric.clone(), metric.to("cpu")):
        assert all(torch.equal(v, metric.metric_state[k]) for k, v in twin.metric_state.items())
    moved = metric.to("meta")
    assert {v.device.type for v in moved.metric_state.values()} == {"meta"}


@each_metric
def test_value_before_any_batch_is_not_a_number(name):
    metric = filled()[name][0]
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute().isnan().all()


def test_counts_of_other_settings_do_not_mix():
    """They may agree on a first batch, so that a collection would let them share one state."""
    maps, boxes = two_images()
    pair = {"largest": MaxBoxAccuracy((0.5,), 20), "any": MaxBoxAccuracy((0.5,), 20, multi=True)}
    together = MetricCollection({k: m.clone() for k, m in pair.items()})
    for metric in (together, *pair.values()):
        metric.update(maps, boxes)
    assert torch.equal(pair["any"].correct_counts, pair["largest"].correct_counts)
    for metric in (together, *pair.values()):
        metric.update(stacked(), true_boxes())
    assert not torch.equal(pair["any"].correct_counts, pair["largest"].correct_counts)
    for name, metric in pair.items():
        assert torch.equal(together[name].correct_counts, metric.correct_counts)
    with pytest.raises(ValueError, match="different settings cannot be merged"):
        pair["any"].merge_state(pair["largest"])
    first, second = LocalizationAccuracy(None), LocalizationAccuracy(1)
    with pytest.raises(ValueError, match="different settings"):
        first.merge_state(second)


TWO_PROCESSES = """
from softmi import PixelAveragePrecision
from softmi.maps import BoxAccuracy, MaxBoxAccuracy, MaxBoxAccuracyV2

def count(metric, lot, truth):
    part = slice(0, 3) if rank == 0 else slice(3, 8)  # a mean of means would be off
    metric.update(data[lot][part], data[truth][part])
    return metric

result = {}
for name, held_out in {"max": MaxBoxAccuracy((0.3, 0.5), 20), "v2": MaxBoxAccuracyV2(20)}.items():
    count(held_out, "held", "held_boxes")
    metric = count(BoxAccuracy(held_out), "maps", "boxes")
    result[name] = [metric.chosen.tolist(), metric.compute().tolist(), metric.curve().tolist(),
                    metric.maximum_chosen_on_these_images().tolist(),
                    metric.accuracy_at_own_thresholds().tolist(), int(metric.total)]
pixels = count(PixelAveragePrecision(), "maps", "masks")
result["pixels"] = pixels.compute().item()
"""


@pytest.mark.slow
def test_two_processes_choose_one_threshold_and_count_together(tmp_path: Path):
    generator = torch.Generator().manual_seed(4)
    corner = torch.randint(0, 12, (8, 2), generator=generator)
    data = {
        "held": torch.rand(8, 24, 24, generator=generator),
        "held_boxes": torch.cat([corner, corner + 12], 1).flip(0),
        "maps": torch.rand(8, 24, 24, generator=generator),
        "boxes": torch.cat([corner, corner + 12], 1),
        "masks": torch.rand(8, 24, 24, generator=generator) < 0.3,
    }
    found = two_processes(TWO_PROCESSES, data, tmp_path)
    for held_out in (MaxBoxAccuracy((0.3, 0.5), 20), MaxBoxAccuracyV2(20)):
        held_out.update(data["held"], data["held_boxes"])
        metric = BoxAccuracy(held_out)
        metric.update(data["maps"], data["boxes"])
        for result, own in zip(found, (3, 5), strict=True):
            name = "v2" if held_out.average else "max"
            assert result[name] == [
                metric.chosen.tolist(), metric.compute().tolist(), metric.curve().tolist(),
                metric.maximum_chosen_on_these_images().tolist(),
                metric.accuracy_at_own_thresholds().tolist(), own,
            ]  # fmt: skip
    pixels = PixelAveragePrecision()
    pixels.update(data["maps"], data["masks"])
    assert [r["pixels"] for r in found] == [pixels.compute().item()] * 2


# --- GT-known, Top-1, Top-5 -------------------------------------------------------------------

# Images: found and right; found and wrong (right is second); found and wrong (right is fifth);
# missed and right; missed and wrong; found, and not among the first five.
FOUND = torch.tensor([[0, 0, 10, 10]] * 6)
TRUE = FOUND.clone()
TRUE[1:5] = torch.tensor([[0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 4], [50, 50, 60, 60]])
TARGETS = torch.tensor([0, 1, 2, 3, 4, 5])
RANKED = torch.tensor(
    [
        [0, 9, 8, 7, 6],
        [9, 1, 8, 7, 6],
        [9, 8, 7, 6, 2],
        [3, 9, 8, 7, 6],
        [9, 8, 7, 6, 5],
        [9, 8, 7, 6, 4],
    ]
)


@pytest.mark.parametrize(
    ("top_k", "accuracy"), [(None, 4 / 6), (1, 1 / 6), (2, 2 / 6), (4, 2 / 6), (5, 3 / 6)]
)
def test_gt_known_top_1_and_top_5_by_hand(top_k, accuracy):
    metric = LocalizationAccuracy(top_k)
    metric.update(FOUND, RANKED, TARGETS, TRUE)  # the third box has IoU 0.5 exactly: it counts
    assert metric.compute().item() == accuracy


def test_top_1_takes_the_predicted_class_alone():
    metric = LocalizationAccuracy(1)
    metric.update(FOUND, RANKED[:, 0], TARGETS, TRUE)
    assert metric.compute().item() == 1 / 6


@pytest.mark.parametrize(("threshold", "accuracy"), [(0.4, 5 / 6), (0.51, 3 / 6), (1.0, 2 / 6)])
def test_gt_known_moves_with_the_iou_threshold(threshold, accuracy):
    metric = LocalizationAccuracy(None, iou_threshold=threshold)
    metric.update(FOUND, RANKED, TARGETS, TRUE)
    assert metric.compute().item() == accuracy


def test_inclusive_pixels_change_the_verdict_at_the_boundary():
    found, true = torch.tensor([[0, 0, 9, 9]]), torch.tensor([[0, 0, 9, 4]])
    for inclusive, expected in ((False, 0), (True, 1)):  # 36 / 81 against 50 / 100
        metric = LocalizationAccuracy(None, inclusive=inclusive)
        metric.update(found, torch.tensor([0]), torch.tensor([0]), true)
        assert metric.compute().item() == expected


def mean_of_running_means(hits: list[int]) -> float:
    """What the authors' meter prints, batches of one (facts/authors-code.md, bug A)."""
    running = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    return sum(running) / len(running)


@pytest.mark.parametrize(
    ("hits", "theirs"), [([1, 1, 0, 0], 19 / 24), ([0, 0, 1, 1], 5 / 24)], ids=["good", "bad"]
)
def test_accuracy_is_no_mean_of_running_means(hits, theirs):
    """On a list sorted by class the authors' number depends on which classes come first."""
    metric = LocalizationAccuracy(None)
    for hit in hits:
        box = torch.tensor([[0, 0, 10, 10]])
        metric.update(box if hit else box + 50, torch.tensor([0]), torch.tensor([0]), box)
    assert metric.compute().item() == 0.5
    assert mean_of_running_means(hits) == pytest.approx(theirs)


def test_localisation_batches_and_merges_do_not_matter():
    whole, first, second = (LocalizationAccuracy(5) for _ in range(3))
    whole.update(FOUND, RANKED, TARGETS, TRUE)
    for part, metric in ((slice(0, 2), first), (slice(2, 6), second)):
        metric.update(FOUND[part], RANKED[part], TARGETS[part], TRUE[part])
    first.merge_state(second)
    assert first.compute() == whole.compute()


# --- Hostile input ----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_metrics_and_updates_are_refused_with_what_came_in():
    for bad in ((), (0.5, 0.0), (1.5,)):
        with pytest.raises(ValueError, match=r"IoU thresholds in .* got") as error:
            MaxBoxAccuracy(bad)
        assert str(tuple(bad)) in str(error.value)
    with pytest.raises(ValueError, match=r"got \(0\.5,\) and 0"):
        MaxBoxAccuracy(thresholds=0)
    with pytest.raises(ValueError, match=r"boxes must have shape \(2, 4\), got shape \(1, 4\)"):
        MaxBoxAccuracy().update(MAPS, BOXES[:1])
    with pytest.raises(ValueError, match=r"top_k=0, iou_threshold=0\.5"):
        LocalizationAccuracy(0)
    with pytest.raises(ValueError, match="top_k=1, iou_threshold=50"):
        LocalizationAccuracy(1, iou_threshold=50)
    cubes = torch.zeros(2, 1, 1, dtype=torch.long)
    for bad in ((BOXES, cubes, torch.tensor([0, 1])), (BOXES, torch.tensor([0, 1]), cubes)):
        with pytest.raises(ValueError, match=r"need predicted of shape .*shape \(2, 1, 1\), tor"):
            LocalizationAccuracy().update(*bad, BOXES)
    with pytest.raises(ValueError, match="agree in length, got 2, 1, 2 and 2"):
        LocalizationAccuracy().update(BOXES, torch.tensor([0]), torch.tensor([0, 1]), BOXES)
    with pytest.raises(ValueError, match=r"top_k=5 needs as many ranked classes, got shape \(2,"):
        LocalizationAccuracy(5).update(BOXES, torch.tensor([0, 1]), torch.tensor([0, 1]), BOXES)
