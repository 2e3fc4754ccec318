"""CUB: tables, boxes and images, and what is wrong with some files."""

import io
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import pytest
import torch
from picture_sets import (
    COLOURS,
    cub_files,
    cub_tables,
    four_birds,
    write_folder,
    write_tar,
    write_zip,
)

from softmi.datasets import (
    CUB,
    sha256,
)

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))


real_cub = pytest.mark.skipif(
    not (DATA / "CUB_200_2011_c50_s224.tar").exists(), reason="SOFTMI_DATA has no CUB-50"
)


# In pixels of the resized image: x by 80/width, y by 80/height, clipped to 80.
BOXES_80 = torch.tensor([[20.0, 20, 60, 60], [0, 0, 80, 80], [20, 16, 60, 48], [40, 20, 80, 60]])


def assert_boxes(found: torch.Tensor) -> None:
    # The scale 80/50 and its product are each rounded to float32.
    torch.testing.assert_close(found, BOXES_80, rtol=2.0**-22, atol=0)


@pytest.mark.parametrize("sizes", [True, False], ids=["sizes.txt", "no sizes.txt"])
@pytest.mark.parametrize("kind", ["folder", "tar", "tgz", "tar with ./"])
def test_cub_is_read_from_folder_and_archive(kind, sizes, tmp_path):
    files = four_birds(sizes=sizes)
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
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written beside the data


def test_cub_joins_its_tables_by_image_id_and_not_by_line(tmp_path):
    path = write_tar(four_birds(order=(3, 0, 2, 1)), tmp_path / "cub.tar")
    assert_boxes(CUB(path, size=80).boxes)


def test_cub_refuses_tables_of_different_images(tmp_path):
    path = write_tar(four_birds(order=(0, 1, 2)), tmp_path / "cub.tar")
    with pytest.raises(ValueError, match=r"bounding_boxes.txt .* \(3\) than images.txt \(4\)"):
        CUB(path)


def test_names_in_an_archive_that_climb_out_of_it_do_no_harm(tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    path = write_tar(four_birds(), inside / "cub.tar")
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
    write_folder(four_birds(), path) if not path.suffix else write_tar(four_birds(), path)
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


@pytest.mark.parametrize("kind", ["tar", "zip", "tgz", "folder"])
def test_a_cub_of_all_200_classes_is_read_in_place(kind, tmp_path):
    """As the original: a stray file beside the top folder, no table of sizes."""
    files = cub_files(200, 3)
    path = tmp_path / f"CUB_200_2011.{kind}"
    if kind == "folder":
        write_folder(files, path)
    else:
        everything = {"attributes.txt": b"1 x\n"} | {
            f"CUB_200_2011/{n}": c for n, c in files.items()
        }
        (write_zip if kind == "zip" else write_tar)(everything, path, top="")
    before = sorted(tmp_path.rglob("*"))
    cub = CUB(path, size=100)
    assert (len(cub), cub.classes) == (600, 200)
    assert torch.bincount(cub.targets).tolist() == [3] * 200
    assert cub.is_train.tolist() == [True, False] * 300
    torch.testing.assert_close(cub.boxes, torch.tensor([20.0, 12.5, 60, 37.5]).expand(600, 4))
    for i in (0, 255, 599):
        image, target = cub[i]
        assert target == i // 3
        assert (image[:, 50, 50] * 255).round().tolist() == [(i + 1) % 256, (i + 1) // 256, 7]
    copy = pickle.loads(pickle.dumps(cub))
    assert torch.equal(copy[42][0], cub[42][0])
    assert cub.key.endswith(" 100")
    if kind != "folder":
        assert cub.checksums == {path.name: sha256(path)}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_large_archive_takes_no_memory(tmp_path):
    """60 MB in 200 members, which are holes in the file; what Python holds stays below 8 MiB."""
    tables = cub_tables(200, 1, sizes=True)
    path = write_tar(tables, tmp_path / "CUB_200_2011.tar")
    with tarfile.open(path) as archive:
        end = archive.getmembers()[-1]
        place = end.offset_data + -(-end.size // 512) * 512
    size = 300_000
    with path.open("r+b") as file:
        for line in tables["images.txt"].decode().splitlines():
            member = tarfile.TarInfo("CUB_200_2011/images/" + line.split()[1])
            member.size = size
            file.seek(place)
            file.write(member.tobuf())
            place += 512 + -(-size // 512) * 512
        file.truncate(place + 1024)
    assert path.stat().st_size > 60e6
    tracemalloc.start()
    cub = CUB(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(cub), cub.classes) == (200, 200)
    assert peak < 8 * 2**20
    with pytest.raises(ValueError, match=r"200\.Bird/Bird_0200\.jpg is not an image"):
        cub[199]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("bounding_boxes.txt", "1 60 5 20 10", "outside the image of 50 x 40 pixels"),
        ("bounding_boxes.txt", "1 -30 5 20 10", "outside the image"),
        ("bounding_boxes.txt", "1 10 5 0 10", "is empty"),
        ("bounding_boxes.txt", "1 10 5 -3 10", "is empty"),
        ("bounding_boxes.txt", "1 nan 5 20 10", "not finite"),
        ("bounding_boxes.txt", "1 0 0 inf 10", "not finite"),
        ("bounding_boxes.txt", "1 0 0 ten 10", r"bounding_boxes.txt: .*'ten'"),
        ("bounding_boxes.txt", "1 0 0 10", r"bounding_boxes.txt, line 1, needs 5 entries"),
        ("bounding_boxes.txt", "2 0 0 10 10", r"bounding_boxes.txt describes image 2 twice"),
        ("bounding_boxes.txt", "7 0 0 10 10", r"bounding_boxes.txt describes other images"),
        ("image_class_labels.txt", "1 0", "class labels must be 1 or more"),
        ("image_class_labels.txt", "1 1e30", "class labels must be 1 or more"),
        ("image_class_labels.txt", "1 nan", "class labels must be 1 or more"),
        ("train_test_split.txt", "1 2", "the split 0 or 1"),
        ("images.txt", "one a.jpg", "images.txt: .*'one'"),
        ("sizes.txt", "1 0 40", "sizes.txt must hold positive"),
        ("sizes.txt", "1 nan 40", "sizes.txt must hold positive"),
    ],
)
def test_a_line_of_cub_that_cannot_be_used_is_refused_by_name(name, line, message, tmp_path):
    files = cub_files(sizes=True)
    lines = files[name].decode().splitlines()
    files[name] = "\n".join([line, *lines[1:]]).encode()
    path = write_tar(files, tmp_path / "cub.tar")
    with pytest.raises(ValueError, match=message) as error:
        CUB(path)
    assert str(path) in str(error.value)
    if message in ("is empty", "not finite") or "outside" in message:
        assert "001.Bird/Bird_0001.jpg" in str(error.value)


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize(
    "name", ["images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"]
)
def test_a_missing_table_of_cub_is_named(kind, name, tmp_path):
    files = cub_files()
    del files[name]
    write = write_folder if kind == "folder" else write_tar
    with pytest.raises(FileNotFoundError, match=f"no file {name}"):
        CUB(write(files, tmp_path / f"cub.{kind}"))


def test_an_empty_list_and_an_impossible_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"images\.txt lists no images"):
        CUB(write_tar(cub_tables(0, 0), tmp_path / "cub.tar"))
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        CUB(write_tar(cub_files(), tmp_path / "other.tar"), size=0)
