"""Pictures resized as torchvision does it."""

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from softmi.datasets._files import decode_image


def _resized(content: bytes, where: str, size: int) -> Float[Tensor, "3 size size"]:
    """Decode an image file and resize it, bilinearly and without keeping its aspect."""
    image = decode_image(content, where).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
