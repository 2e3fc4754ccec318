r"""Critics: networks that are trained by a variational bound and scored on samples left out."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torchvision.ops import MLP

from softmi.estimators._samples import Inputs, Labels, _check_folds, _samples, _splits
from softmi.estimators.variational import Bound, donsker_varadhan, jensen_shannon, smile


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

    targets = torch.as_tensor(y, device=device)
    values = []
    for fold, (rest, held_out) in enumerate(_splits(y, folds, seed)):
        train, valid = (rest[part] for part in next(_splits(y[rest], 5, seed)))
        scaled = StandardScaler().fit(X[train]).transform(X).astype(np.float32)
        inputs = torch.as_tensor(scaled, device=device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed + fold)
            critic = MLP(X.shape[1], [*hidden, int(y.max()) + 1]).to(device)
            _train(
                critic,
                objective if ema is None else _moving_average_objective(ema),
                (inputs[train], targets[train]),
                objective,
                (inputs[valid], targets[valid]),
                epochs=epochs, patience=patience, batch_size=batch_size, lr=lr,
            )  # fmt: skip
        with torch.no_grad():
            values.append(float(bound(critic(inputs[held_out]).double(), targets[held_out])))
    return CriticEstimate(
        float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(folds), tuple(values)
    )


def _moving_average_objective(decay: float) -> Bound:
    """Return an objective with MINE's gradient: E e^T in its denominator is a moving average.

    Source: belghazi2018, corrected gradient.
    """
    log_average: Tensor | None = None

    def objective(scores: Tensor, targets: Tensor) -> Tensor:
        nonlocal log_average
        joint = scores.gather(1, targets[:, None]).mean()
        log_partition = joint - donsker_varadhan(scores, targets)
        now = log_partition.detach()
        if log_average is None:
            log_average = now
        else:
            log_average = torch.logaddexp(log_average + math.log(decay), now + math.log1p(-decay))
        return joint - (log_partition - log_average).exp()

    return objective


def _train(
    critic: nn.Module,
    objective: Bound,
    train: tuple[Tensor, Tensor],
    score: Bound,
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
            now = float(score(critic(valid[0]).double(), valid[1]))
        if now > best:
            best, best_epoch, best_weights = now, epoch, copy.deepcopy(critic.state_dict())
        elif epoch - best_epoch >= patience:
            break
    critic.load_state_dict(best_weights)
