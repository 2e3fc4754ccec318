"""Neighbours, logistic regression and plug-in: scikit-learn, definitions, known truths."""

import math

import numpy as np
import pytest
import torch
from labelled_samples import COUNTS, ROUNDING, TASK, as_counted, pmi_of, seeds
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif
from sklearn.feature_selection._mutual_info import _compute_mi_cd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from softmi import DiscreteJoint, GaussianClasses, entropy
from softmi.estimators import (
    logistic_regression_mutual_information,
    nearest_neighbour_mutual_information,
    plug_in_mutual_information,
)
from softmi.estimators._samples import _splits

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
@pytest.mark.paper("ross2014", "nearest-neighbour estimator")
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


@pytest.mark.paper("miller1955", "bias of the plug-in entropy")
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
