r"""Mutual information of arrays: scikit-learn estimators that cross-fit a stack of classifiers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from softmi._checks import PriorLike, as_prior, at_least_float32, describe, label_frequencies
from softmi.estimators._networks import CHUNK
from softmi.estimators._pool import Stack, deal, fit_stack
from softmi.information.estimate import MutualInformationEstimate, _estimate, _interval

BINS = 15  # of the calibration error
GAP_ERROR = 0.3  # standard deviation of the extrapolation, in units of the gap


@dataclass(frozen=True)
class ExtrapolatedMutualInformation:
    r"""An estimate of :math:`I(X;Y)` from which the finite-sample gap is removed; no lower bound.

    Attributes:
        value: :math:`2 \hat I(m) - \hat I(m/2)` plus a term for the label frequencies, in nats.
        standard_error: Sampling error and uncertainty of the gap together.
        low: Lower end of the interval.
        high: Upper end of the interval.
        gap: What was added to the cross-fitted estimate.
        unit: "nats" or "bits".

    """

    value: float
    standard_error: float
    low: float
    high: float
    gap: float
    unit: str = "nats"

    def __float__(self) -> float:
        return self.value

    def in_bits(self) -> "ExtrapolatedMutualInformation":
        """Return the same estimate in bits (1 bit = log 2 nats)."""
        if self.unit == "bits":
            return self
        nats = ("value", "standard_error", "low", "high", "gap")
        bits = {name: getattr(self, name) / math.log(2) for name in nats}
        return replace(self, unit="bits", **bits)


@dataclass(frozen=True)
class Calibration:
    """What fitting the weights of the pool changed, on samples that no member has seen.

    Attributes:
        log_loss_before: Mean log-loss of the members at equal weights that sum to one, in nats.
        log_loss_after: With the fitted weights.
        error_before: Expected calibration error: mean distance between the probability given to
            the likeliest label and the share of right answers, over 15 bins of equal width.
        error_after: With the fitted weights.
        temperature: One over the mean sum of the weights over folds; infinite at zero weights.

    """

    log_loss_before: float
    log_loss_after: float
    error_before: float
    error_after: float
    temperature: float


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
        prior: Class probabilities in the order of :attr:`classes_` if they are known, such as
            1/M by design; None takes the label frequencies.
        classifiers: Classifiers of scikit-learn with `predict_proba` to pool in place of the
            default ones; their hyper-parameters are taken as they are.
        confidence: Coverage of the intervals.
        device: Where networks train: "auto" takes a GPU if there is one.
        n_jobs: Number of processes of joblib; None is one, -1 all cores. Results do not depend
            on it.
        progress: Show a bar.
        random_state: Seed of folds, initial weights and batches: the same seed on the same
            machine gives identical results.

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
        classes_: The labels, sorted.
        n_features_in_: Number of columns of X.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(2, size=400)
        >>> X = np.where(y, 4.0, -4.0)[:, None] + rng.standard_normal((400, 1))  # 1 bit, nearly
        >>> fitted = SoftmaxMutualInformation(folds=3, random_state=0).fit(X, y)
        >>> round(fitted.mutual_information_.in_bits().value, 1)
        1.0

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
        n, classes = len(codes), len(self.classes_)
        targets = torch.from_numpy(codes)
        known = self.prior is not None
        pi = label_frequencies(targets, classes)
        if known:
            pi = as_prior(self.prior, classes=classes, like=pi)  # type: ignore[arg-type]
            if (pi == 0).any():
                raise ValueError(f"prior is zero for labels that occur: {pi.tolist()}")

        device = self._device()
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(seed)
        fold = deal(codes, min(self.folds, n), rng)
        jobs = []
        for k in range(fold.max() + 1):
            train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            jobs.append((0, train, held))
            if self.extrapolate:
                half = deal(codes[train], 2, rng)
                jobs += [(1 + h, train[half == h], held) for h in range(2)]
        scored = Parallel(self.n_jobs, return_as="generator")(
            delayed(_fit_and_score)(
                X, codes, train, held, classes,
                classifiers=self.classifiers, seed=seed + i, device=device,
            )
            for i, (_, train, held) in enumerate(jobs)
        )  # fmt: skip
        # log q(y_i|x_i) from the whole training part and from its halves
        log_q = np.empty((3 if self.extrapolate else 1, n))
        self.stacks_, calibration = [], []
        bar = tqdm(jobs, disable=not self.progress, desc="softmi", unit="fit")
        for (part, _, held), (values, stack, statistics) in zip(bar, scored, strict=True):
            log_q[part, held] = values
            if part == 0:
                self.stacks_.append(stack)
                calibration.append(statistics)

        confidence = float(self.confidence)
        arguments = (targets, pi, known, confidence)
        estimate = _estimate(torch.from_numpy(log_q[0]), *arguments)
        estimate = replace(estimate, _folds=torch.from_numpy(fold))
        self.mutual_information_: MutualInformationEstimate = estimate
        self.label_entropy_ = estimate.label_entropy
        self.pointwise_ = estimate.pointwise.numpy()
        self.class_contributions_ = np.bincount(codes, self.pointwise_, minlength=classes) / n
        self.calibration_ = _calibration(calibration, self.stacks_, n)
        self.extrapolated_: ExtrapolatedMutualInformation | None = None
        self.trustworthy_: bool | None = None
        if self.extrapolate:
            log_q_half = log_q[1:].mean(0)
            gap = float((log_q[0] - log_q_half).mean())
            sampling = _estimate(torch.from_numpy(2 * log_q[0] - log_q_half), *arguments)
            # S and its values of reference: see the docstring.
            ratio = float(np.exp(self.pointwise_).mean())
            missing = (ratio - (classes if known else 1)) / (2 * n)
            value = sampling.value + missing
            standard_error = math.hypot(sampling.standard_error, GAP_ERROR * gap)
            low, high = _interval(value, standard_error, confidence)
            self.extrapolated_ = ExtrapolatedMutualInformation(
                value=value,
                standard_error=standard_error,
                low=low,
                high=high,
                gap=value - estimate.value,
            )
            self.trustworthy_ = abs(gap) <= max(0.1 * abs(value), sampling.standard_error)
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
            self, _as_array(X), _as_array(y), dtype=[np.float64, np.float32], ensure_min_samples=4
        )
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class only, {self.classes_.tolist()[0]!r}: nothing can tell about "
                "a label that never changes (the mutual information is 0)"
            )
        return X, codes.astype(np.int64)

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
        X = validate_data(self, _as_array(X), dtype=[np.float64, np.float32], reset=False)
        return log_softmax(np.mean([s.log_probabilities(X) for s in self.stacks_], axis=0), axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of new samples, shape (samples, classes); see `predict_log_proba`."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Likeliest label of new samples, shape (samples,)."""
        likeliest = self.predict_log_proba(X).argmax(1)
        return self.classes_[likeliest]

    def pointwise_mutual_information(self, X: Any, y: Any) -> np.ndarray:
        r"""Pointwise mutual information of new samples with their labels, in nats.

        .. math:: \log q(y|x) - \log \pi_y

        Its mean estimates the mutual information as :meth:`fit` does, if the samples are new.

        Args:
            X: Shape (samples, features).
            y: Labels, shape (samples,).

        Raises:
            ValueError: A label that was not there in `fit`, or X and y of different length.

        """
        log_q = self.predict_log_proba(X)
        y = np.asarray(_as_array(y))
        if y.shape != (len(log_q),):
            raise ValueError(f"y must have shape ({len(log_q)},), got {y.shape}")
        if unknown := sorted(set(y.tolist()) - set(self.classes_.tolist())):
            raise ValueError(f"y holds labels that fit has not seen: {unknown[:10]}")
        codes = np.searchsorted(self.classes_, y)
        log_prior = self.mutual_information_._prior.log().numpy()
        return log_q[np.arange(len(y)), codes] - log_prior[codes]

    def certified_lower_bound(self, delta: float = 0.05) -> float:
        """In nats; see :meth:`MutualInformationEstimate.certified_lower_bound`."""
        check_is_fitted(self)
        return self.mutual_information_.certified_lower_bound(delta)


