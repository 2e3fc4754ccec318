"""Intervals of chapters 05 and 06 follow from the outcomes that are kept with the results."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from long_tail import answers

from softmi.datasets import long_tailed_counts
from softmi.evidence.outcomes import Outcomes, load_outcomes, save_outcomes
from softmi.evidence.results import load_result, save_result
from softmi.experiments.imbalanced_classification_summaries import intervals
from softmi.experiments.long_tailed_summaries import (
    accuracies_held,
    certainties_apart,
    evaluate,
    family,
    family_members,
    outcomes_of,
    seeds_against_methods,
)
from softmi.experiments.loss_table import LOSSES
from softmi.experiments.published_long_tail import judge_units, unit_path

ROOT = Path(__file__).resolve().parents[2]
# Archived before outcomes were kept: the next full run takes a name off this list.
AWAITING = {"06_long_tailed_losses_mnist"}
ARCHIVED = sorted(
    path.stem
    for chapter in ("05_imbalanced_classification", "06_long_tailed_losses")
    for path in (ROOT / "results").glob(f"{chapter}*.json")
)


def by_loss_and_rule(accuracy: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers by "loss/rule" as a result has them, one in the other."""
    found: dict[str, Any] = {}
    for way, number in accuracy.items():
        loss, rule = way.split("/")
        found.setdefault(loss, {})[rule] = number
    return found


