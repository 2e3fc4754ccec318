"""Rendered scenes: what is asked for is in the picture, at the place that is told."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from softmi.datasets import (
    digit_scenes,
    digits,
    multi_digit_scenes,
)


def several(seed: int = 0, n: int = 30, digits=2, **options):
    return multi_digit_scenes(n, torch.Generator().manual_seed(seed), digits, **options)


def tight_box(mask: torch.Tensor) -> list[int]:
    ys, xs = np.nonzero(mask.numpy())
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize(
    ("options", "digest", "following"),
    [
        ({}, "fa9c50163a52fe29fe5a2d0e7a0eb00e", 616),
        ({"split": "test", "distractors": 0}, "388f1d0a06e283b78d49ad446538c6d5", 523),
        ({"size": 40, "digit_size": (10, 20)}, "713802c20791d93d2e7f8c19306e9271", 293),
    ],
)
def test_scenes_with_one_digit_are_those_of_the_published_results(options, digest, following):
    """Digests of images, targets and boxes before scenes had masks, and what is drawn next."""
    generator = torch.Generator().manual_seed(7)
    scenes = digit_scenes(50, generator, **options)
    found = hashlib.sha256()
    for array in (scenes.images, scenes.targets, scenes.boxes):
        found.update(array.numpy().tobytes())
    assert torch.randint(1000, (), generator=generator).item() == following
    assert found.hexdigest()[:32] == digest


def test_the_mask_of_a_lone_digit_is_all_that_is_bright():
    """Without fragments nothing but the digit is brighter than the ground (below 0.1)."""
    scenes = digit_scenes(40, torch.Generator().manual_seed(1), distractors=0)
    assert torch.equal(scenes.masks, scenes.images[:, 0] > 1 / 8)


@pytest.mark.parametrize("distractors", [0, 4])
def test_masks_of_scenes_have_their_boxes_and_hide_no_light(distractors):
    scenes = digit_scenes(40, torch.Generator().manual_seed(2), distractors=distractors)
    assert scenes.masks.shape == (40, 48, 48)
    for image, mask, box in zip(scenes.images, scenes.masks, scenes.boxes.tolist(), strict=True):
        assert tight_box(mask) == box
        assert image[0][mask].min() > 1 / 8  # a fragment can only add light


SETTINGS = pytest.mark.parametrize(
    ("digits", "options"),
    [
        (1, {}),
        (2, {}),
        ((1, 3), {}),
        (4, {"size": 48}),  # four squares of up to 24 pixels: they may just fit
        (4, {"size": 48, "digit_size": (24, 24)}),  # one way to place them
        ((2, 9), {"size": 40, "digit_size": (5, 13), "distractors": 0, "split": "test"}),
    ],
)


@SETTINGS
def test_scenes_hold_as_many_digits_of_different_classes_as_asked(digits, options):
    scenes = several(3, digits=digits, **options)
    least, most = (digits, digits) if isinstance(digits, int) else digits
    size = options.get("size", 64)
    assert len(scenes) == 30
    assert scenes.images.shape == (30, 1, size, size)
    assert 0 <= scenes.images.min() < scenes.images.max() <= 1
    assert scenes.targets.shape == (30, most)
    assert scenes.boxes.shape == (30, most, 4)
    assert scenes.masks.shape == (30, most, size, size)
    counts = (scenes.targets >= 0).sum(1)
    assert set(counts.tolist()) == set(range(least, most + 1)) or most == 9
    assert least <= counts.min() <= counts.max() <= most
    for targets, count, labels in zip(scenes.targets.tolist(), counts, scenes.labels, strict=True):
        present = targets[:count]
        assert targets[count:] == [-1] * (most - count)
        assert len(set(present)) == count
        assert labels.nonzero().flatten().tolist() == sorted(present)
        assert labels[present].tolist() == [1] * int(count)


@SETTINGS
def test_boxes_are_tight_around_masks_that_do_not_overlap(digits, options):
    scenes = several(4, digits=digits, **options)
    low, high = options.get("digit_size", (14, 24))
    for image, targets, boxes, masks in zip(
        scenes.images, scenes.targets, scenes.boxes, scenes.masks, strict=True
    ):
        assert masks.sum(0).max() == 1
        for target, box, mask in zip(targets, boxes, masks, strict=True):
            if target < 0:
                assert not mask.any()
                assert not box.any()
                continue
            assert tight_box(mask) == box.tolist()
            assert 0 < max(box[2] - box[0], box[3] - box[1]) <= high
            assert image[0][mask].min() > 1 / 8
        for i, (a, b, c, d) in enumerate(boxes[targets >= 0].tolist()):
            for x0, y0, x1, y1 in boxes[:i].tolist():
                assert a >= x1 or c <= x0 or b >= y1 or d <= y0
    assert low <= high


def test_without_fragments_all_light_belongs_to_a_digit():
    scenes = several(5, digits=(1, 3), distractors=0)
    assert torch.equal(scenes.masks.any(1), scenes.images[:, 0] > 1 / 8)


def test_each_class_and_each_number_of_digits_is_equally_likely():
    scenes = several(6, n=1500, digits=(1, 3), size=24, digit_size=(5, 8), distractors=0)
    share = scenes.labels.mean(0)  # two digits of ten classes on average
    # The presence of a class is a coin of probability 0.2: four standard errors.
    assert (share - 0.2).abs().max() < 4 * (0.2 * 0.8 / 1500) ** 0.5
    counts = torch.bincount((scenes.targets >= 0).sum(1), minlength=4)[1:] / 1500
    assert (counts - 1 / 3).abs().max() < 4 * (2 / 9 / 1500) ** 0.5


def test_places_are_spread_over_the_whole_scene():
    """Every pixel of the frame that a digit can reach is covered by some box."""
    scenes = several(7, n=300, digits=3, size=40, digit_size=(10, 13), distractors=0)
    cover = scenes.masks.any(1).any(0)
    assert cover[3:-3, 3:-3].all()
    centres = (scenes.boxes[..., :2] + scenes.boxes[..., 2:]).mean(1) / 2  # of each scene
    error = centres.std(0) / len(scenes) ** 0.5
    # A digit need not be in the middle of its square, by less than a pixel on average.
    assert ((centres.mean(0) - 20).abs() < 1 + 4 * error).all()


def test_several_digits_are_a_function_of_the_generator_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    a, b, c = several(1), several(1), several(2)
    for name in ("images", "targets", "boxes", "masks", "labels"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert not torch.equal(a.images, c.images)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(several(1, split="test").images, a.images)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "got n=0"),
        ({"digits": 0}, "1 to 10 digits of different classes, got digits=0"),
        ({"digits": 11, "size": 500}, "1 to 10 digits of different classes, got digits=11"),
        ({"digits": (3, 2)}, r"got digits=\(3, 2\)"),
        ({"digit_size": (20, 10)}, r"digit_size=\(20, 10\)"),
        ({"digit_size": (3, 10)}, r"digit_size=\(3, 10\)"),
        ({"distractors": -1}, "distractors=-1"),
        ({"digits": 1, "size": 4, "digit_size": (4, 4)}, "distractors need size >= 5, got size=4"),
        ({"digits": 1, "size": 23}, "1 digits of up to 24 pixels need .* 24 pixels, got size=23"),
        ({"digits": (1, 5), "size": 71}, "5 digits of up to 24 .* at least 72 .* got size=71"),
    ],
)
def test_digits_that_do_not_fit_are_refused_with_what_was_asked(options, message):
    with pytest.raises(ValueError, match=message):
        several(**options)


def test_digits_are_split_into_disjoint_parts_that_make_the_whole():
    (train, train_y), (test, test_y) = digits("train"), digits("test")
    assert (len(train), len(test)) == (1198, 599)
    assert train.shape[1:] == (1, 8, 8)
    assert 0 <= train.min() < train.max() <= 1
    together = np.concatenate([train.numpy(), test.numpy()]).reshape(1797, -1)
    labels = np.concatenate([train_y.numpy(), test_y.numpy()])
    rows = {(*row, y) for row, y in zip((16 * together).tolist(), labels.tolist(), strict=True)}
    bunch = load_digits()
    assert rows == {(*r, y) for r, y in zip(bunch.data, bunch.target, strict=True)}


def test_digits_are_a_function_of_the_seed():
    assert torch.equal(digits("train", seed=3)[1], digits("train", seed=3)[1])
    assert not torch.equal(digits("train", seed=3)[1], digits("train", seed=4)[1])


def scenes(seed: int = 0, n: int = 40, **options):
    return digit_scenes(n, torch.Generator().manual_seed(seed), **options)


def test_scenes_are_a_function_of_the_generator_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    a, b, c = scenes(1), scenes(1), scenes(2)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.boxes, b.boxes)
    assert torch.equal(a.targets, b.targets)
    assert not torch.equal(a.images, c.images)
    assert torch.equal(torch.get_rng_state(), before)


def test_scene_boxes_are_the_tight_bounds_of_bright_pixels():
    """Without distractors all that is brighter than the ground (below 0.1) is the digit."""
    plain = scenes(3, distractors=0)
    for image, box in zip(plain.images, plain.boxes.tolist(), strict=True):
        ys, xs = np.nonzero(image[0].numpy() > 1 / 8)
        assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize("distractors", [0, 3])
def test_scene_boxes_lie_inside_and_hold_light_at_each_side(distractors):
    found = scenes(4, distractors=distractors, size=40, digit_size=(10, 20))
    assert found.images.shape == (40, 1, 40, 40)
    assert 0 <= found.images.min() < found.images.max() <= 1
    assert len(found) == 40
    for image, box in zip(found.images[:, 0], found.boxes.int().tolist(), strict=True):
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= 40
        assert 0 <= y0 < y1 <= 40
        assert max(x1 - x0, y1 - y0) <= 20
        inside = image[y0:y1, x0:x1] > 1 / 8
        for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert side.any()


def test_scenes_of_the_two_splits_show_different_digits():
    train, test = scenes(5, split="train"), scenes(5, split="test")
    assert not torch.equal(train.images, test.images)
    assert set(train.targets.tolist()) <= set(range(10))


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "options",
    [{"n": 0}, {"digit_size": (10, 49)}, {"digit_size": (20, 10)}, {"digit_size": (3, 9)},
     {"distractors": -1}],
)  # fmt: skip
def test_impossible_scenes_are_refused_with_what_was_asked(options):
    with pytest.raises(ValueError, match="digit sizes <= size, got n=") as error:
        scenes(**options)
    for name, value in options.items():
        assert f"{name}={value}" in str(error.value)
