"""Gaussian classes: quadrature to fifty digits, the paper's table, Monte Carlo, samples."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from known_tasks import (
    IMBALANCED,
    PAPER_LINE,
    TRIANGLE,
    line,
    rotation,
)
from slow_reference import DIGITS, EPS, relative_error
from torch import Tensor

from softmi import DiscreteJoint, GaussianClasses, entropy, mutual_information
from softmi.synthetic import (
    long_tailed_prior,
)

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
@pytest.mark.paper("qin2019", "synthetic data")
def test_paper_tasks_have_their_published_truth(dimensions, balanced):
    known = GaussianClasses.five_on_a_line(dimensions, balanced=balanced).mutual_information()
    assert known.method == "quadrature"
    assert known.value == pytest.approx(PAPER_TRUTH[dimensions, balanced], abs=5.1e-5)
    spread = [p * math.sqrt(dimensions) for p in PAPER_LINE]  # the projection on the diagonal
    on_line = line(spread, [0.2] * 5 if balanced else IMBALANCED).mutual_information()
    assert known.value == pytest.approx(on_line.value, rel=1e-12)


@pytest.mark.paper("qin2019", "synthetic data")
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
@pytest.mark.paper("qin2019", "synthetic data")
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


def test_exact_values_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    TRIANGLE.mutual_information(samples=100)
    TRIANGLE.bayes_accuracy(100)
    assert torch.equal(torch.get_rng_state(), before)


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


# --- Tasks in more dimensions, with heavy tails, rings and parity -----------------------------


def test_monte_carlo_of_gaussians_still_gives_the_numbers_of_the_first_release():
    """Seeded values that results were made with: a refactoring must not move them."""
    known = TRIANGLE.mutual_information(samples=150_001)  # a second block, of odd size
    # Sums of 150,001 terms: another summation order moves the last digits only.
    assert known.value == pytest.approx(0.4279572248858083, rel=1e-12)
    assert known.standard_error == pytest.approx(0.0018202203149444872, rel=1e-10)
    assert TRIANGLE.bayes_accuracy(1000)[0] == 0.753


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


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianClasses.random_means(0, 2, separation=1.0), "classes=0, dimensions=2"),
        (lambda: GaussianClasses.random_means(2, 0, separation=1.0), "dimensions=0"),
        (lambda: GaussianClasses.random_means(2, 2, separation=-1.0), "separation=-1.0"),
        (lambda: GaussianClasses.random_means(2, 2, separation=math.inf), "separation=inf"),
        (
            lambda: GaussianClasses.random_means(2, 2, separation=1.0, prior=[1.0]),
            "1 entries, but there are 2 classes",
        ),
        (lambda: TRIANGLE.mutual_information(samples=0), "samples must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_bad_requests_to_gaussians_are_refused_with_what_came_in(make, message):
    with pytest.raises(ValueError, match=message):
        make()
