"""MNIST: its format, checksums, and where it comes from."""

import gzip
import hashlib
import os
import shutil
import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pooch
import pytest
import torch
from torchvision.datasets import MNIST

from softmi.datasets import (
    mnist,
)
from softmi.datasets.mnist import _read_idx

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))


real_mnist = pytest.mark.skipif(
    not (DATA / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz").exists(),
    reason="SOFTMI_DATA/MNIST/raw not there",
)


@real_mnist
def test_official_test_part_of_the_real_mnist_has_10000_images():
    images, targets = mnist("test", root=DATA, download=False)
    assert images.shape == (10_000, 28, 28)
    assert targets[:5].tolist() == [7, 2, 1, 0, 4]


def idx(array: np.ndarray) -> bytes:
    """MNIST's format: two zeros, type 8, rank, big-endian sizes, bytes."""
    return struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def fake_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a three-image train part, whose checksums are taken for the published ones."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    images = np.arange(3 * 28 * 28, dtype=np.int64).reshape(3, 28, 28).astype(np.uint8)
    resources = []
    for kind, array in (("images-idx3", images), ("labels-idx1", np.array([7, 0, 9], np.uint8))):
        name = f"train-{kind}-ubyte.gz"
        content = gzip.compress(idx(array))
        (folder / name).write_bytes(content)
        resources.append((name, hashlib.md5(content, usedforsecurity=False).hexdigest()))
    resources += [(name.replace("train", "t10k"), md5) for name, md5 in resources]
    monkeypatch.setattr(MNIST, "resources", resources)
    return tmp_path


def test_mnist_is_read_from_its_own_format(fake_mnist):
    images, targets = mnist("train", root=fake_mnist, download=False)
    assert (images.dtype, images.shape) == (torch.uint8, (3, 28, 28))
    assert images.flatten().tolist() == [i % 256 for i in range(3 * 28 * 28)]
    assert (targets.dtype, targets.tolist()) == (torch.int64, [7, 0, 9])


def test_mnist_looks_under_softmi_data(fake_mnist, monkeypatch):
    monkeypatch.setenv("SOFTMI_DATA", str(fake_mnist))
    assert mnist("train", download=False)[1].tolist() == [7, 0, 9]


def test_a_file_with_another_checksum_is_refused(fake_mnist):
    path = fake_mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # a single bit
    path.write_bytes(content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with pytest.raises(ValueError, match=rf"train-labels.*has md5 {md5}, but MNIST's .* has "):
        mnist("train", root=fake_mnist, download=False)


def test_a_missing_file_is_named_with_its_place_and_checksum(fake_mnist):
    with pytest.raises(FileNotFoundError, match=r"MNIST/raw/t10k-.*gz is missing; put .* \(md5"):
        mnist("test", root=fake_mnist, download=False)


def test_missing_files_are_downloaded_from_the_first_mirror_that_works(fake_mnist, monkeypatch):
    asked = []

    def download(url, checksum, name, folder, **_):
        asked.append(url)
        if url.startswith("https://first/"):
            raise ValueError("hash of downloaded file does not match")
        (folder / name).write_bytes((folder / name.replace("t10k", "train")).read_bytes())

    monkeypatch.setattr(MNIST, "mirrors", ["https://first/", "https://second/"])
    monkeypatch.setattr(pooch, "retrieve", download)
    assert mnist("test", root=fake_mnist)[1].tolist() == [7, 0, 9]
    assert [url.split("/")[2] for url in asked] == ["first", "second"] * 2


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the server's sockets
def test_a_downloaded_file_is_kept_if_it_has_its_checksum(fake_mnist, monkeypatch):
    served = fake_mnist / "served"
    served.mkdir()
    for path in (fake_mnist / "MNIST" / "raw").iterdir():
        shutil.copy(path, served / path.name.replace("train", "t10k"))
    handler = partial(SimpleHTTPRequestHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        assert mnist("test", root=fake_mnist)[1].tolist() == [7, 0, 9]
        for path in (*served.iterdir(), *(fake_mnist / "MNIST" / "raw").glob("t10k-*")):
            path.write_bytes(b"spoilt") if path.parent == served else path.unlink()
        with pytest.raises(FileNotFoundError, match=r"could not download t10k.* hash of"):
            mnist("test", root=fake_mnist)
        server.shutdown()
    assert not list((fake_mnist / "MNIST" / "raw").glob("t10k-*"))


def test_a_failed_download_says_what_each_mirror_said(fake_mnist, monkeypatch):
    def download(url, *_, **__):
        raise OSError(f"{url} is down")

    monkeypatch.setattr(MNIST, "mirrors", ["https://first/", "https://second/"])
    monkeypatch.setattr(pooch, "retrieve", download)
    with pytest.raises(FileNotFoundError, match=r"t10k-.*first.* is down; .*second.* is down"):
        mnist("test", root=fake_mnist)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4)])
def test_idx_format_round_trip(shape):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(_read_idx(idx(array)).numpy(), array)


def test_idx_format_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"starts with b'\\x00\\x00\\r\\x01'"):
        _read_idx(b"\0\0\x0d\x01" + bytes(8))
