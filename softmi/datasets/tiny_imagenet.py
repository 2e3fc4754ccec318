"""Tiny-ImageNet, with boxes, and the authors' misreading of them."""

import base64
import hashlib
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmi.datasets._files import Files, find, numbers, sha256
from softmi.datasets._pictures import resized

TINY_SIDE = 64  # pixels of a stored image
# The validation images val_0 to val_9999 that the authors test on (one bit each, base85 of the
# packed bits), from their list info_cam/Tiny-ImageNet/datalist/tiny_imagenet/test.txt (CC-BY-4.0).
_AUTHORS_TEST = Path(__file__).with_name("authors_test.b85")


class TinyImageNet:
    """Tiny-ImageNet-200 (Stanford CS231n, 2015): 200 classes, 64 x 64 pixels, a box an image.

    Reads the original (`tiny-imagenet-200/`, or its zip, which is unpacked once, under
    `SOFTMI_CACHE` or `~/.cache/softmi`) or a pair of packs (`tiny200_train_75pc.npz` and
    `tiny200_val.npz`: the first 75 train images of each class and all labelled validation images).
    Train images come first, class after class, then the validation images in the order of their
    list. Classes are numbered in the order of `wnids.txt`, which is not sorted; packs number them
    alike.

    The official test images have no labels, so that Qin et al. (2019) divide the labelled
    validation images into 5,000 that choose and 5,000 that test, 25 of each class to either.

    Attributes:
        targets: Class index from 0, shape (images,).
        boxes: x0 y0 x1 y1 in the resized image, x1 and y1 exclusive, shape (images, 4). The
            source counts its last pixels in.
        is_train: Train images, shape (images,).
        is_held: Validation images that choose thresholds. The rest, neither train nor held,
            tests.
        names: File name of each image, such as `val_0.JPEG`.
        wnids: WordNet id of each class.
        words: Name of each class.
        classes: Number of classes.

    Args:
        path: The folder or zip of the original, or the folder of the packs; None looks under
            :func:`data_root`, first for the original.
        size: Side of the returned images.
        train_per_class: Keep the first so many train images of each class; None keeps all. With
            75 the original gives the images of the packs.
        division: "alternate": of each class, validation images of even index in the list are held,
            those of odd index test. "authors": the list that the authors published, which
            alternates in the order in which their disk gave the files; half of its test images
            are those of "alternate".

    Raises:
        FileNotFoundError: Nothing there, or a file is missing; the message says which.
        ValueError: A file that is not as described, or a box that is empty or outside its image.

    """

    NAMES = ("tiny-imagenet-200", "tiny-imagenet-200.zip")
    PACKS = ("tiny200_train_75pc.npz", "tiny200_val.npz")

    def __init__(
        self,
        path: Path | None = None,
        size: int = TINY_SIDE,
        *,
        train_per_class: int | None = None,
        division: Literal["alternate", "authors"] = "alternate",
    ) -> None:
        if size < 1 or (train_per_class is not None and train_per_class < 1):
            raise ValueError(
                f"need size >= 1 and train_per_class >= 1 or None, got {size=}, {train_per_class=}"
            )
        if division not in ("alternate", "authors"):
            raise ValueError(f'division must be "alternate" or "authors", got {division!r}')
        if path is None:
            path = find(
                [*self.NAMES, *self.PACKS],
                f"no Tiny-ImageNet under {{root}}: put the folder or its archive there "
                f"({' or '.join(self.NAMES)}), or the packs {' and '.join(self.PACKS)}",
            )
            path = path.parent if path.name in self.PACKS else path
        self.path, self.size = Path(path), size
        self._files: Files | None = None
        self._jpegs: list[tuple[np.ndarray, np.ndarray]] = []  # bytes and offsets of each pack
        # Place of each image: its path below the top folder, or its pack and its index in it.
        self._places: list[Any]
        if any((self.path / name).exists() for name in self.PACKS):
            boxes, labels, train = self._read_packs(train_per_class)
        else:
            boxes, labels, train = self._read_original(train_per_class)
        wrong = (boxes < 0) | (boxes >= TINY_SIDE)
        wrong[:, 2:] |= boxes[:, 2:] < boxes[:, :2]
        if wrong.any():
            i = int(wrong.any(1).argmax())
            raise ValueError(
                f"{self.path}: the box of {self.names[i]} must lie in 0 to {TINY_SIDE - 1} with "
                f"x0 <= x1 and y0 <= y1, got {boxes[i].tolist()}"
            )
        self.targets = torch.from_numpy(labels.astype(np.int64))
        self.classes = len(self.wnids)
        scale = size / TINY_SIDE
        self.boxes = torch.from_numpy(boxes + np.array([0, 0, 1, 1])).float() * scale
        self.is_train = torch.from_numpy(train)
        held = ~train
        held[held] = _rank_in_class(labels[held]) % 2 == 0
        if division == "authors":
            held = ~train & ~self._authors_test()
        self.is_held = torch.from_numpy(held)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "3 size size"], int]:
        """Return image `index`, RGB in [0, 1], and its class."""
        where = f"{self.path}: {self.names[index]}"
        place = self._places[index]
        if self._files is not None:
            content = self._files.read(place)
        else:
            jpeg, offset = self._jpegs[place[0]]
            content = jpeg[offset[place[1]] : offset[place[1] + 1]].tobytes()
        return resized(content, where, self.size), int(self.targets[index])

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of the files, for provenance; of the list of names and sizes for a folder."""
        if self._files is None:
            return {name: sha256(self.path / name) for name in self.PACKS}
        return {self.path.name: self._files.checksum(self._places)}

    @property
    def key(self) -> str:
        """Images and how they were prepared, for :func:`softmi.models.extract_feature_maps`."""
        sums = list(self.checksums.values())
        one = sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()
        # Another cut has another number of images, which is part of the cache's key by itself.
        return f"Tiny-ImageNet {one} {self.size}"

    def _read_packs(self, most: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        for name in self.PACKS:
            if not (self.path / name).exists():
                raise FileNotFoundError(f"{self.path / name} is missing beside the other pack")
        packs = [_read_pack(self.path / name) for name in self.PACKS]
        if packs[0]["wnids"].tolist() != packs[1]["wnids"].tolist():
            raise ValueError(f"{self.path}: {' and '.join(self.PACKS)} number classes differently")
        self.wnids = [w.decode() for w in packs[0]["wnids"]]
        self.words = [w.decode() for w in packs[0]["words"]]
        self._jpegs = [(pack["jpeg"], pack["offset"]) for pack in packs]
        label = packs[0]["label"]
        first = np.argsort(label, kind="stable")  # class after class
        first = first[_rank_in_class(label)[first] < (most or len(label))]
        kept = [first, np.arange(len(packs[1]["label"]))]
        self._places = [(which, int(i)) for which in (0, 1) for i in kept[which]]
        self.names = [packs[which]["name"][i].decode() for which, i in self._places]
        boxes, labels = (
            np.concatenate([packs[w][key][kept[w]] for w in (0, 1)]).astype(np.int64)
            for key in ("box", "label")
        )
        return boxes, labels, np.arange(len(labels)) < len(first)

    def _read_original(self, most: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        files = self._files = Files(self.path, "wnids.txt")
        self.wnids = [row[0] for row in files.rows("wnids.txt", 1)]
        number = {wnid: k for k, wnid in enumerate(self.wnids)}
        if len(number) != len(self.wnids):
            raise ValueError(f"{self.path}: wnids.txt lists a class twice")
        self.words = self.wnids
        if "words.txt" in files:
            words = {row[0]: row[1].strip() for row in files.rows("words.txt", 2, separator="\t")}
            self.words = [words.get(wnid, wnid) for wnid in self.wnids]
        entries = []  # list, folder, class and name of each image, and its box
        for wnid in self.wnids:
            name = f"train/{wnid}/{wnid}_boxes.txt"
            for row in files.rows(name, 5)[:most]:
                entries.append((name, f"train/{wnid}/images", wnid, row[0], row[1:5]))
        train, name = len(entries), "val/val_annotations.txt"
        for row in files.rows(name, 6):
            if row[1] not in number:
                raise ValueError(f"{self.path}: {name} has class {row[1]}, wnids.txt has not")
            entries.append((name, "val/images", row[1], row[0], row[2:6]))
        self.names = [entry[3] for entry in entries]
        self._places = [f"{folder}/{name}" for _, folder, _, name, _ in entries]
        if len(set(self._places)) != len(entries):
            raise ValueError(f"{self.path}: the lists of boxes name an image twice")
        files.check_present(self._places)
        boxes = [numbers(box, f"{self.path}: {name}", int) for name, *_, box in entries]
        labels = np.array([number[entry[2]] for entry in entries], dtype=np.int64)
        is_train = np.arange(len(entries)) < train
        return np.array(boxes, dtype=np.int64).reshape(-1, 4), labels, is_train

    def _authors_test(self) -> np.ndarray:
        """Where the authors' test images are; needs the official names."""
        packed = base64.b85decode("".join(_AUTHORS_TEST.read_text().split()))
        bits = np.unpackbits(np.frombuffer(packed, np.uint8))
        test = {f"val_{i}.JPEG" for i in np.flatnonzero(bits)}
        validation = {n for n, t in zip(self.names, self.is_train.tolist(), strict=True) if not t}
        if validation != {f"val_{i}.JPEG" for i in range(10_000)}:
            raise ValueError(
                f'{self.path}: division="authors" needs the 10,000 images val_0.JPEG to '
                f'val_9999.JPEG, got {len(validation)} others; take "alternate"'
            )
        return np.array([name in test for name in self.names])


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """How many with the same label come before each."""
    order = np.argsort(labels, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    return rank


# Entries of a pack, and the kinds of NumPy's types that each may be of.
_PACK = dict(jpeg="u", offset="iu", label="iu", box="iu", name="S", wnids="S", words="S")


def _read_pack(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here: NumPy leaves a file open that it cannot read.
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            pack = {key: file[key] for key in _PACK}
    except (KeyError, ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no pack of Tiny-ImageNet: {error}") from error
    n, offset = len(pack["label"]), pack["offset"]
    fits = (
        all(pack[key].dtype.kind in kinds for key, kinds in _PACK.items())
        and pack["jpeg"].ndim == pack["label"].ndim == offset.ndim == 1
        and pack["jpeg"].itemsize == 1
        and pack["box"].shape == (n, 4)
        and len(pack["name"]) == n
        and len(offset) == n + 1
        and offset[0] == 0
        and offset[-1] == len(pack["jpeg"])
        and (np.diff(offset.astype(np.int64)) > 0).all()
        and len(pack["wnids"]) == len(pack["words"])
        and (n == 0 or 0 <= pack["label"].min() <= pack["label"].max() < len(pack["wnids"]))
    )  # fmt: skip
    if not fits:
        shapes = {key: f"{value.dtype} {value.shape}" for key, value in pack.items()}
        raise ValueError(f"{path}: entries of the pack do not fit one another: {shapes}")
    return pack


def misread_boxes(
    boxes: Float[Tensor, "images 4"], size: int = TINY_SIDE
) -> Float[Tensor, "images 4"]:
    r"""Tiny-ImageNet's boxes as the authors' code misreads them: for audits, never for use.

    Their list holds the corners :math:`x_1\,y_1\,x_2\,y_2` (last pixels counted in), but
    `load_bbox_size` takes the last two for a width and a height. It also scales by
    63 instead of 64 pixels and subtracts the crop's offset, which integer division makes
    :math:`\lfloor (63 - 64) / 2 \rfloor = -1`:

    .. math:: \bigl(x_1,\; y_1,\; x_1 + x_2,\; y_1 + y_2\bigr) \cdot \tfrac{63}{64} + 1 .

    A box that begins at the upper left corner keeps its place to within a pixel; all others grow,
    most of them beyond the image. They compare such boxes by an IoU that counts last pixels in:
    `box_iou(..., inclusive=True)`. On their 5,000 test images (`division="authors"`) 91.4 % are
    misread, and at an IoU of 1/2 the true corners score 66.4 %, the best box within the image
    (the misread box, clipped to it) 88.4 % and the whole image 54 to 55 %.

    Args:
        boxes: True boxes x0 y0 x1 y1 with x1 and y1 exclusive, of :class:`TinyImageNet`.
        size: Side of the images in which `boxes` are given.

    Returns:
        Boxes as their code has them, of 64 x 64 images, scaled by size / 64; not clipped.

    """
    corners = boxes * (TINY_SIDE / size)
    first, last = corners[:, :2], corners[:, 2:] - 1
    misread = torch.cat([first, first + last], dim=1) * ((TINY_SIDE - 1) / TINY_SIDE) + 1
    return misread * (size / TINY_SIDE)
