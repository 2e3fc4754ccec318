"""Information quantities: closed forms, identities, references to 50 digits, certified bounds."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
import torch.nn.functional as F
from slow_reference import EPS, log_ratio, relative_error, rounding_bound
from torchmetrics.functional.clustering import mutual_info_score

import softmi
from softmi import (
    DiscreteJoint,
    GaussianClasses,
    MutualInformationEstimate,
    conditional_mutual_information,
    entropy,
    mutual_information,
    pointwise_mutual_information,
)

both_kinds = pytest.mark.parametrize("prior_corrected", [False, True], ids=["plain", "corrected"])
half_types = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def random_case(seed: int, *, n: int = 40, classes: int = 5, scale: float = 3.0):
    """Logits, targets of every class, and a skewed prior, in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    targets = torch.cat(
        [torch.arange(classes), torch.randint(classes, (n - classes,), generator=generator)]
    )
    prior = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.05
    return logits, targets, prior / prior.sum()


def samples_of_table(counts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """A data set in which each cell (input, label) of a table occurs exactly as counted."""
    cells = [(x, y) for x, row in enumerate(counts) for y, n in enumerate(row) for _ in range(n)]
    return torch.tensor([x for x, _ in cells]), torch.tensor([y for _, y in cells])


TABLES = {
    "dependent": [[30, 5, 1], [2, 40, 8], [4, 4, 20]],
    "skewed": [[900, 1], [30, 60]],
    "with empty cells": [[7, 0, 0], [0, 5, 3], [1, 0, 9], [0, 0, 2]],
    "deterministic": [[10, 0], [0, 30]],
    "independent": [[6, 2], [12, 4]],
    "one class": [[5], [3]],
}
each_table = pytest.mark.parametrize("counts", TABLES.values(), ids=TABLES)


def optimal_logits(counts: list[list[int]], *, prior_corrected: bool) -> torch.Tensor:
    """Per input log p(y|x), or log p(x|y), up to a term of x; -1e4 in place of log 0."""
    table = torch.tensor(counts, dtype=torch.float64)
    axis = 0 if prior_corrected else 1
    return (table / table.sum(axis, keepdim=True)).log().clamp(min=-1e4)


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
def test_pmi_agrees_with_fifty_digits_to_1e12(prior_corrected, scale, offset):
    logits, _, prior = random_case(1, n=8)
    logits = logits / 3 * scale + offset
    found = pointwise_mutual_information(logits, prior, prior_corrected=prior_corrected)
    for row, expected in zip(logits, found, strict=True):
        exact = log_ratio(row, prior, prior_corrected=prior_corrected)
        floor = rounding_bound(row, prior)
        for value, truth in zip(expected, exact, strict=True):
            assert relative_error(value, truth, floor) < 1e-12


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


# --- Mutual information: identities -----------------------------------------------------------


@each_table
@both_kinds
def test_optimal_logits_give_the_plug_in_mutual_information(counts, prior_corrected):
    x, y = samples_of_table(counts)
    logits = optimal_logits(counts, prior_corrected=prior_corrected)[x]
    value = mutual_information(logits, y, prior_corrected=prior_corrected).value
    # Values of order one from sums of order-one terms; logits of -1e4 in empty cells are never
    # those of a target and vanish from every normaliser.
    tolerance = 1e-12
    with torch.sparse.check_sparse_tensor_invariants():  # torchmetrics builds a sparse table
        assert value == pytest.approx(mutual_info_score(x, y).item(), abs=1e-6)  # float32
    assert value == pytest.approx(sklearn.metrics.mutual_info_score(x, y), abs=tolerance)
    table = torch.tensor(counts, dtype=torch.float64)
    exact = DiscreteJoint(table / table.sum()).mutual_information().value
    assert value == pytest.approx(exact, abs=tolerance)


@pytest.mark.parametrize("seed", range(3))
def test_plain_estimate_is_label_entropy_minus_cross_entropy(seed):
    logits, targets, _ = random_case(seed)
    frequencies = torch.bincount(targets).double() / len(targets)
    estimate = mutual_information(logits, targets)
    expected = entropy(frequencies) - F.cross_entropy(logits, targets)
    assert estimate.value == pytest.approx(expected.item(), rel=1e-13)
    assert estimate.label_entropy == pytest.approx(entropy(frequencies).item(), rel=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_corrected_estimate_is_minus_the_pc_loss(seed):
    logits, targets, prior = random_case(seed)
    estimate = mutual_information(logits, targets, prior, prior_corrected=True)
    loss = softmi.pc_cross_entropy(logits, targets, prior)
    assert estimate.value == pytest.approx(-loss.item(), rel=1e-13)


@both_kinds
def test_estimate_agrees_with_fifty_digits_to_1e12(prior_corrected):
    logits, targets, prior = random_case(11, n=12)
    logits[:6] += 1e4
    exact = [
        log_ratio(row, prior, prior_corrected=prior_corrected)[y]
        for row, y in zip(logits, targets.tolist(), strict=True)
    ]
    found = mutual_information(logits, targets, prior, prior_corrected=prior_corrected)
    floor = max(rounding_bound(row, prior) for row in logits)
    for value, truth in zip(found.pointwise, exact, strict=True):
        assert relative_error(value, truth, floor) < 1e-12
    assert relative_error(found.value, sum(exact) / 12, floor) < 1e-12


@both_kinds
def test_pointwise_summands_are_the_pmi_of_the_targets(prior_corrected):
    logits, targets, prior = random_case(12)
    estimate = mutual_information(logits, targets, prior, prior_corrected=prior_corrected)
    pmi = pointwise_mutual_information(logits, prior, prior_corrected=prior_corrected)
    expected = pmi.gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(estimate.pointwise, expected, rtol=0, atol=8 * 32 * EPS)
    assert estimate.value == pytest.approx(estimate.pointwise.mean().item(), rel=1e-15)


@both_kinds
def test_without_a_prior_the_label_frequencies_are_used(prior_corrected):
    logits, targets, _ = random_case(13)
    frequencies = torch.bincount(targets).double() / len(targets)
    assert mutual_information(
        logits, targets, prior_corrected=prior_corrected
    ) == mutual_information(logits, targets, frequencies, prior_corrected=prior_corrected)


@each_table
def test_adding_log_m_over_counts_by_log_m_minus_label_entropy(counts):
    x, y = samples_of_table(counts)
    logits = optimal_logits(counts, prior_corrected=False)[x]
    classes = logits.shape[1]
    with_label_entropy = mutual_information(logits, y)
    with_log_m = mutual_information(logits, y, [1 / classes] * classes)  # the authors' constant
    over_count = with_log_m.value - with_label_entropy.value
    assert over_count == pytest.approx(
        math.log(classes) - with_label_entropy.label_entropy, abs=1e-14
    )


@pytest.mark.parametrize("seed", range(5))
def test_plain_estimate_never_exceeds_the_label_entropy(seed):
    logits, targets, _ = random_case(seed, scale=100.0)
    logits[torch.arange(30), targets[:30]] += 1000  # a classifier that is right, and sure of it
    estimate = mutual_information(logits, targets)
    assert estimate.value <= estimate.label_entropy <= math.log(5) + 1e-15


@both_kinds
def test_a_classifier_that_ignores_its_input_reports_zero(prior_corrected):
    targets = random_case(14)[1]
    frequencies = torch.bincount(targets).double() / len(targets)
    constant = torch.zeros(5, dtype=torch.float64) if prior_corrected else frequencies.log()
    logits = constant.expand(len(targets), 5)
    assert mutual_information(logits, targets, prior_corrected=prior_corrected).value == (
        pytest.approx(0, abs=8 * EPS)
    )


def test_permuted_labels_leave_no_information():
    """With labels that do not belong to the inputs the expected estimate is not above zero."""
    generator = torch.Generator().manual_seed(0)
    x, y = GaussianClasses([[-0.5], [0.5]], [0.3, 0.7]).sample(4000, generator)
    logits = GaussianClasses([[-0.5], [0.5]], [0.3, 0.7]).log_likelihoods(x)
    permuted = y[torch.randperm(4000, generator=generator)]
    estimate = mutual_information(logits, permuted, [0.3, 0.7], prior_corrected=True)
    assert estimate.value < 4 * estimate.standard_error
    assert mutual_information(logits, y, [0.3, 0.7], prior_corrected=True).low > 0.05


@both_kinds
def test_estimate_does_not_change_when_a_constant_is_added_to_all_logits(prior_corrected):
    logits, targets, prior = random_case(15)
    logits = (logits * 2**20).round() / 2**20  # exactly representable after the shift
    constants = torch.arange(40)[:, None] * 500
    a = mutual_information(logits, targets, prior, prior_corrected=prior_corrected)
    b = mutual_information(logits + constants, targets, prior, prior_corrected=prior_corrected)
    assert a == b


@both_kinds
def test_estimate_does_not_depend_on_the_names_of_classes_or_the_order_of_samples(prior_corrected):
    logits, targets, prior = random_case(16)
    order = torch.tensor([3, 0, 4, 1, 2])
    rename = order.argsort()
    shuffle = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    a = mutual_information(logits, targets, prior, prior_corrected=prior_corrected)
    b = mutual_information(
        logits[shuffle][:, order],
        rename[targets[shuffle]],
        prior[order],
        prior_corrected=prior_corrected,
    )
    assert b.value == pytest.approx(a.value, rel=1e-14)
    assert b.standard_error == pytest.approx(a.standard_error, rel=1e-13)


# --- Mutual information: limits ---------------------------------------------------------------


def test_huge_logits_that_are_right_give_the_label_entropy():
    targets = torch.tensor([0, 0, 0, 1])
    logits = torch.where(F.one_hot(targets, 2).bool(), 1e4, -1e4)
    assert mutual_information(logits, targets).value == pytest.approx(0.5623351446, abs=1e-10)


def test_huge_logits_that_are_wrong_cost_what_they_claim():
    targets = torch.tensor([0, 1])
    logits = torch.where(F.one_hot(targets, 2).bool(), -1e4, 1e4)
    assert mutual_information(logits, targets).value == math.log(2) - 2e4


@both_kinds
@half_types
def test_half_precision_loses_only_what_rounding_the_logits_loses(dtype, prior_corrected):
    logits, targets, prior = random_case(17, n=400)
    rounded = logits.to(dtype)
    found = mutual_information(rounded, targets, prior, prior_corrected=prior_corrected)
    expected = mutual_information(
        rounded.double(), targets, prior, prior_corrected=prior_corrected
    )
    assert found == expected


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32], ids=str)
def test_targets_of_any_integer_type_are_taken(dtype):
    logits, targets, _ = random_case(18)
    assert mutual_information(logits, targets.to(dtype)) == mutual_information(logits, targets)


