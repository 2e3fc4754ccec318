"""The guard of a given prior: honest users pass, contradictions are told with what to do."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch

from softmi import GaussianClasses, mutual_information
from softmi.information import label_prior
from softmi.information.labels import CHANCE, NEGLIGIBLE, _log_chance_of_divergence

HONEST = [
    ([0.5, 0.5], 30), ([0.999, 0.001], 200), ([0.9, 0.1], 100_000), ([0.1] * 10, 40),
    ([0.81] + [0.01] * 19, 500), ([1 / 1000] * 1000, 300), ([0.5] + [0.5 / 999] * 999, 5_000),
]  # fmt: skip
each_honest = pytest.mark.parametrize(
    ("prior", "n"), HONEST, ids=[f"{len(p)} labels, {max(p):.3f}, {n}" for p, n in HONEST]
)


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return scipy.special.rel_entr(p, q).sum(-1)


@each_honest
def test_the_bound_on_chance_holds_for_labels_that_follow_their_prior(prior, n):
    counts = np.random.default_rng(n).multinomial(n, prior, size=4_000)
    bounds = np.array([
        _log_chance_of_divergence(n, d, len(prior)) for d in kl(counts / n, np.array(prior))
    ])  # fmt: skip
    for level in (0.5, 0.1, 0.01):
        share = (bounds <= math.log(level)).mean()
        assert share <= level + 4 * math.sqrt(level * (1 - level) / 4_000)


@pytest.mark.parametrize("p", [0.5, 0.1, 0.003])
@pytest.mark.parametrize("n", [3, 20, 400])
def test_the_bound_on_chance_holds_exactly_for_two_labels(p, n):
    k = np.arange(n + 1)
    divergence = kl(np.c_[k, n - k] / n, np.array([p, 1 - p]))
    mass = scipy.stats.binom.pmf(k, n, p)
    for d in divergence:
        tail = mass[divergence >= d].sum()
        assert tail <= math.exp(_log_chance_of_divergence(n, d, 2)) * (1 + 1e-9)


def test_the_bound_on_chance_by_hand():
    assert _log_chance_of_divergence(100, 0.3, 3) == pytest.approx(-30 + 2 * (1 + math.log(15)))
    assert _log_chance_of_divergence(100, 0.019, 3) == 0.0  # no more than expected
    assert _log_chance_of_divergence(100, 5.0, 1) == 0.0


@each_honest
def test_honest_users_are_never_refused(prior, n):
    rng = np.random.default_rng(1)
    for counts in rng.multinomial(n, prior, size=500):
        assert label_prior(torch.from_numpy(counts), prior).status == "known"


def labels_at(divergence: float, n: int) -> torch.Tensor:
    """Counts of two labels at this KL divergence from equal ones."""
    p = scipy.optimize.brentq(lambda p: kl(np.array([p, 1 - p]), 0.5) - divergence, 0.5, 1 - 1e-9)
    return torch.tensor([p * n, n - p * n]).round()


def test_a_million_samples_with_a_tiny_difference_pass_and_with_a_large_one_do_not():
    assert label_prior(labels_at(0.9 * NEGLIGIBLE, 10**6), [0.5, 0.5]).status == "known"
    with pytest.raises(ValueError, match="the labels contradict the prior"):
        label_prior(labels_at(1.1 * NEGLIGIBLE, 10**6), [0.5, 0.5])


def test_few_samples_with_a_large_difference_pass_until_chance_cannot_explain_them():
    refused = []
    for n in range(1, 60):
        counts = torch.tensor([n, 0])
        try:
            label_prior(counts, [0.5, 0.5])
        except ValueError:
            refused.append(n)
    first = refused[0]
    assert refused == list(range(first, 60))
    assert 2**-first < CHANCE  # the exact probability
    assert _log_chance_of_divergence(first - 1, math.log(2), 2) >= math.log(CHANCE)


def test_the_message_restates_both_and_says_what_to_do():
    with pytest.raises(ValueError, match="contradict the prior") as error:
        mutual_information(torch.zeros(200, 2), torch.arange(200) % 2, [0.9, 0.1])
    said = str(error.value)
    for part in (
        "it says 0.9, 0.1, the 200 labels are 0.5, 0.5", "0.511 nats", "leave it out",
        "on a balanced test set is not that of the training set", 'prior_mismatch="allow"',
        "prior-corrected network hold under any prior", "adjust_logits",
    ):  # fmt: skip
        assert part in said
    prior = torch.full((50,), 0.01)
    prior[7], prior[20] = 0.26, 0.26
    many = r"classes \[7, 20, \d+\] among 50 it says 0.26, 0.26, 0.01, the 5000 labels are 0.02,"
    with pytest.raises(ValueError, match=many):
        label_prior(torch.full((50,), 100), prior)


def test_counted_known_and_mismatched_priors_are_told_apart():
    counts = torch.tensor([30, 70])
    counted = label_prior(counts)
    assert (counted.status, counted.probabilities.tolist()) == ("estimated", [0.3, 0.7])
    assert counted.ceiling == math.log(2)
    known = label_prior(counts, [0.35, 0.65])
    assert (known.status, known.ceiling) == ("known", known.entropy)
    forced = label_prior(10 * counts, [0.9, 0.1], prior_mismatch="allow")
    assert forced.status == "mismatched"
    assert repr(forced) == "LabelPrior(mismatched, 2 classes)"
    # Allowed, but there is nothing to allow.
    assert label_prior(counts, [0.35, 0.65], prior_mismatch="allow").status == "known"


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match='must be "raise" or "allow", got \'ignore\''):
        label_prior(torch.ones(2), prior_mismatch="ignore")
    with pytest.raises(ValueError, match="no labels to count"):
        label_prior(torch.zeros(2))
    with pytest.raises(ValueError, match=r"zero prior: \[1\]"):
        label_prior(torch.ones(2), [1.0, 0.0])


# --- Estimates under a contradicted prior -----------------------------------------------------


def sure_case(n: int = 1_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Balanced labels, and a classifier that is sure and right."""
    targets = torch.arange(n) % 2
    return 50 * torch.nn.functional.one_hot(targets).double(), targets


