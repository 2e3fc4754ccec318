"""CIFAR-10 from its archive and from mosaics, and its long tail."""

import hashlib
import itertools
import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from softmi.datasets import (
    cifar,
    cifar10,
    cifar10_long_tailed,
    content_sha256,
    first_per_class,
    long_tailed_counts,
    sha256,
)

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))


real_cifar = pytest.mark.skipif(
    not any((DATA / n).exists() for n in ("cifar-10-batches-py", "cifar10/index.json")),
    reason="SOFTMI_DATA has no CIFAR-10",
)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


CIFAR_LABELS = [[6, 9], [4, 1], [0, 2], [7, 8], [3, 5]]


@pytest.fixture
def fake_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with two images a batch, whose checksums are taken for the published ones."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    lists = []
    for i, labels in enumerate([*CIFAR_LABELS, [8, 0]]):
        data = np.arange(i, i + 2 * 3072, dtype=np.int64).reshape(2, 3072).astype(np.uint8)
        path = folder / (f"data_batch_{i + 1}" if i < 5 else "test_batch")
        path.write_bytes(pickle.dumps({"data": data, "labels": labels}))
        lists.append([path.name, md5(path)])
    path = folder / "batches.meta"
    path.write_bytes(pickle.dumps({"label_names": [str(k) for k in range(10)]}))
    monkeypatch.setattr(CIFAR10, "train_list", lists[:5])
    monkeypatch.setattr(CIFAR10, "test_list", lists[5:])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(path)})
    return tmp_path


