r"""Classifiers that have learnt by heart, or grown too sure: chapter 04, sections 2 and 3.

What they read as mutual information on the points that they were fitted on, on fresh ones, and
when a temperature has set their sureness; on tasks whose truth is known.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn

from softmi.estimators import SoftmaxMutualInformation
from softmi.evidence.statistics import summarise
from softmi.information import entropy, mutual_information
from softmi.models import MLP
from softmi.synthetic import GaussianClasses
from softmi.training import TensorBatches, fit, predict_logits, seed_everything

WATCHED_EPOCHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 80, 100)
SKEW = (0.1, 0.15, 0.2, 0.25, 0.3)  # of labels that mean nothing

Pairs = tuple[Tensor, Tensor]


def train(
    model: nn.Module,
    x: Float[Tensor, "samples features"],
    y: Int[Tensor, " samples"],
    seed: int,
    *,
    epochs: int,
    batch: int,
    rate: float = 3e-3,
    after_epoch: Callable[[nn.Module, int], dict[str, float]] | None = None,
) -> nn.Module:
    """Train a network of linear layers with Adam and cross-entropy, all randomness from the seed.

    Args:
        model: Its linear layers are drawn anew.
        x: Inputs.
        y: Labels.
        seed: Of initial weights and order.
        epochs: Passes over the points.
        batch: Points in a step.
        rate: Learning rate.
        after_epoch: As in :func:`softmi.fit`.

    """
    seed_everything(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    fit(model, TensorBatches(x, y), F.cross_entropy, epochs=epochs, batch_size=batch,
        optimizer=lambda p: torch.optim.Adam(p, lr=rate), seed=seed, device="cpu",
        after_epoch=after_epoch)  # fmt: skip
    return model


def reading_without_labels(
    logits: Float[Tensor, "samples classes"], y: Int[Tensor, " samples"]
) -> float:
    r"""A reading that looks at no single label, in nats: only at how common each of them is.

    .. math:: H(Y) - \frac1n \sum_i H\bigl(q(\cdot|x_i)\bigr)

    It equals the mutual information if the probabilities are right, and otherwise reports how
    sure the classifier is of itself.
    """
    log_q = torch.log_softmax(logits.double(), 1)
    return float(entropy(torch.bincount(y) / len(y)) + (log_q.exp() * log_q).sum(1).mean())


def temperature(logits: Float[Tensor, "samples classes"], y: Int[Tensor, " samples"]) -> float:
    r"""The :math:`T` at which the cross-entropy of logits over T is least, between e⁻³ and e⁵."""

    def loss(log_t: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_t), y))

    return math.exp(minimize_scalar(loss, bounds=(-3, 5), method="bounded").x)


def random_labels(seeds: Sequence[int]) -> dict[str, Any]:
    """A network and the cross-fitted estimator on labels that mean nothing; summaries over seeds.

    Readings are in nats, under the keys of :func:`read_random_labels`; `share_of_cap` is that of
    the network on its own points over H(Y).
    """
    runs = [read_random_labels(seed) for seed in seeds]
    out = {k: summarise([r[k] for r in runs]) for k in runs[0]}
    errors = [r["cross_fitted"] / r["standard_error"] for r in runs]
    out["share_of_cap"] = summarise([r["in_sample"] / r["label_entropy"] for r in runs])
    out["cross_fitted_in_standard_errors"] = summarise(errors)
    return out


def read_random_labels(seed: int, n: int = 500) -> dict[str, float]:
    """Readings from n points of 20 columns and labels drawn apart from them, and fresh ones."""
    draw = torch.Generator().manual_seed(seed)
    x, fresh = (torch.randn(m, 20, generator=draw) for m in (n, 20_000))
    y, new = (torch.multinomial(torch.tensor(SKEW), len(p), True, generator=draw)
              for p in (x, fresh))  # fmt: skip
    model = train(MLP(20, 5), x, y, seed, epochs=200, batch=100)
    inside, outside = (mutual_information(predict_logits(model, p), labels)
                       for p, labels in ((x, y), (fresh, new)))  # fmt: skip
    cross_fitted = _cross_fitted(x, y, seed)
    return {
        "in_sample": inside.value,
        "held_out": outside.value,
        "label_entropy": inside.label_entropy,
        "unasked": reading_without_labels(predict_logits(model, fresh), new),
        "cross_fitted": cross_fitted.value,
        "standard_error": cross_fitted.standard_error,
    }


def quick_start(seeds: Sequence[int], truth_samples: int) -> dict[str, Any]:
    """A random forest on three Gaussian classes; summaries over seeds, in bits.

    Readings are under the keys of :func:`read_quick_start`, their errors under `KEY_error`.

    Args:
        seeds: Of samples and forests.
        truth_samples: Monte-Carlo samples for the truth.

    """
    runs = [read_quick_start(seed, truth_samples) for seed in seeds]
    out = {k: summarise([r[k] for r in runs]) for k in runs[0]}
    for k in ("in_sample", "in_sample_unasked", "held_out", "cross_fitted"):
        out[f"{k}_error"] = summarise([r[k] - r["truth"] for r in runs])
    return out


def read_quick_start(seed: int, truth_samples: int, n: int = 1_000) -> dict[str, float]:
    """Readings in bits of a forest on its own n points and on fresh ones; cross-fitted, too."""
    corners = torch.tensor([[0.0, 1.0], [-(0.75**0.5), -0.5], [0.75**0.5, -0.5]])
    task = GaussianClasses(1.774 * corners, [1 / 3] * 3)
    (x, y), (new, labels) = (
        task.sample(m, torch.Generator().manual_seed(seed + m)) for m in (n, 20_000)
    )
    forest = RandomForestClassifier(200, random_state=seed).fit(x, y)
    own, other = (torch.tensor(forest.predict_proba(p)).clamp(1e-3).log() for p in (x, new))
    exact = task.pointwise_mutual_information(x).gather(1, y[:, None])
    nats = {
        "exact": float(exact.mean()),
        "in_sample": mutual_information(own, y).value,
        "in_sample_unasked": reading_without_labels(own, y),
        "held_out": mutual_information(other, labels).value,
        "cross_fitted": _cross_fitted(x, y, seed).value,
        "truth": task.mutual_information(samples=truth_samples).value,
    }
    bits = {k: v / math.log(2) for k, v in nats.items()}
    return bits | {"accuracy": float(forest.score(x, y))}


def _cross_fitted(x: Tensor, y: Tensor, seed: int) -> Any:
    fitted = SoftmaxMutualInformation(extrapolate=False, random_state=seed, device="cpu")
    return fitted.fit(x, y).mutual_information_


def confidence(seeds: Sequence[int]) -> dict[str, Any]:
    """A network that is trained for too long, read as it is and at its best temperature, in nats.

    Returns:
        `curves` over the watched epochs, means over seeds; at each network's `best` and `last`
        epoch the readings and what they lack (`*_gap`); `restored`: what the temperature gives
        back at the last; `accuracy_lost` since the best.

    """
    task = GaussianClasses.random_means(5, 20, separation=2.5)
    runs = [watch_training(task, seed) for seed in seeds]
    keys = [k for k in runs[0] if k != "exact"]
    out: dict[str, Any] = {
        "epochs": list(WATCHED_EPOCHS),
        "truth": task.mutual_information(samples=400_000).value,
        "label_entropy": math.log(5),
        "exact": summarise([r["exact"] for r in runs]),
        "curves": {k: np.mean([r[k] for r in runs], 0).tolist() for k in keys},
    }
    for when in ("best", "last"):
        at = [int(np.argmax(r["raw"])) if when == "best" else -1 for r in runs]
        out[when] = {k: summarise([r[k][a] for r, a in zip(runs, at, strict=True)]) for k in keys}
        for k in ("raw", "scaled"):
            gaps = [r["exact"] - r[k][a] for r, a in zip(runs, at, strict=True)]
            out[when][f"{k}_gap"] = summarise(gaps)
    out["restored"] = summarise([r["scaled"][-1] - r["raw"][-1] for r in runs])
    out["accuracy_lost"] = summarise([max(r["accuracy"]) - r["accuracy"][-1] for r in runs])
    return out


def watch_training(task: GaussianClasses, seed: int) -> dict[str, Any]:
    """Readings of one network after each watched epoch, in nats; `exact`: of the fresh points.

    It learns from 1,000 points; 1,000 others set the temperature, and 20,000 are read.
    """
    draw = torch.Generator().manual_seed(10_000 + seed)
    (x, y), validation, fresh = (task.sample(n, draw) for n in (1_000, 1_000, 20_000))
    log = []

    def after_epoch(model: nn.Module, epoch: int) -> dict[str, float]:
        if epoch + 1 in WATCHED_EPOCHS:
            log.append(read_raw_and_scaled(model, task, validation, fresh))
        return {}

    train(MLP(20, 5), x, y, seed, epochs=max(WATCHED_EPOCHS), batch=100, rate=1e-3,
          after_epoch=after_epoch)  # fmt: skip
    exact = task.pointwise_mutual_information(fresh[0]).gather(1, fresh[1][:, None])
    return {k: [r[k] for r in log] for k in log[0]} | {"exact": float(exact.mean())}


def read_raw_and_scaled(
    model: nn.Module, task: GaussianClasses, validation: Pairs, fresh: Pairs
) -> dict[str, float]:
    """Readings on fresh points as trained and at the temperature that suits other points."""
    logits = predict_logits(model, fresh[0], batch_size=20_000)
    t = temperature(predict_logits(model, validation[0]), validation[1])
    raw, scaled = (mutual_information(logits / s, fresh[1], task.prior).value for s in (1, t))
    accuracy = float((logits.argmax(1) == fresh[1]).double().mean())
    return {"raw": raw, "scaled": scaled, "accuracy": accuracy, "temperature": t}
