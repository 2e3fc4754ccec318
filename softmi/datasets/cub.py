"""CUB-200-2011, with boxes."""

from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from softmi.datasets._files import Files, find, numbers
from softmi.datasets._pictures import image_size, resized


class CUB:
    """CUB-200-2011 (Wah et al. 2011), all 200 classes or a subset, with its bounding boxes.

    Reads `CUB_200_2011/` (the original folder) or a tar or zip of it, also a compressed tar such
    as the original's `CUB_200_2011.tgz`, which is unpacked once, under `SOFTMI_CACHE` or
    `~/.cache/softmi`. Images are read when they are asked for, so that the whole set takes next to
    no memory. They are resized to `size` x `size` (aspect not kept, as in weakly supervised
    localisation) and boxes with them.

    Attributes:
        targets: Class index from 0, shape (images,).
        is_train: The official split, shape (images,).
        boxes: x0 y0 x1 y1 in the resized image, x1 and y1 exclusive, clipped to it.
        names: Path of each image below `images/`.
        classes: Number of classes present.

    Args:
        path: The folder or archive; None looks under :func:`data_root`.
        size: Side of the returned images.

    Raises:
        FileNotFoundError: Nothing there, or a file is missing; the message says which.
        ValueError: Text files that describe different images or are malformed, a box that is
            empty or outside its image, an archive that is damaged, holds a file twice, or a file
            of more than 256 MiB, or more than 16 GiB in all.

    """

    NAMES = (
        "CUB_200_2011",
        "CUB_200_2011.tar",
        "CUB_200_2011.tgz",
        "CUB_200_2011_c50_s224.tar",
    )

    def __init__(self, path: Path | None = None, *, size: int = 224) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        if path is None:
            path = find(
                self.NAMES,
                "no CUB-200-2011 under {root}: put the folder CUB_200_2011 or its archive there "
                f"(one of {', '.join(self.NAMES)})",
            )
        self.path, self.size = Path(path), size
        self._members = Files(self.path, "images.txt")
        self._ids: list[int] | None = None
        self.names = [row[0] for row in self._table("images.txt", 1)]
        if not self.names:
            raise ValueError(f"{self.path}: images.txt lists no images")
        self._members.check_present(f"images/{name}" for name in self.names)
        labels = self._numbers("image_class_labels.txt", 1)[:, 0]
        split = self._numbers("train_test_split.txt", 1)[:, 0]
        wrong = (labels < 1) | (labels > 2**24) | (labels % 1 != 0)  # whole up to there in float32
        if (wrong | (split != 0) & (split != 1)).any():
            raise ValueError(
                f"{self.path}: class labels must be 1 or more and the split 0 or 1, got labels "
                f"from {labels.min():g} to {labels.max():g}, split {split.unique().tolist()}"
            )
        self.targets = labels.long() - 1
        self.classes = len(self.targets.unique())
        self.is_train = split == 1
        xywh = self._numbers("bounding_boxes.txt", 4)
        sizes = self._sizes()
        box = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1)
        # Two official boxes run past the edge: they are cut, but something must be left.
        boxes = box * (size / sizes).repeat(1, 2)
        self.boxes = boxes.clamp(0, size)
        fine = (self.boxes[:, 2:] > self.boxes[:, :2]).all(1) & boxes.isfinite().all(1)
        if not fine.all():
            i = int((~fine).nonzero()[0])
            raise ValueError(
                f"{self.path}: bounding_boxes.txt gives {self.names[i]} the box (x, y, width, "
                f"height) {xywh[i].tolist()}, which is empty, not finite or outside the image of "
                f"{sizes[i, 0]:g} x {sizes[i, 1]:g} pixels"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "3 size size"], int]:
        """Return image `index`, RGB in [0, 1], and its class.

        Raises:
            ValueError: The image cannot be decoded; the message names it.

        """
        return resized(*self._image(index), self.size), int(self.targets[index])

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of the archive, for provenance; of the list of names and sizes for a folder."""
        images = (f"images/{name}" for name in self.names)
        return {self.path.name: self._members.checksum(images)}

    @property
    def key(self) -> str:
        """Images and how they were prepared, for :func:`softmi.models.extract_feature_maps`."""
        return f"CUB {self.checksums[self.path.name]} {self.size}"

    def _image(self, index: int) -> tuple[bytes, str]:
        """Content of an image file and its name for errors."""
        name = f"images/{self.names[index]}"
        return self._members.read(name), f"{self.path}: {name}"

    def _table(self, name: str, columns: int) -> list[list[str]]:
        """Rows of a text file in the order of their image ids: the same ids in every file."""
        where = f"{self.path}: {name}"
        table = {}
        for row in self._members.rows(name, 1 + columns):
            (number,) = numbers(row[:1], where, int)
            if number in table:
                raise ValueError(f"{where} describes image {number} twice")
            table[number] = row[1 : 1 + columns]
        ids = sorted(table)
        if self._ids is None:
            self._ids = ids
        if ids != self._ids:
            raise ValueError(
                f"{where} describes other images ({len(ids)}) than images.txt ({len(self._ids)})"
            )
        return [table[i] for i in ids]

    def _numbers(self, name: str, columns: int) -> Float[Tensor, "images columns"]:
        rows = self._table(name, columns)
        values = [numbers(row, f"{self.path}: {name}") for row in rows]
        return torch.tensor(values).reshape(len(rows), columns)

    def _sizes(self) -> Float[Tensor, "images 2"]:
        """Width and height of each stored image."""
        if "sizes.txt" not in self._members:  # the original has no such table
            return torch.tensor([image_size(*self._image(i)) for i in range(len(self))]).float()
        sizes = self._numbers("sizes.txt", 2)
        if not (sizes > 0).all():  # NaN too
            raise ValueError(f"{self.path}: sizes.txt must hold positive widths and heights")
        return sizes
