"""Frozen feature extractors with published weights."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import WeightsEnum
from torchvision.transforms import Normalize

from softmi.datasets import data_root, sha256


@dataclass(frozen=True)
class Backbone:
    """A frozen feature extractor and what a result must say about it.

    Attributes:
        module: Maps images in [0, 1] to feature maps (batch, channels, h, w); in eval mode.
        weights: Name of the weights.
        checksum: SHA-256 of the file, or of the published name where torchvision checks it; with
            `-os16` behind it where the last stride was taken away, since maps are others.

    """

    module: nn.Module
    weights: str
    checksum: str


IMAGENET_MEAN_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLUS_MINUS_ONE = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # mean and deviation that give [-1, 1]


def mobilenet_v2_features(data: Path | None = None, *, output_stride: int = 32) -> Backbone:
    r"""MobileNetV2 up to its last feature map (1,280 channels, 1/32 of the side), frozen.

    Takes `<data>/checkpoints/mobilenet_v2-coral_qat_dequant.pth` where it exists (Google's ImageNet
    weights: inputs scaled to [-1, 1], stride-2 convolutions padded at the bottom right as
    TensorFlow does), else the weights that torchvision publishes, which it downloads and checks.

    An image of 224 pixels gives 7 x 7 cells. There are two ways to 14 x 14: an image of 448
    pixels, or the last stride taken away and the depthwise convolutions behind it dilated by two,
    so that they reach as far over the picture as they were trained to. The finer maps hold the
    coarser ones, to rounding, for sides that are a multiple of 32:

    .. math:: A^{(32)}_c(i, j) = A^{(16)}_c(2 i + o, 2 j + o)

    with :math:`o = 1` for TensorFlow's padding and :math:`o = 0` for torchvision's. Laid over the
    same picture, they therefore lie 8 pixels, half a fine cell, from where the coarser ones are:
    to the lower right for :math:`o = 1`, to the upper left for :math:`o = 0`.

    Args:
        data: Folder that may hold the checkpoint; None for :func:`softmi.datasets.data_root`.
        output_stride: Side of a cell in pixels, 32 as published or 16.

    Raises:
        ValueError: Another output stride, or a local file that does not hold the weights of this
            network.

    Source: sandler2018, MobileNetV2; chen2018, atrous convolution.
    """  # noqa: E501 - a file name
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    suffix = _stride_suffix(output_stride)
    network, weights, checksum, local = _with_weights(
        mobilenet_v2, "mobilenet_v2-coral_qat_dequant", MobileNet_V2_Weights.IMAGENET1K_V2, data
    )
    features: nn.Module = network.features  # type: ignore[assignment]
    if output_stride == 16:  # before strided layers get TensorFlow's padding: one is none any more
        _dilate_last_stage(features)
    normalise = Normalize(*IMAGENET_MEAN_STD)
    if local:
        normalise = Normalize(*PLUS_MINUS_ONE)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                layer.padding = (0, 0)
                layer.register_forward_pre_hook(lambda _, x: (F.pad(x[0], (0, 1, 0, 1)),))
    return _frozen(normalise, features, weights, checksum + suffix)


def squeezenet1_1_features(data: Path | None = None) -> Backbone:
    """SqueezeNet 1.1 up to its last feature map (512 channels, 1/16 of the side), frozen.

    An image of 224 pixels gives 13 x 13 cells, one of 128 pixels 7 x 7. Takes
    `<data>/checkpoints/squeezenet1_1-openvino_fp16.pth` where it exists (ImageNet weights in half
    precision), else the weights that torchvision publishes, which it downloads and checks. Inputs
    are scaled by ImageNet's mean and standard deviation.

    Raises:
        ValueError: A local file that does not hold the weights of this network.

    """
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    network, weights, checksum, _ = _with_weights(
        squeezenet1_1, "squeezenet1_1-openvino_fp16", SqueezeNet1_1_Weights.IMAGENET1K_V1, data
    )
    return _frozen(Normalize(*IMAGENET_MEAN_STD), network.features, weights, checksum)  # type: ignore[arg-type]


def _stride_suffix(output_stride: int) -> str:
    """Return what a checksum says of the output stride, refusing others than 32 and 16."""
    if output_stride not in (16, 32):
        raise ValueError(f"output_stride must be 32 or 16, got {output_stride!r}")
    return "" if output_stride == 32 else "-os16"


def _dilate_last_stage(features: nn.Module) -> None:
    """Give the last strided 3x3 convolution stride 1 and dilate those behind it by two.

    The strided one itself is not dilated: what it reads is not yet finer than in training.
    """
    spatial = [m for m in features.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] == 3]
    last = max(i for i, layer in enumerate(spatial) if layer.stride == (2, 2))
    spatial[last].stride = (1, 1)
    for layer in spatial[last + 1 :]:
        layer.dilation = layer.padding = (2, 2)


def _with_weights(
    build: Callable[..., nn.Module], name: str, published: WeightsEnum, data: Path | None
) -> tuple[nn.Module, str, str, bool]:
    """A network with local weights where there are such, else published ones.

    Returns the network, the name and checksum of its weights, and whether they are local.
    """
    path = (data or data_root()) / "checkpoints" / f"{name}.pth"
    if not path.exists():
        network = build(weights=published)
        return network, f"torchvision {published}", published.url.rsplit("-", 1)[-1], False
    network = build()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} does not hold the weights of {build.__name__}; remove it to take those that "
            f"torchvision publishes. {error}"
        ) from error
    bad = [key for key, value in state.items() if not value.isfinite().all()]
    if bad:
        raise ValueError(f"{path} holds weights that are not finite, the first in {bad[0]}")
    return network, path.stem, sha256(path), True


def _frozen(normalise: nn.Module, features: nn.Module, weights: str, checksum: str) -> Backbone:
    module = nn.Sequential(normalise, features).eval().requires_grad_(False)
    return Backbone(module, weights, checksum)
