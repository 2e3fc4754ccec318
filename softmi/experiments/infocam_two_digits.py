"""Two digits in one scene: how many nats of each map lie in the box of the digit it explains.

Networks that have seen scenes of one digit look at scenes of two. A map of the first digit should
hold what speaks for it in its own box. Every seed is another network; all look at the same scenes.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from softmi.evidence.results import save_result
from softmi.evidence.statistics import crossed_interval
from softmi.experiments.infocam_data import scene_network, two_digits

NAME = "07_infocam_two_digits"
SEEDS, SCENES = 5, 1000
OfScenes = Float[np.ndarray, "_seeds _scenes"]
Nats = Mapping[str, tuple[OfScenes, OfScenes]]


def nats_in_boxes(seeds: Sequence[int], scenes: int = SCENES, *, epochs: int = 7) -> Nats:
    """Nats of each map in the box of the digit that is explained, and in that of the other.

    Args:
        seeds: One network each, trained on scenes of its own.
        scenes: With two digits, the same for all networks: those that follow the first's.
        epochs: Of each network.

    """
    networks = [scene_network(seed, epochs=epochs) for seed in seeds]
    found = [two_digits(net, scenes, random=networks[0].random).inside for net in networks]

    def stacked(name: str, box: int) -> OfScenes:
        return np.stack([one[name][box].double().numpy() for one in found])

    return {name: (stacked(name, 0), stacked(name, 1)) for name in found[0]}


def summarise_nats(nats: Nats) -> dict[str, Any]:
    """Values of the result file, with intervals over networks and scenes.

    Returns:
        By map `own` and `other`, mean nats in the two boxes; `more_in_own`, the share of scenes
        where the first are more; and in `leak` the nats in the other's box, less those of infoCAM.

    """
    values: dict[str, Any] = {
        name: {
            "own": crossed_interval(own),
            "other": crossed_interval(other),
            "more_in_own": crossed_interval((own > other).astype(float)),
        }
        for name, (own, other) in nats.items()
    }
    values["leak"] = {
        name: crossed_interval(other - nats["infocam"][1])
        for name, (_, other) in nats.items()
        if name != "infocam"
    }
    return values


def run(seed: int = 0) -> dict[str, Any]:
    """Train the networks of five seeds, save the result, and return its values.

    Args:
        seed: The first.

    """
    began = time.perf_counter()
    seeds = list(range(seed, seed + SEEDS))
    values = summarise_nats(nats_in_boxes(seeds))
    save_result(
        NAME, values, profile="full", seeds=seeds, seconds=time.perf_counter() - began,
        protocol={"data": f"{SCENES} scenes of two digits", "backbone": "GAPNet, trained",
                  "head": "linear, SGD momentum 0.9, softmax", "input": "48",
                  "cells": "12 x 12"},
    )  # fmt: skip
    return values
