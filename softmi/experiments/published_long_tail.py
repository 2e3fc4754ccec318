"""CIFAR-10-LT by the recipe of the literature: one network a unit, committed when it is done.

`python -m softmi.experiments.published_long_tail` trains what is missing, plain softmax and
PC-softmax of seeds 0 to 2 and then LDAM-DRW, one network after the other. A unit that is cut
short goes on from its last epoch. Of each network the logits of the 10,000 test pictures are kept
in `results/units/`, in half precision, so that anybody can judge it by any rule. With
`--summarise` nothing is trained: the units that are there become the result file that the chapter
and the ledger read. `--device cuda --precision 32-true` is the recipe on a GPU, as published.
"""

import argparse
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softmi.datasets import cifar10, cifar10_long_tailed, content_sha256, long_tailed_counts
from softmi.evidence.paths import written_whole
from softmi.evidence.registry import registered_before
from softmi.evidence.results import project_root, provenance, save_result
from softmi.evidence.statistics import gather
from softmi.experiments.decisions import (
    accuracies,
    accuracy_differences,
    accuracy_intervals,
    hits_of,
    with_intervals,
)
from softmi.experiments.long_tailed_losses import train_network
from softmi.experiments.long_tailed_recipes import RECIPES
from softmi.experiments.long_tailed_summaries import decided, family, methods, short_name

NAME = "06_long_tailed_losses_published"
RECIPE = RECIPES["cifar10lt_published"]
UNITS = [
    *itertools.product(("softmax", "PC-softmax"), range(3)),
    *itertools.product(("LDAM-DRW",), range(3)),
]
# Differences of the result, as short names of methods.
PAIRS = (
    ("posthoc", "softmax"), ("pc", "softmax"), ("pc", "posthoc"), ("ldam", "softmax"),
    ("pc", "ldam"),
)  # fmt: skip


def unit_path(loss: str, seed: int) -> Path:
    """Where the logits of a network are kept; its provenance is beside them, as JSON."""
    return project_root() / "results" / "units" / NAME / f"{loss}-{seed}.npz"


def run_unit(
    loss: str, seed: int, *, threads: int = 2, device: str = "cpu", precision: str = ""
) -> dict[str, Any]:
    """Train one network, keep its test logits and provenance, and return the latter.

    Args:
        loss: Name of the loss.
        seed: Of the network.
        threads: Of PyTorch.
        device: Where to train.
        precision: Fabric's precision; empty for that of the recipe.

    """
    torch.set_num_threads(threads)
    recipe = replace(RECIPE, **({"precision": precision} if precision else {}))  # type: ignore[arg-type]
    images, labels = cifar10_long_tailed()
    tests, answers = cifar10("test")
    checkpoint = project_root() / "_build" / "units" / f"{NAME}-{loss}-{seed}.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    run = train_network(recipe, loss, seed, (images, labels), {"official": tests}, device=device,
                        checkpoint=checkpoint)  # fmt: skip
    path = unit_path(loss, seed)
    logits = run["logits"]["official"].numpy().astype(np.float16)
    record = {
        "protocol": {**asdict(recipe), "drops": list(recipe.drops), "imbalance": 100,
                     "selection": "none: the last epoch", "loss": loss},
        "values": {"losses": run["losses"],
                   "as_trained": float((logits.argmax(1) == answers.numpy()).mean())},
        "provenance": provenance(
            profile="full", seeds=[seed], device=device, seconds=run["seconds"],
            data={"training": content_sha256(images, labels),
                  "test": content_sha256(tests, answers)},
        ),
    }  # fmt: skip
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, logits=logits, labels=answers.numpy().astype(np.uint8))
        path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    checkpoint.unlink()
    return record


