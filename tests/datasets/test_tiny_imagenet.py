"""Tiny-ImageNet from folder, zip and packs, and boxes as the authors' code misreads them."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_sets import (
    WNIDS,
    png,
    tiny_files,
    tiny_pack,
    tiny_rows,
    write_folder,
    write_packs,
    write_tiny,
    write_zip,
)

from softmi.datasets import (
    TinyImageNet,
    misread_boxes,
    sha256,
)
from softmi.maps import box_iou

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))


real_tiny = pytest.mark.skipif(
    not all((DATA / name).exists() for name in TinyImageNet.PACKS),
    reason="SOFTMI_DATA has no packs of Tiny-ImageNet",
)


KINDS = pytest.mark.parametrize("kind", ["folder", "zip", "packs"])


@KINDS
@pytest.mark.parametrize("size", [64, 96])
def test_tiny_imagenet_is_read_from_folder_zip_and_packs_alike(kind, size, tmp_path):
    path = write_tiny(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    tiny = TinyImageNet(path, size)
    train, validation = tiny_rows()
    rows = train + validation
    assert tiny.names == [r[0] for r in rows]
    assert tiny.targets.tolist() == [r[1] for r in rows]
    assert (tiny.classes, tiny.wnids) == (3, list(WNIDS))
    assert tiny.words == ["cat", "goldfish, Carassius auratus", "n03"]
    assert tiny.is_train.tolist() == [True] * len(train) + [False] * len(validation)
    x0, y0, x1, y1 = np.array([r[2] for r in rows]).T
    expected = np.stack([x0, y0, x1 + 1, y1 + 1], axis=1) * (size / 64)  # exact: 96/64 = 1.5
    assert np.array_equal(tiny.boxes.numpy(), expected)
    for i, (_, k, _, colour) in enumerate(rows):
        image, target = tiny[i]
        assert (image.shape, target) == ((3, size, size), k)
        assert image[:, size // 2, size // 3].tolist() == [
            torch.tensor(c / 255).item() for c in colour
        ]
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written beside the data


@KINDS
def test_validation_images_of_a_class_are_held_and_test_in_turn(kind, tmp_path):
    tiny = TinyImageNet(write_tiny(kind, tmp_path))
    assert not (tiny.is_train & tiny.is_held).any()
    for k in range(3):
        mine = (~tiny.is_train & (tiny.targets == k)).nonzero().flatten()
        assert tiny.is_held[mine].tolist() == [True, False, True, False, True]


@KINDS
def test_the_first_train_images_of_each_class_can_be_kept(kind, tmp_path):
    path = write_tiny(kind, tmp_path)
    tiny, everything = TinyImageNet(path, train_per_class=2), TinyImageNet(path)
    kept = [f"{w}_{i}.JPEG" for w in WNIDS for i in range(2)]
    assert [n for n in tiny.names if not n.startswith("val")] == kept
    assert tiny.names[6:] == everything.names[12:]
    for i, name in enumerate(tiny.names):
        j = everything.names.index(name)
        assert torch.equal(tiny[i][0], everything[j][0])
        assert torch.equal(tiny.boxes[i], everything.boxes[j])
    # The cache of features tells cuts apart by their number of images.
    assert len(tiny) < len(everything)


@KINDS
def test_the_key_names_content_and_size(kind, tmp_path):
    path = write_tiny(kind, tmp_path)
    tiny = TinyImageNet(path, 80)
    assert tiny.key.startswith("Tiny-ImageNet ")
    assert tiny.key.endswith(" 80")
    assert TinyImageNet(path, 80).key == tiny.key != TinyImageNet(path, 64).key
    if kind == "packs":
        assert tiny.checksums == {name: sha256(path / name) for name in TinyImageNet.PACKS}
    if kind == "zip":
        assert tiny.checksums == {path.name: sha256(path)}
    if kind == "folder":
        (path / "val/images/val_0.JPEG").write_bytes(png((1, 2, 3)) + b" ")
        assert TinyImageNet(path, 80).key != tiny.key


@KINDS
def test_a_copy_for_another_process_reads_the_same(kind, tmp_path):
    tiny = TinyImageNet(write_tiny(kind, tmp_path))
    _ = tiny[0]  # opens the zip
    copy = pickle.loads(pickle.dumps(tiny))
    assert all(torch.equal(copy[i][0], tiny[i][0]) for i in range(len(tiny)))


@KINDS
def test_tiny_imagenet_is_found_under_softmi_data(kind, tmp_path, monkeypatch):
    path = write_tiny(kind, tmp_path)
    monkeypatch.setenv("SOFTMI_DATA", str(path if kind == "packs" else tmp_path))
    assert TinyImageNet().path == path


def test_missing_tiny_imagenet_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTMI_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no Tiny-ImageNet under") as error:
        TinyImageNet()
    for part in (str(tmp_path), "SOFTMI_DATA", *TinyImageNet.NAMES, *TinyImageNet.PACKS):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        TinyImageNet(tmp_path / "nowhere")


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "options", [{"size": 0}, {"train_per_class": 0}, {"division": "half"}, {"division": "authors"}]
)
def test_impossible_options_are_refused_with_what_was_asked(options, tmp_path):
    with pytest.raises(
        ValueError, match=r"got (size=0|size=64, train_per_class=0|'half'|15 other)"
    ):
        TinyImageNet(write_packs(tmp_path / "packs"), **options)


def test_the_authors_division_goes_by_the_names_in_whatever_order_they_are_listed(tmp_path):
    """Ten thousand pictures that are one: 5,000 of their names are on the authors' list."""
    folder, rng = write_packs(tmp_path / "packs"), np.random.default_rng(0)
    picture = np.frombuffer(png((1, 2, 3)), np.uint8)

    def divided(order: np.ndarray) -> dict[str, bool]:
        pack = tiny_pack([]) | {
            "jpeg": np.tile(picture, len(order)),
            "offset": len(picture) * np.arange(len(order) + 1),
            "label": rng.integers(0, 3, len(order), dtype=np.uint8),
            "box": np.tile(np.array([0, 0, 9, 9], np.uint8), (len(order), 1)),
            "name": np.array([f"val_{i}.JPEG".encode() for i in order]),
        }
        np.savez(folder / TinyImageNet.PACKS[1], **pack)
        tiny = TinyImageNet(folder, division="authors")
        assert not (tiny.is_train & tiny.is_held).any()
        test = ~tiny.is_train & ~tiny.is_held
        assert (int(tiny.is_train.sum()), int(test.sum())) == (12, 5_000)
        return dict(zip(tiny.names[12:], test[12:].tolist(), strict=True))

    assert divided(np.arange(10_000)) == divided(rng.permutation(10_000))
    with pytest.raises(ValueError, match=r"got 9999 others; take \"alternate\""):
        divided(np.arange(9_999))


