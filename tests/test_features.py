"""The feature cache: computed once, whole or not at all, one file for each set of images."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from softmi.features import cache_root, extract_feature_maps
from softmi.models import Backbone


class Doubles(nn.Module):
    """Counts its passes; feature maps are twice the image."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.passes = 0
        self.fail_at = fail_at

    def forward(self, x):
        self.passes += 1
        if self.passes == self.fail_at:
            raise KeyboardInterrupt
        return 2 * x


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTMI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def images(n: int = 7) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(n, 3, 4, 5, generator=generator), torch.zeros(n).long())


def test_maps_are_those_of_the_backbone_in_float16_and_cannot_be_written_to(cache):
    data = images()
    maps = extract_feature_maps(Backbone(Doubles(), "w", "c"), data, "key", batch_size=3)
    assert (maps.shape, maps.dtype) == ((7, 3, 4, 5), np.float16)
    assert np.array_equal(maps, (2 * data.tensors[0]).half().numpy())
    assert not maps.flags.writeable
    assert isinstance(maps, np.memmap)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_batch_size_does_not_matter(batch_size):
    maps = extract_feature_maps(
        Backbone(Doubles(), "w", "c"), images(), f"key {batch_size}", batch_size=batch_size
    )
    assert np.array_equal(maps, (2 * images().tensors[0]).half().numpy())


def test_maps_are_computed_once():
    network = Doubles()
    for _ in range(3):
        extract_feature_maps(Backbone(network, "w", "c"), images(), "key", batch_size=4)
    assert network.passes == 2  # batches of one pass


def test_other_weights_images_or_number_of_images_are_computed_anew(cache):
    for checksum, key, n in (("c", "k", 7), ("d", "k", 7), ("c", "l", 7), ("c", "k", 6)):
        network = Doubles()
        maps = extract_feature_maps(Backbone(network, "w", checksum), images(n), key)
        assert network.passes == 1
        assert len(maps) == n
    assert len(list(cache.iterdir())) == 4


def test_an_interrupted_run_leaves_nothing_that_looks_finished(cache):
    with pytest.raises(KeyboardInterrupt):
        extract_feature_maps(Backbone(Doubles(fail_at=3), "w", "c"), images(), "key", batch_size=2)
    assert not list(cache.glob("*.npy"))
    network = Doubles()
    maps = extract_feature_maps(Backbone(network, "w", "c"), images(), "key", batch_size=2)
    assert network.passes == 4
    assert np.array_equal(maps, (2 * images().tensors[0]).half().numpy())


def test_no_gradients_are_kept():
    class Watch(Doubles):
        def forward(self, x):
            assert not torch.is_grad_enabled()
            return super().forward(x)

    assert len(extract_feature_maps(Backbone(Watch(), "w", "c"), images(), "watched")) == 7


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match="holds no images"):
        extract_feature_maps(Backbone(Doubles(), "w", "c"), images(0), "key")


def test_cache_lies_where_softmi_cache_says(cache, monkeypatch):
    assert cache_root() == cache
    monkeypatch.delenv("SOFTMI_CACHE")
    assert cache_root().parts[-3:] == (".cache", "softmi", "features")


def test_progress_bar_can_be_shown(capsys):
    extract_feature_maps(Backbone(Doubles(), "w", "c"), images(), "key", progress=True)
    assert "feature maps" in capsys.readouterr().err
