"""Two losses, three rules: the numbers of chapter 05, on logits that can be worked out by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
import yaml
from long_tail import answers

from softmi import mutual_information
from softmi.evidence.ledger import load_claims
from softmi.evidence.results import lookup
from softmi.experiments import imbalanced_classification as chapter
from softmi.experiments.imbalanced_classification import NAME, run
from softmi.experiments.imbalanced_classification_summaries import (
    CONTRASTS,
    EVEN_SHARES,
    NETWORKS,
    TESTS,
    Run,
    by_rule,
    decide,
    evaluate,
    information,
    intervals,
    outcomes_of,
    too_sure,
)
from softmi.experiments.imbalanced_classification_training import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
COUNTS = torch.tensor([20, 200] * 5)


@pytest.fixture(autouse=True)
def as_before():
    """Training seeds the global generator and takes one thread: put both back."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


def made_up(seed: int) -> Run:
    """Networks that differ by the prior alone, as in theory."""
    logits, labels = answers(seed, COUNTS, samples=200)
    log_prior = (COUNTS / COUNTS.sum()).log()
    by_network = {"softmax": logits, "pc_softmax": logits - log_prior}
    return Run(
        COUNTS,
        {test: labels for test in TESTS},
        {n: {test: by_network[n] for test in TESTS} for n in NETWORKS},
    )


@pytest.fixture(scope="module")
def values():
    return evaluate([made_up(seed) for seed in range(3)])


def test_the_prior_is_taken_out_only_where_it_is_carried():
    logits, prior = torch.zeros(1, 2), torch.tensor([0.9, 0.1]).double()
    assert torch.equal(decide(logits, "pc_softmax", prior), logits)
    odds = decide(logits, "softmax", prior).softmax(1)
    torch.testing.assert_close(odds, torch.tensor([[0.1, 0.9]]))
    back = decide(decide(logits, "softmax", prior), "pc_softmax", prior, prior)
    torch.testing.assert_close(back, logits)


def test_networks_that_differ_by_the_prior_agree_by_every_rule():
    made = made_up(0)
    softmax, pc = (by_rule(made, network, "official") for network in NETWORKS)
    assert set(softmax) == {"training", "equal", "test"}
    for rule, numbers in softmax.items():
        assert numbers == pytest.approx(pc[rule], abs=1e-6)
    assert softmax["equal"]["class_mean"] > softmax["training"]["class_mean"]


def test_what_rule_and_loss_contribute_is_split(values):
    found = values["official"]["differences"]
    assert set(found) == {*CONTRASTS, "rule", "loss", "rule_over_loss"}
    for measure in ("micro", "class_mean", "at_training_prior"):
        assert found["loss"][measure]["values"] == pytest.approx([0, 0, 0], abs=1e-7)
        rule, gain = (found[k][measure]["values"] for k in ("rule", "posthoc_minus_softmax"))
        assert rule == pytest.approx(gain, abs=1e-7)
    over = found["rule_over_loss"]["class_mean"]["values"]
    assert over == pytest.approx(np.abs(found["rule"]["class_mean"]["values"]).tolist(), abs=1e-7)


def test_the_difference_of_two_effects_is_that_of_their_sizes(values):
    """Where rule and loss pull one way in every seed it is the size of the one minus the other."""
    found = values["official"]["differences"]
    rule, loss, over = (found[k]["class_mean"] for k in ("rule", "loss", "rule_over_loss"))
    expected = abs(rule["mean"]) - abs(loss["mean"])
    assert over["mean"] == pytest.approx(expected)
    assert (over["n"], over["images"]) == (3, 200)


def test_differences_hold_the_chance_of_test_images(values):
    """Two methods that differ alike in every seed still differ otherwise on other images."""
    labels = torch.arange(200) % 10
    logits = torch.eye(10)[labels]
    other = logits.clone()
    other[::9] = 0.0  # wrong about the same images, whatever the seed
    same = [
        Run(COUNTS, {"official": labels}, {"softmax": {"official": logits},
                                           "pc_softmax": {"official": other}})
        for _ in range(3)
    ]  # fmt: skip
    found = intervals(outcomes_of(same), "official")["differences"]
    paid = found["pc_prior_back_minus_softmax"]["micro"]
    assert paid["variance"]["seeds"] == pytest.approx(0, abs=1e-12)
    assert paid["low"] < paid["mean"] < paid["high"]


def test_runs_on_other_images_have_no_outcomes_in_common():
    first, other = made_up(0), made_up(1)
    moved = replace(other, labels={t: y.roll(1) for t, y in other.labels.items()})
    with pytest.raises(ValueError, match="not tested on the same images"):
        outcomes_of([first, moved])


