"""Data: the papers' splits, checksums, CIFAR-10 and CUB as found on disk, rendered scenes."""

import gzip
import hashlib
import io
import itertools
import json
import os
import pickle
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, MNIST

from softmi.datasets import (
    CUB,
    _packs,
    cifar,
    cifar10,
    cifar10_long_tailed,
    content_sha256,
    data_root,
    digit_scenes,
    digits,
    first_per_class,
    imbalanced_cub_indices,
    long_tailed_counts,
    mnist,
    paper_mnist_indices,
    sha256,
)
from softmi.datasets.mnist import _read_idx

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))
real_mnist = pytest.mark.skipif(
    not (DATA / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz").exists(),
    reason="SOFTMI_DATA/MNIST/raw not there",
)
real_cifar = pytest.mark.skipif(
    not any((DATA / n).exists() for n in ("cifar-10-batches-py", "cifar10/index.json")),
    reason="SOFTMI_DATA has no CIFAR-10",
)
real_cub = pytest.mark.skipif(
    not (DATA / "CUB_200_2011_c50_s224.tar").exists(), reason="SOFTMI_DATA has no CUB-50"
)


# --- Splits -----------------------------------------------------------------------------------


def first_per_class_slowly(targets: list[int], counts: list[int]) -> list[int]:
    seen = [0] * len(counts)
    kept = []
    for i, y in enumerate(targets):
        if seen[y] < counts[y]:
            kept.append(i)
        seen[y] += 1
    return kept


@pytest.mark.parametrize(
    "counts", [[3, 0, 5, 1], [100, 100, 100, 100], [0, 0, 0, 0], [1, 2, 3, 4]]
)
def test_first_per_class_keeps_the_first_of_each_in_the_order_of_the_data(counts):
    targets = torch.randint(4, (60,), generator=torch.Generator().manual_seed(0))
    found = first_per_class(targets, counts).tolist()
    assert found == first_per_class_slowly(targets.tolist(), counts)


def test_first_per_class_of_nothing_is_nothing():
    assert first_per_class(torch.zeros(0, dtype=torch.long), [1, 2]).tolist() == []


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("counts", [[1, -1, 2], [1, 2], [[1], [2], [3]]])
def test_first_per_class_refuses_counts_that_do_not_fit(counts):
    with pytest.raises(ValueError, match=r"one for each class in targets \(0 to 2\), got \[") as e:
        first_per_class(torch.tensor([0, 1, 2]), counts)
    assert str(counts) in str(e.value)


def test_paper_split_takes_its_counts_from_its_two_ranges():
    targets = torch.randint(10, (60_000,), generator=torch.Generator().manual_seed(0))
    train, test = paper_mnist_indices(targets)
    caps = [300, 3000] * 5
    assert train.tolist() == first_per_class_slowly(targets[:40_000].tolist(), caps)
    later = first_per_class_slowly(targets[40_000:50_000].tolist(), caps)
    assert test.tolist() == [40_000 + i for i in later]
    assert torch.bincount(targets[train]).tolist() == caps
    # About 1,000 of each digit in 10,000: the odd ones are all there, the even ones capped.
    counts = torch.bincount(targets[test])
    assert counts[::2].tolist() == [300] * 5
    assert torch.equal(counts[1::2], torch.bincount(targets[40_000:50_000])[1::2])


def test_paper_split_needs_all_of_mnist():
    with pytest.raises(ValueError, match="60,000 train labels, got 10000"):
        paper_mnist_indices(torch.zeros(10_000, dtype=torch.long))


@real_mnist
def test_paper_split_of_the_real_mnist_has_16500_and_6559_images():
    images, targets = mnist("train", root=DATA, download=False)
    assert images.shape == (60_000, 28, 28)
    train, test = paper_mnist_indices(targets)
    assert len(train) == 16_500
    assert torch.bincount(targets[train]).tolist() == [300, 3000] * 5
    assert len(test) == 6_559
    expected = [300, 1115, 300, 1020, 300, 902, 300, 1050, 300, 972]
    assert torch.bincount(targets[test]).tolist() == expected
    assert not set(train.tolist()) & set(test.tolist())
    # Pixel statistics that everyone normalises MNIST with.
    pixels = images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3081, abs=5e-5)


