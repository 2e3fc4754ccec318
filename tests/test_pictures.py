"""Pictures on disk: Tiny-ImageNet's packs and original, its divisions and its misread boxes."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from softmi.datasets import TinyImageNet, misread_boxes, sha256
from softmi.localization import box_iou

DATA = Path(os.environ.get("SOFTMI_DATA", "/nowhere"))
real_tiny = pytest.mark.skipif(
    not all((DATA / name).exists() for name in TinyImageNet.PACKS),
    reason="SOFTMI_DATA has no packs of Tiny-ImageNet",
)

# --- A small Tiny-ImageNet --------------------------------------------------------------------

WNIDS = ("n02", "n01", "n03")  # not sorted, as the original's
TRAIN, VALIDATION = 4, 5  # images a class


def png(colour, size=(64, 64), mode="RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "png", **options)
    return buffer.getvalue()


def tiny_rows() -> tuple[list, list]:
    """Train and validation rows: name, class, box with its last pixels in, colour."""
    generator = np.random.default_rng(0)

    def row(name, k):
        x, y = np.sort(generator.integers(0, 64, (2, 2)), axis=1)
        colour = tuple(int(c) for c in generator.integers(0, 256, 3))
        return name, k, (int(x[0]), int(y[0]), int(x[1]), int(y[1])), colour

    train = [row(f"{w}_{i}.JPEG", k) for k, w in enumerate(WNIDS) for i in range(TRAIN)]
    classes = generator.permutation(np.repeat(np.arange(3), VALIDATION))
    return train, [row(f"val_{i}.JPEG", int(k)) for i, k in enumerate(classes)]


def tiny_files() -> dict[str, bytes]:
    train, validation = tiny_rows()
    files = {
        "wnids.txt": "\n".join(WNIDS).encode(),
        "words.txt": b"n01\tgoldfish, Carassius auratus\nn02\tcat\nn99\tno such class\n",
    }
    for wnid in WNIDS:
        mine = [r for r in train if WNIDS[r[1]] == wnid]
        lines = ["\t".join([name, *map(str, box)]) for name, _, box, _ in mine]
        files[f"train/{wnid}/{wnid}_boxes.txt"] = "\n".join(lines).encode() + b"\n"
        files |= {f"train/{wnid}/images/{r[0]}": png(r[3]) for r in mine}
    lines = ["\t".join([name, WNIDS[k], *map(str, box)]) for name, k, box, _ in validation]
    files["val/val_annotations.txt"] = "\n".join(lines).encode() + b"\n"
    return files | {f"val/images/{r[0]}": png(r[3]) for r in validation}


def tiny_pack(rows: list) -> dict[str, np.ndarray]:
    images = [png(colour) for *_, colour in rows]
    return {
        "jpeg": np.frombuffer(b"".join(images), np.uint8),
        "offset": np.cumsum([0, *map(len, images)]),
        "label": np.array([k for _, k, _, _ in rows], np.uint8),
        "box": np.array([box for _, _, box, _ in rows], np.uint8),
        "name": np.array([name.encode() for name, *_ in rows]),
        "wnids": np.array([w.encode() for w in WNIDS]),
        "words": np.array([b"cat", b"goldfish, Carassius auratus", b"n03"]),
    }


def write_folder(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(files: dict[str, bytes], path: Path, *, top: str = "tiny-imagenet-200/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(top + name, content)
    return path


def write_packs(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in zip(TinyImageNet.PACKS, tiny_rows(), strict=True):
        np.savez(folder / name, **tiny_pack(rows))
    return folder


def write_tiny(kind: str, folder: Path) -> Path:
    if kind == "folder":
        return write_folder(tiny_files(), folder / "tiny-imagenet-200")
    if kind == "zip":
        return write_zip(tiny_files(), folder / "tiny-imagenet-200.zip")
    return write_packs(folder / "packs")


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
    assert sorted(tmp_path.rglob("*")) == before  # nothing was extracted


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
    assert tiny.key != everything.key


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


# --- Boxes as the authors' code misreads them ------------------------------------------------


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