def _as_array(values: Any) -> Any:
    """Tensors, also on other devices, as arrays; everything else as it is."""
    if not isinstance(values, Tensor):
        return values
    if values.layout != torch.strided:
        raise TypeError(f"sparse tensors must be made dense first, got {describe(values)}")
    return at_least_float32(values.detach().cpu()).numpy()


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


def _fit_and_score(
    x: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    held: np.ndarray,
    classes: int,
    *,
    classifiers: Sequence[Any] | None,
    seed: int,
    device: str,
) -> tuple[np.ndarray, Stack, np.ndarray]:
    """Train on `train`; log q(y|x) of `held`, the stack, and what calibration needs of it.

    On one thread: sums of many threads would depend on their number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            stack = fit_stack(
                x, y, train, classes, classifiers=classifiers, seed=seed, device=device
            )
            equal = np.full(len(stack.weights), 1 / max(1, len(stack.weights)))
            values, statistics = np.empty(len(held)), np.zeros((2, BINS + 1))
            for start in range(0, len(held), CHUNK):
                rows = held[start : start + CHUNK]
                labels = y[rows]
                pmi = stack.pointwise(x[rows])
                for i, weights in enumerate((equal, stack.weights)):
                    log_q = stack.pooled(pmi, weights)
                    own = log_q[np.arange(len(rows)), labels]
                    confidence = np.exp(log_q.max(1))
                    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
                    excess = confidence - (log_q.argmax(1) == labels)
                    statistics[i, :BINS] += np.bincount(bins, excess, minlength=BINS)
                    statistics[i, BINS] -= own.sum()
                values[start : start + CHUNK] = own
    finally:
        torch.set_num_threads(threads)
    return values, stack, statistics


def _calibration(parts: list[np.ndarray], stacks: list[Stack], n: int) -> Calibration:
    before, after = np.sum(parts, axis=0) / n
    total = float(np.mean([stack.weights.sum() for stack in stacks]))
    return Calibration(
        log_loss_before=float(before[BINS]),
        log_loss_after=float(after[BINS]),
        error_before=float(np.abs(before[:BINS]).sum()),
        error_after=float(np.abs(after[:BINS]).sum()),
        temperature=1 / total if total > 0 else math.inf,
    )
