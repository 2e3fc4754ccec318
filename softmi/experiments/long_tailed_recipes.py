"""How each data set of chapter 06 is trained on: every number, with its source."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.transforms import Normalize

from softmi.losses import NormalisedLinear
from softmi.models import CifarResNet, GAPNet, LeNet


@dataclass(frozen=True)
class Recipe:
    """How all losses are trained on one data set.

    Attributes:
        data: Name of the data set.
        network: Name of the network.
        epochs: Passes over the data; the network of the last is the one that is tested.
        batch_size: Samples in a step.
        rate: Learning rate of SGD.
        momentum: Of SGD.
        weight_decay: Of SGD.
        warm_up: Share of the run in which the rate rises.
        drops: Shares of the run after which it falls,
        factor: by this factor.
        augment: Whether images are cropped and mirrored at random.
        reweight_from: Share of the epochs after which LDAM-DRW weighs classes.
        precision: Fabric's precision.
        source: Where these values come from, and `rate` in particular.

    """

    data: str
    network: str
    epochs: int
    batch_size: int
    rate: float
    momentum: float
    weight_decay: float
    source: str
    warm_up: float = 0.0
    drops: tuple[float, ...] = ()
    factor: float = 0.1
    augment: bool = False
    reweight_from: float = 0.8
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    @property
    def reweight_epoch(self) -> int:
        """Epoch from which LDAM-DRW weighs classes."""
        return round(self.reweight_from * self.epochs)


_LDAM: dict[str, Any] = {
    "batch_size": 128, "rate": 0.1, "momentum": 0.9, "weight_decay": 2e-4, "warm_up": 0.025,
    "drops": (0.8, 0.9), "factor": 0.01, "augment": True,
}  # fmt: skip
RECIPES = {
    "digits": Recipe(
        "digits", "LeNet", 18, 32, 0.005, 0.9, 0.0, warm_up=0.2,
        source="none; a rate at which the training loss of every loss falls, LDAM-DRW's included",
    ),
    "mnist": Recipe(
        "MNIST", "LeNet", 8, 64, 0.01, 0.5, 0.0,
        source="the authors' code for MNIST: all values",
    ),
    "cifar10lt": Recipe(
        "CIFAR-10-LT", "GAPNet-16", 10, source="Cao et al. (2019), their code: all values but "
        "network and epochs, with warm-up, drops and re-weighting at the same shares of the run",
        **_LDAM,
    ),
    # Trained by softmi.experiments.published_long_tail.
    "cifar10lt_published": Recipe(
        "CIFAR-10-LT", "ResNet-32", 200, source="Cao et al. (2019), their code: all values; "
        "bfloat16 products, for speed on a CPU",
        precision="bf16-mixed",
        **_LDAM,
    ),
    "cub50": Recipe(
        "CUB-50", "linear on MobileNetV2", 176, 64, 0.01, 0.9, 4e-5, drops=(1 / 3, 2 / 3),
        source="the authors' code for CUB: all values; its 2,810 steps are 176 epochs here, and "
        "its drops every 936 steps are thirds",
    ),
}  # fmt: skip


def network_of(
    recipe: Recipe, inputs: Tensor, classes: int, *, normalised: bool = False
) -> nn.Module:
    """Return the untrained network of a recipe, for inputs like these.

    Args:
        recipe: Names the network.
        inputs: Training inputs, for their shape.
        classes: Number of classes.
        normalised: Replace the last layer by one that gives cosines, as LDAM needs.

    """
    name, options = recipe.network, recipe.network.rpartition("-")[2]
    if name == "LeNet":
        model: nn.Module = LeNet(inputs.shape[-1], classes)
    elif name.startswith("GAPNet"):
        model = GAPNet(classes, inputs.shape[1], int(options))
    elif name.startswith("ResNet"):
        model = CifarResNet(int(options), classes)
    else:
        model = nn.Sequential(nn.Linear(inputs.shape[1], classes))
    if normalised:
        path, last = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)][-1]
        setattr(model, path, NormalisedLinear(last.in_features, classes))
    if recipe.augment:  # as for CIFAR-10 everywhere
        colour = Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
        model = nn.Sequential(colour, model).to(memory_format=torch.channels_last)
    return model
