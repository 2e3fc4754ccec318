r"""Chapter 03: which estimate of the mutual information with a label can be trusted?

Each task and seed is a unit: our two estimates and the rivals' on the same samples. Small tasks
are repeated many times over to see how often intervals and certified bounds hold. Every number
that a run depends on is in `SETTINGS` or in :mod:`softmi.experiments.estimator_tasks`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.naive_bayes import GaussianNB

from softmi.datasets import data_root, sha256
from softmi.estimators import (
    SoftmaxMutualInformation,
    critic_mutual_information,
    donsker_varadhan,
    infonce,
    logistic_regression_mutual_information,
    nearest_neighbour_mutual_information,
    nwj,
    smile,
)
from softmi.evidence.results import Profile, project_root, save_result
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.estimator_tasks import (
    IMAGES,
    RESNET56,
    Sample,
    coverage_tasks,
    draw,
    known_tasks,
)
from softmi.experiments.mi_estimators_summaries import summaries

Unit = Callable[[str, int, int], dict[str, Any]]  # of a task, a seed and a number of samples

NAME = "03_mi_estimators"
LIVE = "gauss_balanced_d20"


@dataclass(frozen=True)
class Settings:
    """What a run of the chapter computes.

    Attributes:
        n: Samples of the Gaussian tasks in up to 100 dimensions.
        n_others: Samples of the other tasks.
        seeds: Number of seeds.
        tasks: Tasks of the comparison.
        coverage_tasks: Tasks on which intervals are judged,
        coverage: by so many independent samples,
        coverage_n: of so many each.
        certified_tasks: Tasks on which certified bounds are judged,
        certified: by so many independent samples,
        certified_n: of so many each.
        jobs: Units at a time.

    """

    n: int
    n_others: int
    seeds: int
    tasks: tuple[str, ...]
    coverage_tasks: tuple[str, ...] = ()
    coverage: int = 0
    coverage_n: int = 300
    certified_tasks: tuple[str, ...] = ()
    certified: int = 0
    certified_n: int = 500
    jobs: int = 1

    def size(self, name: str) -> int:
        """Samples of a task: Gaussians in up to 100 dimensions have more than the rest."""
        full_size = name.startswith("gauss") and not name.endswith("d1000")
        return self.n if full_size else self.n_others


SETTINGS: Mapping[str, Settings] = {
    "smoke": Settings(n=500, n_others=500, seeds=1, tasks=(LIVE,)),
    "full": Settings(
        n=5_000, n_others=2_000, seeds=3, tasks=(*known_tasks(), *IMAGES),
        coverage_tasks=tuple(coverage_tasks()), coverage=200,
        certified_tasks=tuple(coverage_tasks())[:3], certified=1_000, jobs=2,
    ),
}  # fmt: skip


def run(
    profile: Profile, *, seed: int = 0, settings: Settings | None = None
) -> dict[str, dict[str, Any]]:
    """Compare all estimators on the tasks of a profile; the full one writes the result file.

    In the full profile each task and seed is kept when done, so that a run that was cut short
    goes on.

    Args:
        profile: "smoke" or "full".
        seed: The runs' seeds are the numbers that follow it: the means of the Gaussians are drawn
            from seed 0, and data must not share its numbers.
        settings: In place of the profile's.

    Returns:
        `runs`: for each task a record of each seed, of :func:`compare` and
        :func:`compare_rivals`, with its `truth`; and `truth`: of :func:`find_truth`.

    Raises:
        KeyError: An unknown profile.

    """
    started = time.perf_counter()
    settings = settings or SETTINGS[profile]
    names, seeds = settings.tasks, range(seed + 1, seed + 1 + settings.seeds)
    folder = project_root() / "_build" / "full" / NAME if profile == "full" else None

    def sweep(
        function: Unit, tasks: Sequence[str], repeats: range, size: Callable[[str], int]
    ) -> dict[str, list[dict[str, Any]]]:
        digest = code_digest(function) if folder else ""
        units = [(task, s) for task in tasks for s in repeats]
        found = Parallel(n_jobs=settings.jobs)(
            delayed(_kept)(folder, digest, function, task, s, size(task)) for task, s in units
        )
        of = list(zip(units, found, strict=True))
        return {t: [record for (task, _), record in of if task == t] for t in tasks}

    digest = code_digest(find_truth) if folder else ""
    known = [n for n in (*names, *settings.coverage_tasks) if n not in IMAGES]
    truth = {n: _kept(folder, digest, find_truth, n) for n in known}
    runs = sweep(compare, names, seeds, settings.size)
    others = sweep(compare_rivals, names, seeds, settings.size)
    for name in names:
        for record, rival in zip(runs[name], others[name], strict=True):
            record["methods"] |= rival
            low, high = record.pop("bounds") or (truth[name]["value"],) * 2
            exact = record.pop("exact_on_sample")
            record["truth"] = {"low": low, "high": high, "exact_on_sample": exact}
    if profile == "full":
        intervals = sweep(cover, settings.coverage_tasks, range(settings.coverage),
                          lambda _: settings.coverage_n)  # fmt: skip
        bounds = sweep(certify, settings.certified_tasks, range(settings.certified),
                       lambda _: settings.certified_n)  # fmt: skip
        save_result(
            NAME, summaries(runs, truth, intervals, bounds), protocol=protocol(settings),
            profile=profile, seeds=list(seeds), device="cpu",
            seconds=time.perf_counter() - started, data=_checksums(names),
        )  # fmt: skip
    return {"runs": runs, "truth": truth}


def _kept(
    folder: Path | None, digest: str, function: Callable[..., dict[str, Any]], *arguments: Any
) -> dict[str, Any]:
    """Result of one task and seed; with a folder, from there if it is known already."""
    torch.set_num_threads(1)  # samples this small run slower on more
    if folder is None:
        return function(*arguments)
    name = "-".join(map(str, (function.__name__, *arguments)))
    made_by = {"code": digest, "torch": torch.__version__}
    return kept_unit(folder, name, made_by, lambda _: function(*arguments))


def protocol(settings: Settings) -> dict[str, Any]:
    """What was run on what, for the result file."""
    return {
        "n": settings.n,
        "seeds": settings.seeds,
        "class_counts": "fixed in proportion to the prior",
        "coverage": f"{settings.coverage} independent samples of {settings.coverage_n}, labels "
        "drawn, 3 folds",
        "certified": f"{settings.certified} independent samples of {settings.certified_n}, labels "
        "drawn",
        "estimator": "SoftmaxMutualInformation, default settings",
        "resumed": "each task and seed is kept when done; seconds are of a busy machine",
    }


def _checksums(names: Iterable[str]) -> dict[str, str]:
    if "cifar10" not in names:
        return {}
    return {"cifar10": sha256(data_root() / "checkpoints" / RESNET56)}


def find_truth(name: str) -> dict[str, Any]:
    """True mutual information of a task in nats, how exact it is and how it was found."""
    return asdict({**known_tasks(), **coverage_tasks()}[name].mutual_information())


def compare(name: str, seed: int, n: int) -> dict[str, Any]:
    """Our two estimates on one sample of a task, with what else the estimator says."""
    sample = draw(name, seed, n)
    began = time.perf_counter()
    fitted = SoftmaxMutualInformation(random_state=seed).fit(sample.X, sample.y)
    seconds = time.perf_counter() - began
    lower, removed = fitted.mutual_information_, fitted.extrapolated_
    assert removed is not None
    return {
        "exact_on_sample": sample.exact,
        "bounds": sample.bounds,
        "label_entropy": lower.label_entropy,
        "n": len(sample.y),
        "features": sample.X.shape[1],
        "certified": lower.certified_lower_bound(),
        "trustworthy": bool(fitted.trustworthy_),
        "calibration": {k: float(v) for k, v in asdict(fitted.calibration_).items()},
        "weights": np.mean([s.weights for s in fitted.stacks_], axis=0).tolist(),
        "methods": {
            method: {"value": found.value, "se": found.standard_error, "seconds": seconds}
            for method, found in (("softmi", lower), ("extrapolated", removed))
        },
    }


def rivals(sample: Sample, seed: int) -> dict[str, Callable[[], Any]]:
    """The estimators that ours are compared with, by name, each with one setting for all tasks."""
    X, y = sample.X, sample.y
    critic = partial(critic_mutual_information, X, y, seed=seed)
    return {
        "nearest neighbours": lambda: nearest_neighbour_mutual_information(X, y),
        "logistic regression": lambda: logistic_regression_mutual_information(X, y, seed=seed),
        "DV": lambda: critic(donsker_varadhan),
        "MINE": lambda: critic(donsker_varadhan, ema=0.99),
        "NWJ": lambda: critic(nwj),
        "InfoNCE": lambda: critic(infonce),
        "SMILE": lambda: critic(smile),
    }


def compare_rivals(name: str, seed: int, n: int) -> dict[str, Any]:
    """The rivals' estimates on the sample of :func:`compare`, by name."""
    result = {}
    for method, estimate in rivals(draw(name, seed, n), seed).items():
        began = time.perf_counter()
        found = estimate()
        result[method] = {
            "value": float(found),
            "se": None if isinstance(found, float) else float(found.standard_error),
            "seconds": time.perf_counter() - began,
        }
    return result


