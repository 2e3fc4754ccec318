"""Tasks that know their own mutual information: quadrature, Monte Carlo, tables, samples."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
from slow_reference import DIGITS, EPS, relative_error
from torch import Tensor

from softmi import DiscreteJoint, GaussianClasses, entropy, mutual_information
from softmi.datasets import long_tailed_counts
from softmi.synthetic import (
    LabelledTask,
    LabelNoise,
    NoisyXor,
    Rings,
    StudentTClasses,
    long_tailed_prior,
)

IMBALANCED = [k / 15 for k in range(1, 6)]
PAPER_LINE = [0.0, 2.0, -2.0, 4.0, -4.0]

# facts/papers.md, A4: by quadrature, four decimals.
PAPER_TRUTH = {
    (1, True): 1.0314, (2, True): 1.3003, (5, True): 1.5544, (10, True): 1.6058,
    (1, False): 1.0224, (2, False): 1.2393, (5, False): 1.4449, (10, False): 1.4868,
}  # fmt: skip
PAPER_BAYES = {
    (1, True): 0.7462, (2, True): 0.8742, (5, True): 0.9797, (10, True): 0.9987,
    (1, False): 0.7986, (2, False): 0.8988, (5, False): 0.9835, (10, False): 0.9990,
}  # fmt: skip
paper_tasks = pytest.mark.parametrize(
    ("dimensions", "balanced"), PAPER_TRUTH, ids=lambda v: str(v)
)


def line(positions: list[float], prior: list[float]) -> GaussianClasses:
    return GaussianClasses([[p] for p in positions], prior)


def exact_on_a_line(positions: list[float], prior: list[float]) -> mp.mpf:
    """The defining integral, by mpmath; tails beyond 14 deviations hold less than 1e-43."""
    with mp.workdps(DIGITS):
        centres, pi = [mp.mpf(p) for p in positions], [mp.mpf(p) for p in prior]

        def integrand(t):
            densities = [mp.npdf(t, c) for c in centres]
            mixture = mp.fsum(p * d for p, d in zip(pi, densities, strict=True))
            return mp.fsum(
                p * d * mp.log(d / mixture) for p, d in zip(pi, densities, strict=True) if p
            )

        ends = sorted(centres)
        middles = [(a + b) / 2 for a, b in itertools.pairwise(ends)]
        return mp.quad(integrand, sorted({ends[0] - 14, *ends, *middles, ends[-1] + 14}))


def rotation(dimensions: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(
        torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)
    ).Q


# --- Quadrature -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("positions", "prior"),
    [
        ([-1.0, 1.0], [0.5, 0.5]),
        ([-1.0, 1.0], [0.125, 0.875]),
        ([-0.05, 0.05], [0.5, 0.5]),  # little information: 0.00125 nats
        ([0.0, 20.0], [0.25, 0.75]),  # the label entropy, all but exp(-50)
        ([0.0, 0.0, 3.0], [0.25, 0.25, 0.5]),  # two classes alike
        (PAPER_LINE, IMBALANCED),
    ],
)
def test_quadrature_agrees_with_fifty_digits_to_1e12(positions, prior):
    known = line(positions, prior).mutual_information()
    assert known.method == "quadrature"
    exact = exact_on_a_line(positions, prior)
    assert relative_error(known.value, exact) < 1e-12
    assert abs(known.value - float(exact)) <= known.standard_error + 8 * EPS
    assert known.standard_error < 1e-11  # what the library says of itself


def test_tiny_information_is_right_to_fifteen_decimals_rather_than_twelve_digits():
    """The integrand is a difference of nearly equal logarithms: its error is absolute."""
    exact = exact_on_a_line([0.0, 1e-4], [0.5, 0.5])  # 1.25e-9 nats: the square of the distance
    assert float(exact) == pytest.approx(1e-8 / 8, rel=1e-8)
    assert line([0.0, 1e-4], [0.5, 0.5]).mutual_information().value == pytest.approx(
        float(exact), abs=1e-15
    )


@pytest.mark.parametrize("a", [0.3, 1.0, 2.5])
def test_two_classes_have_the_capacity_integral_of_the_binary_gaussian_channel(a):
    """I = log 2 - E log(1 + exp(-2a(a + Z))), with Z standard normal."""
    with mp.workdps(DIGITS):
        loss = mp.quad(
            lambda z: mp.npdf(z) * mp.log1p(mp.exp(-2 * mp.mpf(a) * (a + z))),
            [-16, -8, -a, 0, 8, 16],
        )
        exact = mp.log(2) - loss
    known = line([-a, a], [0.5, 0.5]).mutual_information()
    assert relative_error(known.value, exact) < 1e-12


@paper_tasks
def test_paper_tasks_have_their_published_truth(dimensions, balanced):
    known = GaussianClasses.five_on_a_line(dimensions, balanced=balanced).mutual_information()
    assert known.method == "quadrature"
    assert known.value == pytest.approx(PAPER_TRUTH[dimensions, balanced], abs=5.1e-5)
    spread = [p * math.sqrt(dimensions) for p in PAPER_LINE]  # the projection on the diagonal
    on_line = line(spread, [0.2] * 5 if balanced else IMBALANCED).mutual_information()
    assert known.value == pytest.approx(on_line.value, rel=1e-12)


def test_paper_task_is_that_of_the_authors_code():
    task = GaussianClasses.five_on_a_line(3, balanced=False)
    assert task.means.tolist() == [[m] * 3 for m in (0, 2, -2, 4, -4)]
    torch.testing.assert_close(task.prior, torch.tensor(IMBALANCED).double())
    assert GaussianClasses.five_on_a_line(1).prior.tolist() == pytest.approx([0.2] * 5)
    assert task.classes == 5


@pytest.mark.parametrize("seed", range(3))
def test_a_line_in_any_direction_under_any_covariance_is_the_same_task(seed):
    positions, prior = torch.tensor([0.0, 1.0, 2.5, -1.5]).double(), [0.1, 0.2, 0.3, 0.4]
    turn = rotation(4, seed)
    # Sigma = A A^T, and means along A u: whitened, they lie at the positions again.
    factor = turn @ torch.diag(torch.tensor([0.5, 1.0, 1.5, 2.0]).double()) @ rotation(4, seed + 9)
    direction = factor @ rotation(4, seed + 5)[0]
    task = GaussianClasses(positions[:, None] * direction + 7, prior, covariance=factor @ factor.T)
    known = task.mutual_information()
    assert known.method == "quadrature"
    # Whitening multiplies rounding by the condition number of Sigma, 16.
    expected = line(positions.tolist(), prior).mutual_information().value
    assert known.value == pytest.approx(expected, rel=16 * 64 * EPS)


def test_shifting_or_turning_all_means_changes_nothing():
    means = torch.tensor([[0.0, 0.0], [2.0, 1.0], [4.0, 2.0]]).double()
    prior = [0.5, 0.25, 0.25]
    base = GaussianClasses(means, prior).mutual_information().value
    for moved in (means + 1000, means @ rotation(2), -means):
        value = GaussianClasses(moved, prior).mutual_information().value
        assert value == pytest.approx(base, rel=1e-12)  # 1000 eps of rounding in the means


def test_wider_noise_leaves_less_information():
    values = [
        GaussianClasses([[0.0], [2.0]], [0.5, 0.5], covariance=[[v]]).mutual_information().value
        for v in (0.5, 1.0, 2.0)
    ]
    assert values == sorted(values, reverse=True)
    # Doubling the variance is shrinking the distance by sqrt(2).
    shrunk = line([0.0, math.sqrt(2)], [0.5, 0.5]).mutual_information().value
    assert values[2] == pytest.approx(shrunk, rel=1e-13)


# --- Exact cases and Monte Carlo --------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "prior"),
    [
        ([[1.0, 2.0], [1.0, 2.0]], [0.3, 0.7]),
        ([[5.0, 5.0]], [1.0]),
        ([[0.0, 0.0], [9.0, 9.0]], [1.0, 0.0]),
    ],
    ids=["equal means", "one class", "one possible class"],
)
def test_no_difference_between_classes_is_no_information(means, prior):
    known = GaussianClasses(means, prior).mutual_information()
    assert (known.value, known.standard_error, known.method) == (0.0, 0.0, "exact")


def test_a_class_of_zero_prior_is_ignored():
    # Its mean is off the line of the others; left in, it would force Monte Carlo.
    task = GaussianClasses([[0.0, 0.0], [3.0, 0.0], [1.0, 5.0]], [0.4, 0.6, 0.0])
    known = task.mutual_information()
    assert known.method == "quadrature"
    expected = line([0.0, 3.0], [0.4, 0.6]).mutual_information().value
    assert known.value == pytest.approx(expected, rel=1e-14)


TRIANGLE = GaussianClasses([[0.0, 0.0], [2.0, 0.0], [0.5, 1.5]], [0.2, 0.3, 0.5])


def triangle_by_gauss_hermite(nodes: int = 60) -> float:
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 2)
    weight = np.outer(weights, weights).ravel()
    total = 0.0
    means, prior = TRIANGLE.means.numpy(), TRIANGLE.prior.numpy()
    for mean, p in zip(means, prior, strict=True):
        x = mean + grid
        log_densities = -0.5 * ((x[:, None] - means) ** 2).sum(-1)
        own = -0.5 * (grid**2).sum(-1)
        mixture = np.logaddexp.reduce(log_densities + np.log(prior), axis=1)
        total += p * weight @ (own - mixture)
    return float(total)


def test_means_in_a_plane_fall_back_to_monte_carlo_within_four_standard_errors():
    exact = triangle_by_gauss_hermite()
    assert exact == pytest.approx(triangle_by_gauss_hermite(80), abs=1e-9)  # converged
    known = TRIANGLE.mutual_information(samples=250_000)
    assert known.method == "monte carlo"
    assert 0 < known.standard_error < 0.002
    assert known.value == pytest.approx(exact, abs=4 * known.standard_error)


def test_monte_carlo_standard_error_is_that_of_the_mean_over_its_blocks():
    known = TRIANGLE.mutual_information(samples=150_001, seed=3)  # two blocks, the second odd
    x, y = TRIANGLE.sample(150_001, torch.Generator().manual_seed(8))
    pmi = TRIANGLE.pointwise_mutual_information(x).gather(1, y[:, None])
    expected = pmi.std().item() / math.sqrt(150_001)
    # The spread of 150,001 values is known to about 1 %.
    assert known.standard_error == pytest.approx(expected, rel=0.03)


def test_monte_carlo_is_a_function_of_its_seed():
    a, b, c = (TRIANGLE.mutual_information(samples=1000, seed=s).value for s in (0, 0, 1))
    assert a == b != c


@pytest.mark.parametrize("balanced", [True, False])
def test_quadrature_agrees_with_monte_carlo_over_samples(balanced):
    task = GaussianClasses.five_on_a_line(2, balanced=balanced)
    x, y = task.sample(100_000, torch.Generator().manual_seed(1))
    pmi = task.pointwise_mutual_information(x).gather(1, y[:, None]).numpy()
    known = task.mutual_information()
    assert pmi.mean() == pytest.approx(known.value, abs=4 * scipy.stats.sem(pmi)[0])
    assert float(known) == known.value


# --- Bayes accuracy ---------------------------------------------------------------------------


@paper_tasks
def test_bayes_accuracy_is_that_of_the_table(dimensions, balanced):
    task = GaussianClasses.five_on_a_line(dimensions, balanced=balanced)
    prior = np.full(5, 0.2) if balanced else np.array(IMBALANCED)
    centres = np.array(PAPER_LINE) * math.sqrt(dimensions)

    def best(t):
        return (prior * scipy.stats.norm.pdf(t, centres)).max()

    cuts = np.sort(np.concatenate([centres, (np.sort(centres)[1:] + np.sort(centres)[:-1]) / 2]))
    ends = [centres.min() - 12, *cuts, centres.max() + 12]
    exact = sum(
        scipy.integrate.quad(best, a, b, epsabs=1e-9)[0] for a, b in itertools.pairwise(ends)
    )
    # The table's digits for the imbalanced tasks are simulated: one in the last place.
    assert exact == pytest.approx(PAPER_BAYES[dimensions, balanced], abs=1.5e-4)
    if balanced:  # two outer classes err on one side, three inner ones on two
        assert exact == pytest.approx(
            1.6 * scipy.stats.norm.cdf(math.sqrt(dimensions)) - 0.6, abs=1e-8
        )
    found, standard_error = task.bayes_accuracy(50_000)
    assert found == pytest.approx(exact, abs=4 * standard_error)
    assert standard_error == pytest.approx(math.sqrt(exact * (1 - exact) / 50_000), rel=0.2)


# --- Scores of samples ------------------------------------------------------------------------


def covariance_case() -> tuple[GaussianClasses, Tensor]:
    sigma = torch.tensor([[2.0, 0.6], [0.6, 0.5]]).double()
    return GaussianClasses([[0.0, 1.0], [2.0, -1.0], [1.0, 1.0]], [0.2, 0.3, 0.5], sigma), sigma


def test_pointwise_information_is_the_log_density_ratio():
    task, sigma = covariance_case()
    x, _ = task.sample(50, torch.Generator().manual_seed(0))
    log_p = np.stack(
        [scipy.stats.multivariate_normal(m, sigma).logpdf(x.double()) for m in task.means], axis=1
    )
    mixture = scipy.special.logsumexp(log_p + task.prior.log().numpy(), axis=1, keepdims=True)
    found = task.pointwise_mutual_information(x).numpy()
    np.testing.assert_allclose(found, log_p - mixture, rtol=0, atol=1e-12)
    scores = task.log_likelihoods(x).numpy()
    np.testing.assert_allclose(scores - scores[:, :1], log_p - log_p[:, :1], rtol=0, atol=1e-12)


def test_ideal_logits_report_the_exact_pointwise_values():
    task, _ = covariance_case()
    x, y = task.sample(500, torch.Generator().manual_seed(1))
    estimate = mutual_information(task.log_likelihoods(x), y, task.prior, prior_corrected=True)
    exact = task.pointwise_mutual_information(x).gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(estimate.pointwise, exact, rtol=0, atol=1e-12)


# --- Samples ----------------------------------------------------------------------------------


def test_samples_have_the_moments_of_the_task():
    task, sigma = covariance_case()
    n = 60_000
    x, y = task.sample(n, torch.Generator().manual_seed(2))
    assert (x.dtype, y.dtype, x.shape, y.shape) == (torch.float32, torch.int64, (n, 2), (n,))
    for k, p in enumerate(task.prior.tolist()):
        own = x[y == k].double()
        assert len(own) / n == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
        deviation = (own.mean(0) - task.means[k]) / (sigma.diagonal() / len(own)).sqrt()
        assert deviation.abs().max() < 4
        # An entry of a sample covariance has variance (s_ii s_jj + s_ij^2) / n.
        error = torch.cov(own.T) - sigma
        scale = ((torch.outer(sigma.diagonal(), sigma.diagonal()) + sigma**2) / len(own)).sqrt()
        assert (error / scale).abs().max() < 4


def test_sample_counts_draws_exactly_the_counts_class_after_class():
    counts = [3, 0, 5, 1, 2]
    x, y = GaussianClasses.five_on_a_line(4).sample_counts(counts)
    assert x.shape == (11, 4)
    assert y.tolist() == [0] * 3 + [2] * 5 + [3] + [4] * 2


def test_zero_prior_class_is_never_sampled():
    _, y = GaussianClasses([[0.0], [1.0]], [1.0, 0.0]).sample(1000)
    assert not y.any()


@pytest.mark.parametrize(
    "draw",
    [
        lambda g: TRIANGLE.sample(100, g),
        lambda g: TRIANGLE.sample_counts([20, 30, 50], g),
        lambda g: DiscreteJoint([[0.3, 0.2], [0.1, 0.4]]).sample(100, g),
    ],
    ids=["sample", "sample_counts", "DiscreteJoint"],
)
def test_samples_are_a_function_of_the_generator_and_leave_the_global_one_alone(draw):
    before = torch.get_rng_state()
    a, b, c = (draw(torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    assert all(torch.equal(u, v) for u, v in zip(a, b, strict=True))
    assert not all(torch.equal(u, v) for u, v in zip(a, c, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_exact_values_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    TRIANGLE.mutual_information(samples=100)
    TRIANGLE.bayes_accuracy(100)
    assert torch.equal(torch.get_rng_state(), before)


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
    ("arguments", "message"),
    [
        (([0.0, 1.0], [0.5, 0.5]), r"shape \(classes, dimensions\), got shape \(2,\)"),
        (([[]], [1.0]), r"\(classes, dimensions\), got shape \(1, 0\)"),
        (([[0.0], [math.nan]], [0.5, 0.5]), r"means must be finite: 1 of 2 .*\(1, 0\) is nan"),
        (([[0.0], [1.0]], [1.0]), "1 entries, but there are 2 classes"),
        (([[0.0], [1.0]], [0.5, 0.6]), r"sum to 1, got a sum of 1\.1"),
        (([[0.0], [1.0]], [0.5, 0.5], [[1.0, 0.0], [0.0, 1.0]]), r"\(1, 1\) .*got shape \(2, 2\)"),
        (([[0.0], [1.0]], [0.5, 0.5], [[-1.0]]), "symmetric positive definite, got"),
        (([[0.0], [1.0]], [0.5, 0.5], [[math.nan]]), "symmetric positive definite, got"),
        (
            ([[0.0, 0.0]], [1.0], [[1.0, 0.5], [0.0, 1.0]]),
            "symmetric positive definite, got",
        ),
    ],
)
def test_bad_tasks_are_refused_with_what_came_in(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianClasses(*arguments)


@pytest.mark.usefixtures("no_shape_checks")
def test_bad_requests_are_refused_with_what_came_in():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        TRIANGLE.sample(0)
    with pytest.raises(ValueError, match="n must be at least 1, got -1"):
        DiscreteJoint([[1.0]]).sample(-1)
    for counts in ([1, 2], [1, 2, -1], [0, 0, 0]):
        with pytest.raises(ValueError, match=r"3 numbers of samples, got \[") as error:
            TRIANGLE.sample_counts(counts)
        assert str(counts) in str(error.value)
    with pytest.raises(ValueError, match=r"shape \(samples, 2\), got shape \(5, 3\)"):
        TRIANGLE.log_likelihoods(torch.zeros(5, 3))


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


# --- Tasks in more dimensions, with heavy tails, rings and parity -----------------------------


def test_monte_carlo_of_gaussians_still_gives_the_numbers_of_the_first_release():
    """Seeded values that results were made with: a refactoring must not move them."""
    known = TRIANGLE.mutual_information(samples=150_001)  # a second block, of odd size
    # Sums of 150,001 terms: another summation order moves the last digits only.
    assert known.value == pytest.approx(0.4279572248858083, rel=1e-12)
    assert known.standard_error == pytest.approx(0.0018202203149444872, rel=1e-10)
    assert TRIANGLE.bayes_accuracy(1000)[0] == 0.753


@pytest.mark.parametrize(("classes", "factor"), [(10, 100), (10, 50.0), (3, 0.5), (7, 1), (1, 9)])
def test_long_tail_is_geometric_from_first_to_last(classes, factor):
    prior = long_tailed_prior(classes, factor)
    assert prior.dtype == torch.float64
    assert prior.sum().item() == pytest.approx(1, abs=4 * EPS)
    steps = (prior[1:] / prior[:-1]).tolist()
    # Each probability is an exponential, right to a few eps of its exponent, below 5.
    expected = [factor ** (-1 / max(1, classes - 1))] * (classes - 1)
    assert steps == pytest.approx(expected, rel=1e-14)


def test_long_tail_is_the_profile_of_the_counts_cut_from_cifar():
    weights = long_tailed_prior(10)
    scaled = 5000 * weights / weights[0]
    exact = torch.tensor(long_tailed_counts())
    assert torch.equal((scaled + 1e-9).floor().long(), exact)  # the last is 50, but for rounding


@pytest.mark.parametrize("dimensions", [1, 5, 200])
def test_random_means_are_as_far_apart_in_any_number_of_dimensions(dimensions):
    classes, separation = 400, 3.0
    means = GaussianClasses.random_means(classes, dimensions, separation=separation).means
    # |mu|^2 is s^2 / d times a chi-square: variance 2 s^4 / d; distances are twice it.
    squares = means.square().sum(1).mean().item()
    standard_error = separation**2 * math.sqrt(2 / (classes * dimensions))
    assert squares == pytest.approx(separation**2, abs=4 * standard_error)


def test_random_means_are_a_function_of_their_seed_alone():
    before = torch.get_rng_state()
    a, b, c = (GaussianClasses.random_means(4, 3, separation=2, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.means, b.means)
    assert not torch.equal(a.means, c.means)
    assert a.prior.tolist() == [0.25] * 4
    wider = GaussianClasses.random_means(4, 3, separation=6, seed=1, prior=long_tailed_prior(4))
    torch.testing.assert_close(wider.means, 3 * a.means)
    assert torch.equal(wider.prior, long_tailed_prior(4))


def test_random_means_run_from_no_information_to_the_label_entropy():
    prior = long_tailed_prior(6)
    same = GaussianClasses.random_means(6, 300, separation=0, prior=prior)
    assert same.mutual_information().value == 0.0
    far = GaussianClasses.random_means(6, 300, separation=40, prior=prior)
    known = far.mutual_information(samples=20_000)
    assert known.value == pytest.approx(entropy(prior).item(), abs=4 * known.standard_error)


STUDENT = StudentTClasses([[0.0, 0.0], [2.0, 0.0], [0.5, 1.5]], [0.2, 0.3, 0.5])
RINGS = Rings(3, [0.5, 0.2, 0.3], spacing=1.0, noise=0.6, extra=1)
XOR = NoisyXor(3, noise=0.7, extra=1)
new_tasks = pytest.mark.parametrize("task", [STUDENT, RINGS, XOR], ids=["Student", "Rings", "Xor"])


def brute_force_log_densities(task: LabelledTask, x: np.ndarray) -> np.ndarray:
    """SciPy's densities, and a sum over all signs for the parity."""
    if isinstance(task, StudentTClasses):
        df, shape = task.degrees_of_freedom, np.eye(x.shape[1])
        return np.stack(
            [scipy.stats.multivariate_t(m, shape, df).logpdf(x) for m in task.means.numpy()], -1
        )
    if isinstance(task, Rings):
        rho, sigma = np.hypot(x[:, 0], x[:, 1]), task.noise
        columns = [
            scipy.stats.foldnorm(r / sigma, scale=sigma).logpdf(rho) - np.log(2 * np.pi * rho)
            for r in task.radii.tolist()
        ]
        return np.stack(columns, 1) + scipy.stats.norm.logpdf(x[:, 2:]).sum(1, keepdims=True)
    densities = np.zeros((len(x), 2))
    for signs in itertools.product([1, -1], repeat=task.dimensions):
        near = scipy.stats.norm.pdf(x[:, : task.dimensions], signs, task.noise).prod(1)
        densities[:, int(np.prod(signs) < 0)] += near / 2 ** (task.dimensions - 1)
    extra = scipy.stats.norm.logpdf(x[:, task.dimensions :]).sum(1, keepdims=True)
    return np.log(densities) + extra


