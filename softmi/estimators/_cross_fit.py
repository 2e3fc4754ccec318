"""Classifiers trained on parts of the data, and what they give to the samples left out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from softmi.estimators._networks import CHUNK
from softmi.estimators._pool import Stack, fit_stack
from softmi.estimators._samples import deal
from softmi.estimators.calibration import BINS, binned_excess


@dataclass(frozen=True)
class CrossFit:
    """What the classifiers gave to samples that they had not seen.

    Attributes:
        log_q: log q(y_i|x_i), shape (1 or 3, samples): by classifiers of the whole training part,
            and of its two halves.
        folds: Which of the stacks scored each sample, shape (samples,).
        stacks: One for each fold.
        excess: Sums for the calibration error, before and after weighting, shape (2, BINS).
        log_loss: Summed log-loss, before and after, shape (2,).

    """

    log_q: np.ndarray
    folds: np.ndarray
    stacks: list[Stack]
    excess: np.ndarray
    log_loss: np.ndarray


def cross_fit(
    x: np.ndarray,
    y: np.ndarray,
    classes: int,
    *,
    folds: int,
    halves: bool,
    classifiers: Sequence[Any] | None,
    seed: int,
    device: str,
    n_jobs: int | None,
    progress: bool,
) -> CrossFit:
    """Train a stack without each fold, on request also on halves, and score the fold by it."""
    rng = np.random.default_rng(seed)
    fold = deal(y, folds, rng)
    jobs = []
    for k in range(fold.max() + 1):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        jobs.append((0, train, held))
        if halves:
            half = deal(y[train], 2, rng)
            jobs += [(1 + h, train[half == h], held) for h in range(2)]
    scored = Parallel(n_jobs, return_as="generator")(
        delayed(fit_and_score)(
            x, y, train, held, classes, classifiers=classifiers, seed=seed + i, device=device
        )
        for i, (_, train, held) in enumerate(jobs)
    )
    log_q = np.empty((3 if halves else 1, len(y)))
    stacks, statistics = [], []
    bar = tqdm(jobs, disable=not progress, desc="softmi", unit="fit")
    for (part, _, held), (values, stack, sums) in zip(bar, scored, strict=True):
        log_q[part, held] = values
        if part == 0:
            stacks.append(stack)
            statistics.append(sums)
    total = np.sum(statistics, axis=0)
    return CrossFit(log_q, fold, stacks, total[:, :BINS], total[:, BINS])


@lru_cache(maxsize=1)
def _thread_pools(modules: int) -> ThreadpoolController:
    """All thread pools of this process, looked for anew once more modules are loaded.

    To search the process for its libraries takes as long as a light classifier to be trained.
    """
    return ThreadpoolController()


def fit_and_score(
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
        with _thread_pools(len(sys.modules)).limit(limits=1):
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
                    statistics[i, :BINS] += binned_excess(log_q, labels)
                    statistics[i, BINS] -= own.sum()
                values[start : start + CHUNK] = own
    finally:
        torch.set_num_threads(threads)
    return values, stack, statistics
