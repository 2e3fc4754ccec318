"""Checks of what callers pass in: tolerances from both sides, and hints at what went wrong."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import one_hot

import softmi
from softmi import entropy, mutual_information, pc_cross_entropy, pointwise_mutual_information
from softmi._checks import (
    HANDFUL,
    are_probabilities,
    as_class_weights,
    as_prior,
    check_soft_targets,
    check_targets,
    sum_tolerance,
    values_can_be_checked,
)

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
each_float = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def test_values_are_not_looked_at_while_a_graph_is_compiled(monkeypatch):
    """There a look would break the graph; elsewhere the same distribution is refused."""
    off, x = torch.tensor([0.5, 0.4]), torch.zeros(3)
    assert values_can_be_checked(x, off)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not values_can_be_checked(x, off)


# --- Sums of distributions --------------------------------------------------------------------


@each_float
@pytest.mark.parametrize("classes", [2, 10, 1000, 100_000])
def test_the_tolerance_is_small_and_absolute(dtype, classes):
    allowed = sum_tolerance(dtype, classes)
    assert 1e-6 <= allowed <= 0.02
    if dtype in (torch.float32, torch.float64):
        assert allowed <= 1e-4


@each_float
@pytest.mark.parametrize("classes", [2, 10, 1000, 20_000])
def test_honest_distributions_pass_however_they_were_rounded(dtype, classes):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        logits = 3 * torch.randn(classes, generator=generator, dtype=torch.float64)
        p = logits.softmax(0)
        counts = torch.randint(1, 500, (classes,), generator=generator)
        stored = p.to(dtype)
        honest = {
            "stored": stored,
            "softmax": logits.to(dtype).softmax(0),
            "divided": (counts / counts.sum()).to(dtype),
            "smoothed": 0.9 * stored + 0.1 / classes,
            "mixed": 0.3 * stored + 0.7 * stored.flip(0),
            "smoothed and mixed": 0.3 * (0.9 * stored + 0.1 / classes) + 0.7 * stored.flip(0),
        }
        for name, values in honest.items():
            error = abs(float(values.double().sum()) - 1)
            assert error <= sum_tolerance(dtype, classes), (name, error)
            as_prior(values)
            check_soft_targets(values[None], values[None])


@each_float
@pytest.mark.parametrize("classes", [2, 1000])
def test_what_is_off_by_more_than_rounding_is_refused_and_by_less_taken(dtype, classes):
    allowed, p = sum_tolerance(dtype, classes), torch.full((classes,), 1 / classes)
    for sign in (-1, 1):
        near, far = ((p * (1 + sign * share * allowed)).to(dtype) for share in (0.5, 2.0))
        as_prior(near)
        check_soft_targets(near[None], near[None])
        with pytest.raises(ValueError, match="prior must sum to 1"):
            as_prior(far)
        with pytest.raises(ValueError, match="soft targets must sum to 1"):
            check_soft_targets(far[None], far[None])


@each_float
@pytest.mark.parametrize("total", [0.1, 0.9, 1.1, 9.0])
def test_a_sum_of_a_tenth_is_no_distribution_in_any_precision(dtype, total):
    prior = torch.full((1000,), total / 1000, dtype=dtype)
    logits, targets = torch.zeros(20, 1000), torch.arange(20)
    for call in (
        lambda: entropy(prior),
        lambda: pointwise_mutual_information(logits, prior),
        lambda: mutual_information(logits, targets, prior),
        lambda: pc_cross_entropy(logits, targets, prior),
        lambda: pc_cross_entropy(logits.to(dtype), prior.repeat(20, 1), [0.001] * 1000),
    ):
        with pytest.raises(ValueError, match="must sum to 1"):
            call()


def test_soft_targets_whose_values_are_not_read_must_still_have_the_shape_of_the_logits():
    off, logits = torch.full((2, 3), 0.2), torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"must sum to 1: 2 of 2 do not"):
        check_soft_targets(off, logits)
    check_soft_targets(off, logits, values=False)
    with pytest.raises(ValueError, match=r"soft targets must have shape \(2, 3\) of the logits"):
        check_soft_targets(off[:, :2], logits, values=False)


def test_class_weights_of_whole_numbers_become_the_default_floats_and_other_floats_stay():
    for weights in ([1, 2, 3], torch.tensor([1, 2, 3]), np.array([1, 2, 3], np.int16)):
        found = as_class_weights(weights)
        assert found.dtype == torch.get_default_dtype()
        assert found.tolist() == [1, 2, 3]
    assert as_class_weights([1.0, 2.0]).dtype == torch.float64
    assert as_class_weights(torch.ones(2, dtype=torch.float16)).dtype == torch.float32


def test_a_half_precision_prior_of_a_thousand_classes_is_taken():
    prior = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prior = (prior / prior.sum()).half()
    assert abs(float(prior.double().sum()) - 1) < 3e-5  # far inside
    assert entropy(prior).item() < math.log(1000)


# --- Priors by position -----------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
def test_a_series_out_of_order_is_refused_and_one_in_order_taken():
    y = pd.Series([2] * 5 + [0] * 3 + [1] * 2)
    counted = y.value_counts(normalize=True)  # the most frequent first
    with pytest.raises(ValueError, match=r"with index \[2, 0, 1\], .* \[0, 1, 2\]: reindex"):
        as_prior(counted)
    assert as_prior(counted.sort_index()).tolist() == [0.3, 0.2, 0.5]
    assert as_prior(pd.Series([0.3, 0.7])).tolist() == [0.3, 0.7]
    with pytest.raises(ValueError, match=r"index \['b', 'a'\]"):
        as_prior(pd.Series([0.3, 0.7], index=["b", "a"]))


def test_a_masked_prior_is_refused():
    with pytest.raises(ValueError, match="masked array with hidden entries"):
        as_prior(np.ma.masked_array([0.5, 0.5, 0.0], mask=[False, False, True]))
    assert as_prior(np.ma.masked_array([0.5, 0.5], mask=False)).tolist() == [0.5, 0.5]


# --- Targets ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64], ids=str)
def test_unsigned_targets_of_any_width_are_taken(dtype):
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    wide = targets.to(dtype)
    assert mutual_information(logits, wide) == mutual_information(logits, targets)
    assert torch.equal(
        softmi.conditional_mutual_information(logits, wide),
        softmi.conditional_mutual_information(logits, targets),
    )
    metric = softmi.metrics.MutualInformation(3)
    metric.update(logits, wide)
    assert metric.compute().n_samples == 6
    prior = [1 / 3] * 3
    assert torch.equal(
        pc_cross_entropy(logits, wide, prior), pc_cross_entropy(logits, targets, prior)
    )
    with pytest.raises(ValueError, match=r"in \[0, 2\) for 2 classes, got values from 0 to 2"):
        check_targets(wide, torch.zeros(6, 2))


@pytest.mark.usefixtures("no_shape_checks")
def test_labels_that_count_from_one_and_single_scores_get_a_hint():
    with pytest.raises(ValueError, match="from 1 to 2; labels that count from 1 need targets - 1"):
        mutual_information(torch.zeros(4, 2), torch.tensor([1, 2, 1, 2]))
    with pytest.raises(ValueError, match=r"from 0 to 2$"):
        mutual_information(torch.zeros(4, 2), torch.tensor([0, 2, 1, 2]))
    with pytest.raises(ValueError, match=r"second of two classes is the row \(0, s\)"):
        mutual_information(torch.zeros(4), torch.tensor([0, 1, 1, 0]))


# --- Probabilities in place of logits ---------------------------------------------------------


def random_logits(n: int = 50, classes: int = 4, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n + classes)
    return scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)


@each_float
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_probabilities_are_noticed_in_any_precision(dtype, classes):
    logits = random_logits(classes=classes)
    assert are_probabilities(logits.softmax(1).to(dtype))
    assert are_probabilities(logits.to(dtype).softmax(1))
    assert are_probabilities(one_hot(logits.argmax(1), classes).to(dtype))  # hard predictions


@each_float
@pytest.mark.parametrize(
    "make",
    [
        lambda f: f, lambda f: f.relu(), lambda f: f.abs(), lambda f: f.log_softmax(1),
        lambda f: f.sigmoid(), lambda f: 9.0 * one_hot(f.argmax(1), f.shape[1]), torch.zeros_like,
        lambda f: -f.softmax(1), lambda f: f.softmax(1) - f.softmax(1).mean(),
    ],
    ids=["logits", "relu", "abs", "log-softmax", "sigmoid", "sure", "zero", "negative", "centred"],
)  # fmt: skip
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_logits_of_every_kind_are_left_in_peace(dtype, make, classes):
    logits = make(random_logits(classes=classes)).to(dtype)
    assert not are_probabilities(logits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mutual_information(logits, torch.arange(50) % classes)


def test_a_handful_of_rows_and_a_single_class_are_left_in_peace():
    assert not are_probabilities(torch.eye(HANDFUL))
    assert are_probabilities(torch.eye(HANDFUL + 1))
    assert not are_probabilities(torch.ones(50, 1))
    mixed = random_logits().softmax(1)
    mixed[17, 0] = -1e-3
    assert not are_probabilities(mixed)


@pytest.mark.parametrize(
    "call",
    [
        lambda p, y: mutual_information(p, y),
        lambda p, y: pointwise_mutual_information(p, [0.25] * 4),
        lambda p, y: softmi.conditional_mutual_information(p, y),
        lambda p, y: softmi.metrics.MutualInformation(4).update(p, y),
    ],
    ids=["estimate", "pointwise", "conditional", "metric"],
)
def test_every_function_of_logits_warns_of_probabilities(call):
    logits, targets = random_logits(), torch.arange(50) % 4
    with pytest.warns(UserWarning, match=r"all 50 rows .* sum to one: .*torch\.log\(p\)"):
        call(logits.softmax(1), targets)
