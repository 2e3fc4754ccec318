"""Chapter 08, every map judged in the same way: contrast, window, head, network, cells, data set.

A run trains heads on frozen features (:mod:`softmi.experiments.localisation_audit_data`), makes
the maps of all of them in one pass over the images, and keeps for each cell of the grid whether
each image is right at each threshold. From these come all numbers
(:mod:`softmi.experiments.localisation_audit_summary`), also those that the authors' evaluation
would have printed (:mod:`softmi.experiments.published_code`). Thresholds, rates and sides of boxes
are chosen on images that are put aside.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from softmi.evidence.outcomes import Outcomes, save_outcomes
from softmi.evidence.results import Profile, load_result, project_root, save_result
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.localisation import CONTRASTS, HEADS, Task, describe_head
from softmi.experiments.localisation_accuracy import evaluate
from softmi.experiments.localisation_audit_controls import boxes_at, controls
from softmi.experiments.localisation_audit_data import Source, StreamedMaps, source_of
from softmi.experiments.localisation_audit_heads import (
    choose_rates,
    learn_head,
    logits_of,
    maps_of_part,
    pool_part,
)
from softmi.experiments.localisation_audit_summary import (
    MAIN,
    compare,
    of_all_networks,
    summarise_network,
)

NAME = "08_localisation_audit"
FILES = {
    "scenes": f"{NAME}_scenes",
    "CUB-50": f"{NAME}_cub50",
    "CUB-50, 14 cells": f"{NAME}_cub50_14_cells",
    "Tiny-ImageNet": f"{NAME}_tiny",
    "Tiny-ImageNet, 14 cells": f"{NAME}_tiny_14_cells",
}
INPUT = {
    "scenes": "64",
    "CUB-50": "224, aspect not kept; boxes judged at 112",
    "CUB-50, 14 cells": "448, aspect not kept; boxes judged at 112",
    "Tiny-ImageNet": "64, enlarged to 128; boxes judged at 64",
    "Tiny-ImageNet, 14 cells": "64, enlarged to 224, last stride taken away; boxes judged at 64",
}
# Sides of the window sum in cells: the authors' on birds and on Tiny-ImageNet.
WINDOWS = {
    "scenes": 3,
    "CUB-50": 4,
    "CUB-50, 14 cells": 4,
    "Tiny-ImageNet": 3,
    "Tiny-ImageNet, 14 cells": 3,
}
FINER = ", 14 cells"
PART = 2000  # images of a unit of a streamed source


@dataclass(frozen=True)
class Settings:
    """What a profile runs.

    Attributes:
        networks: Names of the networks by data set.
        heads: Names of `softmi.experiments.localisation.HEADS`.
        thresholds: T score thresholds, steps of 1 / T.
        seeds: Of each head.
        epochs: Of the heads.
        batch_sizes: Of the authors' evaluation, by the beginning of the data set's name.

    """

    networks: Mapping[str, tuple[str, ...]]
    heads: tuple[str, ...]
    thresholds: int
    seeds: int
    epochs: int
    batch_sizes: Mapping[str, tuple[int, ...]]


SETTINGS: dict[Profile, Settings] = {
    "smoke": Settings(
        networks={"scenes": ("GAPNet 8",)},
        heads=("softmax", "softmax_adam"),
        thresholds=10,
        seeds=1,
        epochs=8,
        batch_sizes={"scenes": (30,)},
    ),
    "full": Settings(
        networks={
            "CUB-50": ("MobileNetV2", "EfficientNet-Lite0", "SqueezeNet"),
            "CUB-50, 14 cells": ("MobileNetV2", "EfficientNet-Lite0"),
            "Tiny-ImageNet": ("MobileNetV2", "EfficientNet-Lite0", "SqueezeNet"),
            "Tiny-ImageNet, 14 cells": ("MobileNetV2", "EfficientNet-Lite0"),
        },
        heads=("softmax", "softmax_adam", "pc_softmax_skewed"),
        thresholds=20,
        seeds=3,
        epochs=30,
        batch_sizes={"CUB-50": (30, 128), "Tiny-ImageNet": (640, 1280)},
    ),
}


def geometries_of(data: str, head: str = "", contrast: str = "") -> list[str]:
    """How maps are laid over the picture, as `softmi.experiments.localisation.place` does.

    Every map without a window and in the authors'; those that the claims are about, of the main
    head, also with each ingredient of the window alone.
    """
    window = WINDOWS[data]
    whole = head == MAIN and contrast in ("cam", "infocam", "infocam_plus")
    ingredients = ("blur", "shrink") if whole else ()
    return ["none", *(f"{kind}_{window}" for kind in ("padded", *ingredients))]


def measure(
    source: Source,
    data: str,
    head: str,
    learned: Mapping[str, Tensor],
    maps: Mapping[str, Tensor],
    *,
    seed: int,
    thresholds: int,
) -> dict[str, Any]:
    """Judge the maps of one head.

    Args:
        source: The data.
        data: Its name.
        head: Name of the head.
        learned: What :func:`learn_head` gave for it.
        maps: Its maps by contrast, of the images that choose or are judged.
        seed: Of the controls.
        thresholds: T score thresholds.

    Returns:
        `cells` by contrast and geometry, what :func:`evaluate` finds with V2; `head`, as
        :func:`describe_head` gives; `alike`, the correlation of the cells of each map with those
        of CAM, image by image; `recognised`, image by image; and of the main head `controls` and
        `boxes`, those of infoCAM without a window.

    """
    seen = source.seen
    logits, targets = logits_of(source, head, learned, seen), source.targets[seen]
    task = Task(maps, logits, targets, source.boxes[seen], source.held[seen], source.size)
    test = task.splits[1]
    cells = {
        f"{name} {geometry}": evaluate(task, name, geometry, thresholds, v2=True)
        for name in CONTRASTS
        for geometry in geometries_of(data, head, name)
    }
    flat = {n: m[test].flatten(1) - m[test].flatten(1).mean(1, keepdim=True)
            for n, m in maps.items()}  # fmt: skip
    record: dict[str, Any] = {
        "cells": cells,
        "head": describe_head(task, learned["weight"]),
        "alike": {n: F.cosine_similarity(flat["cam"], m).double() for n, m in flat.items()},
        "recognised": logits[test].argmax(1) == targets[test],
    }
    if head == MAIN:
        chosen = cells["infocam none"]["threshold"]
        record["controls"] = controls(task, window=WINDOWS[data], thresholds=thresholds, seed=seed)
        record["boxes"] = boxes_at(task, "infocam", [chosen])[test, 0]
    return record


def run_network(
    data: str, network: str, settings: Settings, *, seed: int = 0, device: str = "cpu",
    keep: bool = False,
) -> tuple[dict[str, Any], Outcomes, dict[str, str], float]:  # fmt: skip
    """All heads of one network on one data set: values, outcomes, checksums and seconds.

    Seconds are those of the units, whenever they were computed.

    Args:
        data: Name of the data set.
        network: Name of the network.
        settings: What to run.
        seed: The first.
        device: Where to compute.
        keep: Compute each unit once and keep it; where a run is interrupted, the next goes on.

    """
    source = source_of(data, network, seed=seed, device=device)
    folder = project_root() / "_build" / "full" / NAME
    label = f"{data}-{network}".replace(", ", "-").replace(" ", "-")
    tops = (pool_part, choose_rates, learn_head, maps_of_part, measure)
    made_by = {"data": source.checksums, "sizes": [source.size, source.split]}
    codes = [code_digest(top) for top in tops] if keep else []
    seeds, epochs = range(seed, seed + settings.seeds), settings.epochs

    spent = []

    def unit(
        name: str, top: Callable[..., Any], compute: Callable[[], dict[str, Any]], **depends: Any
    ) -> dict[str, Any]:
        def timed() -> dict[str, Any]:
            began = time.perf_counter()
            return compute() | {"seconds": time.perf_counter() - began}

        needs = {"codes": codes[: tops.index(top) + 1]}  # and of what came before
        found = timed() if not keep else kept_unit(
            folder, f"{label}-{name}", made_by | needs | depends, lambda _: timed()
        )  # fmt: skip
        spent.append(found.pop("seconds"))
        return found

    if isinstance(source.features, StreamedMaps):
        rows = source.used.split(PART)
        pooled = [
            unit(f"pooled-{i}", pool_part, partial(pool_part, source, part))["pooled"]
            for i, part in enumerate(rows)
        ]
        averages = torch.zeros(len(source.targets), pooled[0].shape[1])
        averages[source.used] = torch.cat(pooled)
        source = replace(source, averages=averages)
    by = {"seed": seed, "epochs": epochs}
    rates = unit("rates", choose_rates, partial(choose_rates, source, **by, device=device), **by)

    def head_of(head: str, s: int) -> dict[str, Any]:
        rate = rates[HEADS[head].optimizer]["rate"]
        learn = partial(learn_head, source, head, rate=rate, seed=s, epochs=epochs, device=device)
        return unit(f"{head}-{s}-head", learn_head, learn, **by)

    learned = {(head, s): head_of(head, s) for head in settings.heads for s in seeds}
    made_of = {"heads": settings.heads, "seeds": list(seeds), "epochs": epochs}

    parts = [
        unit(f"maps-{i}", maps_of_part, partial(maps_of_part, source, learned, rows), **made_of)
        for i, rows in enumerate(source.seen.split(PART))
    ]

    def judged(head: str, s: int) -> dict[str, Any]:
        of_head = [part[f"{head}-{s}"] for part in parts]
        maps = {name: torch.cat([of[name] for of in of_head]) for name in CONTRASTS}
        return measure(
            source, data, head, learned[head, s], maps,
            seed=s, thresholds=settings.thresholds,
        )  # fmt: skip

    records = {
        (head, s): unit(f"{head}-{s}", measure, partial(judged, head, s), **made_of,
                        thresholds=settings.thresholds)
        for head, s in learned
    }  # fmt: skip
    again, first = head_of("pc_softmax", seed)["weight"], learned[MAIN, seed]["weight"]
    batch_sizes = settings.batch_sizes[data.partition(",")[0]]
    values, outcomes = summarise_network(records, source, batch_sizes)
    values |= {
        "rates": rates,
        # With equally many images of each class the two losses are one: rounding only.
        "pc_from_softmax": float((again - first).norm() / first.norm()),
    }
    return values, outcomes, source.checksums, sum(spent)


def run(profile: Profile, *, seed: int = 0, device: str = "cpu") -> dict[str, dict[str, Any]]:
    """Run a profile, save a result for each data set, and return their values.

    Args:
        profile: "smoke", which computes everything anew on the CPU, or "full", which resumes.
        seed: The first.
        device: Where features are computed and heads trained; "auto" for a GPU if there is one.

    Returns:
        By data set and network, the values of the result files `FILES`.

    """
    settings = SETTINGS[profile]
    if profile == "smoke":
        device = "cpu"
    elif device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    values: dict[str, dict[str, Any]] = {}
    outcomes: dict[str, Outcomes] = {}
    for data in settings.networks:
        coarse = outcomes.get(data.removesuffix(FINER)) if data.endswith(FINER) else None
        values[data], outcomes[data] = run_data(
            data, settings, profile, seed=seed, device=device, coarse=coarse
        )
    return values


def run_data(
    data: str, settings: Settings, profile: Profile, *, seed: int, device: str,
    coarse: Outcomes | None = None,
) -> tuple[dict[str, Any], Outcomes]:  # fmt: skip
    """Run all networks on one data set, and save its result.

    Args:
        data: A key of `FILES`.
        settings: What to run.
        profile: "smoke" or "full".
        seed: The first.
        device: Where to compute.
        coarse: Outcomes of the same networks and images in coarser cells, to compare with.

    Returns:
        Its values by network, and the outcomes of all networks.

    """
    networks, seconds = settings.networks[data], 0.0
    values: dict[str, Any] = {}
    found: dict[str, Outcomes] = {}
    checksums: dict[str, str] = {}
    for network in networks:
        values[network], found[network], sums, spent = run_network(
            data, network, settings, seed=seed, device=device, keep=profile == "full"
        )
        checksums, seconds = checksums | sums, seconds + spent
    outcomes = of_all_networks(found)
    if coarse is not None:
        for network in networks:
            head = f"{network}/{MAIN}"
            values[network]["minus_coarse"] = compare(outcomes, head, coarse, head)
    protocol = {
        "data": data.partition(",")[0], "backbone": "frozen", "networks": ", ".join(networks),
        "input": INPUT[data], "head": "linear", "threshold": "chosen on held-out images",
        "iou": "exclusive pixels", "enlarged": "bicubic", "window": str(WINDOWS[data]),
    }  # fmt: skip
    save_result(
        FILES[data], values, protocol=protocol, profile=profile, device=device,
        seeds=list(range(seed, seed + settings.seeds)), data=checksums,
        seconds=seconds,
        outcomes=save_outcomes(FILES[data], outcomes, profile),
    )  # fmt: skip
    return values, outcomes


def archived() -> dict[str, dict[str, Any]]:
    """Return the values of the archived full run by data set and network.

    Of those data sets that have been run: each has a result of its own.

    Raises:
        FileNotFoundError: None has been run yet.

    """
    found, missing = {}, None
    for data in SETTINGS["full"].networks:
        try:
            found[data] = load_result(FILES[data])["values"]
        except FileNotFoundError as error:
            missing = error
    if not found and missing:
        raise missing
    return found
