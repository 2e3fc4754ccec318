"""What the library says about the figures of book/play.md, whose numbers and pictures are kept."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from softmi import (
    GaussianClasses,
    MaxBoxAccuracy,
    boxes_from_score_maps,
    class_activation_map,
    contrast_weights,
    long_tailed_prior,
    map_to_picture,
    pointwise_mutual_information,
)
from softmi.datasets import digit_scenes
from softmi.models import GAPNet
from tools.notebooks import ROOT

STATIC = ROOT / "book" / "_static"
FILE = STATIC / "play-data.js"
# Chapter 07's network, trained on 1,200 of its scenes; weights in half precision.
NETWORK = Path(__file__).parent / "data" / "play_network.npz"
METHODS = {  # the key of a line or a map, and the method whose colour it has
    "truth": "truth",
    "log_m": "softmax + log M",
    "entropy": "softmax + H(Y)",
    "pc": "PC-softmax",
    "cam": "CAM",
    "infocam": "infoCAM",
    "infocam_plus": "infoCAM+",
    "rivals_1": "rivals",
    "rivals_3": "rivals",
    "true_box": "true box",
}

# The class prior

POSITIONS = 41  # of the slider: the imbalance factor goes from 1 to 100 in equal ratios
# Factor on the logits, and whether the classifier was made for even classes.
CLASSIFIERS = {
    "best": (1.0, False),
    "cautious": (0.5, False),
    "sure": (2.0, False),
    "even": (1.0, True),
}


def load() -> dict:
    """The numbers that are kept: a script that assigns them."""
    return json.loads(FILE.read_text(encoding="utf-8").partition(" = ")[2].rstrip().rstrip(";"))


def task_at(position: int) -> GaussianClasses:
    """The paper's five Gaussians on a line, with a long-tailed prior."""
    means = GaussianClasses.five_on_a_line(1).means
    return GaussianClasses(means, long_tailed_prior(5, 100 ** (position / (POSITIONS - 1))))


def classifier_logits(task: GaussianClasses, classifier: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of a plain classifier and of a prior-corrected one, shape (points, classes) each."""
    scale, for_even = CLASSIFIERS[classifier]
    ideal = task.log_likelihoods(x)
    return scale * (ideal if for_even else ideal + task.prior.log()), scale * ideal


# Scenes and their maps

CONTRASTS = {  # as in chapter 07
    "cam": {"contrast": "none"},
    "infocam": {"contrast": "mean"},
    "infocam_plus": {"contrast": "least"},
    "rivals_1": {"contrast": "rivals", "rivals": 1},
    "rivals_3": {"contrast": "rivals", "rivals": 3},
}
SCENES, SHOWN, THRESHOLDS, SIZE = 400, 6, 50, 48
UNIT = 1e-4  # maps are kept in whole tenths of a millinat, and all that follows uses these


def network() -> tuple[GAPNet, Tensor]:
    """The kept network, and the prior of the scenes that it was trained on."""
    with np.load(NETWORK) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    counts = state.pop("counts").double()
    net = GAPNet(10, width=16)
    net.load_state_dict(state)  # copies half into single precision
    return net.eval(), counts / counts.sum()


def others(logits: Tensor, targets: Tensor, name: str) -> list[list[int]]:
    """Classes that each map subtracts: none, all others, the least likely or the likeliest."""
    ranked = logits.scatter(1, targets[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
    count = CONTRASTS[name].get("rivals")
    picked = {"none": ranked[:, :0], "mean": ranked, "least": ranked[:, -1:]}
    return picked.get(CONTRASTS[name]["contrast"], ranked[:, :count]).tolist()


def enlarge(maps: Tensor) -> Tensor:
    """Maps in whole units as scores of the picture's pixels, (images, SIZE, SIZE)."""
    return map_to_picture(UNIT * maps.double(), SIZE)


def scene_data() -> dict:
    """Scenes, maps, their boxes at every threshold, and how many scenes come out right."""
    net, prior = network()
    scenes = digit_scenes(SCENES, torch.Generator().manual_seed(1), split="test")
    with torch.no_grad():
        parts = [net(batch) for batch in scenes.images.split(100)]
        logits, features = (torch.cat(part) for part in zip(*parts, strict=True))
        weight, bias = net.head.weight.detach(), net.head.bias.detach().double()
    right = logits.argmax(1) == scenes.targets
    shown = [*range(SHOWN - 1), int((~right[SHOWN:]).nonzero()[0]) + SHOWN]  # the last is misread
    targets, pmi = scenes.targets, pointwise_mutual_information(logits.double(), prior)
    found = {
        "thresholds": THRESHOLDS,
        "count": SCENES,
        "accuracy": float(right.double().mean()),
        "curves": {},
        "scenes": [
            {
                "digit": int(targets[i]),
                "predicted": int(logits[i].argmax()),
                "box": [int(v) for v in scenes.boxes[i]],
                # Sixteen greys, a hexadecimal digit each.
                "image": "".join(f"{int(v):x}" for v in (15 * scenes.images[i]).round().flatten()),
                "maps": {},
            }
            for i in shown
        ],
    }
    for name, contrast in CONTRASTS.items():
        maps = class_activation_map(features, weight, targets, logits=logits, **contrast)
        maps = (maps.double() / UNIT).round()
        metric = MaxBoxAccuracy(thresholds=THRESHOLDS)
        metric.update(enlarge(maps), scenes.boxes)
        found["curves"][name] = metric.correct_counts[0].tolist()
        steps = metric.score_thresholds.tolist()
        scores = enlarge(maps[shown])
        boxes = torch.stack([boxes_from_score_maps(scores, t) for t in steps], dim=1)
        head = contrast_weights(bias[:, None], targets, logits=logits, **contrast)[:, 0]
        against = others(logits, targets, name)
        for i, scene, box in zip(shown, found["scenes"], boxes, strict=True):
            y, r = targets[i], against[i]
            scene["maps"][name] = {
                "cells": maps[i].int().flatten().tolist(),
                "boxes": box.flatten().tolist(),
                "against": r,
                "bias": round(float(head[i]), 4),
                # What the cells and the bias account for: a logit, or a difference of PMIs.
                **({"logit": round(float(logits[i, y]), 4)} if not r else {
                    "prior": round(float(prior.log()[y] - prior.log()[r].mean()), 4),
                    "pmi": round(float(pmi[i, y] - pmi[i, r].mean()), 4),
                }),
            }  # fmt: skip
    return found