def pack_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the folder of the batches by an archive of them."""
    archive = root / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "cifar-10-batches-py", "cifar-10-batches-py")
    shutil.rmtree(root / "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))


@pytest.mark.parametrize("archived", [False, True], ids=["folder", "archive"])
def test_original_cifar_is_read_in_the_order_of_the_data(fake_cifar, archived, monkeypatch):
    if archived:
        pack_cifar(fake_cifar, monkeypatch)
    images, targets = cifar10("train", root=fake_cifar, download=False)
    assert (images.dtype, images.shape) == (torch.uint8, (10, 3, 32, 32))
    assert (targets.dtype, targets.tolist()) == (torch.int64, [*itertools.chain(*CIFAR_LABELS)])
    # Planes of red, green and blue, row by row; batch i counts from i.
    assert images[:2].flatten().tolist() == [v % 256 for v in range(2 * 3072)]
    assert images[8].flatten().tolist() == [(v + 4) % 256 for v in range(3072)]
    monkeypatch.setenv("SOFTMI_DATA", str(fake_cifar))
    assert cifar10("test", download=False)[1].tolist() == [8, 0]


def test_cifar_with_another_checksum_is_refused_before_it_is_unpickled(fake_cifar, monkeypatch):
    path = fake_cifar / "cifar-10-batches-py" / "data_batch_3"
    marker = fake_cifar / "ran"

    class Hostile:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path.write_bytes(pickle.dumps(Hostile()))
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=r"data_batch_3 has md5 \w{32}, but CIFAR-10's data_"):
            cifar10(split, root=fake_cifar)
    pack_cifar(fake_cifar, monkeypatch)
    monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(
        ValueError, match=r"cifar-10-python.tar.gz has md5 \w{32}, but .* has 0000"
    ):
        cifar10("train", root=fake_cifar)
    assert not marker.exists()
    assert not path.exists()  # nothing was extracted


def test_a_missing_batch_is_named(fake_cifar):
    (fake_cifar / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match=r"test_batch is missing; put .* \(md5"):
        cifar10("train", root=fake_cifar)


@pytest.mark.parametrize("works", [True, False])
def test_cifar_is_downloaded_where_there_is_neither_original_nor_pack(
    fake_cifar, works, monkeypatch
):
    pack_cifar(fake_cifar, monkeypatch)
    kept = (fake_cifar / CIFAR10.filename).rename(fake_cifar / "elsewhere")

    def download(url, checksum, name, folder, **_):
        assert (url, checksum) == (CIFAR10.url, f"md5:{CIFAR10.tgz_md5}")
        if not works:
            raise OSError("no route to host")
        shutil.copy(kept, Path(folder) / name)

    monkeypatch.setattr(pooch, "retrieve", download)
    if works:
        assert cifar10("test", root=fake_cifar)[1].tolist() == [8, 0]
    else:
        with pytest.raises(FileNotFoundError, match=r"could not download .*no route to host"):
            cifar10("test", root=fake_cifar)


def test_missing_cifar_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 under") as error:
        cifar10("train", download=False)
    for part in (str(tmp_path), "cifar-10-batches-py", CIFAR10.filename, CIFAR10.tgz_md5,
                 "index.json", "SOFTMI_DATA"):  # fmt: skip
        assert part in str(error.value)


@pytest.mark.usefixtures("no_shape_checks")
def test_cifar_has_two_splits():
    with pytest.raises(ValueError, match="got 'validation'"):
        cifar10("validation")


MOSAIC_COUNTS = [7, 3, 4, 1, 5, 8, 2, 6, 3, 4]  # three tiles a row: full rows and begun ones


def mosaic_tiles(k: int) -> np.ndarray:
    rng = np.random.default_rng(k)
    return rng.integers(0, 256, (MOSAIC_COUNTS[k], 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def mosaics(tmp_path: Path) -> Path:
    """A root with a pack of ten classes, train and test alike, and its checksums."""
    folder = tmp_path / "cifar10"
    folder.mkdir()
    index, sums = {}, []
    for split in ("train", "test"):
        for k, n in enumerate(MOSAIC_COUNTS):
            canvas = Image.new("RGB", (3 * 32, -(-n // 3) * 32))
            for i, tile in enumerate(mosaic_tiles(k)):
                canvas.paste(Image.fromarray(tile), (i % 3 * 32, i // 3 * 32))
            name = f"{split}_{k}_class{k}"
            canvas.save(folder / f"{name}.webp", lossless=True)
            index[name] = n
            sums.append(f"{sha256(folder / f'{name}.webp')}  ./cifar10/{name}.webp")
    # In another order than that of the classes.
    index = dict(reversed(index.items()))
    content = {"columns": 3, "tile": 32, "images": index}
    (folder / "index.json").write_text(json.dumps(content))
    (tmp_path / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    return tmp_path


@pytest.mark.parametrize("checked", [True, False], ids=["SHA256SUMS", "no SHA256SUMS"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_mosaics_are_cut_class_by_class_and_row_by_row(mosaics, split, checked, monkeypatch):
    if not checked:
        (mosaics / "SHA256SUMS").unlink()
    monkeypatch.setenv("SOFTMI_DATA", str(mosaics))
    images, targets = cifar10(split)  # downloads nothing
    assert (images.dtype, targets.dtype) == (torch.uint8, torch.int64)
    assert torch.bincount(targets).tolist() == MOSAIC_COUNTS
    assert (targets.diff() >= 0).all()
    tiles = np.concatenate([mosaic_tiles(k) for k in range(10)])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), tiles)


def test_the_original_is_preferred_to_the_pack(mosaics, fake_cifar):
    assert mosaics == fake_cifar
    assert cifar10("test", root=mosaics)[1].tolist() == [8, 0]


def test_a_mosaic_with_another_checksum_is_refused(mosaics):
    path = mosaics / "cifar10" / "train_4_class4.webp"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"train_4_class4.webp has sha256 .* SHA256SUMS lists"):
        cifar10("train", root=mosaics)
    assert len(cifar10("test", root=mosaics)[1]) == sum(MOSAIC_COUNTS)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"train_4_class4.webp is missing, but listed"):
        cifar10("train", root=mosaics)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile": 16}, "in tiles of 32, got .* in tiles of 16"),
        ({"columns": 4}, r"0.webp must show 7 tiles, 4 a row: 128 x 64 .*got 96 x 96"),
        ({"images": {"train_0_class0": 7}}, r"k = 0 to 9 .*got \['train_0_class0'\]"),
        (
            {"images": {f"train_{k}_../../up": 1 for k in range(10)}},
            r"k = 0 to 9 in tiles of 32, got \[\]",
        ),
    ],
)
def test_a_pack_that_is_not_as_its_index_says_is_refused(mosaics, change, message):
    path = mosaics / "cifar10" / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        cifar10("train", root=mosaics)


@real_cifar
def test_real_cifar_test_part_has_1000_images_a_class_and_the_known_mean_colour():
    images, targets = cifar10("test", root=DATA, download=False)
    assert images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(targets).tolist() == [1000] * 10
    means = images.double().mean((0, 2, 3)) / 255
    expected = torch.tensor([0.4942, 0.4851, 0.4504]).double()
    torch.testing.assert_close(means, expected, rtol=0, atol=5e-5)


@real_cifar
def test_the_long_tail_can_be_cut_from_the_real_cifar():
    images, targets = cifar10("train", root=DATA, download=False)
    assert len(images) >= 20_000
    counts = long_tailed_counts()
    kept = first_per_class(targets, counts)
    assert torch.bincount(targets[kept]).tolist() == counts
    balanced = first_per_class(targets, [2000] * 10)
    assert len(balanced) == 20_000


def shrunken(monkeypatch: pytest.MonkeyPatch, counts: list[int]) -> None:
    """Make the long tail that is cut one of these counts: the synthetic sources are small."""
    monkeypatch.setattr(cifar, "long_tailed_counts", lambda *_: counts)


def test_the_long_tail_is_the_first_of_each_class_from_archive_and_pack_alike(
    mosaics, tmp_path_factory, monkeypatch
):
    counts = [5, 3, 2, 1, 4, 1, 2, 1, 1, 2]
    shrunken(monkeypatch, counts)
    monkeypatch.setattr(cifar, "_CIFAR10_LT", {})
    packed = cifar10_long_tailed(root=mosaics)
    assert torch.bincount(packed[1]).tolist() == counts
    assert (packed[1].diff() >= 0).all()
    firsts = np.concatenate([mosaic_tiles(k)[:n] for k, n in enumerate(counts)])
    assert np.array_equal(packed[0].permute(0, 2, 3, 1).numpy(), firsts)
    # The original with the same images of each class in the same order, but classes mixed.
    everything = cifar10("train", root=mosaics)
    left = torch.randperm(len(everything[1]), generator=torch.Generator().manual_seed(1))
    labels = everything[1][left]
    order = torch.empty_like(left)
    for k in range(10):
        order[labels == k] = (everything[1] == k).nonzero().flatten()
    mixed = everything[0][order], everything[1][order]
    assert (mixed[1].diff() < 0).any()
    monkeypatch.setattr(cifar, "cifar10", lambda *_, **__: mixed)
    original = cifar10_long_tailed(root=tmp_path_factory.mktemp("original"))
    assert torch.equal(original[0], packed[0])
    assert torch.equal(original[1], packed[1])
    assert content_sha256(*original) == content_sha256(*packed)


def test_a_source_too_small_for_the_long_tail_is_refused(mosaics):
    with pytest.raises(ValueError, match=r"needs \[5000, 2997.* source has \[7, 3, 4"):
        cifar10_long_tailed(root=mosaics)


def test_a_pack_with_other_images_is_refused_and_the_original_is_not(
    mosaics, fake_cifar, monkeypatch
):
    shrunken(monkeypatch, [1] * 10)
    assert len(cifar10_long_tailed(root=fake_cifar)[1]) == 10  # verified by its files
    shutil.rmtree(fake_cifar / CIFAR10.base_folder)
    with pytest.raises(ValueError, match=r"sha256 [0-9a-f]{64}, but that of the known pack"):
        cifar10_long_tailed(root=mosaics)
    cifar10_long_tailed(7.5, root=mosaics)  # a factor whose checksum nobody recorded


@real_cifar
def test_the_long_tail_of_the_real_cifar_has_the_counts_of_its_papers():
    images, targets = cifar10_long_tailed(root=DATA, download=False)
    assert images.shape == (12_406, 3, 32, 32)
    assert torch.bincount(targets).tolist() == long_tailed_counts()
