"""The last block of MobileNetV2 with a new head, and the birds as the layers before see them."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from softmi.datasets.cub import CUB
from softmi.experiments.localisation import put_aside
from softmi.models.backbones import Backbone, mobilenet_v2_features
from softmi.models.features import extract_feature_maps
from softmi.models.wsol import AttentionDropout
from softmi.training.data import TensorBatches

SIDE = 448  # pixels, for 14 x 14 cells
FROZEN = 17  # layers of MobileNetV2 in front of its last block; behind come two


class LastBlock(nn.Module):
    """The last layers of MobileNetV2 and a new head.

    Args:
        block: From the frozen maps to those that are averaged; a copy is trained.
        channels: Of its maps.
        classes: Of the head.
        drop: Rate and threshold of dropout in front of the block and behind it; None for none.

    """

    def __init__(
        self, block: nn.Module, channels: int, classes: int, *, drop: tuple[float, float] | None
    ) -> None:
        super().__init__()

        def dropout() -> nn.Module:
            return AttentionDropout(*drop) if drop else nn.Identity()

        trained = copy.deepcopy(block).requires_grad_(True)
        self.maps = nn.Sequential(dropout(), trained, dropout())
        self.head = nn.Linear(channels, classes)

    def forward(self, frozen: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch classes"]:
        """Return the logits f of frozen maps."""
        return self.head(self.maps(frozen).mean((2, 3)))


class MirroredOrNot(TensorBatches):
    """Frozen maps of pictures or of their mirror images, each with probability one half.

    Args:
        maps: Of the pictures.
        mirrored: Of their mirror images.
        targets: Labels.

    """

    def __init__(
        self,
        maps: Float[Tensor, "images channels height width"],
        mirrored: Float[Tensor, "images channels height width"],
        targets: Int[Tensor, " images"],
    ) -> None:
        super().__init__(maps, targets)
        self.mirrored = mirrored

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the samples of `indices`, stacked."""
        (maps, targets), chosen = self.tensors, torch.as_tensor(indices)
        turned = (torch.rand(len(chosen)) < 0.5)[:, None, None, None]
        batch = torch.where(turned, self.mirrored[chosen], maps[chosen])
        return batch.float(), targets[chosen]


class Mirrored(Dataset):
    """Pictures of a data set, left and right exchanged."""

    def __init__(self, images: Dataset) -> None:
        self.images = images

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a mirrored picture and its label."""
        image, target = self.images[index]
        return image.flip(2), target


class Frozen:
    """Kept maps as pairs that a network reads: maps in single precision, and nothing."""

    def __init__(self, maps: Float[np.ndarray, "images channels height width"]) -> None:
        self.maps = maps

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.maps)

    def __getitem__(self, row: int) -> tuple[Tensor, None]:
        """Return the maps of one image."""
        return torch.from_numpy(self.maps[row].astype(np.float32)), None


@dataclass(frozen=True, eq=False)
class FrozenBirds:
    """Birds through the frozen part of the network.

    Attributes:
        cub: The data set.
        maps: Frozen maps of all images,
        mirrored: and of the mirror images of those that train.
        block: The last layers as published.
        checksums: What the maps depend on, by name.

    """

    cub: CUB
    maps: Float[np.ndarray, "images channels height width"]
    mirrored: Float[np.ndarray, "learn channels height width"]
    block: nn.Module
    checksums: Mapping[str, str]

    @property
    def held(self) -> Tensor:
        """Which images choose."""
        return put_aside(self.cub.targets, self.cub.is_train)

    @property
    def learn(self) -> Tensor:
        """Which images train."""
        return self.cub.is_train & ~self.held


def load_frozen_birds(device: str = "cpu") -> FrozenBirds:
    """Return CUB through the frozen part, computed once and kept in the cache."""
    cub, whole = CUB(size=SIDE), mobilenet_v2_features()
    normalise, layers = whole.module.children()
    assert isinstance(layers, nn.Sequential)
    trunk = Backbone(
        nn.Sequential(normalise, layers[:FROZEN]).eval(), whole.weights,
        f"{whole.checksum}-{FROZEN}",
    )  # fmt: skip
    learn = (cub.is_train & ~put_aside(cub.targets, cub.is_train)).nonzero()[:, 0].tolist()
    maps = extract_feature_maps(trunk, cub, cub.key, device=device, progress=True)  # type: ignore[arg-type]
    mirrored = extract_feature_maps(
        trunk, Mirrored(Subset(cub, learn)), f"{cub.key} mirrored", device=device, progress=True  # type: ignore[arg-type]
    )  # fmt: skip
    return FrozenBirds(cub, maps, mirrored, layers[FROZEN:], cub.checksums | {
        whole.weights: whole.checksum
    })  # fmt: skip
