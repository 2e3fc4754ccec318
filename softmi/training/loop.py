"""One seeded training loop on Lightning Fabric, for every experiment of the book."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler
from tqdm import tqdm

from softmi.training.data import loader

LossFunction = Callable[[Tensor, Tensor], Tensor]


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, for the initial weights of a network."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - other libraries draw from the global state
    torch.manual_seed(seed)


@dataclass
class History:
    """What a run did: mean training loss of each epoch, and what `after_epoch` returned."""

    losses: list[float] = field(default_factory=list)
    records: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: nn.Module,
    dataset: Dataset,
    loss: LossFunction,
    *,
    epochs: int,
    batch_size: int,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
    | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    fabric: Fabric | None = None,
    checkpoint: Path | None = None,
    after_epoch: Callable[[nn.Module, int], dict[str, float]] | None = None,
    progress: bool = False,
) -> History:
    """Train `model` in place, the same way for the same seed.

    On one device by default. For several devices or machines pass a `Fabric` made for them; in a
    script started by `fabric run`, a plain `Fabric()` takes what the launcher set. The effective
    batch is then batch_size times the number of processes.

    Args:
        model: Gives logits, or a tuple that starts with them.
        dataset: Pairs of input and label; for data in memory
            :class:`softmi.training.TensorBatches`.
        loss: Function of logits and labels, or a module, whose buffers follow the device. If it
            has a method `set_epoch`, as :class:`softmi.LDAMLoss`, it is called with the number of
            each epoch before the epoch begins, counted from 0, also after resuming.
        epochs: Passes over the data.
        batch_size: Samples in a step, on each process.
        optimizer: From parameters to optimiser, such as `lambda p: torch.optim.Adam(p, lr=1e-3)`.
        scheduler: From optimiser to learning-rate schedule, stepped after each batch.
        seed: Of the order of the data and of dropout. Initial weights are the caller's: see
            :func:`softmi.training.seed_everything`.
        device: "auto", "cpu", "cuda" and so on: Fabric's accelerator.
        precision: Fabric's precision: "32-true", "bf16-mixed", "16-mixed", ...
        fabric: Use this one; `device` and `precision` are then not used.
        checkpoint: File to save to after each epoch, and to resume from if it exists.
        after_epoch: Called with model and epoch; its dictionary is kept in the history.
        progress: Show a bar, on the first process only.

    Raises:
        ValueError: No epochs, an empty data set, a loss that is no longer finite, or a checkpoint
            that is damaged, of another network, seed or batch size, or of more epochs.

    Example:
        >>> from softmi import GaussianClasses, PCSoftmaxLoss
        >>> from softmi.training import TensorBatches
        >>> from softmi.models.small import MLP
        >>> x, y = GaussianClasses([[1.0], [-1.0]], prior=[0.8, 0.2]).sample(200)
        >>> history = fit(MLP(1, 2), TensorBatches(x.float(), y), PCSoftmaxLoss([0.8, 0.2]),
        ...               epochs=2, batch_size=50, optimizer=torch.optim.Adam, device="cpu")
        >>> len(history.losses)
        2

    """
    if epochs < 1 or batch_size < 1 or len(dataset) == 0:  # type: ignore[arg-type]
        raise ValueError(
            f"need epochs >= 1, batch_size >= 1 and data, got epochs={epochs}, "
            f"batch_size={batch_size} and {len(dataset)} samples"  # type: ignore[arg-type]
        )
    fabric = fabric or Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    optimiser = optimizer(list(model.parameters()))
    schedule = scheduler(optimiser) if scheduler else None
    wrapped, optimiser = fabric.setup(model, optimiser)
    if isinstance(loss, nn.Module):
        loss = loss.to(fabric.device)
    # Fabric's own sampler would take no seed, and count epochs from 0 again after a resume.
    sampler: DistributedSampler | None = None
    if fabric.world_size > 1:
        sampler = DistributedSampler(dataset, fabric.world_size, fabric.global_rank)
    batches = loader(dataset, batch_size, shuffle=True, sampler=sampler)

    history, start = History(), 0
    state = {"model": wrapped, "optimizer": optimiser}
    if schedule is not None:
        state["schedule"] = schedule
    settings = {"seed": seed, "batch_size": batch_size}
    if checkpoint is not None and Path(checkpoint).exists():
        rest = _resumed(fabric, checkpoint, state, settings, epochs)
        start = rest["epoch"]
        history = History(rest["losses"], rest["records"])

    quiet = not (progress and fabric.is_global_zero)
    bar = tqdm(range(start, epochs), disable=quiet, unit="epoch")
    for epoch in bar:
        # Seeded by epoch, so that a resumed run sees the batches that it would have seen.
        drawn = hash((seed, epoch)) % 2**63
        torch.manual_seed(drawn)
        batches.generator.manual_seed(drawn)
        if sampler is not None:
            sampler.set_epoch(drawn)
        if hasattr(loss, "set_epoch"):
            loss.set_epoch(epoch)  # type: ignore[operator]
        wrapped.train()
        total, count = torch.zeros((), device=fabric.device), 0
        for batch in batches:
            inputs, targets = fabric.to_device(batch)
            optimiser.zero_grad(set_to_none=True)
            output = wrapped(inputs)
            logits = output[0] if isinstance(output, tuple) else output
            value = loss(logits, targets)
            fabric.backward(value)
            optimiser.step()
            if schedule is not None:
                schedule.step()
            total += value.detach() * len(targets)
            count += len(targets)
        mean = float(fabric.all_reduce(total / count))  # type: ignore[arg-type]
        if not np.isfinite(mean):
            raise ValueError(f"the loss is {mean} in epoch {epoch}: the run has diverged")
        history.losses.append(mean)
        bar.set_postfix(loss=f"{mean:.4f}")
        if after_epoch is not None:
            wrapped.eval()
            # Python's own numbers: a checkpoint holds nothing else.
            record = after_epoch(model, epoch)
            history.records.append({name: float(value) for name, value in record.items()})
        if checkpoint is not None:
            done = {"epoch": epoch + 1, "losses": history.losses, "records": history.records}
            partial = Path(checkpoint).with_suffix(".partial")
            fabric.save(partial, state | settings | done)
            if fabric.is_global_zero:
                partial.replace(checkpoint)  # an interrupted save leaves the last good one
    model.eval()
    return history


# What torch.load and load_state_dict raise on files that are cut short or of something else.
_DAMAGED = (EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError, UnpicklingError)


def _resumed(
    fabric: Fabric, checkpoint: Path, state: dict[str, Any], settings: dict[str, int], epochs: int
) -> dict[str, Any]:
    """Load `state` in place and return the rest, if the file is of this run and can be read."""
    try:
        rest = fabric.load(checkpoint, state, weights_only=True)
        done = rest["epoch"]
    except _DAMAGED as error:
        reason = str(error) or "it ends too early"
        raise ValueError(f"{checkpoint} cannot be resumed from: {reason}") from error
    for name, value in settings.items():
        if rest.get(name, value) != value:  # files of version 0.1 do not say
            raise ValueError(f"{checkpoint} is of a run with {name}={rest[name]}, got {value}")
    if done > epochs:
        raise ValueError(f"{checkpoint} is of a run of {done} epochs, got epochs={epochs}")
    return rest


def epoch_seconds() -> Callable[[nn.Module, int], dict[str, float]]:
    """Return an `after_epoch` of :func:`softmi.fit` that records the `seconds` of each epoch.

    The clock starts here. The sum over `history.records` is the time of training, also of a run
    that was cut short: the checkpoint holds the records.

    Example:
        >>> lap = epoch_seconds()
        >>> list(lap(nn.Linear(1, 1), 0))
        ['seconds']

    """
    last = time.perf_counter()

    def lap(model: nn.Module, epoch: int) -> dict[str, float]:
        nonlocal last
        now = time.perf_counter()
        last, passed = now, now - last
        return {"seconds": passed}

    return lap


def warm_up_and_drops(
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    warm_up: float = 0.0,
    drops: Sequence[float] = (),
    factor: float = 0.1,
) -> torch.optim.lr_scheduler.LambdaLR:
    """Rate that rises in a line and then falls by `factor` at each of some points of the run.

    Args:
        optimizer: Its rate is scaled.
        steps: Batches of the whole run.
        warm_up: Share of the run in which the rate rises from almost zero.
        drops: Shares of the run after which the rate falls.
        factor: By which it falls each time.

    """

    def scale(step: int) -> float:
        rising = min(1.0, (step + 1) / (warm_up * steps)) if warm_up else 1.0
        return rising * factor ** sum(step >= round(share * steps) for share in drops)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, scale)


@torch.no_grad()
def predict_logits(
    model: nn.Module, inputs: Tensor, *, batch_size: int = 1024, device: str = "cpu"
) -> Tensor:
    """Return the logits of `inputs` in eval mode, on the CPU; each layer's mode is restored."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval().to(device)
    parts = []
    try:
        for batch in inputs.split(batch_size):
            output = model(batch.to(device))
            parts.append((output[0] if isinstance(output, tuple) else output).cpu())
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(parts)
