"""From the cells of a map to the pixels of a picture."""

from collections.abc import Sequence
from numbers import Integral
from typing import Literal, get_args

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from softmi._checks import at_least_float32, check_floating

Interpolation = Literal["bicubic", "bilinear", "nearest"]


def map_to_picture(
    maps: Float[Tensor, "images rows columns"],
    size: int | tuple[int, int],
    *,
    mode: Interpolation = "bicubic",
) -> Float[Tensor, "images height width"]:
    r"""Lay maps of cells over the pixels of their pictures.

    The h x w cells divide the picture of H x W pixels evenly, so that pixel x lies over the place

    .. math:: u = \Bigl( x + \frac12 \Bigr) \frac{w}{W} - \frac12

    of the columns, counted from the centre of the first, and so for the rows; its score is
    interpolated between the cells around. Beyond the border cells repeat the last one. Bicubic
    interpolation, which the authors of infoCAM and most others use, may leave the range of the
    map a little; bilinear does not, and "nearest" shows the cells as they are.

    Scores are those of the cells, in nats a cell: a threshold is for the picture, sums over
    regions are for the map as it was (:func:`softmi.sum_in_boxes`). For the authors' region
    aggregation, which stretches a grown map over the same picture, sum first:
    ``map_to_picture(window_sum(maps, 4), size)``.

    Args:
        maps: m, as from :func:`softmi.class_activation_map`, shape (images, h, w).
        size: Height and width of the pictures in pixels, as in ``images.shape[2:]``; one number
            for squares.
        mode: "bicubic", "bilinear" or "nearest".

    Returns:
        Shape (images, height, width), in float32 or, for float64 maps, float64.

    Raises:
        TypeError: Maps not floating point.
        ValueError: Maps of another rank, empty, with NaN or infinite values; a size that is not
            one or two whole numbers of pixels, at least 1; an unknown mode.

    Example:
        >>> import torch
        >>> map_to_picture(torch.tensor([[[0.0, 8.0]]]), (1, 4), mode="bilinear").tolist()
        [[[0.0, 2.0, 6.0, 8.0]]]

    """
    check_floating(maps, "maps", "(images, height, width)", finite=True)
    if mode not in get_args(Interpolation):
        raise ValueError(f"mode must be one of {get_args(Interpolation)}, got {mode!r}")
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(s, Integral) and s >= 1 for s in sides):
        raise ValueError(f"size must be (height, width) in whole pixels, at least 1, got {size}")
    even = {} if mode == "nearest" else {"align_corners": False}
    cells = at_least_float32(maps)[:, None]  # half precision would round the pixels
    return F.interpolate(cells, size=[int(s) for s in sides], mode=mode, **even)[:, 0]