@both_kinds
def test_one_class_carries_no_information(prior_corrected):
    logits = torch.tensor([[3.0], [-1.0]])
    estimate = mutual_information(logits, torch.tensor([0, 0]), prior_corrected=prior_corrected)
    assert (estimate.value, estimate.label_entropy, estimate.standard_error) == (0, 0, 0)


def test_one_sample_has_an_infinite_standard_error():
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    estimate = mutual_information(logits, torch.tensor([0]), [0.5, 0.5])
    assert estimate.value == pytest.approx(math.log(2) - math.log1p(math.exp(-1)), rel=1e-15)
    assert estimate.standard_error == math.inf
    assert (estimate.low, estimate.high) == (-math.inf, math.inf)


@both_kinds
def test_a_class_of_zero_prior_that_is_never_a_target_is_allowed(prior_corrected):
    logits, targets, _ = random_case(19, classes=3)
    prior = torch.bincount(targets).double() / len(targets)
    wider = torch.cat([logits, torch.full((40, 1), -50.0)], dim=1)
    padded = torch.cat([prior, torch.zeros(1)])
    a = mutual_information(logits, targets, prior, prior_corrected=prior_corrected)
    b = mutual_information(wider, targets, padded, prior_corrected=prior_corrected)
    if prior_corrected:
        assert a == b  # leaves the sum
    else:
        # The plain softmax spends exp(-50 - logsumexp) on it, which is below 1e-17.
        assert b.value == pytest.approx(a.value, rel=1e-14)
    assert b.label_entropy == pytest.approx(a.label_entropy, rel=1e-15)