@real_tiny
@pytest.mark.parametrize("division", ["alternate", "authors"])
def test_the_real_tiny_imagenet_is_divided_into_5000_and_5000(division):
    tiny = TinyImageNet(DATA, 128, division=division)
    assert (len(tiny), tiny.classes, int(tiny.is_train.sum())) == (25_000, 200, 15_000)
    tests = ~tiny.is_train & ~tiny.is_held
    for part, each in ((tiny.is_train, 75), (tiny.is_held, 25), (tests, 25)):
        assert torch.bincount(tiny.targets[part]).tolist() == [each] * 200
    assert not (tiny.is_train & tiny.is_held).any()
    assert 0 <= tiny.boxes.min() < tiny.boxes.max() == 128
    assert (tiny.boxes[:, 2:] > tiny.boxes[:, :2]).all()
    assert tiny.words[0] == "Egyptian cat"  # the first line of wnids.txt is n02124075
    image, target = tiny[24_999]
    assert (image.shape, target) == ((3, 128, 128), int(tiny.targets[-1]))


def test_misread_boxes_are_those_of_a_calculation_by_hand():
    # Listed as 0 0 63 63, the whole image: 0 + 63 = 63, times 63/64, plus 1.
    # Listed as 16 8 47 39: corners 16 8 and 16 + 47 = 63, 8 + 39 = 47, times 63/64, plus 1.
    true = torch.tensor([[0.0, 0, 64, 64], [16, 8, 48, 40]])
    expected = torch.tensor([[1, 1, 63.015625, 63.015625], [16.75, 8.875, 63.015625, 47.265625]])
    assert torch.equal(misread_boxes(true), expected)  # sums of powers of two: exact
    assert torch.equal(misread_boxes(2 * true, 128), 2 * expected)