def cover(name: str, seed: int, n: int) -> dict[str, Any]:
    """Both intervals from one independent sample, drawn label by label; three folds, for time."""
    X, y = coverage_tasks()[name].sample(n, torch.Generator().manual_seed(10_000 + seed))
    fitted = SoftmaxMutualInformation(folds=3, random_state=seed).fit(X, y)
    removed, lower = fitted.extrapolated_, fitted.mutual_information_
    assert removed is not None
    return {
        "low": removed.low,
        "high": removed.high,
        "value": removed.value,
        "gap": removed.gap,
        "lower": lower.value,
        "lower_low": lower.low,
        "lower_high": lower.high,
        "trustworthy": bool(fitted.trustworthy_),
    }


def certify(name: str, seed: int, n: int) -> dict[str, float]:
    """The certified bound of a quick cross-fitted classifier, from one independent sample."""
    task = coverage_tasks()[name]
    X, y = task.sample(n, torch.Generator().manual_seed(20_000 + seed))
    found = {}
    for which, prior in (("estimated", None), ("known", task.prior)):
        fitted = SoftmaxMutualInformation(
            random_state=seed, extrapolate=False, prior=prior, folds=3, classifiers=[GaussianNB()]
        ).fit(X, y)
        found[which] = fitted.certified_lower_bound()
    return found | {"lower": fitted.mutual_information_.value}
