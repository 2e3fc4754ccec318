"""What the networks of the long tail are asked, on numbers that can be worked out by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from long_tail import answers, tiny

from softmi.evidence.ledger import load_claims
from softmi.evidence.results import lookup
from softmi.experiments.long_tailed_summaries import (
    accuracies_held,
    by_rule,
    evaluate,
    methods,
    moved,
    outcomes_of,
    prior_curves,
    reliability,
    seeds_against_methods,
    short_name,
    tau_curves,
)
from softmi.experiments.loss_table import LOSSES, LossRow
from softmi.training import LossFunction

COUNTS = torch.tensor([400, 60, 10])
ROOT = Path(__file__).resolve().parents[2]


def networks(losses=(*LOSSES, "tau=2"), seeds=3, tests=("authors", "official")):
    """Made-up logits: another for each loss and seed."""
    return {
        loss: [{t: answers(100 * i + s, COUNTS)[0] for t in tests} for s in range(seeds)]
        for i, loss in enumerate(losses)
    }


@pytest.fixture(scope="module")
def values():
    labels = answers(0, COUNTS)[1]
    return evaluate(COUNTS, {"authors": labels, "official": labels}, networks())


def test_every_number_that_a_claim_rests_on_is_found(values):
    checks = [c for claim in load_claims() for c in (claim.check, *claim.conditions)]
    paths = {
        match[1]
        for check in checks
        if (match := re.fullmatch(r"06_long_tailed_losses_(?:mnist|cifar10lt|cub50):(.*)",
                                  check.result))
    }  # fmt: skip
    numbers = yaml.safe_load((ROOT / "book/prose_numbers.yml").read_text())
    paths |= {
        match[1]
        for entry in numbers
        if (match := re.fullmatch(r"06_long_tailed_losses_\w+:values\.(.*)",
                                  entry.get("result", "")))
    }  # fmt: skip
    assert len(paths) > 10
    for path in paths:
        lookup({"values": values}, path)


def test_rules_move_the_logits_by_what_they_carry():
    logits = torch.zeros(1, 3)
    prior = COUNTS / COUNTS.sum()
    torch.testing.assert_close(moved(logits, "softmax", COUNTS), -prior.log()[None])
    torch.testing.assert_close(moved(logits, "PC-softmax", COUNTS, prior), prior.log()[None])
    torch.testing.assert_close(
        moved(logits, "tau=0.5", COUNTS).softmax(1), (prior**-0.5 / (prior**-0.5).sum())[None]
    )


def test_each_network_is_asked_by_four_rules():
    logits, labels = answers(3, COUNTS)
    found = by_rule(logits, "softmax", labels, COUNTS)
    assert set(found) == {"as_trained", "equal", "training", "test", "information"}
    assert found["training"] == pytest.approx(found["as_trained"], abs=1e-6)  # its own prior
    assert found["test"]["micro"] == found["equal"]["micro"]  # the test is balanced
    assert found["equal"]["class_mean"] > found["as_trained"]["class_mean"]


def test_methods_are_those_of_the_losses_that_were_trained():
    assert methods(["tau=2", "PC-softmax"]) == {"PC-softmax": ("PC-softmax", "as_trained")}
    both = methods(["PC-softmax", "softmax"])
    assert list(both) == ["softmax", "PC-softmax", "post-hoc"]
    assert both["post-hoc"] == ("softmax", "equal")
    assert [short_name(m) for m in both] == ["softmax", "pc", "posthoc"]


def test_differences_are_paired_and_antisymmetric(values):
    found = values["official"]["differences"]
    ours, theirs = (values["official"]["accuracy"][n]["as_trained"]["micro"]["values"]
                    for n in ("PC-softmax", "focal"))  # fmt: skip
    expected = np.subtract(ours, theirs)
    assert found["pc_minus_focal"]["micro"]["values"] == pytest.approx(
        expected.tolist(),
        abs=1e-6,  # accuracies come from single precision
    )
    assert found["focal_minus_pc"]["micro"]["mean"] == pytest.approx(-expected.mean())
    assert found["pc_moved_minus_pc"]["micro"]["n"] == 3


def test_spread_is_over_the_methods_that_correct():
    """Plain softmax and focal loss are not among them: their hits do not matter."""
    labels = answers(0, COUNTS)[1]
    before = outcomes_of(COUNTS, {"t": labels}, networks(LOSSES, tests=("t",)))
    found = seeds_against_methods(before, "t")["class_mean"]
    assert found["ratio"]["low"] < found["ratio"]["mean"] < found["ratio"]["high"]
    for method in ("softmax/as_trained", "focal/as_trained", "PC-softmax/equal"):
        before.hits["t"][method][:] = True
    after = seeds_against_methods(before, "t")["class_mean"]
    assert after == found
    before.hits["t"]["softmax/equal"][:] = True  # post-hoc
    assert seeds_against_methods(before, "t")["class_mean"] != found


def test_the_family_is_corrected_for_its_number(values):
    found = values["official"]
    members = {(k, m): n for k, of in found["family"].items() for m, n in of.items()}
    # Each method against softmax, PC-softmax against the others that correct, and what it pays.
    number = len(LOSSES) + sum(row.corrects for row in LOSSES.values()) + 1
    assert len(members) == number
    assert ("pc_minus_ldam", "class_mean") in members
    assert ("pc_minus_softmax", "at_training_prior") in members
    for (key, measure), found_p in members.items():
        difference = found["differences"][key][measure]
        # One rule: an interval misses zero where the p-value is below one minus its coverage.
        assert (found_p["p"] < 0.05) == (difference["low"] > 0 or difference["high"] < 0)
        assert found_p["p"] <= found_p["holm"] <= min(number * found_p["p"], 1.0) + 1e-12


def test_intervals_are_computed_again_from_the_outcomes_alone(values):
    labels = answers(0, COUNTS)[1]
    outcomes = outcomes_of(COUNTS, {"official": labels}, networks(tests=("official",)))
    held = accuracies_held(outcomes, "official")
    assert (
        held["differences"]["pc_minus_focal"]["few"]
        == (values["official"]["differences"]["pc_minus_focal"]["few"])
    )
    found = held["accuracy"]["PC-softmax/as_trained"]["class_mean"]
    stored = values["official"]["accuracy"]["PC-softmax"]["as_trained"]["class_mean"]
    assert (stored["low"], stored["high"]) == (found["low"], found["high"])
    assert stored["mean"] == pytest.approx(found["mean"], abs=1e-6)  # from single precision


def test_the_cost_of_wrong_probabilities_holds_the_chance_of_images(values):
    """The one difference of costs that a row rests on; of others the interval is over seeds."""
    found = values["official"]["differences"]
    moved_costs = found["softmax_moved_minus_softmax"]
    assert moved_costs["cross_entropy"]["images"] == 60
    assert "images" not in moved_costs["calibration_error"]
    assert "images" not in found["pc_minus_focal"]["cross_entropy"]
    accuracy = values["official"]["accuracy"]["softmax"]
    apart = (
        accuracy["test"]["cross_entropy"]["mean"] - accuracy["as_trained"]["cross_entropy"]["mean"]
    )
    # Costs are kept in half precision: eleven bits of numbers of order one.
    assert moved_costs["cross_entropy"]["mean"] == pytest.approx(apart, abs=2**-11)


def test_reliability_counts_answers_by_their_probability():
    logits = torch.tensor([[0.85, 0.15], [0.85, 0.15], [0.35, 0.65]]).log()
    found = reliability([logits], torch.tensor([0, 1, 1]))
    assert found["sure"][8] == pytest.approx(0.85)
    assert (found["right"][8], found["right"][6]) == (0.5, 1.0)
    assert found["share"][8] == pytest.approx(2 / 3)
    assert sum(found["share"]) == pytest.approx(1)


def test_curves_meet_the_accuracies_at_their_ends(values):
    accuracy = values["official"]["accuracy"]
    curve = values["official"]["curves"]["prior"]
    for loss in ("softmax", "PC-softmax"):
        as_trained = accuracy[loss]["as_trained"]
        ends = np.array(curve[loss]["as_trained"])[[8, 16]]  # equal shares; those of training
        means = [as_trained[m]["mean"] for m in ("class_mean", "at_training_prior")]
        assert ends == pytest.approx(means, abs=1e-6)
        moved_there = accuracy[loss]["training"]["at_training_prior"]["mean"]
        assert curve[loss]["moved"][16] == pytest.approx(moved_there, abs=1e-6)
    tau = values["official"]["curves"]["tau"]
    at = {round(float(t), 2): i for i, t in enumerate(tau["tau"])}
    plain, corrected = (accuracy["softmax"][r]["class_mean"] for r in ("as_trained", "equal"))
    assert tau["softmax"]["class_mean"][at[0.0]] == pytest.approx(plain["mean"], abs=1e-6)
    assert tau["softmax"]["class_mean"][at[1.0]] == pytest.approx(corrected["mean"], abs=1e-6)
    assert set(tau["trained"]) == {"0", "1", "2"}


def test_curves_of_what_was_not_trained_are_left_out():
    labels = answers(0, COUNTS)[1]
    logits = {"focal": [answers(0, COUNTS)[0]]}
    assert set(prior_curves(logits, labels, COUNTS)) == {"power"}
    assert tau_curves(logits, labels, COUNTS)["trained"] == {}


def test_a_new_row_is_a_new_method_everywhere(monkeypatch):
    """Adding a loss takes a row, and nothing else in the summaries."""

    def squared(counts: torch.Tensor, recipe) -> LossFunction:
        return torch.nn.functional.mse_loss

    row = LossRow("squared", "squared", squared, lambda counts: None, hue="indigo", marker="*")
    monkeypatch.setitem(LOSSES, "squared", row)
    assert row.make(COUNTS, tiny()) is torch.nn.functional.mse_loss
    labels = answers(0, COUNTS)[1]
    found = evaluate(COUNTS, {"official": labels}, networks(tests=("official",), losses=LOSSES))
    assert "squared_minus_softmax" in found["official"]["differences"]
    assert "squared" in found["official"]["reliability"]


def test_differences_need_no_loss_in_particular():
    labels = answers(0, COUNTS)[1]
    found = evaluate(
        COUNTS, {"official": labels}, networks(("focal", "LDAM-DRW"), tests=("official",))
    )
    assert set(found["official"]["differences"]) == {"focal_minus_ldam", "ldam_minus_focal"}
