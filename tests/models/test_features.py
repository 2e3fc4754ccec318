"""The feature cache: computed once, whole or not at all, one file for each set of images."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from softmi.models import Backbone, average_pool, cache_root, extract_feature_maps


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


def cached_file(cache):
    (path,) = cache.iterdir()
    return path


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "longer", "text", "pickle", "float32", "fewer", "flat", "zip"]
)
def test_a_damaged_file_is_made_again(damage, cache):
    expected = extract_feature_maps(Backbone(Doubles(), "w", "c"), images(), "key").copy()
    path = cached_file(cache)
    content = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "longer":
        path.write_bytes(content + b"\0\0")
    elif damage == "text":
        path.write_text("no array")
    else:
        with path.open("wb") as file:
            if damage == "pickle":
                np.save(file, np.array([{}], dtype=object))
            elif damage == "zip":
                np.savez(file, a=expected)
            elif damage == "float32":
                np.save(file, expected.astype(np.float32))
            else:
                np.save(file, expected[:-1] if damage == "fewer" else expected.reshape(7, -1))
    network = Doubles()
    maps = extract_feature_maps(Backbone(network, "w", "c"), images(), "key")
    assert network.passes == 1
    assert np.array_equal(maps, expected)
    assert cached_file(cache).read_bytes() == content


class Changes(nn.Module):
    """Gives what is asked for instead of maps of one shape."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.passes = kind, 0

    def forward(self, x):
        self.passes += 1
        if self.kind == "pooled":
            return x.mean((2, 3))
        if self.kind == "shape" and self.passes == 2:
            return x[..., :2]
        if self.kind == "too large":
            return x + 1e5
        if self.kind == "nan":
            return x * torch.nan
        return x[:-1] if self.kind == "fewer" else x


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pooled", r"got \(3, 3\) for 3 images"),
        ("shape", r"got \(3, 3, 4, 2\) for 3 images after \(3, 4, 5\) for one"),
        ("fewer", r"got \(2, 3, 4, 5\) for 3 images"),
        ("too large", "finite in float16 .* got 100000 to 100001"),
        ("nan", "finite in float16"),
    ],
)
def test_maps_that_cannot_be_kept_are_refused_and_leave_no_file(kind, message, cache):
    with pytest.raises(ValueError, match=message):
        extract_feature_maps(Backbone(Changes(kind), "w", "c"), images(), "key", batch_size=3)
    assert not list(cache.iterdir())


def test_an_interrupted_run_leaves_no_file_at_all(cache):
    with pytest.raises(KeyboardInterrupt):
        extract_feature_maps(Backbone(Doubles(fail_at=3), "w", "c"), images(), "key", batch_size=2)
    assert not list(cache.iterdir())


def test_images_can_be_read_by_other_processes():
    """Workers by fork, as the defaults of Linux and of the loader are; order and values stay."""
    maps = extract_feature_maps(
        Backbone(Doubles(), "w", "c"), images(), "key", batch_size=2, workers=1
    )
    assert np.array_equal(maps, (2 * images().tensors[0]).half().numpy())


class ManyImages(torch.utils.data.Dataset):
    """So many images that their maps take 96 MiB."""

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index):
        return torch.full((3, 128, 256), index / 512), 0


def test_memory_does_not_grow_with_the_number_of_images():
    """Peak memory of a process that extracts 96 MiB of maps, above what it held before."""
    resource = pytest.importorskip("resource")
    backbone = Backbone(nn.Identity(), "w", "c")
    extract_feature_maps(backbone, images(), "warm up")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    maps = extract_feature_maps(backbone, ManyImages(), "many", batch_size=4)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert maps.nbytes == 96 * 2**20
    assert grown < 48 * 1024  # KiB; holding or mapping what is written would add 96 MiB
    assert maps[511, 2, 127, 255] == np.float16(511 / 512)


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


def test_pooled_maps_are_means_over_cells_whatever_holds_them():
    maps = torch.randn(7, 3, 2, 5, generator=torch.Generator().manual_seed(0)).half()
    expected = maps.float().flatten(2).mean(2)
    for held in (maps, maps.numpy()):
        found = average_pool(held, batch_size=3)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
