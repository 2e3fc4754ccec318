"""Sums of a map over regions: a window, the cells of a box."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor

from softmi._checks import at_least_float32, check_floating, describe


def window_sum(
    maps: Float[Tensor, "batch height width"], window: int, *, pad: bool = True
) -> Float[Tensor, "batch out_height out_width"]:
    r"""Sum over a sliding window of ones, the authors' region aggregation.

    .. math:: \tilde m(i, j) = \sum_{0 \le a, b < s} m(i + a - p, j + b - p)

    with window size s and zero padding p = s - 1 on all sides (4 on CUB and 3 on Tiny-ImageNet in
    the authors' code). The map grows from h to h + s - 1 cells; stretched over the image all the
    same, it is blurred and pulled to the centre by h / (h + s - 1).

    Args:
        maps: Shape (batch, height, width).
        window: Side s; 1 returns the maps as they are.
        pad: False keeps only windows inside the map (h - s + 1 cells).

    Returns:
        Shape (batch, h + s - 1, w + s - 1), in float32 or, for float64 maps, float64. Sums of
        s x s cells overflow half precision, and wrap in bytes.

    Raises:
        TypeError: Maps not floating point, such as maps of bytes.
        ValueError: Maps of another rank, or a window that is not at least 1 or does not fit.

    Example:
        >>> window_sum(torch.ones(1, 1, 1), 2).tolist()  # one cell, seen by four windows
        [[[1.0, 1.0], [1.0, 1.0]]]

    Source: qin2021infocam, region of infoCAM.
    """
    check_floating(maps, "maps", "(batch, height, width)", allow_empty=True)
    if window < 1 or (not pad and window > min(maps.shape[1:])):
        raise ValueError(f"window must be at least 1 and fit {tuple(maps.shape)}, got {window}")
    maps = at_least_float32(maps)
    ones = maps.new_ones(1, 1, window, window)
    return F.conv2d(maps[:, None], ones, padding=window - 1 if pad else 0)[:, 0]


def share_of_cells(
    boxes: Num[Tensor, "batch 4"], cells: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "batch height width"]:
    r"""Share of the area of each cell of a map that lies in the box of its image.

    .. math:: s_n(i, j) =
        \frac{|\mathrm{cell}(i, j) \cap \mathrm{box}_n|}{|\mathrm{cell}(i, j)|}

    with the h x w cells of a map dividing the picture evenly.

    Args:
        boxes: x0 y0 x1 y1 in pixels, x1 and y1 exclusive, shape (batch, 4). What lies outside of
            the picture counts nothing.
        cells: (h, w), as in the shape of the maps.
        size: (width, height) of the pictures in pixels.

    Returns:
        Shape (batch, h, w), float64.

    Raises:
        ValueError: Boxes of another shape, with NaN, x1 < x0 or y1 < y0, or a size or a number of
            cells that is not positive.

    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have shape (batch, 4), got {describe(boxes)}")
    if min(size) <= 0 or min(cells) < 1:
        raise ValueError(
            f"need a positive (width, height) and (rows, columns), got size={size}, cells={cells}"
        )
    places = boxes.to(torch.float64)
    if not (places[:, 2:] >= places[:, :2]).all():  # NaN too
        raise ValueError("boxes hold NaN, x1 < x0 or y1 < y0; boxes are x0 y0 x1 y1")

    def covered(axis: int) -> Tensor:
        """Share of each cell along an axis that lies between the edges of the box."""
        number = cells[1 - axis]
        steps = torch.arange(number + 1, device=boxes.device, dtype=torch.float64)
        edges = steps * (size[axis] / number)
        start, end = places[:, axis, None], places[:, axis + 2, None]
        inside = torch.minimum(edges[1:], end) - torch.maximum(edges[:-1], start)
        return inside.clamp(min=0) * (number / size[axis])

    return torch.einsum("nh,nw->nhw", covered(1), covered(0))


def sum_in_boxes(
    maps: Float[Tensor, "batch height width"],
    boxes: Num[Tensor, "batch 4"],
    size: tuple[int, int],
) -> Float[Tensor, " batch"]:
    r"""Sum of each map inside its box: the nats of a region.

    .. math:: I_n = \sum_{i,j} m_n(i, j) \, s_n(i, j)

    with :math:`s_n(i, j)` the share of a cell that lies in the box, from
    :func:`softmi.maps.share_of_cells`. So a box and the rest of the picture sum to the whole map,
    and no interpolation of the map enters.

    Args:
        maps: In nats a cell, as from :func:`class_activation_map`, shape (batch, height, width).
        boxes: x0 y0 x1 y1 in pixels, x1 and y1 exclusive, shape (batch, 4).
        size: (width, height) of the pictures in pixels.

    Returns:
        Shape (batch,), in the unit and dtype of the maps.

    Raises:
        TypeError: Maps not floating point.
        ValueError: Shapes that do not match, and as in :func:`softmi.maps.share_of_cells`.

    Example:
        >>> maps = torch.ones(1, 2, 2)  # one nat in each quarter of the picture
        >>> sum_in_boxes(maps, torch.tensor([[0, 0, 5, 10]]), size=(10, 10)).tolist()  # left half
        [2.0]

    """
    check_floating(maps, "maps", "(batch, height, width)", allow_empty=True)
    if boxes.shape[:1] != maps.shape[:1]:
        raise ValueError(f"maps, {describe(maps)}, need a box each, got {describe(boxes)}")
    cells = (maps.shape[1], maps.shape[2])
    shares = share_of_cells(boxes.to(maps.device), cells, size)
    return (maps.double() * shares).sum((1, 2)).to(maps.dtype)