@pytest.mark.parametrize("corrected", [False, True], ids=["plain", "corrected"])
def test_allowed_by_name_it_is_marked_cut_to_the_cap_and_not_certified(corrected):
    logits, targets = sure_case()
    prior = [0.9, 0.1]
    with pytest.raises(ValueError, match="contradict"):
        mutual_information(logits, targets, prior, prior_corrected=corrected)
    found = mutual_information(
        logits, targets, prior, prior_corrected=corrected, prior_mismatch="allow"
    )
    cap = -sum(p * math.log(p) for p in prior)
    assert found.prior.status == "mismatched"
    assert "mismatched" in repr(found)
    # Uncut it would be (log 1/0.9 + log 1/0.1) / 2 = 1.2 nats, above log 2.
    assert float(found.pointwise.mean()) > math.log(2)
    assert found.value == found.label_entropy == pytest.approx(cap)
    assert found.low <= found.high <= found.label_entropy
    assert found.at_cap
    with pytest.raises(ValueError, match="no certified bound: the labels contradict the prior"):
        found.certified_lower_bound()
    with pytest.raises(ValueError, match="no certified bound: the labels contradict the prior"):
        found.in_bits().certified_lower_bound()


def test_leaving_the_training_prior_out_is_right_for_corrected_logits_on_a_balanced_test_set():
    """What the message advises: logits log p(x|y), whatever the prior that trained them."""
    task = GaussianClasses([[-1.0], [1.0]], [0.5, 0.5])
    x, y = task.sample(4_000, torch.Generator().manual_seed(0))
    logits = task.log_likelihoods(x)  # the optimum under any training prior
    with pytest.raises(ValueError, match="contradict"):
        mutual_information(logits, y, [0.95, 0.05], prior_corrected=True)
    truth = task.mutual_information().value
    for prior in (None, [0.5, 0.5]):
        found = mutual_information(logits, y, prior, prior_corrected=True)
        assert abs(found.value - truth) < 4 * found.standard_error
        assert found.certified_lower_bound() < truth


# --- The cap ----------------------------------------------------------------------------------


def test_rare_labels_drawn_too_often_do_not_lift_an_estimate_above_the_cap():
    y = torch.tensor([0] * 357 + [1] * 43)  # 40 expected: nothing to object to
    logits = 100 * torch.nn.functional.one_hot(y).double()
    found = mutual_information(logits, y, [0.9, 0.1])
    assert found.prior.status == "known"
    assert float(found.pointwise.mean()) > found.label_entropy == found.value == found.high
    assert found.at_cap
    assert found.certified_lower_bound() <= found.label_entropy
    assert not mutual_information(logits / 50, y, [0.9, 0.1]).at_cap


@pytest.mark.parametrize("known", [False, True], ids=["counted", "known"])
def test_no_value_interval_or_certificate_of_any_classifier_exceeds_what_it_cannot(known):
    rng = np.random.default_rng(2)
    for classes, n, scale in itertools.product((2, 5), (3, 30, 3_000), (1.0, 30.0, 1e6)):
        prior = rng.dirichlet(np.full(classes, 1.0)) * 0.98 + 0.02 / classes
        y = torch.from_numpy(rng.choice(classes, n, p=prior / prior.sum()))
        logits = torch.from_numpy(rng.normal(size=(n, classes)) + 4 * np.eye(classes)[y])
        found = mutual_information(scale * logits, y, prior if known else None)
        assert found.value <= found.label_entropy
        assert found.low <= found.high <= found.prior.ceiling <= math.log(classes) + 1e-15
        for delta in (1e-3, 0.05, 0.999):
            assert found.certified_lower_bound(delta) <= found.label_entropy
