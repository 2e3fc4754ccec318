"""Chapter 07: does infoCAM find the object better than CAM?

A small network on scenes of digits, whose place is known, shows what the maps are; the grid of
contrasts and geometries is judged on it (smoke) or on birds through a frozen network (full).
Every choice is made on images that are put aside, and every difference is paired by image.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from softmi.evidence.outcomes import Outcomes, save_outcomes
from softmi.evidence.results import Profile, project_root, save_result
from softmi.evidence.statistics import bootstrap_interval
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments import infocam_two_digits
from softmi.experiments.infocam_data import Birds, centring_error, load_birds, scene_network
from softmi.experiments.infocam_summary import collect
from softmi.experiments.localisation import (
    CONTRASTS,
    HEADS,
    Task,
    contrast_maps,
    cosine_to_centred,
    describe_head,
    place,
    train_head,
)
from softmi.experiments.localisation_accuracy import blind_boxes, evaluate
from softmi.maps import class_activation_map, share_of_cells
from softmi.models import average_pool
from softmi.training import predict_logits

NAME = "07_infocam"
# Results by cells a side: the authors' networks have 14, ours 7 unless pictures are enlarged.
FILES = {14: f"{NAME}_14_cells", 7: NAME}
CELL = 32  # pixels
KINDS = ("padded", "faded", "blur", "shrink")
EVERY = 23  # one in so many test images is mirrored


@dataclass(frozen=True)
class Settings:
    """What a profile runs.

    Attributes:
        data: As the result file names it.
        seeds: Number of heads.
        thresholds: T score thresholds, steps of 1 / T.
        windows: Sides of the window sum in cells; the largest is in the main grid.
        rates: Of the heads by optimiser, the better of few for the images put aside.
        drawn: Classes of which a test image's maps are kept, to draw.

    """

    data: str
    seeds: int
    thresholds: int
    windows: tuple[int, ...]
    rates: tuple[tuple[str, float], ...] = (("softmax", 0.01), ("softmax_adam", 1e-3))
    drawn: tuple[int, ...] = (0, 12, 24, 36)

    @property
    def main(self) -> tuple[str, ...]:
        """Geometries that all seeds are judged in."""
        return ("none", *(f"{k}_{self.windows[-1]}" for k in ("padded", "blur", "shrink")))

    @property
    def geometries(self) -> tuple[str, ...]:
        """All geometries, which the first seed is judged in."""
        return ("none", *(f"{kind}_{window}" for kind in KINDS for window in self.windows))


SETTINGS: dict[Profile, Settings] = {
    "smoke": Settings(data="digit scenes", seeds=1, thresholds=10, windows=(3,)),
    "full": Settings(data="CUB-50", seeds=5, thresholds=100, windows=(2, 3, 4)),
}


def measure(
    task: Task, weights: Float[Tensor, "classes channels"], settings: Settings, *,
    seed: int, everything: bool,
) -> dict[str, Any]:  # fmt: skip
    """Return all numbers of one head.

    Args:
        task: Its maps, and what they are compared with.
        weights: Of the head.
        settings: Geometries and thresholds.
        seed: Of who gets whose map in the control.
        everything: Add the whole grid of geometries and the control.

    Returns:
        `grid` by contrast and main geometry, as :func:`evaluate` gives with V2; `baselines`, as
        :func:`blind_boxes`; `head`, as :func:`describe_head`; `centring_error`; and with
        `everything` `geometries`, all of them without V2, and `permuted`, each image judged by
        the CAM of another.

    """
    thresholds, (held, test) = settings.thresholds, task.splits
    recognised = task.logits[test].argmax(1) == task.targets[test]
    record: dict[str, Any] = {
        "grid": {
            n: {g: evaluate(task, n, g, thresholds, v2=True) for g in settings.main}
            for n in CONTRASTS
        },
        "baselines": blind_boxes(
            task.boxes[test], task.boxes[held], task.size, recognised=recognised
        ),
        "head": describe_head(task, weights),
        "centring_error": centring_error(weights.double()),
    }
    if everything:
        main = record["grid"]
        record["geometries"] = {
            n: {
                g: main[n][g] if g in main[n] else evaluate(task, n, g, thresholds)
                for g in settings.geometries
            }
            for n in CONTRASTS
        }
        other = task.with_strangers(seed=seed)
        record["permuted"] = {g: evaluate(other, "cam", g, thresholds) for g in settings.main}
    return record


def head_of(
    birds: Birds, kind: str, settings: Settings, *, seed: int, device: str = "cpu"
) -> tuple[nn.Linear, Tensor]:
    """Train a linear head on the images that are not put aside; also its first weights."""
    cub, learn = birds.images, birds.images.is_train & ~birds.held
    counts = cub.targets[learn].bincount()
    # Only then is the head of softmax that of PC-softmax.
    assert cub.classes != 50 or counts.min() == counts.max()
    pooled, rate = average_pool(birds.features), dict(settings.rates)[kind]
    head, first, _ = train_head(
        pooled[learn], cub.targets[learn], HEADS[kind], rate=rate, seed=seed, device=device
    )
    return head, first


def task_of_birds(birds: Birds, head: nn.Linear) -> Task:
    """Return the maps of a head on the images put aside and the official test images."""
    cub, held = birds.images, birds.held
    seen = held | ~cub.is_train
    logits, targets = predict_logits(head, average_pool(birds.features)[seen]), cub.targets[seen]
    index = seen.nonzero()[:, 0]
    maps = contrast_maps(birds.features, head.weight, targets, logits, index=index)
    return Task(maps, logits, targets, birds.boxes[seen], held[seen], birds.size)


def measure_birds(
    birds: Birds, settings: Settings, *, seed: int, first: bool, device: str = "cpu"
) -> dict[str, Any]:
    """Train the head of one seed and measure it.

    Args:
        birds: The data.
        settings: Of the run.
        seed: Of the head.
        first: The first seed, which gets the whole grid, the control and what is drawn.
        device: Where to train.

    Returns:
        As :func:`measure`, and `mean_weight_direction`, `adam_cosine`, `split`; of the first seed
        `pictures` and `mirror`.

    """
    head, before = head_of(birds, "softmax", settings, seed=seed, device=device)
    adam, _ = head_of(birds, "softmax_adam", settings, seed=seed, device=device)
    task, weights = task_of_birds(birds, head), head.weight.detach()
    record = measure(task, weights, settings, seed=seed, everything=first)
    direction = F.cosine_similarity(weights.mean(0), before.mean(0), dim=0)
    record["mean_weight_direction"] = float(direction)
    record["adam_cosine"] = float(cosine_to_centred(adam.weight.detach()).mean())
    record["split"] = {
        "head": int((birds.images.is_train & ~birds.held).sum()),
        "held": int(birds.held.sum()),
        "test": len(task.splits[1]),
    }
    if first:
        record["pictures"] = pictures(task, record["grid"], settings)
        record["mirror"] = mirror(birds, head)
    return record


def mirror(birds: Birds, head: nn.Linear) -> dict[str, Any]:
    """How far maps lean to the right, in cells: half the distance to the mirrored image's map."""
    cub = birds.images
    index = (~cub.is_train).nonzero()[::EVERY, 0].tolist()
    images, targets = torch.stack([cub[i][0] for i in index]), cub.targets[index]

    def centre(images: Tensor) -> tuple[Tensor, int]:
        with torch.inference_mode():
            features = torch.cat([birds.backbone.module(part) for part in images.split(16)])
            found = class_activation_map(features, head.weight, targets)
        columns = found.clamp(min=0).sum(1)
        return (columns * torch.arange(columns.shape[1])).sum(1) / columns.sum(1), columns.shape[1]

    (here, cells), (there, _) = centre(images), centre(images.flip(3))
    return bootstrap_interval(((here - (cells - 1 - there)) / 2).double().numpy())