@real_mnist
def test_official_test_part_of_the_real_mnist_has_10000_images():
    images, targets = mnist("test", root=DATA, download=False)
    assert images.shape == (10_000, 28, 28)
    assert targets[:5].tolist() == [7, 2, 1, 0, 4]


# --- MNIST's files ----------------------------------------------------------------------------


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

    def download(url, folder, name, md5):
        asked.append(url)
        if url.startswith("https://first/"):
            raise RuntimeError("no such file")
        (folder / name).write_bytes((folder / name.replace("t10k", "train")).read_bytes())

    monkeypatch.setattr(MNIST, "mirrors", ["https://first/", "https://second/"])
    monkeypatch.setattr(_packs, "download_url", download)
    assert mnist("test", root=fake_mnist)[1].tolist() == [7, 0, 9]
    assert [url.split("/")[2] for url in asked] == ["first", "second"] * 2


def test_a_failed_download_says_what_each_mirror_said(fake_mnist, monkeypatch):
    def download(url, *_):
        raise OSError(f"{url} is down")

    monkeypatch.setattr(MNIST, "mirrors", ["https://first/", "https://second/"])
    monkeypatch.setattr(_packs, "download_url", download)
    with pytest.raises(FileNotFoundError, match=r"t10k-.*first.* is down; .*second.* is down"):
        mnist("test", root=fake_mnist)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4)])
def test_idx_format_round_trip(shape):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(_read_idx(idx(array)).numpy(), array)


def test_idx_format_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"starts with b'\\x00\\x00\\r\\x01'"):
        _read_idx(b"\0\0\x0d\x01" + bytes(8))


def test_data_root_is_softmi_data_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    assert data_root() == tmp_path
    for unset in ("", None):
        monkeypatch.delenv("SOFTMI_DATA", raising=False)
        if unset is not None:
            monkeypatch.setenv("SOFTMI_DATA", unset)
        assert data_root() == Path.home() / ".cache" / "softmi"


def test_sha256_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 999
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


# --- Digits and scenes ------------------------------------------------------------------------


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


# --- CUB --------------------------------------------------------------------------------------

IDS = (1, 2, 5, 9)  # a subset keeps the official ids
SIZES = ((40, 20), (30, 30), (20, 50), (60, 40))
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
XYWH = ((10, 5, 20, 10), (0, 0, 30, 30), (5, 10, 10, 20), (30, 10, 45, 20))  # the last runs over


def cub_files(*, sizes: bool = True, order: tuple[int, ...] = (0, 1, 2, 3)) -> dict[str, bytes]:
    """The text files and images of a four-image CUB; `order` shuffles the lines of the boxes."""
    names = [f"{k:03d}.Bird/Bird_{i:04d}.png" for k, i in zip((1, 1, 3, 3), IDS, strict=True)]
    rows = {
        "images.txt": [f"{i} {name}" for i, name in zip(IDS, names, strict=True)],
        "image_class_labels.txt": [f"{i} {k}" for i, k in zip(IDS, (1, 1, 3, 3), strict=True)],
        "train_test_split.txt": [f"{i} {t}" for i, t in zip(IDS, (1, 0, 1, 0), strict=True)],
        "bounding_boxes.txt": [f"{IDS[n]} " + " ".join(f"{v}.0" for v in XYWH[n]) for n in order],
    }
    if sizes:
        rows["sizes.txt"] = [f"{i} {w} {h}" for i, (w, h) in zip(IDS, SIZES, strict=True)]
    files = {name: "\n".join(lines).encode() + b"\n" for name, lines in rows.items()}
    for name, size, colour in zip(names, SIZES, COLOURS, strict=True):
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, "png")
        files[f"images/{name}"] = buffer.getvalue()
    return files


