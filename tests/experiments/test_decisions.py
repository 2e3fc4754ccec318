"""Accuracies that weigh classes differently, by hand."""

import pytest
import torch

from softmi.experiments.decisions import accuracies, certainty, commonest_class, recalls, shares

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
