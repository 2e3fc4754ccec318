r"""Class activation maps as one contrast family: CAM, infoCAM, infoCAM+ and the nearest rivals.

For a network that averages its feature maps and applies a linear head, logits are sums over
cells: with feature maps :math:`A_c(i, j)` (C channels, :math:`h \times w` cells), head weights
:math:`W_{kc}` and biases :math:`b_k`,

.. math:: f_k = b_k + \frac{1}{hw} \sum_{i,j} \sum_c W_{kc} A_c(i, j) .

A map shows what each cell adds to the difference between the logit of a class and that of a
contrast: since the log-partition cancels, a difference of pointwise mutual informations, in nats.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor

from softmi._validation import (
    at_least_float32,
    check_finite,
    check_logits,
    check_targets,
    describe,
)

Contrast = Literal["none", "mean", "least", "rivals"]


def contrast_weights(
    weights: Float[Tensor, "classes channels"],
    classes: Int[Tensor, " batch"],
    *,
    contrast: Contrast = "none",
    rivals: int = 3,
    gamma: float = 1.0,
    logits: Float[Tensor, "batch classes"] | None = None,
) -> Float[Tensor, "batch channels"]:
    r"""Head weights of each image's class, minus those of its contrast.

    .. math:: v_n = W_{y_n} - \gamma \, \frac{1}{|R_n|} \sum_{k \in R_n} W_k

    ========  =========================================  ===================================
    contrast  :math:`R_n`                                name
    ========  =========================================  ===================================
    none      empty                                      CAM (Zhou et al. 2016)
    mean      all other classes                          infoCAM (Qin et al. 2019)
    least     the class of the lowest logit              infoCAM+ (Qin et al. 2019)
    rivals    the `rivals` other classes of the highest  Finer-CAM's contrast (Zhang et al. 2025)
              logits
    ========  =========================================  ===================================

    For `mean`, :math:`v = \frac{M}{M-1} (W_y - \bar W)`: class weights centred on their mean.

    Args and errors as in :func:`class_activation_map`.

    Example:
        >>> weights = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
        >>> contrast_weights(weights, torch.tensor([0]), contrast="mean").tolist()
        [[3.0, -1.5]]

    """
    if contrast not in get_args(Contrast):
        raise ValueError(f"contrast must be one of {get_args(Contrast)}, got {contrast!r}")
    number = weights.shape[0]
    chosen = weights[classes]
    if contrast == "none":
        return chosen
    if number < 2:
        raise ValueError(f"contrast={contrast!r} needs at least two classes, got {number}")
    if contrast == "mean":
        others = (weights.sum(0) - chosen) / (number - 1)
        return chosen - gamma * others
    if logits is None:
        raise ValueError(f"contrast={contrast!r} ranks the other classes and needs `logits`")
    check_logits(logits)
    check_finite(logits)
    if logits.shape != (len(classes), number):
        raise ValueError(
            f"logits must have shape ({len(classes)}, {number}), got {describe(logits)}"
        )
    own = F.one_hot(classes, number).bool()
    if contrast == "least":
        return chosen - gamma * weights[logits.masked_fill(own, torch.inf).argmin(1)]
    if not 1 <= rivals < number:
        raise ValueError(f"rivals must be between 1 and {number - 1}, got {rivals}")
    nearest = logits.masked_fill(own, -torch.inf).topk(rivals, dim=1).indices
    return chosen - gamma * weights[nearest].mean(1)


def class_activation_map(
    feature_maps: Float[Tensor, "batch channels height width"],
    weights: Float[Tensor, "classes channels"],
    classes: Int[Tensor, " batch"],
    *,
    contrast: Contrast = "none",
    rivals: int = 3,
    gamma: float = 1.0,
    logits: Float[Tensor, "batch classes"] | None = None,
) -> Float[Tensor, "batch height width"]:
    r"""Class activation maps against a contrast, in nats a cell.

    .. math:: m_n(i, j) = \frac{1}{hw} \sum_c v_{nc} A_{nc}(i, j)

    with :math:`v_n` from :func:`contrast_weights`. The cells of a map sum to the difference
    between the logit of the class and the (mean) logit of its contrast, less that of the biases:
    for one rival and a prior-corrected head exactly :math:`\mathrm{PMI}(x; y) -
    \mathrm{PMI}(x; k)`, so that a region's sum is its share of that information.

    Departs from the authors' code, which drops the factor 1/hw (it cancels when maps are
    normalised) and always sums over a padded window: here that is separate, :func:`window_sum`.

    Args:
        feature_maps: A, before global average pooling, shape (batch, channels, height, width).
        weights: W of the linear head, shape (classes, channels).
        classes: The class y to explain in each image, shape (batch,).
        contrast: "none", "mean", "least" or "rivals"; see :func:`contrast_weights`.
        rivals: Number of rivals for `contrast="rivals"`.
        gamma: Weight of the contrast.
        logits: f, shape (batch, classes), to rank the other classes by; needed for "least" and
            "rivals". With plain cross-entropy and a skewed prior give corrected ones
            (:func:`softmi.adjust_logits`) to rank by PMI.

    Returns:
        Shape (batch, height, width), in the dtype of the feature maps.

    Raises:
        TypeError: Feature maps or weights not floating point, classes not integers.
        ValueError: Shapes that do not match, classes out of range, an unknown contrast, missing
            or non-finite logits, too many rivals.

    Example:
        >>> features = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]])  # 2 channels, 1 x 2 cells
        >>> weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> class_activation_map(features, weights, torch.tensor([0]), contrast="mean").tolist()
        [[[2.0, -2.0]]]

    """
    for name, tensor, rank in (("feature_maps", feature_maps, 4), ("weights", weights, 2)):
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {describe(tensor)}")
        if tensor.ndim != rank or 0 in tensor.shape:
            raise ValueError(f"{name} must be non-empty of rank {rank}, got {describe(tensor)}")
    if feature_maps.shape[1] != weights.shape[1]:
        raise ValueError(
            f"feature_maps of shape {tuple(feature_maps.shape)} have {feature_maps.shape[1]} "
            f"channels, but weights of shape {tuple(weights.shape)} expect {weights.shape[1]}"
        )
    check_targets(classes, feature_maps.new_empty(len(feature_maps), len(weights)))
    v = contrast_weights(
        weights, classes.long(), contrast=contrast, rivals=rivals, gamma=gamma, logits=logits
    )
    cells = feature_maps.shape[2] * feature_maps.shape[3]
    maps = at_least_float32(feature_maps)  # a sum over channels overflows float16
    return (torch.einsum("nc,nchw->nhw", v.to(maps), maps) / cells).to(feature_maps.dtype)


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

    Raises:
        ValueError: Maps of another rank, or a window that is not at least 1 or does not fit.

    Example:
        >>> window_sum(torch.ones(1, 1, 1), 2).tolist()  # one cell, seen by four windows
        [[[1.0, 1.0], [1.0, 1.0]]]

    """
    if maps.ndim != 3:
        raise ValueError(f"maps must have shape (batch, height, width), got {describe(maps)}")
    if window < 1 or (not pad and window > min(maps.shape[1:])):
        raise ValueError(f"window must be at least 1 and fit {tuple(maps.shape)}, got {window}")
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
    :func:`softmi.cam.share_of_cells`. So a box and the rest of the picture sum to the whole map,
    and no interpolation of the map enters.

    Args:
        maps: In nats a cell, as from :func:`class_activation_map`, shape (batch, height, width).
        boxes: x0 y0 x1 y1 in pixels, x1 and y1 exclusive, shape (batch, 4).
        size: (width, height) of the pictures in pixels.

    Returns:
        Shape (batch,), in the unit and dtype of the maps.

    Raises:
        TypeError: Maps not floating point.
        ValueError: Shapes that do not match, and as in :func:`softmi.cam.share_of_cells`.

    Example:
        >>> maps = torch.ones(1, 2, 2)  # one nat in each quarter of the picture
        >>> sum_in_boxes(maps, torch.tensor([[0, 0, 5, 10]]), size=(10, 10)).tolist()  # left half
        [2.0]

    """
    if not maps.is_floating_point():
        raise TypeError(f"maps must be floating point, got {describe(maps)}")
    if maps.ndim != 3 or boxes.shape != (len(maps), 4):
        raise ValueError(
            "maps and boxes must have shapes (batch, height, width) and (batch, 4), got "
            f"{describe(maps)} and {describe(boxes)}"
        )
    cells = (maps.shape[1], maps.shape[2])
    shares = share_of_cells(boxes.to(maps.device), cells, size)
    return (maps.double() * shares).sum((1, 2)).to(maps.dtype)
