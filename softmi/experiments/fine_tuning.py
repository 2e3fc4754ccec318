r"""Fine-tuned backbones for localisation: the recipes of the papers as data, and one run of them.

`Recipe` holds every number that a run depends on, with its source.
`fine_tune` reads the official training images and their labels and nothing of the test part: the
network of the last epoch is the one that counts. A run on the whole of CUB-200-2011 needs a GPU.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torchvision.transforms import Normalize

from softmi.datasets.cub import CUB
from softmi.models.backbones import IMAGENET_MEAN_STD
from softmi.models.wsol import resnet50_wsol, vgg16_gap
from softmi.training.data import TensorBatches
from softmi.training.loop import epoch_seconds, fit, seed_everything


@dataclass(frozen=True)
class Recipe:
    """How one network is fine-tuned.

    Attributes:
        network: "vgg16_gap" or "resnet50_wsol", functions of `softmi.models`.
        adl: Whether it has attention-based dropout,
        drop_rate: of this rate
        threshold: and this threshold.
        batch_size: Images in a step.
        rate: Learning rate of SGD for pretrained layers.
        head_factor: By which the rate is higher in `head`.
        head: Beginnings of the names of weights that are trained at the higher rate.
        source: Where these values come from.
        weights: Name of torchvision's weights to start from; None for random ones.
        epochs: Passes over the data; the network of the last is the one that counts.
        decay_every: Epochs after which the rate falls,
        decay: by this factor.
        momentum: Of SGD, Nesterov's.
        weight_decay: Of SGD.
        resize: Side to which images are resized, aspect not kept.
        crop: Side of the random crop of it, mirrored with probability one half.

    """

    network: str
    adl: bool
    threshold: float
    batch_size: int
    rate: float
    head: tuple[str, ...]
    source: str
    drop_rate: float = 0.75
    head_factor: float = 10.0
    weights: str | None = "IMAGENET1K_V1"
    epochs: int = 200
    decay_every: int = 60
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    resize: int = 256
    crop: int = 224


_SOURCE = "Qin et al. (2019), their code for CUB-200-2011: all values"
RECIPES = {
    f"{network}{'_adl' * adl}": Recipe(network, adl, threshold, batch, rate, head, _SOURCE)
    for network, threshold, batch, rate, head in (
        ("vgg16_gap", 0.8, 30, 0.001, ("conv6.", "fc.")),
        ("resnet50_wsol", 0.9, 128, 0.01, ("layer4.", "fc.")),
    )
    for adl in (False, True)
}


class RandomCrops(TensorBatches):
    """Images, each cropped to `size` at a random place and mirrored with probability one half.

    Images are uint8; batches come as float in [0, 1]. Draws from PyTorch's global generator,
    seeded by :func:`softmi.fit` in each epoch.

    Args:
        images: Shape (samples, channels, height, width), uint8.
        targets: Their labels, shape (samples,).
        size: Side of the crops.

    Raises:
        ValueError: Images smaller than the crops.

    """

    def __init__(
        self,
        images: UInt8[Tensor, "samples channels height width"],
        targets: Int[Tensor, " samples"],
        size: int,
    ) -> None:
        if not 1 <= size <= min(images.shape[2:]):
            raise ValueError(
                f"crops of {size} x {size} do not fit images of shape {tuple(images.shape)}"
            )
        super().__init__(images, targets)
        self.size = size

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Return the samples of `indices`, stacked, with a fresh crop of each."""
        images, targets = self.tensors
        n, size = len(indices), self.size
        tops = torch.randint(images.shape[2] - size + 1, (n,)).tolist()
        lefts = torch.randint(images.shape[3] - size + 1, (n,)).tolist()
        mirrored = torch.rand(n) < 0.5
        batch = torch.stack([
            images[i, :, top : top + size, left : left + size]
            for i, top, left in zip(indices, tops, lefts, strict=True)
        ])  # fmt: skip
        batch[mirrored] = batch[mirrored].flip(3)
        return batch.float() / 255, targets[torch.as_tensor(indices)]


