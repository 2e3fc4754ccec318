"""Units of the published recipe: kept whole, judged by three rules, summarised as claims ask."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from long_tail import answers

from softmi.datasets import long_tailed_counts
from softmi.evidence.ledger import load_claims
from softmi.evidence.results import lookup
from softmi.evidence.statistics import summarise
from softmi.experiments import published_long_tail as published
from softmi.experiments.decisions import accuracies
from softmi.experiments.published_long_tail import NAME, UNITS, main, summarise_units, unit_path

ROOT = Path(__file__).resolve().parents[2]
COUNTS = torch.tensor(long_tailed_counts())


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A project of its own, and the threads as before."""
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield tmp_path
    torch.set_num_threads(threads)


def keep(loss: str, seed: int, **changed) -> None:
    """A unit as a run keeps it, with made-up logits."""
    logits, labels = answers(1000 * len(loss) + seed, COUNTS, samples=200)
    path = unit_path(loss, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, logits=logits.numpy().astype(np.float16),
                        labels=labels.numpy().astype(np.uint8))  # fmt: skip
    protocol = {**vars(published.RECIPE), "drops": list(published.RECIPE.drops), "imbalance": 100,
                "selection": "none: the last epoch", "loss": loss} | changed  # fmt: skip
    source = {"commit": "abc", "clean": True, "date": "2026-11-28", "profile": "full",
              "seeds": [seed], "device": "CPU (x86_64, 2 cores)", "seconds": 60.0,
              "versions": {"torch": "2"}, "data": {"training": "1", "test": "2"}}  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps({"protocol": protocol, "provenance": source}))


def test_the_units_are_those_of_the_running_job():
    assert NAME == "06_long_tailed_losses_published"
    assert [f"{loss}-{seed}" for loss, seed in UNITS] == [
        "softmax-0", "softmax-1", "softmax-2", "PC-softmax-0", "PC-softmax-1", "PC-softmax-2",
        "LDAM-DRW-0", "LDAM-DRW-1", "LDAM-DRW-2",
    ]  # fmt: skip
    path = unit_path("PC-softmax", 1)
    assert path.parts[-4:] == ("results", "units", NAME, "PC-softmax-1.npz")


def test_the_result_holds_what_the_claims_read(project):
    for unit in UNITS:
        keep(*unit)
    record = json.loads(summarise_units().read_text())
    assert set(record["protocol"]) == {
        "data", "imbalance", "network", "epochs", "selection", "precision"
    }  # fmt: skip
    claims = [c for c in load_claims(ROOT / "claims") if c.check.result.startswith(f"{NAME}:")]
    assert len(claims) == 6
    for claim in claims:
        lookup(record, claim.check.result.split(":")[1])
        assert all(record["protocol"][key] == value for key, value in claim.setting.items())
    official = record["values"]["official"]
    assert set(official["differences"]) == {
        "posthoc_minus_softmax", "pc_minus_softmax", "pc_minus_posthoc", "ldam_minus_softmax",
        "pc_minus_ldam",
    }  # fmt: skip
    for loss in ("softmax", "PC-softmax", "LDAM-DRW"):
        assert set(official["accuracy"][loss]) == {"as_trained", "equal", "training"}
    assert record["provenance"]["seeds"] == [0, 1, 2]
    assert record["provenance"]["seconds"] == 9 * 60
    assert record["provenance"]["data"] == {"training": "1", "test": "2"}
    assert record["values"]["units"]["LDAM-DRW-2"]["commit"] == "abc"


def test_a_network_is_judged_by_the_rules_of_the_chapter():
    keep("softmax", 0)
    logits, labels = answers(1000 * len("softmax"), COUNTS, samples=200)
    logits = logits.half().float()
    found = published.judge_unit(*published.kept_logits("softmax", 0))
    log_prior = (COUNTS / COUNTS.sum()).log()
    assert found["as_trained"] == accuracies(logits, labels, COUNTS)
    assert found["equal"] == accuracies(logits - log_prior, labels, COUNTS)
    assert found["training"] == pytest.approx(found["as_trained"])


