"""Pictures on disk: CUB and Tiny-ImageNet, read in place, and what is wrong with some files."""

import gzip
import io
import os
import pickle
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from softmi.datasets import CUB, TinyImageNet, misread_boxes, sha256
from softmi.datasets._files import Files
from softmi.maps import box_iou

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


# --- Hostile files ----------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(mode: str = "L") -> Image.Image:
    """A horizontal ramp of 64 grey values."""
    return Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1)) * 4).convert(mode)


def tiny_with(content: bytes, folder: Path, *, kind: str = "folder") -> TinyImageNet:
    """A Tiny-ImageNet whose first image has this content."""
    files = tiny_files() | {"train/n02/images/n02_0.JPEG": content}
    if kind == "zip":
        return TinyImageNet(write_zip(files, folder / "tiny.zip"))
    return TinyImageNet(write_folder(files, folder / "tiny"))


def palette_with_transparency() -> bytes:
    image = ramp().quantize(16)
    return encoded(image, "png", transparency=bytes(range(16)))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (encoded(ramp(), "png"), 0),
        (encoded(ramp("LA"), "png"), 0),
        (encoded(ramp("RGBA"), "png"), 0),
        (encoded(ramp("RGB"), "bmp"), 0),
        (encoded(ramp("RGB"), "gif"), 0),
        (encoded(ramp("P"), "png"), 0),
        (encoded(ramp("CMYK"), "tiff"), 0),
        (encoded(Image.fromarray(np.array(ramp()).astype(np.uint16) * 257), "png"), 0),
        (encoded(ramp(), "jpeg", quality=95), 4),  # grey, and lossy
        (encoded(ramp("CMYK"), "jpeg", quality=95), 8),
        (palette_with_transparency(), 16),  # sixteen greys for 64
        (encoded(ramp("1"), "png"), 255),  # dithered
    ],
    ids=["grey", "grey and alpha", "alpha", "bmp", "gif", "palette", "cmyk", "16 bits", "jpeg",
         "cmyk jpeg", "transparent palette", "1 bit"],
)  # fmt: skip
def test_every_kind_of_image_becomes_rgb(content, error, tmp_path):
    image, _ = tiny_with(content, tmp_path)[0]
    assert image.shape == (3, 64, 64)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])
    expected = torch.arange(64) * 4
    assert (image[0] * 255 - expected).abs().max() <= error + 1e-4  # one rounding of float32


def bomb(side: int) -> bytes:
    """A PNG that says it has side x side pixels, and does not bring them along."""
    small = bytearray(encoded(Image.new("L", (1, 1)), "png"))
    small[16:24] = side.to_bytes(4, "big") * 2
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    return bytes(small)


BROKEN = {
    "empty": (b"", "is not an image"),
    "text": (b"<html>404 not found</html>", "is not an image"),
    "head only": (encoded(ramp(), "png")[:20], "is not an image"),
    "half a png": (encoded(Image.effect_noise((64, 64), 99), "png")[:2000], "is a damaged image"),
    "half a jpeg": (encoded(ramp(), "jpeg")[:-200], "is a damaged image"),
    "bomb": (bomb(30_000), "is too large an image"),
    "half a bomb": (bomb(10_000), "is too large an image"),  # where Pillow only warns
    "float": (encoded(Image.new("F", (64, 64)), "tiff"), "mode F have no known range"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "is not an image"),
}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_image_is_refused_by_name(name, kind, tmp_path):
    content, message = BROKEN[name]
    tiny = tiny_with(content, tmp_path, kind=kind)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=rf"n02_0\.JPEG {message}|n02_0\.JPEG.*{message}"):
        tiny[0]
    assert tiny[1][0].shape == (3, 64, 64)  # the others can still be read
    assert sorted(tmp_path.rglob("*")) == before


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


def test_a_missing_image_is_named(tmp_path):
    path = write_zip(without("val/images/val_0.JPEG"), tmp_path / "tiny.zip")
    with pytest.raises(FileNotFoundError, match=r"no file val/images/val_0\.JPEG, nor 0 others"):
        TinyImageNet(path)
    files = cub_files()
    lost = [name for name in files if "003.Bird" in name]
    path = write_tar({n: c for n, c in files.items() if n not in lost}, tmp_path / "cub.tar")
    with pytest.raises(FileNotFoundError, match=r"no file images/003\.Bird.*0005.jpg, nor 1 oth"):
        CUB(path)


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


