"""Estimators without a network: neighbours, logistic regression, plug-in."""

import math

import numpy as np
import torch
from scipy.special import digamma, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KDTree
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from softmi.estimators._samples import Inputs, Labels, _check_folds, _codes, _samples, _splits
from softmi.information.estimate import MutualInformationEstimate, mutual_information
from softmi.information.pointwise import entropy


def nearest_neighbour_mutual_information(
    X: Inputs, y: Labels, *, neighbours: int = 3, metric: str = "euclidean"
) -> float:
    r"""Estimate :math:`I(X;Y)` from distances to nearest neighbours (Ross 2014), in nats.

    .. math::
        \hat I = \psi(n) + \langle \psi(k_i) \rangle - \langle \psi(n_{y_i}) \rangle
        - \langle \psi(m_i) \rangle

    :math:`k_i` is `neighbours`, or :math:`n_{y_i} - 1` if that is less; :math:`n_y` the number of
    samples of class y; :math:`m_i` the number of samples of any class as near to :math:`x_i` as
    its k-th neighbour of its own class; :math:`\psi` the digamma function. Samples that are alone
    in their class are left out. In one dimension without ties it is what scikit-learn computes,
    which adds noise against ties and reports negative values as zero; here they stay, and where
    the k-th neighbour is at distance zero :math:`k_i` counts all samples of the class at
    :math:`x_i`, and :math:`m_i` all of any class (Gao et al. 2017).

    Args:
        X: Inputs, shape (samples, features); each feature is scaled to unit variance.
        y: Integer labels, shape (samples,).
        neighbours: k, at least one.
        metric: "euclidean" or "chebyshev". The volume of a ball cancels whatever its shape. The
            default does not favour the axes and loses less in many dimensions (ten
            Gaussian classes in 100 dimensions, true value 1.97 nats, 5,000 samples: 1.35 nats
            against 0.93).

    Raises:
        TypeError: Labels that are not integers.
        ValueError: Shapes that do not match, non-finite inputs, no class of two samples,
            `neighbours` below one, another metric.

    Example:
        >>> x = np.concatenate([np.arange(50.0), 1000 + np.arange(50.0)])[:, None]
        >>> y = np.repeat([0, 1], 50)  # told apart without error: log 2 = 0.69
        >>> round(nearest_neighbour_mutual_information(x, y), 2)
        0.7

    Source: ross2014, nearest-neighbour estimator.
    """
    X, y = _samples(X, y)
    if neighbours < 1 or metric not in ("euclidean", "chebyshev"):
        raise ValueError(
            f'need neighbours >= 1 and metric "euclidean" or "chebyshev", got {neighbours} and '
            f"{metric!r}"
        )
    paired = np.bincount(y)[y] > 1
    if not paired.any():
        raise ValueError(f"no class has two samples: {len(y)} labels, all different")
    X, y = StandardScaler().fit_transform(X)[paired], y[paired]
    # In many dimensions a tree prunes nothing: one leaf is brute force, and faster.
    leaf = 40 if X.shape[1] <= 10 else len(X)
    radius, k = np.empty(len(y)), np.empty(len(y))
    for label in np.unique(y):
        own = np.flatnonzero(y == label)
        tree, nearest = KDTree(X[own], leaf, metric), min(neighbours, len(own) - 1)
        radius[own] = tree.query(X[own], nearest + 1)[0][:, nearest]
        k[own] = nearest
        tied = own[radius[own] == 0]
        if len(tied):
            k[tied] = tree.query_radius(X[tied], 0.0, count_only=True)
    # Just short of the k-th neighbour, whatever the rounding of the root: with the sample itself
    # in its place, the count is that of the neighbours up to and including the k-th.
    m = KDTree(X, leaf, metric).query_radius(X, radius * (1 - 1e-12), count_only=True)
    return float(digamma(len(y)) + np.mean(digamma(k) - digamma(np.bincount(y)[y]) - digamma(m)))


