"""What chapter 07 looks at: scenes of digits whose place is known, and birds.

A small network is trained on the scenes; the birds go through a frozen one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softmi.datasets import CUB, MultiScenes, Scenes, digit_scenes, multi_digit_scenes
from softmi.experiments.localisation import CONTRASTS, Task, contrast_maps, put_aside
from softmi.maps import class_activation_map, contrast_weights, sum_in_boxes
from softmi.models import Backbone, GAPNet, extract_feature_maps, mobilenet_v2_features
from softmi.training import TensorBatches, fit, seed_everything


@dataclass(frozen=True, eq=False)
class SceneNetwork:
    """A network that learned to name the digit of a scene, and what it saw of other scenes.

    Attributes:
        net: The network.
        before: Weights of its head before training.
        train: Scenes that it learned from.
        scenes: Other scenes, with other digits.
        logits: f of those, shape (scenes, 10).
        features: Feature maps of those, shape (scenes, channels, cells, cells).
        maps: Of the true class, by name of the contrast, in nats a cell.
        random: State of the generator after these scenes, to draw more of them.

    """

    net: GAPNet
    before: Float[Tensor, "10 channels"]
    train: Scenes
    scenes: Scenes
    logits: Float[Tensor, "scenes 10"]
    features: Float[Tensor, "scenes channels cells cells"]
    maps: Mapping[str, Float[Tensor, "scenes cells cells"]]
    random: Tensor

    @property
    def weights(self) -> Float[Tensor, "10 channels"]:
        """Weights of the trained head."""
        return self.net.head.weight.detach()

    @property
    def bias(self) -> Float[Tensor, " 10"]:
        """Biases of the trained head."""
        return self.net.head.bias.detach()

    @property
    def nearest_rivals(self) -> Int[Tensor, " scenes"]:
        """The likeliest other class of each scene."""
        own = F.one_hot(self.scenes.targets, 10).bool()
        return self.logits.masked_fill(own, -torch.inf).argmax(1)

    @property
    def task(self) -> Task:
        """The maps and boxes, every second scene put aside."""
        held = torch.arange(len(self.scenes)) % 2 == 0
        boxes, targets = self.scenes.boxes, self.scenes.targets
        return Task(dict(self.maps), self.logits, targets, boxes, held, 48)


@cache
def scene_network(seed: int = 0, device: str = "cpu", *, epochs: int = 7) -> SceneNetwork:
    """Train a small convolutional network on scenes of 48 pixels with one digit each.

    Args:
        seed: Of scenes, weights and the order of the data.
        device: Where to train.
        epochs: Passes over the 1,200 scenes.

    """
    generator = torch.Generator().manual_seed(seed)
    train = digit_scenes(1200, generator)
    scenes = digit_scenes(400, generator, split="test")
    seed_everything(seed)
    net = GAPNet(10, width=16).to(memory_format=torch.channels_last)  # a third faster
    before = net.head.weight.detach().clone()
    fit(
        net, TensorBatches(train.images, train.targets), F.cross_entropy,
        epochs=epochs, batch_size=25, seed=seed, device=device,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.9, weight_decay=1e-4),
        scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=epochs * 48),
    )  # fmt: skip
    net.cpu()
    with torch.no_grad():
        parts = [net(batch) for batch in scenes.images.split(100)]
    logits, features = (torch.cat(part) for part in zip(*parts, strict=True))
    maps = contrast_maps(features, net.head.weight, scenes.targets, logits)
    random = generator.get_state()
    return SceneNetwork(net, before, train, scenes, logits, features, maps, random)


@dataclass(frozen=True, eq=False)
class TwoDigits:
    """Scenes with two digits, and maps of the first.

    Attributes:
        scenes: The scenes.
        maps: Of the first digit against each contrast, and "other": against the second digit.
        inside: Nats of each map in the box of the first digit, and in that of the second.

    """

    scenes: MultiScenes
    maps: Mapping[str, Float[Tensor, "scenes cells cells"]]
    inside: Mapping[str, tuple[Float[Tensor, " scenes"], Float[Tensor, " scenes"]]]


def two_digits(
    learned: SceneNetwork, number: int = 300, *, random: Tensor | None = None
) -> TwoDigits:
    """Look at so many scenes with two digits, the like of which the network has never seen.

    Args:
        learned: The network.
        number: Of scenes.
        random: State of the generator that draws them; by default where the network's own scenes
            ended.

    """
    generator = torch.Generator()
    generator.set_state(learned.random if random is None else random)
    scenes = multi_digit_scenes(
        number, generator, digits=2, split="test", size=48, digit_size=(14, 20)
    )
    with torch.no_grad():
        logits, features = learned.net(scenes.images)
    here, there = scenes.targets.unbind(1)
    maps = contrast_maps(features, learned.weights, here, logits)
    maps["other"] = maps["cam"] - class_activation_map(features, learned.weights, there)
    inside = {
        name: (
            sum_in_boxes(found, scenes.boxes[:, 0], (48, 48)),
            sum_in_boxes(found, scenes.boxes[:, 1], (48, 48)),
        )
        for name, found in maps.items()
    }
    return TwoDigits(scenes, maps, inside)


def account_errors(learned: SceneNetwork) -> dict[str, float]:
    r"""Largest error, over scenes, of each map as an account of a difference of logits.

    .. math:: \sum_{i,j} m(i, j) + b_y - \frac{1}{|R|} \sum_{k \in R} b_k
        = f_y - \frac{1}{|R|} \sum_{k \in R} f_k
    """
    logits, targets = learned.logits, learned.scenes.targets
    own = F.one_hot(targets, 10).bool()
    mine, rest = logits[own], logits[~own].view(-1, 9)
    differences = {
        "cam": mine,
        "infocam": mine - rest.mean(1),
        "infocam_plus": mine - rest.amin(1),
        "rivals_1": mine - rest.amax(1),
        "rivals_3": mine - rest.topk(3).values.mean(1),
    }
    found = {}
    for name, difference in differences.items():
        by_bias = contrast_weights(
            learned.bias[:, None], targets, logits=logits, **CONTRASTS[name]
        )
        found[name] = float(
            (learned.maps[name].sum((1, 2)) + by_bias[:, 0] - difference).abs().max()
        )
    return found


def other_gauge(learned: SceneNetwork) -> Float[Tensor, "10 channels"]:
    r"""Return weights of the same classifier: one vector added to the weights of all classes.

    .. math:: W'_k = W_k + u, \qquad u \propto -\frac{1}{Nhw} \sum_{n,i,j} A_n(i, j)

    Any direction would do; the mean of the feature maps shows.
    """
    average = F.normalize(learned.features.mean((0, 2, 3)), dim=0)
    return learned.weights - 2 * learned.weights.norm(dim=1).mean() * average


def centring_error(weights: Float[Tensor, "classes channels"]) -> float:
    r"""Largest error of infoCAM as centring, relative to the largest weight.

    .. math:: W_y - \frac{1}{M-1} \sum_{k \ne y} W_k = \frac{M}{M-1} (W_y - \bar W)
    """
    number = len(weights)
    v = contrast_weights(weights, torch.arange(number), contrast="mean")
    centred = number / (number - 1) * (weights - weights.mean(0))
    return float((v - centred).abs().max() / weights.abs().max())


@dataclass(frozen=True, eq=False)
class Birds:
    """CUB through a frozen network: every fifth train image of a class is put aside.

    Attributes:
        images: The data set.
        backbone: The network.
        features: Its feature maps of all images.
        size: Side in pixels at which boxes are judged, whatever the network has seen.

    """

    images: CUB
    backbone: Backbone
    features: Float[np.ndarray, "images channels height width"] | Tensor
    size: int = 224

    @property
    def boxes(self) -> Float[Tensor, "images 4"]:
        """True boxes in a picture of that side."""
        return self.images.boxes * (self.size / self.images.size)

    @property
    def held(self) -> Bool[Tensor, " images"]:
        """Which images choose thresholds."""
        return put_aside(self.images.targets, self.images.is_train)


def load_birds(side: int = 224, device: str = "cpu") -> Birds:
    """Return CUB with its feature maps, computed once and kept in the cache.

    Args:
        side: Of the pictures in pixels; maps have 1/32 of it.
        device: Where to compute.

    """
    cub, backbone = CUB(size=side), mobilenet_v2_features()
    features = extract_feature_maps(backbone, cub, cub.key, device=device, progress=True)  # type: ignore[arg-type]
    backbone.module.cpu()
    return Birds(cub, backbone, features)