def test_misread_boxes_follow_the_authors_loader():
    """Their arithmetic, step for step, on numbers as their list has them."""
    _, rows = tiny_rows()
    resize_size, crop_size = 64, 64
    resize_size = float(resize_size - 1)
    shift_size = (resize_size - crop_size) // 2
    expected = []
    for _, _, (x, y, bbox_width, bbox_height), _ in rows:
        left = x / 64 * resize_size - shift_size
        top = y / 64 * resize_size - shift_size
        right = (x + bbox_width) / 64 * resize_size - shift_size
        bottom = (y + bbox_height) / 64 * resize_size - shift_size
        expected.append([left, top, right, bottom])
    true = torch.tensor([r[2] for r in rows]).float() + torch.tensor([0, 0, 1, 1])
    assert torch.equal(misread_boxes(true), torch.tensor(expected))


@real_tiny
def test_on_the_authors_test_images_a_perfect_localiser_scores_two_thirds():
    """The numbers of an audit of their list; to 3 digits, as it gives them."""
    tiny = TinyImageNet(DATA, division="authors")
    boxes = tiny.boxes[~tiny.is_train & ~tiny.is_held]
    coded = misread_boxes(boxes)

    def score(found, truth=coded):
        return float((box_iou(found, truth, inclusive=True) >= 0.5).double().mean())

    corners = boxes - torch.tensor([0, 0, 1, 1])
    assert (boxes[:, :2] > 0).any(1).double().mean() == pytest.approx(0.914, abs=5e-4)
    assert (coded > 64).any(1).double().mean() == pytest.approx(0.658, abs=5e-4)
    assert score(corners) == pytest.approx(0.664, abs=5e-4)
    assert score(coded.clamp(0, 64)) == pytest.approx(0.884, abs=5e-4)
    for side, expected in ((63, 0.543), (64, 0.547)):
        full = torch.tensor([0.0, 0, side, side]).expand_as(coded)
        assert score(full) == pytest.approx(expected, abs=5e-4)
    assert score(torch.tensor([0.0, 0, 63, 63]).expand_as(coded), corners) == (
        pytest.approx(0.520, abs=5e-4)
    )


def without(name: str) -> dict[str, bytes]:
    files = tiny_files()
    del files[name]
    return files


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize(
    "name", ["wnids.txt", "train/n01/n01_boxes.txt", "val/val_annotations.txt"]
)
def test_a_missing_list_is_named(kind, name, tmp_path):
    write = write_folder if kind == "folder" else write_zip
    path = write(without(name), tmp_path / f"tiny.{kind}")
    with pytest.raises(FileNotFoundError, match=f"no file {name}") as error:
        TinyImageNet(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_0.JPEG\tn02\t0\t0\t64\t9", r"box of val_0.JPEG must lie in 0 to 63 .*\[0, 0, 64, 9"),
        ("val_0.JPEG\tn02\t-1\t0\t4\t9", "box of val_0.JPEG must lie in"),
        ("val_0.JPEG\tn02\t9\t0\t8\t9", "x0 <= x1"),
        ("val_0.JPEG\tn02\tnan\t0\t8\t9", "val_annotations.txt: .*'nan'"),
        ("val_0.JPEG\tn02\t1\t0\t8", r"val_annotations.txt, line 1, needs 6 entries, got 'val_0"),
        ("val_0.JPEG\tn07\t1\t0\t8\t9", "has class n07, wnids.txt has not"),
        ("val_1.JPEG\tn02\t1\t0\t8\t9", "name an image twice"),
        ("\udcff\t", "val_annotations.txt is not UTF-8"),
    ],
)
def test_a_line_that_describes_no_box_is_refused_by_name(line, message, tmp_path):
    files = tiny_files()
    lines = files["val/val_annotations.txt"].splitlines()
    lines[0] = line.encode(errors="surrogateescape")
    path = write_folder(files | {"val/val_annotations.txt": b"\n".join(lines)}, tmp_path / "tiny")
    with pytest.raises(ValueError, match=message) as error:
        TinyImageNet(path)
    assert str(path) in str(error.value)


