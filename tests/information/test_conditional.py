"""Information of outputs given the label: by hand, and direct sums."""

import math

import pytest
import scipy.special
import scipy.stats
import torch
from classifier_outputs import (
    half_types,
    random_case,
)
from slow_reference import EPS

from softmi import (
    conditional_mutual_information,
)


def test_cmi_is_zero_when_all_inputs_of_a_class_give_the_same_output():
    outputs = random_case(30, n=5)[0]
    targets = torch.arange(5).repeat(7)
    # p log p - p log q with equal p and q, up to the rounding of a mean of seven.
    found = conditional_mutual_information(outputs[targets], targets)
    assert found.item() == pytest.approx(0, abs=16 * EPS)


@pytest.mark.parametrize(
    ("logits", "targets", "nats"),
    [
        ([[1e4, -1e4], [-1e4, 1e4]], [0, 0], math.log(2)),  # opposite certain outputs
        ([[1e4, -1e4], [-1e4, 1e4]], [0, 1], 0.0),  # the same, each alone in its class
        # Class 0: outputs (3/4, 1/4) and (1/4, 3/4), centroid (1/2, 1/2), divergence
        # log 2 - h(1/4) twice; class 1, half of the samples: none.
        (
            [[math.log(3), 0], [0, math.log(3)], [1, 2], [1, 2]],
            [0, 0, 1, 1],
            0.5 * (0.75 * math.log(3) - math.log(2)),
        ),
        ([[0.3, 0.7]], [1], 0.0),  # a single sample is its own centroid
    ],
)
@pytest.mark.paper("yang2023", "CMI")
def test_cmi_by_hand(logits, targets, nats):
    found = conditional_mutual_information(
        torch.tensor(logits, dtype=torch.float64), torch.tensor(targets)
    )
    assert found.item() == pytest.approx(nats, abs=8 * EPS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.paper("yang2023", "CMI")
def test_cmi_equals_a_direct_sum_over_samples(seed):
    logits, targets, _ = random_case(seed)
    p = scipy.special.softmax(logits.numpy(), axis=1)
    total = 0.0
    for i, y in enumerate(targets.tolist()):
        centroid = p[targets.numpy() == y].mean(axis=0)
        total += scipy.special.rel_entr(p[i], centroid).sum()
    found = conditional_mutual_information(logits, targets)
    assert found.item() == pytest.approx(total / len(targets), rel=1e-12)


def test_cmi_is_the_entropy_of_centroids_minus_that_of_outputs():
    logits, targets, _ = random_case(31)
    p = torch.softmax(logits, 1)
    gain = 0.0
    for k in range(5):
        members = p[targets == k]
        share = len(members) / len(p)
        gain += share * (
            torch.special.entr(members.mean(0)).sum() - torch.special.entr(members).sum(1).mean()
        )
    found = conditional_mutual_information(logits, targets)
    assert found.item() == pytest.approx(gain.item(), rel=1e-12)


@half_types
def test_cmi_of_half_precision_is_computed_in_float32(dtype):
    logits, targets, _ = random_case(32)
    rounded = logits.to(dtype)
    found = conditional_mutual_information(rounded, targets)
    assert found.dtype == torch.float32
    assert torch.equal(found, conditional_mutual_information(rounded.float(), targets))


def test_cmi_has_the_right_gradient():
    logits, targets, _ = random_case(33, n=8, classes=3)
    assert torch.autograd.gradcheck(
        lambda f: conditional_mutual_information(f, targets), logits.requires_grad_(True)
    )
