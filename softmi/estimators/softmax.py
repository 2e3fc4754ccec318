r"""Mutual information of arrays: scikit-learn estimators that cross-fit a stack of classifiers."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from softmi._checks import PriorLike, as_prior, check_order
from softmi.estimators._cross_fit import cross_fit
from softmi.estimators._samples import as_array, as_labels
from softmi.estimators.calibration import pool_calibration
from softmi.estimators.extrapolation import ExtrapolatedMutualInformation, extrapolate
from softmi.information.estimate import MutualInformationEstimate
from softmi.information.labels import PriorMismatch, label_prior


class SoftmaxMutualInformation(ClassifierMixin, BaseEstimator):
    r"""Mutual information between the rows of X and their labels, by cross-fitted classifiers.

    .. math::
        \hat I = \frac{1}{n} \sum_{i=1}^{n} \bigl[ \log q^{(-k_i)}(y_i | x_i)
        - \log \hat\pi_{y_i} \bigr] = \hat H(Y) - \mathrm{CE}

    with :math:`q^{(-k)}` a classifier trained without fold k, :math:`k_i` the fold of sample i and
    :math:`\hat\pi` the label frequencies. In expectation it lies below :math:`I(X;Y)`, by what
    the classifiers have not learnt from :math:`m = (1 - 1/K) n` samples (Qin et al. 2019, eq. of
    the softmax estimator, with :math:`H(Y)` where their code has :math:`\log M`; cross-fitting as
    in Chernozhukov et al. 2018).

    The classifier is a pool of linear discriminant analysis with shrinkage, logistic and kernel
    logistic regression and an ensemble of small networks, weighted by their log-loss on samples
    inside the training folds: temperature scaling with several members. What scores a sample has
    not seen it, not even its weights.

    **The extrapolated estimate** also trains on both halves of each training part. If the gap
    to the truth is proportional to one over the number of training samples, as it is for a
    parametric classifier near its optimum, then

    .. math::
        \hat I_\infty = 2 \hat I(m) - \hat I(m/2) + \frac{S-1}{2n}, \qquad
        S = \frac{1}{n} \sum_i \frac{q(y_i|x_i)}{\hat\pi_{y_i}}

    has none of it left. The last term takes out the bias from label frequencies in place of
    probabilities: folds are stratified, so that :math:`\hat I` estimates the information under
    :math:`\hat\pi`, which is concave in the prior and whose mean is therefore low, by half the
    trace of its Hessian with the covariance of :math:`\hat\pi`. Where labels are independent of X,
    S is 1 and there is none; where X determines them, S is the number M of classes and the term is
    that of Miller and Madow (1955). With a known prior it is :math:`(S-M)/(2n)`.

    The interval adds to the sampling error a standard deviation of 0.3 times the gap
    :math:`\hat I(m) - \hat I(m/2)`: that much the factor of the gap moves when the gap shrinks as
    :math:`m^{-0.8}` or :math:`m^{-1.3}` in place of :math:`m^{-1}`. Trust it when the gap is small
    beside the estimate, a tenth at most, which :attr:`trustworthy_` says; not where learning has
    just begun or comes in steps.

    Args:
        folds: Number K of folds; fewer if there are fewer samples than that in all.
        extrapolate: Also compute :attr:`extrapolated_`, for about twice the work.
        prior: Class probabilities of the labels, in the order of :attr:`classes_`, if they are
            known, such as 1/M by design; None takes the label frequencies. One that the labels
            contradict is refused, see :func:`softmi.mutual_information`. A pandas Series must
            have the labels, sorted, for its index.
        classifiers: Classifiers of scikit-learn with `predict_proba` to pool in place of the
            default ones; their hyper-parameters are taken as they are.
        confidence: Coverage of the intervals.
        device: Where networks train: "auto" takes a GPU if there is one.
        n_jobs: Number of processes of joblib; None is one, -1 all cores. Results do not depend
            on it.
        progress: Show a bar.
        random_state: Seed of folds, initial weights and batches: the same seed on the same
            machine gives identical results.
        classes: All labels that can occur, if some of them may be missing from y; None says that
            those of y are all. The certified bound counts them, since a label that was never
            drawn still costs.
        prior_mismatch: "allow" takes a prior though the labels contradict it: no lower bound, and
            no certificate.

    Attributes:
        mutual_information_: The cross-fitted estimate, a :class:`MutualInformationEstimate`; its
            :meth:`~MutualInformationEstimate.certified_lower_bound` accounts for the folds.
        extrapolated_: An :class:`~softmi.estimators.ExtrapolatedMutualInformation`, or None.
        trustworthy_: Whether the gap is at most a tenth of the extrapolated estimate or within
            its sampling error; None without extrapolation.
        label_entropy_: :math:`H(Y)`, the cap, in nats.
        pointwise_: Pointwise mutual information of each sample with its own label, in nats, shape
            (samples,); its mean is the estimate.
        class_contributions_: Share of each class in the estimate, in nats, shape (classes,).
        calibration_: A :class:`~softmi.estimators.Calibration`.
        classes_: The labels, sorted: those of y, or `classes`.
        n_features_in_: Number of columns of X.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(2, size=400)
        >>> X = np.where(y, 4.0, -4.0)[:, None] + rng.standard_normal((400, 1))  # 1 bit, nearly
        >>> fitted = SoftmaxMutualInformation(folds=3, extrapolate=False, random_state=0).fit(X, y)
        >>> round(fitted.mutual_information_.in_bits().value, 1)
        1.0

    Source: chernozhukov2018, cross-fitting.
    """

    classes_: np.ndarray

    def __init__(
        self,
        *,
        folds: int = 5,
        extrapolate: bool = True,
        prior: PriorLike | None = None,
        classifiers: Sequence[Any] | None = None,
        confidence: float = 0.95,
        device: str = "auto",
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
        classes: Sequence[Any] | np.ndarray | None = None,
        prior_mismatch: PriorMismatch = "raise",
    ) -> None:
        self.folds = folds
        self.extrapolate = extrapolate
        self.prior = prior
        self.classifiers = classifiers
        self.confidence = confidence
        self.device = device
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state
        self.classes = classes
        self.prior_mismatch = prior_mismatch

    def fit(self, X: Any, y: Any) -> "SoftmaxMutualInformation":
        """Estimate the mutual information of the rows of X, shape (samples, features), with y.

        Args:
            X: Real numbers, dense; of any scale.
            y: Labels: integers, strings, or whatever scikit-learn takes for classes.

        Raises:
            TypeError: X is sparse.
            ValueError: NaN or infinite values, X and y of different length, fewer than four
                samples, a single class, targets that are no classes, or parameters out of range.

        """
        X, codes = self._check(X, y)
        n, classes, confidence = len(codes), len(self.classes_), float(self.confidence)
        targets = torch.from_numpy(codes)
        counts = torch.bincount(targets, minlength=classes)
        prior = label_prior(counts, self._known_prior(codes), prior_mismatch=self.prior_mismatch)
        fitted = cross_fit(
            X, codes, classes, folds=min(self.folds, n), halves=self.extrapolate,
            classifiers=self.classifiers, device=self._device(), n_jobs=self.n_jobs,
            progress=self.progress,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
        )  # fmt: skip
        log_q, folds = torch.from_numpy(fitted.log_q[0]), torch.from_numpy(fitted.folds)
        pointwise = log_q - prior.probabilities.log()[targets]  # their mean: H(Y) - CE
        self.stacks_ = fitted.stacks
        self.mutual_information_ = MutualInformationEstimate.of_summands(
            pointwise, targets, prior, folds, confidence=confidence
        )
        self.label_entropy_ = self.mutual_information_.label_entropy
        self.pointwise_ = pointwise.numpy()
        self.class_contributions_ = np.bincount(codes, self.pointwise_, minlength=classes) / n
        weights = [stack.weights for stack in fitted.stacks]
        self.calibration_ = pool_calibration(fitted.excess, fitted.log_loss, weights, n)
        self.extrapolated_: ExtrapolatedMutualInformation | None = None
        self.trustworthy_: bool | None = None
        if self.extrapolate:
            self.extrapolated_ = extrapolate(
                fitted.log_q[0], fitted.log_q[1:].mean(0), targets, prior, confidence=confidence
            )
            self.trustworthy_ = self.extrapolated_.trustworthy
        return self

    def _check(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return X as a dense float array and y as codes, and set what scikit-learn expects."""
        if not isinstance(self.folds, (int, np.integer)) or self.folds < 2:
            raise ValueError(f"folds must be an integer of at least 2, got {self.folds!r}")
        if not isinstance(self.confidence, Real) or not 0 < self.confidence < 1:
            raise ValueError(f"confidence must be in (0, 1), got {self.confidence!r}")
        if self.classifiers is not None:
            _check_classifiers(self.classifiers)
        X, y = validate_data(
            self, as_array(X, "X"), as_labels(y), dtype=[np.float64, np.float32],
            ensure_min_samples=4,
        )  # fmt: skip
        check_classification_targets(y)
        seen, codes = np.unique(y, return_inverse=True)
        if len(seen) < 2:
            raise ValueError(
                f"y holds one class only, {seen.tolist()[0]!r}: nothing can tell about "
                "a label that never changes (the mutual information is 0)"
            )
        self.classes_ = seen
        if self.classes is not None:
            self.classes_ = np.unique(as_labels(self.classes, "classes"))
            if unknown := sorted(set(seen.tolist()) - set(self.classes_.tolist())):
                raise ValueError(f"y holds labels that are not among classes: {unknown[:10]}")
            codes = np.searchsorted(self.classes_, seen)[codes]
        return X, codes.astype(np.int64)

    def _known_prior(self, codes: np.ndarray) -> torch.Tensor | None:
        """The given prior in the order of `classes_`, possible for every label that occurs."""
        if self.prior is None:
            return None
        check_order(self.prior, self.classes_.tolist())
        given = self.prior if isinstance(self.prior, torch.Tensor) else np.asarray(self.prior)
        pi = as_prior(given, classes=len(self.classes_), like=torch.empty(0, dtype=torch.float64))
        if (pi[codes] == 0).any():
            raise ValueError(f"prior is zero for labels that occur: {pi.tolist()}")
        return pi.cpu()

    def _device(self) -> str:
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return str(torch.empty(0, device=self.device).device)
        except (AssertionError, RuntimeError, TypeError) as error:
            raise ValueError(f"device {self.device!r} cannot be used: {error}") from error

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Log-probabilities of new samples: geometric mean over the folds' classifiers.

        Args:
            X: Shape (samples, features).

        Returns:
            Shape (samples, classes). For the samples of `fit` use :attr:`pointwise_` instead: all
            but one of the classifiers have seen them.

        """
        check_is_fitted(self)
        X = validate_data(self, as_array(X, "X"), dtype=[np.float64, np.float32], reset=False)
        return log_softmax(np.mean([s.log_probabilities(X) for s in self.stacks_], axis=0), axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of new samples, shape (samples, classes); see `predict_log_proba`."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Likeliest label of new samples, shape (samples,)."""
        likeliest = self.predict_log_proba(X).argmax(1)  # first: it says if nothing is fitted
        return self.classes_[likeliest]

    def pointwise_mutual_information(self, X: Any, y: Any) -> np.ndarray:
        r"""Pointwise mutual information of new samples with their labels, in nats.

        .. math:: \log q(y|x) - \log \pi_y

        Its mean estimates the mutual information as :meth:`fit` does, if the samples are new.

        Args:
            X: Shape (samples, features).
            y: Labels, shape (samples,).

        Raises:
            ValueError: A label that `fit` had neither in y nor in `classes`, or X and y of
                different length.

        """
        log_q = self.predict_log_proba(X)
        y = np.asarray(as_labels(y))
        if y.shape != (len(log_q),):
            raise ValueError(f"y must have shape ({len(log_q)},), got {y.shape}")
        if unknown := sorted(set(y.tolist()) - set(self.classes_.tolist())):
            raise ValueError(f"y holds labels that fit has not seen: {unknown[:10]}")
        codes = np.searchsorted(self.classes_, y)
        prior = self.mutual_information_.prior
        assert prior is not None
        log_prior = prior.probabilities.log().numpy()
        return log_q[np.arange(len(y)), codes] - log_prior[codes]

    def certified_lower_bound(self, delta: float = 0.05) -> float:
        """In nats; see :func:`softmi.information.certified_lower_bound`.

        It counts the labels of :attr:`classes_`: give `classes` if others can occur.
        """
        check_is_fitted(self)
        return self.mutual_information_.certified_lower_bound(delta)


def _check_classifiers(classifiers: Any) -> None:
    """Raise unless these are instances that give probabilities."""
    if not isinstance(classifiers, Sequence) or isinstance(classifiers, str) or not classifiers:
        raise ValueError(
            "classifiers must be None or a list of at least one scikit-learn classifier, got "
            f"{classifiers!r}"
        )
    for classifier in classifiers:
        if isinstance(classifier, type) or not hasattr(classifier, "predict_proba"):
            raise TypeError(
                "classifiers must be instances that have predict_proba and get_params, got "
                f"{classifier!r}"
            )
