"""Rival estimators: closed forms, exact enumerations, scikit-learn, and tasks of known truth."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif
from sklearn.feature_selection._mutual_info import _compute_mi_cd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from slow_reference import EPS

from softmi import DiscreteJoint, GaussianClasses, entropy, pc_cross_entropy
from softmi.estimators import (
    critic_mutual_information,
    donsker_varadhan,
    infonce,
    jensen_shannon,
    logistic_regression_mutual_information,
    nearest_neighbour_mutual_information,
    nwj,
    plug_in_mutual_information,
    smile,
)
from softmi.estimators._samples import _splits
from softmi.estimators.variational import _moving_average_objective

SMILE_1 = functools.partial(smile, clip=1.0)
BOUNDS = {
    "dv": donsker_varadhan, "nwj": nwj, "infonce": infonce, "smile": SMILE_1,
    "js": jensen_shannon,
}  # fmt: skip
each_bound = pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
seeds = pytest.mark.parametrize("seed", range(3))

COUNTS = torch.tensor([[300, 50, 10], [20, 400, 80], [40, 40, 60]])  # 1000 in all
# Sums of a few hundred numbers of order one, in float64.
ROUNDING = 1e3 * EPS


def random_scores(seed: int, *, n: int = 12, columns: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n, columns, generator=generator, dtype=torch.float64)


def as_counted() -> tuple[DiscreteJoint, torch.Tensor, torch.Tensor]:
    """The joint of COUNTS, and a data set in which each cell occurs exactly as counted."""
    cell = torch.repeat_interleave(torch.arange(COUNTS.numel()), COUNTS.flatten())
    return DiscreteJoint(COUNTS / COUNTS.sum().double()), cell // 3, cell % 3


def pmi_of(joint: DiscreteJoint) -> torch.Tensor:
    return (joint.table / (joint.input_marginal[:, None] * joint.prior)).log()


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
def test_nwj_is_unbiased_at_every_sample_size(n):
    truth, pmi = TWO_BY_TWO.mutual_information().value, pmi_of(TWO_BY_TWO)
    for critic in (1 + pmi, random_scores(n, n=2, columns=2)):
        mean = mean_over_all_samples(TWO_BY_TWO, critic, nwj, n).item()
        expected = in_population(TWO_BY_TWO, critic)["nwj"]
        assert mean == pytest.approx(expected, abs=ROUNDING)
        assert mean <= truth + ROUNDING


@pytest.mark.parametrize("n", [2, 3])
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


# --- Critic -----------------------------------------------------------------------------------

TASK = GaussianClasses([[-1.0], [1.0]], [0.5, 0.5])
QUICK = {"hidden": (32,), "lr": 2e-2, "epochs": 10, "batch_size": 256}


@pytest.mark.parametrize(
    ("bound", "options"),
    [
        (donsker_varadhan, {}),
        (donsker_varadhan, {"ema": 0.9}),
        (nwj, {}),
        (infonce, {}),
        (smile, {}),
    ],
    ids=["dv", "dv with moving average", "nwj", "infonce", "smile"],
)
def test_a_trained_critic_finds_the_information_of_two_gaussians(bound, options):
    x, y = TASK.sample(2000, torch.Generator().manual_seed(2))
    found = critic_mutual_information(x, y, bound, **QUICK, **options)
    truth = TASK.mutual_information().value
    pmi = TASK.pointwise_mutual_information(x).gather(1, y[:, None])
    error = float(pmi.std()) / math.sqrt(len(y))  # of the best possible critic
    # 0.02 nats for what 10 epochs on 1280 samples leave unlearnt; only downwards.
    assert truth - 4 * error - 0.02 < found.value < truth + 4 * error
    assert found.value == float(found) == pytest.approx(np.mean(found.folds), abs=8 * EPS)
    assert found.standard_error == pytest.approx(np.std(found.folds, ddof=1) / math.sqrt(5))
    # Five folds: chi with four degrees of freedom lies in (0.3, 2.2) twice, but for 1 in 1000.
    assert 0.1 * error < found.standard_error < 3 * error


def test_a_critic_finds_nothing_in_noise_though_it_could_learn_it_by_heart():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 50, generator=generator), torch.randint(3, (400,), generator=generator)
    found = critic_mutual_information(x, y, infonce, epochs=20)
    assert found.value < 4 * found.standard_error
    assert found.value > -0.05  # stopped before it had learnt much by heart


def test_the_seed_alone_decides_whatever_the_container_and_the_names_of_the_labels():
    x, y = TASK.sample(200, torch.Generator().manual_seed(3))
    few = {**QUICK, "epochs": 2}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = critic_mutual_information(x, y, infonce, **few)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    torch.rand(5)
    assert critic_mutual_information(x.numpy(), (7 * y - 3).numpy(), infonce, **few) == first
    assert critic_mutual_information(x, y, infonce, **few, seed=1) != first


def test_a_critic_does_not_depend_on_the_units_of_the_inputs():
    x, y = TASK.sample(200, torch.Generator().manual_seed(3))
    x = torch.cat([x, torch.full_like(x, 0.1)], dim=1)  # a constant feature has no unit
    few = {**QUICK, "epochs": 2}
    there = critic_mutual_information(1000 * x.double() + 5e4, y, infonce, **few)
    here = critic_mutual_information(x, y, infonce, **few)
    # Rounding of standardised inputs to float32, through two epochs of steps.
    assert there.value == pytest.approx(here.value, abs=1e-4)


def test_the_bound_is_taken_once_on_each_fold_of_held_out_samples():
    x, y = TASK.sample(203, torch.Generator().manual_seed(4))
    sizes, labels = [], []

    def recording(logits, targets):
        assert logits.dtype == torch.float64
        assert not logits.requires_grad
        sizes.append(len(targets))
        labels.extend(targets.tolist())
        return infonce(logits, targets)

    few = {**QUICK, "epochs": 2}
    found = critic_mutual_information(x, y, recording, objective=infonce, folds=4, **few)
    assert sorted(sizes) == [50, 51, 51, 51]
    assert sorted(labels) == sorted(y.tolist())
    assert found == critic_mutual_information(x, y, infonce, folds=4, **few)


def test_smile_is_trained_by_jensen_shannon():
    x, y = TASK.sample(200, torch.Generator().manual_seed(3))
    few = {**QUICK, "epochs": 2}
    for bound in (smile, SMILE_1):
        expected = critic_mutual_information(x, y, bound, objective=jensen_shannon, **few)
        assert critic_mutual_information(x, y, bound, **few) == expected


def test_a_batch_is_never_a_single_sample():
    x, y = TASK.sample(23, torch.Generator().manual_seed(3))
    found = critic_mutual_information(x, y, infonce, folds=2, epochs=1, batch_size=2)
    assert math.isfinite(found.value)


def test_overflow_of_nwj_does_not_spoil_the_critic():
    x, y = TASK.sample(200, torch.Generator().manual_seed(3))
    found = critic_mutual_information(x, y, nwj, hidden=(64,), lr=10.0, epochs=5)
    assert not math.isnan(found.value)


def test_moving_average_replaces_the_denominator_of_the_gradient():
    objective, targets = _moving_average_objective(0.75), torch.arange(6)
    first, second = (random_scores(seed, n=6, columns=6).requires_grad_() for seed in (0, 1))

    def partition(scores):
        return (scores.exp().sum() - scores.diagonal().exp().sum()) / 30

    (gradient,) = torch.autograd.grad(objective(first, targets), first)
    (plain,) = torch.autograd.grad(donsker_varadhan(first), first)
    torch.testing.assert_close(gradient, plain, rtol=0, atol=ROUNDING)
    average = 0.75 * partition(first).detach() + 0.25 * partition(second).detach()
    (gradient,) = torch.autograd.grad(objective(second, targets), second)
    expected = second.diagonal().mean() - partition(second) / average
    (expected,) = torch.autograd.grad(expected, second)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=ROUNDING)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds=1 for 60"),
        ({"folds": 7}, "at least 10 samples each, got folds=7 for 60"),
        ({"epochs": 0}, "epochs >= 1"),
        ({"patience": 0}, "patience >= 1"),
        ({"batch_size": 1}, "batch_size >= 2"),
        ({"lr": 0.0}, "lr > 0"),
        ({"ema": 1.0}, r"ema must be in \(0, 1\)"),
        ({"ema": 0.9, "bound": nwj}, "train donsker_varadhan"),
    ],
)
def test_the_trainer_says_what_is_wrong_with_its_options(options, message):
    x, y = TASK.sample(60, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        critic_mutual_information(x, y, **{"bound": donsker_varadhan, **options})


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "estimator",
    [
        functools.partial(critic_mutual_information, bound=infonce),
        nearest_neighbour_mutual_information,
        logistic_regression_mutual_information,
    ],
    ids=["critic", "neighbours", "logistic"],
)
@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.zeros(60), np.zeros(60, int), ValueError, r"\(samples, features\).*\(60,\)"),
        (np.zeros((60, 0)), np.zeros(60, int), ValueError, r"\(60, 0\)"),
        (np.zeros((60, 2)), np.zeros(59, int), ValueError, "X has 60 samples, but y has 59"),
        (np.zeros((60, 2)), np.zeros((60, 1), int), ValueError, r"y must have.*\(60, 1\)"),
        (np.zeros((60, 2)), np.zeros(60), TypeError, "integer labels, got float64"),
        (np.full((60, 2), np.nan), np.zeros(60, int), ValueError, "X must be finite: 120 of 120"),
        (np.zeros((60, 2), complex), np.zeros(60, int), ValueError, "real numbers"),
    ],
)
def test_estimators_say_what_is_wrong_with_the_data(estimator, x, y, error, message):
    with pytest.raises(error, match=message):
        estimator(x, y)


# --- Nearest neighbours -----------------------------------------------------------------------


def mixed_sample(seed: int, *, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """One feature in float64; of the labels one is rarer, and two occur once.

    No class is smaller than twice k: there scikit-learn's search computes a distance as
    x^2 - 2xy + y^2, whose rounding may leave the k-th neighbour itself out of the ball or in.
    """
    rng = np.random.default_rng(seed)
    y = np.concatenate([rng.integers(4, size=n - 26), np.full(24, 4), [5, 6]])
    return rng.normal(size=n) + y, y


@seeds
@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
def test_nearest_neighbours_in_one_dimension_equal_scikit_learn(seed, k, metric):
    x, y = mixed_sample(seed)
    found = nearest_neighbour_mutual_information(x[:, None], y, neighbours=k, metric=metric)
    # The same counts, summed in another order.
    assert found == pytest.approx(_compute_mi_cd(x, y, k), abs=ROUNDING)
    public = mutual_info_classif(x[:, None], y, n_neighbors=k, random_state=0)[0]
    # It adds noise of 1e-10, which may exchange a few neighbours: a count by one, of 600.
    assert found == pytest.approx(public, abs=1e-3)


@pytest.mark.parametrize("dimensions", [2, 5, 30])
@pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
def test_nearest_neighbours_in_many_dimensions_equal_the_definition(dimensions, metric):
    rng = np.random.default_rng(dimensions)
    y = np.append(rng.integers(3, size=78), [3, 3])  # a class of two has k = 1
    x = rng.normal(size=(80, dimensions)) + y[:, None]
    scaled = x / x.std(0)
    difference = np.abs(scaled[:, None] - scaled)
    distance = difference.max(2) if metric == "chebyshev" else np.sqrt((difference**2).sum(2))
    total = 0.0
    for i in range(80):
        others = np.arange(80) != i
        k = min(3, np.sum(y == y[i]) - 1)
        radius = np.sort(distance[i, others & (y == y[i])])[k - 1]
        within = np.sum(distance[i, others] <= radius * (1 + 1e-9))
        total += digamma(80) + digamma(k) - digamma(np.sum(y == y[i])) - digamma(within)
    found = nearest_neighbour_mutual_information(x, y, metric=metric)
    assert found == pytest.approx(total / 80, abs=ROUNDING)


@pytest.mark.parametrize(("dimensions", "slack"), [(1, 0.0), (5, 0.04)])
@pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
def test_nearest_neighbours_find_the_information_of_gaussians(dimensions, slack, metric):
    """In five dimensions the density is not constant within a ball: 0.04 nats for that."""
    task = GaussianClasses.five_on_a_line(dimensions)
    x, y = task.sample(3000, torch.Generator().manual_seed(dimensions))
    pmi = task.pointwise_mutual_information(x).gather(1, y[:, None])
    # psi(m) given the radius has a variance of about 1/k, k = 3; neighbours are correlated: 2/k.
    error = math.sqrt((float(pmi.var()) + 2 / 3) / len(y))
    found = nearest_neighbour_mutual_information(x, y, metric=metric)
    assert found == pytest.approx(task.mutual_information().value, abs=4 * error + slack)


@pytest.mark.parametrize("dimensions", [1, 5, 30])
def test_nearest_neighbours_find_nothing_in_noise_and_may_be_negative(dimensions):
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(400, dimensions)), rng.integers(3, size=400)
        found.append(nearest_neighbour_mutual_information(x, y))
    assert abs(np.mean(found)) < 4 * math.sqrt(2 / 3 / 400 / 8)
    assert min(found) < 0


def test_nearest_neighbours_of_repeated_inputs_count_all_that_coincide():
    joint, x, y = as_counted()
    counts, n = COUNTS.numpy(), int(COUNTS.sum())
    by_hand = digamma(n) + sum(
        count / n * (digamma(count) - digamma(counts[:, b].sum()) - digamma(counts[a].sum()))
        for (a, b), count in np.ndenumerate(counts)
    )
    found = nearest_neighbour_mutual_information(x[:, None], y)
    assert found == pytest.approx(by_hand, abs=ROUNDING)
    # psi(c) is log c - 1/(2c): over the nine cells, (9 + 1 - 3 - 3) / (2n) at most.
    assert found == pytest.approx(joint.mutual_information().value, abs=4.1 / (2 * n))


def test_nearest_neighbours_do_not_depend_on_the_unit_of_a_feature():
    x, y = GaussianClasses.five_on_a_line(3).sample(300, torch.Generator().manual_seed(0))
    found = nearest_neighbour_mutual_information(x, y)
    other = nearest_neighbour_mutual_information(x.double() * torch.tensor([1e-3, 1, 1e6]), y)
    assert other == pytest.approx(found, abs=ROUNDING)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([0, 0, 1, 1], {"neighbours": 0}, "neighbours >= 1"),
        ([0, 0, 1, 1], {"metric": "cosine"}, "'cosine'"),
        ([0, 1, 2, 3], {}, "no class has two samples: 4 labels"),
    ],
)
def test_nearest_neighbours_say_what_is_wrong(y, options, message):
    with pytest.raises(ValueError, match=message):
        nearest_neighbour_mutual_information(np.arange(4.0)[:, None], np.array(y), **options)


# --- Logistic regression ----------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_logistic_regression_is_the_cross_validated_log_loss(classes, C):
    task = GaussianClasses(torch.eye(classes) * 2, [1 / classes] * classes)
    x, y = task.sample(300, torch.Generator().manual_seed(classes))
    found = logistic_regression_mutual_information(x, y, folds=4, C=C, seed=7)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    cv = list(_splits(y.numpy(), 4, 7))
    q = cross_val_predict(model, x.double().numpy(), y.numpy(), cv=cv, method="predict_proba")
    label_entropy = entropy(torch.bincount(y).double() / 300).item()
    assert found.value == pytest.approx(label_entropy - log_loss(y, q), abs=ROUNDING)
    assert found.n_samples == 300


def test_logistic_regression_finds_the_information_of_gaussians_whose_model_it_is():
    x, y = TASK.sample(3000, torch.Generator().manual_seed(0))
    found = logistic_regression_mutual_information(x, y)
    # Two parameters fitted on 2400 samples cost 2/(2 · 2400) nats: below a tenth of an error.
    assert found.value == pytest.approx(
        TASK.mutual_information().value, abs=4 * found.standard_error
    )
    shuffled = logistic_regression_mutual_information(
        x, y[torch.randperm(3000, generator=torch.Generator().manual_seed(1))]
    )
    assert shuffled.value == pytest.approx(0, abs=4 * shuffled.standard_error + 1e-3)


def test_splits_spread_every_class_and_leave_out_each_sample_once():
    y = np.repeat([0, 1, 2], [50, 7, 2])
    splits = list(_splits(y, 5, 0))
    assert np.array_equal(np.sort(np.concatenate([held for _, held in splits])), np.arange(59))
    for train, held in splits:
        assert not set(train) & set(held)
        assert len(train) + len(held) == 59
        assert set(y[train]) == {0, 1, 2}
        assert np.sum(y[held] == 0) == 10
        assert np.sum(y[held] == 1) in (1, 2)


def test_a_class_of_one_sample_costs_the_documented_amount():
    x, y = TASK.sample(99, torch.Generator().manual_seed(0))
    x, y = torch.cat([x, x[:1]]), torch.cat([y, torch.tensor([2])])
    found = logistic_regression_mutual_information(x, y)
    # Trained on 80 of the 100, without the class: 1/81, against a frequency of 1/100.
    assert found.pointwise[-1].item() == pytest.approx(math.log(100 / 81), abs=ROUNDING)
    assert math.isfinite(found.value)


def test_logistic_regression_stays_finite_on_separable_and_on_constant_labels():
    x = np.repeat([-1e6, 1e6], 20)[:, None]
    y = np.repeat([0, 1], 20)
    separable = logistic_regression_mutual_information(x, y, C=1e12).value
    assert 0.69 < separable <= math.log(2)
    assert logistic_regression_mutual_information(x, 0 * y).value == 0
    single = logistic_regression_mutual_information(x, np.eye(40, dtype=int)[0])
    assert math.isfinite(single.value)  # one fold trains on a single class


@pytest.mark.parametrize("folds", [0, 1, 41])
def test_logistic_regression_needs_samples_for_its_folds(folds):
    with pytest.raises(ValueError, match=f"folds={folds} for 40"):
        logistic_regression_mutual_information(np.zeros((40, 1)), np.zeros(40, int), folds=folds)


# --- Plug-in ----------------------------------------------------------------------------------


@seeds
def test_plug_in_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-3, 20, size=300), rng.integers(7, size=300) * 10**9
    found = plug_in_mutual_information(x, y)
    assert found == pytest.approx(mutual_info_score(x, y), abs=ROUNDING)
    assert plug_in_mutual_information(torch.tensor(y), x) == pytest.approx(found, abs=ROUNDING)


def test_plug_in_of_data_as_counted_is_the_information_of_the_table():
    joint, x, y = as_counted()
    truth = joint.mutual_information().value
    assert plug_in_mutual_information(x, y) == pytest.approx(truth, abs=ROUNDING)


def test_miller_madow_by_hand():
    x, y = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 0, 0, 0, 1])
    # Three, two and four cells occur: (2 + 1 - 3) / 12 = 0; with a fifth, (2 + 1 - 4) / 14.
    plain = plug_in_mutual_information(x, y)
    assert plug_in_mutual_information(x, y, correction="miller-madow") == pytest.approx(plain)
    x, y = np.append(x, 1), np.append(y, 1)
    plain = plug_in_mutual_information(x, y)
    assert plug_in_mutual_information(x, y, correction="miller-madow") == pytest.approx(
        plain - 1 / 14, abs=ROUNDING
    )


def test_miller_madow_removes_most_of_the_bias_of_the_plain_value():
    joint = DiscreteJoint(torch.outer(torch.full((10,), 0.1), torch.full((5,), 0.2)).double())
    plain, corrected = [], []
    for seed in range(50):
        x, y = joint.sample(500, torch.Generator().manual_seed(seed))
        plain.append(plug_in_mutual_information(x, y))
        corrected.append(plug_in_mutual_information(x, y, correction="miller-madow"))
    # No information: 2nI is chi-squared with 36 degrees of freedom; its sd over the root of 50.
    error = math.sqrt(2 * 36) / 1000 / math.sqrt(50)
    assert np.mean(plain) == pytest.approx(36 / 1000, abs=4 * error + 0.002)  # next order: 1/n^2
    assert np.mean(corrected) == pytest.approx(0, abs=4 * error + 0.002)


def test_plug_in_of_samples_finds_the_information_of_a_table():
    joint = as_counted()[0]
    x, y = joint.sample(20_000, torch.Generator().manual_seed(0))
    error = float(pmi_of(joint)[x, y].std()) / math.sqrt(len(x))
    found = plug_in_mutual_information(x, y, correction="miller-madow")
    assert found == pytest.approx(joint.mutual_information().value, abs=4 * error)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("x", "y", "options", "error", "message"),
    [
        ([0, 1], [0, 1, 1], {}, ValueError, "x has 2 samples, but y has 3"),
        ([0.0, 1.0], [0, 1], {}, TypeError, "x must hold integer labels, got float64"),
        ([[0], [1]], [0, 1], {}, ValueError, r"x must have shape \(samples,\), got.*\(2, 1\)"),
        ([0, 1], [0, 1], {"correction": "jackknife"}, ValueError, "'jackknife'"),
    ],
)
def test_plug_in_says_what_is_wrong(x, y, options, error, message):
    with pytest.raises(error, match=message):
        plug_in_mutual_information(np.array(x), np.array(y), **options)