def kept_logits(loss: str, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Logits of a kept network by three rules, and the labels of the test.

    As trained, for equally likely classes and for the training prior.
    """
    kept = np.load(unit_path(loss, seed))
    logits = torch.from_numpy(kept["logits"].astype(np.float32))
    labels = torch.from_numpy(kept["labels"].astype(np.int64))
    ways = decided(logits, loss, labels, torch.tensor(long_tailed_counts()))
    return {rule: ways[rule] for rule in ("as_trained", "equal", "training")}, labels


def judge_unit(ways: Mapping[str, Tensor], labels: Tensor) -> dict[str, dict[str, float]]:
    """Accuracies of a kept network by each rule, from what `kept_logits` gives."""
    counts = torch.tensor(long_tailed_counts())
    return {rule: accuracies(g, labels, counts) for rule, g in ways.items()}


def judge_units(units: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """Accuracies and differences of kept networks, from their logits.

    Accuracies are summaries over the seeds of a loss; differences are paired over the seeds that
    both losses have. Both have intervals over seeds and test images, where there are two seeds or
    more; a difference of fewer is left out.
    """
    judged: dict[str, dict[int, Any]] = {}
    hits: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    counts, labels = torch.tensor(long_tailed_counts()), torch.empty(0, dtype=torch.long)
    for loss, seed in units:
        ways, labels = kept_logits(loss, seed)
        judged.setdefault(loss, {})[seed] = judge_unit(ways, labels)
        right = {rule: hits_of([g], labels)[0] for rule, g in ways.items()}
        hits.setdefault(loss, {})[seed] = right

    def of_seeds(loss: str, rule: str, seeds: Iterable[int]) -> np.ndarray:
        return np.stack([hits[loss][s][rule] for s in seeds])

    held = {
        f"{loss}/{rule}": accuracy_intervals(of_seeds(loss, rule, of), labels, counts)
        for loss, of in judged.items()
        for rule in next(iter(of.values()))
        if len(of) > 1
    }
    named = {short_name(method): way for method, way in methods(judged).items()}
    differences = {}
    for a, b in PAIRS:
        if a not in named or b not in named:
            continue
        (ours, rule), (theirs, other) = named[a], named[b]
        seeds = sorted(judged[ours].keys() & judged[theirs].keys())
        if len(seeds) > 1:
            differences[f"{a}_minus_{b}"] = accuracy_differences(
                of_seeds(ours, rule, seeds), of_seeds(theirs, other, seeds), labels, counts
            )
    summaries = {loss: gather(list(of.values())) for loss, of in judged.items()}
    return {
        "accuracy": with_intervals(summaries, held),
        "differences": differences,
        "family": family(differences, [(name, "class_mean") for name in differences]),
    }


def summarise_units() -> Path:
    """Write the result file from the units that are kept, and return its path.

    The provenance of each unit, of the commit that trained it, is among the values.

    Raises:
        FileNotFoundError: No unit is kept.
        ValueError: Units of different settings or data.

    """
    units = [unit for unit in UNITS if unit_path(*unit).exists()]
    if not units:
        raise FileNotFoundError(f"no units in {unit_path(*UNITS[0]).parent}: train some first")
    records = {u: json.loads(unit_path(*u).with_suffix(".json").read_text()) for u in units}
    protocol, data = _common(records)
    sources = {u: record["provenance"] for u, record in records.items()}
    return save_result(
        NAME,
        {
            "official": judge_units(units),
            "units": {
                f"{loss}-{seed}": {k: sources[loss, seed][k] for k in _KEPT}
                for loss, seed in units
            },
        },
        protocol=protocol,
        profile="full",
        seeds=sorted({seed for _, seed in units}),
        seconds=sum(source["seconds"] for source in sources.values()),
        device=" and ".join(sorted({source["device"] for source in sources.values()})),
        data=data,
        made_for=registered_before(NAME, (source["commit"] for source in sources.values())),
    )


_KEPT = ("commit", "clean", "date", "device", "seconds", "versions")


def _common(records: Mapping[Any, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Protocol and data that all units share."""
    fields = ("data", "imbalance", "network", "epochs", "selection", "precision")
    settings = [{k: v for k, v in r["protocol"].items() if k != "loss"} for r in records.values()]
    data = [record["provenance"]["data"] for record in records.values()]
    if any(s != settings[0] for s in settings) or any(d != data[0] for d in data):
        raise ValueError(
            f"the units in {unit_path('', 0).parent} are not of one recipe and one data set; "
            f"their settings: {settings}"
        )
    return {field: settings[0][field] for field in fields}, data[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the units that are asked for and not there yet, by default all; or summarise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("units", nargs="*", metavar="LOSS-SEED", help="such as PC-softmax-0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="", help="Fabric's; by default the recipe's")
    parser.add_argument("--summarise", action="store_true", help="units to result; train nothing")
    given = parser.parse_args(arguments)
    if given.summarise:
        print(f"written: {summarise_units()}")
        return
    named = [tuple(name.rsplit("-", 1)) for name in given.units]
    for loss, seed in [(loss, int(seed)) for loss, seed in named] or UNITS:
        if unit_path(loss, seed).exists():
            print(f"{loss}, seed {seed}: done before", flush=True)
            continue
        record = run_unit(loss, seed, threads=given.threads, device=given.device,
                          precision=given.precision)  # fmt: skip
        print(f"{loss}, seed {seed}: {record['values']['as_trained']:.4f} as trained, "
              f"{record['provenance']['seconds'] / 60:.0f} minutes", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
