"""The extrapolated estimate: its formula with each kind of prior, its cap, when it is trusted."""

import math

import numpy as np
import pytest
import torch

from softmi.estimators.extrapolation import GAP_ERROR, TRUSTED, extrapolate
from softmi.information import label_prior

LABELS = torch.tensor([0] * 30 + [1] * 50 + [2] * 40)
COUNTS = torch.bincount(LABELS)


def scores(seed: int = 0, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """log q of the labels by classifiers of all and of half of the training samples."""
    rng = np.random.default_rng(seed)
    log_q = -0.4 * rng.exponential(size=n)
    return log_q, log_q - 0.05 * rng.exponential(size=n)


@pytest.mark.parametrize(
    ("given", "possible"),
    [(None, 1), ([0.25, 0.4, 0.35], 3), ([0.25, 0.4, 0.35, 0.0], 3)],
    ids=["counted", "known", "known, with a label that cannot occur"],
)
def test_the_last_term_is_s_minus_one_or_minus_the_number_of_possible_labels(given, possible):
    log_q, log_q_half = scores()
    counts = torch.cat([COUNTS, torch.zeros(len(given) - 3)]) if given else COUNTS
    prior = label_prior(counts, given)
    log_prior = prior.probabilities.log()[LABELS].numpy()
    at_m, at_half = (log_q - log_prior).mean(), (log_q_half - log_prior).mean()
    s = np.exp(log_q - log_prior).mean()
    found = extrapolate(log_q, log_q_half, LABELS, prior)
    expected = 2 * at_m - at_half + (s - possible) / (2 * 120)
    assert found.value == pytest.approx(expected, abs=1e-13)
    assert found.gap == pytest.approx(expected - at_m, abs=1e-13)
    sampling = (2 * log_q - log_q_half - log_prior).std(ddof=1) / math.sqrt(120)
    error = math.hypot(sampling, GAP_ERROR * (at_m - at_half))
    assert found.standard_error == pytest.approx(error, rel=1e-12)


def test_the_term_of_a_known_prior_takes_out_the_bias_of_counted_labels():
    """E [H(prior) - H(Y|X) under the frequencies] = I + (M - S) / 2n, up to the order of 1/n^2."""
    joint = np.array([[8, 1, 1], [2, 9, 1], [1, 2, 7], [4, 4, 4.0]]) / 44
    prior = joint.sum(0)
    given = joint / prior  # p(x|y)
    n, draws = 400, 40_000
    pi = np.random.default_rng(0).multinomial(n, prior, size=draws) / n

    def surprise(pi: np.ndarray) -> np.ndarray:
        """H(Y|X) of a classifier that was told the frequencies."""
        table = given * pi[:, None, :]
        posterior = table / table.sum(2, keepdims=True)
        return -(table * np.log(posterior, where=table > 0, out=np.zeros_like(table))).sum((1, 2))

    bias = surprise(prior[None]) - surprise(pi)  # of H(prior) - H(Y|X)
    s = float((joint**2 / (joint.sum(1, keepdims=True) * prior)).sum())
    assert 1 < s < 3
    assert abs(bias.mean() - (3 - s) / (2 * n)) < 4 * bias.std() / math.sqrt(draws) + 3 / n**2


@pytest.mark.parametrize("share", [0.02, 0.08, 0.099, 0.101, 0.15, 0.19, 0.3])
def test_a_gap_of_a_tenth_is_trusted_and_no_more(share):
    # Equal scores: no sampling error, so that the gap alone decides.
    y = torch.arange(120) % 2
    prior = label_prior(torch.bincount(y))
    term = (math.exp(math.log(2) - 0.3) - 1) / 240  # (S - 1) / 2n
    # gap = share * (value at m + gap + term)
    gap = share * (math.log(2) - 0.3 + term) / (1 - share)
    log_q = np.full(120, -0.3)
    found = extrapolate(log_q, log_q - gap, y, prior)
    assert found.value == pytest.approx(gap / share, rel=1e-9)
    assert found.trustworthy == (share <= TRUSTED == 0.1)


def test_a_gap_within_the_sampling_error_is_trusted():
    rng = np.random.default_rng(0)
    y = torch.arange(120) % 2
    log_q = math.log(0.5) + 0.3 * rng.normal(size=120)
    found = extrapolate(log_q, log_q - 0.01, y, label_prior(torch.bincount(y)))
    assert abs(found.value) < 0.1
    assert found.trustworthy


def test_it_is_cut_to_its_cap_which_counted_frequencies_fall_short_of():
    sure = np.zeros(120)  # right, and certain of it
    counted = label_prior(COUNTS)
    found = extrapolate(sure, sure - 1.0, LABELS, counted)
    assert found.label_entropy == pytest.approx(counted.entropy + 2 / 240)
    assert found.value == found.label_entropy < counted.ceiling
    assert found.high <= math.log(3)
    balanced = label_prior(torch.tensor([40, 40, 40]))
    found = extrapolate(sure, sure - 1.0, torch.arange(120) % 3, balanced)
    assert found.value == found.label_entropy == pytest.approx(math.log(3))  # not above log M
    known = label_prior(COUNTS, [0.25, 0.4, 0.35])
    found = extrapolate(sure, sure - 1.0, LABELS, known)
    assert found.value == found.high == found.label_entropy == known.entropy
    assert found.in_bits().label_entropy == known.entropy / math.log(2)


def test_saturation_without_a_gap_is_not_cut_short():
    # The term makes up for the frequencies; the cap does not take that away again.
    sure = np.zeros(120)
    found = extrapolate(sure, sure, LABELS, label_prior(COUNTS))
    assert found.value == pytest.approx(label_prior(COUNTS).entropy + 2 / 240, abs=1e-13)
