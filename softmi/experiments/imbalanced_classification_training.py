"""Two losses on imbalanced digits: settings, data and training of chapter 05."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from softmi.datasets import digits, first_per_class, mnist, paper_mnist_indices
from softmi.losses import PCSoftmaxLoss
from softmi.models import LeNet
from softmi.training import LossFunction, TensorBatches, fit, predict_logits, seed_everything

Part = tuple[Float[Tensor, "samples 1 side side"], Int[Tensor, " samples"]]


@dataclass(frozen=True)
class Settings:
    """What a profile trains, and how.

    Attributes:
        data: "MNIST", cut as the authors do, or "digits", those that come with scikit-learn.
        side: Pixels of a side.
        epochs: Passes over the data; the network of the last is the one that is tested.
        rate: Learning rate of SGD.
        seeds: Number of repetitions.
        check_epochs: Epochs over which two ways to write one loss are compared.
        batch_size: Samples in a step.
        momentum: Of SGD.

    """

    data: Literal["digits", "MNIST"]
    side: int
    epochs: int
    rate: float
    seeds: int
    check_epochs: int
    batch_size: int = 64
    momentum: float = 0.5

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """SGD with this rate and momentum."""
        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum)


SETTINGS = {
    "smoke": Settings("digits", 16, 16, 0.12, seeds=3, check_epochs=2),
    "full": Settings("MNIST", 28, 8, 0.01, seeds=10, check_epochs=1),  # the authors' numbers
}


# --- Data --------------------------------------------------------------------------------------


def mnist_task() -> dict[str, Part]:
    """The authors' training and test part of MNIST, and the official test set, normalised."""
    images, labels = mnist("train")
    train, test = paper_mnist_indices(labels)
    official, answers = mnist("test")

    def normalised(x: Tensor) -> Tensor:
        return (x[:, None].float() / 255 - 0.1307) / 0.3081

    return {
        "train": (normalised(images[train]), labels[train]),
        "authors": (normalised(images[test]), labels[test]),
        "official": (normalised(official), answers),
    }


def enlarged(digit_images: Float[Tensor, "samples 1 8 8"]) -> Float[Tensor, "samples 1 16 16"]:
    """Digits of 8 pixels at 16, where LeNet begins, normalised."""
    return (F.interpolate(digit_images, scale_factor=2, mode="bilinear") - 0.305) / 0.376


def digits_task() -> dict[str, Part]:
    """The same three parts of the digits of scikit-learn, ten to one."""
    images, labels = digits("train")
    tests, answers = digits("test")
    train = first_per_class(labels, [12, 120] * 5)
    test = first_per_class(answers, [18, 60] * 5)  # as skewed as the authors' test part
    return {
        "train": (enlarged(images[train]), labels[train]),
        "authors": (enlarged(tests[test]), answers[test]),
        "official": (enlarged(tests), answers),
    }


def load_task(settings: Settings) -> dict[str, Part]:
    """Images and labels of the parts "train", "authors" and "official", the same for all seeds.

    So intervals can hold the chance of seeds and that of test images, which are crossed.
    """
    return mnist_task() if settings.data == "MNIST" else digits_task()


# --- One loss under two names ------------------------------------------------------------------


def weights_by_epoch(
    settings: Settings, train: Part, loss: LossFunction, dtype: torch.dtype, seed: int
) -> Float[Tensor, "epochs parameters"]:
    """All weights of a network after each epoch of its training in the given precision."""
    path: list[Tensor] = []
    images, labels = train

    def keep(model: nn.Module, _: int) -> dict[str, float]:
        path.append(parameters_to_vector(model.parameters()).detach().double())
        return {}

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # of the model, and of what Fabric hands to the loss
    try:
        seed_everything(seed)
        fit(
            LeNet(settings.side), TensorBatches(images.to(dtype), labels), loss,
            epochs=settings.check_epochs, batch_size=settings.batch_size,
            optimizer=settings.optimizer, seed=seed, after_epoch=keep, device="cpu",
            precision={torch.float32: "32-true", torch.float64: "64-true"}[dtype],
        )  # fmt: skip
    finally:
        torch.set_default_dtype(before)
    return torch.stack(path)


def weights_apart(settings: Settings, train: Part, seed: int) -> dict[str, dict[str, Any]]:
    """Largest distance of a weight from the PC-softmax network of the same seed, epoch by epoch.

    For the balanced softmax as Ren et al. (2020) write it, which is the same loss, and for plain
    softmax, which is another; in single and in double precision.
    """
    counts = torch.bincount(train[1], minlength=10)
    ways: dict[str, LossFunction] = {
        "pc": PCSoftmaxLoss(class_counts=counts),
        "balanced": lambda logits, y: F.cross_entropy(logits + counts.to(logits).log(), y),
        "plain": F.cross_entropy,
    }
    found = {}
    for dtype, name in {torch.float32: "float32", torch.float64: "float64"}.items():
        paths = {w: weights_by_epoch(settings, train, f, dtype, seed) for w, f in ways.items()}
        for way in ("balanced", "plain"):
            apart = (paths[way] - paths["pc"]).abs().amax(1).tolist()
            found[f"{name}_{way}"] = {"epochs": apart, "first": apart[0], "worst": max(apart)}
    return found


# --- Training ----------------------------------------------------------------------------------


def train_network(
    settings: Settings, network: str, seed: int, *, device: str, checkpoint: Path | None = None
) -> dict[str, Any]:
    """Train with one of the two losses; the logits of each test, and the seconds it took."""
    torch.set_num_threads(1)  # the same floats whatever the machine is busy with; also in workers
    started = time.perf_counter()
    task = load_task(settings)
    images, labels = task.pop("train")
    counts = torch.bincount(labels, minlength=10)
    seed_everything(seed)
    model = LeNet(settings.side)
    fit(
        model, TensorBatches(images, labels),
        F.cross_entropy if network == "softmax" else PCSoftmaxLoss(class_counts=counts),
        epochs=settings.epochs, batch_size=settings.batch_size, optimizer=settings.optimizer,
        seed=seed, device=device, checkpoint=checkpoint,
    )  # fmt: skip
    logits = {test: predict_logits(model, x) for test, (x, _) in task.items()}
    return {"logits": logits, "seconds": time.perf_counter() - started}