def test_a_class_that_is_listed_twice_is_refused(tmp_path):
    files = tiny_files()
    path = write_folder(files | {"wnids.txt": files["wnids.txt"] + b"\nn01"}, tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"tiny: wnids\.txt lists a class twice"):
        TinyImageNet(path)


@pytest.mark.parametrize("name", ["../../secret.png", "/secret.png", "a/../../../secret.png"])
def test_lists_cannot_ask_for_files_outside_the_data_set(name, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "secret.png").write_bytes(png((1, 2, 3)))
    files = tiny_files()
    name = name.replace("/secret", f"{tmp_path}/secret") if name.startswith("/") else name
    first = f"../../../{name}" if name.startswith("..") else name
    files["val/val_annotations.txt"] = f"{first}\tn02\t0\t0\t8\t9\n".encode()
    with pytest.raises(FileNotFoundError, match=r"no file .*secret\.png"):
        TinyImageNet(write_folder(files, tmp_path / "tiny"))


@pytest.mark.parametrize(
    "change",
    [
        {"label": np.full(12, 3, np.uint8)},
        {"label": np.zeros(11, np.uint8)},
        {"offset": np.arange(12)},
        {"offset": np.arange(13)},
        {"box": np.zeros((12, 3), np.uint8)},
        {"box": np.full((12, 4), np.nan)},
        {"jpeg": np.zeros(100, np.float32)},
        {"name": np.array([b"a"])},
        {"words": np.array([b"a"])},
        {"name": np.array([{}] * 12, dtype=object)},  # a pickle
        {"wnids": None},
    ],
    ids=lambda change: " ".join(f"{k} {getattr(v, 'dtype', v)}" for k, v in change.items()),
)
def test_a_pack_whose_entries_do_not_fit_is_refused_by_name(change, tmp_path):
    path = write_packs(tmp_path / "packs") / TinyImageNet.PACKS[0]
    pack = {k: v for k, v in (tiny_pack(tiny_rows()[0]) | change).items() if v is not None}
    np.savez(path, **pack)
    with pytest.raises(ValueError, match=r"no pack of Tiny|do not fit one another") as error:
        TinyImageNet(path.parent)
    assert str(path) in str(error.value)


def test_a_pack_that_is_cut_short_or_alone_is_refused_by_name(tmp_path):
    folder = write_packs(tmp_path / "packs")
    train, validation = (folder / name for name in TinyImageNet.PACKS)
    content = validation.read_bytes()
    validation.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"tiny200_val\.npz is no pack"):
        TinyImageNet(folder)
    validation.unlink()
    with pytest.raises(FileNotFoundError, match=r"tiny200_val\.npz is missing beside"):
        TinyImageNet(folder)
    other = tiny_pack(tiny_rows()[1]) | {"wnids": np.array([b"n01", b"n02", b"n03"])}
    np.savez(validation, **other)
    with pytest.raises(ValueError, match="number classes differently"):
        TinyImageNet(folder)
    assert train.exists()


def test_pack_boxes_outside_the_image_are_refused(tmp_path):
    path = write_packs(tmp_path / "packs") / TinyImageNet.PACKS[1]
    pack = tiny_pack(tiny_rows()[1])
    pack["box"][3] = [0, 0, 64, 64]
    np.savez(path, **pack)
    with pytest.raises(ValueError, match=r"box of val_3\.JPEG must lie in 0 to 63"):
        TinyImageNet(path.parent)
