"""Accuracies that weigh classes differently, by hand."""

import numpy as np
import pytest
import torch

from softmi.evidence.statistics import crossed_interval, paired_difference, summarise
from softmi.experiments.decisions import (
    accuracies,
    accuracy_differences,
    accuracy_intervals,
    certainty,
    certainty_differences,
    class_weights,
    commonest_class,
    costs_of,
    hits_of,
    recalls,
    shares,
    with_intervals,
)

LABELS = torch.tensor([0, 0, 0, 1])
LOGITS = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])  # one of class 0 is wrong


def test_shares_count_classes_that_do_not_occur():
    assert shares(LABELS, 3).tolist() == [0.75, 0.25, 0.0]


def test_accuracies_weigh_the_same_recalls_differently():
    assert recalls(LOGITS, LABELS).tolist() == pytest.approx([2 / 3, 1])
    found = accuracies(LOGITS, LABELS, torch.tensor([900, 10]))
    assert found["micro"] == pytest.approx(3 / 4)
    assert found["class_mean"] == pytest.approx(5 / 6)
    assert found["at_training_prior"] == pytest.approx((900 * 2 / 3 + 10) / 910)
    assert (found["many"], found["few"]) == (pytest.approx(2 / 3), pytest.approx(1))
    assert "medium" not in found  # no class of 20 to 100


def test_certainty_is_that_of_the_softmax():
    found = certainty(LOGITS, LABELS)
    sure = float(torch.tensor([2.0, 0.0]).softmax(0)[0])
    assert found["calibration_error"] == pytest.approx(abs(sure - 3 / 4), abs=1e-6)
    right, wrong = -torch.tensor([2.0, 0.0]).log_softmax(0)
    assert found["cross_entropy"] == pytest.approx(float(3 * right + wrong) / 4)


def test_the_baseline_names_the_commonest_class_of_training():
    found = commonest_class(LABELS, torch.tensor([10, 30]))
    assert found == {"micro": 0.25, "class_mean": 0.5, "at_training_prior": 0.75}


# --- Intervals over seeds and test images --------------------------------------------------------

COUNTS = torch.tensor([900, 60, 10])


def made_up(seeds: int = 3, images: int = 90) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % 4 % 3  # classes of unlike size
    shared = torch.randn(images, 3, generator=generator)
    noise = (torch.randn(images, 3, generator=generator) for _ in range(seeds))
    return [torch.eye(3)[labels] + shared + 0.5 * n for n in noise], labels


@pytest.mark.parametrize("measure", ["micro", "class_mean", "at_training_prior", "many", "few"])
def test_intervals_are_about_the_accuracies_of_the_tables(measure):
    """One definition of each measure: a mean of hits is what torchmetrics gives."""
    logits, labels = made_up()
    found = accuracy_intervals(hits_of(logits, labels), labels, COUNTS)
    expected = [accuracies(f, labels, COUNTS)[measure] for f in logits]
    assert found[measure]["values"] == pytest.approx(expected, abs=1e-6)
    assert set(found) == set(accuracies(logits[0], labels, COUNTS))


def test_weights_of_classes_add_up():
    weights = class_weights(COUNTS)
    assert weights.pop("micro") is None
    assert all(w.sum() == pytest.approx(1) for w in weights.values())
    assert weights["medium"].tolist() == [0, 1, 0]


def test_images_of_other_classes_do_not_matter_to_a_group():
    logits, labels = made_up()
    hits = hits_of(logits, labels)
    before = accuracy_intervals(hits, labels, COUNTS)["few"]
    hits[:, (labels != 2).numpy()] = False
    assert accuracy_intervals(hits, labels, COUNTS)["few"] == before
    assert before["images"] == int((labels == 2).sum())


def test_differences_are_paired_by_seed_and_by_image():
    """What all networks find hard moves two methods together: the difference varies less."""
    logits, labels = made_up()
    hits = hits_of(logits, labels)
    other = hits.copy()
    other[:, ::7] = False
    found = accuracy_differences(hits, other, labels, COUNTS)["class_mean"]
    alone = [accuracy_intervals(h, labels, COUNTS)["class_mean"] for h in (hits, other)]
    assert found["mean"] == pytest.approx(alone[0]["mean"] - alone[1]["mean"])
    variances = [i["variance"]["images"] for i in (found, *alone)]
    assert variances[0] < 0.5 * sum(variances[1:])
    same = accuracy_differences(hits, hits, labels, COUNTS)["micro"]
    assert (same["low"], same["high"]) == (0, 0)


def test_costs_are_those_of_the_softmax_in_half_precision():
    logits, labels = made_up()
    costs = costs_of(logits, labels)
    assert costs.dtype == np.float16
    expected = [certainty(f, labels)["cross_entropy"] for f in logits]
    # Eleven bits of costs of at most a few nats, and roundings of 90 images in both directions.
    assert costs.astype(float).mean(1) == pytest.approx(expected, abs=2**-11)


def test_certainty_holds_images_where_costs_are_kept_and_seeds_alone_else():
    logits, labels = made_up()
    numbers = [certainty(f, labels) for f in logits]
    ours = {m: summarise([n[m] for n in numbers]) for m in numbers[0]}
    theirs = {m: summarise([2 * n[m] for n in numbers]) for m in numbers[0]}
    costs = costs_of(logits, labels)
    found = certainty_differences(ours, theirs, costs, 2 * costs)
    assert found["cross_entropy"] == crossed_interval(-costs.astype(float))
    alone = paired_difference(ours["calibration_error"]["values"],
                              theirs["calibration_error"]["values"])  # fmt: skip
    assert found["calibration_error"] == alone
    assert "images" not in certainty_differences(ours, theirs)["cross_entropy"]


def test_intervals_are_added_and_summaries_stay():
    logits, labels = made_up()
    held = {"softmax/equal": accuracy_intervals(hits_of(logits, labels), labels, COUNTS)}
    mean = summarise([0.1, 0.2, 0.3])
    accuracy = {"softmax": {"equal": {"micro": mean, "cross_entropy": mean}, "information": 1.0}}
    found = with_intervals(accuracy, held)["softmax"]
    assert {k: found["equal"]["micro"][k] for k in mean} == mean
    assert found["equal"]["micro"]["low"] == held["softmax/equal"]["micro"]["low"]
    assert found["equal"]["cross_entropy"] == mean
    assert found["information"] == 1.0
    assert "low" not in mean  # what was given is not changed
