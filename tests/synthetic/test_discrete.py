"""Joint tables: capacities, direct sums, samples."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
from slow_reference import EPS

from softmi import DiscreteJoint, entropy

# --- DiscreteJoint ----------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [0.0, 0.11, 0.5])
def test_binary_symmetric_channel_has_its_capacity(flip):
    table = [[(1 - flip) / 2, flip / 2], [flip / 2, (1 - flip) / 2]]
    expected = math.log(2) - scipy.stats.entropy([flip, 1 - flip])
    known = DiscreteJoint(table).mutual_information()
    assert known.value == pytest.approx(expected, abs=8 * EPS)
    assert (known.standard_error, known.method) == (0.0, "exact")


@pytest.mark.parametrize("seed", range(3))
def test_table_information_equals_scikit_learn_and_the_direct_sum(seed):
    counts = np.random.default_rng(seed).integers(0, 20, (6, 4))
    table = torch.from_numpy(counts / counts.sum())
    joint = DiscreteJoint(table)
    oracle = sklearn.metrics.mutual_info_score(None, None, contingency=counts)
    assert joint.mutual_information().value == pytest.approx(oracle, rel=1e-12)
    independent = torch.outer(joint.input_marginal, joint.prior)
    direct = torch.where(table > 0, table * (table / independent).log(), 0.0).sum()
    assert joint.mutual_information().value == pytest.approx(direct.item(), rel=1e-12)
    # Symmetric in input and label.
    assert DiscreteJoint(table.T).mutual_information().value == pytest.approx(oracle, rel=1e-12)


def test_independent_table_has_no_information_and_never_a_negative_one():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        table = np.outer(rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(3)))
        assert 0 <= DiscreteJoint(table.tolist()).mutual_information().value < 32 * EPS


def test_marginals_and_posterior_by_hand():
    joint = DiscreteJoint([[0.1, 0.3], [0.0, 0.6], [0.0, 0.0]])
    torch.testing.assert_close(joint.prior, torch.tensor([0.1, 0.9]).double())
    torch.testing.assert_close(joint.input_marginal, torch.tensor([0.4, 0.6, 0.0]).double())
    expected = torch.tensor([[0.25, 0.75], [0.0, 1.0], [0.5, 0.5]]).double()
    torch.testing.assert_close(joint.posterior(), expected)
    assert joint.mutual_information().value <= entropy(joint.prior).item()


def test_table_samples_have_its_frequencies():
    joint = DiscreteJoint([[0.1, 0.3], [0.0, 0.4], [0.2, 0.0]])
    n = 50_000
    x, y = joint.sample(n, torch.Generator().manual_seed(0))
    found = torch.bincount(2 * x + y, minlength=6).double().reshape(3, 2) / n
    error = (joint.table * (1 - joint.table) / n).sqrt()
    assert ((found - joint.table).abs() <= 4 * error).all()  # exactly 0 where the table is


# --- Hostile input ----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([0.5, 0.5], r"\(inputs, classes\), got shape \(2,\)"),
        ([[0.5, 0.6]], r"sum to 1, got a sum of 1\.1"),
        ([[1.5, -0.5]], r"non-negative, got \[1\.5, -0\.5\]"),
    ],
)
def test_bad_tables_are_refused_with_what_came_in(table, message):
    with pytest.raises(ValueError, match=message):
        DiscreteJoint(table)
