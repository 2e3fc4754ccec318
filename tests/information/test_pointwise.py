"""Entropy and pointwise information: closed forms, and references to 50 digits."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from classifier_outputs import (
    TABLES,
    both_kinds,
    half_types,
    optimal_logits,
    random_case,
)
from slow_reference import EPS, log_ratio, relative_error, rounding_bound

from softmi import (
    entropy,
    pointwise_mutual_information,
)

# --- Entropy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_entropy_of_equally_likely_classes_is_log_m(classes):
    prior = torch.full((classes,), 1 / classes, dtype=torch.float64)
    # M summands, each rounded: M eps log M at the very most.
    assert entropy(prior).item() == pytest.approx(math.log(classes), abs=classes * EPS * 7)


@pytest.mark.parametrize(
    ("prior", "nats"),
    [
        ([0.5, 0.25, 0.25], 1.5 * math.log(2)),
        ([1.0, 0.0, 0.0], 0.0),
        ([0.25, 0.75], 2 * math.log(2) - 0.75 * math.log(3)),
        ([k / 15 for k in range(1, 6)], 1.4897503188),  # facts: H(Y) of the imbalanced task
    ],
)
def test_entropy_closed_forms(prior, nats):
    assert entropy(prior).item() == pytest.approx(nats, abs=1e-10 if nats == 1.4897503188 else EPS)


@pytest.mark.parametrize("seed", range(3))
def test_entropy_equals_scipy(seed):
    prior = np.random.default_rng(seed).dirichlet(np.full(30, 0.3))
    assert entropy(prior).item() == pytest.approx(scipy.stats.entropy(prior), rel=1e-14)


@pytest.mark.parametrize(
    "prior", [[0.25, 0.75], (0.25, 0.75), np.array([0.25, 0.75]), torch.tensor([0.25, 0.75])]
)
def test_entropy_takes_lists_arrays_and_tensors(prior):
    assert entropy(prior).item() == pytest.approx(0.5623351446, abs=1e-7)


def test_entropy_is_differentiable_in_the_prior():
    prior = torch.tensor([0.25, 0.75], dtype=torch.float64, requires_grad=True)
    entropy(prior).backward()
    torch.testing.assert_close(prior.grad, -prior.detach().log() - 1, rtol=0, atol=4 * EPS)


@half_types
def test_entropy_of_a_half_precision_prior_is_computed_in_float32(dtype):
    prior = torch.full((1000,), 1 / 1000, dtype=dtype)  # sums to 1 only as well as dtype can say
    stored = prior.double()
    found = entropy(prior)
    assert found.dtype == torch.float32
    # float32 sum of 1000 terms: 1000 eps32 of the result at most.
    assert found.item() == pytest.approx(-(stored * stored.log()).sum().item(), rel=1000 * 2**-23)


@pytest.mark.parametrize(
    ("prior", "error", "message"),
    [
        ([0.5, 0.6], ValueError, r"sum to 1, got a sum of 1\.1 from \[0\.5, 0\.6\]"),
        ([1.5, -0.5], ValueError, r"non-negative, got \[1\.5, -0\.5\]"),
        ([float("nan"), 1.0], ValueError, r"finite and non-negative, got \[nan, 1\.0\]"),
        ([float("inf"), 0.0], ValueError, r"finite and non-negative, got \[inf, 0\.0\]"),
        ([], ValueError, r"shape \(classes,\), got shape \(0,\)"),
        ([[0.5, 0.5]], ValueError, r"shape \(classes,\), got shape \(1, 2\)"),
        (torch.tensor([0.5 + 0j, 0.5]), TypeError, "real numbers.*complex64"),
        (torch.tensor([True, False]), TypeError, "real numbers.*bool"),
        ([0.1] * 11, ValueError, r"sum of 1\.1 from .*0\.1, '\.\.\.'\]"),
    ],
)
@pytest.mark.usefixtures("no_shape_checks")
def test_entropy_refuses_what_is_no_distribution(prior, error, message):
    with pytest.raises(error, match=message):
        entropy(prior)


# --- Pointwise mutual information -------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize(
    ("scale", "offset"), [(1, 0), (30, 0), (1, 1e4), (1e4, 0)], ids=["1", "30", "1+1e4", "1e4"]
)
@pytest.mark.paper("qin2019", "PC-softmax")
def test_pmi_agrees_with_fifty_digits_to_1e12(prior_corrected, scale, offset):
    logits, _, prior = random_case(1, n=8)
    logits = logits / 3 * scale + offset
    found = pointwise_mutual_information(logits, prior, prior_corrected=prior_corrected)
    for row, expected in zip(logits, found, strict=True):
        exact = log_ratio(row, prior, prior_corrected=prior_corrected)
        floor = rounding_bound(row, prior)
        for value, truth in zip(expected, exact, strict=True):
            assert relative_error(value, truth, floor) < 1e-12


@pytest.mark.paper("qin2019", "PC-softmax")
def test_pmi_of_corrected_logits_is_that_of_plain_logits_plus_log_prior():
    logits, _, prior = random_case(2)
    plain = pointwise_mutual_information(logits + prior.log(), prior)
    corrected = pointwise_mutual_information(logits, prior, prior_corrected=True)
    # A handful of roundings of numbers below 32.
    torch.testing.assert_close(corrected, plain, rtol=0, atol=8 * 32 * EPS)


@both_kinds
def test_pmi_turns_the_prior_into_a_posterior(prior_corrected):
    logits, _, prior = random_case(3)
    pmi = pointwise_mutual_information(logits, prior, prior_corrected=prior_corrected)
    one = (prior * pmi.exp()).sum(1)
    torch.testing.assert_close(one, torch.ones_like(one), rtol=0, atol=5 * 16 * EPS)


@both_kinds
@pytest.mark.paper("qin2019", "PC-softmax")
def test_pmi_of_a_discrete_joint_is_the_log_ratio_of_its_table(prior_corrected):
    counts = TABLES["dependent"]
    table = torch.tensor(counts, dtype=torch.float64) / 114
    logits = optimal_logits(counts, prior_corrected=prior_corrected)
    pmi = pointwise_mutual_information(logits, table.sum(0), prior_corrected=prior_corrected)
    exact = (table / (table.sum(1, keepdim=True) * table.sum(0))).log()
    torch.testing.assert_close(pmi, exact, rtol=0, atol=16 * EPS)


@both_kinds
def test_pmi_does_not_change_when_a_constant_is_added_to_all_logits(prior_corrected):
    # Multiples of 2^-20 below 2^15: the sum is exact, so the results are equal bit for bit.
    logits = (random_case(4)[0] * 2**20).round() / 2**20
    prior = random_case(4)[2]
    shifted = pointwise_mutual_information(logits + 10_000, prior, prior_corrected=prior_corrected)
    assert torch.equal(
        shifted, pointwise_mutual_information(logits, prior, prior_corrected=prior_corrected)
    )


@both_kinds
def test_pmi_of_permuted_classes_is_permuted(prior_corrected):
    logits, _, prior = random_case(5)
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = pointwise_mutual_information(
        logits[:, order], prior[order], prior_corrected=prior_corrected
    )
    expected = pointwise_mutual_information(logits, prior, prior_corrected=prior_corrected)
    # Only the order of a sum of five positive numbers changes.
    torch.testing.assert_close(permuted, expected[:, order], rtol=0, atol=16 * 16 * EPS)


def test_pmi_of_huge_logits_has_its_closed_form():
    logits = torch.tensor([[1e4, -1e4]], dtype=torch.float64)
    plain = pointwise_mutual_information(logits, [0.25, 0.75])
    corrected = pointwise_mutual_information(logits, [0.25, 0.75], prior_corrected=True)
    assert plain.tolist() == [[math.log(4), -2e4 - math.log(0.75)]]
    assert corrected.tolist() == [[math.log(4), -2e4 + math.log(4)]]


@both_kinds
@half_types
def test_pmi_of_half_precision_is_computed_in_float32(dtype, prior_corrected):
    logits = random_case(6)[0].to(dtype)
    prior = random_case(6)[2]
    found = pointwise_mutual_information(logits, prior, prior_corrected=prior_corrected)
    assert found.dtype == torch.float32
    assert torch.equal(
        found, pointwise_mutual_information(logits.float(), prior, prior_corrected=prior_corrected)
    )


def test_pmi_of_an_impossible_class_is_infinite_for_plain_and_finite_for_corrected_logits():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    plain = pointwise_mutual_information(logits, [0.5, 0.5, 0.0])
    corrected = pointwise_mutual_information(logits, [0.5, 0.5, 0.0], prior_corrected=True)
    assert plain[0, 2] == math.inf
    assert torch.isfinite(corrected).all()
    # The impossible class takes no part in the normaliser.
    torch.testing.assert_close(
        corrected[:, :2],
        pointwise_mutual_information(logits[:, :2], [0.5, 0.5], prior_corrected=True),
    )