# --- Archives ---------------------------------------------------------------------------------


def cub_tables(classes: int = 200, each: int = 3, *, sizes: bool = False) -> dict[str, bytes]:
    """Text files of a CUB with `each` images a class, half of them train."""
    ids = range(1, classes * each + 1)
    birds = [(i, (i - 1) // each + 1) for i in ids]
    rows = {
        "images.txt": [f"{i} {k:03d}.Bird/Bird_{i:04d}.jpg" for i, k in birds],
        "image_class_labels.txt": [f"{i} {k}" for i, k in birds],
        "train_test_split.txt": [f"{i} {i % 2}" for i in ids],
        "bounding_boxes.txt": [f"{i} 10.0 5.0 20.0 10.0" for i in ids],
    }
    if sizes:
        rows["sizes.txt"] = [f"{i} 50 40" for i in ids]
    return {name: "\n".join(lines).encode() + b"\n" for name, lines in rows.items()}


def cub_files(classes: int = 3, each: int = 2, **options) -> dict[str, bytes]:
    files = cub_tables(classes, each, **options)
    for line in files["images.txt"].decode().splitlines():
        number, name = line.split()
        colour = (int(number) % 256, int(number) // 256, 7)
        files[f"images/{name}"] = png(colour, (50, 40))
    return files


def write_tar(files: dict[str, bytes], path: Path, *, top: str = "CUB_200_2011/") -> Path:
    modes = {".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    with tarfile.open(path, modes.get(path.suffix, "w")) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


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


def test_an_archive_of_the_size_of_cub_takes_no_memory(tmp_path):
    """1.1 GB in 200 members, which are holes in the file; what Python holds stays below 8 MiB."""
    tables = cub_tables(200, 1, sizes=True)
    path = write_tar(tables, tmp_path / "CUB_200_2011.tar")
    with tarfile.open(path) as archive:
        end = archive.getmembers()[-1]
        place = end.offset_data + -(-end.size // 512) * 512
    size = 5_500_000
    with path.open("r+b") as file:
        for line in tables["images.txt"].decode().splitlines():
            member = tarfile.TarInfo("CUB_200_2011/images/" + line.split()[1])
            member.size = size
            file.seek(place)
            file.write(member.tobuf())
            place += 512 + -(-size // 512) * 512
        file.truncate(place + 1024)
    assert path.stat().st_size > 1.1e9
    tracemalloc.start()
    cub = CUB(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(cub), cub.classes) == (200, 200)
    assert peak < 8 * 2**20
    with pytest.raises(ValueError, match=r"200\.Bird/Bird_0200\.jpg is not an image"):
        cub[199]


def test_a_large_compressed_tar_is_refused_with_what_to_do(tmp_path, monkeypatch):
    path = write_tar(cub_files(), tmp_path / "CUB_200_2011.tgz")
    assert len(CUB(path)) == 6  # a small one is held in memory
    monkeypatch.setattr(Files, "COMPRESSED", 500)
    with pytest.raises(ValueError, match=r"gunzip -k CUB_200_2011\.tgz.*tar xf CUB_200_2011\.tgz"):
        CUB(path)
    with gzip.open(path) as packed:
        (tmp_path / "CUB_200_2011.tar").write_bytes(packed.read())
    assert len(CUB(tmp_path / "CUB_200_2011.tar")) == 6


def evil_tar(path: Path, secret: Path) -> Path:
    write_tar(cub_files(), path)
    with tarfile.open(path, "a") as archive:
        for name in ("../../escaped.txt", "/tmp/softmi_escaped.txt", "CUB_200_2011/../../up.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(f"CUB_200_2011/{name}")
            link.type, link.linkname = kind, str(secret)
            archive.addfile(link)
        for name, kind in (("fifo", tarfile.FIFOTYPE), ("device", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(f"CUB_200_2011/{name}")
            member.type = kind
            archive.addfile(member)
    return path


def test_members_that_escape_or_link_do_not_exist_for_the_reader(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    files = Files(evil_tar(tmp_path / "a" / "b" / "cub.tar", secret), "images.txt")
    before = sorted(tmp_path.rglob("*"))
    for name in ("link", "hard", "fifo", "device", "escaped.txt", "up.txt"):
        assert name not in files
        with pytest.raises(FileNotFoundError, match=f"no file {name}"):
            files.read(name)
    for name in ("../up.txt", "/tmp/softmi_escaped.txt", "../../escaped.txt", "images/../../x"):
        assert name not in files
        with pytest.raises(ValueError, match="leaves the data set"):
            files.read(name)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/softmi_escaped.txt").exists()


def test_members_of_a_zip_that_escape_do_not_exist_for_the_reader(tmp_path):
    path = write_zip(tiny_files(), tmp_path / "tiny.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../escaped.txt", "/tmp/softmi_escaped.txt", "C:\\escaped.txt"):
            archive.writestr(name, "evil")
        link = zipfile.ZipInfo("tiny-imagenet-200/link")
        link.external_attr = 0o120777 << 16  # a symbolic link, whose content is its target
        archive.writestr(link, "/etc/passwd")
    assert len(TinyImageNet(path)) == 27
    files = Files(path, "wnids.txt")
    assert files.read("link") == b"/etc/passwd"  # bytes like any others: nothing follows it
    assert not Path("/tmp/softmi_escaped.txt").exists()


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_named(kind, tmp_path):
    files = list(cub_files().items())
    path = tmp_path / f"cub.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in [*files, ("images.txt", b"9 other.jpg")]:
                archive.writestr(f"CUB/{name}", content)
    else:
        with tarfile.open(path, "w:gz" if kind == "tgz" else "w") as archive:
            for name, content in [*files, ("./images.txt", b"9 other.jpg")]:
                member = tarfile.TarInfo(f"CUB/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with pytest.raises(ValueError, match=r"holds the file CUB/images\.txt twice") as error:
        CUB(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip", "xz"])
def test_a_damaged_archive_is_refused_by_name(kind, tmp_path):
    """As damaged, or for what it lacks: a tar may end between two members."""
    path = tmp_path / f"cub.{kind}"
    (write_zip if kind == "zip" else write_tar)(cub_files(), path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 4], content[: len(content) // 9], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises((ValueError, FileNotFoundError), match=r"cub\.\w+ (is damaged|ha|hol)"):
            CUB(path)


def test_a_tar_that_lost_its_end_is_refused(tmp_path):
    path = write_tar(cub_files(), tmp_path / "cub.tar")
    cub = CUB(path)
    path.write_bytes(path.read_bytes()[:8000])  # after the index was made
    with pytest.raises(ValueError, match=r"Bird_0006\.jpg ends after 0 of \d+ bytes"):
        cub[5]


def test_a_zip_member_with_a_wrong_checksum_or_a_password_is_named(tmp_path):
    path = write_zip(tiny_files(), tmp_path / "tiny.zip")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("tiny-imagenet-200/val/images/val_0.JPEG")
    content = bytearray(path.read_bytes())
    place = info.header_offset + 30 + len(info.filename) + 10
    content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"val/images/val_0\.JPEG cannot be read"):
        TinyImageNet(path)[12]
    content[info.header_offset + 6] |= 1  # the bit that says it is encrypted, here ...
    central = content.rindex(b"PK\1\2", 0, content.rindex(info.filename.encode()))
    content[central + 8] |= 1  # ... and in the directory
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"val/images/val_0\.JPEG cannot be read.*password"):
        TinyImageNet(path)[12]


def test_a_member_beyond_all_measure_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Files, "MEMBER", 1000)
    files = cub_files() | {"images/001.Bird/Bird_0001.jpg": bytes(1001)}
    for path in (
        write_folder(files, tmp_path / "cub"),
        write_tar(files, tmp_path / "cub.tar"),
        write_zip(files, tmp_path / "cub.zip"),
    ):
        with pytest.raises(ValueError, match=r"Bird_0001\.jpg has 1001 bytes, more than 1000"):
            CUB(path)


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
