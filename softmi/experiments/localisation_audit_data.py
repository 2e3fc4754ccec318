"""The data of chapter 08: frozen features of birds, small pictures and scenes, with boxes.

Maps of the birds are in a file. Those of the small pictures are computed as they are read: of
21,000 pictures in 14 x 14 cells they would take ten gigabytes a network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softmi.datasets.cub import CUB
from softmi.datasets.scenes import Scenes, digit_scenes
from softmi.datasets.splits import first_per_class
from softmi.datasets.tiny_imagenet import TINY_SIDE, TinyImageNet
from softmi.experiments.localisation import put_aside
from softmi.models.backbones import Backbone, mobilenet_v2_features, squeezenet1_1_features
from softmi.models.efficientnet_lite import efficientnet_lite0_features
from softmi.models.features import average_pool, extract_feature_maps
from softmi.models.small import GAPNet
from softmi.training.data import TensorBatches
from softmi.training.loop import fit, seed_everything

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "MobileNetV2": mobilenet_v2_features,
    "EfficientNet-Lite0": efficientnet_lite0_features,
    "SqueezeNet": squeezenet1_1_features,
}
SCENE_SIDE, SCENE_DIGITS, SCENES_TRAIN, SCENES_TEST = 64, (16, 36), 1200, 400
SMALL_EPOCHS, SMALL_BATCH, SMALL_RATE = 6, 25, 0.2
BIRD_SIDE = 112  # of the pictures in which birds' boxes are judged
TINY_TRAIN, TINY_HELD = 75, 5  # images of a class that train, and that choose


class StreamedMaps:
    """Feature maps that a frozen network computes as they are read.

    Args:
        backbone: The network.
        images: Pairs whose first entry is what the network reads.
        device: Where to compute.

    """

    def __init__(self, backbone: Backbone, images: Any, device: str = "cpu") -> None:
        self.backbone, self.images, self.device = backbone, images, device

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @torch.no_grad()
    def __getitem__(
        self, rows: Int[np.ndarray, " some"]
    ) -> Float[Tensor, "some channels height width"]:
        """Compute the maps of some images."""
        module = self.backbone.module.to(self.device)
        batch = torch.stack([self.images[row][0] for row in rows.tolist()])
        return module(batch.to(self.device)).cpu()


@dataclass(frozen=True)
class Source:
    """Frozen features of one data set, with labels and boxes, and who learns, chooses, is judged.

    Attributes:
        features: Feature maps: a tensor, a memory-mapped array in half precision, or streamed.
        targets: Labels.
        boxes: x0 y0 x1 y1 in pixels, x1 and y1 exclusive.
        learn: The images that train heads,
        held: those that choose rates and thresholds,
        test: and those that are judged.
        size: Side of the pictures in which boxes are given.
        checksums: What the features depend on, by name.
        averages: Means of the feature maps over their cells, of the images that are used; None
            where they are read off the feature maps.

    """

    features: (
        Float[Tensor, "images channels height width"]
        | Float[np.ndarray, "images channels height width"]
        | StreamedMaps
    )
    targets: Int[Tensor, " images"]
    boxes: Float[Tensor, "images 4"]
    learn: Bool[Tensor, " images"]
    held: Bool[Tensor, " images"]
    test: Bool[Tensor, " images"]
    size: int
    checksums: dict[str, str]
    averages: Float[Tensor, "images channels"] | None = None

    @cached_property
    def pooled(self) -> Float[Tensor, "images channels"]:
        """Means of the feature maps over their cells; zeros for images that nobody uses."""
        return average_pool(self.features) if self.averages is None else self.averages  # type: ignore[arg-type]

    @property
    def used(self) -> Int[Tensor, " used"]:
        """Numbers of the images that learn, choose or are judged."""
        return (self.learn | self.held | self.test).nonzero()[:, 0]

    @property
    def seen(self) -> Int[Tensor, " seen"]:
        """Numbers of the images that choose or are judged: those whose maps are looked at."""
        return (self.held | self.test).nonzero()[:, 0]

    def read(self, rows: Int[Tensor, " some"]) -> Float[Tensor, "some channels height width"]:
        """Return the feature maps of some images."""
        return torch.as_tensor(np.asarray(self.features[rows.numpy()])).float()

    @property
    def split(self) -> dict[str, int]:
        """How many images learn, choose and are judged."""
        return {name: int(getattr(self, name).sum()) for name in ("learn", "held", "test")}


def source_of(data: str, network: str, *, seed: int = 0, device: str = "cpu") -> Source:
    """Return the source of a data set and a network.

    Args:
        data: "scenes", "CUB-50", "Tiny-ImageNet", or one of the last two and ", 14 cells".
        network: "GAPNet <width>" for scenes, else one of `BACKBONES`.
        seed: Of the scenes and of the small network; the others are fixed.
        device: Where features are computed.

    Raises:
        ValueError: Another data set.

    """
    if data == "scenes":
        return scenes_source(int(network.split()[1]), seed=seed, device=device)
    sources: dict[str, Callable[..., Source]] = {
        "CUB-50": birds_source,
        "CUB-50, 14 cells": partial(birds_source, side=448),
        "Tiny-ImageNet": tiny_source,
        "Tiny-ImageNet, 14 cells": partial(tiny_source, side=224, output_stride=16),
    }
    if data not in sources:
        raise ValueError(f"no data set {data!r}; there are scenes, {'; '.join(sources)}")
    return sources[data](network, device=device)


@cache
def scenes(seed: int = 0) -> tuple[Scenes, Scenes]:
    """Scenes of one digit each, to train a network with and to judge it by."""
    draw = torch.Generator().manual_seed(seed)
    train = digit_scenes(SCENES_TRAIN, draw, size=SCENE_SIDE, digit_size=SCENE_DIGITS)
    test = digit_scenes(SCENES_TEST, draw, split="test", size=SCENE_SIDE, digit_size=SCENE_DIGITS)
    return train, test


def scenes_source(width: int, *, seed: int = 0, device: str = "cpu") -> Source:
    """Scenes through a small network, trained from scratch and frozen; every second one chooses.

    Args:
        width: Of the network.
        seed: Of scenes, first weights and the order of the data.
        device: Where to train.

    """
    train, test = scenes(seed)
    seed_everything(seed)
    net = GAPNet(10, width=width).to(memory_format=torch.channels_last)  # a third faster
    steps = SMALL_EPOCHS * -(-len(train) // SMALL_BATCH)
    fit(
        net, TensorBatches(train.images, train.targets), F.cross_entropy,
        epochs=SMALL_EPOCHS, batch_size=SMALL_BATCH, seed=seed, device=device,
        optimizer=lambda p: torch.optim.SGD(p, lr=SMALL_RATE, momentum=0.9, weight_decay=1e-4),
        scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, SMALL_RATE, total_steps=steps),
    )  # fmt: skip
    net = net.cpu().eval()
    with torch.no_grad():
        images = torch.cat([train.images, test.images])
        features = torch.cat([net.features(part) for part in images.split(100)])
    number = torch.arange(len(images))
    learn = number < len(train)
    return Source(
        features, torch.cat([train.targets, test.targets]), torch.cat([train.boxes, test.boxes]),
        learn, ~learn & (number % 2 == 0), ~learn & (number % 2 == 1), SCENE_SIDE, {},
    )  # fmt: skip


def birds_source(network: str, *, side: int = 224, device: str = "cpu") -> Source:
    """CUB-50: every fifth train image of a class chooses, the official test is judged.

    Boxes are judged in pictures of 112 pixels.

    Args:
        network: One of `BACKBONES`.
        side: Of the pictures that it sees.
        device: Where features are computed.

    """
    cub, backbone = CUB(size=side), BACKBONES[network]()
    features = extract_feature_maps(backbone, cub, cub.key, device=device, progress=True)  # type: ignore[arg-type]
    held = put_aside(cub.targets, cub.is_train)
    return Source(
        features, cub.targets, cub.boxes * (BIRD_SIDE / side), cub.is_train & ~held, held,
        ~cub.is_train, BIRD_SIDE, cub.checksums | {backbone.weights: backbone.checksum},
    )  # fmt: skip


def tiny_source(
    network: str, *, side: int = 128, output_stride: int = 32, device: str = "cpu"
) -> Source:
    """Tiny-ImageNet by the authors' division, a part of the images that train and choose.

    Boxes are judged in the pictures' own 64 pixels.

    Args:
        network: One of `BACKBONES`.
        side: To which pictures are enlarged for it.
        output_stride: Of the network, where it has a choice.
        device: Where features are computed.

    """
    tiny = TinyImageNet(train_per_class=TINY_TRAIN, size=side, division="authors")
    held = torch.zeros(len(tiny), dtype=torch.bool)
    chosen = tiny.is_held.nonzero()[:, 0]
    held[chosen[first_per_class(tiny.targets[chosen], [TINY_HELD] * tiny.classes)]] = True
    stride = {} if output_stride == 32 else {"output_stride": output_stride}
    backbone = BACKBONES[network](**stride)
    return Source(
        StreamedMaps(backbone, tiny, device), tiny.targets, tiny.boxes * (TINY_SIDE / side),
        tiny.is_train, held, ~(tiny.is_train | tiny.is_held), TINY_SIDE,
        tiny.checksums | {backbone.weights: backbone.checksum},
    )  # fmt: skip
