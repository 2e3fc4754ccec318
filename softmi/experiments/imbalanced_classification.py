r"""PC-softmax on imbalanced classes: the experiment of chapter 05.

Two losses train the same network from the same first weights on the same batches; then both are
asked by three rules, which differ by a term :math:`\log q_k` in the logits. The full profile is
the authors' protocol on MNIST.
"""

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from joblib import Parallel, delayed

from softmi.datasets import data_root, sha256
from softmi.evidence.outcomes import save_outcomes
from softmi.evidence.results import Profile, project_root, save_result
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.decisions import shares
from softmi.experiments.imbalanced_classification_summaries import (
    NETWORKS,
    TESTS,
    Run,
    evaluate,
    outcomes_of,
)
from softmi.experiments.imbalanced_classification_training import (
    SETTINGS,
    Settings,
    load_task,
    train_network,
    weights_apart,
)

NAME = "05_imbalanced_classification"


def _unit(settings: Settings, network: str, seed: int, device: str, keep: bool) -> dict[str, Any]:
    train = partial(train_network, settings, network, seed, device=device)
    if not keep:
        return train()
    made_by = asdict(settings) | {"network": network, "seed": seed, "device": device,
                                  "code": code_digest(train_network),
                                  "torch": str(torch.__version__)}  # fmt: skip
    del made_by["seeds"], made_by["check_epochs"]
    folder = project_root() / "_build" / "full" / NAME
    return kept_unit(folder, f"{network}-{seed}", made_by, lambda path: train(checkpoint=path))


def run(profile: Profile = "smoke", *, seed: int = 0, device: str = "auto") -> dict[str, Any]:
    """Train, measure and save the result of a profile; return its values.

    Args:
        profile: "smoke" (on the CPU) or "full", whose networks are kept one by one, so that a
            run that was cut short goes on.
        seed: The first seed.
        device: Where to train in the full profile.

    Raises:
        ValueError: Another profile.

    """
    if profile not in SETTINGS:
        raise ValueError(f"profile must be one of {sorted(SETTINGS)}, got {profile!r}")
    settings, keep = SETTINGS[profile], profile == "full"
    device = device if keep else "cpu"
    seeds = list(range(seed, seed + settings.seeds))
    jobs = [(s, network) for s in seeds for network in NETWORKS]
    units = Parallel(n_jobs=2 if keep else 1)(
        delayed(_unit)(settings, network, s, device, keep) for s, network in jobs
    )
    logits = {job: unit["logits"] for job, unit in zip(jobs, units, strict=True)}
    task = load_task(settings)
    counts = torch.bincount(task["train"][1], minlength=10)
    labels = {test: task[test][1] for test in TESTS}
    runs = [Run(counts, labels, {n: logits[s, n] for n in NETWORKS}) for s in seeds]
    values = evaluate(runs) | {
        "counts": {part: len(y) for part, (_, y) in task.items()},
        "even_share": {p: float(shares(y, 10)[::2].sum()) for p, (_, y) in task.items()},
        "weights_apart": weights_apart(settings, task["train"], seed),
    }
    kept = save_outcomes(NAME, outcomes_of(runs), profile)
    _save(profile, settings, seeds, device, values, sum(unit["seconds"] for unit in units), kept)
    return values


def _save(
    profile: Profile, settings: Settings, seeds: list[int], device: str, values: dict[str, Any],
    seconds: float, outcomes: str,
) -> None:  # fmt: skip
    raw = data_root() / "MNIST" / "raw"
    save_result(
        NAME,
        values,
        protocol={
            "data": settings.data,
            "network": "convolutions 20-50, then 500-10",
            "pre-training": "none",
            "optimiser": f"SGD, rate {settings.rate}, momentum {settings.momentum}",
            "batch": settings.batch_size,
            "epochs": settings.epochs,
            "selection": "none: the last epoch",
        },
        profile=profile,
        seeds=seeds,
        seconds=seconds,  # of training, the networks one after another
        device=device,
        data={p.name: sha256(p) for p in sorted(raw.glob("*.gz"))} if profile == "full" else {},
        outcomes=outcomes,
    )
