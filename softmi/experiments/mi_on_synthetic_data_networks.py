r"""Networks of chapter 02: the authors' eight tasks, how a network is trained, how it is read.

Each reading stands beside the *exact* value on the same points. Their difference, the shortfall

.. math:: \frac1n \sum_i \Bigl[ \log \frac{p(x_i \mid y_i)}{p(x_i)} - \widehat{\mathrm{PMI}}(x_i;
          y_i) \Bigr] \approx \mathbb{E}\,\mathrm{KL}(p \,\|\, q)

is free of most of the luck of the points. All in nats.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from softmi.information.estimate import MutualInformationEstimate, mutual_information
from softmi.information.pointwise import entropy
from softmi.losses.prior_corrected import PCSoftmaxLoss, pc_cross_entropy
from softmi.models.small import MLP
from softmi.synthetic.gaussian import GaussianClasses
from softmi.training.data import TensorBatches
from softmi.training.loop import History, LossFunction, fit, predict_logits, seed_everything

DIMENSIONS = (1, 2, 5, 10)
TASKS: Mapping[str, GaussianClasses] = {
    f"{kind}_d{d}": GaussianClasses.five_on_a_line(d, balanced=kind == "balanced")
    for kind in ("balanced", "imbalanced")
    for d in DIMENSIONS
}
METHODS = ("softmax", "pc_softmax")  # what a network is trained with
READINGS = {"pc_softmax": "pc_softmax", "softmax_entropy": "softmax"}  # valid reading: network
RATE = 3e-3  # of Adam, falling to zero along a cosine
WATCHED = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 250, 300)  # epochs of learning by heart
BY_HEART = 300  # points that are learnt by heart

Points = tuple[Float[Tensor, "samples dimensions"], Int[Tensor, " samples"]]


@dataclass(frozen=True)
class Settings:
    """How large the chapter's run is.

    Attributes:
        dimensions: Of the tasks.
        seeds: Runs from new data.
        train: Unit of the training sets; 5,000 gives the paper's.
        batch: Points in a step.
        epochs: Passes over the data; the network of the last is the one that is read.
        fresh: Points of the large test sample.
        tests: Test sets of the paper's size for each network.
        memorise: Epochs in which few points are learnt by heart.
        permuted: Tasks whose labels are shuffled.
        allowance: Largest shortfall that training may leave, in nats.
        released_fresh: Points for each network that the authors released; 0 leaves those out.
        released_tests: Test sets of the paper's size for each of those.

    """

    dimensions: tuple[int, ...]
    seeds: int
    train: int
    batch: int
    epochs: int
    fresh: int
    tests: int
    memorise: int
    permuted: tuple[str, ...]
    allowance: float
    released_fresh: int = 0
    released_tests: int = 0

    @property
    def names(self) -> list[str]:
        """Names of the tasks."""
        return [name for name in TASKS if int(name.split("_d")[1]) in self.dimensions]


@cache
def truth_of(name: str) -> float:
    """Return the true mutual information of a task, by quadrature."""
    return TASKS[name].mutual_information().value


def over_count(name: str) -> float:
    r"""Return what the wrong constant adds: :math:`\log M - H(Y)`."""
    prior = TASKS[name].prior
    return math.log(len(prior)) - float(entropy(prior))


def class_counts(name: str, unit: int) -> list[int]:
    """Points of each class: unit 5,000 gives the paper's training sets, 1,000 its test sets."""
    total = unit * (10 if name.startswith("balanced") else 15)
    return (total * TASKS[name].prior).round().int().tolist()


def loss_of(method: str, task: GaussianClasses) -> LossFunction:
    """Return the loss that a network is trained with."""
    return PCSoftmaxLoss(prior=task.prior) if method == "pc_softmax" else F.cross_entropy


def gradient_difference(seed: int) -> float:
    """Largest difference of the gradients of the two losses on random logits, classes balanced.

    Entries are below one thousandth, the rounding of a double at 1e-16 of that or so.
    """
    draw = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(1_000, 5, generator=draw)).double().requires_grad_()
    labels, uniform = torch.arange(1_000) % 5, torch.full((5,), 0.2).double()
    (plain,) = torch.autograd.grad(F.cross_entropy(logits, labels), logits)
    (corrected,) = torch.autograd.grad(pc_cross_entropy(logits, labels, uniform), logits)
    return float((plain - corrected).abs().max())


def train(
    x: Float[Tensor, "samples dimensions"],
    y: Int[Tensor, " samples"],
    loss: LossFunction,
    seed: int,
    *,
    epochs: int,
    batch: int,
    device: str,
    model: MLP | None = None,
    rate: float = RATE,
    adam: type[torch.optim.Adam] = torch.optim.Adam,
    after_epoch: Callable[[nn.Module, int], dict[str, float]] | None = None,
) -> tuple[MLP, History]:
    """Train the authors' network: Adam, a cosine to zero, and the last epoch is kept.

    Args:
        x: Inputs.
        y: Labels.
        loss: Of logits and labels.
        seed: Of the first weights and the order of the data.
        epochs: Passes over the data.
        batch: Points in a step.
        device: Where to train.
        model: A network to train further; None starts from random weights.
        rate: Learning rate at the start.
        adam: The optimiser.
        after_epoch: As in :func:`softmi.fit`.

    """
    if model is None:
        seed_everything(seed)
        model = MLP(x.shape[1], 5)  # d-100-100-100-5, as the authors'
    steps = epochs * math.ceil(len(y) / batch)
    history = fit(
        model, TensorBatches(x, y), loss, epochs=epochs, batch_size=batch, seed=seed,
        device=device, optimizer=lambda p: adam(p, lr=rate),
        scheduler=lambda o: CosineAnnealingLR(o, steps), after_epoch=after_epoch,
    )  # fmt: skip
    return model, history


