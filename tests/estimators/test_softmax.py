"""The cross-fitted estimator: scikit-learn's contract, no leaks, hostile input, known truths."""

import math
import pickle
import subprocess
import sys
import textwrap
from typing import ClassVar

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.sparse
import scipy.stats
import threadpoolctl
import torch
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV, PredefinedSplit, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator
from small_fits import LDA, TWO_GAUSSIANS, X, Y, light, two_gaussians
from torchmetrics.functional.classification import multiclass_calibration_error

import softmi.estimators._cross_fit
from softmi.estimators import SoftmaxMutualInformation
from softmi.information.certified import _label_slack


@pytest.fixture(scope="module")
def spied():
    """A fit with default classifiers to three classes, and what each of its parts got and gave."""
    rng = np.random.default_rng(5)
    y = rng.choice(["a", "b", "c"], size=240, p=[0.5, 0.3, 0.2])
    x = rng.standard_normal((240, 3)) + 1.2 * (y == "b")[:, None] - 0.8 * (y == "c")[:, None]
    calls = []
    original = softmi.estimators._cross_fit.fit_and_score

    def spy(x, codes, train, held, classes, **options):
        result = original(x, codes, train, held, classes, **options)
        calls.append((train, held, result))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softmi.estimators._cross_fit, "fit_and_score", spy)
        fitted = SoftmaxMutualInformation(folds=3, random_state=1).fit(x, y)
    return fitted, calls, x, y


# --- The contract of scikit-learn -------------------------------------------------------------


# Some checks construct with parameters of no sensible type: only `fit` may complain.
@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    "options",
    [
        {"folds": 2, "extrapolate": False, "classifiers": [LDA]},
        pytest.param({}, marks=pytest.mark.minutes),
    ],
    ids=["light", "default"],
)
def test_passes_all_checks_of_scikit_learn(options):
    results = check_estimator(SoftmaxMutualInformation(**options), on_skip=None)
    assert len(results) > 40
    # Off unless SCIPY_ARRAY_API is set in the environment, for every estimator.
    left_out = {r["check_name"] for r in results if r["status"] != "passed"}
    assert left_out <= {"check_array_api_input"}


def test_parameters_survive_get_set_and_clone():
    estimator = SoftmaxMutualInformation(folds=3, prior=[0.5, 0.5], classifiers=[LDA])
    copy = clone(estimator).set_params(folds=4, confidence=0.9)
    expected = estimator.get_params(deep=False) | {"folds": 4, "confidence": 0.9}
    found = copy.get_params(deep=False)
    assert isinstance(found["classifiers"][0], LinearDiscriminantAnalysis)
    expected.pop("classifiers"), found.pop("classifiers")  # a clone
    assert found == expected


def test_works_in_pipelines_and_grid_search():
    pipeline = make_pipeline(StandardScaler(), light())
    search = GridSearchCV(pipeline, {"softmaxmutualinformation__folds": [2, 3]}, cv=2)
    search.fit(X, Y)
    # Bayes accuracy is Phi(1) = 0.84 with a standard error of 0.033 for 120 samples.
    assert search.best_score_ > 0.84 - 4 * 0.033
    best = search.best_estimator_[-1]
    assert best.mutual_information_.n_samples == 120


def test_a_pickled_fit_gives_the_same_numbers(spied):
    fitted, _, x, _ = spied
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.mutual_information_ == fitted.mutual_information_
    assert copy.extrapolated_ == fitted.extrapolated_
    np.testing.assert_array_equal(copy.predict_log_proba(x), fitted.predict_log_proba(x))
    assert copy.certified_lower_bound() == fitted.certified_lower_bound()


@pytest.mark.parametrize("size", [1, 8, 64])
def test_predictions_do_not_depend_on_the_rows_beside_them(spied, size):
    fitted, x = spied[0], spied[2]
    rows = min(64, 16 * size)
    together = fitted.predict_log_proba(x)[:rows]
    parts = [fitted.predict_log_proba(x[i : i + size]) for i in range(0, rows, size)]
    apart = np.concatenate(parts)
    # Sums in float64, through kernel features of condition 1e3 or so.
    np.testing.assert_allclose(apart, together, rtol=0, atol=1e-11)


def test_predictions_are_the_geometric_mean_of_the_folds(spied):
    fitted, _, x, _ = spied
    mean = sum(stack.log_probabilities(x) for stack in fitted.stacks_) / 3
    found = fitted.predict_proba(x)
    np.testing.assert_allclose(found, np.exp(log_softmax(mean, axis=1)), rtol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1, rtol=0, atol=1e-14)
    assert (fitted.predict(x) == fitted.classes_[found.argmax(1)]).all()


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "certified_lower_bound"]
)
def test_an_estimator_that_is_not_fitted_says_so(method):
    from sklearn.exceptions import NotFittedError

    arguments = () if method == "certified_lower_bound" else (X,)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(SoftmaxMutualInformation(), method)(*arguments)


