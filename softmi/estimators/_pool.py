r"""The classifiers behind :class:`softmi.SoftmaxMutualInformation`, and their pool.

From rigid to flexible: linear discriminant analysis with shrinkage, logistic regression, kernel
logistic regression, and an ensemble of small networks. Each gives pointwise mutual informations,
:math:`\log q_j(y|x) - \log \pi_y`. The pool adds them, weighted, and puts the prior back:

.. math:: \log q(y|x) = \log \pi_y + \sum_j w_j \log \frac{q_j(y|x)}{\pi_y} + c(x), \quad w_j \ge 0

With :math:`w = 0` it has learnt nothing and reports zero information; with one member,
:math:`w = 1/T` is temperature scaling (Guo et al. 2017).
"""

import copy
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from softmi.estimators._networks import (
    CHUNK,
    Networks,
    Part,
    Scaling,
    network_log_probabilities,
    train_networks,
)
from softmi.estimators._samples import deal

# scikit-learn's members see at most so many samples: what more would teach them is far below the
# sampling error, and they hold copies in float64. The networks see all.
CAP = 20_000
# Settings and weights are chosen on one to five folds inside the training part, as many as give
# this number of samples; from LARGE on, one small part, which the networks never get to see.
VALIDATED, LARGE = 1_000, 50_000
NETWORKS = 2
ROUNDS = 30
SMALLEST = 10  # below, nothing can be trained and validated: the prior is all there is