def test_the_curve_goes_through_the_accuracies(values):
    curve, accuracy = values["prior_curve"], values["official"]["accuracy"]
    even = int(np.argmin(np.abs(EVEN_SHARES - 0.5)))  # all classes equally common
    for network, rule in {"softmax": "training", "pc_softmax": "equal"}.items():
        at_even = curve[network]["as_trained"]["mean"][even]
        assert at_even == pytest.approx(accuracy[network][rule]["class_mean"]["mean"], abs=1e-6)
        moved = curve[network]["corrected"]["mean"][even]
        equal = accuracy[network]["equal"]["class_mean"]["mean"]
        assert moved == pytest.approx(equal, abs=1e-6)
        gains = curve[network]["corrected"]["mean"] - curve[network]["as_trained"]["mean"]
        assert curve[network]["gain"]["mean"] == pytest.approx(gains.mean())


def test_accuracies_of_methods_within_the_classes(values):
    found = values["official"]["per_class"]
    assert set(found) == {"softmax", "PC-softmax", "post-hoc"}
    mean = float(found["softmax"]["mean"].mean())
    expected = values["official"]["accuracy"]["softmax"]["training"]["class_mean"]["mean"]
    assert mean == pytest.approx(expected, abs=1e-6)


def test_a_prior_that_is_kept_reads_more_information_than_there_is():
    """The reading exceeds the estimate by the KL term of the chapter (here a perfect network)."""
    labels = torch.arange(10).repeat(20)
    sure = 50 * torch.eye(10)[labels]
    made = Run(COUNTS, {"official": labels}, {n: {"official": sure} for n in NETWORKS})
    found = information(made, "official")
    assert found["ceiling"] == pytest.approx(np.log(10))
    read = found["pc_softmax"]
    assert read["own_prior"] == pytest.approx(np.log(10), abs=1e-4)
    prior = (COUNTS / COUNTS.sum()).double()
    assert read["training_prior_kept"] == pytest.approx(float(-prior.log().mean()), abs=1e-4)
    assert read["training_prior_kept"] > found["ceiling"]
    assert read["own_prior"] == pytest.approx(mutual_information(sure, labels).value, abs=1e-4)


def test_too_sure_is_split_by_the_answer():
    prior = torch.tensor([0.9, 0.1])
    logits = torch.tensor([[0.6, 0.4], [0.2, 0.8], [0.2, 0.8]]).log()
    found = too_sure(logits, torch.tensor([0, 1, 0]), prior)
    assert found["too_sure_common"] == pytest.approx(0.6 - 1)
    assert found["too_sure_rare"] == pytest.approx(0.8 - 0.5)


# --- The run of a profile ---------------------------------------------------------------------


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Two seeds of few epochs on the digits, in a project of its own."""
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    short = replace(SETTINGS["smoke"], epochs=6, rate=0.15, seeds=2, check_epochs=1)
    for profile in ("smoke", "full"):
        monkeypatch.setitem(SETTINGS, profile, short)
    with joblib.parallel_config(backend="sequential"):
        yield tmp_path


def test_a_profile_is_trained_measured_and_saved(quick):
    run("smoke", seed=3)
    record = json.loads((quick / f"results/smoke/{NAME}.json").read_text())
    assert record["provenance"]["seeds"] == [3, 4]
    assert record["protocol"]["epochs"] == 6
    found = {"values": record["values"]}
    checks = [
        c for claim in load_claims(ROOT / "claims") for c in (claim.check, *claim.conditions)
    ]
    paths = [c.result.split(":")[1] for c in checks if c.result.startswith(f"{NAME}:")]
    numbers = yaml.safe_load((ROOT / "book/prose_numbers.yml").read_text())
    wanted = re.compile(rf"{NAME}:values\.(.*)")
    paths += [m[1] for e in numbers if (m := wanted.fullmatch(e.get("result", "")))]
    assert len(paths) > 10
    for path in paths:  # all that claims and pages rest on
        lookup(found, path)
    assert not (quick / "_build").exists()  # nothing is kept of a smoke run


def test_networks_of_a_full_run_are_kept_and_not_trained_again(quick, monkeypatch):
    first = run("full")
    assert len(list((quick / f"_build/full/{NAME}").glob("*.pt"))) == 4

    def never(*arguments, **options):
        raise AssertionError("trained again")

    digest = chapter.code_digest(chapter.train_network)
    monkeypatch.setattr(chapter, "code_digest", lambda *_: digest)
    monkeypatch.setattr(chapter, "train_network", never)
    assert run("full")["official"]["accuracy"] == first["official"]["accuracy"]


def test_an_unknown_profile_is_refused(quick, no_shape_checks):
    with pytest.raises(
        ValueError, match=r"profile must be one of \['full', 'smoke'\], got 'fast'"
    ):
        run("fast")
