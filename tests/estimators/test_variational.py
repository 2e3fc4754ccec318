"""Variational bounds: closed forms, exact enumerations, known information."""

import itertools
import math

import pytest
import torch
from labelled_samples import ROUNDING, SMILE_1, as_counted, pmi_of, random_scores, seeds
from slow_reference import EPS

from softmi import DiscreteJoint, GaussianClasses, entropy, pc_cross_entropy
from softmi.estimators import (
    donsker_varadhan,
    infonce,
    jensen_shannon,
    nwj,
    smile,
)

BOUNDS = {
    "dv": donsker_varadhan, "nwj": nwj, "infonce": infonce, "smile": SMILE_1,
    "js": jensen_shannon,
}  # fmt: skip
each_bound = pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)


def mean_over_all_samples(joint: DiscreteJoint, critic: torch.Tensor, bound, n: int):
    """Exact expectation of `bound` on n samples: a sum over every data set of that size."""
    cells = list(itertools.product(*map(range, joint.table.shape)))
    total = 0.0
    for data in itertools.product(cells, repeat=n):
        x, y = torch.tensor(data).T
        total = total + joint.table[x, y].prod() * bound(critic[x], y)
    return total


def in_population(joint: DiscreteJoint, critic: torch.Tensor) -> dict[str, float]:
    """The DV and NWJ bounds with exact expectations in place of samples."""
    expected = (joint.table * critic).sum()
    partition = (joint.input_marginal[:, None] * joint.prior * critic.exp()).sum()
    return {
        "dv": float(expected - partition.log()),
        "nwj": float(expected - partition / math.e),
    }


TWO_BY_TWO = DiscreteJoint([[0.5, 0.1], [0.15, 0.25]])


# --- Bounds: closed forms ---------------------------------------------------------------------


def test_bounds_of_a_tiny_matrix_by_hand():
    scores = torch.tensor([[2.0, 1.0, 3.0], [4.0, 5.0, 8.0], [9.0, 1.0, 2.0]]).double().log()
    joint = math.log(2 * 5 * 2) / 3  # of the diagonal
    product = (1 + 3 + 4 + 8 + 9 + 1) / 6  # of the rest
    assert donsker_varadhan(scores).item() == pytest.approx(joint - math.log(product), abs=8 * EPS)
    assert nwj(scores).item() == pytest.approx(joint - product / math.e, abs=8 * EPS)
    # Rows sum to 6, 17 and 12: over three, 2, 17/3 and 4.
    by_hand = (math.log(2 / 2) + math.log(5 * 3 / 17) + math.log(2 / 4)) / 3
    assert infonce(scores).item() == pytest.approx(by_hand, abs=8 * EPS)
    clipped = (1 + 3 + 4 + math.e**2 + math.e**2 + 1) / 6  # 8 and 9 lie above e^2
    assert smile(scores, clip=2.0).item() == pytest.approx(joint - math.log(clipped), abs=8 * EPS)
    js = math.log(2 / 3 * 5 / 6 * 2 / 3) / 3 - math.log(2 * 4 * 5 * 9 * 10 * 2) / 6
    assert jensen_shannon(scores).item() == pytest.approx(js, abs=8 * EPS)


@each_bound
@seeds
def test_targets_stand_for_the_score_matrix_of_a_label(bound, seed):
    logits = random_scores(seed, n=40, columns=5)
    targets = torch.randint(4, (40,), generator=torch.Generator().manual_seed(seed))  # 4: never
    assert bound(logits, targets).item() == pytest.approx(
        bound(logits[:, targets]).item(), abs=ROUNDING
    )


@seeds
def test_infonce_of_a_label_is_the_prior_corrected_softmax(seed):
    logits = random_scores(seed, n=60, columns=4)
    targets = torch.randint(4, (60,), generator=torch.Generator().manual_seed(seed))
    frequencies = torch.bincount(targets, minlength=4) / 60.0
    loss = pc_cross_entropy(logits, targets, frequencies.double())
    # The frequencies are float32 numbers: off by half of 2^-23, relative.
    assert infonce(logits, targets).item() == pytest.approx(-loss.item(), abs=2**-22)
    assert infonce(9 * logits, targets) <= entropy(frequencies)


@pytest.mark.parametrize("n", [2, 7, 64])
def test_infonce_never_exceeds_the_logarithm_of_the_batch(n):
    for scale in (1.0, 30.0, 1e4):
        assert infonce(scale * random_scores(n, n=n, columns=n)) <= math.log(n) + ROUNDING
    assert infonce(1e4 * torch.eye(n).double()).item() == pytest.approx(math.log(n), abs=ROUNDING)


@seeds
@pytest.mark.paper("song2020", "SMILE")
def test_smile_is_donsker_varadhan_once_the_clip_exceeds_every_score(seed):
    scores = random_scores(seed)
    dv = donsker_varadhan(scores).item()
    for clip in (scores.abs().max().item(), math.inf):
        assert smile(scores, clip=clip).item() == pytest.approx(dv, abs=ROUNDING)
    assert smile(scores, clip=0.5).item() != pytest.approx(dv, abs=0.01)


