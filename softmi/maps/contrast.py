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
from jaxtyping import Float, Int
from torch import Tensor

from softmi._checks import (
    at_least_float32,
    check_floating,
    check_logits,
    check_shape,
    check_targets,
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

    Args, and further errors, as in :func:`class_activation_map`.

    Returns:
        v, shape (batch, channels), in float32 or, for float64 weights, float64. The sum over
        many classes, and a difference of weights of opposite sign, overflow float16.

    Raises:
        TypeError: Weights not floating point; classes that are no integers, such as a mask.
        ValueError: Weights that are empty, of another rank, NaN or infinite; classes not of
            shape (batch,) or out of range: -1 is not the last class.

    Example:
        >>> weights = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
        >>> contrast_weights(weights, torch.tensor([0]), contrast="mean").tolist()
        [[3.0, -1.5]]

    Source: qin2021infocam, section 2; zhang2025, Finer-CAM's contrast.
    """
    if contrast not in get_args(Contrast):
        raise ValueError(f"contrast must be one of {get_args(Contrast)}, got {contrast!r}")
    check_floating(weights, "weights", "(classes, channels)", finite=True)
    number = len(weights)
    check_targets(classes, weights.new_empty(classes.numel(), number))
    classes = classes.long()  # PyTorch takes uint8 for a mask
    weights = at_least_float32(weights)
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
    check_logits(logits, finite=True)
    check_shape(logits, (len(classes), number), "logits")
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
        ValueError: Shapes that do not match, weights that are NaN or infinite, classes out of
            range, an unknown contrast, missing or non-finite logits, too many rivals.

    Example:
        >>> features = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]])  # 2 channels, 1 x 2 cells
        >>> weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> class_activation_map(features, weights, torch.tensor([0]), contrast="mean").tolist()
        [[[2.0, -2.0]]]

    Source: zhou2016, class activation map.
    """
    check_floating(feature_maps, "feature_maps", "(batch, channels, height, width)")
    check_floating(weights, "weights", "(classes, channels)")
    if feature_maps.shape[1] != weights.shape[1]:
        raise ValueError(
            f"feature_maps of shape {tuple(feature_maps.shape)} have {feature_maps.shape[1]} "
            f"channels, but weights of shape {tuple(weights.shape)} expect {weights.shape[1]}"
        )
    check_targets(classes, feature_maps.new_empty(len(feature_maps), len(weights)))
    v = contrast_weights(
        weights, classes, contrast=contrast, rivals=rivals, gamma=gamma, logits=logits
    )
    cells = feature_maps.shape[2] * feature_maps.shape[3]
    maps = at_least_float32(feature_maps)  # a sum over channels overflows float16
    return (torch.einsum("nc,nchw->nhw", v.to(maps), maps) / cells).to(feature_maps.dtype)
