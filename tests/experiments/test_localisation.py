"""Heads, maps and verdicts of the localisation chapters: by hand, by identity, by equivalence."""

import pytest
import torch
import torch.nn.functional as F

from softmi import class_activation_map, mutual_information, sum_in_boxes
from softmi.experiments import localisation
from softmi.experiments.localisation import (
    CONTRASTS,
    HEADS,
    Task,
    contrast_maps,
    cosine_to_centred,
    describe_head,
    geometry_label,
    moved_boxes,
    place,
    put_aside,
)


@pytest.fixture(scope="module")
def features():
    """Two hundred images of three classes whose mean features differ."""
    draw = torch.Generator().manual_seed(0)
    targets = torch.arange(200) % 3
    maps = torch.rand(200, 8, 4, 4, generator=draw)
    maps[torch.arange(200), targets] += 0.5
    return maps, targets


def task_of(maps, size=32, held=None, logits=None):
    n = len(maps)
    draw = torch.Generator().manual_seed(1)
    corner = torch.randint(0, size // 2, (n, 2), generator=draw).float()
    boxes = torch.cat([corner, corner + size // 2], 1)
    held = torch.arange(n) % 2 == 0 if held is None else held
    logits = torch.randn(n, 3, generator=draw) if logits is None else logits
    return Task({"cam": maps}, logits, torch.zeros(n, dtype=torch.long), boxes, held, size)


# --- Heads ------------------------------------------------------------------------------------


def test_softmax_and_pc_softmax_train_the_same_head_when_classes_are_equally_many(features):
    maps, targets = features
    pooled = maps.mean((2, 3))[:198]
    heads = [
        localisation.train_head(pooled, targets[:198], HEADS[name], rate=0.03, seed=0, epochs=5)[0]
        for name in ("softmax", "pc_softmax")
    ]
    # gradients differ by rounding only: 20 steps of float32
    torch.testing.assert_close(heads[0].weight, heads[1].weight, atol=1e-5, rtol=1e-4)


def test_skewed_classes_keep_a_third_of_every_second_class(features):
    maps, targets = features
    *_, prior = localisation.train_head(
        maps.mean((2, 3)), targets, HEADS["softmax_skewed"], rate=0.01, seed=0, epochs=1
    )
    kept = torch.tensor([67 // 3, 67, 66 // 3]).double()  # 67, 67 and 66 images
    torch.testing.assert_close(prior, kept / kept.sum())


def test_the_same_seed_trains_the_same_head(features):
    maps, targets = features

    def run(seed):
        kind = HEADS["softmax_adam"]
        head, *_ = localisation.train_head(
            maps.mean((2, 3)), targets, kind, rate=1e-3, seed=seed, epochs=2
        )
        return head.weight

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_rate_with_the_least_held_out_cross_entropy_is_chosen(features):
    maps, targets = features
    pooled = maps.mean((2, 3))
    rate, losses = localisation.choose_rate(
        (pooled[:150], targets[:150]), (pooled[150:], targets[150:]), "sgd", epochs=3
    )
    assert losses[str(rate)] == min(losses.values())
    assert len(losses) == len(localisation.RATES["sgd"])


# --- Maps -------------------------------------------------------------------------------------


def test_maps_batch_by_batch_equal_maps_at_once_also_from_half_precision_arrays(features):
    maps, targets = features
    weights, draw = torch.randn(3, 8, generator=torch.Generator().manual_seed(5)), torch.arange(60)
    logits = maps.mean((2, 3)) @ weights.T
    half = maps.half()
    rows = draw * 3
    found = contrast_maps(
        half.numpy(), weights, targets[rows], logits[rows], index=rows, batch_size=7
    )
    for name, contrast in CONTRASTS.items():
        if name == "rivals_3":
            continue
        expected = class_activation_map(
            half[rows].float(), weights, targets[rows], logits=logits[rows], **contrast
        )
        torch.testing.assert_close(found[name], expected, atol=1e-6, rtol=1e-5)


@pytest.fixture(autouse=True)
def three_classes_have_two_rivals(monkeypatch):
    monkeypatch.setitem(localisation.CONTRASTS, "rivals_3", {"contrast": "rivals", "rivals": 2})


def test_padded_map_is_the_sum_over_every_window_stretched_over_the_picture():
    maps = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0))
    padded = F.avg_pool2d(F.pad(maps[:, None], (2, 2, 2, 2)), 3, stride=1)[:, 0] * 9
    by_hand = F.interpolate(padded[:, None], size=48, mode="bicubic")[:, 0]
    torch.testing.assert_close(place(maps, "padded_3", 48), by_hand, atol=1e-5, rtol=1e-5)


def test_shrunken_map_is_the_map_itself_smaller_in_the_middle():
    maps = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0))
    placed = place(maps, "shrink_5", 48)  # 48 * 12 / 16 = 36 pixels
    inner = F.interpolate(maps[:, None], size=36, mode="bicubic")[:, 0]
    assert torch.equal(placed[:, 6:42, 6:42], inner)
    border = placed.clone()
    border[:, 6:42, 6:42] = 0
    assert (border == 0).all()


@pytest.mark.parametrize("kind", ["padded", "faded", "blur", "shrink"])
def test_a_window_of_one_cell_changes_nothing(kind):
    maps = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(place(maps, f"{kind}_1", 28), place(maps, "none", 28))


def test_blur_of_a_constant_map_is_constant_and_fading_is_not():
    ones = torch.ones(1, 7, 7)
    torch.testing.assert_close(place(ones, "blur_3", 28), torch.full((1, 28, 28), 9.0))
    assert place(ones, "faded_3", 28)[0, 0, 0] < 9


@pytest.mark.parametrize("geometry", ["wide_3", "padded", "padded_0", "padded_x", ""])
def test_an_unknown_geometry_is_named_in_the_error(geometry):
    with pytest.raises(ValueError, match="geometry must be"):
        place(torch.rand(1, 4, 4), geometry, 16)


# --- The control, and boxes that are moved ----------------------------------------------------


def test_in_the_control_nobody_keeps_their_own_map_and_splits_do_not_mix():
    maps = torch.arange(50.0)[:, None, None].expand(50, 2, 2)
    task = task_of(maps)
    other = task.with_strangers(seed=1).maps["cam"][:, 0, 0]
    own = torch.arange(50.0)
    assert (other != own).all()
    assert ((other % 2 == 0) == task.held).all()
    assert torch.equal(other.sort().values, own)


def test_shrinking_a_map_is_making_boxes_smaller_and_moving_them_to_the_middle():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [40.0, 20.0, 60.0, 30.0]])
    both = moved_boxes(boxes, 64, scale=0.7, pull=0.3)
    torch.testing.assert_close(both, 32 + 0.7 * (boxes - 32))
    smaller = moved_boxes(boxes, 64, scale=0.5)
    torch.testing.assert_close(smaller[1], torch.tensor([45.0, 22.5, 55.0, 27.5]))
    assert torch.equal(moved_boxes(boxes, 64), boxes)


