r"""Losses for long-tailed data under one recipe each data set: the experiment of chapter 06.

`train_network` is given the test inputs and not their labels, and says what the network of the
last epoch answers: nothing can be chosen on a test set. What trains is in `LOSSES` and `RECIPES`.
"""

import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from joblib import Parallel, delayed
from torch import Tensor

from softmi.datasets import (
    CUB,
    cifar10,
    cifar10_long_tailed,
    content_sha256,
    data_root,
    digits,
    first_per_class,
    imbalanced_cub_indices,
    long_tailed_counts,
    sha256,
)
from softmi.evidence.outcomes import save_outcomes
from softmi.evidence.results import Profile, project_root, save_result
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.imbalanced_classification_training import enlarged, mnist_task
from softmi.experiments.long_tailed_recipes import RECIPES, Recipe, network_of
from softmi.experiments.long_tailed_summaries import evaluate, outcomes_of
from softmi.experiments.loss_table import LOSSES, loss_row
from softmi.models import average_pool, extract_feature_maps, mobilenet_v2_features
from softmi.training import (
    CropsAndFlips,
    TensorBatches,
    epoch_seconds,
    fit,
    predict_logits,
    seed_everything,
    warm_up_and_drops,
)

NAME = "06_long_tailed_losses"
# Inputs and labels to train with, and those of each test.
Task = tuple[tuple[Tensor, Tensor], dict[str, tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Settings:
    """What a profile trains.

    Attributes:
        data: Names of recipes.
        seeds: Networks of each loss.
        taus: Strengths that PC-softmax is trained with besides 1, for the curve alone.

    """

    data: tuple[str, ...]
    seeds: int
    taus: tuple[float, ...] = ()


SETTINGS = {
    "smoke": Settings(("digits",), seeds=3, taus=(2.0,)),
    "full": Settings(("mnist", "cifar10lt", "cub50"), seeds=5),
}


# --- Data --------------------------------------------------------------------------------------


def digits_task() -> Task:
    """A long tail cut into the digits of scikit-learn, twelve to one."""
    x, y = digits("train")
    kept = first_per_class(y, long_tailed_counts(10, 60, 12))
    tests, answers = digits("test")
    return (enlarged(x[kept]), y[kept]), {"official": (enlarged(tests), answers)}


def birds_task(device: str) -> Task:
    """Pooled features of a frozen network; computed once, and shared with chapter 07."""
    cub = CUB()
    backbone = mobilenet_v2_features()
    maps = extract_feature_maps(backbone, cub, cub.key, device=device)  # type: ignore[arg-type]
    pooled = average_pool(maps)
    train, everything = imbalanced_cub_indices(cub)
    _, cut = imbalanced_cub_indices(cub, cut_test=True)
    parts = {"authors": cut, "official": everything}
    tests = {name: (pooled[part], cub.targets[part]) for name, part in parts.items()}
    return (pooled[train], cub.targets[train]), tests


def load_task(name: str, device: str = "cpu") -> Task:
    """Training pairs and tests of a data set, by the name of its recipe.

    Args:
        name: "digits", "mnist", "cifar10lt" or "cub50".
        device: Where features of birds are computed, if they are not there yet.

    Raises:
        ValueError: Another name.

    """
    if name == "digits":
        return digits_task()
    if name == "mnist":
        parts = mnist_task()
        return parts.pop("train"), parts
    if name == "cifar10lt":
        return cifar10_long_tailed(), {"official": cifar10("test")}
    if name == "cub50":
        return birds_task(device)
    raise ValueError(f"no data {name!r}; there are digits, mnist, cifar10lt and cub50")


def checksums(name: str, task: Task) -> dict[str, str]:
    """What the data of a result are known by: files, or pictures where groups cut other ones."""
    if name == "mnist":
        raw = data_root() / "MNIST" / "raw"
        return {path.name: sha256(path) for path in sorted(raw.glob("*.gz"))}
    if name == "cub50":
        return dict(CUB().checksums)
    if name == "cifar10lt":
        train, tests = task
        return {"long tail": content_sha256(*train), "test": content_sha256(*tests["official"])}
    return {}


# --- Training ----------------------------------------------------------------------------------


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
        loss: Name of the loss, as :func:`softmi.experiments.loss_table.loss_row` takes it.
        seed: Of the first weights, the order of the data and the augmentation.
        train: Inputs and labels.
        tests: Inputs of the tests by name. Their labels are not needed here.
        device: Where to train.
        checkpoint: File to save to after each epoch and to resume from.

    """
    inputs, targets = train
    counts, row = torch.bincount(targets), loss_row(loss)
    steps = recipe.epochs * -(-len(targets) // recipe.batch_size)
    seed_everything(seed)
    model = network_of(recipe, inputs, len(counts), normalised=row.normalised)
    history = fit(
        model,
        (CropsAndFlips if recipe.augment else TensorBatches)(inputs, targets),
        row.make(counts, recipe),
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
        after_epoch=epoch_seconds(),  # its records survive an interruption
    )
    where = "cpu" if device == "cpu" else str(next(model.parameters()).device)
    return {
        "logits": {
            name: row.scale * predict_logits(model, _as_float(x), device=where)
            for name, x in tests.items()
        },
        "losses": history.losses,
        "seconds": sum(record["seconds"] for record in history.records),
    }


def _as_float(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.float() / 255


def _unit(name: str, loss: str, seed: int, task: Task, device: str, keep: bool) -> dict[str, Any]:
    torch.set_num_threads(1)  # the same floats whatever the machine is busy with; also in workers
    recipe, row = RECIPES[name], loss_row(loss)
    inputs = {test: x for test, (x, _) in task[1].items()}
    train = functools.partial(train_network, recipe, loss, seed, task[0], inputs, device=device)
    if not keep:
        return train()
    tensors = [t.contiguous().numpy() for pair in (task[0], *task[1].values()) for t in pair]
    made_by = {
        "recipe": asdict(recipe),
        "device": device,
        "torch": str(torch.__version__),
        "code": code_digest(train_network, row.make),
        "output": [row.scale, row.normalised],
        "data": [hashlib.sha256(t.tobytes()).hexdigest()[:16] for t in tensors],
    }
    folder = project_root() / "_build" / "full" / NAME
    return kept_unit(folder, f"{name}-{loss}-{seed}", made_by, lambda path: train(checkpoint=path))


# --- The run -----------------------------------------------------------------------------------


def run(
    profile: Profile = "smoke",
    *,
    seed: int = 0,
    device: str = "auto",
    data: str = "all",
    taus: Sequence[float] | None = None,
) -> dict[str, dict[str, Any]]:
    """Train every loss on each data set of a profile, measure and save; return the values.

    Args:
        profile: "smoke" (on the CPU) or "full", whose networks are kept one by one, so that a
            run that was cut short goes on.
        seed: The first seed.
        device: Where to train in the full profile.
        data: One of the profile's data sets, or "all".
        taus: Strengths to train PC-softmax with besides 1; None for those of the profile.

    Returns:
        What :func:`softmi.experiments.long_tailed_summaries.evaluate` finds, by data set.

    Raises:
        ValueError: Another profile or data set.

    """
    if profile not in SETTINGS:
        raise ValueError(f"profile must be one of {sorted(SETTINGS)}, got {profile!r}")
    settings, keep = SETTINGS[profile], profile == "full"
    on_cpu = not keep or device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    device = "cpu" if on_cpu else device
    seeds = range(seed, seed + settings.seeds)
    extra = (f"tau={tau:g}" for tau in (settings.taus if taus is None else taus))
    losses, values = [*LOSSES, *extra], {}
    for name in settings.data if data == "all" else (data,):
        task = load_task(name, device)
        jobs = list(itertools.product(losses, seeds))
        units = Parallel(n_jobs=2 if keep and on_cpu else 1)(
            delayed(_unit)(name, loss, s, task, device, keep) for loss, s in jobs
        )
        done = dict(zip(jobs, units, strict=True))
        logits = {loss: [done[loss, s]["logits"] for s in seeds] for loss in losses}
        labels = {test: y for test, (_, y) in task[1].items()}
        counts = torch.bincount(task[0][1])
        values[name] = evaluate(counts, labels, logits)
        kept = save_outcomes(f"{NAME}_{name}", outcomes_of(counts, labels, logits), profile)
        save_result(
            f"{NAME}_{name}",
            values[name],
            protocol=_protocol(RECIPES[name]),
            profile=profile,
            seeds=list(seeds),
            seconds=sum(unit["seconds"] for unit in units),
            device=device,
            data=checksums(name, task) if keep else {},
            outcomes=kept,
        )
    return values


def _protocol(recipe: Recipe) -> dict[str, Any]:
    frozen = recipe.network.startswith("linear on")
    return {
        "data": recipe.data,
        "network": recipe.network,
        "pre-training": "ImageNet" if frozen else "none",
        "optimiser": f"SGD, rate {recipe.rate:g}, momentum {recipe.momentum:g}",
        "batch": recipe.batch_size,
        "epochs": recipe.epochs,
        "values from": recipe.source,
        "selection": "none: the last epoch",
    }