@new_tasks
def test_posterior_is_bayes_rule_on_brute_force_densities(task):
    x, _ = task.sample(200, torch.Generator().manual_seed(0))
    log_p = brute_force_log_densities(task, x.double().numpy())
    prior = task.prior.numpy()
    mixture = scipy.special.logsumexp(log_p + np.log(prior), axis=1, keepdims=True)
    found = task.pointwise_mutual_information(x)
    # Log-densities of size 50 at most, each right to a few eps of that.
    np.testing.assert_allclose(found.numpy(), log_p - mixture, rtol=0, atol=1e-12)
    scores = task.log_likelihoods(x).numpy()
    np.testing.assert_allclose(scores - scores[:, :1], log_p - log_p[:, :1], rtol=0, atol=1e-12)
    # p(x|y) / p(x) has mean one under the prior, for each x.
    np.testing.assert_allclose(found.exp().numpy() @ prior, 1, rtol=0, atol=1e-12)


@new_tasks
def test_ideal_logits_of_each_task_report_its_exact_values(task):
    x, y = task.sample(300, torch.Generator().manual_seed(1))
    estimate = mutual_information(task.log_likelihoods(x), y, task.prior, prior_corrected=True)
    exact = task.pointwise_mutual_information(x).gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(estimate.pointwise, exact, rtol=0, atol=1e-12)