def logistic_regression_mutual_information(
    X: Inputs, y: Labels, *, folds: int = 5, C: float = 1.0, seed: int = 0
) -> MutualInformationEstimate:
    r"""Estimate :math:`I(X;Y)` by cross-fitted multinomial logistic regression.

    .. math:: \hat I = H(Y) + \frac{1}{n} \sum_{i=1}^n \log q_{-i}(y_i | x_i)

    with :math:`q_{-i}` scikit-learn's model fitted without the fold of sample i: what
    :func:`softmi.mutual_information` returns for the log-probabilities out of fold. In
    expectation a lower bound, tight where :math:`\log p(y|x)` is linear in x, as for
    :class:`softmi.GaussianClasses`.

    Classes are spread evenly over the folds, so that only a class with a single sample can be
    absent from a training part. Such a part of :math:`n'` samples that lacks a classes gives each
    of them the probability :math:`1/(n' + a)` and the rest to the model: the sample costs a finite
    :math:`\log(n' + a)` nats. The certified bound of the result counts the labels in y alone,
    and does not know of folds: use that of :class:`softmi.SoftmaxMutualInformation`.

    Args:
        X: Inputs, shape (samples, features); standardised by each training part's statistics.
        y: Integer labels, shape (samples,).
        folds: Number of folds.
        C: Inverse strength of the ridge penalty.
        seed: Of the split.

    Raises:
        TypeError: Labels that are not integers.
        ValueError: Shapes that do not match, non-finite inputs, fewer samples than folds.

    Example:
        >>> x = np.concatenate([np.arange(50.0), 1000 + np.arange(50.0)])[:, None]
        >>> y = np.repeat([0, 1], 50)  # log 2 = 0.69, less what the ridge penalty costs
        >>> round(logistic_regression_mutual_information(x, y).value, 2)
        0.65

    """
    X, y = _samples(X, y)
    _check_folds(len(y), folds, least=1)
    classes = int(y.max()) + 1
    log_q = np.empty((len(y), classes))
    for train, held_out in _splits(y, folds, seed):
        seen = np.unique(y[train])
        logits = np.zeros((len(held_out), 1))
        if len(seen) > 1:
            model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
            logits = model.fit(X[train], y[train]).decision_function(X[held_out])
        if logits.ndim == 1:  # two classes: log-odds of the second
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        absent = classes - len(seen)
        share = 1 / (len(train) + absent)
        log_q[held_out] = math.log(share)
        log_q[np.ix_(held_out, seen)] = log_softmax(logits, axis=1) + math.log1p(-absent * share)
    return mutual_information(torch.as_tensor(log_q), torch.as_tensor(y))


def plug_in_mutual_information(x: Labels, y: Labels, *, correction: str | None = None) -> float:
    r"""Estimate :math:`I(X;Y)` of discrete x and y from the table of their counts, in nats.

    .. math::
        \hat I = \hat H(X) + \hat H(Y) - \hat H(X, Y), \qquad
        \hat H = -\sum_c \frac{n_c}{n} \log \frac{n_c}{n} \;\Bigl[ + \frac{m - 1}{2n} \Bigr]

    with :math:`n_c` the count of cell c among n samples. The plain value is biased upwards, by
    about :math:`(m_{xy} - m_x - m_y + 1) / (2n)` with m the number of cells that occur; the
    term in brackets is Miller's (1955) correction of each entropy ("miller-madow"), after which
    the value may be negative.

    Args:
        x: Integer codes, shape (samples,).
        y: Integer labels, shape (samples,).
        correction: None or "miller-madow".

    Raises:
        TypeError: Codes or labels that are not integers.
        ValueError: Shapes that do not match, no samples, another correction.

    Example:
        >>> x = np.array([0, 0, 1, 1])
        >>> round(plug_in_mutual_information(x, x), 4)
        0.6931

    Source: miller1955, bias of the plug-in entropy.
    """
    if correction not in (None, "miller-madow"):
        raise ValueError(f'correction must be None or "miller-madow", got {correction!r}')
    x, y = _codes(x, "x"), _codes(y, "y")
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples, but y has {len(y)}")

    def estimate(codes: np.ndarray) -> float:
        counts = np.unique(codes, return_counts=True)[1]
        bias = 0.0 if correction is None else (len(counts) - 1) / (2 * len(codes))
        return float(entropy(counts / len(codes))) + bias

    return estimate(x) + estimate(y) - estimate(x * (int(y.max()) + 1) + y)