@each_bound
@seeds
def test_gradients_equal_finite_differences(bound, seed):
    assert torch.autograd.gradcheck(bound, random_scores(seed, n=5, columns=5).requires_grad_())
    logits, targets = random_scores(seed, n=6, columns=3), torch.tensor([0, 1, 0, 0, 1, 0])
    assert torch.autograd.gradcheck(lambda s: bound(s, targets), logits.requires_grad_())


@seeds
def test_a_constant_moves_nwj_alone_and_a_function_of_x_leaves_infonce(seed):
    scores, shift = random_scores(seed), 1.7
    for bound in (donsker_varadhan, infonce):
        assert bound(scores + shift).item() == pytest.approx(bound(scores).item(), abs=ROUNDING)
    partition = (scores.diagonal().mean() - donsker_varadhan(scores)).exp().item()
    moved = nwj(scores).item() + shift - math.expm1(shift) * partition / math.e
    assert nwj(scores + shift).item() == pytest.approx(moved, abs=ROUNDING * partition)
    of_x = random_scores(seed + 9)[:, :1]
    assert infonce(scores + of_x).item() == pytest.approx(infonce(scores).item(), abs=ROUNDING)
    assert donsker_varadhan(scores + of_x).item() != pytest.approx(
        donsker_varadhan(scores).item(), abs=0.01
    )


@seeds
def test_nwj_lies_below_donsker_varadhan_and_meets_it_at_its_best_constant(seed):
    scores = random_scores(seed)
    dv = donsker_varadhan(scores)
    assert nwj(scores) <= dv
    best = scores - (scores.diagonal().mean() - dv) + 1  # log-partition one
    assert nwj(best).item() == pytest.approx(dv.item(), abs=ROUNDING)


def test_scores_in_the_thousands_do_not_overflow():
    scores = torch.tensor([[5000.0, 4000.0], [-5000.0, 5000.0]])
    # float32: 5000 to 2^-11.
    assert donsker_varadhan(scores).item() == pytest.approx(1000 + math.log(2), abs=2**-10)
    assert infonce(scores).item() == pytest.approx(math.log(2), abs=2**-10)
    assert smile(scores).item() == pytest.approx(
        5000 - math.log((math.e**5 + math.e**-5) / 2), abs=2**-10
    )
    assert nwj(scores).item() == -math.inf  # what it says: e^4000 is a large number
    assert jensen_shannon(scores).item() == pytest.approx(-2000, abs=2**-10)


@each_bound
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_every_floating_type_accumulates_in_float32(bound, dtype):
    scores = random_scores(0).to(dtype)
    found = bound(scores)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(bound(scores.double()).item(), abs=1e3 * 2**-23)


@pytest.mark.usefixtures("no_shape_checks")
@each_bound
@pytest.mark.parametrize(
    ("scores", "targets", "error", "message"),
    [
        (torch.zeros(3, 4), None, ValueError, r"square.*shape \(3, 4\)"),
        (torch.zeros(3), None, ValueError, r"shape \(samples, classes\).*\(3,\)"),
        (torch.zeros(1, 1), None, ValueError, r"at least two samples.*\(1, 1\)"),
        (torch.zeros(1, 4), torch.tensor([0]), ValueError, r"at least two samples.*\(1, 4\)"),
        (torch.tensor([[0.0, math.nan], [0.0, 0.0]]), None, ValueError, r"\(0, 1\) is nan"),
        (torch.tensor([[0.0, 0.0], [math.inf, 0.0]]), None, ValueError, r"\(1, 0\) is inf"),
        (torch.zeros(2, 2).long(), None, TypeError, "floating point"),
        ([[0.0, 0.0], [0.0, 0.0]], None, TypeError, "torch.Tensor, got list"),
        (torch.zeros(3, 4), torch.tensor([0, 1]), ValueError, r"targets must have shape \(3,\)"),
        (torch.zeros(2, 4), torch.tensor([0, 4]), ValueError, r"lie in \[0, 4\)"),
        (torch.zeros(2, 4), torch.tensor([0.0, 1.0]), TypeError, "integer"),
    ],
)
def test_bounds_say_what_is_wrong_with_their_input(bound, scores, targets, error, message):
    with pytest.raises(error, match=message):
        bound(scores, targets)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan])
def test_a_clip_must_be_positive(clip):
    with pytest.raises(ValueError, match="clip must be positive"):
        smile(torch.zeros(2, 2), clip=clip)


# --- Bounds: against known information --------------------------------------------------------


