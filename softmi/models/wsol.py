"""Networks for weakly supervised localisation: VGG16 and ResNet-50 with ADL."""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn


class AttentionDropout(nn.Module):
    r"""Attention-based dropout layer, ADL (Choe and Shim 2019).

    With the attention of each cell, the mean over channels
    :math:`a_n(i, j) = \frac{1}{C} \sum_c x_{nc}(i, j)`, and one draw for the whole batch,

    .. math::
        y_{nc}(i, j) = x_{nc}(i, j) \cdot
        \begin{cases}
        [\, a_n(i, j) < \theta \max_{i', j'} a_n(i', j') \,] & \text{with probability } r \\
        \sigma(a_n(i, j)) & \text{else}
        \end{cases}

    in training: the most attended cells are hidden, so that a classifier learns the rest of the
    object, or all are weighted by their importance. In evaluation the input passes as it is. There
    are no parameters and no buffers, so that networks with and without have the same state
    dictionary.

    The draw comes from PyTorch's generator on the CPU whatever the device, so that it does not
    wait for an accelerator. What is kept is not scaled up, as in the paper.

    Args:
        drop_rate: r, the probability of hiding.
        threshold: :math:`\theta`, as a share of the highest attention of an image.

    Raises:
        ValueError: A rate or a threshold outside [0, 1].

    Source: choe2019, ADL.
    """

    def __init__(self, drop_rate: float = 0.75, threshold: float = 0.8) -> None:
        super().__init__()
        for name, value in (("drop_rate", drop_rate), ("threshold", threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value}")
        self.drop_rate, self.threshold = drop_rate, threshold

    def extra_repr(self) -> str:
        """Show rate and threshold where the module is printed."""
        return f"drop_rate={self.drop_rate}, threshold={self.threshold}"

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Hide what is attended, or weigh it, in training; return `x` in evaluation."""
        if not self.training:
            return x
        attention = x.mean(1, keepdim=True)
        if float(torch.rand(())) < self.drop_rate:
            highest = attention.amax((2, 3), keepdim=True)
            return x * (attention < self.threshold * highest)
        return x * attention.sigmoid()


def vgg16_gap(
    classes: int,
    adl: bool = False,
    *,
    drop_rate: float = 0.75,
    threshold: float = 0.8,
    weights: str | None = None,
) -> nn.Sequential:
    """VGG16 with global average pooling, for localisation (Zhou et al. 2016; Choe and Shim 2019).

    Convolutions 1_1 to 5_3 without the last pooling, a 3x3 convolution from 512 to 1,024 channels
    with ReLU, the average over cells, one linear layer: 14x14 maps of images of 224x224. Initial
    weights of the new layers are those of the authors of infoCAM: normal, of variance 2 / fan-out
    for the convolution and of standard deviation 0.01 for the linear layer, with biases zero.

    Args:
        classes: Number of classes.
        adl: Insert :class:`softmi.models.AttentionDropout` after pool3, pool4 and conv5_3.
        drop_rate: Of the dropout.
        threshold: Of the dropout.
        weights: "IMAGENET1K_V1" to start the convolutions of VGG16 from torchvision's weights,
            which it downloads and checks; None for random ones.

    Returns:
        A network from normalised images, shape (batch, 3, height, width), to logits. Give it to
        :class:`softmi.ActivationMaps` for maps.

    Source: zhou2016, VGG16-GAP.
    """
    from torchvision.models import VGG16_Weights, vgg

    features = vgg.make_layers(vgg.cfgs["D"])[:-1]
    for layer in features:  # as torchvision's, without the 120 million weights of its classifier
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    if adl:
        features = _with_dropout(features, (16, 23, 29), drop_rate, threshold)
    if weights is not None:
        state = VGG16_Weights[weights].get_state_dict(progress=False, check_hash=True)
        kept = {k: v for k, v in state.items() if k.startswith("features.")}
        features.load_state_dict({k.removeprefix("features."): v for k, v in kept.items()})
    conv6, fc = nn.Conv2d(512, 1024, 3, padding=1), nn.Linear(1024, classes)
    nn.init.kaiming_normal_(conv6.weight, mode="fan_out", nonlinearity="relu")
    nn.init.normal_(fc.weight, 0, 0.01)
    nn.init.zeros_(conv6.bias)  # type: ignore[arg-type]
    nn.init.zeros_(fc.bias)
    return nn.Sequential(
        OrderedDict(
            features=features, conv6=conv6, relu=nn.ReLU(inplace=True),
            avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=fc,
        )
    )  # fmt: skip


def resnet50_wsol(
    classes: int,
    adl: bool = False,
    *,
    drop_rate: float = 0.75,
    threshold: float = 0.9,
    weights: str | None = None,
) -> nn.Module:
    """ResNet-50 whose last stage keeps its resolution, for localisation (Choe and Shim 2019).

    As torchvision's but for stride 1 in layer4, not dilated: 14x14 maps of images of 224x224.

    Args:
        classes: Number of classes.
        adl: Insert :class:`softmi.models.AttentionDropout` after the first block of layer3 and
            after the first and last of layer4.
        drop_rate: Of the dropout.
        threshold: Of the dropout.
        weights: "IMAGENET1K_V1" or "IMAGENET1K_V2" to start all but the head from torchvision's
            weights, which it downloads and checks; None for random ones.

    Returns:
        A network from normalised images, shape (batch, 3, height, width), to logits.

    """
    from torchvision.models import ResNet50_Weights, resnet50

    network = resnet50(weights=None if weights is None else ResNet50_Weights[weights])
    first = network.layer4[0]
    first.conv2.stride = first.downsample[0].stride = (1, 1)
    if adl:
        network.layer3 = _with_dropout(network.layer3, (0,), drop_rate, threshold)
        network.layer4 = _with_dropout(network.layer4, (0, 2), drop_rate, threshold)
    network.fc = nn.Linear(network.fc.in_features, classes)
    return network


def _with_dropout(
    layers: nn.Sequential, after: tuple[int, ...], drop_rate: float, threshold: float
) -> nn.Sequential:
    """Return the layers with ADL behind some of them; names of weights stay as they are."""
    named: OrderedDict[str, nn.Module] = OrderedDict()
    for i, layer in enumerate(layers):
        named[str(i)] = layer
        if i in after:
            named[f"adl{i}"] = AttentionDropout(drop_rate, threshold)
    return nn.Sequential(named)
