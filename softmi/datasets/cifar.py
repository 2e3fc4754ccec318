"""CIFAR-10 and its long-tailed part."""

import json
import re
import tarfile
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from softmi.datasets._files import data_root, published, sha256
from softmi.datasets._pictures import content_sha256
from softmi.datasets.splits import first_per_class, long_tailed_counts


def cifar10(
    split: Literal["train", "test"], *, root: Path | None = None, download: bool = True
) -> tuple[UInt8[Tensor, "samples 3 32 32"], Int[Tensor, " samples"]]:
    """CIFAR-10 (Krizhevsky 2009), RGB images and classes 0 to 9.

    Takes the first of these that it finds, and says which it was by the number of images:

    1. The original, `<root>/cifar-10-batches-py/` or `<root>/cifar-10-python.tar.gz` (extracted
       there), verified against the checksums that torchvision publishes: 50,000 train and 10,000
       test images in the order of the data.
    2. A pack of lossless mosaics, `<root>/cifar10/{train,test}_<k>_<class>.webp` with
       `index.json` (`columns`, `tile`, and `images`: tiles in use, by name), class after class;
       verified against `<root>/SHA256SUMS` where that lists them. It may hold fewer train images:
       enough of each class for a long tail and a balanced subset, see
       :func:`long_tailed_counts` and :func:`first_per_class`.
    3. With `download`, the original archive (170 MB), fetched to `<root>`.

    Args:
        split: "train" or "test".
        root: Data folder; None takes :func:`data_root`.
        download: Fetch the archive where there is neither original nor pack.

    Raises:
        FileNotFoundError: Nothing there; the message says what to put where.
        ValueError: A file without its published checksum, or a pack that is not as its index says.

    """
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    folder = data_root() if root is None else Path(root)
    batches, archive = folder / CIFAR10.base_folder, folder / CIFAR10.filename
    pack = folder / "cifar10"
    if not batches.exists() and not archive.exists() and (pack / "index.json").exists():
        return _read_mosaics(pack, split)
    if not batches.exists():
        if not archive.exists() and not download:
            raise FileNotFoundError(
                f"no CIFAR-10 under {folder}: put the folder {CIFAR10.base_folder} or its archive "
                f"{CIFAR10.filename} (md5 {CIFAR10.tgz_md5}) there, or the pack cifar10 with its "
                f"index.json, or set SOFTMI_DATA"
            )
        published(archive, CIFAR10.tgz_md5, "CIFAR-10", [CIFAR10.url])
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    meta = [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]
    for name, md5 in [*CIFAR10.train_list, *CIFAR10.test_list, meta]:
        published(batches / name, md5, "CIFAR-10")
    with warnings.catch_warnings():  # NumPy 2.4.0 to 2.4.4, of pickles that Python 2 wrote
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        data = CIFAR10(folder, train=split == "train")
    images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(data.targets)


# SHA-256 of the images and labels of CIFAR-10-LT from the pack, as bytes, by imbalance factor.
_CIFAR10_LT = {100.0: "725164b1a146fdad7748ad5d954039834f4ee1248f92c27e1a20890a56a2bd15"}


def cifar10_long_tailed(
    imbalance: float | int = 100.0, *, root: Path | None = None, download: bool = True
) -> tuple[UInt8[Tensor, "samples 3 32 32"], Int[Tensor, " samples"]]:
    """The training part of CIFAR-10-LT (Cui et al. 2019; Cao et al. 2019), class after class.

    The first n_k images of each class in the order of the data, with n_k of
    :func:`long_tailed_counts`: 12,406 at factor 100. Sources that hold the images of a class in
    the same order give the same, whether classes are mixed or one after another.

    Two sources need not: the pack that the book's results rest on has another order within
    classes than the original archive, so that each gives a long tail of its own. The files of
    the archive are verified by their published checksums; what is cut from a pack at factor 100 by
    a checksum of its images and labels. Papers, too, differ in which images they keep.

    Args:
        imbalance: How many times more images the first class has than the last.
        root: Data folder; None takes :func:`data_root`.
        download: As in :func:`cifar10`.

    Raises:
        FileNotFoundError: As in :func:`cifar10`.
        ValueError: A source with too few images of a class, or a pack with other images.

    """
    images, targets = cifar10("train", root=root, download=download)
    counts = long_tailed_counts(10, 5000, imbalance)
    found = torch.bincount(targets, minlength=10).tolist()
    if any(have < need for have, need in zip(found, counts, strict=True)):
        raise ValueError(
            f"imbalance {imbalance:g} needs {counts} images of the classes, but the source has "
            f"{found}; the original archive {CIFAR10.filename} has enough for any"
        )
    kept = first_per_class(targets, counts)
    kept = kept[targets[kept].argsort(stable=True)]
    images, targets = images[kept], targets[kept]
    folder = data_root() if root is None else Path(root)
    original = (folder / CIFAR10.base_folder).exists()
    expected = None if original else _CIFAR10_LT.get(float(imbalance))
    if expected is not None and (digest := content_sha256(images, targets)) != expected:
        raise ValueError(
            f"{folder / 'cifar10'}: the long tail of factor {imbalance:g} has sha256 {digest}, "
            f"but that of the known pack is {expected}"
        )
    return images, targets


def _read_mosaics(pack: Path, split: str) -> tuple[Tensor, Tensor]:
    index = json.loads((pack / "index.json").read_text())
    columns, tile = index["columns"], index["tile"]
    sums = _listed_checksums(pack.parent / "SHA256SUMS")
    form = re.compile(rf"{split}_(\d)_\w+")  # nothing that leaves the folder
    names = {int(m[1]): name for name in index["images"] if (m := form.fullmatch(name))}
    if sorted(names) != list(range(10)) or tile != 32:
        raise ValueError(
            f"{pack}/index.json must list {split}_<k>_<class> for k = 0 to 9 in tiles of 32, got "
            f"{sorted(names.values())} in tiles of {tile}"
        )
    images, counts = [], []
    for k in range(10):
        path, n = pack / f"{names[k]}.webp", index["images"][names[k]]
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing, but listed in index.json beside it")
        if path in sums and (found := sha256(path)) != sums[path]:
            raise ValueError(f"{path} has sha256 {found}, but SHA256SUMS lists {sums[path]}")
        with Image.open(path) as image:
            mosaic = torch.from_numpy(np.array(image.convert("RGB")))
        rows = -(-n // columns)
        if mosaic.shape != (rows * tile, columns * tile, 3):
            raise ValueError(
                f"{path} must show {n} tiles, {columns} a row: {columns * tile} x {rows * tile} "
                f"pixels, got {mosaic.shape[1]} x {mosaic.shape[0]}"
            )
        tiles = mosaic.reshape(rows, tile, columns, tile, 3).permute(0, 2, 4, 1, 3)
        images.append(tiles.reshape(rows * columns, 3, tile, tile)[:n])
        counts.append(n)
    return torch.cat(images), torch.repeat_interleave(torch.arange(10), torch.tensor(counts))


def _listed_checksums(path: Path) -> dict[Path, str]:
    """Checksums by file, from the output of sha256sum; nothing if there is no such file."""
    if not path.exists():
        return {}
    lines = (line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
    return {path.parent / name.lstrip("*"): digest for digest, name in lines}
