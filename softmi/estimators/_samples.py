"""Samples, labels and folds as the rivals of the estimator take them."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from softmi._checks import check_finite, describe

Inputs = Shaped[Tensor, "samples features"] | Shaped[np.ndarray, "samples features"]
Labels = Shaped[Tensor, " samples"] | Shaped[np.ndarray, " samples"]


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


def _check_folds(n: int, folds: int, least: int) -> None:
    if folds < 2 or n < least * folds:
        raise ValueError(
            f"need at least two folds of at least {least} samples each, got folds={folds} for "
            f"{n} samples"
        )
