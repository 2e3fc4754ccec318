"""Real data, checked and split as the papers do, and embedded stand-ins that need no download.

Real data is looked for under the folder that the environment variable `SOFTMI_DATA` names, else
under `~/.cache/softmi`. What may be downloaded is (MNIST, CIFAR-10), with its checksum verified;
for the rest the error says exactly what to put where.
"""

import gzip
import hashlib
import json
import re
import tarfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torchvision.datasets import CIFAR10, MNIST
from torchvision.datasets.utils import check_integrity, download_url

from softmi._files import data_root, sha256
from softmi.pictures import CUB as CUB
from softmi.pictures import TinyImageNet as TinyImageNet
from softmi.pictures import misread_boxes as misread_boxes
from softmi.scenes import MultiScenes as MultiScenes
from softmi.scenes import Scenes as Scenes
from softmi.scenes import digit_scenes as digit_scenes
from softmi.scenes import digits as digits
from softmi.scenes import multi_digit_scenes as multi_digit_scenes


def first_per_class(
    targets: Int[Tensor, " samples"], counts: Sequence[int]
) -> Int[Tensor, " kept"]:
    """Indices of the first `counts[k]` samples of each class k, in the order of the data.

    A class with fewer samples gives all it has, as in the authors' code.

    Raises:
        ValueError: Negative counts, or targets without a count.

    """
    caps = torch.as_tensor(counts)
    highest = int(targets.max()) if len(targets) else -1
    if caps.ndim != 1 or (caps < 0).any() or highest >= len(caps):
        raise ValueError(
            f"counts must be non-negative, one for each class in targets "
            f"(0 to {highest}), got {list(counts)}"
        )
    one_hot = torch.nn.functional.one_hot(targets.long(), len(caps))
    rank = (one_hot.cumsum(0) * one_hot).sum(1)  # 1 for the first of its class, 2 for the second
    return (rank <= caps[targets.long()]).nonzero().flatten()


def long_tailed_counts(
    classes: int = 10, largest: int = 5000, factor: float | int = 100
) -> list[int]:
    r"""Samples a class of the exponential long tail (Cui et al. 2019; Cao et al. 2019).

    .. math:: n_k = \lfloor n_0\, \gamma^{-k/(M-1)} \rfloor, \qquad k = 0, \dots, M - 1

    For :func:`first_per_class`; the defaults cut CIFAR-10-LT with imbalance factor 100 (12,406
    images) from CIFAR-10.

    Args:
        classes: Number of classes :math:`M`.
        largest: Samples of the first class, :math:`n_0`.
        factor: :math:`\gamma`, how many times more samples the first class has than the last.

    Raises:
        ValueError: No class, a factor below one, or one that leaves a class empty.

    Example:
        >>> long_tailed_counts()
        [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]

    """
    if classes < 1 or not 1 <= factor <= largest:
        raise ValueError(
            f"need classes >= 1 and 1 <= factor <= largest, got classes={classes}, "
            f"largest={largest}, factor={factor}"
        )
    return [int(largest * factor ** (-k / max(1, classes - 1))) for k in range(classes)]


# --- MNIST ------------------------------------------------------------------------------------


def mnist(
    split: Literal["train", "test"], *, root: Path | None = None, download: bool = True
) -> tuple[UInt8[Tensor, "samples 28 28"], Int[Tensor, " samples"]]:
    """MNIST as published: 60,000 train or 10,000 test images, uint8.

    Reads `<root>/MNIST/raw/*.gz`, verified against the checksums that torchvision publishes, and
    downloads what is missing.

    Args:
        split: "train" or "test".
        root: Data folder; None takes :func:`data_root`.
        download: Fetch missing files.

    Raises:
        FileNotFoundError: A file is missing and `download` is off.
        ValueError: A file does not have its published checksum.

    """
    folder = (data_root() if root is None else Path(root)) / "MNIST" / "raw"
    prefix = {"train": "train", "test": "t10k"}[split]
    arrays = []
    for name, md5 in MNIST.resources:
        if not name.startswith(prefix):
            continue
        path = folder / name
        if not path.exists() and download:
            _download(name, md5, folder)
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; put MNIST's {name} (md5 {md5}) there")
        content = path.read_bytes()
        if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
            raise ValueError(f"{path} has md5 {found}, but MNIST's {name} has {md5}")
        arrays.append(_read_idx(gzip.decompress(content)))
    images, labels = sorted(arrays, key=lambda a: -a.ndim)
    return images, labels.long()


def _download(name: str, md5: str, folder: Path) -> None:
    errors = []
    for mirror in MNIST.mirrors:
        try:
            download_url(mirror + name, folder, name, md5)
            return
        except (OSError, RuntimeError) as error:
            errors.append(f"{mirror}: {error}")
    raise FileNotFoundError(f"could not download {name}: {'; '.join(errors)}")


