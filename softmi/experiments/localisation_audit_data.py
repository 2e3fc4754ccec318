"""The data of chapter 08: frozen features of birds, small pictures and scenes, with boxes."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softmi.datasets.cub import CUB
from softmi.datasets.scenes import Scenes, digit_scenes
from softmi.datasets.splits import first_per_class
from softmi.datasets.tiny_imagenet import TinyImageNet
from softmi.experiments.localisation import put_aside
from softmi.models.backbones import mobilenet_v2_features, squeezenet1_1_features
from softmi.models.features import average_pool, extract_feature_maps
from softmi.models.small import GAPNet
from softmi.training.data import TensorBatches
from softmi.training.loop import fit, seed_everything

BACKBONES = {"MobileNetV2": mobilenet_v2_features, "SqueezeNet": squeezenet1_1_features}
SCENE_SIDE, SCENE_DIGITS, SCENES_TRAIN, SCENES_TEST = 64, (16, 36), 1200, 400
SMALL_EPOCHS, SMALL_BATCH, SMALL_RATE = 6, 25, 0.2
TINY_TRAIN, TINY_HELD = 75, 5  # images of a class that train, and that choose


@dataclass(frozen=True)
class Source:
    """Frozen features of one data set, with labels and boxes, and who learns, chooses, is judged.

    Attributes:
        features: Feature maps, a tensor or a memory-mapped array in half precision.
        targets: Labels.
        boxes: x0 y0 x1 y1 in pixels, x1 and y1 exclusive.
        learn: The images that train heads,
        held: those that choose rates and thresholds,
        test: and those that are judged.
        size: Side of the pictures in which boxes are given.
        checksums: What the features depend on, by name.

    """

    features: (
        Float[Tensor, "images channels height width"]
        | Float[np.ndarray, "images channels height width"]
    )
    targets: Int[Tensor, " images"]
    boxes: Float[Tensor, "images 4"]
    learn: Bool[Tensor, " images"]
    held: Bool[Tensor, " images"]
    test: Bool[Tensor, " images"]
    size: int
    checksums: dict[str, str]

    @cached_property
    def pooled(self) -> Float[Tensor, "images channels"]:
        """Means of the feature maps over their cells."""
        return average_pool(self.features)

    @property
    def split(self) -> dict[str, int]:
        """How many images learn, choose and are judged."""
        return {name: int(getattr(self, name).sum()) for name in ("learn", "held", "test")}


def source_of(data: str, network: str, *, seed: int = 0, device: str = "cpu") -> Source:
    """Return the source of a data set and a network.

    Args:
        data: "scenes", "CUB-50" or "Tiny-ImageNet".
        network: "GAPNet <width>" for scenes, else one of `BACKBONES`.
        seed: Of the scenes and of the small network; the others are fixed.
        device: Where features are computed.

    Raises:
        ValueError: Another data set.

    """
    if data == "scenes":
        return scenes_source(int(network.split()[1]), seed=seed, device=device)
    sources = {"CUB-50": birds_source, "Tiny-ImageNet": tiny_source}
    if data not in sources:
        raise ValueError(f"no data set {data!r}; there are scenes, {', '.join(sources)}")
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


def birds_source(network: str, *, device: str = "cpu") -> Source:
    """CUB-50: every fifth train image of a class chooses, the official test is judged."""
    cub = CUB()
    held = put_aside(cub.targets, cub.is_train)
    return _frozen(cub, network, cub.is_train & ~held, held, ~cub.is_train, device)


def tiny_source(network: str, *, device: str = "cpu") -> Source:
    """Tiny-ImageNet by the authors' division, a part of the images that train and choose."""
    tiny = TinyImageNet(train_per_class=TINY_TRAIN, size=128, division="authors")
    held = torch.zeros(len(tiny), dtype=torch.bool)
    chosen = tiny.is_held.nonzero()[:, 0]
    held[chosen[first_per_class(tiny.targets[chosen], [TINY_HELD] * tiny.classes)]] = True
    return _frozen(tiny, network, tiny.is_train, held, ~(tiny.is_train | tiny.is_held), device)


def _frozen(
    images: CUB | TinyImageNet,
    network: str,
    learn: Tensor,
    held: Tensor,
    test: Tensor,
    device: str,
) -> Source:
    """Feature maps from the cache or computed once; boxes are judged at half the size."""
    backbone = BACKBONES[network]()
    features = extract_feature_maps(backbone, images, images.key, device=device, progress=True)  # type: ignore[arg-type]
    checksums = images.checksums | {backbone.weights: backbone.checksum}
    return Source(features, images.targets, images.boxes / 2, learn, held, test,
                  images.size // 2, checksums)  # fmt: skip
