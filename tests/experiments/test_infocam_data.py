"""What chapter 07 looks at: the account, the gauge, and the solutions of its exercises."""

import pytest
import torch
from picture_sets import COLOURS, four_birds, write_folder
from torch import nn

from softmi import class_activation_map, sum_in_boxes
from softmi.experiments import infocam_data
from softmi.experiments.infocam_data import (
    account_errors,
    centring_error,
    load_birds,
    other_gauge,
    scene_network,
    two_digits,
)
from softmi.experiments.localisation import CONTRASTS, contrast_maps
from softmi.models import Backbone


@pytest.fixture(scope="module")
def learned():
    """Trained for one epoch alone: what holds here holds for any weights."""
    return scene_network(3, epochs=1)


def test_the_same_seed_learns_the_same_and_is_learned_once(learned):
    assert scene_network(3, epochs=1) is learned
    assert learned.net.head.weight.shape == learned.before.shape
    assert not torch.equal(learned.weights, learned.before)
    assert len(learned.train) == 1200
    assert len(learned.scenes) == 400


def test_maps_of_any_contrast_account_for_the_difference_of_logits(learned):
    errors = account_errors(learned)
    assert errors.keys() == CONTRASTS.keys() == learned.maps.keys()
    assert max(errors.values()) < 1e-4  # float32 sums of 144 cells


def test_nearest_rivals_are_the_likeliest_other_classes(learned):
    for f, y, k in zip(
        learned.logits, learned.scenes.targets, learned.nearest_rivals, strict=True
    ):
        others = [c for c in range(10) if c != y]
        assert int(k) == max(others, key=lambda c: float(f[c]))


def test_task_puts_every_second_scene_aside(learned):
    held, test = learned.task.splits
    assert held.tolist() == list(range(0, 400, 2))
    assert test.tolist() == list(range(1, 400, 2))


def test_contrasts_of_classes_do_not_see_the_other_gauge_and_cam_does(learned):
    moved = other_gauge(learned)
    shift = moved - learned.weights
    torch.testing.assert_close(shift, shift[:1].expand(10, -1), atol=1e-6, rtol=0)
    targets, logits = learned.scenes.targets, learned.logits
    maps = contrast_maps(learned.features, moved, targets, logits)
    change = {n: float((m - learned.maps[n]).norm() / m.norm()) for n, m in maps.items()}
    assert change.pop("cam") > 0.3
    assert max(change.values()) < 1e-4


@pytest.mark.parametrize("classes", [2, 7, 50])
def test_infocam_is_centring_to_rounding(classes):
    weights = torch.randn(classes, 12, dtype=torch.float64)
    assert centring_error(weights) < 1e-14
    assert centring_error(weights + 1e3) < 1e-14


def test_map_against_the_other_digit_changes_its_sign_with_the_question(learned):
    two = two_digits(learned, 20)
    assert two.maps.keys() == {*CONTRASTS, "other"}
    there = two.scenes.targets[:, 1]
    with torch.no_grad():
        _, features = learned.net(two.scenes.images)
    opposite = class_activation_map(features, learned.weights, there)
    torch.testing.assert_close(two.maps["other"], two.maps["cam"] - opposite)
    for name, parts in two.inside.items():
        for of, part in enumerate(parts):
            assert torch.equal(
                part, sum_in_boxes(two.maps[name], two.scenes.boxes[:, of], (48, 48))
            )
    again = two_digits(learned, 20)
    assert torch.equal(again.scenes.images, two.scenes.images)


# --- Birds ------------------------------------------------------------------------------------


class Watched(nn.Module):
    """Mean colours of 7 x 7 cells; notes where it was sent and how many images it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.seen = [], 0

    def to(self, device):
        self.places.append(device)
        return self

    def cpu(self):
        return self.to("cpu")

    def forward(self, images):
        self.seen += len(images)
        return nn.functional.adaptive_avg_pool2d(images, 7)


@pytest.mark.usefixtures("no_shape_checks")  # CUB has what a Dataset needs and is none
def test_birds_go_through_the_network_once_and_it_comes_back_from_the_card(tmp_path, monkeypatch):
    write_folder(four_birds(), tmp_path / "CUB_200_2011")
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    monkeypatch.setenv("SOFTMI_CACHE", str(tmp_path / "cache"))
    module = Watched()
    backbone = Backbone(module, "mean colours", "0")
    monkeypatch.setattr(infocam_data, "mobilenet_v2_features", lambda: backbone)
    birds = load_birds(224, "cpu:0")  # stands for a card
    assert module.places == ["cpu:0", "cpu"]  # where maps of mirrored images are made
    assert birds.backbone is backbone
    assert birds.features.shape == (4, 3, 7, 7)
    for found, colour in zip(torch.tensor(birds.features), COLOURS, strict=True):
        assert torch.equal(found, torch.tensor(colour).view(3, 1, 1).expand(3, 7, 7) / 255)
    assert birds.held.shape == (4,)
    assert not (birds.held & ~birds.images.is_train).any()
    assert module.seen == 4
    assert torch.equal(torch.tensor(load_birds().features), torch.tensor(birds.features))
    assert module.seen == 4
    larger = load_birds(448)
    assert module.seen == 8  # other pictures, judged by boxes of the same size
    assert torch.allclose(larger.boxes, birds.boxes)
    assert torch.allclose(larger.images.boxes, 2 * birds.boxes)


# --- The exercises ----------------------------------------------------------------------------


def test_solution_1_one_vector_erases_a_cam_or_turns_it_into_infocam(learned):
    digits, looked, weights = learned.scenes.targets[:50], learned.features[:50], learned.weights

    def map_of(u, contrast, classes=digits):
        return class_activation_map(looked, weights + u, classes, contrast=contrast)

    erase, centre = -weights[3], -weights.mean(0)
    for u in (erase, centre):
        moved = learned.logits[:50] + looked.mean((2, 3)) @ u[:, None]
        # float32
        assert torch.allclose(moved.softmax(1), learned.logits[:50].softmax(1), atol=1e-4)
        assert torch.allclose(map_of(u, "mean"), map_of(0, "mean"), atol=1e-4)
    assert map_of(erase, "none", torch.full((50,), 3)).abs().max() == 0
    assert torch.allclose(map_of(centre, "none"), 9 / 10 * map_of(0, "mean"), atol=1e-4)


# Solution 2, of one bright cell and its window sum, is in tests/maps/test_picture.py.


def test_solution_3_against_whom():
    seen = 4 * torch.eye(4)[:3].view(1, 3, 2, 2)  # head, body and branch, and an empty cell
    weights = torch.tensor([[2.0, 2, 0], [0, 2, 0], [0, 0, -1]])
    scores = seen.mean((2, 3)) @ weights.T
    assert scores.tolist() == [[4, 2, -1]]
    table = {
        "cam": ([2, 2, 0], 4),
        "infocam": ([2, 1, 0.5], 3.5),
        "infocam_plus": ([2, 2, 1], 5),
        "rivals_1": ([2, 0, 0], 2),
    }
    for name, (cells, total) in table.items():
        shown = class_activation_map(
            seen, weights, torch.tensor([0]), logits=scores, **CONTRASTS[name]
        )
        assert shown.flatten().tolist() == [*cells, 0]
        assert shown.sum() == total