def default_members(features: int, samples: int) -> list[list[BaseEstimator]]:
    """The members that scikit-learn has, each as a list of settings to choose from."""
    ridge = [LogisticRegression(C=c, max_iter=200, tol=1e-3) for c in (1e-3, 3e-2, 1.0)]
    components = min(200, samples // 2 + 1)
    kernel = [
        make_pipeline(
            Nystroem(gamma=1 / features, n_components=components, random_state=0),
            LogisticRegression(C=c, max_iter=200, tol=1e-3),
        )
        for c in (0.3, 10.0)
    ]
    return [[LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")], ridge, kernel]


def smoothed_log_prior(y: np.ndarray, classes: int) -> np.ndarray:
    """Log-frequencies; half a sample for each class, so that an absent one stays possible."""
    counts = np.bincount(y, minlength=classes) + 0.5
    return np.log(counts / counts.sum())


def with_floor(log_q: np.ndarray, log_prior: np.ndarray, samples: int) -> np.ndarray:
    """Mix with the prior, by the weight of one sample: no label is impossible."""
    epsilon = 1 / (samples + 2)
    return np.logaddexp(log_q + math.log1p(-epsilon), log_prior + math.log(epsilon))


def geometric_mean(log_q: np.ndarray) -> np.ndarray:
    """Log-probabilities of an ensemble, from those of its networks along the first axis."""
    return log_softmax(log_q.mean(0), axis=-1)


def pool_weights(pmi: np.ndarray, y: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    """Weights of the members, at least zero, that make the log-loss of these samples lowest.

    A convex problem. A weak pull towards equal weights, worth a few samples, steadies it.

    Args:
        pmi: Of the members, shape (members, samples, classes).
        y: Labels of samples that no member was trained on.
        log_prior: Shape (classes,).

    """
    members, n = pmi.shape[:2]
    start, truth = np.full(members, 1 / members), (np.arange(n), y)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        log_q = log_softmax(log_prior + np.tensordot(w, pmi, 1), axis=1)
        residual = np.exp(log_q)
        residual[truth] -= 1
        value = -log_q[truth].sum() + 2 * ((w - start) ** 2).sum()
        gradient = np.einsum("jnk,nk->j", pmi, residual) + 4 * (w - start)
        return value / n, gradient / n

    bounds = [(0, None)] * members
    return minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds).x


def log_loss(pmi: np.ndarray, weights: np.ndarray, y: np.ndarray, log_prior: np.ndarray) -> float:
    """Mean log-loss of a pool on these samples."""
    log_q = log_softmax(log_prior + np.tensordot(weights, pmi, 1), axis=1)
    return -float(log_q[np.arange(len(y)), y].mean())


def kept_weights(
    weights: np.ndarray, pmi: np.ndarray, y: np.ndarray, log_prior: np.ndarray
) -> np.ndarray:
    """The weights, or zeros if they gain no more than weights fitted to noise would (Akaike).

    A pool of zero weights is the prior. Fitted to noise, k weights lower the total log-loss of
    their samples by k/2 on average, and raise that of new ones by as much.
    """
    gain = -log_prior[y].mean() - log_loss(pmi, weights, y, log_prior)
    return np.zeros_like(weights) if gain * len(y) <= len(weights) else weights


@dataclass(frozen=True)
class Member:
    """A fitted scikit-learn classifier, which may know fewer classes than there are."""

    classifier: BaseEstimator | None  # None: one class, or no label twice, nothing to learn
    log_prior: np.ndarray
    samples: int

    @classmethod
    def fit(
        cls, classifier: BaseEstimator, data: Part, rows: np.ndarray, classes: int
    ) -> "Member":
        """Fit a fresh copy of `classifier` on at most `CAP` of these rows (in random order)."""
        rows = rows[:CAP]
        log_prior = smoothed_log_prior(data.y[rows], classes)
        if len(np.unique(data.y[rows])) in (1, len(rows)):
            return cls(None, log_prior, len(rows))
        with warnings.catch_warnings():
            # Not converged, collinear, few samples in a class: the validation loss is the judge.
            warnings.simplefilter("ignore")
            fitted = clone(classifier).fit(data.inputs(rows), data.y[rows])
        return cls(fitted, log_prior, len(rows))

    def pmi(self, data: Part, rows: np.ndarray) -> np.ndarray:
        """Pointwise mutual information of these rows with each class."""
        if self.classifier is None:
            return np.zeros((len(rows), len(self.log_prior)))
        log_q = np.full((len(rows), len(self.log_prior)), -np.inf)
        with np.errstate(divide="ignore"):
            p = np.log(self.classifier.predict_proba(data.inputs(rows)))
        if np.isnan(p).any():
            raise ValueError(f"probabilities of {self.classifier} are NaN")
        log_q[:, self.classifier.classes_] = p
        return with_floor(log_q, self.log_prior, self.samples) - self.log_prior


@dataclass(frozen=True)
class Stack:
    """Fitted members and their pool; see :func:`fit_stack`."""

    scaling: Scaling
    log_prior: np.ndarray
    samples: int
    members: list[Member]
    networks: Networks | None
    weights: np.ndarray

    def pointwise(self, x: np.ndarray) -> np.ndarray:
        """Pointwise mutual information by each member, shape (members, samples, classes)."""
        # In float64: how a float32 sum is rounded depends on how many rows there are beside it.
        rows, labels = np.arange(len(x)), np.zeros(len(x), dtype=np.int64)
        data = Part(x, labels, self.scaling, "cpu", dtype=np.float64)
        pmi = [member.pmi(data, rows) for member in self.members]
        if self.networks is not None:
            device = self.networks.biases[0].device
            data = replace(data, device="cpu" if device.type == "mps" else str(device))
            networks = copy.deepcopy(self.networks).to(data.device).double()
            log_q = geometric_mean(network_log_probabilities(networks, data, rows[None]))
            pmi.append(with_floor(log_q, self.log_prior, self.samples) - self.log_prior)
        return np.stack(pmi) if pmi else np.empty((0, len(x), len(self.log_prior)))

    def pooled(self, pmi: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """log q(y|x), shape (samples, classes), from what the members say."""
        logits = np.tile(self.log_prior, (pmi.shape[1], 1))
        for weight, values in zip(weights, pmi, strict=True):
            logits += weight * values
        return with_floor(log_softmax(logits, 1), self.log_prior, self.samples)

    def log_probabilities(self, x: np.ndarray) -> np.ndarray:
        """log q(y|x) of inputs, shape (samples, features), in chunks that fit into memory."""
        chunks = np.array_split(x, math.ceil(len(x) / CHUNK))
        return np.concatenate([self.pooled(self.pointwise(c), self.weights) for c in chunks])


def fit_stack(
    x: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    classes: int,
    *,
    classifiers: Sequence[BaseEstimator] | None,
    seed: int,
    device: str,
) -> Stack:
    """Train all members on `rows` of the data, and pool them by samples they have not seen.

    Settings, rounds and weights come from folds inside `rows`; then every member is trained anew
    on all of them. Nothing outside `rows` is looked at.
    """
    rng = np.random.default_rng(seed)
    rows, n = rng.permutation(rows), len(rows)
    scaling = Scaling.of(x[rows[:CAP]])
    data = Part(x, y, scaling, device)
    if n <= CAP:  # few enough to be scaled once
        data, rows = Part(data.inputs(rows), y[rows], None, device), np.arange(n)
    log_prior = smoothed_log_prior(data.y[rows], classes)
    if n < SMALLEST:
        return Stack(scaling, log_prior, n, [], None, np.empty(0))
    folds = max(5, n // 10_000)
    fold = deal(data.y[rows], folds, rng)
    used = min(folds, max(1, math.ceil(VALIDATED * folds / n)))
    size = n // folds  # the same in each: one sample a fold may be left out
    training = np.stack([rows[fold != k][: n - size - 1] for k in range(used)])
    held = np.stack([rows[fold == k][:size] for k in range(used)])
    held_y = data.y[held.ravel()]

    options = default_members(x.shape[1], n) if classifiers is None else [[c] for c in classifiers]
    pmis, members = [], []
    for settings in options:
        tried = [
            np.concatenate([
                Member.fit(setting, data, train, classes).pmi(data, test)
                for train, test in zip(training, held, strict=True)
            ])
            for setting in settings
        ]  # fmt: skip
        # Each at its best temperature.
        alone = [(pmi[None], pool_weights(pmi[None], held_y, log_prior)) for pmi in tried]
        losses = [log_loss(pmi, weights, held_y, log_prior) for pmi, weights in alone]
        best = int(np.argmin(losses))
        pmis.append(tried[best])
        members.append(Member.fit(settings[best], data, rows, classes))

    networks = None
    if classifiers is None:
        networks, rounds = train_networks(
            data, classes, training.repeat(NETWORKS, axis=0), held.repeat(NETWORKS, axis=0),
            rounds=ROUNDS, seed=seed,
        )  # fmt: skip
        log_q = network_log_probabilities(networks, data, held.repeat(NETWORKS, axis=0))
        log_q = log_q.reshape(used, NETWORKS, size, classes).swapaxes(0, 1)
        log_q = geometric_mean(log_q).reshape(-1, classes)
        pmis.append(with_floor(log_q, log_prior, n) - log_prior)
        if n < LARGE:
            networks, _ = train_networks(
                data, classes, np.tile(rows, (NETWORKS, 1)), None, rounds=rounds, seed=seed + 1
            )
    pmi = np.stack(pmis)
    weights = kept_weights(pool_weights(pmi, held_y, log_prior), pmi, held_y, log_prior)
    return Stack(scaling, log_prior, n, members, networks, weights)