def test_gradients_are_neither_needed_nor_kept_and_inputs_stay_as_they_were():
    logits, targets, prior = random_case(20)
    logits.requires_grad_(True)
    before = logits.detach().clone(), targets.clone(), prior.clone()
    estimate = mutual_information(logits, targets, prior, prior_corrected=True)
    assert not estimate.pointwise.requires_grad
    for now, then in zip((logits, targets, prior), before, strict=True):
        assert torch.equal(now, then)


# --- Mutual information: uncertainty ----------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_interval_is_the_normal_one(confidence):
    logits, targets, _ = random_case(21)
    estimate = mutual_information(logits, targets, confidence=confidence)
    half = scipy.stats.norm.ppf((1 + confidence) / 2) * estimate.standard_error
    assert estimate.high - estimate.value == pytest.approx(half, rel=1e-12)
    assert estimate.value - estimate.low == pytest.approx(half, rel=1e-12)
    assert estimate.standard_error == pytest.approx(
        scipy.stats.sem(estimate.pointwise.numpy()), rel=1e-12
    )


def replications(
    prior: list[float] | None, *, repeats: int = 400, n: int = 400
) -> list[MutualInformationEstimate]:
    """Estimates of the ideal network on independent test sets of one task."""
    task = GaussianClasses([[-1.0], [0.0], [2.0]], [0.2, 0.5, 0.3])
    x, y = task.sample(repeats * n, torch.Generator().manual_seed(5))
    logits = task.log_likelihoods(x) + task.prior.log()
    return [
        mutual_information(a, b, prior) for a, b in zip(logits.split(n), y.split(n), strict=True)
    ]


