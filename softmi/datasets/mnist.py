"""MNIST."""

import gzip
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torchvision.datasets import MNIST

from softmi.datasets._files import data_root, published


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
        urls = [mirror + name for mirror in MNIST.mirrors] if download else []
        path = published(folder / name, md5, "MNIST", urls)
        arrays.append(_read_idx(gzip.decompress(path.read_bytes())))
    images, labels = sorted(arrays, key=lambda a: -a.ndim)
    return images, labels.long()


def _read_idx(content: bytes) -> Tensor:
    """Parse MNIST's IDX format: two zeros, the type (8 = uint8), the rank, big-endian sizes."""
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"not an IDX file of bytes: it starts with {content[:4]!r}")
    rank = content[3]
    shape = np.frombuffer(content, ">i4", count=rank, offset=4)
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    return torch.from_numpy(data.reshape(shape).copy())
