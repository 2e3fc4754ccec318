r"""Rival estimators of :math:`I(X;Y)` for a label Y: variational bounds, neighbours, histograms.

A variational bound compares a critic :math:`T(x, y)` on pairs drawn together with pairs drawn
apart. Here it is a function of the score matrix :math:`S_{ij} = T(x_i, y_j)`: its diagonal holds
the n joint pairs, the other entries n(n - 1) pairs from the product of the marginals (Poole et
al. 2019; Song and Ermon 2020). For a label the matrix has at most M distinct columns, so that
`bound(logits, targets)` equals `bound(logits[:, targets])` without forming it. Nats throughout.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from scipy.special import digamma, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KDTree
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from softmi._validation import (
    at_least_float32,
    check_finite,
    check_logits,
    check_targets,
    describe,
)
from softmi.information import MutualInformationEstimate, entropy, mutual_information

Bound = Callable[[Tensor, Tensor], Tensor]
Inputs = Shaped[Tensor, "samples features"] | Shaped[np.ndarray, "samples features"]
Labels = Shaped[Tensor, " samples"] | Shaped[np.ndarray, " samples"]


def _parts(scores: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return scores, those of the joint pairs, each column's copies, and those off-diagonal."""
    check_logits(scores, name="scores")
    n, columns = scores.shape
    if targets is None:
        if n != columns:
            raise ValueError(
                f"scores must be square, T(x_i, y_j) for every pair of a batch, or come with "
                f"targets; got {describe(scores)}"
            )
        targets = torch.arange(n, device=scores.device)
    check_targets(targets, scores)
    if n < 2:
        raise ValueError(f"a bound needs at least two samples, got scores of {describe(scores)}")
    check_finite(scores, name="scores")
    scores, targets = at_least_float32(scores), targets.long()
    joint = scores.gather(1, targets[:, None])[:, 0]
    copies = torch.bincount(targets, minlength=columns).to(scores)
    apart = copies.repeat(n, 1).scatter_add_(1, targets[:, None], -torch.ones_like(scores[:, :1]))
    return scores, joint, copies, apart


def _log_mean_exp(scores: Tensor, weights: Tensor) -> Tensor:
    """Return the logarithm of the mean of exp(scores) under `weights`."""
    return torch.logsumexp((scores + weights.log()).flatten(), 0) - weights.sum().log()