@pytest.mark.parametrize("prior", [[0.2, 0.5, 0.3], None], ids=["known prior", "estimated prior"])
def test_standard_error_and_interval_describe_the_spread_over_replications(prior):
    estimates = replications(prior)
    values = np.array([e.value for e in estimates])
    reported = np.mean([e.standard_error for e in estimates])
    # The spread of 400 values has a relative standard error of 1/sqrt(2 * 399) = 3.5 %; 4 of it.
    assert values.std(ddof=1) == pytest.approx(reported, rel=4 * 0.0354)
    truth = GaussianClasses([[-1.0], [0.0], [2.0]], [0.2, 0.5, 0.3]).mutual_information().value
    assert values.mean() == pytest.approx(truth, abs=4 * reported / 20 + 2 / 800)  # bias (M-1)/2n
    covered = np.mean([e.low <= truth <= e.high for e in estimates])
    # 400 trials at 95 %: standard error 1.1 %; 4 of it.
    assert covered == pytest.approx(0.95, abs=4 * 0.011)


def test_in_bits_divides_by_log_two_once():
    logits, targets, _ = random_case(22)
    nats = mutual_information(logits, targets)
    bits = nats.in_bits()
    for name in ("value", "standard_error", "low", "high", "label_entropy"):
        assert getattr(bits, name) == getattr(nats, name) / math.log(2)
    assert (nats.unit, bits.unit, bits.n_samples) == ("nats", "bits", nats.n_samples)
    assert torch.equal(bits.pointwise, nats.pointwise)
    assert bits.in_bits() == bits
    assert float(bits) == bits.value
    assert bits.certified_lower_bound() == nats.certified_lower_bound() / math.log(2)


# --- Certified bound --------------------------------------------------------------------------


