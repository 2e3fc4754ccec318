"""Feature maps of a frozen backbone, computed once and memory-mapped."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.lib.format import open_memmap, write_array_header_1_0
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from softmi.models.backbones import Backbone


def cache_root() -> Path:
    """Folder of computed features: `SOFTMI_CACHE`, else `~/.cache/softmi/features`."""
    return Path(os.environ.get("SOFTMI_CACHE") or "~/.cache/softmi/features").expanduser()


@torch.inference_mode()
def extract_feature_maps(
    backbone: Backbone,
    dataset: Dataset,
    key: str,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    progress: bool = False,
    workers: int = 0,
) -> Float[np.ndarray, "images channels height width"]:
    """Feature maps of every image of `dataset`, float16, memory-mapped from the cache.

    A file is made once for each triple of weights, `key` and number of images, and appears under
    its name only when it is whole: an interrupted run leaves nothing that looks finished. A file
    that is damaged all the same (cut short, not float16, of another number of images) is made
    again. Maps go to the file batch after batch and are never held in memory.

    The cache cannot see that `key` names other images than it did: put a checksum into it. Data
    sets of this package have one, `dataset.key`::

        cub = CUB(size=224)
        maps = extract_feature_maps(mobilenet_v2_features(), cub, cub.key)

    Args:
        backbone: The frozen network; its checksum is part of the cache key.
        dataset: Pairs whose first entry is an image in [0, 1], shape (3, height, width).
        key: Names the images and how they were prepared, such as a checksum and a size.
        batch_size: Images in a forward pass.
        device: Where to compute.
        progress: Show a bar.
        workers: Processes that read and decode images beside the one that computes.

    Raises:
        ValueError: No images, maps that are not (batch, channels, height, width) or change their
            shape, or maps that float16 cannot hold; the cache is left as it was.

    """
    images = len(dataset)  # type: ignore[arg-type]
    name = hashlib.sha256(json.dumps([backbone.checksum, key, images]).encode()).hexdigest()
    path = cache_root() / f"{name[:32]}.npy"
    if path.exists():
        with contextlib.suppress(ValueError):
            return _load(path, images)
    if images == 0:
        raise ValueError("the data set holds no images")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    module = backbone.module.to(device)
    batches = DataLoader(dataset, batch_size=batch_size, num_workers=workers)
    try:
        with partial.open("wb") as file:
            shape: tuple[int, ...] | None = None
            for batch, _ in tqdm(batches, disable=not progress, desc="feature maps"):
                maps = module(batch.to(device))
                if shape is None:
                    shape = tuple(maps.shape[1:])
                    header = {"descr": "<f2", "fortran_order": False, "shape": (images, *shape)}
                    write_array_header_1_0(file, header)
                file.write(_half(maps, len(batch), shape).numpy().astype("<f2").tobytes())
            file.flush()
            os.fsync(file.fileno())  # whole on the disk before it has its name
        _load(partial, images)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return _load(path, images)


def average_pool(
    feature_maps: Float[Tensor, "images channels height width"]
    | Float[np.ndarray, "images channels height width"],
    *,
    batch_size: int = 256,
) -> Float[Tensor, "images channels"]:
    """Mean of each channel over the cells, float32, read batch by batch.

    Args:
        feature_maps: A tensor or a memory-mapped array, also in half precision.
        batch_size: Images at a time.

    """
    pooled = []
    for start in range(0, len(feature_maps), batch_size):
        part = feature_maps[start : start + batch_size]
        held = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        pooled.append(held.float().mean((2, 3)))
    return torch.cat(pooled)


def _half(maps: Tensor, images: int, shape: tuple[int, ...]) -> Tensor:
    if maps.ndim != 4 or maps.shape != (images, *shape):
        raise ValueError(
            f"the backbone must give maps of shape (batch, channels, height, width), the same for "
            f"all images, got {tuple(maps.shape)} for {images} images after {shape} for one"
        )
    half = maps.half().cpu()
    if not half.isfinite().all():
        raise ValueError(
            f"feature maps must be finite in float16 (up to 65,504), got "
            f"{maps.min().item():g} to {maps.max().item():g}"
        )
    return half


def _load(path: Path, images: int) -> np.ndarray:
    """Map the file, whose size must be that of its header, or raise ValueError."""
    maps = open_memmap(path, mode="r")
    whole = path.stat().st_size == maps.offset + maps.nbytes
    if not whole or maps.ndim != 4 or maps.dtype != np.float16 or len(maps) != images:
        raise ValueError(
            f"{path} holds {maps.dtype} of shape {maps.shape} in {path.stat().st_size} bytes, "
            f"not float16 maps of {images} images"
        )
    return maps