@pytest.mark.paper("belghazi2018", "Donsker-Varadhan representation")
def test_optimal_critic_on_a_table_gives_the_information_up_to_the_missing_diagonal():
    """On data that equal their distribution, leaving out the n joint pairs of the n^2 takes
    chi^2/(n - 1) from a partition function of one; InfoNCE leaves out none.
    """
    joint, x, y = as_counted()
    truth, pmi, n = joint.mutual_information().value, pmi_of(joint), len(x)
    chi2 = float((joint.table * pmi.exp()).sum()) - 1
    assert infonce(pmi[x], y).item() == pytest.approx(truth, abs=ROUNDING)
    assert nwj(1 + pmi[x], y).item() == pytest.approx(truth + chi2 / (n - 1), abs=ROUNDING)
    assert donsker_varadhan(pmi[x], y).item() == pytest.approx(
        truth - math.log1p(-chi2 / (n - 1)), abs=ROUNDING
    )


def test_population_bounds_meet_the_information_at_the_optimum_and_nowhere_else():
    truth, pmi = TWO_BY_TWO.mutual_information().value, pmi_of(TWO_BY_TWO)
    assert in_population(TWO_BY_TWO, pmi)["dv"] == pytest.approx(truth, abs=8 * EPS)
    assert in_population(TWO_BY_TWO, 1 + pmi)["nwj"] == pytest.approx(truth, abs=8 * EPS)
    for seed in range(50):
        critic = pmi + 0.3 * random_scores(seed, n=2, columns=2)
        assert all(value < truth for value in in_population(TWO_BY_TWO, critic).values())


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.paper("nguyen2010", "variational bound of the KL divergence")
def test_nwj_is_unbiased_at_every_sample_size(n):
    truth, pmi = TWO_BY_TWO.mutual_information().value, pmi_of(TWO_BY_TWO)
    for critic in (1 + pmi, random_scores(n, n=2, columns=2)):
        mean = mean_over_all_samples(TWO_BY_TWO, critic, nwj, n).item()
        expected = in_population(TWO_BY_TWO, critic)["nwj"]
        assert mean == pytest.approx(expected, abs=ROUNDING)
        assert mean <= truth + ROUNDING


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.paper("oord2018", "InfoNCE")
def test_infonce_is_a_bound_at_every_sample_size_and_donsker_varadhan_is_not(n):
    truth, pmi = TWO_BY_TWO.mutual_information().value, pmi_of(TWO_BY_TWO)
    critics = [pmi, 3 * pmi, *(random_scores(seed, n=2, columns=2) for seed in range(5))]
    for critic in critics:
        assert mean_over_all_samples(TWO_BY_TWO, critic, infonce, n) < min(truth, math.log(n))
        dv = mean_over_all_samples(TWO_BY_TWO, critic, donsker_varadhan, n)
        assert dv > in_population(TWO_BY_TWO, critic)["dv"]  # Jensen
    assert mean_over_all_samples(TWO_BY_TWO, pmi, donsker_varadhan, n) > truth


def test_smile_is_no_bound():
    joint, x, y = as_counted()
    truth, critic = joint.mutual_information().value, 20 * torch.eye(3).double()
    assert donsker_varadhan(critic[x], y) < truth
    assert smile(critic[x], y) > truth + 1


@pytest.mark.paper("hjelm2019", "Jensen-Shannon objective")
def test_jensen_shannon_is_largest_at_the_pointwise_information():
    critic = pmi_of(TWO_BY_TWO).requires_grad_()
    value = mean_over_all_samples(TWO_BY_TWO, critic, jensen_shannon, 2)
    product = TWO_BY_TWO.input_marginal[:, None] * TWO_BY_TWO.prior
    middle = (TWO_BY_TWO.table + product) / 2
    divergence = sum(
        float((p * (p / middle).log()).sum()) / 2 for p in (TWO_BY_TWO.table, product)
    )
    assert value.item() == pytest.approx(2 * divergence - 2 * math.log(2), abs=ROUNDING)
    (gradient,) = torch.autograd.grad(value, critic)
    assert gradient.abs().max() < ROUNDING


@pytest.mark.parametrize("prior", [[0.5, 0.5], [0.1, 0.9]], ids=str)
@pytest.mark.parametrize("bound", [donsker_varadhan, nwj, infonce])
def test_optimal_critic_on_samples_gives_the_information(bound, prior):
    task = GaussianClasses([[-1.0], [1.0]], prior)
    x, y = task.sample(4000, torch.Generator().manual_seed(1))
    pmi = task.pointwise_mutual_information(x)
    joint = pmi.gather(1, y[:, None])[:, 0]
    # e^T has mean one over the labels whatever x, and over the inputs whatever y: to first order
    # the partition function adds no variance to the mean of T. To second order: (sd of e^T)/n.
    error = float(joint.std()) / math.sqrt(len(y)) + float(pmi.exp().std()) / len(y)
    found = bound(1 + pmi if bound is nwj else pmi, y).item()
    assert found == pytest.approx(task.mutual_information().value, abs=4 * error)