def certified_by_hand(q, y, prior, delta, epsilon, *, known):
    """The two formulas of the docstring in plain Python, from posteriors and the prior."""
    n, m = q.shape
    z = [
        math.log((1 - epsilon) * q[i, y[i]] + epsilon / m) - math.log(prior[y[i]])
        for i in range(n)
    ]
    mean = sum(z) / n
    loss_bound = math.log(m / epsilon)
    if known:
        variance = sum((v - mean) ** 2 for v in z) / (n - 1)
        positive = [p for p in prior if p > 0]
        spread = loss_bound + math.log(max(positive) / min(positive))
        log_term = math.log(2 / delta)
        return mean - math.sqrt(2 * variance * log_term / n) - 7 * spread * log_term / 3 / (n - 1)
    losses = [-v - math.log(prior[k]) for v, k in zip(z, y, strict=True)]
    loss = sum(losses) / n
    variance = sum((v - loss) ** 2 for v in losses) / (n - 1)
    log_term = math.log(4 / delta)
    slack = math.sqrt(2 * variance * log_term / n) + 7 * loss_bound * log_term / 3 / (n - 1)
    entropy = -sum(p * math.log(p) for p in prior if p)
    return entropy - loss - slack - label_slack_by_hand(m, n, delta / 2)


def label_slack_by_hand(m, n, delta):
    """The formula of the docstring, its maximum over p searched for."""
    p = np.geomspace(1e-12, 1 / m, 20_001)
    return min(
        scale / 2 * m * (p ** (1 - scale) * np.log(p) ** 2).max() + math.log(1 / delta) / n / scale
        for scale in np.logspace(-6, -0.01, 400)
    )


@pytest.mark.parametrize("known", [True, False], ids=["known prior", "estimated prior"])
@pytest.mark.parametrize(("delta", "epsilon"), [(0.05, 1e-3), (0.001, 0.2)])
def test_certified_bound_equals_an_independent_computation(known, delta, epsilon):
    logits, targets, prior = random_case(23, n=300)
    estimate = mutual_information(logits, targets, prior if known else None)
    used = prior if known else torch.bincount(targets).double() / 300
    expected = certified_by_hand(
        torch.softmax(logits, 1).numpy(), targets.tolist(), used.tolist(), delta, epsilon,
        known=known,
    )  # fmt: skip
    found = estimate.certified_lower_bound(delta, epsilon=epsilon)
    # Estimated: the search over p is good to the square of its relative step, 1e-3.
    assert found == pytest.approx(expected, rel=1e-12 if known else 1e-5)


def test_certified_bound_of_corrected_logits_is_that_of_the_posterior_they_imply():
    logits, targets, prior = random_case(24, n=300)
    corrected = mutual_information(logits, targets, prior, prior_corrected=True)
    plain = mutual_information(logits + prior.log(), targets, prior)
    assert corrected.certified_lower_bound() == pytest.approx(
        plain.certified_lower_bound(), rel=1e-12
    )


def test_certified_bound_may_use_label_frequencies_inside_the_classifier():
    # The first step holds labels fixed: what depends on them alone has seen no input.
    logits, targets, _ = random_case(24, n=300)
    frequencies = torch.bincount(targets).double() / 300
    corrected = mutual_information(logits, targets, prior_corrected=True)
    plain = mutual_information(logits + frequencies.log(), targets)
    assert corrected.certified_lower_bound() == pytest.approx(
        plain.certified_lower_bound(), rel=1e-12
    )


PRIORS = [
    [0.5, 0.5], [0.9, 0.1], [0.999, 0.001], [0.2] * 5, [0.6, 0.1, 0.1, 0.1, 0.1],
    [0.05] * 20, [0.81] + [0.01] * 19, [1 / 300] * 300, [0.5] + [0.5 / 299] * 299,
]  # fmt: skip


