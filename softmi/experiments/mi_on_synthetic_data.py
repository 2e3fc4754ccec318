"""Chapter 02: networks read where the mutual information is known.

One unit is all that a seed needs: networks on each task, controls with shuffled labels, and in the
full profile the authors' networks trained further. The numbers of the chapter are summaries of the
units over seeds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from softmi.evidence.results import Profile, project_root, save_result
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.mi_on_synthetic_data_mine import run_mine, summarise_mine
from softmi.experiments.mi_on_synthetic_data_networks import (
    TASKS,
    WATCHED,
    Settings,
    run_memorise,
    run_permuted,
    run_task,
    truth_of,
)
from softmi.experiments.mi_on_synthetic_data_released import (
    FILES,
    measure_released,
    released_files,
    run_continued,
    summarise_authors,
)
from softmi.experiments.mi_on_synthetic_data_summary import summarise_units

NAME = "02_mi_on_synthetic_data"
SETTINGS: Mapping[Profile, Settings] = {
    "smoke": Settings(
        dimensions=(1, 5), seeds=1, train=1_000, batch=500, epochs=10, fresh=20_000, tests=2,
        memorise=150, permuted=("imbalanced_d1",), allowance=0.025,
    ),
    "full": Settings(
        dimensions=(1, 2, 5, 10), seeds=5, train=5_000, batch=2_000, epochs=20, fresh=400_000,
        tests=20, memorise=300, permuted=("imbalanced_d1", "imbalanced_d10"), allowance=0.01,
        released_fresh=1_000_000, released_tests=100,
    ),
}  # fmt: skip


def run_seed(seed: int, settings: Settings, device: str) -> dict[str, Any]:
    """Run all networks of one seed, from new data.

    Returns:
        `tasks`, `mine`, `permuted`, `memorise` and, where the released networks are measured,
        `continued`, as the functions of the same names give them; and `seconds`.

    """
    began = time.perf_counter()
    out: dict[str, Any] = {
        "tasks": {name: run_task(name, seed, settings, device) for name in settings.names},
        "mine": {name: run_mine(name, seed, settings, device) for name in settings.names},
        "permuted": {n: run_permuted(n, seed, settings, device) for n in settings.permuted},
        "memorise": run_memorise(seed, settings, device),
    }
    if settings.released_fresh:
        out["continued"] = {
            name: run_continued(name, seed, settings, device) for name in settings.names
        }
    return out | {"seconds": time.perf_counter() - began}


def run_released(settings: Settings) -> dict[str, Any]:
    """Measure the released networks: `networks`, and the `seconds` it took."""
    began = time.perf_counter()
    return {"networks": measure_released(settings), "seconds": time.perf_counter() - began}


def run(profile: Profile, *, seed: int = 0, device: str = "auto") -> dict[str, Any]:
    """Run the chapter, check what it has to show, and save its numbers.

    In the full profile what a seed needs is kept under `_build/full/`, so that an interrupted run
    goes on where it stopped.

    Args:
        profile: "smoke" or "full".
        seed: The first of the seeds.
        device: Where to train.

    Returns:
        The numbers that are saved.

    Raises:
        AssertionError: A reading is further from the truth than chance and training explain.
        FileNotFoundError: In the full profile, without the authors' networks.

    """
    settings = SETTINGS[profile]
    seeds = list(range(seed, seed + settings.seeds))
    files = released_files() if settings.released_fresh else {}

    def unit(name: str, function: Callable[..., dict[str, Any]], *arguments: Any) -> Any:
        if profile == "smoke":
            return function(*arguments)
        made_by = {
            "settings": asdict(settings), "arguments": [a for a in arguments if a != settings],
            "files": files, "code": code_digest(function), "torch": str(torch.__version__),
            "constants": [WATCHED, FILES, {k: v.means.tolist() for k, v in TASKS.items()}],
        }  # fmt: skip
        folder = project_root() / "_build" / "full" / NAME
        return kept_unit(folder, name, made_by, lambda _: function(*arguments))

    units = [unit(f"seed_{s}", run_seed, s, settings, device) for s in seeds]
    check_readings(units, settings)
    values = summarise_units(units, settings, seed)
    values["against_mine"] = summarise_mine(units, settings)
    if settings.released_fresh:
        authors = unit("released", run_released, settings)
        values |= summarise_authors(authors["networks"], units, settings)
        check_released(values)
        units.append(authors)
    save_result(
        NAME,
        values,
        protocol=protocol_of(settings),
        profile=profile,
        seeds=seeds,
        seconds=sum(u["seconds"] for u in units),
        device="cuda" if device in ("auto", "cuda") and torch.cuda.is_available() else "cpu",
        data=files,
    )
    return values


def protocol_of(settings: Settings) -> dict[str, Any]:
    """What was run on what, for the result file."""
    return {
        "data": "five Gaussians on a line, from the authors' code",
        "network": "MLP d-100-100-100-5",
        "train_points": {"balanced": 10 * settings.train, "imbalanced": 15 * settings.train},
        "training": f"Adam, 3e-3 to 0 by cosine, {settings.epochs} epochs, "
        f"batch {settings.batch}, last epoch",
        "test_points": {"balanced": 10_000, "imbalanced": 15_000, "fresh": settings.fresh},
        "test_sets_per_seed": settings.tests,
    }


# --- What a run has to show -------------------------------------------------------------------


def check_readings(units: Sequence[Mapping[str, Any]], settings: Settings) -> None:
    """Check each reading against the truth, and the controls.

    The tolerance has two parts: four standard errors for the luck of the test points, and the
    allowance of the settings for what training leaves.

    Args:
        units: One a seed.
        settings: Of the run.

    Raises:
        AssertionError: A reading that does not agree; the message names it.

    """
    for tasks in (unit["tasks"] for unit in units):
        for name, readings in tasks.items():
            for method, found in readings.items():
                noise = 4 * found["standard_error"]
                off = abs(found["value"] - truth_of(name))
                assert off < settings.allowance + noise, f"{name}, {method}: {off} nats off"
                low, short = -4 * found["shortfall_error"], found["shortfall"]
                assert low < short < settings.allowance, f"{name}, {method}: short by {short}"
            plain, corrected = readings["softmax"], readings["pc_softmax"]
            if name in ("imbalanced_d1", "imbalanced_d2"):  # no lower bound can be up here
                above = plain["log_m"] - truth_of(name)
                assert above > 4 * plain["standard_error"], f"{name}: log M only {above} above"
            if name.startswith("balanced"):
                apart = abs(plain["value"] - corrected["value"])
                assert apart < 1e-9, f"{name}: two readings of one network are {apart} apart"
    for unit in units:
        for name, networks in unit["permuted"].items():
            for method, found in networks.items():
                held_out = found["held_out"]
                low, high = -settings.allowance, 4 * held_out["standard_error"]
                inside = low < held_out["value"] < high
                assert inside, f"{name}, {method}: reads {held_out['value']} in shuffled labels"
            # information where there is none
            assert networks["softmax"]["held_out"]["log_m"] > 0.05, f"{name}: log M reads nothing"
        by_heart = {where: curve[-1] for where, curve in unit["memorise"].items()}
        learnt = by_heart["in_sample"] > 1 and by_heart["held_out"] < -1  # the truth is zero
        assert learnt, f"nothing learnt by heart: {by_heart}"


def check_released(values: Mapping[str, Any]) -> None:
    """Check the released networks against an earlier measurement of the same files.

    Raises:
        AssertionError: The two differ by 0.005 nats or more.

    """
    deviation = values["released_summary"]["largest_deviation_from_earlier"]
    assert deviation < 0.005, f"the released networks read {deviation} nats apart from before"
