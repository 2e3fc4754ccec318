"""Feature maps of a frozen backbone, computed once and memory-mapped."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from softmi.models import Backbone


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
) -> Float[np.ndarray, "images channels height width"]:
    """Feature maps of every image of `dataset`, float16, memory-mapped from the cache.

    A file is made once for each pair of weights and `key`, and appears under its name only when
    it is whole: an interrupted run leaves nothing that looks finished.

    Args:
        backbone: The frozen network; its checksum is part of the cache key.
        dataset: Pairs whose first entry is an image in [0, 1], shape (3, height, width).
        key: Names the images and how they were prepared, such as a checksum and a size.
        batch_size: Images in a forward pass.
        device: Where to compute.
        progress: Show a bar.

    """
    name = hashlib.sha256(json.dumps([backbone.checksum, key, len(dataset)]).encode()).hexdigest()
    path = cache_root() / f"{name[:32]}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        module = backbone.module.to(device)
        maps: np.memmap | None = None
        start = 0
        batches = DataLoader(dataset, batch_size=batch_size)
        for images, _ in tqdm(batches, disable=not progress, desc="feature maps"):
            part: Tensor = module(images.to(device)).half().cpu()
            if maps is None:
                shape = (len(dataset), *part.shape[1:])
                maps = open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
            maps[start : start + len(part)] = part.numpy()
            start += len(part)
        if maps is None:
            raise ValueError("the data set holds no images")
        maps.flush()
        del maps
        partial.replace(path)
    return np.load(path, mmap_mode="r")