# --- What is said of a head -------------------------------------------------------------------


def test_every_fifth_train_image_of_a_class_is_put_aside():
    targets = torch.tensor([0, 1] * 15)
    is_train = torch.arange(30) < 24  # twelve of each class
    held = put_aside(targets, is_train).nonzero()[:, 0].tolist()
    assert held == [8, 9, 18, 19]


def test_cosine_to_centred_is_one_where_the_mean_is_zero_and_by_hand_elsewhere():
    weights = torch.tensor([[3.0, 0.0], [1.0, 0.0], [-1.0, 3.0]])  # mean (1, 1)
    torch.testing.assert_close(
        cosine_to_centred(weights), torch.tensor([2 / 5**0.5, 0, 2 / 5**0.5])
    )
    centred = weights - weights.mean(0)
    torch.testing.assert_close(cosine_to_centred(centred), torch.ones(3))


def test_a_head_is_described_by_its_test_images():
    draw = torch.Generator().manual_seed(3)
    maps = {"cam": torch.rand(40, 4, 4, generator=draw)}
    maps["infocam"] = 2 * maps["cam"] + 1  # the same up to scale and shift
    maps["infocam_plus"] = torch.rand(40, 4, 4, generator=draw)
    base = task_of(maps["cam"])
    task = Task(maps, base.logits, torch.arange(40) // 2 % 3, base.boxes, base.held, 32)
    weights, test = torch.randn(3, 8, generator=draw), task.splits[1]
    found = describe_head(task, weights)
    logits = task.logits[test]
    right = (logits.argmax(1) == task.targets[test]).double().mean()
    assert found["accuracy"] == pytest.approx(float(right), abs=1e-7)  # torchmetrics: float32
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert found["information"] == mutual_information(logits, task.targets[test], uniform).value
    assert found["smallest_cosine"] == float(cosine_to_centred(weights).min()) < found["cosine"]
    assert found["correlation"]["infocam"] == pytest.approx(1, abs=1e-6)
    assert found["correlation"]["infocam_plus"] < 0.5
    for name, nats in found["nats"].items():
        inside = sum_in_boxes(maps[name][test].double(), task.boxes[test], (32, 32))
        assert nats["inside"] == float(inside.mean())
        assert nats["total"] == pytest.approx(float(maps[name][test].sum((1, 2)).mean()))
    assert found["box"] == 0.25  # half the side in both directions


def test_geometries_are_named_in_words():
    assert [geometry_label(g) for g in ("none", "padded_4")] == ["no window", "padded window 4"]
