"""Chapter 08: the last block of MobileNetV2 and its head, fine-tuned on birds.

What comes before the last block is frozen, and computed once; so that the CPU can fine-tune what
makes the maps. With and without attention-based dropout (ADL), as the authors have it in front of
the block and behind it. Maps are judged as those of frozen networks are, on 14 x 14 cells.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from softmi.evidence.outcomes import Outcomes, load_outcomes, save_outcomes
from softmi.evidence.results import project_root, save_result
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments import localisation_audit as audit
from softmi.experiments.last_block_data import (
    Frozen,
    FrozenBirds,
    LastBlock,
    MirroredOrNot,
    load_frozen_birds,
)
from softmi.experiments.localisation_audit_data import BIRD_SIDE, Source, StreamedMaps
from softmi.experiments.localisation_audit_heads import maps_of_part, pool_part
from softmi.experiments.localisation_audit_summary import (
    MAIN,
    compare,
    summarise_network,
)
from softmi.models.backbones import Backbone
from softmi.training.loop import epoch_seconds, fit, predict_logits, seed_everything

NAME = f"{audit.NAME}_fine_tuned"
DATA = "CUB-50, 14 cells"
VARIANTS = {MAIN: False, f"{MAIN}_adl": True}  # as heads are named in results: with ADL or not


@dataclass(frozen=True)
class Settings:
    """How the block is trained; each variant has the same budget.

    Attributes:
        rates: Learning rates that are tried with the first seed; held-out images choose.
        seeds: Networks of each variant.
        epochs: Passes over the data, at a rate that falls as a cosine to zero.
        batch_size: Images in a step.
        head_factor: By which the rate of the new head is higher, as in the authors' code.
        momentum: Of SGD, Nesterov's.
        weight_decay: Of SGD.
        drop_rate: Of ADL,
        threshold: and its threshold, both as in the authors' ResNet-50.
        thresholds: T score thresholds.

    """

    rates: tuple[float, ...] = (0.003, 0.01)
    seeds: int = 3
    epochs: int = 10
    batch_size: int = 32
    head_factor: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    drop_rate: float = 0.75
    threshold: float = 0.9
    thresholds: int = 20


def network_of(birds: FrozenBirds, settings: Settings, *, adl: bool) -> LastBlock:
    """Return the block as published, with a head of random weights."""
    with torch.no_grad():
        channels = birds.block(Frozen(birds.maps)[0][0][None]).shape[1]
    drop = (settings.drop_rate, settings.threshold) if adl else None
    return LastBlock(birds.block, channels, birds.cub.classes, drop=drop)


def train_block(
    birds: FrozenBirds,
    settings: Settings,
    *,
    adl: bool,
    rate: float,
    seed: int,
    device: str = "cpu",
) -> dict[str, Any]:
    """Fine-tune the block and its head.

    Args:
        birds: The data.
        settings: How.
        adl: With attention-based dropout.
        rate: Learning rate at the start, of the block.
        seed: Of the head's first weights, the order of the data, mirroring and dropout.
        device: Where to train.

    Returns:
        `weights`, the state dictionary; `held_out`, the cross-entropy of the images put aside;
        `losses` of the epochs; `seconds`.

    """
    learn, held = birds.learn, birds.held
    seed_everything(seed)
    model = network_of(birds, settings, adl=adl)
    data = MirroredOrNot(
        torch.from_numpy(birds.maps[learn.numpy()]), torch.from_numpy(np.array(birds.mirrored)),
        birds.cub.targets[learn],
    )  # fmt: skip
    steps = settings.epochs * -(-int(learn.sum()) // settings.batch_size)
    history = fit(
        model, data, F.cross_entropy,
        epochs=settings.epochs, batch_size=settings.batch_size, seed=seed, device=device,
        optimizer=lambda _: torch.optim.SGD(
            [{"params": [*model.maps.parameters()], "lr": rate},
             {"params": [*model.head.parameters()], "lr": rate * settings.head_factor}],
            momentum=settings.momentum, weight_decay=settings.weight_decay, nesterov=True,
        ),
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps),
        after_epoch=epoch_seconds(),
    )  # fmt: skip
    model.cpu()
    chosen = torch.from_numpy(birds.maps[held.numpy()]).float()
    logits = predict_logits(model, chosen, batch_size=64)
    return {
        "weights": {k: v.detach().cpu() for k, v in model.state_dict().items()},
        "held_out": float(F.cross_entropy(logits, birds.cub.targets[held])),
        "losses": history.losses,
        "seconds": sum(record["seconds"] for record in history.records),
    }


def source_of(birds: FrozenBirds, model: LastBlock | None = None) -> Source:
    """Return the data as chapter 08 judges them, with the maps of a fine-tuned block or frozen."""
    cub, size, maps = birds.cub, BIRD_SIDE, birds.maps
    if model is not None:
        maps = StreamedMaps(Backbone(model.maps.eval(), "", ""), Frozen(birds.maps))  # type: ignore[assignment]
    source = Source(
        maps, cub.targets, cub.boxes * (size / cub.size), birds.learn, birds.held,
        ~cub.is_train, size, dict(birds.checksums),
    )  # fmt: skip
    if model is None:
        return source
    averages = torch.zeros(len(cub), model.head.in_features)
    averages[source.seen] = pool_part(source, source.seen)["pooled"]
    return replace(source, averages=averages)


def judge_block(
    birds: FrozenBirds, settings: Settings, weights: Mapping[str, Tensor], *, adl: bool, seed: int
) -> dict[str, Any]:
    """Judge the maps of a fine-tuned block as :func:`softmi.experiments.localisation_audit.measure`.

    Args:
        birds: The data.
        settings: How it was trained, and thresholds.
        weights: Of the block and its head.
        adl: Whether it was trained with attention-based dropout, which does nothing now.
        seed: Of the controls.

    """  # noqa: E501 - a reference
    model = network_of(birds, settings, adl=adl)
    model.load_state_dict(dict(weights))
    source = source_of(birds, model)
    counts = birds.cub.targets[birds.learn].bincount().double()
    learned = {
        "weight": model.head.weight.detach(), "bias": model.head.bias.detach(),
        "prior": counts / counts.sum(),
    }  # fmt: skip
    maps = maps_of_part(source, {(MAIN, seed): learned}, source.seen)[f"{MAIN}-{seed}"]
    return audit.measure(
        source, DATA, MAIN, learned, maps, seed=seed, thresholds=settings.thresholds
    )


def run(
    settings: Settings | None = None, *, seed: int = 0, device: str = "auto"
) -> dict[str, Any]:
    """Fine-tune and judge all networks, save the result, and return its values.

    Each network is kept when it is trained and when it is judged, so that a run that was cut short
    goes on.

    Args:
        settings: How; those of the full profile by default.
        seed: The first.
        device: Where to train; "auto" for a GPU if there is one.

    Returns:
        As :func:`summarise_network`, and `rates`; `adl_minus_plain` and, paired with the heads on
        the frozen network, `minus_frozen`, by variant, contrast and geometry.

    Raises:
        FileNotFoundError: The full run of chapter 08, which these are compared with, is not there.

    """
    settings = settings or Settings()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    birds = load_frozen_birds(device)
    folder = project_root() / "_build" / "full" / NAME
    made_by = {"settings": asdict(settings), "data": dict(birds.checksums)}
    codes = [code_digest(top) for top in (train_block, judge_block)]

    def trained(variant: str, rate: float, s: int) -> dict[str, Any]:
        return kept_unit(
            folder, f"{variant}-{rate:g}-{s}", made_by | {"codes": codes[:1]},
            lambda _: train_block(
                birds, settings, adl=VARIANTS[variant], rate=rate, seed=s, device=device
            ),
        )  # fmt: skip

    def judged(variant: str, rate: float, s: int) -> dict[str, Any]:
        return kept_unit(
            folder, f"{variant}-{rate:g}-{s}-judged", made_by | {"codes": codes},
            lambda _: judge_block(
                birds, settings, trained(variant, rate, s)["weights"], adl=VARIANTS[variant],
                seed=s,
            ),
        )  # fmt: skip

    rates: dict[str, Any] = {}
    for variant in VARIANTS:
        found = {r: trained(variant, r, seed)["held_out"] for r in settings.rates}
        rates[variant] = {
            "rate": min(found, key=found.__getitem__),
            "held_out": {f"{rate:g}": loss for rate, loss in found.items()},
        }
    seeds = list(range(seed, seed + settings.seeds))
    records = {(v, s): judged(v, rates[v]["rate"], s) for v in VARIANTS for s in seeds}
    seconds = sum(trained(v, rates[v]["rate"], s)["seconds"] for v, s in records)
    values, outcomes = summarise(records, birds)
    values["rates"] = rates
    save_result(
        NAME, values, profile="full", seeds=seeds, seconds=seconds, device=device,
        data=dict(birds.checksums), outcomes=save_outcomes(NAME, outcomes, "full"),
        protocol={
            "data": "CUB-50", "backbone": "MobileNetV2, last block fine-tuned",
            "input": audit.INPUT[DATA], "threshold": "chosen on held-out images",
            "iou": "exclusive pixels", "enlarged": "bicubic", "window": str(audit.WINDOWS[DATA]),
            **{k: str(v) for k, v in asdict(settings).items()},
        },
    )  # fmt: skip
    return values


def summarise(
    records: Mapping[tuple[str, int], Mapping[str, Any]], birds: FrozenBirds
) -> tuple[dict[str, Any], Outcomes]:
    """Values of the result but for the rates, and the outcomes that their intervals follow from.

    Args:
        records: By variant and seed.
        birds: The data.

    """
    source = source_of(birds)
    frozen = load_outcomes(audit.FILES[DATA])
    batch_sizes = audit.SETTINGS["full"].batch_sizes["CUB-50"]
    values, outcomes = summarise_network(records, source, batch_sizes)
    values["minus_frozen"] = {
        v: compare(outcomes, v, frozen, f"MobileNetV2/{MAIN}") for v in VARIANTS
    }
    values["adl_minus_plain"] = compare(outcomes, f"{MAIN}_adl", outcomes, MAIN)
    return values, outcomes