def estimate(
    model: MLP, task: GaussianClasses, points: Points, *, corrected: bool
) -> MutualInformationEstimate:
    """Return what the library says of a network on points; `corrected`: it carries no prior."""
    x, y = points
    device = str(model.fc1.weight.device)
    logits = predict_logits(model, x, batch_size=20_000, device=device)
    return mutual_information(logits, y, task.prior, prior_corrected=corrected)


def read(
    model: MLP, task: GaussianClasses, points: Points, *, corrected: bool
) -> dict[str, float]:
    r"""Read a network on points, beside the exact value on the same points.

    Args:
        model: The network.
        task: Whose prior and likelihoods are used.
        points: Inputs and labels.
        corrected: Whether the network was trained with the PC-softmax loss.

    Returns:
        `value` and `standard_error` of the valid reading; `log_m`, the reading with
        :math:`\log M` in place of :math:`-\log \pi_y`; `exact`, the mean of
        :math:`\log p(x|y) / p(x)`; `shortfall`, exact minus value, and `shortfall_error`, its
        standard error.

    """
    x, y = points
    found = estimate(model, task, points, corrected=corrected)
    exact = task.pointwise_mutual_information(x).gather(1, y[:, None])[:, 0]
    shortfall = exact - found.pointwise
    excess = task.prior.log()[y] + math.log(task.classes)
    return {
        "value": found.value,
        "standard_error": found.standard_error,
        "log_m": float((found.pointwise + excess).mean()),
        "exact": float(exact.mean()),
        "shortfall": float(shortfall.mean()),
        "shortfall_error": float(shortfall.std()) / math.sqrt(len(y)),
    }


class Data(NamedTuple):
    """Points of a task and seed: to train on, test sets of the paper's size, and many fresh ones.

    The first two have the paper's fixed counts; the last are drawn with the task's prior.
    """

    train: Points
    tests: list[Points]
    fresh: Points


def draw_task(name: str, seed: int, settings: Settings) -> Data:
    """Draw the points of a task and seed: the same for every method."""
    task = TASKS[name]
    draw = torch.Generator().manual_seed(1_000 * seed + list(TASKS).index(name))
    points = task.sample_counts(class_counts(name, settings.train), draw)
    tests = [task.sample_counts(class_counts(name, 1_000), draw) for _ in range(settings.tests)]
    return Data(points, tests, task.sample(settings.fresh, draw))


def run_task(name: str, seed: int, settings: Settings, device: str) -> dict[str, Any]:
    """Train and read the networks of one task: one if it is balanced, else one a method.

    For balanced classes the two losses are one but for a constant: there the one network is
    trained with plain softmax, and read in both ways. The two networks of an imbalanced task start
    from the same weights and see the same batches.

    Returns:
        For each of `METHODS` what `read` says of the large fresh sample, and `tests`: of each
        test set of the paper's size.

    """
    task, out, model = TASKS[name], {}, None
    (x, y), tests, fresh = draw_task(name, seed, settings)
    for method in METHODS:
        if model is None or name.startswith("imbalanced"):
            model, _ = train(x, y, loss_of(method, task), seed, epochs=settings.epochs,
                             batch=settings.batch, device=device)  # fmt: skip
        corrected = method == "pc_softmax"
        out[method] = read(model, task, fresh, corrected=corrected) | {
            "tests": [read(model, task, test, corrected=corrected) for test in tests]
        }
    return out


def run_permuted(name: str, seed: int, settings: Settings, device: str) -> dict[str, Any]:
    """Train on shuffled labels, so that the truth is zero, and read in sample and on fresh points.

    Returns:
        For each of `METHODS`, `in_sample` and `held_out` as `read` gives them. In the latter
        inputs and labels are of two independent samples.

    """
    task, draw = TASKS[name], torch.Generator().manual_seed(100_000 + seed)
    x, y = task.sample_counts(class_counts(name, settings.train), draw)
    y = y[torch.randperm(len(y), generator=draw)]
    fresh, unrelated = task.sample(settings.fresh, draw)[0], task.sample(settings.fresh, draw)[1]
    out = {}
    for method in METHODS:
        corrected = method == "pc_softmax"
        model, _ = train(x, y, loss_of(method, task), seed, epochs=settings.epochs,
                         batch=settings.batch, device=device)  # fmt: skip
        out[method] = {
            "in_sample": read(model, task, (x, y), corrected=corrected),
            "held_out": read(model, task, (fresh, unrelated), corrected=corrected),
        }
    return out


def run_memorise(seed: int, settings: Settings, device: str) -> dict[str, list[float]]:
    """Watch PC-softmax learn shuffled labels of few points by heart, in ten dimensions.

    Returns:
        `in_sample` and `held_out`: the readings after the epochs of `WATCHED`.

    """
    task, draw = TASKS["imbalanced_d10"], torch.Generator().manual_seed(200_000 + seed)
    x, y = task.sample_counts((BY_HEART * task.prior).round().int().tolist(), draw)
    y = y[torch.randperm(len(y), generator=draw)]
    fresh, unrelated = task.sample(20_000, draw)[0], task.sample(20_000, draw)[1]
    points = {"in_sample": (x, y), "held_out": (fresh, unrelated)}

    def watch(model: Any, epoch: int) -> dict[str, float]:
        watched = points if epoch + 1 in WATCHED else {}
        return {k: read(model, task, v, corrected=True)["value"] for k, v in watched.items()}

    _, history = train(x, y, loss_of("pc_softmax", task), seed, epochs=settings.memorise,
                       batch=len(y), device=device, after_epoch=watch)  # fmt: skip
    return {k: [record[k] for record in history.records if record] for k in points}
