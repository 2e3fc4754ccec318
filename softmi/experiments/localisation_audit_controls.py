"""Controls of chapter 08: boxes of CAM moved or made smaller, maps of others, and of nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi.experiments.localisation import Task, moved_boxes, place
from softmi.experiments.localisation_accuracy import evaluate
from softmi.maps import box_iou, boxes_from_score_maps


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


def hits_of_boxes(task: Task, boxes: Float[Tensor, "images thresholds 4"]) -> dict[str, Tensor]:
    """Whether boxes are right at each threshold, for the images that choose and those judged.

    For boxes that are no map's; :func:`evaluate` gives the same for maps.

    Args:
        task: True boxes, and the division of the images.
        boxes: Those of each threshold.

    """
    hits = torch.stack([box_iou(at, task.boxes) >= 0.5 for at in boxes.unbind(1)], dim=1)
    held, test = task.splits
    return {"held_hits": hits[held], "test_hits": hits[test]}


def controls(task: Task, *, window: int, thresholds: int, seed: int) -> dict[str, Any]:
    """Where other boxes than those of the window sum are right, image by image.

    The boxes of plain CAM as they are, made smaller about their own centre by the factor of a
    window, moved to the middle, or both, each with a threshold of its own; and another image's
    CAM, with and without shrinking.

    Args:
        task: Maps, boxes, and the division of the images.
        window: Side in cells of the window whose factor is taken.
        thresholds: T score thresholds.
        seed: Of who gets whose map.

    Returns:
        By control, `held_hits` and `test_hits`, right or not at each threshold.

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
        name: hits_of_boxes(task, moved_boxes(boxes, task.size, **change))
        for name, change in changes.items()
    }
    strangers = task.with_strangers(seed=seed)
    for geometry in ("none", f"shrink_{window}"):
        judged = evaluate(strangers, "cam", geometry, thresholds)
        found[f"another image's CAM, {geometry}"] = {
            key: judged[key] for key in ("held_hits", "test_hits")
        }
    return found


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
    return {name: evaluate(task, name, "none", thresholds=20, v2=True) for name in maps}
