"""Data: the papers' splits, checksums, CUB from folder and archive, rendered scenes."""

import gzip
import hashlib
import io
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import MNIST

from softmi import datasets
from softmi.datasets import (
    CUB,
    data_root,
    digit_scenes,
    digits,
    first_per_class,
    mnist,
    paper_mnist_indices,
    sha256,
)

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))
real_mnist = pytest.mark.skipif(
    not (DATA / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz").exists(),
    reason="SOFTMI_DATA/MNIST/raw not there",
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
    monkeypatch.setattr(datasets, "download_url", download)
    assert mnist("test", root=fake_mnist)[1].tolist() == [7, 0, 9]
    assert [url.split("/")[2] for url in asked] == ["first", "second"] * 2


def test_a_failed_download_says_what_each_mirror_said(fake_mnist, monkeypatch):
    def download(url, *_):
        raise OSError(f"{url} is down")

    monkeypatch.setattr(MNIST, "mirrors", ["https://first/", "https://second/"])
    monkeypatch.setattr(datasets, "download_url", download)
    with pytest.raises(FileNotFoundError, match=r"t10k-.*first.* is down; .*second.* is down"):
        mnist("test", root=fake_mnist)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4)])
def test_idx_format_round_trip(shape):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(datasets._read_idx(idx(array)).numpy(), array)


def test_idx_format_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"starts with b'\\x00\\x00\\r\\x01'"):
        datasets._read_idx(b"\0\0\x0d\x01" + bytes(8))


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
