r"""Tasks whose mutual information is known: what chapter 03 compares estimators on.

All draw a label and then an input, so that the truth is a sum, an integral or a mean over a
million points; the labels of real images are sent through a channel, which bounds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from softmi.datasets import cifar10, data_root, digits, mnist
from softmi.models import IMAGENET_MEAN_STD, CifarResNet
from softmi.synthetic import (
    DiscreteJoint,
    GaussianClasses,
    LabelledTask,
    LabelNoise,
    NoisyXor,
    Rings,
    StudentTClasses,
    long_tailed_prior,
)

IMAGES = ("digits", "mnist", "cifar10")
RESNET56 = "resnet56-4bfd9763.th"  # trained on CIFAR-10's training images


@dataclass(frozen=True)
class Sample:
    """Samples of a task, and what is known of these very samples.

    Attributes:
        X: Inputs, shape (samples, features).
        y: Labels, shape (samples,).
        exact: Mean exact pointwise mutual information of the samples, in nats: what the known
            densities say in place of a classifier. None where there are none.
        bounds: Lowest and highest :math:`I(X;Y)` in nats; None for a task that knows its own.

    """

    X: Float[Tensor, "samples features"]
    y: Int[Tensor, " samples"]
    exact: float | None
    bounds: tuple[float, float] | None = None


@cache
def known_tasks() -> Mapping[str, LabelledTask | DiscreteJoint]:
    """The tasks of the comparison that know their mutual information, by name."""
    tail = long_tailed_prior(10, 100.0)
    separation = {1: 2.8, 5: 2.7, 20: 3.0, 100: 2.9, 1000: 2.9}
    found: dict[str, LabelledTask | DiscreteJoint] = {
        f"gauss_{kind}_d{d}": GaussianClasses.random_means(10, d, separation=s, prior=prior)
        for kind, prior in (("balanced", None), ("long_tailed", tail))
        for d, s in separation.items()
    }
    found |= {
        f"paper_{kind}_d{d}": GaussianClasses.five_on_a_line(d, balanced=kind == "balanced")
        for kind in ("balanced", "imbalanced")
        for d in (1, 2, 5, 10)
    }
    table = torch.tensor([[8, 1, 1], [2, 9, 1], [1, 2, 7], [4, 4, 4.0]]) / 44
    return found | {
        "student_d5": _student(classes=5, dimensions=5, seed=1),
        "rings": Rings(3, extra=2),
        "xor": NoisyXor(2, extra=8),
        "table": DiscreteJoint(table),
        "independent_d20": GaussianClasses(torch.zeros(5, 20), torch.full((5,), 0.2)),
        "saturated_d20": GaussianClasses.random_means(10, 20, separation=12.0, prior=tail),
    }


@cache
def coverage_tasks() -> Mapping[str, LabelledTask]:
    """Small tasks that are repeated many times over to see how often intervals hold, by name."""
    return {
        "paper_imbalanced_d2": GaussianClasses.five_on_a_line(2, balanced=False),
        "gauss_d10": GaussianClasses.random_means(3, 10, separation=2.0, seed=11),
        "student_d2": _student(classes=4, dimensions=2, seed=3),
        "rings_2": Rings(2, spacing=1.0, noise=0.4),
    }


def _student(*, classes: int, dimensions: int, seed: int) -> StudentTClasses:
    means = torch.randn(classes, dimensions, generator=torch.Generator().manual_seed(seed))
    return StudentTClasses(2 * means, torch.full((classes,), 1 / classes))


def draw(name: str, seed: int, n: int) -> Sample:
    """Draw n samples of a task of the comparison; of images there may be fewer.

    As in the paper, the numbers of samples of each class are in proportion to the prior, and the
    rest of the draw is random; only of the table are labels drawn one by one.

    Raises:
        KeyError: No task of that name.

    """
    if name in IMAGES:
        return image_sample(name, seed)
    task, generator = known_tasks()[name], torch.Generator().manual_seed(seed)
    if isinstance(task, DiscreteJoint):
        x, y = task.sample(n, generator)
        return Sample(F.one_hot(x, task.table.shape[0]).float(), y, None)
    X, y = task.sample_counts(counts_in_proportion(task.prior, n), generator)
    return Sample(X, y, exact_information(task, X, y))


def exact_information(
    task: LabelledTask, X: Float[Tensor, "samples features"], y: Int[Tensor, " samples"]
) -> float:
    r"""Mean of :math:`\log p(x_i|y_i) - \log p(x_i)` by the known densities, in nats."""
    return float(task.pointwise_mutual_information(X).gather(1, y[:, None]).mean())


def counts_in_proportion(prior: Float[Tensor, " classes"], n: int) -> list[int]:
    """Class counts that sum to n, in proportion to the prior, by the largest remainders."""
    counts = (prior * n).floor().long()
    counts[(prior * n - counts).argsort(descending=True)[: n - int(counts.sum())]] += 1
    return counts.tolist()


def image_sample(name: str, seed: int) -> Sample:
    r"""Real images with labels that a symmetric channel has replaced, and bounds of the truth.

    With :math:`\tilde Y` the label after the channel, :math:`I(X;\tilde Y) \le I(Y;\tilde Y)`; how
    much smaller it can be follows from how often the best classifier known errs.

    Args:
        name: "digits", "mnist" or "cifar10"; of the latter, features of a published network that
            was trained on other images.
        seed: Of the channel.

    Raises:
        KeyError: Another name.

    """
    generator = torch.Generator().manual_seed(seed)
    rate, error, limit = {
        "digits": (0.2, 0.02, None),
        "mnist": (0.2, 0.0023, 5_000),
        "cifar10": (0.3, 0.005, None),
    }[name]
    X, y = _images(name)
    channel = LabelNoise.symmetric(10, rate, torch.bincount(y, minlength=10).double() / len(y))
    noisy = channel.apply(y, generator)
    return Sample(X.flatten(1).float()[:limit], noisy[:limit], None, channel.bounds(error))


def _images(name: str) -> tuple[Tensor, Tensor]:
    if name == "digits":
        parts = [digits(split) for split in ("train", "test")]
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    return mnist("test") if name == "mnist" else cifar_features()


@cache
def cifar_features() -> tuple[Float[Tensor, "10000 64"], Int[Tensor, " 10000"]]:
    """The 64 pooled features of a published ResNet-56, of CIFAR-10's 10,000 test images."""
    images, y = cifar10("test")
    network = CifarResNet(56).eval()
    path = data_root() / "checkpoints" / RESNET56
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in IMAGENET_MEAN_STD)
    with torch.no_grad():
        maps = [network((b / 255 - mean) / std)[1] for b in images.float().split(500)]
    return torch.cat(maps).mean(dim=(2, 3)), y
