"""CIFAR-10-LT by the recipe of the literature: one network a unit, committed when it is done.

`python -m softmi.experiments.published_long_tail` trains what is missing, plain softmax and
PC-softmax of seeds 0 to 2 and then LDAM-DRW, one network after the other. A unit that is cut
short goes on from its last epoch. Of each network the logits of the 10,000 test pictures are kept
in `results/units/`, in half precision, so that anybody can judge it by any rule.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softmi.datasets import content_sha256
from softmi.datasets.cifar import cifar10, cifar10_long_tailed
from softmi.evidence.results import project_root, provenance
from softmi.experiments.long_tails import RECIPES, train_network

NAME = "06_long_tailed_losses_published"
RECIPE = RECIPES["cifar10lt_published"]
UNITS = [
    *itertools.product(("softmax", "PC-softmax"), range(3)),
    *itertools.product(("LDAM-DRW",), range(3)),
]


def unit_path(loss: str, seed: int) -> Path:
    """Where the logits of a network are kept; its provenance is beside them, as JSON."""
    return project_root() / "results" / "units" / NAME / f"{loss}-{seed}.npz"


def run_unit(loss: str, seed: int, *, threads: int = 2) -> dict[str, Any]:
    """Train one network, keep its test logits and provenance, and return the latter."""
    torch.set_num_threads(threads)
    images, labels = cifar10_long_tailed()
    tests, answers = cifar10("test")
    checkpoint = project_root() / "_build" / "units" / f"{NAME}-{loss}-{seed}.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    run = train_network(RECIPE, loss, seed, (images, labels), {"official": tests}, device="cpu",
                        checkpoint=checkpoint)  # fmt: skip
    path = unit_path(loss, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    logits = run["logits"]["official"].numpy().astype(np.float16)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, logits=logits, labels=answers.numpy().astype(np.uint8))
    record = {
        "protocol": {**vars(RECIPE), "drops": list(RECIPE.drops), "imbalance": 100,
                     "selection": "none: the last epoch", "loss": loss},
        "values": {"losses": run["losses"],
                   "as_trained": float((logits.argmax(1) == answers.numpy()).mean())},
        "provenance": provenance(
            profile="full", seeds=[seed], device="cpu", seconds=run["seconds"],
            data={"training": content_sha256(images, labels),
                  "test": content_sha256(tests, answers)},
        ),
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)
    checkpoint.unlink()
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the units that are asked for and not there yet, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("units", nargs="*", metavar="LOSS-SEED", help="such as PC-softmax-0")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    named = [tuple(name.rsplit("-", 1)) for name in given.units]
    for loss, seed in [(loss, int(seed)) for loss, seed in named] or UNITS:
        if unit_path(loss, seed).exists():
            print(f"{loss}, seed {seed}: done before", flush=True)
            continue
        record = run_unit(loss, seed, threads=given.threads)
        print(f"{loss}, seed {seed}: {record['values']['as_trained']:.4f} as trained, "
              f"{record['provenance']['seconds'] / 60:.0f} minutes", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
