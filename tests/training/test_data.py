"""Data sets that hand out whole batches, and their augmentation."""

import itertools
import math

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from softmi import GaussianClasses
from softmi.training import (
    CropsAndFlips,
    TensorBatches,
    loader,
)


def data(n: int = 96, *, whole: bool = True) -> TensorDataset:
    x, y = GaussianClasses([[-2.0, 0.0], [0.0, 1.0], [2.0, -1.0]], [0.2, 0.3, 0.5]).sample(
        n, torch.Generator().manual_seed(0)
    )
    return (TensorBatches if whole else TensorDataset)(x, y)


@pytest.mark.parametrize("batch_size", [1, 16, 100])
@pytest.mark.parametrize("shuffle", [True, False])
def test_tensor_batches_gives_the_batches_of_a_tensor_dataset(batch_size, shuffle):
    ours = loader(data(), batch_size, shuffle=shuffle, seed=3)
    theirs = DataLoader(
        data(whole=False), batch_size, shuffle=shuffle,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    pairs = list(zip(ours, theirs, strict=True))
    assert len(pairs) == math.ceil(96 / batch_size)
    for (x, y), (expected_x, expected_y) in pairs:
        assert torch.equal(x, expected_x)
        assert torch.equal(y, expected_y)


def pictures(n: int = 64, side: int = 6) -> torch.Tensor:
    return torch.randint(1, 256, (n, 2, side, side), generator=torch.Generator().manual_seed(0)
                         ).to(torch.uint8)  # fmt: skip


def test_crops_are_windows_of_the_padded_picture_mirrored_or_not():
    images, padding = pictures(), 2
    dataset = CropsAndFlips(images, torch.arange(64), padding=padding)
    torch.manual_seed(0)
    crops, targets = dataset.__getitems__(list(range(64)))
    assert targets.tolist() == list(range(64))
    assert (crops.dtype, crops.shape) == (torch.float32, images.shape)
    assert 0 <= crops.min() < crops.max() <= 1
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    seen = set()
    for i, crop in enumerate((255 * crops).round().to(torch.uint8)):
        places = [
            (top, left, mirrored)
            for top, left, mirrored in itertools.product(range(5), range(5), (False, True))
            for window in [padded[i, :, top : top + 6, left : left + 6]]
            if torch.equal(crop, window.flip(2) if mirrored else window)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert {s[0] for s in seen} == {s[1] for s in seen} == set(range(5))
    assert {s[2] for s in seen} == {False, True}


def test_crops_follow_the_global_generator_and_batches_pick_their_own_samples():
    dataset = CropsAndFlips(pictures(), torch.arange(64))
    torch.manual_seed(3)
    first = dataset.__getitems__([5, 1])
    torch.manual_seed(3)
    again = dataset.__getitems__([5, 1])
    other = dataset.__getitems__([5, 1])
    assert torch.equal(first[0], again[0])
    assert first[1].tolist() == [5, 1]
    assert not torch.equal(first[0], other[0])
