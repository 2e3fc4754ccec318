"""Chapter 08, every map judged in the same way: contrast, geometry, head, network, data set.

A run trains heads on frozen features (:mod:`softmi.experiments.localisation_audit_data`), makes
their maps, and keeps for each cell of the grid whether each test image is right. From these come
all numbers (:mod:`softmi.experiments.localisation_audit_summary`), also those that the authors'
evaluation would have printed (:mod:`softmi.experiments.published_code`). Thresholds, rates and
sides of boxes are chosen on images that are put aside.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor, nn

from softmi.evidence.results import Profile, load_result, project_root, save_result
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.localisation import (
    CONTRASTS,
    HEADS,
    RATES,
    HeadKind,
    Task,
    choose_rate,
    contrast_maps,
    describe_head,
    moved_boxes,
    place,
    train_head,
)
from softmi.experiments.localisation_accuracy import evaluate
from softmi.experiments.localisation_audit_data import Source, source_of
from softmi.experiments.localisation_audit_summary import MAIN, Outcomes, summarise_network
from softmi.losses.priors import adjust_logits
from softmi.maps import LocalizationAccuracy, box_iou, boxes_from_score_maps
from softmi.training.loop import predict_logits

NAME = "08_localisation_audit"
FILES = {
    "scenes": f"{NAME}_scenes",
    "CUB-50": f"{NAME}_cub50",
    "Tiny-ImageNet": f"{NAME}_tiny",
}
INPUT = {
    "scenes": "64",
    "CUB-50": "224, aspect not kept; boxes judged at 112",
    "Tiny-ImageNet": "64, enlarged to 128; boxes judged at 64",
}


@dataclass(frozen=True)
class Settings:
    """What a profile runs.

    Attributes:
        networks: Names of the networks by data set.
        heads: Names of `softmi.experiments.localisation.HEADS`.
        windows: Sides of the window sum in cells.
        thresholds: T score thresholds, steps of 1 / T.
        seeds: Of the main head without a window; all else has the first alone.
        epochs: Of the heads.
        batch_sizes: Of the authors' evaluation, by data set.

    """

    networks: Mapping[str, tuple[str, ...]]
    heads: tuple[str, ...]
    windows: tuple[int, ...]
    thresholds: int
    seeds: int
    epochs: int
    batch_sizes: Mapping[str, tuple[int, ...]]

    @property
    def geometries(self) -> list[str]:
        """How maps are laid over the picture, as `softmi.experiments.localisation.place` does."""
        kinds = ("padded", "blur", "shrink")
        return ["none", *(f"{kind}_{window}" for kind in kinds for window in self.windows)]


SETTINGS: dict[Profile, Settings] = {
    "smoke": Settings(
        networks={"scenes": ("GAPNet 16", "GAPNet 8")},
        heads=("softmax", "softmax_adam"),
        windows=(3,),
        thresholds=10,
        seeds=1,
        epochs=8,
        batch_sizes={"scenes": (30,)},
    ),
    "full": Settings(
        networks=dict.fromkeys(("CUB-50", "Tiny-ImageNet"), ("MobileNetV2", "SqueezeNet")),
        heads=("softmax", "softmax_adam", "softmax_skewed", "pc_softmax_skewed"),
        windows=(3, 4),
        thresholds=20,
        seeds=3,
        epochs=30,
        batch_sizes={"CUB-50": (30, 128), "Tiny-ImageNet": (640, 1280)},
    ),
}


def task_of(
    source: Source, kind: HeadKind, *, rate: float, seed: int, epochs: int, device: str = "cpu"
) -> tuple[nn.Linear, Task]:
    """Train one head on frozen features, and make the maps that are judged.

    Args:
        source: The data.
        kind: How the head is trained.
        rate: Learning rate at the start.
        seed: Of first weights and the order of the data.
        epochs: Passes over the data.
        device: Where to train.

    """
    learn, seen = source.learn, source.held | source.test
    head, _, prior = train_head(
        source.pooled[learn], source.targets[learn], kind,
        rate=rate, seed=seed, epochs=epochs, device=device,
    )  # fmt: skip
    logits, targets = predict_logits(head, source.pooled[seen]), source.targets[seen]
    if not kind.prior_corrected:
        logits = adjust_logits(logits.double(), train_prior=prior)
    index = seen.nonzero()[:, 0]
    maps = contrast_maps(source.features, head.weight, targets, logits, index=index)
    held = source.held[seen]
    return head, Task(maps, logits, targets, source.boxes[seen], held, source.size)


def boxes_at(
    task: Task, name: str, thresholds: Sequence[float], *, batch_size: int = 100
) -> Int[Tensor, "images thresholds 4"]:
    """Boxes of maps without a window at given score thresholds.

    Args:
        task: Holds the maps.
        name: Which maps.
        thresholds: Shares of a map's maximum, in [0, 1).
        batch_size: Images at a time.

    """
    parts: list[Tensor] = []
    for maps in task.maps[name].split(batch_size):
        large = place(maps, "none", task.size)
        parts.append(torch.stack([boxes_from_score_maps(large, t) for t in thresholds], dim=1))  # type: ignore[misc]
    return torch.cat(parts)


def hits_at_chosen_threshold(
    task: Task, boxes: Num[Tensor, "images thresholds 4"]
) -> Bool[Tensor, " test"]:
    """Whether each test image is right, at the threshold that is best for held-out images.

    For boxes that are no map's; :class:`softmi.BoxAccuracy` is the same for maps.

    Args:
        task: True boxes, and the division of the images.
        boxes: Those of each threshold.

    """
    held, test = task.splits
    accuracy = []
    for at in boxes[held].unbind(1):
        metric = LocalizationAccuracy(top_k=None)
        metric.update(at, task.targets[held], task.targets[held], task.boxes[held])
        accuracy.append(float(metric.compute()))
    chosen = boxes[test, accuracy.index(max(accuracy))]
    return box_iou(chosen, task.boxes[test]) >= 0.5


def controls(
    task: Task, *, window: int, thresholds: int, seed: int
) -> dict[str, Bool[Tensor, " test"]]:
    """Where other boxes than those of the window sum are right, image by image.

    The boxes of plain CAM as they are, made smaller about their own centre by the factor of a
    window, moved to the middle, or both, each with a threshold of its own; and another image's
    CAM, with and without shrinking.

    Args:
        task: Maps, boxes, and the division of the images.
        window: Side in cells of the window whose factor is taken.
        thresholds: T score thresholds.
        seed: Of who gets whose map.

    """
    cells = task.maps["cam"].shape[-1]
    factor = cells / (cells + window - 1)
    changes = {
        "as they are": {},
        "smaller": {"scale": factor},
        "nearer the middle": {"pull": 1 - factor},
        "both": {"scale": factor, "pull": 1 - factor},
    }
    boxes = boxes_at(task, "cam", [t / thresholds for t in range(thresholds)]).float()
    found = {
        name: hits_at_chosen_threshold(task, moved_boxes(boxes, task.size, **change))
        for name, change in changes.items()
    }
    strangers = task.with_strangers(seed=seed)
    for geometry in ("none", f"shrink_{window}"):
        hits = evaluate(strangers, "cam", geometry, thresholds)["hits"]
        found[f"another image's CAM, {geometry}"] = hits
    return found


def measure(
    source: Source, head_name: str, settings: Settings, *,
    rate: float, seed: int, first: bool = True, device: str = "cpu",
) -> dict[str, Any]:  # fmt: skip
    """Train one head and judge its maps.

    Args:
        source: The data.
        head_name: Name of one of `HEADS`.
        settings: Geometries, thresholds, epochs.
        rate: Learning rate at the start.
        seed: Of the head, and of the controls.
        first: Judge all geometries, and not maps without a window alone; with the main head also
            the controls, the boxes of infoCAM, and how far PC-softmax trains another head.
        device: Where to train.

    Returns:
        `cells` by contrast and geometry, what :func:`evaluate` finds; `head`, as
        :func:`describe_head` gives; and of the first seed of the main head `controls`,
        `pc_from_softmax`, `boxes`.

    """
    kind, thresholds = HEADS[head_name], settings.thresholds
    head, task = task_of(source, kind, rate=rate, seed=seed, epochs=settings.epochs, device=device)
    weights = head.weight.detach()
    geometries = settings.geometries if first else ["none"]
    cells = {f"{n} {g}": evaluate(task, n, g, thresholds) for n in CONTRASTS for g in geometries}
    record: dict[str, Any] = {"cells": cells, "head": describe_head(task, weights)}
    if first and head_name == MAIN:
        window, chosen = settings.windows[-1], cells["infocam none"]["threshold"]
        again, _ = task_of(source, HEADS["pc_softmax"], rate=rate, seed=seed,
                           epochs=settings.epochs, device=device)  # fmt: skip
        record["controls"] = controls(task, window=window, thresholds=thresholds, seed=seed)
        moved = again.weight.detach() - weights
        record["pc_from_softmax"] = float(moved.norm() / weights.norm())  # rounding only
        record["boxes"] = boxes_at(task, "infocam", [chosen])[task.splits[1], 0]
    return record


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


def run_network(
    data: str, network: str, settings: Settings, *, seed: int = 0, device: str = "cpu",
    keep: bool = False,
) -> tuple[dict[str, Any], dict[str, str]]:  # fmt: skip
    """All heads of one network on one data set: the values of its result, and checksums.

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
    label = f"{data}-{network}".replace(" ", "-")
    made_by = {"settings": asdict(settings), "data": source.checksums}
    codes = {top.__name__: code_digest(top) for top in (choose_rates, measure)} if keep else {}

    def unit(name: str, top: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
        if not keep:
            return top(source, **arguments, device=device)
        plain = {k: v for k, v in arguments.items() if k != "settings"}
        depends = made_by | {"code": codes[top.__name__], "arguments": plain}
        return kept_unit(folder, f"{label}-{name}", depends,
                         lambda _: top(source, **arguments, device=device))  # fmt: skip

    rates = unit("rates", choose_rates, seed=seed, epochs=settings.epochs)
    records = {}
    for head in settings.heads:
        rate = rates[HEADS[head].optimizer]["rate"]
        for s in range(seed, seed + (settings.seeds if head == MAIN else 1)):
            records[head, s] = unit(f"{head}-{s}", measure, head_name=head, settings=settings,
                                    rate=rate, seed=s, first=s == seed)  # fmt: skip
    batch_sizes = settings.batch_sizes[data]
    values = summarise_network(Outcomes(records, source), settings.geometries, batch_sizes)
    return values | {"rates": rates}, source.checksums


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
    for data, networks in settings.networks.items():
        started = time.perf_counter()
        checksums: dict[str, str] = {}
        values[data] = {}
        for network in networks:
            values[data][network], sums = run_network(
                data, network, settings, seed=seed, device=device, keep=profile == "full"
            )
            checksums |= sums
        protocol = {
            "data": data, "backbone": "frozen", "networks": ", ".join(networks),
            "input": INPUT[data], "head": "linear", "threshold": "chosen on held-out images",
            "iou": "exclusive pixels", "enlarged": "bicubic",
        }  # fmt: skip
        save_result(
            FILES[data], values[data], protocol=protocol, profile=profile, device=device,
            seeds=list(range(seed, seed + settings.seeds)), data=checksums,
            seconds=time.perf_counter() - started,
        )  # fmt: skip
    return values


def archived() -> dict[str, dict[str, Any]]:
    """Return the values of the archived full run by data set and network.

    Raises:
        FileNotFoundError: Not run yet.

    """
    return {data: load_result(FILES[data])["values"] for data in SETTINGS["full"].networks}


def evaluate_blind_maps(seed: int = 0, *, images: int = 400) -> dict[str, dict[str, Any]]:
    """Judge two maps that have not seen the picture, by boxes as photographers take them.

    Sides of boxes are uniform in [0.3, 0.9] of the picture's, their places near the middle. The
    map *noise* is a random number in each of 6 x 6 cells; the *hill* falls evenly from the middle
    to the border. Every second image chooses.

    Args:
        seed: Of boxes and noise.
        images: How many.

    Returns:
        By map, what :func:`evaluate` finds.

    """
    draw = torch.Generator().manual_seed(seed)
    sides = 64 * (0.3 + 0.6 * torch.rand(images, 2, generator=draw))
    corner = (64 - sides) * (0.25 + 0.5 * torch.rand(images, 2, generator=draw))
    axis = torch.linspace(-1, 1, 16)
    hill = 1 - torch.maximum(axis[:, None].abs(), axis.abs())
    maps = {"noise": torch.rand(images, 6, 6, generator=draw), "hill": hill.expand(images, 16, 16)}
    boxes, held = torch.cat([corner, corner + sides], dim=1), torch.arange(images) % 2 == 0
    task = Task(maps, torch.zeros(images, 10), torch.zeros(images).long(), boxes, held, 64)
    return {name: evaluate(task, name, "none", thresholds=20) for name in maps}
