"""The estimate: identities, limits, intervals, and what is refused."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
import torch.nn.functional as F
from classifier_outputs import (
    both_kinds,
    each_table,
    faithful_case,
    half_types,
    optimal_logits,
    random_case,
    samples_of_table,
)
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

# --- Mutual information: identities -----------------------------------------------------------


@each_table
@both_kinds
@pytest.mark.paper("qin2019", "softmax estimator of mutual information")
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
@pytest.mark.paper("qin2019", "softmax estimator of mutual information")
def test_plain_estimate_is_label_entropy_minus_cross_entropy(seed):
    logits, targets, _ = random_case(seed)
    frequencies = torch.bincount(targets).double() / len(targets)
    estimate = mutual_information(logits, targets)
    expected = entropy(frequencies) - F.cross_entropy(logits, targets)
    assert estimate.value == pytest.approx(expected.item(), rel=1e-13)
    assert estimate.label_entropy == pytest.approx(entropy(frequencies).item(), rel=1e-14)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.paper("qin2019", "PC-softmax")
def test_corrected_estimate_is_minus_the_pc_loss(seed):
    logits, targets, prior = random_case(seed)
    estimate = mutual_information(logits, targets, prior, prior_corrected=True)
    loss = softmi.pc_cross_entropy(logits, targets, prior)
    assert estimate.value == pytest.approx(-loss.item(), rel=1e-13)


@both_kinds
@pytest.mark.paper("qin2019", "softmax estimator of mutual information")
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
@pytest.mark.paper("qin2019", "softmax estimator of mutual information")
def test_adding_log_m_over_counts_by_log_m_minus_label_entropy(counts):
    x, y = samples_of_table(counts)
    logits = optimal_logits(counts, prior_corrected=False)[x]
    classes = logits.shape[1]
    with_label_entropy = mutual_information(logits, y)
    uniform = [1 / classes] * classes  # the authors' constant, whatever the labels
    with_log_m = mutual_information(logits, y, uniform, prior_mismatch="allow")
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


@pytest.mark.gpu
@both_kinds
def test_estimates_are_the_same_on_a_gpu(prior_corrected):
    logits, targets, prior = faithful_case(34, n=400)
    here = mutual_information(logits, targets, prior, prior_corrected=prior_corrected)
    there = mutual_information(
        logits.cuda(), targets.cuda(), prior, prior_corrected=prior_corrected
    )
    assert there.value == pytest.approx(here.value, rel=1e-12)
    assert there.certified_lower_bound() == pytest.approx(here.certified_lower_bound(), rel=1e-12)
    assert conditional_mutual_information(logits.cuda(), targets.cuda()).item() == pytest.approx(
        conditional_mutual_information(logits, targets).item(), rel=1e-12
    )