def network_of(recipe: Recipe, classes: int, *, pretrained: bool = True) -> nn.Sequential:
    """Return the network of a recipe, from images in [0, 1] to logits, before fine-tuning.

    Args:
        recipe: Names the network.
        classes: Number of classes.
        pretrained: Start from the weights that the recipe names. False where a state dictionary
            is loaded into it anyway.

    Raises:
        ValueError: A recipe with another network.

    """
    builders = {"vgg16_gap": vgg16_gap, "resnet50_wsol": resnet50_wsol}
    if recipe.network not in builders:
        raise ValueError(f"no network {recipe.network!r}; there are {', '.join(builders)}")
    network = builders[recipe.network](
        classes, recipe.adl, drop_rate=recipe.drop_rate, threshold=recipe.threshold,
        weights=recipe.weights if pretrained else None,
    )  # fmt: skip
    normalise = Normalize(*IMAGENET_MEAN_STD)
    return nn.Sequential(OrderedDict(normalise=normalise, network=network))


def parameter_groups(recipe: Recipe, model: nn.Module) -> list[dict[str, Any]]:
    """Parameters of the trunk at the recipe's rate, and those of the head at a higher one."""
    inside: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        inside[name.removeprefix("network.").startswith(recipe.head)].append(parameter)
    rates = {False: recipe.rate, True: recipe.rate * recipe.head_factor}
    return [{"params": inside[head], "lr": rates[head]} for head in (False, True)]


def training_images(
    cub: CUB,
) -> tuple[UInt8[Tensor, "images 3 size size"], Int[Tensor, " images"]]:
    """Images of the official training part, decoded once, and their labels.

    1.2 GB for the whole of CUB-200-2011 at 256 x 256.
    """
    chosen = cub.is_train.nonzero().flatten()
    images = torch.empty(len(chosen), 3, cub.size, cub.size, dtype=torch.uint8)
    for row, index in enumerate(chosen.tolist()):
        images[row] = (cub[index][0] * 255).round().to(torch.uint8)
    return images, cub.targets[chosen]


def fine_tune(
    recipe: Recipe,
    cub: CUB,
    seed: int = 0,
    *,
    device: str = "auto",
    precision: str = "32-true",
    checkpoint: Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    r"""Fine-tune the network of a recipe on the training part of CUB-200-2011.

    Plain cross-entropy, SGD with Nesterov's momentum, rate
    :math:`\eta_e = \eta \, d^{\lfloor e / 60 \rfloor}` in epoch e, with factor d = 0.1, ten times
    as high in the head. Nothing is selected: neither epoch nor threshold, and no test image is
    read. The authors kept the epoch of the best accuracy on the test half.

    Args:
        recipe: How: one of `softmi.experiments.fine_tuning.RECIPES`, or one of your own.
        cub: Images of the side that the recipe resizes to: `CUB(size=recipe.resize)`.
        seed: Of the first weights of new layers, the order of the data, crops and dropout.
        device: Where to train: Fabric's accelerator.
        precision: Fabric's precision: "bf16-mixed" halves the time on a recent GPU.
        checkpoint: File to save to after each epoch and to resume from; a resumed run ends at
            the bit where an uninterrupted one does, on the CPU.
        progress: Show a bar.

    Returns:
        `weights`, the state dictionary for `network_of` on the CPU;
        `classes`; `losses`, the mean of each epoch; `seconds`. As
        :func:`softmi.evidence.units.kept_unit` keeps it.

    Raises:
        ValueError: Images of another side than the recipe's, or no training image.

    """
    if cub.size != recipe.resize:
        raise ValueError(
            f"the recipe resizes to {recipe.resize}, but images come at {cub.size}: "
            f"CUB(size={recipe.resize})"
        )
    classes = int(cub.targets.max()) + 1
    images, targets = training_images(cub)
    seed_everything(seed)
    model = network_of(recipe, classes)
    steps = -(-len(targets) // recipe.batch_size)
    history = fit(
        model,
        RandomCrops(images, targets, recipe.crop),
        F.cross_entropy,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        optimizer=lambda _: torch.optim.SGD(
            parameter_groups(recipe, model), lr=recipe.rate, momentum=recipe.momentum,
            weight_decay=recipe.weight_decay, nesterov=True,
        ),
        scheduler=lambda o: torch.optim.lr_scheduler.StepLR(
            o, recipe.decay_every * steps, recipe.decay
        ),
        seed=seed,
        device=device,
        precision=precision,
        checkpoint=checkpoint,
        after_epoch=epoch_seconds(),  # its records survive an interruption
        progress=progress,
    )  # fmt: skip
    return {
        "weights": {k: v.detach().cpu() for k, v in model.state_dict().items()},
        "classes": classes,
        "losses": history.losses,
        "seconds": sum(record["seconds"] for record in history.records),
    }