@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: f"{len(p)} labels, {max(p):.3f}")
def test_label_slack_bounds_every_moment_generating_function(prior):
    """The inequality behind it, for the largest d there is: an input that determines the label."""
    p = np.array(prior)
    d = -np.log(p)
    for scale in np.logspace(-3, -0.01, 60):
        log_v = max(
            math.log(len(p)) + (1 - scale) * log_q + 2 * math.log(-log_q)
            for log_q in np.linspace(-100, -math.log(len(p)), 4_001)
        )
        exact = math.log((p * np.exp(scale * (d - (p * d).sum()))).sum())
        # The grid may miss the maximum by the square of its step, 0.025, relatively.
        assert exact <= scale**2 / 2 * math.exp(log_v) * (1 + 1e-3)


@pytest.mark.parametrize("n", [50, 2_000])
@pytest.mark.parametrize("prior", PRIORS, ids=lambda p: f"{len(p)} labels, {max(p):.3f}")
def test_mean_surprise_of_drawn_labels_exceeds_the_label_slack_at_most_delta_of_the_time(prior, n):
    p = np.array(prior)
    counts = np.random.default_rng(n).multinomial(n, p, size=4_000)
    excess = counts @ -np.log(p) / n + (p * np.log(p)).sum()
    slack = softmi.information.certified._label_slack(len(p), n, 0.1)
    # Four standard errors of 4,000 trials at a tenth.
    assert (excess > slack).mean() <= 0.1 + 4 * math.sqrt(0.1 * 0.9 / 4_000)
    assert slack < 2.5 * math.log(max(7.4, len(p))) * math.sqrt(2 * math.log(10) / n)


def test_largest_loss_is_the_weighted_mean_with_its_slack_and_what_is_absent_loses_the_limit():
    loss = torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.2], dtype=torch.float64)
    targets = torch.tensor([0, 0, 0, 1, 1, 1])
    prior, limit, delta = torch.tensor([0.45, 0.45, 0.1], dtype=torch.float64), 5.0, 0.1
    # Both labels that are here count 0.45 / 0.5 = 0.9 times; the third is not.
    weighted = 0.9 * loss.numpy()
    slack = math.sqrt(2 * weighted.var(ddof=1) * math.log(20) / 6)
    slack += 7 * 0.9 * limit * math.log(20) / (3 * 5)
    found = softmi.information.certified._largest_loss(loss, targets, prior, limit, delta)
    assert found == pytest.approx(weighted.mean() + slack + 0.1 * limit, rel=1e-12)


def test_largest_loss_caps_the_weight_of_a_label_that_is_rarer_than_it_should_be():
    # Weight 20 would multiply the range by 20: better to give up the rest of that label.
    targets = torch.tensor([0] * 399 + [1])
    loss = torch.full((400,), 0.25, dtype=torch.float64)
    prior, limit, delta = torch.tensor([0.95, 0.05], dtype=torch.float64), 4.0, 0.05
    cap = 0.95 / (399 / 400)
    rest = 0.05 - cap / 400
    weighted = np.full(400, cap * 0.25)
    slack = math.sqrt(2 * weighted.var(ddof=1) * math.log(40) / 400)
    slack += 7 * cap * limit * math.log(40) / (3 * 399)
    found = softmi.information.certified._largest_loss(loss, targets, prior, limit, delta)
    assert found == pytest.approx(weighted.mean() + rest * limit + slack, rel=1e-12)


@pytest.mark.parametrize("prior", [[0.5, 0.3, 0.2], [0.98, 0.01, 0.01]])
def test_largest_loss_lies_above_the_expected_loss_of_every_set_of_labels(prior):
    """Inputs drawn anew for fixed labels, losses that are rarely large."""
    rng, limit = np.random.default_rng(3), 6.0
    prior, rates = torch.tensor(prior, dtype=torch.float64), np.array([0.02, 0.05, 0.01])
    targets = torch.tensor([0] * 120 + [1] * 20 + [2] * 10)
    truth = float(prior @ torch.from_numpy(rates)) * limit
    below = 0
    for _ in range(1_000):
        loss = torch.from_numpy(limit * (rng.random(150) < rates[targets]))
        found = softmi.information.certified._largest_loss(loss, targets, prior, limit, 0.1)
        below += found < truth
    assert below <= 1_000 * 0.1 + 4 * math.sqrt(1_000 * 0.09)


