"""Downloads, checksums and mosaics of small pictures."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_integrity, download_url

from softmi.datasets._files import sha256


def _download(name: str, md5: str, folder: Path) -> None:
    errors = []
    for mirror in MNIST.mirrors:
        try:
            download_url(mirror + name, folder, name, md5)
            return
        except (OSError, RuntimeError) as error:
            errors.append(f"{mirror}: {error}")
    raise FileNotFoundError(f"could not download {name}: {'; '.join(errors)}")


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
