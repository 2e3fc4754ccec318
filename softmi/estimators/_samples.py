"""Samples, labels and folds as the estimators take them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from softmi._checks import at_least_float32, check_finite, describe

Inputs = Shaped[Tensor, "samples features"] | Shaped[np.ndarray, "samples features"]
Labels = Shaped[Tensor, " samples"] | Shaped[np.ndarray, " samples"]


def as_array(values: Any, name: str) -> Any:
    """Tensors, also on other devices, as arrays; everything else as it is.

    Raises:
        TypeError: Sparse tensors.
        ValueError: A masked array that hides something: its mask would be lost.

    """
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array that hides {int(np.ma.count_masked(values))} values: "
            "leave these samples out"
        )
    if not isinstance(values, Tensor):
        return values
    if values.layout != torch.strided:
        raise TypeError(f"sparse tensors must be made dense first, got {describe(values)}")
    return at_least_float32(values.detach().cpu()).numpy()


def as_labels(labels: Any, name: str = "y") -> Any:
    """Labels of one sort; numbers that are Python objects become an array of numbers.

    Raises:
        TypeError, ValueError: As `as_array`; labels that are missing (None, NaN, NA), or of
            several sorts, which have no order.

    """
    labels = as_array(labels, name)
    if isinstance(labels, (list, tuple)):
        array = np.fromiter(labels, dtype=object)
        if any(isinstance(label, (list, tuple, np.ndarray)) for label in array):
            return labels
    elif hasattr(labels, "dtype"):
        array = np.asarray(labels)
    else:
        return labels
    # pandas makes NaN of missing integers; those of plain arrays are scikit-learn's to judge.
    if array.ndim != 1 or (array.dtype != object and isinstance(labels, np.ndarray)):
        return labels
    missing = [i for i, label in enumerate(array) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"{name} holds {len(missing)} missing labels, the first at position {missing[0]}: "
            "leave these samples out"
        )
    if array.dtype != object:
        return array
    sorts = {_sort(label) for label in array}
    if len(sorts) > 1:
        raise ValueError(f"{name} mixes labels of several sorts, {', '.join(sorted(sorts))}")
    return np.array(array.tolist()) if sorts <= {"number", "bool"} else labels


def _is_missing(label: Any) -> bool:
    return label is None or type(label).__name__ == "NAType" or bool(label != label)


def _sort(label: Any) -> str:
    if isinstance(label, (bool, np.bool_)):
        return "bool"
    if isinstance(label, (int, float, np.number)):
        return "number"
    return "string" if isinstance(label, str) else type(label).__name__


def _samples(X: Inputs, y: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs in float64 and labels as codes 0, 1, ..., after checking both."""
    X = torch.as_tensor(np.asarray(as_array(X, "X")))
    if X.ndim != 2 or 0 in X.shape or X.is_complex():
        raise ValueError(f"X must hold real numbers, (samples, features), got {describe(X)}")
    check_finite(X, name="X")
    codes = _codes(y, "y")
    if len(codes) != len(X):
        raise ValueError(f"X has {len(X)} samples, but y has {len(codes)}")
    return X.cpu().double().numpy(), codes


def _codes(labels: Labels, name: str) -> np.ndarray:
    labels = np.asarray(as_labels(labels, name))
    if labels.dtype.kind not in "iub":
        raise TypeError(f"{name} must hold integer labels, got {labels.dtype}")
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"{name} must have shape (samples,), got shape {labels.shape}")
    return np.unique(labels, return_inverse=True)[1]


def deal(y: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each sample, classes dealt out one after another: stratified, rare ones too."""
    fold = np.empty(len(y), dtype=np.int64)
    fold[np.lexsort((rng.random(len(y)), y))] = np.arange(len(y)) % folds
    return fold


def _splits(y: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of training and held-out parts, each class spread evenly over the folds."""
    part = deal(y, folds, np.random.default_rng(seed))
    for fold in range(folds):
        yield np.flatnonzero(part != fold), np.flatnonzero(part == fold)


def _check_folds(n: int, folds: int, least: int) -> None:
    if folds < 2 or n < least * folds:
        raise ValueError(
            f"need at least two folds of at least {least} samples each, got folds={folds} for "
            f"{n} samples"
        )