def computed_again(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the outcomes of a result give, in the places that they have there."""
    if name.endswith("_published"):  # keeps logits, unit by unit
        units = [(loss, int(seed)) for loss, _, seed in
                 (unit.rpartition("-") for unit in record["values"]["units"])]  # fmt: skip
        return {"official": judge_units(units)}
    outcomes, found = load_outcomes(name), {}
    for test in outcomes.labels:
        if name.startswith("05"):
            held = intervals(outcomes, test)
            found[test] = held | {"accuracy": by_loss_and_rule(held["accuracy"])}
            continue
        held = accuracies_held(outcomes, test)
        accuracy = record["values"][test]["accuracy"]
        costs = certainties_apart(accuracy, outcomes.costs[test])["softmax_moved_minus_softmax"]
        for measure in ("cross_entropy", "calibration_error"):
            held["differences"]["softmax_moved_minus_softmax"][measure] = costs[measure]
        found[test] = {
            "accuracy": by_loss_and_rule(held["accuracy"]),
            "differences": held["differences"],
            "family": family(held["differences"], family_members(accuracy)),
            "spread": seeds_against_methods(outcomes, test),
        }
    return found


def numbers(node: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number with its dotted path."""
    if isinstance(node, Mapping):
        for key, inside in node.items():
            yield from numbers(inside, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for i, inside in enumerate(node):
            yield from numbers(inside, f"{path}.{i}")
    elif isinstance(node, int | float):
        yield path, float(node)


def contradictions(name: str, record: Mapping[str, Any]) -> tuple[int, dict[str, str]]:
    """How many numbers the outcomes give, and by path a sentence on each that is stored wrong."""
    stored, wrong, count = dict(numbers(record["values"])), {}, 0
    for path, number in numbers(computed_again(name, record)):
        # Accuracies were averaged in single precision; all else is stored with ten digits.
        single = ".accuracy." in path and (path.endswith(".mean") or ".values." in path)
        if stored.get(path) != pytest.approx(number, rel=1e-8, abs=1e-6 if single else 1e-10):
            said = f"results/{name}.json says {path} = {stored.get(path)}"
            wrong[path] = f"{said}, and its outcomes give {number}"
        count += 1
    return count, wrong


def assert_follows(name: str, record: Mapping[str, Any]) -> int:
    """Compare each number that the outcomes give with the stored one, and count them."""
    count, wrong = contradictions(name, record)
    assert not wrong, "\n".join(wrong.values())
    return count


@pytest.mark.parametrize("name", ARCHIVED)
def test_the_intervals_of_a_result_follow_from_its_outcomes(name):
    record = load_result(name)
    if name in AWAITING:
        assert "outcomes" not in record, f"{name} has outcomes now: take it off AWAITING"
        return
    assert name.endswith("_published") or "outcomes" in record, f"{name} has no outcomes"
    assert assert_follows(name, record) > 100


def test_only_results_that_are_there_are_awaited():
    assert set(ARCHIVED) >= AWAITING


def test_results_stay_small_enough_for_the_repository():
    """Twelve megabytes in all, packed outcomes included, but for what smoke runs leave."""
    files = [p for p in (ROOT / "results").rglob("*") if p.is_file() and "smoke" not in p.parts]
    assert sum(p.stat().st_size for p in files) < 12e6


# --- The comparison itself --------------------------------------------------------------------

COUNTS = torch.tensor([400, 60, 10])


@pytest.fixture(scope="module")
def made_up() -> tuple[Outcomes, dict[str, Any]]:
    """Outcomes and values of chapter 06 on made-up logits."""
    logits = {
        loss: [{"official": answers(100 * i + s, COUNTS)[0]} for s in range(3)]
        for i, loss in enumerate(LOSSES)
    }
    labels = {"official": answers(0, COUNTS)[1]}
    return outcomes_of(COUNTS, labels, logits), evaluate(COUNTS, labels, logits)


@pytest.fixture
def archive(tmp_path, monkeypatch, made_up) -> dict[str, Any]:
    """A result of chapter 06 with its outcomes, as a full run saves it."""
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    name, (outcomes, values) = "06_long_tailed_losses_made_up", made_up
    checksum = save_outcomes(name, outcomes, "full")
    save_result(name, values, outcomes=checksum, protocol={}, profile="full", seeds=[0, 1, 2],
                seconds=1.0)  # fmt: skip
    return load_result(name)


def test_a_result_follows_from_its_outcomes_number_by_number(archive):
    assert assert_follows("06_long_tailed_losses_made_up", archive) > 1000


def test_every_altered_number_is_named_and_no_other(archive):
    paths = [
        "official.differences.pc_minus_softmax.class_mean.low",
        "official.differences.pc_minus_ldam.few.variance.images",
        "official.differences.softmax_moved_minus_softmax.cross_entropy.high",
        "official.accuracy.PC-softmax.as_trained.micro.low",
        "official.family.pc_minus_posthoc.class_mean.holm",
        "official.spread.class_mean.ratio.high",
    ]
    for path in paths:
        *parents, last = path.split(".")
        node = archive["values"]
        for part in parents:
            node = node[part]
        node[last] += 1e-5
    _, wrong = contradictions("06_long_tailed_losses_made_up", archive)
    assert wrong.keys() == set(paths)
    for path, said in wrong.items():
        assert re.search(rf"says {re.escape(path)} = .*, and its outcomes give", said)


def test_a_hit_that_is_turned_changes_intervals(archive, monkeypatch):
    name = "06_long_tailed_losses_made_up"
    outcomes = load_outcomes(name)
    right = outcomes.hits["official"]["PC-softmax/as_trained"]
    right[0, 0] = ~right[0, 0]
    monkeypatch.setattr(f"{__name__}.load_outcomes", lambda _: outcomes)
    with pytest.raises(AssertionError, match="and its outcomes give"):
        assert_follows(name, archive)


def test_numbers_of_the_published_recipe_follow_from_the_logits_of_its_units(
    tmp_path, monkeypatch
):
    """They keep logits and no outcomes; the loss that has one seed has no intervals."""
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    name = "06_long_tailed_losses_published"
    units = [("softmax", 0), ("softmax", 1), ("PC-softmax", 0), ("PC-softmax", 1), ("LDAM-DRW", 0)]
    unit_path("", 0).parent.mkdir(parents=True)
    for i, unit in enumerate(units):
        logits, labels = answers(i, torch.tensor(long_tailed_counts()), samples=200)
        np.savez(unit_path(*unit), logits=logits.numpy().astype(np.float16), labels=labels.numpy())
    values = {
        "official": judge_units(units),
        "units": {f"{loss}-{seed}": {"commit": "abc"} for loss, seed in units},
    }
    save_result(name, values, protocol={}, profile="full", seeds=[0, 1], seconds=1.0)
    record = load_result(name)
    assert assert_follows(name, record) > 100
    record["values"]["official"]["differences"]["pc_minus_posthoc"]["micro"]["high"] += 1e-5
    with pytest.raises(AssertionError, match=r"pc_minus_posthoc\.micro\.high = "):
        assert_follows(name, record)
