"""Small networks of the experiments, and frozen backbones; image models give logits and maps."""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from softmi.datasets import data_root, sha256


class MLP(nn.Module):
    """The authors' network for the synthetic task: D-100-100-100-M with ReLU.

    Layers are named as in the checkpoints that they released, which load into it.
    """

    def __init__(self, inputs: int, classes: int, hidden: int = 100) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, hidden)
        self.fc4 = nn.Linear(hidden, classes)

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch classes"]:
        """Return logits."""
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = F.relu(self.fc3(x))
        return self.fc4(x)


class LeNet(nn.Module):
    """The authors' MNIST network: 5x5 convolutions of 20 and 50 channels, then 500, then M.

    Works on any square image of at least 16 pixels; 28 gives the paper's 800-500-10 head.
    """

    def __init__(self, side: int = 28, classes: int = 10) -> None:
        super().__init__()
        if side < 16:
            raise ValueError(f"images must be at least 16 pixels wide, got {side}")
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        after = ((side - 4) // 2 - 4) // 2
        self.fc1 = nn.Linear(50 * after * after, 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, x: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch classes"]:
        """Return logits."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class GAPNet(nn.Module):
    """A small convolutional network with global average pooling and a linear head.

    Four 3x3 convolutions with batch normalisation, two of them followed by pooling: maps have a
    quarter of the image's side. What class activation maps need and little more.
    """

    def __init__(self, classes: int, channels: int = 1, width: int = 32) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

        self.features = nn.Sequential(
            *block(channels, width),
            nn.MaxPool2d(2),
            *block(width, 2 * width),
            nn.MaxPool2d(2),
            *block(2 * width, 2 * width),
            *block(2 * width, 2 * width),
        )
        self.head = nn.Linear(2 * width, classes)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch features h w"]]:
        """Return logits and the feature maps before pooling."""
        maps = self.features(x)
        return self.head(maps.mean(dim=(2, 3))), maps


@dataclass(frozen=True)
class Backbone:
    """A frozen feature extractor and what a result must say about it.

    Attributes:
        module: Maps images in [0, 1] to feature maps (batch, channels, h, w); in eval mode.
        weights: Name of the weights.
        checksum: SHA-256 of the file, or of the published name where torchvision checks it.

    """

    module: nn.Module
    weights: str
    checksum: str


class _Normalise(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


IMAGENET_MEAN_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def mobilenet_v2_features(data: Path | None = None) -> Backbone:
    """MobileNetV2 up to its last feature map (1,280 channels, 1/32 of the side), frozen.

    Takes `<data>/checkpoints/mobilenet_v2-coral_qat_dequant.pth` where it exists (Google's ImageNet
    weights: inputs scaled to [-1, 1], stride-2 convolutions padded at the bottom right as
    TensorFlow does), else the weights that torchvision publishes, which it downloads and checks.

    Raises:
        ValueError: A local file that does not hold the weights of this network.

    """  # noqa: E501 - a file name
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    network, weights, checksum, local = _with_weights(
        mobilenet_v2, "mobilenet_v2-coral_qat_dequant", MobileNet_V2_Weights.IMAGENET1K_V2, data
    )
    normalise = _Normalise(*IMAGENET_MEAN_STD)
    if local:
        normalise = _Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                layer.padding = (0, 0)
                layer.register_forward_pre_hook(lambda _, x: (F.pad(x[0], (0, 1, 0, 1)),))
    return _frozen(normalise, network.features, weights, checksum)  # type: ignore[arg-type]


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
    return _frozen(_Normalise(*IMAGENET_MEAN_STD), network.features, weights, checksum)  # type: ignore[arg-type]


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


class CifarResNet(nn.Module):
    """The residual network of He et al. (2016) for 32x32 images, of 6n + 2 layers.

    Three stages of n blocks with 16, 32 and 64 channels; shortcuts without parameters (their
    option A: every second pixel, new channels zero). Layers are named as in the widely used
    checkpoints of Idelbayev's implementation, which load into it.

    Args:
        depth: 20, 32, 44, 56, 110, ...
        classes: Number of classes.

    Raises:
        ValueError: A depth that is not 6n + 2.

    """

    def __init__(self, depth: int = 32, classes: int = 10) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6n + 2, such as 20, 32 or 56, got {depth}")
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            first = _BasicBlock(inputs, outputs, stride=1 if inputs == outputs else 2)
            rest = [_BasicBlock(outputs, outputs) for _ in range(blocks - 1)]
            return nn.Sequential(first, *rest)

        self.layer1, self.layer2, self.layer3 = stage(16, 16), stage(16, 32), stage(32, 64)
        self.linear = nn.Linear(64, classes)

    def forward(
        self, x: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch 64 h w"]]:
        """Return logits and the feature maps before pooling."""
        x = F.relu(self.bn1(self.conv1(x)))
        maps = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(maps.mean(dim=(2, 3))), maps


class _BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.new = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new, self.new))
        return F.relu(x + y)


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
        :class:`softmi.activation_maps.ActivationMaps` for maps.

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