def test_differences_are_paired_by_the_seeds_that_both_have():
    for loss, seed in (("softmax", 0), ("softmax", 1), ("softmax", 2), ("PC-softmax", 1),
                       ("PC-softmax", 2), ("LDAM-DRW", 0)):  # fmt: skip
        keep(loss, seed)
    official = json.loads(summarise_units().read_text())["values"]["official"]
    softmax, pc = (official["accuracy"][n]["as_trained"]["class_mean"]["values"]
                   for n in ("softmax", "PC-softmax"))  # fmt: skip
    found = official["differences"]["pc_minus_softmax"]["class_mean"]
    assert found["values"] == pytest.approx(np.subtract(pc, softmax[1:]).tolist())
    posthoc = official["differences"]["posthoc_minus_softmax"]["class_mean"]
    assert (posthoc["n"], posthoc["images"]) == (3, 200)
    assert "ldam_minus_softmax" not in official["differences"]  # one seed has no spread
    assert official["accuracy"]["LDAM-DRW"]["equal"]["class_mean"]["n"] == 1


def test_numbers_of_a_recipe_hold_the_chance_of_seeds_and_images():
    for unit in UNITS[:6]:
        keep(*unit)
    official = json.loads(summarise_units().read_text())["values"]["official"]
    number = official["accuracy"]["softmax"]["as_trained"]["class_mean"]
    assert number["images"] == 200
    assert number["low"] < number["mean"] < number["high"]
    over_seeds = summarise(number["values"])["sd"] / 3**0.5
    parts = official["differences"]["pc_minus_softmax"]["class_mean"]["variance"]
    assert set(parts) == {"seeds", "images", "interaction"}
    # Twenty images a class: what they do is more than what three alike networks do.
    assert number["variance"]["images"] > 0
    assert number["high"] - number["low"] > 2 * over_seeds
    family = official["family"]
    assert set(family) == set(official["differences"])
    assert all(f["class_mean"]["p"] <= f["class_mean"]["holm"] for f in family.values())


def test_units_of_two_recipes_are_not_mixed():
    keep("softmax", 0)
    keep("softmax", 1, precision="32-true")
    with pytest.raises(ValueError, match="are not of one recipe and one data set"):
        summarise_units()


def test_without_units_there_is_no_result():
    with pytest.raises(FileNotFoundError, match="no units in"):
        summarise_units()


def toy_data(split: str = "train"):
    images = torch.randint(0, 256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return images.to(torch.uint8), torch.arange(40) % 10


def test_the_command_trains_what_is_missing_and_then_summarises(project, monkeypatch, capsys):
    quick = replace(published.RECIPE, network="GAPNet-2", epochs=2, batch_size=20)
    monkeypatch.setattr(published, "RECIPE", quick)
    monkeypatch.setattr(published, "cifar10", toy_data)
    monkeypatch.setattr(published, "cifar10_long_tailed", toy_data)
    main(["LDAM-DRW-1", "softmax-0", "--threads", "1"])
    said = capsys.readouterr().out
    assert re.search(r"LDAM-DRW, seed 1: 0\.\d{4} as trained, 0 minutes", said)
    kept = np.load(unit_path("LDAM-DRW", 1))
    assert (kept["logits"].dtype, kept["logits"].shape) == (np.float16, (40, 10))
    record = json.loads(unit_path("softmax", 0).with_suffix(".json").read_text())
    assert record["protocol"]["precision"] == "bf16-mixed"
    assert not list((project / "_build/units").glob("*"))  # no checkpoint is left

    main(["softmax-0"])
    assert "softmax, seed 0: done before" in capsys.readouterr().out
    main(["--summarise"])
    assert f"{NAME}.json" in capsys.readouterr().out
    values = json.loads((project / f"results/{NAME}.json").read_text())["values"]
    shares = values["official"]["accuracy"]["softmax"]["as_trained"]["micro"]["values"]
    assert shares == [pytest.approx(record["values"]["as_trained"])]


def test_the_precision_can_be_that_of_the_publication(monkeypatch):
    quick = replace(published.RECIPE, network="GAPNet-2", epochs=1, batch_size=20)
    monkeypatch.setattr(published, "RECIPE", quick)
    monkeypatch.setattr(published, "cifar10", toy_data)
    monkeypatch.setattr(published, "cifar10_long_tailed", toy_data)
    main(["PC-softmax-0", "--threads", "1", "--precision", "32-true"])
    record = json.loads(unit_path("PC-softmax", 0).with_suffix(".json").read_text())
    assert record["protocol"]["precision"] == "32-true"
