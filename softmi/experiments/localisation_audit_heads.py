"""Heads of chapter 08 on frozen features, and the maps of all of them in one pass."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from softmi.experiments.localisation import (
    CONTRASTS,
    HEADS,
    RATES,
    choose_rate,
    contrast_maps,
    train_head,
)
from softmi.experiments.localisation_audit_data import Source
from softmi.losses.priors import adjust_logits

AT_A_TIME = 50  # images whose feature maps are held in memory


def pool_part(source: Source, rows: Int[Tensor, " some"]) -> dict[str, Any]:
    """Return the means over the cells of some images' maps, read a few at a time."""
    return {"pooled": torch.cat([source.read(few).mean((2, 3)) for few in rows.split(AT_A_TIME)])}


def choose_rates(
    source: Source, *, seed: int, epochs: int, device: str = "cpu"
) -> dict[str, dict[str, Any]]:
    """Return the rate of each optimiser, and the held-out cross-entropy of each rate."""
    learn, held = ((source.pooled[i], source.targets[i]) for i in (source.learn, source.held))
    found = {}
    for optimizer in RATES:
        rate, losses = choose_rate(learn, held, optimizer, seed=seed, epochs=epochs, device=device)
        found[optimizer] = {"rate": rate, "held_out": losses}
    return found


def learn_head(
    source: Source, head: str, *, rate: float, seed: int, epochs: int, device: str = "cpu"
) -> dict[str, Any]:
    """Train one head on averaged features: its `weight`, `bias` and the `prior` it saw.

    Args:
        source: The data.
        head: Name of one of `HEADS`.
        rate: Learning rate at the start.
        seed: Of first weights and the order of the data.
        epochs: Passes over the data.
        device: Where to train.

    """
    learn = source.learn
    trained, _, prior = train_head(
        source.pooled[learn], source.targets[learn], HEADS[head],
        rate=rate, seed=seed, epochs=epochs, device=device,
    )  # fmt: skip
    return {"weight": trained.weight.detach(), "bias": trained.bias.detach(), "prior": prior}


def logits_of(
    source: Source, head: str, learned: Mapping[str, Tensor], rows: Int[Tensor, " some"]
) -> Float[Tensor, "some classes"]:
    """Logits f of some images for equally likely classes, which rank the rivals."""
    logits = F.linear(source.pooled[rows], learned["weight"], learned["bias"])
    if HEADS[head].prior_corrected:
        return logits
    return adjust_logits(logits.double(), train_prior=learned["prior"])


def maps_of_part(
    source: Source,
    learned: Mapping[tuple[str, int], Mapping[str, Tensor]],
    rows: Int[Tensor, " some"],
) -> dict[str, Any]:
    """Maps of the true class by all heads, of some images, whose features are read once.

    Args:
        source: The data.
        learned: What :func:`learn_head` gave, by head and seed.
        rows: Numbers of the images.

    Returns:
        By "<head>-<seed>", then by contrast, the maps.

    """
    found: dict[str, dict[str, list[Tensor]]] = {
        f"{head}-{seed}": {name: [] for name in CONTRASTS} for head, seed in learned
    }
    for few in rows.split(AT_A_TIME):
        features, targets = source.read(few), source.targets[few]
        for (head, seed), of in learned.items():
            logits = logits_of(source, head, of, few)
            for name, maps in contrast_maps(features, of["weight"], targets, logits).items():
                found[f"{head}-{seed}"][name].append(maps)
    return {
        key: {name: torch.cat(parts) for name, parts in by.items()} for key, by in found.items()
    }