def _read_idx(content: bytes) -> Tensor:
    """Parse MNIST's IDX format: two zeros, the type (8 = uint8), the rank, big-endian sizes."""
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"not an IDX file of bytes: it starts with {content[:4]!r}")
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    return torch.from_numpy(data.reshape(shape).copy())


def paper_mnist_indices(
    train_targets: Int[Tensor, " samples"],
) -> tuple[Int[Tensor, " train"], Int[Tensor, " test"]]:
    """The imbalanced MNIST split of Qin et al. (2019), as indices into MNIST's train part.

    From the authors' code: of the first 40,000 images the first 300 of each even and 3,000 of
    each odd digit train (16,500); of the next 10,000 the same caps give the test part (6,559:
    300 of each even digit, all of the odd ones, since fewer than 3,000 exist).

    Raises:
        ValueError: Not the 60,000 labels of MNIST's train part.

    """
    if len(train_targets) != 60_000:
        raise ValueError(f"need MNIST's 60,000 train labels, got {len(train_targets)}")
    counts = [300, 3000] * 5
    train = first_per_class(train_targets[:40_000], counts)
    test = 40_000 + first_per_class(train_targets[40_000:50_000], counts)
    return train, test


# --- CIFAR-10 ---------------------------------------------------------------------------------


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
        if not archive.exists() and download:
            try:
                download_url(CIFAR10.url, folder, CIFAR10.filename, CIFAR10.tgz_md5)
            except (OSError, RuntimeError) as error:
                raise FileNotFoundError(f"could not download {CIFAR10.url}: {error}") from error
        if not archive.exists():
            raise FileNotFoundError(
                f"no CIFAR-10 under {folder}: put the folder {CIFAR10.base_folder} or its archive "
                f"{CIFAR10.filename} (md5 {CIFAR10.tgz_md5}) there, or the pack cifar10 with its "
                f"index.json, or set SOFTMI_DATA"
            )
        _check_md5(archive, CIFAR10.tgz_md5)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    meta = [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]
    for name, md5 in [*CIFAR10.train_list, *CIFAR10.test_list, meta]:
        _check_md5(batches / name, md5)
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


def content_sha256(
    images: UInt8[Tensor, " samples *shape"], targets: Int[Tensor, " samples"]
) -> str:
    """Checksum of images and labels below 256 in their order, whatever file they came from."""
    digest = hashlib.sha256(images.contiguous().numpy().tobytes())
    digest.update(targets.to(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_md5(path: Path, md5: str) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; put CIFAR-10's {path.name} (md5 {md5}) there")
    if not check_integrity(path, md5):
        raise ValueError(f"{path} does not have the md5 {md5} of CIFAR-10's {path.name}")


def _read_mosaics(pack: Path, split: str) -> tuple[Tensor, Tensor]:
    from PIL import Image

    index = json.loads((pack / "index.json").read_text())
    columns, tile = index["columns"], index["tile"]
    sums = _listed_checksums(pack.parent / "SHA256SUMS")
    names = {}
    for name in index["images"]:
        if match := re.fullmatch(rf"{split}_(\d)_\w+", name):  # nothing that leaves the folder
            names[int(match[1])] = name
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
        expected = sums.get(path)
        if expected is not None and (found := sha256(path)) != expected:
            raise ValueError(f"{path} has sha256 {found}, but SHA256SUMS lists {expected}")
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


# --- CUB-200-2011, imbalanced ------------------------------------------------------------------


def imbalanced_cub_indices(
    cub: CUB, *, cut_test: bool = False
) -> tuple[Int[Tensor, " train"], Int[Tensor, " test"]]:
    """The imbalanced CUB split of Qin et al. (2019), as indices into a CUB object.

    From the authors' code: classes of odd number (1, 3, ...) keep their first 10 train images, the
    others all, which is 29 or 30: a ratio of three to one. Works on all 200 classes (3,997 train
    images) and on the first 50 (1,000).

    Args:
        cub: All of CUB-200-2011 or a subset of its classes.
        cut_test: Test on the first 5 images of odd and 15 of even classes, as the authors do,
            and not on the whole official test part.

    """
    even = torch.arange(int(cub.targets.max()) + 1) % 2 == 1  # class numbers count from one
    train = cub.is_train.nonzero().flatten()
    test = (~cub.is_train).nonzero().flatten()
    everything = len(cub)
    caps = torch.where(even, everything, 10).tolist()
    train = train[first_per_class(cub.targets[train], caps)]
    if cut_test:
        test = test[first_per_class(cub.targets[test], torch.where(even, 15, 5).tolist())]
    return train, test
