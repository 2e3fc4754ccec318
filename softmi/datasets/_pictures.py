"""Image files, decoded with errors that name the file, and checksums of images."""

import hashlib
import io
import struct
import warnings
import zlib

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# What Pillow raises on bad files of these formats, besides UnidentifiedImageError (an OSError).
_BROKEN = (OSError, SyntaxError, ValueError, IndexError, EOFError, struct.error, zlib.error)


def image_size(content: bytes, where: str) -> tuple[int, int]:
    """Width and height of an image file from its head; errors as in :func:`decode_image`."""
    with _opened(content, where) as image:
        return image.size


def resized(content: bytes, where: str, size: int) -> Float[Tensor, "3 size size"]:
    """Decode an image file and resize it, bilinearly and without keeping its aspect."""
    image = decode_image(content, where).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def decode_image(content: bytes, where: str) -> Image.Image:
    """An image file as RGB.

    Grey becomes three equal channels (16 bits are cut to 8), palettes and CMYK are converted, and
    transparency is dropped. The orientation that a camera noted is not applied: boxes refer to
    the pixels as they are stored.

    Args:
        content: Bytes of a BMP, GIF (its first picture), JPEG, PNG, PPM, TIFF or WebP file.
        where: Name of the file, for errors.

    Raises:
        ValueError: Not such an image, a damaged or truncated one, or one of more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` (89 million).

    """
    with _opened(content, where) as image:
        try:
            image.load()
            if image.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            if image.mode in ("I", "F"):
                raise ValueError(f"pixels of mode {image.mode} have no known range")
            if "transparency" in image.info:
                return image.convert("RGBA").convert("RGB")
            return image.convert("RGB")
        except _BROKEN as error:
            raise ValueError(f"{where} is a damaged image: {error}") from error


def _opened(content: bytes, where: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError(f"{where} is too large an image: {error}") from error
        except _BROKEN as error:
            raise ValueError(f"{where} is not an image that can be read: {error}") from error


def content_sha256(
    images: UInt8[Tensor, " samples *shape"], targets: Int[Tensor, " samples"]
) -> str:
    """Checksum of images and labels below 256 in their order, whatever file they came from."""
    digest = hashlib.sha256(images.contiguous().numpy().tobytes())
    digest.update(targets.to(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
