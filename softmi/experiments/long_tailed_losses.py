r"""Losses for long-tailed data under one recipe each data set: what chapter 07 compares.

Every number that a run depends on is in `RECIPES` or in `loss_of`, with its source.
`train_network` is given the test inputs and not their labels, and says what the network of the
last epoch answers: nothing can be chosen on a test set.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.transforms import Normalize

from softmi.losses.margins import LDAMLoss, NormalisedLinear
from softmi.losses.prior_corrected import PCSoftmaxLoss
from softmi.losses.reweighting import FocalLoss, balanced_class_weights
from softmi.models.small import CifarResNet, GAPNet, LeNet
from softmi.training.data import CropsAndFlips, TensorBatches
from softmi.training.loop import (
    LossFunction,
    fit,
    predict_logits,
    seed_everything,
    warm_up_and_drops,
)

LOSSES = ("softmax", "class-weighted", "focal", "LDAM-DRW", "PC-softmax")
GAMMA, BETA, MARGIN, SCALE = 2.0, 0.9999, 0.5, 30.0  # the values of their papers, nowhere tuned


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
        "digits", "LeNet", 30, 32, 0.005, 0.9, 0.0, warm_up=0.2,
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
    "cifar10lt_gpu": Recipe(
        "CIFAR-10-LT", "ResNet-32", 200, source="Cao et al. (2019), their code: all values",
        **_LDAM,
    ),
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


def loss_of(name: str, class_counts: Int[Tensor, " classes"], recipe: Recipe) -> LossFunction:
    """Return a loss by its name: one of `LOSSES`, or "tau=0.5" and so on.

    Raises:
        ValueError: Another name.

    """
    weights = balanced_class_weights(class_counts, beta=BETA)
    if name == "softmax":
        return F.cross_entropy
    if name == "class-weighted":
        return nn.CrossEntropyLoss(weights.float())
    if name == "focal":
        return FocalLoss(gamma=GAMMA)
    if name == "LDAM-DRW":
        return LDAMLoss(class_counts, max_margin=MARGIN, scale=SCALE, class_weights=weights,
                        reweight_from=recipe.reweight_epoch)  # fmt: skip
    if name == "PC-softmax":
        return PCSoftmaxLoss(class_counts=class_counts)
    if name.startswith("tau="):
        return PCSoftmaxLoss(class_counts=class_counts, tau=float(name[4:]))
    raise ValueError(f"no loss {name!r}; there are {', '.join(LOSSES)} and tau=<number>")


def carried_prior(
    name: str, class_counts: Int[Tensor, " classes"]
) -> Float[Tensor, " classes"] | None:
    r"""Prior that the logits carry at the optimum of a loss; None for none.

    Plain cross-entropy carries :math:`\pi`; with class weights :math:`\pi_k w_k`, normalised;
    trained with tau, :math:`\pi_k^{1-\tau}`. For focal and LDAM-DRW no such statement is exact:
    they are taken for what they become without focus and margin.
    """
    prior = class_counts.double() / class_counts.sum()
    if name == "PC-softmax":
        return None
    if name in ("class-weighted", "LDAM-DRW"):
        prior = prior * balanced_class_weights(class_counts, beta=BETA).to(prior)
    elif name.startswith("tau="):
        prior = prior ** (1 - float(name[4:]))
    return prior / prior.sum()


def train_network(
    recipe: Recipe,
    loss: str,
    seed: int,
    train: tuple[Tensor, Int[Tensor, " samples"]],
    tests: Mapping[str, Tensor],
    *,
    device: str = "auto",
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Train one network; return its logits of each test, the losses of its epochs and its time.

    All losses of a seed start from the same first weights, but for LDAM's last layer, and see the
    same batches.

    Args:
        recipe: How.
        loss: Name of the loss, as :func:`softmi.experiments.long_tails.loss_of` takes it.
        seed: Of the first weights, the order of the data and the augmentation.
        train: Inputs and labels.
        tests: Inputs of the tests by name. Their labels are not needed here.
        device: Where to train.
        checkpoint: File to save to after each epoch and to resume from.

    """
    inputs, targets = train
    counts = torch.bincount(targets)
    steps = recipe.epochs * -(-len(targets) // recipe.batch_size)
    seed_everything(seed)
    model = network_of(recipe, inputs, len(counts), normalised=loss == "LDAM-DRW")
    clock = [time.perf_counter()]

    def lap(_: nn.Module, epoch: int) -> dict[str, float]:
        clock.append(time.perf_counter())
        return {"seconds": clock[-1] - clock[-2]}

    history = fit(
        model,
        (CropsAndFlips if recipe.augment else TensorBatches)(inputs, targets),
        loss_of(loss, counts, recipe),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        optimizer=lambda p: torch.optim.SGD(
            p, recipe.rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        ),
        scheduler=lambda o: warm_up_and_drops(
            o, steps, warm_up=recipe.warm_up, drops=recipe.drops, factor=recipe.factor
        ),
        seed=seed,
        device=device,
        precision=recipe.precision,
        checkpoint=checkpoint,
        after_epoch=lap,  # its records survive an interruption
    )
    scale = SCALE if loss == "LDAM-DRW" else 1.0  # cosines to the logits that the loss took
    where = "cpu" if device == "cpu" else str(next(model.parameters()).device)
    return {
        "logits": {
            name: scale * predict_logits(model, _as_float(x), device=where)
            for name, x in tests.items()
        },
        "losses": history.losses,
        "seconds": sum(record["seconds"] for record in history.records),
    }


def _as_float(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.float() / 255