@new_tasks
def test_new_samples_are_a_function_of_the_generator_and_leave_the_global_one_alone(task):
    before = torch.get_rng_state()
    a, b, c = (task.sample(50, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    task.mutual_information()
    assert all(torch.equal(u, v) for u, v in zip(a, b, strict=True))
    assert not torch.equal(a[0], c[0])
    assert torch.equal(torch.get_rng_state(), before)
    x, y = a
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert y.max() < task.classes == len(task.prior)


@new_tasks
def test_new_labels_follow_the_prior_or_the_counts(task):
    n = 40_000
    _, y = task.sample(n, torch.Generator().manual_seed(2))
    found = torch.bincount(y, minlength=task.classes).double() / n
    error = (task.prior * (1 - task.prior) / n).sqrt()
    assert ((found - task.prior).abs() <= 4 * error).all()
    counts = list(range(1, task.classes + 1))
    x, y = task.sample_counts(counts)
    assert torch.bincount(y).tolist() == counts
    assert len(x) == sum(counts)


FOUR_DEVIATIONS = 6.3e-5  # of a normal: the tail probability that no p-value may fall below


def p_value(sample: Tensor, distribution) -> float:
    return scipy.stats.kstest(sample.double().numpy(), distribution.cdf).pvalue


@pytest.mark.parametrize("degrees_of_freedom", [0.5, 3.0, 40])
def test_student_samples_have_the_coordinates_and_the_radius_of_the_distribution(
    degrees_of_freedom,
):
    task = StudentTClasses([[1.0, -2.0, 0.0], [5.0, 5.0, 5.0]], [0.5, 0.5], degrees_of_freedom)
    x, _ = task.sample_counts([5000, 0], torch.Generator().manual_seed(0))
    centred = x.double() - task.means[0]
    for j in range(3):
        assert p_value(centred[:, j], scipy.stats.t(degrees_of_freedom)) > FOUR_DEVIATIONS
    # |x - mu|^2 / d has Snedecor's F distribution: the coordinates share their scale.
    square = centred.square().sum(1) / 3
    assert p_value(square, scipy.stats.f(3, degrees_of_freedom)) > FOUR_DEVIATIONS


def test_student_samples_have_the_moments_of_the_distribution():
    task = StudentTClasses([[0.0, 0.0], [3.0, -1.0]], [0.4, 0.6], 9)
    x, y = task.sample(60_000, torch.Generator().manual_seed(1))
    centred = x.double() - task.means[y]
    for values, expected in ((centred, 0.0), (centred.square(), 9 / 7)):
        sem = values.std(0) / math.sqrt(len(values))
        assert ((values.mean(0) - expected).abs() <= 4 * sem).all()


def test_ring_samples_have_folded_radii_even_angles_and_plain_extras():
    task = Rings(2, [0.3, 0.7], spacing=0.5, noise=0.6, extra=2)
    x, y = task.sample(20_000, torch.Generator().manual_seed(0))
    assert x.shape == (20_000, 4)
    rho = x[:, :2].double().norm(dim=1)
    angle = torch.atan2(x[:, 1], x[:, 0])
    for k, radius in enumerate([0.5, 1.0]):
        own = rho[y == k]
        assert p_value(own, scipy.stats.foldnorm(radius / 0.6, scale=0.6)) > FOUR_DEVIATIONS
        even = scipy.stats.uniform(-np.pi, 2 * np.pi)
        assert p_value(angle[y == k], even) > FOUR_DEVIATIONS
        for j in (2, 3):
            assert p_value(x[y == k, j], scipy.stats.norm) > FOUR_DEVIATIONS


def test_only_all_signs_together_tell_of_the_parity():
    x, y = XOR.sample(40_000, torch.Generator().manual_seed(0))
    assert x.shape == (40_000, 4)
    sign_of_label = 1.0 - 2 * y.double()
    for columns in itertools.chain.from_iterable(
        itertools.combinations(range(4), n) for n in range(1, 5)
    ):
        product = x[:, list(columns)].double().prod(1) * sign_of_label
        expected = 1.0 if columns == (0, 1, 2) else 0.0
        sem = product.std().item() / math.sqrt(len(product))
        assert product.mean().item() == pytest.approx(expected, abs=4 * sem)
    spread = x[:, :3].double().square()  # 1 + noise^2
    sem = spread.std(0) / math.sqrt(len(x))
    assert ((spread.mean(0) - 1 - XOR.noise**2).abs() <= 4 * sem).all()


# --- Their truth ------------------------------------------------------------------------------


def exact_scalar_information(densities, prior: list[float], points: list) -> mp.mpf:
    """The defining integral of a scalar input, by mpmath, between `points`."""

    def integrand(t):
        p = densities(t)
        mixture = mp.fsum(a * b for a, b in zip(prior, p, strict=True))
        return mp.fsum(a * b * mp.log(b / mixture) for a, b in zip(prior, p, strict=True))

    return mp.quad(integrand, points)


@pytest.mark.parametrize("degrees_of_freedom", [0.5, 1, 3.0, 90, 110.0, 20_000])
@pytest.mark.parametrize(
    ("positions", "prior"), [([-1.0, 1.0], [0.25, 0.75]), ([3.0, 0.0, 40.0], [0.5, 0.25, 0.25])]
)
def test_student_quadrature_agrees_with_mpmath_to_1e12(positions, prior, degrees_of_freedom):
    known = StudentTClasses([[p] for p in positions], prior, degrees_of_freedom)
    known = known.mutual_information()
    with mp.workdps(20):
        nu = mp.mpf(degrees_of_freedom)
        c = mp.gamma((nu + 1) / 2) / mp.gamma(nu / 2) / mp.sqrt(nu * mp.pi)

        def densities(t):
            return [c * (1 + (t - p) ** 2 / nu) ** (-(nu + 1) / 2) for p in positions]

        ends = sorted(positions)
        middles = [(a + b) / 2 for a, b in itertools.pairwise(ends)]
        outer = [-mp.inf, ends[0] - 20, *[p + 3 for p in ends], ends[-1] + 20, mp.inf]
        points = sorted([*ends, *middles, *outer])
        exact = exact_scalar_information(densities, prior, points)
    assert known.method == "quadrature"
    assert relative_error(known.value, exact) < 1e-12
    assert known.standard_error < 1e-11


def test_many_degrees_of_freedom_are_gaussian():
    student = StudentTClasses([[-1.0], [1.0]], [0.5, 0.5], 1e12).mutual_information()
    gauss = line([-1.0, 1.0], [0.5, 0.5]).mutual_information()
    assert student.value == pytest.approx(gauss.value, abs=1e-11)  # 1/nu, times ten
    heavy = StudentTClasses([[-1.0], [1.0]], [0.5, 0.5], 2).mutual_information()
    assert heavy.value < gauss.value


@pytest.mark.parametrize(
    ("spacing", "noise"), [(2.0, 0.5), (1.0, 0.8), (0.5, 3.0), (1.0, 0.05)]
)
def test_ring_quadrature_agrees_with_mpmath_to_1e12(spacing, noise):
    prior = [0.5, 0.25, 0.25]
    known = Rings(3, prior, spacing=spacing, noise=noise).mutual_information()
    radii = [spacing * k for k in (1, 2, 3)]
    with mp.workdps(20):

        def densities(t):
            return [mp.npdf(t, r, noise) + mp.npdf(t, -r, noise) for r in radii]

        reach = [mp.mpf(radii[2]) + noise * n for n in (2, 5, 13)]
        inner = [spacing * mp.mpf(n) / 2 for n in range(7)]
        near = [r + s * 4 * noise for r in radii for s in (-1, 1) if r + s * 4 * noise > 0]
        exact = exact_scalar_information(densities, prior, sorted({*inner, *near, *reach}))
    assert known.method == "quadrature"
    assert relative_error(known.value, exact) < 1e-12


def test_ring_information_is_that_of_a_fine_table_of_radii():
    edges = np.linspace(0, 12, 4001)
    cells = [np.diff(scipy.stats.foldnorm(r / 0.6, scale=0.6).cdf(edges)) for r in (1, 2, 3)]
    table = np.stack(cells, 1) * RINGS.prior.numpy()
    binned = DiscreteJoint((table / table.sum()).tolist()).mutual_information().value
    exact = RINGS.mutual_information().value
    # Binning loses what the score varies by within a cell, at most (h r / sigma^2)^2 / 24.
    assert exact - (0.003 * 3 / 0.36) ** 2 / 24 <= binned <= exact + 1e-12


def test_extra_columns_and_the_angle_tell_nothing():
    bare = Rings(3, [0.5, 0.2, 0.3], spacing=1.0, noise=0.6)
    assert bare.mutual_information() == RINGS.mutual_information()
    more = NoisyXor(3, noise=0.7, extra=8)
    assert more.mutual_information() == XOR.mutual_information()
    x, _ = RINGS.sample(20, torch.Generator().manual_seed(0))
    turned = torch.cat([x[:, :2].double() @ rotation(2), 7 * x[:, 2:].double()], dim=1)
    # The radius is rounded by the turn: 8 eps times slopes of 3 / 0.36 and radii of 5.
    torch.testing.assert_close(
        RINGS.pointwise_mutual_information(turned),
        RINGS.pointwise_mutual_information(x),
        rtol=0,
        atol=8 * EPS * 50,
    )


@pytest.mark.parametrize("noise", [0.2, 0.5, 1, 3.0])
def test_parity_of_one_sign_is_two_gaussians(noise):
    known = NoisyXor(1, noise=noise).mutual_information()
    gauss = line([-1 / noise, 1 / noise], [0.5, 0.5]).mutual_information()
    assert known.value == pytest.approx(gauss.value, rel=1e-12)


@pytest.mark.parametrize(("dimensions", "noise", "nodes"), [(2, 0.3, 800), (2, 1.0, 300),
                                                           (3, 0.9, 150)])  # fmt: skip
def test_parity_quadrature_agrees_with_the_integral_over_all_coordinates(dimensions, noise, nodes):
    """The trapezoidal rule converges geometrically for analytic integrands that decay."""
    axis = np.linspace(-1 - 9 * noise, 1 + 9 * noise, nodes)
    grid = np.meshgrid(*[axis] * dimensions, indexing="ij", sparse=True)
    plus = [scipy.stats.norm.pdf(g, 1, noise) for g in grid]
    minus = [scipy.stats.norm.pdf(g, -1, noise) for g in grid]
    even, odd = 1.0, 0.0
    for p, m in zip(plus, minus, strict=True):
        even, odd = (even * p + odd * m) / 2, (even * m + odd * p) / 2
    mixture = even + odd  # of joint densities p(x, y)
    total = scipy.special.rel_entr(2 * even, mixture) + scipy.special.rel_entr(2 * odd, mixture)
    exact = total.sum() / 2 * (axis[1] - axis[0]) ** dimensions
    known = NoisyXor(dimensions, noise=noise).mutual_information()
    assert known.method == "quadrature"
    assert known.value == pytest.approx(exact, abs=1e-11)
    assert known.standard_error < 1e-12


@pytest.mark.parametrize(
    "task",
    [
        StudentTClasses([[0.0], [2.0], [5.0]], [0.2, 0.3, 0.5], 1.5),
        RINGS,
        XOR,
        NoisyXor(6, noise=0.4),
        NoisyXor(2, noise=0.05),
    ],
    ids=["Student", "Rings", "Xor 3", "Xor 6", "Xor 2"],
)
def test_quadrature_of_each_task_agrees_with_monte_carlo(task):
    known = task.mutual_information()
    simulated = LabelledTask.mutual_information(task, samples=50_000)
    assert (known.method, simulated.method) == ("quadrature", "monte carlo")
    assert simulated.value == pytest.approx(
        known.value, abs=4 * simulated.standard_error + known.standard_error
    )


def test_student_monte_carlo_in_the_plane_agrees_with_the_integral():
    def integral(n: int) -> float:
        # The square (-1, 1)^2 onto the plane by x = u / (1 - u^2): heavy tails and all.
        nodes, weights = np.polynomial.legendre.leggauss(n)
        line_x, line_w = nodes / (1 - nodes**2), weights * (1 + nodes**2) / (1 - nodes**2) ** 2
        x = np.stack(np.meshgrid(line_x, line_x), axis=-1).reshape(-1, 2)
        log_p = brute_force_log_densities(STUDENT, x)
        log_joint = log_p + np.log(STUDENT.prior.numpy())
        pmi = log_p - scipy.special.logsumexp(log_joint, axis=1, keepdims=True)
        return float(np.outer(line_w, line_w).ravel() @ (np.exp(log_joint) * pmi).sum(1))

    exact = integral(200)
    assert exact == pytest.approx(integral(140), abs=1e-6)  # converged
    known = STUDENT.mutual_information(samples=100_000)
    assert known.method == "monte carlo"
    assert 0 < known.standard_error < 0.003
    assert known.value == pytest.approx(exact, abs=4 * known.standard_error)


@pytest.mark.parametrize(
    ("task", "exactly"),
    [
        (StudentTClasses([[1.0, 2.0], [1.0, 2.0]], [0.3, 0.7]), True),
        (StudentTClasses([[0.0], [1e-6]], [0.5, 0.5]), False),
        (StudentTClasses([[0.0], [9.0]], [1.0, 0.0]), True),
        (Rings(2, [0.0, 1.0]), True),
        (Rings(2, noise=1e4), False),
        (NoisyXor(2, noise=100), False),
        (NoisyXor(40, noise=2), False),
    ],
)
def test_independence_is_no_information(task, exactly):
    known = task.mutual_information()
    assert known.method == ("exact" if exactly else "quadrature")
    assert known.value == pytest.approx(0.0, abs=0.0 if exactly else 1e-7)


@pytest.mark.parametrize(
    "task",
    [
        StudentTClasses([[0.0], [1e9], [-1e9]], [0.2, 0.3, 0.5], 2),
        Rings(4, long_tailed_prior(4), spacing=20.0, noise=1),
        NoisyXor(5, noise=0.05),
    ],
    ids=["Student", "Rings", "Xor"],
)
def test_classes_far_apart_tell_the_label_entropy(task):
    # At 1e9 a Student tail of two degrees holds 1e-18, at ten deviations a normal one 1e-23.
    assert task.mutual_information().value == pytest.approx(entropy(task.prior).item(), abs=1e-12)


def test_a_ring_or_mean_of_zero_prior_is_ignored():
    known = Rings(3, [0.4, 0.6, 0.0], noise=1.0).mutual_information()
    assert known.value == pytest.approx(
        Rings(2, [0.4, 0.6], noise=1.0).mutual_information().value, rel=1e-12
    )
    known = StudentTClasses([[0.0], [1.0], [2.0]], [0.4, 0.0, 0.6]).mutual_information()
    two = StudentTClasses([[0.0], [2.0]], [0.4, 0.6]).mutual_information()
    assert known.value == pytest.approx(two.value, rel=1e-12)


def test_parity_keeps_its_digits_where_the_product_of_tanh_rounds_to_one():
    x = torch.tensor([[3.0, 2.0], [3.0, -2.0], [-3.0, 1e-3]]).double()
    found = NoisyXor(2, noise=0.2).log_likelihoods(x)
    with mp.workdps(200):
        for row, scores in zip(x.tolist(), found.tolist(), strict=True):
            product = mp.fprod(mp.tanh(mp.mpf(v) / mp.mpf(0.2) ** 2) for v in row)
            for sign, score in zip((1, -1), scores, strict=True):
                # Log-odds of up to 100 are sums of terms rounded to eps times that.
                assert score == pytest.approx(float(mp.log((1 + sign * product) / 2)), abs=1e-13)


# --- Label noise ------------------------------------------------------------------------------


def random_channel(rng: np.random.Generator, rows: int, columns: int, spread: float) -> list:
    return rng.dirichlet(np.full(columns, spread), rows).tolist()


@pytest.mark.parametrize(("classes", "rate"), [(2, 0.11), (10, 0.2), (10, 0.4), (100, 0.6)])
def test_symmetric_noise_has_the_capacity_of_its_channel(classes, rate):
    noise = LabelNoise.symmetric(classes, rate)
    kept = scipy.stats.entropy([rate, 1 - rate]) + rate * math.log(classes - 1)
    known = noise.mutual_information()
    # A sum over M^2 cells and two over M, of terms below one: rounding of a few eps each.
    assert known.value == pytest.approx(math.log(classes) - kept, abs=64 * EPS)
    assert known.method == "exact"
    assert noise.classes == classes
    torch.testing.assert_close(noise.joint.prior, noise.prior)  # uniform stays uniform


def test_no_noise_keeps_the_label_entropy_and_full_noise_nothing():
    prior = long_tailed_prior(10)
    clean = LabelNoise.symmetric(10, 0, prior)
    assert clean.mutual_information().value == pytest.approx(entropy(prior).item(), abs=1e-14)
    full = LabelNoise.symmetric(10, 0.9, prior)
    assert full.mutual_information().value == pytest.approx(0, abs=1e-14)


def test_noisy_labels_follow_the_channel_and_the_generator():
    rng = np.random.default_rng(0)
    noise = LabelNoise(random_channel(rng, 3, 4, 1.0), [0.2, 0.3, 0.5])
    y = torch.arange(3).repeat_interleave(20_000)
    before = torch.get_rng_state()
    a, b, c = (noise.apply(y, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert (a.dtype, a.shape) == (torch.int64, y.shape)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    found = torch.bincount(4 * y + a, minlength=12).double().reshape(3, 4) / 20_000
    error = (noise.transition * (1 - noise.transition) / 20_000).sqrt()
    assert ((found - noise.transition).abs() <= 4 * error).all()
    assert torch.equal(LabelNoise.symmetric(3, 0.0).apply(y), y)
    assert noise.apply(y[:0]).shape == (0,)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("informative", [0.03, 0.3, 3.0])
def test_bounds_hold_about_the_exact_information_of_random_inputs(symmetric, informative):
    """A discrete X with any posterior: I(X; noisy Y) is a table's, exact."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        classes, inputs = int(rng.integers(2, 6)), int(rng.integers(2, 9))
        posterior = rng.dirichlet(np.full(classes, informative), inputs)
        table = torch.from_numpy(rng.dirichlet(np.ones(inputs))[:, None] * posterior)
        prior = table.sum(0)
        noise = (
            LabelNoise.symmetric(classes, float(rng.uniform()), prior)
            if symmetric
            else LabelNoise(random_channel(rng, classes, int(rng.integers(2, 6)), 1.0), prior)
        )
        exact = DiscreteJoint(table @ noise.transition).mutual_information().value
        guess = table.argmax(1)
        error = min(1.0, max(0.0, 1 - table.amax(1).sum().item()))
        joint = torch.zeros(classes, classes).double().index_add_(1, guess, table.T.contiguous())
        confusion = joint / prior[:, None]
        high = noise.mutual_information().value
        from_error, from_confusion = noise.bounds(error), noise.bounds(confusion=confusion)
        assert from_error[1] == from_confusion[1] == high
        rounding = 1e-14  # entropies below 2 nats of tables of 72 cells at most
        assert 0 <= from_error[0] <= from_confusion[0] + rounding
        assert from_confusion[0] <= exact + rounding
        assert exact <= high + rounding
        # Never worse than subtracting what Fano says of H(Y|X), and monotone in the error.
        fano = scipy.stats.entropy([error, 1 - error]) + error * math.log(classes - 1)
        assert from_error[0] >= high - fano - rounding
        assert noise.bounds(min(1.0, error + 0.1))[0] <= from_error[0] + rounding


@pytest.mark.parametrize("error", [0.0, 0.05, 0.3, 0.75])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.6])
def test_error_bound_is_attained_by_a_symmetrically_corrupted_copy(rate, error):
    noise, copy = LabelNoise.symmetric(4, rate), LabelNoise.symmetric(4, error)
    exact = DiscreteJoint(copy.joint.table.T @ noise.transition).mutual_information().value
    assert noise.bounds(error)[0] == pytest.approx(exact, abs=1e-14)
    assert noise.bounds(confusion=copy.transition)[0] == pytest.approx(exact, abs=1e-14)


def test_an_input_that_determines_the_label_closes_the_bounds():
    rng = np.random.default_rng(3)
    noise = LabelNoise(random_channel(rng, 4, 4, 0.5), long_tailed_prior(4))
    for low, high in (noise.bounds(0), noise.bounds(confusion=torch.eye(4))):
        assert low == pytest.approx(high, abs=1e-14)
    # So do permuted predictions: only information counts.
    low, high = noise.bounds(confusion=torch.eye(4)[[2, 0, 3, 1]])
    assert low == pytest.approx(high, abs=1e-14)


def test_a_channel_of_equal_rows_tells_nothing_and_its_bounds_say_so():
    noise = LabelNoise([[0.2, 0.8]] * 3, [0.1, 0.3, 0.6])
    assert noise.bounds(0.4) == pytest.approx((0.0, 0.0), abs=1e-15)


def test_channel_contraction_beats_fano_where_the_channel_is_noisy():
    noise = LabelNoise([[0.6, 0.4], [0.3, 0.7]], [0.5, 0.5])
    low, high = noise.bounds(0.02)
    fano = scipy.stats.entropy([0.02, 0.98])
    assert low == pytest.approx(high - 0.3 * fano, abs=1e-15)  # rows 0.3 apart
    assert high - fano < 0 < low


# --- Hostile input to them --------------------------------------------------------------------


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: long_tailed_prior(0), "at least one class .* classes=0"),
        (lambda: long_tailed_prior(3, 0.0), "positive, finite factor, .*factor=0.0"),
        (lambda: long_tailed_prior(3, math.nan), "factor=nan"),
        (lambda: GaussianClasses.random_means(0, 2, separation=1.0), "classes=0, dimensions=2"),
        (lambda: GaussianClasses.random_means(2, 0, separation=1.0), "dimensions=0"),
        (lambda: GaussianClasses.random_means(2, 2, separation=-1.0), "separation=-1.0"),
        (lambda: GaussianClasses.random_means(2, 2, separation=math.inf), "separation=inf"),
        (
            lambda: GaussianClasses.random_means(2, 2, separation=1.0, prior=[1.0]),
            "1 entries, but there are 2 classes",
        ),
        (lambda: TRIANGLE.mutual_information(samples=0), "samples must be at least 1, got 0"),
        (lambda: StudentTClasses([0.0, 1.0], [0.5, 0.5]), r"got shape \(2,\)"),
        (lambda: StudentTClasses([[0.0], [math.inf]], [0.5, 0.5]), r"\(1, 0\) is inf"),
        (lambda: StudentTClasses([[0.0], [1.0]], [0.5, 0.6]), r"got a sum of 1\.1"),
        (lambda: StudentTClasses([[0.0]], [1.0], 0.4), "at least 0.5, got 0.4"),
        (lambda: StudentTClasses([[0.0]], [1.0], math.nan), "at least 0.5, got nan"),
        (lambda: STUDENT.log_likelihoods(torch.zeros(5, 3)), r"2\), got shape \(5, 3\)"),
        (lambda: STUDENT.sample(0), "n must be at least 1, got 0"),
        (lambda: STUDENT.sample_counts([1, 2]), r"3 numbers of samples, got \[1, 2\]"),
        (lambda: Rings(0), "classes=0"),
        (lambda: Rings(2, extra=-1), "extra=-1"),
        (lambda: Rings(2, noise=0.0), "positive and finite, got 2.0 and 0.0"),
        (lambda: Rings(2, spacing=math.inf), "positive and finite, got inf and 0.5"),
        (lambda: Rings(2, [1.0]), "1 entries, but there are 2 classes"),
        (lambda: RINGS.log_likelihoods(torch.zeros(5, 2)), r"\(samples, 3\), got shape \(5, 2\)"),
        (lambda: NoisyXor(0), "dimensions=0"),
        (lambda: NoisyXor(2, noise=0), "noise=0"),
        (lambda: NoisyXor(2, extra=-2), "extra=-2"),
        (lambda: XOR.log_likelihoods(torch.zeros(4)), r"\(samples, 4\), got shape \(4,\)"),
        (lambda: LabelNoise([0.5, 0.5], [1.0]), r"transition must have shape .*\(2,\)"),
        (lambda: LabelNoise([[0.5, 0.6]], [1.0]), r"row of transition .* sums \[1\.1\]"),
        (lambda: LabelNoise([[1.5, -0.5]], [1.0]), "smallest entry -0.5"),
        (lambda: LabelNoise([[math.nan, 1.0]], [1.0]), r"row of transition .* sums \[nan\]"),
        (lambda: LabelNoise([[0.5, 0.5]], [0.5, 0.5]), "2 entries, but there are 1 classes"),
        (lambda: LabelNoise.symmetric(1, 0.1), "classes=1, rate=0.1"),
        (lambda: LabelNoise.symmetric(3, 1.1), "classes=3, rate=1.1"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(), "error_rate or confusion, got None"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(-0.1), r"lie in \[0, 1\], got -0.1"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(math.nan), r"lie in \[0, 1\], got nan"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(confusion=[[1.0]] * 2), "each of 3 classes"),
        (lambda: LabelNoise.symmetric(3, 0.1).bounds(confusion=[[9.0]] * 3), "row of confusion"),
        (lambda: LabelNoise.symmetric(3, 0.1).apply(torch.tensor([0, 3])), "values from 0 to 3"),
        (lambda: LabelNoise.symmetric(3, 0.1).apply(torch.tensor([-1])), "values from -1 to -1"),
        (lambda: LabelNoise.symmetric(3, 0.1).apply(torch.tensor([[0]])), r"shape \(1, 1\)"),
    ],
)  # fmt: skip
def test_bad_requests_to_the_new_tasks_are_refused_with_what_came_in(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.usefixtures("no_shape_checks")
def test_labels_that_are_no_indices_are_refused():
    with pytest.raises(TypeError, match=r"integer class indices, got .*float32"):
        LabelNoise.symmetric(3, 0.1).apply(torch.tensor([0.0]))