def test_a_bar_is_shown_on_request_only(capsys):
    light().fit(X, Y)
    assert capsys.readouterr().err == ""
    light(progress=True).fit(X, Y)
    assert "2/2" in capsys.readouterr().err


# --- Determinism ------------------------------------------------------------------------------


# Processes of loky, the default, import torch and scikit-learn each: seconds for the same jobs.
@pytest.mark.parametrize("jobs", ["threading", pytest.param("loky", marks=pytest.mark.minutes)])
def test_the_seed_decides_and_the_number_of_jobs_does_not(jobs):
    x, y = X[:60], Y[:60]
    state = torch.get_rng_state()

    def fitted(seed, n_jobs=1):
        model = SoftmaxMutualInformation(
            folds=2, extrapolate=False, random_state=seed, n_jobs=n_jobs
        )
        return model.fit(x, y).pointwise_

    first = fitted(0)
    with joblib.parallel_config(jobs):
        np.testing.assert_array_equal(first, fitted(0, n_jobs=2))
    assert (first != fitted(1)).any()
    # The generators of the user are left alone.
    assert torch.equal(torch.get_rng_state(), state)


class Watcher(LinearDiscriminantAnalysis):
    """Notes how many threads each library may use while it is trained."""

    seen: ClassVar[set[int]] = set()

    def fit(self, X, y):
        self.seen |= {torch.get_num_threads()}
        self.seen |= {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
        return super().fit(X, y)


def test_training_has_one_thread_of_each_library_and_gives_the_others_back():
    with threadpoolctl.threadpool_limits(2):
        before = threadpoolctl.threadpool_info()
        for _ in range(2):
            Watcher.seen.clear()
            light(classifiers=[Watcher()]).fit(X[:40], Y[:40])
            assert Watcher.seen == {1}
            assert threadpoolctl.threadpool_info() == before


def test_extrapolation_leaves_the_cross_fitted_folds_as_they_are_drawn_first():
    # Same seed, same first fold: it is dealt before the halves.
    plain, more = light().fit(X, Y), light(extrapolate=True).fit(X, Y)
    assert torch.equal(plain.mutual_information_.folds, more.mutual_information_.folds)
    assert plain.extrapolated_ is None
    assert plain.trustworthy_ is None


# --- No sample is scored by what has seen it --------------------------------------------------


@pytest.mark.paper("chernozhukov2018", "cross-fitting")
def test_training_and_scored_samples_are_disjoint_and_each_is_scored_once(spied):
    fitted, calls, _, _ = spied
    assert len(calls) == 3 * 3
    everything = np.arange(240)
    for part in range(3):
        held = np.concatenate([held for _, held, _ in calls[part::3]])
        np.testing.assert_array_equal(np.sort(held), everything)
    for k in range(3):
        (train, held, _), (first, held_1, _), (second, held_2, _) = calls[3 * k : 3 * k + 3]
        np.testing.assert_array_equal(held, held_1)
        np.testing.assert_array_equal(held, held_2)
        np.testing.assert_array_equal(np.sort(np.r_[train, held]), everything)
        np.testing.assert_array_equal(np.sort(np.r_[first, second]), train)
        assert abs(len(first) - len(second)) <= 1
        assert (fitted.mutual_information_.folds.numpy()[held] == k).all()


def test_held_out_data_change_nothing_in_what_scores_them():
    train, held = np.arange(80), np.arange(80, 120)
    wild = X.copy()
    wild[held] = 1e6 * np.random.default_rng(1).standard_normal((40, 2))
    cases = [(X, Y), (X, np.r_[Y[:80], 1 - Y[80:]]), (wild, Y)]
    stacks = [
        softmi.estimators._cross_fit.fit_and_score(
            x, y, train, held, 2, classifiers=None, seed=3, device="cpu"
        )[1]
        for x, y in cases
    ]  # fmt: skip
    for other in stacks[1:]:
        np.testing.assert_array_equal(other.weights, stacks[0].weights)
        np.testing.assert_array_equal(other.scaling.scale, stacks[0].scaling.scale)
        np.testing.assert_array_equal(other.log_prior, stacks[0].log_prior)
        for a, b in zip(other.networks.parameters(), stacks[0].networks.parameters(), strict=True):
            assert torch.equal(a, b)
        np.testing.assert_array_equal(other.log_probabilities(X), stacks[0].log_probabilities(X))


class Memoriser(ClassifierMixin, BaseEstimator):
    """Certain of the label of every sample that it has seen, and without a clue otherwise."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        self.seen = {row.tobytes(): label for row, label in zip(x, y, strict=True)}
        return self

    def predict_proba(self, x):
        known = [self.seen.get(row.astype(np.float32).tobytes()) for row in x]
        uniform = np.full(len(self.classes_), 1 / len(self.classes_))
        return np.array([uniform if k is None else 1.0 * (self.classes_ == k) for k in known])


def test_memorising_earns_nothing():
    fitted = light(classifiers=[Memoriser()], folds=5, extrapolate=True).fit(X, Y)
    # What is left is the label frequencies of four folds in place of five.
    assert abs(fitted.mutual_information_.value) < 1 / 120
    # Had the scored samples been seen it would be H(Y).
    assert fitted.label_entropy_ > 0.68


# --- Hostile input ----------------------------------------------------------------------------


def with_entry(value: float) -> np.ndarray:
    x = X.copy()
    x[3, 1] = value
    return x


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (with_entry(math.nan), Y, ValueError, "contains NaN"),
        (with_entry(math.inf), Y, ValueError, "contains infinity"),
        (X, 0 * Y, ValueError, "y holds one class only, 0"),
        (X, np.full(120, "a"), ValueError, "y holds one class only, 'a'"),
        (scipy.sparse.csr_array(X), Y, TypeError, "[Ss]parse data was passed"),
        (torch.from_numpy(X).to_sparse(), Y, TypeError, "made dense first, got shape"),
        (X[:-1], Y, ValueError, r"inconsistent numbers of samples: \[119, 120\]"),
        (X[:3], Y[:3], ValueError, "minimum of 4"),
        (X[:, 0], Y, ValueError, "Expected 2D array"),
        (X[:, :0], Y, ValueError, "0 feature"),
        (X + 1j, Y, ValueError, "Complex data"),
        (X, X[:, 0], ValueError, "Unknown label type: continuous"),
        (X, np.eye(2)[Y], ValueError, "should be a 1d array"),
        (X, np.eye(2)[Y].tolist(), ValueError, "should be a 1d array"),
        (X, np.where(Y, math.nan, 0.0), ValueError, "contains NaN"),
        (X, None, ValueError, "requires y"),
        (X, Y.astype(object) + 0.5, ValueError, "Unknown label type: continuous"),
        (X, np.where(np.arange(120) % 7, Y, None), ValueError, "y holds 18 missing labels, .* 0"),
        (X, pd.Series(Y, dtype="Int64").mask(Y > 0), ValueError, r"y holds \d+ missing labels"),
        (X, [*Y[:-1].tolist(), math.nan], ValueError, "1 missing labels, .* position 119"),
        (X, [*Y[:-1].tolist(), "b"], ValueError, "mixes labels of several sorts, number, string"),
        (X, [*Y[:-1].tolist(), True], ValueError, "mixes labels of several sorts, bool, number"),
        (X, np.ma.masked_equal(Y, 1), ValueError, r"y is a masked array that hides \d+ values"),
        (np.ma.masked_less(X, 0), Y, ValueError, r"X is a masked array that hides \d+ values"),
        (pd.DataFrame({"a": ["u"] * 120}), Y, ValueError, "could not convert"),
    ],
)
def test_says_what_is_wrong_with_the_data(x, y, error, message):
    with pytest.raises(error, match=message):
        light().fit(x, y)


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": 1}, ValueError, "folds must be an integer of at least 2, got 1"),
        ({"folds": 2.5}, ValueError, "got 2.5"),
        ({"folds": "3"}, ValueError, "got '3'"),
        ({"confidence": 2}, ValueError, r"confidence must be in \(0, 1\), got 2"),
        ({"confidence": math.nan}, ValueError, "got nan"),
        ({"confidence": "a"}, ValueError, "got 'a'"),
        ({"prior": [0.5, 0.4]}, ValueError, "sum to 1, got a sum of 0.9"),
        ({"prior": [0.2, 0.3, 0.5]}, ValueError, "3 entries, but there are 2 classes"),
        ({"prior": [1.0, 0.0]}, ValueError, r"prior is zero for labels that occur: \[1.0, 0.0\]"),
        ({"prior": [-0.5, 1.5]}, ValueError, "non-negative"),
        ({"prior": [math.nan, 1.0]}, ValueError, "finite"),
        ({"prior": 0.5}, ValueError, "shape"),
        ({"prior": [0.9, 0.1]}, ValueError, r"labels contradict the prior: it says 0\.9, 0\.1"),
        ({"prior": pd.Series({1: 0.5, 0: 0.5})}, ValueError, r"index \[1, 0\], .* \[0, 1\]"),
        ({"prior_mismatch": "no"}, ValueError, '"raise" or "allow", got \'no\''),
        ({"classes": [0, 2, 3]}, ValueError, r"labels that are not among classes: \[1\]"),
        ({"classes": ["a", "b"]}, ValueError, r"labels that are not among classes: \[0, 1\]"),
        ({"classes": [0, None, 1]}, ValueError, "classes holds 1 missing labels"),
        ({"classifiers": []}, ValueError, r"at least one scikit-learn classifier, got \[\]"),
        ({"classifiers": GaussianNB()}, ValueError, r"got GaussianNB\(\)"),
        ({"classifiers": "lda"}, ValueError, "got 'lda'"),
        ({"classifiers": [GaussianNB]}, TypeError, "must be instances"),
        ({"classifiers": [LinearSVC()]}, TypeError, "predict_proba"),
        ({"device": "nosuch"}, ValueError, "device 'nosuch' cannot be used"),
        ({"random_state": -1}, ValueError, "Seed must be"),
    ],
    ids=str,
)  # fmt: skip
def test_says_what_is_wrong_with_the_parameters(options, error, message):
    with pytest.raises(error, match=message):
        light(**options).fit(X, Y)


class Broken(LinearDiscriminantAnalysis):
    def predict_proba(self, X):
        return np.full((len(X), 2), math.nan)


def test_a_classifier_that_gives_nan_is_named():
    with pytest.raises(ValueError, match=r"probabilities of Broken\(\) are NaN"):
        light(classifiers=[LDA, Broken()]).fit(X, Y)


def test_new_data_of_other_width_or_label_are_refused(spied):
    fitted, _, x, y = spied
    with pytest.raises(ValueError, match=r"2 features, but .* expecting 3"):
        fitted.predict(x[:, :2])
    with pytest.raises(ValueError, match=r"labels that fit has not seen: \['d'\]"):
        fitted.pointwise_mutual_information(x[:2], np.array(["a", "d"]))
    with pytest.raises(ValueError, match=r"must have shape \(2,\), got \(3,\)"):
        fitted.pointwise_mutual_information(x[:2], y[:3])


@pytest.mark.parametrize("n", [*range(4, 13), 15, 19])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_handful_of_samples_is_enough_for_a_finite_answer(n, classes):
    y = np.arange(n) % classes
    fitted = SoftmaxMutualInformation(
        folds=5, extrapolate=True, classifiers=[LDA], random_state=0
    ).fit(X[:n], y)
    assert np.isfinite(fitted.pointwise_).all()
    assert fitted.mutual_information_.value <= fitted.label_entropy_
    assert math.isfinite(fitted.extrapolated_.value)


@pytest.mark.parametrize("rare", [1, 3])
def test_a_class_may_have_fewer_samples_than_there_are_folds(rare):
    x, y = X[:80], Y[:80].copy()
    y[:rare] = 7
    fitted = SoftmaxMutualInformation(folds=5, extrapolate=False, random_state=0).fit(x, y)
    assert fitted.classes_.tolist() == [0, 1, 7]
    assert np.isfinite(fitted.pointwise_).all()
    # Where a training part lacks the class it is given half a sample of n, not zero.
    assert fitted.pointwise_.min() > math.log(0.1 / 80)


def test_every_sample_its_own_class_is_survived():
    with pytest.warns(UserWarning, match="number of unique classes"):  # scikit-learn's own
        fitted = light().fit(X[:30], np.arange(30))
    assert np.isfinite(fitted.pointwise_).all()
    # Labels that never come twice cannot be predicted: at best zero, below the cap of log 30.
    assert fitted.mutual_information_.value < 0.5


BASE = light(random_state=3).fit(X, Y)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X.tolist(), Y.tolist()),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y).int()),
        (pd.DataFrame(X, columns=["a", "b"]), pd.Series(Y)),
        (X, Y.astype(float)),
        (X, Y > 0),
        (X, (Y > 0).tolist()),
        (X, np.where(Y, "b", "a")),
        (X, pd.Series(np.where(Y, "b", "a")).astype("category")),
        (X, np.where(Y, "b", "a").astype(object)),
        (X, Y.astype(object)),
        (X, pd.Series(Y, dtype="Int64")),
        (X, torch.from_numpy(Y).to(torch.uint16)),
        (X, np.ma.masked_array(Y, mask=False)),
        (np.asfortranarray(X), Y),
        (X[::-1][::-1], Y),
        (X * 2.0**100, Y),  # powers of two are exact
        (X * 2.0**-100, Y),
        (X * 2.0**900, Y),
        (X * 2.0**-900, Y),
    ],
    ids=["lists", "tensors", "tensors with gradient", "pandas", "float labels", "bool labels",
         "list of bools", "strings", "categorical", "objects", "integer objects",
         "nullable integers", "uint16", "nothing masked", "fortran", "strided", "2^100", "2^-100",
         "2^900", "2^-900"],
)  # fmt: skip
def test_the_same_data_in_another_guise_give_the_same_bits(x, y):
    found = light(random_state=3).fit(x, y)
    np.testing.assert_array_equal(found.pointwise_, BASE.pointwise_)


@pytest.mark.parametrize(
    ("x", "tolerance"),
    [
        # z is rounded to float32, here to another neighbour: 6e-8 of z < 5, times slopes < 5.
        (X * 1e30, 2e-6),
        (X * 1e-30, 2e-6),
        (X * 1e200, 2e-6),
        (X * 1e307, 2e-6),
        ((X * 1e30).astype(np.float32), 2e-6),
        ((X * 1e-30).astype(np.float32), 2e-6),
        # The spacing of float64 at 1e9 is 1.2e-7.
        (X + 1e9, 2e-6),
        (torch.from_numpy(X).float(), 2e-6),
        # bfloat16 and half precision keep 8 and 11 bits: z < 5 moves by 1e-2 and 1e-3.
        (torch.from_numpy(X).bfloat16(), 0.05),
        (X.astype(np.float16), 0.005),
    ],
    ids=["1e30", "1e-30", "1e200", "1e307", "float32 1e30", "float32 1e-30", "offset", "float32",
         "bfloat16", "half"],
)  # fmt: skip
def test_scale_and_offset_of_the_features_do_not_matter(x, tolerance):
    found = light(random_state=3).fit(x, Y)
    assert found.mutual_information_.value == pytest.approx(
        BASE.mutual_information_.value, abs=tolerance
    )


@pytest.mark.parametrize(
    "x",
    [np.c_[X, np.ones(120)], np.c_[X, X, X], np.c_[X, np.zeros(120), 1e-300 * X[:, 1]],
     np.c_[X, np.where(np.arange(120) == 5, 1e12, 0.0)], (10 * X).astype(int), X > 0,
     ((X > 0) * 200).astype(np.uint8)],
    ids=["constant", "duplicates", "tiny", "one wild value", "integers", "bool", "bytes"],
)  # fmt: skip
def test_redundant_and_discrete_features_are_taken(x):
    found = SoftmaxMutualInformation(folds=2, extrapolate=False, random_state=0).fit(x, Y)
    assert np.isfinite(found.pointwise_).all()
    # Signs alone tell H(Y) - h(Phi(1)) = 0.26; more is learnt from the values, 0.34 in truth.
    error = found.mutual_information_.standard_error
    assert abs(found.mutual_information_.value - 0.3) < 0.04 + 3 * error


@pytest.mark.parametrize("x", [np.ones((120, 2)), np.zeros((120, 1), dtype=int)])
def test_constant_features_tell_nothing(x):
    found = SoftmaxMutualInformation(folds=2, extrapolate=False, random_state=0).fit(x, Y)
    # Nothing but the sampling of label frequencies, of order 1/n.
    assert abs(found.mutual_information_.value) < 1 / 120


# --- Truths -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gaussian_fit():
    x, y = two_gaussians(600, seed=11)
    return SoftmaxMutualInformation(folds=3, random_state=0).fit(x, y)


def test_estimates_agree_with_the_quadrature_of_two_gaussians(gaussian_fit):
    estimate, extrapolated = gaussian_fit.mutual_information_, gaussian_fit.extrapolated_
    assert abs(estimate.value - TWO_GAUSSIANS) < 3 * estimate.standard_error
    assert abs(extrapolated.value - TWO_GAUSSIANS) < 3 * extrapolated.standard_error
    assert gaussian_fit.trustworthy_
    assert gaussian_fit.certified_lower_bound() < TWO_GAUSSIANS


def test_new_samples_have_the_same_information(gaussian_fit):
    x, y = two_gaussians(4_000, seed=12)
    pmi = gaussian_fit.pointwise_mutual_information(x, torch.from_numpy(y))
    error = pmi.std() / math.sqrt(4_000)
    assert abs(pmi.mean() - TWO_GAUSSIANS) < 3 * error + 0.01  # 0.01: what was not learnt
    prior = np.bincount(two_gaussians(600, seed=11)[1]) / 600
    by_hand = gaussian_fit.predict_log_proba(x)[np.arange(4_000), y] - np.log(prior[y])
    np.testing.assert_allclose(pmi, by_hand, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.minutes) for seed in (1, 2))]
)
def test_independence_is_found_to_be_independence(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((300, 3)), rng.integers(2, size=300)
    fitted = SoftmaxMutualInformation(folds=2, random_state=seed).fit(x, y)
    estimate, extrapolated = fitted.mutual_information_, fitted.extrapolated_
    # A pool that gives up has no variance; frequencies of labels cost 1/n all the same.
    assert abs(estimate.value) < 2 * estimate.standard_error + 1 / 300
    assert extrapolated.low - 1 / 300 < 0 < extrapolated.high + 1 / 300
    assert fitted.certified_lower_bound() < 0


def test_saturation_reaches_the_label_entropy_and_not_more():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    x = 20.0 * y[:, None] + rng.standard_normal((300, 2))
    fitted = SoftmaxMutualInformation(folds=2, random_state=0).fit(x, y)
    estimate, extrapolated = fitted.mutual_information_, fitted.extrapolated_
    assert 0.95 * fitted.label_entropy_ < estimate.value <= fitted.label_entropy_
    # The true entropy is log 3.
    assert abs(extrapolated.value - math.log(3)) < 3 * extrapolated.standard_error + 2 / 300
    assert extrapolated.value < fitted.label_entropy_ + 3 * extrapolated.standard_error + 2 / 300


def test_a_known_prior_replaces_the_label_frequencies():
    estimated = light(extrapolate=True).fit(X, Y)
    known = light(extrapolate=True, prior=[0.5, 0.5]).fit(X, Y)
    frequencies = np.bincount(Y) / 120
    # The same classifiers: only the reference changes, log pi_y of each sample.
    np.testing.assert_allclose(
        known.pointwise_ - estimated.pointwise_,
        np.log(frequencies[Y]) - math.log(0.5),
        rtol=0, atol=1e-13,
    )  # fmt: skip
    assert known.label_entropy_ == pytest.approx(math.log(2), abs=1e-15)
    assert estimated.label_entropy_ < known.label_entropy_


@pytest.mark.usefixtures("no_shape_checks")
def test_a_label_that_was_not_drawn_counts_when_it_is_named():
    plain, more = light().fit(X, Y), light(classes=[2, 0, 1, 7]).fit(X, Y)
    assert more.classes_.tolist() == [0, 1, 2, 7]
    assert more.predict_proba(X).shape == (120, 4)
    assert set(more.predict(X).tolist()) == {0, 1}
    assert more.label_entropy_ == pytest.approx(plain.label_entropy_, abs=1e-15)
    assert more.class_contributions_[2:].tolist() == [0, 0]
    # Unseen labels take half a sample each of the classifier, and log M of the certificate.
    assert more.mutual_information_.value == pytest.approx(
        plain.mutual_information_.value, abs=4 / 120
    )
    assert more.certified_lower_bound() < plain.certified_lower_bound()
    assert np.isfinite(more.pointwise_mutual_information(X[:2], [7, 0])[1])
    words = light(classes=["a", "b", "c"], prior=pd.Series({"a": 0.5, "b": 0.5, "c": 0.0}))
    assert words.fit(X, np.where(Y, "b", "a")).label_entropy_ == pytest.approx(math.log(2))


def test_a_prior_of_zero_is_refused_for_labels_that_occur_only():
    light(classes=range(3), prior=[0.5, 0.5, 0.0]).fit(X, Y)
    with pytest.raises(ValueError, match="prior is zero for labels that occur"):
        light(classes=range(3), prior=[0.5, 0.0, 0.5]).fit(X, Y)


def test_a_contradicted_prior_allowed_by_name_is_marked_and_not_certified():
    x = X + 40 * (Y[:, None] - 0.5)  # nearly all there is to know
    fitted = light(prior=[0.95, 0.05], prior_mismatch="allow", extrapolate=True).fit(x, Y)
    estimate, cap = fitted.mutual_information_, scipy.stats.entropy([0.95, 0.05])
    assert estimate.prior.status == "mismatched"
    assert fitted.label_entropy_ == pytest.approx(cap)
    assert fitted.pointwise_.mean() > math.log(2)
    assert estimate.value == estimate.label_entropy
    assert max(estimate.high, fitted.extrapolated_.high) <= fitted.label_entropy_
    assert fitted.extrapolated_.value <= fitted.label_entropy_
    with pytest.raises(ValueError, match="labels contradict the prior"):
        fitted.certified_lower_bound()


# --- Identities -------------------------------------------------------------------------------


def test_contributions_and_pointwise_values_add_up(spied):
    fitted, _, _, y = spied
    estimate = fitted.mutual_information_
    assert fitted.class_contributions_.sum() == pytest.approx(estimate.value, abs=1e-12)
    assert fitted.pointwise_.mean() == pytest.approx(estimate.value, abs=1e-12)
    for label, share in zip(fitted.classes_, fitted.class_contributions_, strict=True):
        assert share == pytest.approx(fitted.pointwise_[y == label].sum() / 240, abs=1e-12)
    frequencies = np.array([(y == label).mean() for label in fitted.classes_])
    entropy = -(frequencies * np.log(frequencies)).sum()
    assert fitted.label_entropy_ == pytest.approx(entropy, abs=1e-13)
    # H(Y) - CE, the log-loss by hand from the spied parts
    assert estimate.value == pytest.approx(entropy - fitted.calibration_.log_loss_after, abs=1e-12)


def test_extrapolation_follows_its_formula(spied):
    fitted, calls, _, y = spied
    codes = np.searchsorted(fitted.classes_, y)
    log_prior = np.log(np.bincount(codes) / 240)[codes]
    whole, halves = np.empty(240), np.zeros(240)
    for i, (_, held, (values, _, _)) in enumerate(calls):
        if i % 3 == 0:
            whole[held] = values
        else:
            halves[held] += values / 2
    at_m, at_half = (whole - log_prior).mean(), (halves - log_prior).mean()
    found = fitted.extrapolated_
    ratio = np.exp(whole - log_prior).mean()
    value = 2 * at_m - at_half + (ratio - 1) / (2 * 240)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.gap == pytest.approx(value - at_m, abs=1e-12)
    sampling = (2 * whole - halves - log_prior).std(ddof=1) / math.sqrt(240)
    error = math.hypot(sampling, 0.3 * (at_m - at_half))
    assert found.standard_error == pytest.approx(error, abs=1e-12)
    assert found.high - found.value == pytest.approx(1.959964 * error, rel=1e-6)
    assert found.value - found.low == pytest.approx(1.959964 * error, rel=1e-6)
    trust = abs(at_m - at_half) <= max(0.1 * value, sampling)
    assert fitted.trustworthy_ == trust


def test_information_at_sampled_label_frequencies_is_low_by_the_term_that_is_added():
    """E I(frequencies) = I(prior) - (S - 1) / 2n, up to the order of 1/n^2."""
    joint = np.array([[8, 1, 1], [2, 9, 1], [1, 2, 7], [4, 4, 4.0]]) / 44
    prior = joint.sum(0)
    given = joint / prior  # p(x|y)

    def information(pi):
        x = given @ pi.T  # (inputs, draws)
        ratio = given[:, :, None] / x[:, None]
        return np.einsum("xy,dy,xyd->d", given, pi, np.log(ratio)), ratio

    n, draws = 400, 40_000
    frequencies = np.random.default_rng(0).multinomial(n, prior, size=draws) / n
    truth, ratio = information(prior[None])
    bias = information(frequencies)[0] - truth
    s = float((joint * ratio[:, :, 0]).sum())
    assert 1 < s < 3
    # The next order is of size 1/n^2.
    assert abs(bias.mean() + (s - 1) / (2 * n)) < 4 * bias.std() / math.sqrt(draws) + 1 / n**2


def test_many_labels_that_mean_nothing_are_not_extrapolated_to_something():
    values = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((200, 3)), rng.integers(10, size=200)
        values.append(light(extrapolate=True, random_state=seed).fit(x, y).extrapolated_.value)
    allowed = 4 * np.std(values, ddof=1) / math.sqrt(20) + 1 / 200
    assert abs(np.mean(values)) < allowed
    assert allowed < (10 - 1) / (2 * 200)  # a plain Miller-Madow term would stand out


def test_bits_are_nats_over_log_2(spied):
    nats = spied[0].extrapolated_
    bits = nats.in_bits()
    for name in ("value", "standard_error", "low", "high", "gap"):
        assert getattr(bits, name) == getattr(nats, name) / math.log(2)
    assert (bits.unit, nats.unit, bits.in_bits()) == ("bits", "nats", bits)
    assert float(bits) == bits.value


@pytest.mark.paper("guo2017", "expected calibration error")
def test_calibration_equals_torchmetrics_and_the_log_loss_by_hand(spied):
    fitted, _, x, y = spied
    codes = np.searchsorted(fitted.classes_, y)
    folds = fitted.mutual_information_.folds.numpy()
    before, after = np.empty((240, 3)), np.empty((240, 3))
    for k, stack in enumerate(fitted.stacks_):
        members = len(stack.weights)
        assert members == 4
        pmi = stack.pointwise(x[folds == k])
        before[folds == k] = stack.pooled(pmi, np.full(members, 1 / members))
        after[folds == k] = stack.pooled(pmi, stack.weights)
    found = fitted.calibration_
    for log_q, log_loss, error in [
        (before, found.log_loss_before, found.error_before),
        (after, found.log_loss_after, found.error_after),
    ]:
        assert log_loss == pytest.approx(-log_q[np.arange(240), codes].mean(), abs=1e-12)
        theirs = multiclass_calibration_error(
            torch.from_numpy(np.exp(log_q)), torch.from_numpy(codes), num_classes=3, n_bins=15
        )
        # torchmetrics accumulates the 240 confidences in float32.
        assert error == pytest.approx(float(theirs), abs=1e-5)
    mean_weight = np.mean([stack.weights.sum() for stack in fitted.stacks_])
    assert found.temperature == pytest.approx(1 / mean_weight, rel=1e-12)


def bernstein(values: np.ndarray, spread: float, delta: float) -> float:
    n, term = len(values), math.log(2 / delta)
    return math.sqrt(2 * values.var(ddof=1) * term / n) + 7 * spread * term / (3 * (n - 1))


@pytest.mark.parametrize("labels", [2, 3], ids=["all seen", "a third label can occur"])
@pytest.mark.parametrize("known", [False, True], ids=["estimated prior", "known prior"])
def test_certified_bound_is_the_best_of_the_folds_at_a_share_of_delta(known, labels):
    x, y = two_gaussians(600, seed=4)
    given = [0.5, 0.5] if labels == 2 else [0.495, 0.495, 0.01]
    options = {"prior": given if known else None, "classes": None if labels == 2 else range(3)}
    fitted = light(folds=3, **options).fit(x, y)
    folds = fitted.mutual_information_.folds.numpy()
    n, delta, epsilon = 600, 0.1, 1e-3
    prior = np.array(given) if known else np.bincount(y, minlength=labels) / n
    limit = math.log(labels / epsilon)
    each = delta / 3 if known else delta / 6
    most = []
    for k, stack in enumerate(fitted.stacks_):
        mine = folds == k
        q = np.exp(stack.log_probabilities(x[mine]))[np.arange(mine.sum()), y[mine]]
        loss = -np.log((1 - epsilon) * q + epsilon / labels)
        frequencies = np.bincount(y[mine], minlength=labels) / mine.sum()
        ratio = prior[:2] / frequencies[:2]
        caps = []
        for cap in ratio:  # the cap that costs least, given the labels
            rest = np.maximum(prior - cap * frequencies, 0).sum()
            caps.append((rest + 7 * cap * math.log(2 / each) / (3 * (mine.sum() - 1)), cap, rest))
        _, cap, rest = min(caps)
        weighted = np.minimum(ratio, cap)[y[mine]] * loss
        most.append(weighted.mean() + rest * limit + bernstein(weighted, cap * limit, each))
    expected = scipy.stats.entropy(prior) - min(most)
    if not known:
        expected -= _label_slack(labels, n, delta / 2)
    assert fitted.certified_lower_bound(delta) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("trials", [60, pytest.param(300, marks=pytest.mark.minutes)])
def test_certified_bound_and_lower_end_of_the_interval_stay_below_the_truth(trials):
    certified, low = 0, 0
    for seed in range(trials):
        x, y = two_gaussians(300, seed=1000 + seed)
        fitted = light(random_state=seed).fit(x, y)
        certified += fitted.certified_lower_bound(0.05) < TWO_GAUSSIANS
        low += fitted.mutual_information_.low < TWO_GAUSSIANS
    assert certified >= 0.95 * trials
    # The normal interval is one of 97.5 % on this side; three standard errors of the trials.
    assert low >= trials * (0.975 - 3 * math.sqrt(0.975 * 0.025 / trials))


def test_one_classifier_of_the_user_is_scikit_learns_cross_validation_calibrated():
    rng = np.random.default_rng(6)
    y = rng.integers(3, size=300)
    # Within 1.5 scales of the median, where the smooth clip is linear to 3e-4.
    x = rng.uniform(-1, 1, (300, 4)) + 0.3 * y[:, None]
    fitted = light(classifiers=[GaussianNB()], folds=4).fit(x, y)
    folds = fitted.mutual_information_.folds.numpy()
    log_q = cross_val_predict(
        GaussianNB(), x, y, cv=PredefinedSplit(folds), method="predict_log_proba"
    )
    value = 0.0
    for k, stack in enumerate(fitted.stacks_):
        mine = folds == k
        (weight,) = stack.weights
        log_prior = np.log(np.bincount(y[~mine]) / (~mine).sum())
        pooled = log_softmax(log_prior + weight * (log_q[mine] - log_prior), axis=1)
        value += (pooled[np.arange(mine.sum()), y[mine]]).sum() / 300
    value += fitted.label_entropy_
    # The floors mix in the prior by the weight of one sample of 225, twice: at most 2/227 of it.
    assert fitted.mutual_information_.value == pytest.approx(value, abs=0.01)
    assert fitted.mutual_information_.value > 0.1


# --- Memory -----------------------------------------------------------------------------------


@pytest.mark.minutes
def test_memory_stays_below_four_times_the_data():
    pytest.importorskip("resource")
    # In a process of its own. Few rounds, and few samples for scikit-learn's members, whose share
    # does not grow with n; the first fit claims what is needed at any n.
    code = """
    import resource
    import numpy as np
    import softmi.estimators._pool as stack
    from softmi.estimators import SoftmaxMutualInformation

    stack.ROUNDS, stack.CAP = 1, 2_000
    estimator = SoftmaxMutualInformation(folds=2, extrapolate=False, random_state=0, device="cpu")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200_000, 50), dtype=np.float32)
    y = rng.integers(2, size=200_000)
    estimator.fit(x[:5_000], y[:5_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    estimator.fit(x, y)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / x.nbytes)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 4