def test_certified_bound_ignores_classes_that_cannot_occur_in_its_range():
    logits, targets, _ = random_case(25, n=300, classes=3)
    prior = [0.2, 0.3, 0.5, 0.0]
    wider = torch.cat([logits, torch.full((300, 1), -1e4)], dim=1)
    q = torch.softmax(wider, 1).numpy()
    assert mutual_information(wider, targets, prior).certified_lower_bound() == pytest.approx(
        certified_by_hand(q, targets.tolist(), prior, 0.05, 1e-3, known=True), rel=1e-12
    )


@pytest.mark.parametrize("known", [True, False], ids=["known prior", "estimated prior"])
def test_certified_bound_approaches_the_estimate_as_samples_grow(known):
    logits, targets, prior = random_case(26, n=100, scale=0.5)
    gaps = []
    for repeats in (1, 100, 10_000):
        estimate = mutual_information(
            logits.repeat(repeats, 1), targets.repeat(repeats), prior if known else None
        )
        gaps.append(estimate.value - estimate.certified_lower_bound())
    # What is left at a million samples: the mixture's epsilon, and slack of 1e-2 at most.
    assert gaps[0] > gaps[1] > gaps[2]
    assert 0 < gaps[2] < 0.05


def test_certified_bound_falls_as_more_certainty_is_asked():
    estimate = mutual_information(*random_case(27)[:2])
    bounds = [estimate.certified_lower_bound(delta) for delta in (0.5, 0.05, 1e-6)]
    assert bounds == sorted(bounds, reverse=True)
    assert len(set(bounds)) == 3


@pytest.mark.parametrize(
    ("known", "n", "flips", "informative"),
    [(True, 200, 1e-3, 0.2), (False, 3000, 1.5e-4, 0.1)],
    ids=["known prior", "estimated prior"],
)
def test_certified_bound_holds_where_an_over_confident_classifier_fools_the_normal_interval(
    known, n, flips, informative
):
    """A channel that rarely flips its bit, and a classifier that is certain it never does.

    Most test sets hold no flip: the plain estimate is then the whole label entropy with standard
    error zero, above the truth. The certified bound must stay below the truth all the same.
    """
    truth = math.log(2) + flips * math.log(flips) + (1 - flips) * math.log1p(-flips)
    generator = torch.Generator().manual_seed(7)
    repeats, fooled, held, bounds = 400, 0, 0, []
    for _ in range(repeats):
        x = torch.randint(2, (n,), generator=generator)
        y = x ^ (torch.rand(n, generator=generator) < flips).long()
        logits = torch.where(F.one_hot(x, 2).bool(), 1e4, -1e4)
        estimate = mutual_information(logits, y, [0.5, 0.5] if known else None)
        bound = estimate.certified_lower_bound(0.05)
        fooled += estimate.low > truth
        held += bound <= truth
        bounds.append(bound)
    # Of 400 trials at 95 % at least 380 - 4 * 4.4 hold; the bound is conservative, so more do.
    assert held >= 362
    if known:  # the plug-in label entropy varies more than the truth lies below it
        assert fooled > 0.5 * repeats
    assert np.median(bounds) > informative


@pytest.mark.usefixtures("no_shape_checks")
def test_certified_bound_refuses_what_it_cannot_certify():
    logits, targets, prior = random_case(28)
    estimate = mutual_information(logits, targets)
    for bad in (0, 1, -0.1):
        with pytest.raises(ValueError, match=rf"in \(0, 1\), got {bad} and 0\.001"):
            estimate.certified_lower_bound(bad)
        with pytest.raises(ValueError, match=rf"in \(0, 1\), got 0\.05 and {bad}"):
            estimate.certified_lower_bound(epsilon=bad)
    one = mutual_information(logits[:1], targets[:1], prior)
    with pytest.raises(ValueError, match="at least two samples, got 1"):
        one.certified_lower_bound()


