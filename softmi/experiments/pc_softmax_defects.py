r"""PC-softmax as a published leak detector's code has it, defect by defect: chapter 04, section 7.

This is our own small implementation: each thing that was read in a snapshot of that code is a
switch, and theirs was not run. All networks start from the same seed, have 100 units a layer, an
orthogonal start, Adam at 1e-3 and ten epochs; nothing was tuned for any of them.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from softmi.estimators import SoftmaxMutualInformation
from softmi.evidence.statistics import paired_difference, summarise
from softmi.experiments.mi_on_synthetic_data_released import NeverCleared
from softmi.information import entropy, mutual_information
from softmi.losses import pc_log_softmax, pc_softmax
from softmi.synthetic import GaussianClasses, long_tailed_prior
from softmi.training import TensorBatches, fit, predict_logits, seed_everything

DEFECTS: Mapping[str, str] = {
    "none": "all repaired",
    "a": "(a) gradients never cleared",
    "b": "(b) hidden layers not trained",
    "c": "(c) training value kept",
    "d": "(d) prior from random labels",
    "e": "(e) plain softmax + log M",
    "f": "(f) exp of posteriors (oracle)",
    "g": "(g) odds for exp f",
    "abce": "(a), (b), (c), (e) together",
    "ten": "repaired, ten layers",
    "ten_b": "ten layers, (b)",
    "ten_abce": "ten layers, (a), (b), (c), (e)",
    "entropy": "plain softmax + H(Y)",
    "pool": "cross-fitted pool",
}
FAIR = ("none", "entropy", "pool")
# Paired differences of absolute errors: the first less the second.
DIFFERENCES = (
    ("defaults_minus_repaired", "ten_abce", "none"),  # ten layers against three
    ("defaults_minus_repaired_at_ten_layers", "ten_abce", "ten"),
    ("repaired_minus_entropy", "none", "entropy"),
    ("oracle_minus_repaired", "f", "none"),
    ("odds_minus_repaired", "g", "none"),
    ("repaired_minus_pool", "none", "pool"),  # what the paper states, of our pool
)
CLASSES = 10


def network(widths: Sequence[int], seed: int, *, registered: bool) -> nn.Sequential:
    """ReLU layers; those that are registered start orthogonal and without offset."""
    seed_everything(seed)
    linear = [nn.Linear(*sizes) for sizes in itertools.pairwise(widths)]
    for layer in linear if registered else (linear[0], linear[-1]):
        nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*[m for layer in linear for m in (layer, nn.ReLU())][:-1])


def train_pc(
    x: Float[Tensor, "samples features"],
    y: Int[Tensor, " samples"],
    prior: Float[Tensor, " classes"],
    seed: int,
    *,
    batch: int,
    layers: int = 3,
    cleared: bool = True,
    registered: bool = True,
) -> nn.Sequential:
    """Train a network with PC-softmax under a prior; a uniform one makes it plain softmax.

    Args:
        x: Inputs.
        y: Labels.
        prior: Class probabilities in the loss, float32.
        seed: Of initial weights and order.
        batch: Points in a step.
        layers: Hidden layers.
        cleared: Whether gradients are cleared after each step, not switch (a).
        registered: Whether the optimiser sees the hidden layers, not switch (b).

    """
    model = network((x.shape[1], *[100] * layers, len(prior)), seed, registered=registered)
    seen = model if registered else nn.ModuleList([model[0], model[-1]])
    adam = torch.optim.Adam if cleared else NeverCleared

    def loss(f: Tensor, y: Tensor) -> Tensor:
        return F.nll_loss((pc_softmax(f, prior) + 1e-6).log(), y)

    fit(model, TensorBatches(x, y), loss, epochs=10, batch_size=batch,
        optimizer=lambda _: adam(seen.parameters(), lr=1e-3), seed=seed, device="cpu")  # fmt: skip
    return model


def odds(posterior: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
    r"""Log-odds :math:`\log p - \log(1-p)`, put in place of f: switch (g)."""
    p = posterior.clamp(1e-15, 1 - 1e-15)
    return p.log() - torch.log1p(-p)


def plus_log_m(logits: Float[Tensor, "samples classes"], y: Int[Tensor, " samples"]) -> float:
    r"""Reading :math:`\log M - \mathrm{CE}`: switch (e)."""
    return float(-F.cross_entropy(logits.double(), y)) + math.log(logits.shape[1])


def kept_if_lower(inside: float, outside: float) -> float:
    """Value of the training points unless the other is no more than 0.01 lower: switch (c)."""
    return inside if inside - outside > 0.01 else outside


def gaussian_task(kind: str) -> GaussianClasses:
    """Ten Gaussians in ten dimensions, "balanced" or "long-tailed" (100 to 1)."""
    prior = long_tailed_prior(CLASSES, 100) if kind == "long-tailed" else None
    return GaussianClasses.random_means(CLASSES, 10, separation=2.0, prior=prior)


def read_defects(kind: str, seed: int, *, points: int, batch: int) -> dict[str, Any]:
    """Errors in nats of every variant, against the exact information of the same points.

    So the sampling error largely cancels.

    Args:
        kind: As in :func:`gaussian_task`.
        seed: Of the sample, the networks and the pool.
        points: Training points; 20,000 fresh ones are read.
        batch: Points in a step.

    """
    task = gaussian_task(kind)
    draw = torch.Generator().manual_seed(20_000 + seed)
    inside, outside = task.sample(points, draw), task.sample(20_000, draw)
    (x, y), (fresh, labels) = inside, outside
    prior = torch.bincount(y, minlength=CLASSES).double() / len(y)
    uniform = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64)

    def logits(pi: Tensor, **switches: Any) -> tuple[Tensor, Tensor]:
        model = train_pc(x, y, pi.float(), seed, batch=batch, **switches)
        return predict_logits(model, x), predict_logits(model, fresh)

    def corrected(**switches: Any) -> float:
        return _read_pc(logits(prior, **switches)[1], labels, prior)

    def together(**switches: Any) -> float:
        f_in, f_out = logits(uniform, cleared=False, registered=False, **switches)
        return kept_if_lower(plus_log_m(f_in, y), plus_log_m(f_out, labels))

    out = _read_switches(task, y, outside, logits(prior), logits(uniform)[1], prior, draw)
    out |= {
        "a": corrected(cleared=False),
        "b": corrected(registered=False),
        "abce": together(),
        "ten": corrected(layers=10),
        "ten_b": corrected(layers=10, registered=False),
        "ten_abce": together(layers=10),
    }
    pool = SoftmaxMutualInformation(extrapolate=False, random_state=seed, device="cpu").fit(x, y)
    exact = [float(task.pointwise_mutual_information(p).gather(1, q[:, None]).mean())
             for p, q in (inside, outside)]  # fmt: skip
    errors = {k: v - exact[1] for k, v in out.items()}
    errors["pool"] = pool.mutual_information_.value - exact[0]
    return {"errors": errors, "truth": exact[1], "in_sample_exact": exact[0]}


def _read_pc(logits: Tensor, y: Tensor, prior: Tensor) -> float:
    """Mean log PC-softmax at the labels, whatever the prior: `mutual_information` would refuse
    some of the priors and logits that are tried here.
    """
    logits = logits.double()
    return float(pc_log_softmax(logits, prior.to(logits)).gather(1, y[:, None]).mean())


def _read_switches(
    task: GaussianClasses,
    y_in: Tensor,
    outside: tuple[Tensor, Tensor],
    f: tuple[Tensor, Tensor],
    plain: Tensor,
    prior: Tensor,
    draw: torch.Generator,
) -> dict[str, float]:
    """Readings of one network with logits `f` inside and outside, for the switches on readings.

    (f) takes the true posteriors, as there; (e) the logits `plain` of a network without prior.
    """
    x, y = outside
    held_out, in_sample = _read_pc(f[1], y, prior), _read_pc(f[0], y_in, prior)
    random = torch.randint(len(prior), (len(y),), generator=draw)
    drawn = torch.bincount(random).double() / len(y)
    posterior = (f[1].double() + prior.log()).softmax(1)
    bayes = (task.log_likelihoods(x) + task.prior.log()).softmax(1)
    return {
        "none": held_out,
        "c": kept_if_lower(in_sample, held_out),
        "d": _read_pc(f[1], y, drawn),
        "entropy": mutual_information(plain, y, task.prior).value,
        "f": _read_pc(bayes, y, prior),
        "e": plus_log_m(plain, y),
        "g": _read_pc(odds(posterior), y, prior),
    }


def dismissal(
    kinds: Sequence[str], seeds: Sequence[int], *, points: int, batch: int
) -> dict[str, Any]:
    """Errors of all variants on each kind of task, summarised, and their paired differences.

    Args:
        kinds: As in :func:`gaussian_task`.
        seeds: One network of each variant a seed; differences need two.
        points: Training points.
        batch: Points in a step.

    """
    out = {}
    for kind in kinds:
        runs = [read_defects(kind, seed, points=points, batch=batch) for seed in seeds]
        errors = {k: [r["errors"][k] for r in runs] for k in DEFECTS}
        out[kind] = _summary(gaussian_task(kind), errors)
    return out


def _summary(task: GaussianClasses, errors: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    truth = task.mutual_information(samples=500_000)
    absolute = {k: [abs(e) for e in v] for k, v in errors.items()}
    readings = {
        k: {"error": summarise(v), "absolute": summarise(absolute[k])} for k, v in errors.items()
    }
    worst = max("abcdefg", key=lambda k: readings[k]["absolute"]["mean"])
    out: dict[str, Any] = {
        "truth": truth.value,
        "truth_error": truth.standard_error,
        "label_entropy": float(entropy(task.prior)),
        "readings": readings,
        "worst": {"name": worst} | readings[worst]["absolute"],
    }
    if len(absolute["none"]) > 1:
        for name, one, other in DIFFERENCES:
            out[name] = paired_difference(absolute[one], absolute[other])
    return out


def difference_of(readings: Mapping[str, Any], one: str, other: str) -> dict[str, Any]:
    """Paired difference of the absolute errors of two variants, from the values of a result.

    Args:
        readings: `dismissal.KIND.readings` of a result file.
        one: Key of `DEFECTS`,
        other: and of what is subtracted.

    """
    absolute = (readings[k]["absolute"]["values"] for k in (one, other))
    return paired_difference(*absolute)
