"""Small Tiny-ImageNets and CUBs, as folders, archives and packs."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from softmi.datasets import (
    TinyImageNet,
)

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


IDS = (1, 2, 5, 9)  # a subset keeps the official ids


SIZES = ((40, 20), (30, 30), (20, 50), (60, 40))


COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))


XYWH = ((10, 5, 20, 10), (0, 0, 30, 30), (5, 10, 10, 20), (30, 10, 45, 20))  # the last runs over


def four_birds(*, sizes: bool = True, order: tuple[int, ...] = (0, 1, 2, 3)) -> dict[str, bytes]:
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