# --- Hostile input ----------------------------------------------------------------------------

GOOD = (torch.zeros(3, 2), torch.tensor([0, 1, 1]))


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("logits", "targets", "error", "message"),
    [
        ([[0.0]], GOOD[1], TypeError, "logits must be a torch.Tensor, got list"),
        (torch.zeros(3, 2).int(), GOOD[1], TypeError, r"floating point, got shape \(3, 2\), .*32"),
        (torch.zeros(6), GOOD[1], ValueError, r"shape \(samples, classes\), got shape \(6,\)"),
        (torch.zeros(3, 0), GOOD[1], ValueError, r"\(samples, classes\), got shape \(3, 0\)"),
        (torch.zeros(0, 2), GOOD[1][:0], ValueError, r"no samples: shape \(0, 2\)"),
        (torch.tensor([[0, math.nan]]), GOOD[1][:1], ValueError, r"1 of 2 .*\(0, 1\) is nan"),
        (torch.tensor([[0, -math.inf]]), GOOD[1][:1], ValueError, r"1 of 2 .*\(0, 1\) is -inf"),
        (GOOD[0], [0, 1, 1], TypeError, "targets must be a torch.Tensor, got list"),
        (GOOD[0], torch.zeros(3), TypeError, r"integer class indices, got shape \(3,\), .*float"),
        (GOOD[0], torch.zeros(3).bool(), TypeError, "integer class indices.*bool"),
        (GOOD[0], torch.tensor([0, 1]), ValueError, r"shape \(3,\) .* \(3, 2\), got shape \(2,\)"),
        (GOOD[0], torch.tensor([0, 1, 2]), ValueError, r"\[0, 2\) for 2 classes.* 0 to 2"),
        (GOOD[0], torch.tensor([0, 1, -1]), ValueError, r"\[0, 2\).* from -1 to 1"),
    ],
)
def test_bad_logits_and_targets_are_refused_with_what_came_in(logits, targets, error, message):
    with pytest.raises(error, match=message):
        mutual_information(logits, targets)
    with pytest.raises(error, match=message):
        conditional_mutual_information(logits, targets)
    if targets is GOOD[1] or "logits" in message:
        with pytest.raises(error, match=message):
            pointwise_mutual_information(logits, [0.5, 0.5])


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("corrected", [False, True])
def test_bad_priors_are_refused_with_what_came_in(corrected):
    def estimate(prior, **more):
        return mutual_information(*GOOD, prior, prior_corrected=corrected, **more)

    with pytest.raises(ValueError, match="prior has 3 entries, but there are 2 classes"):
        estimate([0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match=r"sum to 1, got a sum of 0\.9 "):
        estimate([0.4, 0.5])
    with pytest.raises(ValueError, match=r"zero prior: \[1\]"):
        estimate([1.0, 0.0])
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\), got 95"):
        estimate([0.4, 0.6], confidence=95)


# --- Conditional mutual information -----------------------------------------------------------


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
def test_cmi_by_hand(logits, targets, nats):
    found = conditional_mutual_information(
        torch.tensor(logits, dtype=torch.float64), torch.tensor(targets)
    )
    assert found.item() == pytest.approx(nats, abs=8 * EPS)


@pytest.mark.parametrize("seed", range(3))
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


@pytest.mark.gpu
@both_kinds
def test_estimates_are_the_same_on_a_gpu(prior_corrected):
    logits, targets, prior = random_case(34, n=400)
    here = mutual_information(logits, targets, prior, prior_corrected=prior_corrected)
    there = mutual_information(
        logits.cuda(), targets.cuda(), prior, prior_corrected=prior_corrected
    )
    assert there.value == pytest.approx(here.value, rel=1e-12)
    assert there.certified_lower_bound() == pytest.approx(here.certified_lower_bound(), rel=1e-12)
    assert conditional_mutual_information(logits.cuda(), targets.cuda()).item() == pytest.approx(
        conditional_mutual_information(logits, targets).item(), rel=1e-12
    )