def donsker_varadhan(
    scores: Float[Tensor, "batch columns"], targets: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    r"""Donsker and Varadhan's representation of the mutual information, which MINE trains.

    .. math:: I \ge \mathbb{E}_{p(x,y)} T - \log \mathbb{E}_{p(x)p(y)} e^T

    with equality for :math:`T = \log \frac{p(x,y)}{p(x)p(y)} + \text{const}` (Belghazi et al.
    2018). The logarithm of a sample mean lies below that of the mean on average: in
    finite samples the value is biased upwards, and its variance grows like :math:`e^I`.

    Args:
        scores: :math:`T(x_i, y_j)`, shape (batch, batch), the joint pairs on the diagonal; or,
            with `targets`, :math:`T(x_i, k)` for each class, shape (batch, classes).
        targets: Labels :math:`y_j`, shape (batch,): the matrix is then `scores[:, targets]`.

    Raises:
        TypeError: Scores not floating point, or targets not integers.
        ValueError: Scores neither square nor with targets that match, not finite, or of fewer
            than two samples.

    Example:
        >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> donsker_varadhan(scores).item(), donsker_varadhan(scores + 7).item()
        (2.0, 2.0)

    """
    scores, joint, _, apart = _parts(scores, targets)
    # A common offset cancels: taken out first, it costs no digits.
    top = scores.detach().max()
    return (joint - top).mean() - _log_mean_exp(scores - top, apart)


def nwj(
    scores: Float[Tensor, "batch columns"], targets: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    r"""Bound of Nguyen, Wainwright and Jordan (2010): the f-GAN bound for the KL divergence.

    .. math:: I \ge \mathbb{E}_{p(x,y)} T - e^{-1} \mathbb{E}_{p(x)p(y)} e^T

    with equality for :math:`T = 1 + \log \frac{p(x,y)}{p(x)p(y)}` (Poole et al. 2019). Unbiased,
    and below :func:`donsker_varadhan` on any scores; its variance grows like :math:`e^I`. Args and
    errors as in :func:`donsker_varadhan`.
    """
    scores, joint, _, apart = _parts(scores, targets)
    return joint.mean() - (_log_mean_exp(scores, apart) - 1).exp()


def infonce(
    scores: Float[Tensor, "batch columns"], targets: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    r"""InfoNCE: find the partner of each input among the batch.

    .. math::
        I \ge \mathbb{E} \frac{1}{n} \sum_{i=1}^n
        \log \frac{e^{T(x_i, y_i)}}{\frac{1}{n} \sum_{j=1}^n e^{T(x_i, y_j)}}

    (van den Oord et al. 2018; Poole et al. 2019). Never above :math:`\log n` for a
    batch of n. For a label it is minus the loss of :func:`softmi.pc_cross_entropy` under the
    batch's own label frequencies, hence never above their entropy: the probability-corrected
    softmax is InfoNCE whose negatives are all labels. Args and errors as in
    :func:`donsker_varadhan`.
    """
    scores, joint, copies, _ = _parts(scores, targets)
    # A common offset of a row cancels: taken out first, it costs no digits.
    top = scores.detach().amax(dim=1, keepdim=True)
    normaliser = torch.logsumexp(scores - top + copies.log(), dim=1) - math.log(len(scores))
    return (joint - top[:, 0] - normaliser).mean()


def smile(
    scores: Float[Tensor, "batch columns"],
    targets: Int[Tensor, " batch"] | None = None,
    *,
    clip: float = 5.0,
) -> Float[Tensor, ""]:
    r"""SMILE: Donsker and Varadhan's value with clipped exponentials in the partition function.

    .. math::
        \mathbb{E}_{p(x,y)} T
        - \log \mathbb{E}_{p(x)p(y)} \max(\min(e^T, e^{\tau}), e^{-\tau})

    (Song and Ermon 2020). NOT a bound: the variance that the clip removes returns as
    bias, and joint scores above :math:`\tau` cost nothing, so that training by this value
    diverges. Train the critic by :func:`jensen_shannon`, as the authors' code does.

    Args:
        scores: As in :func:`donsker_varadhan`.
        targets: As there.
        clip: :math:`\tau`, positive; infinity gives :func:`donsker_varadhan`.

    Raises:
        TypeError: As in :func:`donsker_varadhan`.
        ValueError: As there; or a clip that is not positive.

    """
    if not clip > 0:
        raise ValueError(f"clip must be positive, got {clip}")
    scores, joint, _, apart = _parts(scores, targets)
    return joint.mean() - _log_mean_exp(scores.clamp(-clip, clip), apart)


def jensen_shannon(
    scores: Float[Tensor, "batch columns"], targets: Int[Tensor, " batch"] | None = None
) -> Float[Tensor, ""]:
    r"""Objective of a discriminator between pairs drawn together and apart.

    .. math::
        \mathbb{E}_{p(x,y)} \log \sigma(T) + \mathbb{E}_{p(x)p(y)} \log(1 - \sigma(T)),
        \qquad \sigma(T) = \frac{1}{1 + e^{-T}}

    Largest at :math:`T = \log \frac{p(x,y)}{p(x)p(y)}`, where it is :math:`2 \mathrm{JS} - 2 \log
    2` with the Jensen-Shannon divergence between joint and product (Nowozin et al. 2016; Hjelm et
    al. 2019). A stable way to train a critic, no estimate of :math:`I`. Args and
    errors as in :func:`donsker_varadhan`.
    """
    scores, joint, _, apart = _parts(scores, targets)
    product = (apart * nn.functional.logsigmoid(-scores)).sum() / apart.sum()
    return nn.functional.logsigmoid(joint).mean() + product


def _samples(X: Inputs, y: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs in float64 and labels as codes 0, 1, ..., after checking both."""
    X = X.detach() if isinstance(X, Tensor) else torch.as_tensor(np.asarray(X))
    if X.ndim != 2 or 0 in X.shape or X.is_complex():
        raise ValueError(f"X must hold real numbers, (samples, features), got {describe(X)}")
    check_finite(X, name="X")
    codes = _codes(y, "y")
    if len(codes) != len(X):
        raise ValueError(f"X has {len(X)} samples, but y has {len(codes)}")
    return X.cpu().double().numpy(), codes


def _codes(labels: Labels, name: str) -> np.ndarray:
    labels = labels.detach().cpu() if isinstance(labels, Tensor) else labels
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iub":
        raise TypeError(f"{name} must hold integer labels, got {labels.dtype}")
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"{name} must have shape (samples,), got shape {labels.shape}")
    return np.unique(labels, return_inverse=True)[1]


def _splits(y: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of training and held-out parts, each class spread evenly over the folds."""
    rng = np.random.default_rng(seed)
    part = np.empty(len(y), dtype=int)
    part[np.lexsort((rng.random(len(y)), y))] = np.arange(len(y)) % folds
    for fold in range(folds):
        yield np.flatnonzero(part != fold), np.flatnonzero(part == fold)


@dataclass(frozen=True)
class CriticEstimate:
    r"""A cross-fitted estimate of :math:`I(X;Y)` by a critic, in nats.

    Attributes:
        value: Mean over the folds.
        standard_error: Standard deviation between folds over the root of their number: sampling
            and training alike, but from few numbers, and blind to a bias that all folds share.
        folds: Value on each held-out fold.

    """

    value: float
    standard_error: float
    folds: tuple[float, ...]

    def __float__(self) -> float:
        return self.value


def critic_mutual_information(
    X: Inputs,
    y: Labels,
    bound: Bound,
    *,
    objective: Bound | None = None,
    folds: int = 5,
    hidden: tuple[int, ...] = (128, 128),
    epochs: int = 100,
    patience: int = 10,
    batch_size: int = 256,
    lr: float = 1e-3,
    ema: float | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> CriticEstimate:
    r"""Train a critic by a variational bound and score it on samples that it has not seen.

    The critic is a ReLU network with one output per class, :math:`T(x, k)`. For each fold it is
    trained by Adam on four fifths of the other folds, on batches as in the papers (the pairs apart
    are all those of a batch); the remaining fifth decides after which epoch it was best. The bound
    is then taken on the whole held-out fold as one batch: the expectation over the product of the
    marginals runs over all its pairs, exactly, by summing over classes. So InfoNCE is capped by
    the held-out labels' entropy, not by :math:`\log` of the training batch. Splits, initial
    weights and order depend on `seed` alone, hence are the same for every bound.

    With :func:`donsker_varadhan` this is MINE, but scored on held-out samples; `ema` adds its
    correction of the gradient, which divides by a moving average of :math:`\mathbb{E} e^T` in
    place of the batch's mean (Belghazi et al. 2018, section 3.2).

    Args:
        X: Inputs, shape (samples, features); standardised by each training part's statistics.
        y: Integer labels, shape (samples,).
        bound: Of this module, or any function of logits (batch, classes) and targets.
        objective: What trains the critic; None is `bound`, for :func:`smile`
            :func:`jensen_shannon`.
        folds: Number of folds, each with at least ten samples.
        hidden: Widths of the hidden layers.
        epochs: Passes over the training part, at most.
        patience: Epochs without improvement after which training stops.
        batch_size: Samples in a step, at the least: the training part is split evenly.
        lr: Learning rate of Adam.
        ema: Decay of the moving average, such as 0.99; for :func:`donsker_varadhan` only.
        seed: Of everything random; the global generators are left alone.
        device: Where to train.

    Raises:
        TypeError: Labels that are not integers.
        ValueError: Shapes that do not match, non-finite inputs, too few samples for the folds,
            `ema` outside (0, 1) or with another objective.

    """
    X, y = _samples(X, y)
    _check_folds(len(y), folds, least=10)
    if min(epochs, patience) < 1 or batch_size < 2 or not lr > 0:
        raise ValueError(
            f"need epochs >= 1, patience >= 1, batch_size >= 2 and lr > 0, got {epochs}, "
            f"{patience}, {batch_size} and {lr}"
        )
    if objective is None:
        is_smile = getattr(bound, "func", bound) is smile  # also functools.partial(smile, clip=1)
        objective = jensen_shannon if is_smile else bound
    if ema is not None and (objective is not donsker_varadhan or not 0 < ema < 1):
        raise ValueError(f"ema must be in (0, 1) and train donsker_varadhan, got {ema}")

    training: dict[str, Any] = {
        "epochs": epochs,
        "patience": patience,
        "batch_size": batch_size,
        "lr": lr,
    }
    targets = torch.as_tensor(y, device=device)
    values = []
    for fold, (rest, held_out) in enumerate(_splits(y, folds, seed)):
        train, valid = (rest[part] for part in next(_splits(y[rest], 5, seed)))
        scaled = StandardScaler().fit(X[train]).transform(X).astype(np.float32)
        inputs = torch.as_tensor(scaled, device=device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed + fold)
            critic = _critic((X.shape[1], *hidden, int(y.max()) + 1)).to(device)
            _train(
                critic,
                objective if ema is None else _moving_average_objective(ema),
                (inputs[train], targets[train]),
                lambda logits, labels: float(objective(logits.double(), labels)),
                (inputs[valid], targets[valid]),
                **training,
            )
        with torch.no_grad():
            values.append(float(bound(critic(inputs[held_out]).double(), targets[held_out])))
    return CriticEstimate(
        float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(folds), tuple(values)
    )


def _check_folds(n: int, folds: int, least: int) -> None:
    if folds < 2 or n < least * folds:
        raise ValueError(
            f"need at least two folds of at least {least} samples each, got folds={folds} for "
            f"{n} samples"
        )


def _critic(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _moving_average_objective(decay: float) -> Bound:
    """Return an objective with MINE's gradient: E e^T in its denominator is a moving average."""
    log_average: Tensor | None = None

    def objective(scores: Tensor, targets: Tensor) -> Tensor:
        nonlocal log_average
        joint = scores.gather(1, targets[:, None]).mean()
        log_partition = joint - donsker_varadhan(scores, targets)
        now = log_partition.detach()
        log_average = (
            now
            if log_average is None
            else torch.logaddexp(log_average + math.log(decay), now + math.log1p(-decay))
        )
        return joint - (log_partition - log_average).exp()

    return objective


def _train(
    critic: nn.Module,
    objective: Bound,
    train: tuple[Tensor, Tensor],
    score: Callable[[Tensor, Tensor], float],
    valid: tuple[Tensor, Tensor],
    *,
    epochs: int,
    patience: int,
    batch_size: int,
    lr: float,
) -> None:
    """Maximise `objective`, and leave the weights that had the best `score` on `valid`."""
    optimiser = torch.optim.Adam(critic.parameters(), lr=lr)
    best, best_epoch, best_weights = -math.inf, 0, copy.deepcopy(critic.state_dict())
    for epoch in range(epochs):
        order = torch.randperm(len(train[1]))
        # In equal parts: a last batch of one would have no pair apart.
        for batch in order.tensor_split(max(1, len(order) // batch_size)):
            value = objective(critic(train[0][batch]), train[1][batch])
            # e^T may overflow: the bound is then minus infinity, without a direction to go.
            if torch.isfinite(value):
                optimiser.zero_grad()
                (-value).backward()
                optimiser.step()
        with torch.no_grad():
            now = score(critic(valid[0]), valid[1])
        if now > best:
            best, best_epoch, best_weights = now, epoch, copy.deepcopy(critic.state_dict())
        elif epoch - best_epoch >= patience:
            break
    critic.load_state_dict(best_weights)


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
    :math:`\log(n' + a)` nats.

    Args:
        X: Inputs, shape (samples, features); standardised by each training part's statistics.
        y: Integer labels, shape (samples,).
        folds: Number of folds.
        C: Inverse strength of the ridge penalty.
        seed: Of the split.

    Raises:
        TypeError: Labels that are not integers.
        ValueError: Shapes that do not match, non-finite inputs, fewer samples than folds.

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