def write_folder(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_tar(files: dict[str, bytes], path: Path, *, top: str = "CUB_200_2011/") -> Path:
    mode = "w:gz" if path.suffix == ".tgz" else "w"
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


# In pixels of the resized image: x by 80/width, y by 80/height, clipped to 80.
BOXES_80 = torch.tensor([[20.0, 20, 60, 60], [0, 0, 80, 80], [20, 16, 60, 48], [40, 20, 80, 60]])


def assert_boxes(found: torch.Tensor) -> None:
    # The scale 80/50 and its product are each rounded to float32.
    torch.testing.assert_close(found, BOXES_80, rtol=2.0**-22, atol=0)


@pytest.mark.parametrize("sizes", [True, False], ids=["sizes.txt", "no sizes.txt"])
@pytest.mark.parametrize("kind", ["folder", "tar", "tgz", "tar with ./"])
def test_cub_is_read_from_folder_and_archive(kind, sizes, tmp_path):
    files = cub_files(sizes=sizes)
    if kind == "folder":
        path = write_folder(files, tmp_path / "CUB_200_2011")
    else:
        top = "./CUB_200_2011/" if "./" in kind else "CUB_200_2011/"
        path = write_tar(files, tmp_path / f"cub.{kind[:3]}", top=top)
    before = sorted(tmp_path.rglob("*"))
    cub = CUB(path, size=80)
    assert len(cub) == 4
    assert cub.targets.tolist() == [0, 0, 2, 2]
    assert cub.is_train.tolist() == [True, False, True, False]
    assert cub.classes == 2
    assert_boxes(cub.boxes)
    for i, colour in enumerate(COLOURS):
        image, target = cub[i]
        assert image.shape == (3, 80, 80)
        assert target == cub.targets[i]
        assert image[:, 40, 40].tolist() == [c / 255 for c in colour]
    assert sorted(tmp_path.rglob("*")) == before  # nothing was extracted


def test_cub_joins_its_tables_by_image_id_and_not_by_line(tmp_path):
    path = write_tar(cub_files(order=(3, 0, 2, 1)), tmp_path / "cub.tar")
    assert_boxes(CUB(path, size=80).boxes)


def test_cub_refuses_tables_of_different_images(tmp_path):
    path = write_tar(cub_files(order=(0, 1, 2)), tmp_path / "cub.tar")
    with pytest.raises(ValueError, match=r"bounding_boxes.txt .* \(3\) than images.txt \(4\)"):
        CUB(path)


def test_names_in_an_archive_that_climb_out_of_it_do_no_harm(tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    path = write_tar(cub_files(), inside / "cub.tar")
    with tarfile.open(path, "a") as archive:
        for name in ("../../escaped.txt", "/tmp/softmi_escaped.txt", "CUB_200_2011/../../up.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("CUB_200_2011/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    cub = CUB(path, size=80)
    assert_boxes(cub.boxes)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/softmi_escaped.txt").exists()
    assert "link.txt" not in cub._members


@pytest.mark.parametrize("name", CUB.NAMES)
def test_cub_is_found_under_softmi_data_by_its_known_names(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    path = tmp_path / name
    write_folder(cub_files(), path) if not path.suffix else write_tar(cub_files(), path)
    cub = CUB(size=80)
    assert cub.path == path
    assert len(cub) == 4


def test_missing_cub_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="put the folder CUB_200_2011 or its archive") as e:
        CUB()
    for part in (str(tmp_path), "SOFTMI_DATA", *CUB.NAMES):
        assert part in str(e.value)


@real_cub
def test_real_cub_50_has_the_images_and_boxes_of_its_readme():
    cub = CUB(DATA / "CUB_200_2011_c50_s224.tar")
    assert (len(cub), cub.classes, int(cub.is_train.sum())) == (2889, 50, 1500)
    assert 0 <= cub.boxes.min() < cub.boxes.max() <= 224
    assert (cub.boxes[:, 2:] > cub.boxes[:, :2]).all()
    image, target = cub[0]
    assert image.shape == (3, 224, 224)
    assert target == 0


# --- Long tails and CIFAR-10 ------------------------------------------------------------------


def test_long_tail_of_cifar_has_the_counts_of_its_papers():
    counts = long_tailed_counts()
    assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert sum(counts) == 12_406
    assert sum(long_tailed_counts(100, 500, 100)) == 10_847  # CIFAR-100-LT
    assert long_tailed_counts(4, 7, 1) == [7] * 4
    assert long_tailed_counts(1, 7, 7.0) == [7]


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "arguments", [(0, 5000, 100), (10, 50, 100), (10, 5000, 0.5), (10, 5000, float("nan"))]
)
def test_impossible_long_tails_are_refused_with_what_was_asked(arguments):
    classes, largest, factor = arguments
    message = f"classes={classes}, largest={largest}, factor={factor}"
    with pytest.raises(ValueError, match=message):
        long_tailed_counts(*arguments)


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
        with pytest.raises(ValueError, match="data_batch_3 does not have the md5"):
            cifar10(split, root=fake_cifar)
    pack_cifar(fake_cifar, monkeypatch)
    monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(ValueError, match=r"cifar-10-python.tar.gz does not have the md5 0000"):
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

    def download(url, folder, name, checksum):
        assert (url, checksum) == (CIFAR10.url, CIFAR10.tgz_md5)
        if not works:
            raise OSError("no route to host")
        shutil.copy(kept, Path(folder) / name)

    monkeypatch.setattr(cifar, "download_url", download)
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


# --- CUB, imbalanced --------------------------------------------------------------------------


class ManyBirds:
    """What the split needs of a CUB object: five classes with 30 train and 20 test images."""

    def __init__(self, classes: list[int]) -> None:
        self.targets = torch.tensor(classes).repeat_interleave(50)
        self.is_train = torch.arange(50).repeat(len(classes)) % 5 < 3

    def __len__(self) -> int:
        return len(self.targets)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("classes", [[0, 1, 2, 3, 4], [0, 1, 4, 7, 9]], ids=["all", "a subset"])
def test_classes_of_odd_number_are_cut_to_ten_birds(classes):
    cub = ManyBirds(classes)
    odd = torch.tensor(classes) % 2 == 0  # class number = index + 1
    train, test = imbalanced_cub_indices(cub)
    assert cub.is_train[train].all()
    counts = torch.bincount(cub.targets[train])[classes]
    assert counts.tolist() == torch.where(odd, 10, 30).tolist()
    assert test.tolist() == (~cub.is_train).nonzero().flatten().tolist()
    kept = train[cub.targets[train] == 0]  # the first ten in the order of the images
    assert kept.tolist() == [i for i in range(50) if i % 5 < 3][:10]
    same, cut = imbalanced_cub_indices(cub, cut_test=True)
    assert torch.equal(same, train)
    assert not cub.is_train[cut].any()
    assert torch.bincount(cub.targets[cut])[classes].tolist() == torch.where(odd, 5, 15).tolist()


def test_the_split_of_a_real_cub_object(tmp_path):
    cub = CUB(write_folder(cub_files(), tmp_path / "CUB_200_2011"))
    train, test = imbalanced_cub_indices(cub)  # classes 1 and 3, two images each
    assert (train.tolist(), test.tolist()) == ([0, 2], [1, 3])


@real_cub
def test_the_imbalanced_half_of_cub_50():
    cub = CUB(DATA / "CUB_200_2011_c50_s224.tar")
    train, test = imbalanced_cub_indices(cub)
    assert torch.bincount(cub.targets[train]).tolist() == [10, 30] * 25
    assert (len(train), len(test)) == (1000, 1389)
    assert len(imbalanced_cub_indices(cub, cut_test=True)[1]) == 496