def pictures(task: Task, grid: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Maps to draw, without any photograph: birds by rule, and means over the test images."""
    test = task.splits[1]
    first = [int((task.targets[test] == k).nonzero()[0, 0]) for k in settings.drawn]
    examples = [
        {
            "class": int(task.targets[test[i]]) + 1,
            "box": task.boxes[test[i]].tolist(),
            "maps": {n: np.round(m[test[i]].numpy(), 4).tolist() for n, m in task.maps.items()},
        }
        for i in first
    ]
    size = (task.size, task.size)
    means = {"boxes": share_of_cells(task.boxes[test], (28, 28), size).mean(0)}
    for geometry in settings.main:
        if geometry.startswith("blur"):  # hardly to be told from none by eye
            continue
        total = torch.zeros(28, 28)
        for part in test.split(100):
            large = place(task.maps["cam"][part], geometry, task.size)
            low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
            total += F.avg_pool2d((large - low) / (high - low), task.size // 28).sum(0)
        means[geometry] = total / len(test)
    return {
        "examples": examples,
        "thresholds": {n: grid[n]["none"]["threshold"] for n in CONTRASTS},
        "means": {k: np.round(m.numpy(), 3).tolist() for k, m in means.items()},
    }


def run_scenes(
    settings: Settings, *, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Measure the network on scenes; also the classes of the scenes that choose and are judged."""
    learned = scene_network(seed)
    task = learned.task
    record = measure(task, learned.weights, settings, seed=seed, everything=True)
    held, test = task.splits
    return [record], {"train": learned.train.targets, "held": task.targets[held],
                      "test": task.targets[test]}  # fmt: skip


def run_birds(
    birds: Birds, settings: Settings, *, seed: int, device: str
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Measure the heads of all seeds on birds, each kept once it is whole; also the classes."""
    made_by = {
        "settings": asdict(settings),
        "data": birds.images.key,
        "backbone": birds.backbone.checksum,
        "code": code_digest(measure_birds),
    }

    def timed(s: int) -> dict[str, Any]:
        began = time.perf_counter()
        record = measure_birds(birds, settings, seed=s, first=s == seed, device=device)
        return record | {"seconds": time.perf_counter() - began}

    def kept(s: int) -> dict[str, Any]:
        return kept_unit(
            project_root() / "_build" / "full" / NAME, f"seed_{s}", made_by | {"seed": s},
            lambda _: timed(s),
        )  # fmt: skip

    records = [kept(s) for s in range(seed, seed + settings.seeds)]
    cub, held = birds.images, birds.held
    return records, {"train": cub.targets[cub.is_train & ~held], "held": cub.targets[held],
                     "test": cub.targets[~cub.is_train]}  # fmt: skip


def run(profile: Profile, *, seed: int = 0, device: str = "auto") -> dict[str, Any]:
    """Run the experiment and save its results; the full profile goes on where it was cut short.

    Args:
        profile: "smoke" for scenes, "full" for birds.
        seed: The first.
        device: "auto" takes CUDA where there is one; scenes are always on the CPU.

    Returns:
        The values of the result file; of the full profile, those of the finer maps.

    Raises:
        ValueError: An unknown profile.

    """
    if profile not in SETTINGS:
        raise ValueError(f"profile must be one of {sorted(SETTINGS)}, got {profile!r}")
    settings = SETTINGS[profile]
    if profile == "smoke":
        began = time.perf_counter()
        values, outcomes = collect(*run_scenes(settings, seed=seed))
        protocol = {
            "data": settings.data, "backbone": "GAPNet, trained", "input": "48",
            "cells": "12 x 12",
        }  # fmt: skip
        _save(NAME, values, outcomes, settings, "smoke", seed=seed, protocol=protocol,
              seconds=time.perf_counter() - began)  # fmt: skip
        return values
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    infocam_two_digits.run(seed)
    found = {cells: run_cells(cells, settings, seed=seed, device=device) for cells in FILES}
    return found[max(FILES)]


def run_cells(cells: int, settings: Settings, *, seed: int, device: str) -> dict[str, Any]:
    """Run the full profile on maps of so many cells a side, and save its result.

    Args:
        cells: A key of `FILES`: pictures are 32 times as large.
        settings: What to run.
        seed: The first.
        device: Where to compute features and train heads.

    Returns:
        The values of the result file.

    """
    birds = load_birds(CELL * cells, device)
    records, classes = run_birds(birds, settings, seed=seed, device=device)
    values, outcomes = collect(records, classes)
    cub, backbone = birds.images, birds.backbone
    known = {50: "CUB-50 (classes 1-50 of CUB-200-2011)", 200: "CUB-200-2011"}
    protocol = {
        "data": known.get(cub.classes, f"CUB, {cub.classes} classes"),
        "backbone": "MobileNetV2, frozen", "weights": backbone.weights,
        "input": f"{CELL * cells}, aspect not kept; boxes judged at {birds.size}",
        "cells": f"{cells} x {cells}",
    }  # fmt: skip
    saved: dict[str, Any] = {
        "seed": seed, "protocol": protocol, "seconds": sum(r["seconds"] for r in records),
        "device": device, "data": cub.checksums | {backbone.weights: backbone.checksum},
    }  # fmt: skip
    _save(FILES[cells], values, outcomes, settings, "full", **saved)
    drawn = records[0]["pictures"]
    _save(f"{FILES[cells]}_maps", drawn, None, settings, "full", **saved)
    return values


def _save(
    name: str, values: Mapping[str, Any], outcomes: Outcomes | None, settings: Settings,
    profile: Profile, *, seed: int, protocol: Mapping[str, str], seconds: float,
    device: str = "cpu", data: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    common = {
        "head": "linear, SGD momentum 0.9, softmax", "enlarged": "bicubic",
        "iou": "exclusive pixels", "threshold": "chosen on held-out images",
    }  # fmt: skip
    kept = "" if outcomes is None else save_outcomes(name, outcomes, profile)
    save_result(
        name, values, protocol=common | dict(protocol), profile=profile, device=device, data=data,
        seeds=range(seed, seed + settings.seeds), seconds=seconds, outcomes=kept,
    )  # fmt: skip
