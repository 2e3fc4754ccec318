r"""Chapter 04: what can no estimate of mutual information do?

Seven limits, each on tasks whose truth is known. Here are those that are theorems (the cap, the
variance of bounds on pairs, certified bounds, the wrong constant) and the run of the chapter;
classifiers that learn by heart are in :mod:`softmi.experiments.memorisation`, a published
dismissal of PC-softmax in :mod:`softmi.experiments.pc_softmax_defects`.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from softmi.estimators import donsker_varadhan, infonce, nwj, smile
from softmi.evidence.extremes import largest, largest_rate
from softmi.evidence.results import Profile, project_root, save_result
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.memorisation import confidence, quick_start, random_labels
from softmi.experiments.pc_softmax_defects import dismissal
from softmi.information import entropy, mutual_information
from softmi.synthetic import DiscreteJoint, GaussianClasses, LabelledTask, long_tailed_prior

NAME = "04_mi_limits"
BATCH = 64  # pairs drawn together, in section 4
METHODS = ("DV", "NWJ", "InfoNCE", "SMILE", "softmax + H(Y)")
SIZES = (30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
FACTORS = (1, 2, 5, 10, 30, 100, 300, 1000)


@dataclass(frozen=True)
class Settings:
    """What a run of the chapter computes.

    Attributes:
        seeds: Of random labels and of the quick start.
        networks: Of over-confidence and of the dismissal: seeds, too.
        batches: Simulated batches of each channel.
        draws: Samples of each size whose bounds are judged.
        largest: Largest such size.
        points: Training points of the dismissal,
        batch: in batches of so many,
        kinds: on tasks of these kinds.

    """

    seeds: int
    networks: int
    batches: int
    draws: int
    largest: int
    points: int
    batch: int
    kinds: tuple[str, ...]


SETTINGS: Mapping[str, Settings] = {
    "smoke": Settings(seeds=1, networks=1, batches=100, draws=10, largest=10_000, points=1_200,
                      batch=128, kinds=("long-tailed",)),
    "full": Settings(seeds=5, networks=4, batches=1_000, draws=50, largest=100_000, points=5_000,
                     batch=128, kinds=("balanced", "long-tailed")),
}  # fmt: skip


def run(
    profile: Profile, *, seed: int = 0, settings: Settings | None = None
) -> dict[str, dict[str, Any]]:
    """Compute all sections and write the result file; the values of each section, by its name.

    In the full profile each section is kept when done, so that a run that was cut short goes on.

    Args:
        profile: "smoke" or "full".
        seed: First of the seeds.
        settings: In place of the profile's.

    Raises:
        KeyError: An unknown profile.

    """
    settings = settings or SETTINGS[profile]
    seeds = list(range(seed, seed + settings.seeds))
    networks = list(range(seed, seed + settings.networks))
    sections = {
        "cap": partial(cap),
        "random": partial(random_labels, seeds),
        "quick_start": partial(quick_start, seeds, 500 * settings.batches),
        "confidence": partial(confidence, networks),
        "variance": partial(variance, seed, settings.batches),
        "certified": partial(certified, seed, settings.draws, settings.largest),
        "constant": partial(constant, seed),
        "dismissal": partial(dismissal, settings.kinds, networks, points=settings.points,
                             batch=settings.batch),
    }  # fmt: skip
    units = {name: _section(name, compute, profile) for name, compute in sections.items()}
    values = {name: unit["values"] for name, unit in units.items()}
    save_result(
        NAME, values, protocol=protocol(settings), profile=profile, seeds=seeds,
        seconds=sum(unit["seconds"] for unit in units.values()), device="cpu",
    )  # fmt: skip
    return values


def _section(name: str, compute: "partial[dict[str, Any]]", profile: Profile) -> dict[str, Any]:
    """Values of a section and the seconds they took; in the full profile kept when done."""

    def timed(_: Any = None) -> dict[str, Any]:
        began = time.perf_counter()
        return {"values": compute(), "seconds": time.perf_counter() - began}

    if profile != "full":
        return timed()
    made_by = {"code": code_digest(compute.func), "torch": torch.__version__,
               "arguments": [*compute.args], **compute.keywords}  # fmt: skip
    return kept_unit(project_root() / "_build" / "full" / NAME, name, made_by, timed)


def protocol(settings: Settings) -> dict[str, Any]:
    """What was run on what, for the result file."""
    return {
        "data": "Gaussian classes, symmetric channels and random labels, all with known truth",
        "random": "MLP 20-100-100-100-5, 500 points, 200 epochs",
        "variance": f"{settings.batches} batches of {BATCH}, exact critic",
        "certified": f"{settings.draws} samples of each size, exact posterior, delta 0.05",
        "dismissal": f"10 classes in 10 dimensions, {settings.points} points, MLP of 100 units, "
        "10 epochs",
    }


def classes_in_a_row(classes: int, spacing: float) -> GaussianClasses:
    """Equally likely Gaussians of unit variance on a line, so many standard deviations apart."""
    return GaussianClasses(
        spacing * torch.arange(float(classes))[:, None], torch.ones(classes) / classes
    )


def cap() -> dict[str, Any]:
    """True information of 2, 5 and 16 classes in a row against their spacing, by quadrature."""
    spacings = np.geomspace(0.25, 16, 25).tolist()
    curves = {
        classes: [classes_in_a_row(classes, s).mutual_information().value for s in spacings]
        for classes in (2, 5, 16)
    }
    return {
        "spacings": spacings,
        "curves": {str(classes): curve for classes, curve in curves.items()},
        "largest_excess": max(max(curve) - math.log(m) for m, curve in curves.items()),
    }


def channel(classes: int, noise: float = 0.1) -> tuple[float, float, float]:
    r"""Density ratio of an equal pair and of any other, and :math:`I(X;Y)` in nats.

    X is one of M equally likely symbols; Y is the same one, or with probability `noise` any other.
    """
    hit, miss = classes * (1 - noise), classes * noise / (classes - 1)
    return hit, miss, (1 - noise) * math.log(hit) + noise * math.log(miss)


def draw_scores(
    classes: int, n: int, draw: torch.Generator, noise: float = 0.1
) -> Float[Tensor, "n n"]:
    """Scores of the best critic, the exact log-ratio, for all pairs of a batch of a channel."""
    hit, miss, _ = channel(classes, noise)
    x, other = (torch.randint(m, (n,), generator=draw) for m in (classes, classes - 1))
    y = torch.where(torch.rand(n, generator=draw) < noise, (x + 1 + other) % classes, x)
    return torch.where(x[:, None] == y, math.log(hit), math.log(miss)).double()


def read_batch(scores: Float[Tensor, "n n"]) -> list[float]:
    """What each method of `METHODS` reads from the scores of the best critic, in nats."""
    found = (donsker_varadhan(scores), nwj(scores + 1), infonce(scores), smile(scores),
             scores.diagonal().mean())  # fmt: skip
    return [float(value) for value in found]


def variance(seed: int, batches: int) -> dict[str, Any]:
    """Means and spreads of bounds on pairs, with the best critic, over channels of more symbols.

    Args:
        seed: Of the batches.
        batches: Of `BATCH` pairs, for each channel; of pairs apart a hundred times as many.

    """
    levels: dict[str, Any] = {}
    draw = torch.Generator().manual_seed(seed)
    for classes in (2, 4, 16, 64, 256, 1024, 4096, 16384):
        hit, miss, truth = channel(classes)
        values = np.array([read_batch(draw_scores(classes, BATCH, draw)) for _ in range(batches)])
        # NWJ with as many pairs apart as together: each is equal with probability 1/M
        equal = np.random.default_rng(seed).binomial(BATCH, 1 / classes, 100 * batches)
        apart = (equal * hit + (BATCH - equal) * miss) / BATCH
        second = hit**2 / classes + miss**2 * (1 - 1 / classes)  # of r, pairs apart
        levels[str(classes)] = {
            "truth": truth,
            "mean": dict(zip(METHODS, values.mean(0).tolist(), strict=True)),
            "sd": dict(zip(METHODS, values.std(0, ddof=1).tolist(), strict=True)),
            "partition_sd": float(apart.std()),
            "exact_partition_sd": math.sqrt((second - 1) / BATCH),
            "law_sd": math.sqrt(math.expm1(truth) / BATCH),
            "law_sd_all_pairs": math.sqrt(math.expm1(truth) / (BATCH * (BATCH - 1))),
            "largest_infonce": float(values[:, METHODS.index("InfoNCE")].max()),
        }
    every = levels.values()
    bias = [v["mean"]["DV"] - v["truth"] for v in every]
    errors = [v["sd"]["DV"] / math.sqrt(batches) for v in every]
    return {
        "levels": levels,
        "batch": BATCH,
        "least_variance_ratio": min((v["exact_partition_sd"] / v["law_sd"]) ** 2 for v in every),
        "infonce_excess": max(v["largest_infonce"] for v in every) - math.log(BATCH),
        "dv_bias": largest(bias, errors, batches - 1),
        "worst_classifier_sd": max(v["sd"]["softmax + H(Y)"] for v in every),
    }


def certifiable_tasks() -> dict[str, LabelledTask]:
    """Three tasks that carry much, some and little information."""
    return {
        "much": GaussianClasses.five_on_a_line(2, balanced=False),
        "some": GaussianClasses([[-0.75], [0.75]], [0.5, 0.5]),
        "little": GaussianClasses([[-0.25], [0.25]], [0.5, 0.5]),
    }


def certify(
    task: LabelledTask, n: int, draw: torch.Generator, delta: float = 0.05
) -> tuple[float, float]:
    """Certified bounds in nats by the best classifier: with the prior known, and counted."""
    x, y = task.sample(n, draw)
    posterior = task.log_likelihoods(x) + task.prior.log()
    known, counted = (mutual_information(posterior, y, prior) for prior in (task.prior, None))
    return known.certified_lower_bound(delta), counted.certified_lower_bound(delta)


def certify_symbols(classes: int, n: int, draw: torch.Generator) -> tuple[float, float, float]:
    r"""The same for a label that is read without error, :math:`I = \log M`; and the plug-in."""
    y = torch.randint(classes, (n,), generator=draw)
    logits = 60.0 * F.one_hot(y, classes).float()
    priors = (torch.full((classes,), 1 / classes, dtype=torch.float64), None)
    known, counted = (mutual_information(logits, y, prior) for prior in priors)
    return known.certified_lower_bound(), counted.certified_lower_bound(), counted.value


def certified(seed: int, draws: int, largest: int, n: int = 1_000) -> dict[str, Any]:
    """Certified bounds of tasks against the sample size, and of ever more symbols.

    Args:
        seed: Of the samples.
        draws: Samples of each size.
        largest: Largest size.
        n: Samples for each number of symbols.

    """
    draw, sizes = torch.Generator().manual_seed(seed), [s for s in SIZES if s <= largest]
    tasks: dict[str, Any] = {}
    failures = {"known": 0, "counted": 0}
    for name, task in certifiable_tasks().items():
        truth = task.mutual_information().value
        entry: dict[str, Any] = {"truth": truth, "known": [], "counted": []}
        for size in sizes:
            bounds = np.array([certify(task, size, draw) for _ in range(draws)])
            for kind, column in zip(failures, bounds.T, strict=True):
                entry[kind].append(float(column.mean()))
                failures[kind] += int((column > truth).sum())
        for kind in failures:
            above = [s for s, bound in zip(sizes, entry[kind], strict=True) if bound > 0]
            entry[f"{kind}_first"] = above[0] if above else None
        tasks[name] = entry | {"share_at_largest": entry["counted"][-1] / truth}
    symbols, highest = {}, -math.inf
    for classes in (2, 8, 32, 128, 512, 2048, 8192):
        found = np.array([certify_symbols(classes, n, draw) for _ in range(3)])
        symbols[str(classes)] = {"truth": math.log(classes)} | dict(
            zip(("known", "counted", "plug_in"), found.mean(0).tolist(), strict=True)
        )
        highest = max(highest, float(found[:, 1].max()))
    bounds_of_each = draws * len(tasks) * len(sizes)
    return {
        "sizes": sizes,
        "tasks": tasks,
        "symbols": symbols,
        "symbol_samples": n,
        "bounds": bounds_of_each,
        "failures": failures,
        "failure_rate": largest_rate([*failures.values()], bounds_of_each),
        "counted_minus_log_n": highest - math.log(n),  # of every draw: no chance is left
        "plug_in_minus_truth": symbols["8192"]["plug_in"] - symbols["8192"]["truth"],
    }


def constant(seed: int, factors: Sequence[int] = FACTORS) -> dict[str, Any]:
    r"""What :math:`\log M` in place of :math:`H(Y)` adds for ever longer tails, in nats.

    Args:
        seed: Of the samples.
        factors: How many times as common the first class is as the last.

    Returns:
        For each factor the truth, the cap, the over-count :math:`\log M - H(Y)`, the reading with
        :math:`\log M` at the best classifier and its standard error; and `identity_error`.

    """
    rows = []
    for factor in factors:
        row = 4.0 * torch.arange(5.0)[:, None]
        task = GaussianClasses(row, long_tailed_prior(5, factor))
        truth, ceiling = task.mutual_information().value, float(entropy(task.prior))
        x, y = task.sample(20_000, torch.Generator().manual_seed(seed))
        log_q = torch.log_softmax(task.log_likelihoods(x) + task.prior.log(), 1)
        reading = log_q.gather(1, y[:, None])[:, 0] + math.log(5)
        rows.append({
            "truth": truth, "cap": ceiling, "over_count": math.log(5) - ceiling,
            "reading": float(reading.mean()), "error": float(reading.std()) / len(y) ** 0.5,
        })  # fmt: skip
    error = largest_identity_error(seed)
    return {"factors": list(factors), "rows": rows, "identity_error": error}


def largest_identity_error(seed: int, tables: int = 200) -> float:
    """Reading with log M, less the truth, less log M - H(Y), summed exactly over random tables."""
    draw, worst = torch.Generator().manual_seed(seed), 0.0
    for _ in range(tables):
        table = torch.rand(6, 5, generator=draw, dtype=torch.float64) ** 3
        joint = DiscreteJoint(table / table.sum())
        reading = math.log(5) + float((joint.table * joint.posterior().log()).sum())
        excess = reading - joint.mutual_information().value
        worst = max(worst, abs(excess - (math.log(5) - float(entropy(joint.prior)))))
    return worst
