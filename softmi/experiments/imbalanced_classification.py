r"""PC-softmax on imbalanced classes: the experiment of chapter 05.

Two losses train the same network from the same first weights on the same batches; then both are
asked by three rules, which differ by a term :math:`\log q_k` in the logits. The full profile is
the authors' protocol on MNIST.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from joblib import Parallel, delayed
from torch import Tensor

from softmi.datasets import data_root, sha256
from softmi.evidence.results import Profile, project_root, save_result
from softmi.evidence.statistics import gather, paired_difference
from softmi.evidence.units import code_digest, kept_unit
from softmi.experiments.decisions import accuracies, certainty, commonest_class, recalls, shares
from softmi.experiments.imbalanced_classification_training import (
    SETTINGS,
    Settings,
    load_task,
    train_network,
    weights_apart,
)
from softmi.information import entropy, mutual_information, pointwise_mutual_information
from softmi.losses import adjust_logits

NAME = "05_imbalanced_classification"
NETWORKS, TESTS = ("softmax", "pc_softmax"), ("authors", "official")
MEASURES = ("micro", "class_mean", "at_training_prior", "cross_entropy", "calibration_error")
METHODS = {  # the three that a reader would choose from: network, and prior that it decides for
    "softmax": ("softmax", "training"),
    "PC-softmax": ("pc_softmax", "equal"),
    "post-hoc": ("softmax", "equal"),
}
CONTRASTS = {
    "pc_minus_softmax": (METHODS["PC-softmax"], METHODS["softmax"]),
    "posthoc_minus_softmax": (METHODS["post-hoc"], METHODS["softmax"]),
    "pc_minus_posthoc": (METHODS["PC-softmax"], METHODS["post-hoc"]),
    "pc_prior_back_minus_softmax": (("pc_softmax", "training"), METHODS["softmax"]),
    "softmax_moved_minus_softmax": (("softmax", "test"), METHODS["softmax"]),
    "pc_moved_minus_pc": (("pc_softmax", "test"), METHODS["PC-softmax"]),
}
EVEN_SHARES = np.linspace(0.02, 0.98, 25)  # of even digits, in the tests of the curve


@dataclass(frozen=True)
class Run:
    """What the networks of one seed say of the tests.

    Attributes:
        counts: Training samples of each class.
        labels: Classes of each test.
        logits: By network, then by test.

    """

    counts: Int[Tensor, " classes"]
    labels: Mapping[str, Tensor]
    logits: Mapping[str, Mapping[str, Tensor]]

    @property
    def prior(self) -> Float[Tensor, " classes"]:
        """Class shares of the training set."""
        return self.counts.double() / self.counts.sum()

    def decided(
        self, network: str, test: str, wanted: Float[Tensor, " classes"] | None
    ) -> Float[Tensor, "samples classes"]:
        """Logits for a test of the wanted prior; None means equally likely classes."""
        return decide(self.logits[network][test], network, self.prior, wanted)


def _unit(settings: Settings, network: str, seed: int, device: str, keep: bool) -> dict[str, Any]:
    train = partial(train_network, settings, network, seed, device=device)
    if not keep:
        return train()
    made_by = asdict(settings) | {"network": network, "seed": seed, "device": device,
                                  "code": code_digest(train_network),
                                  "torch": str(torch.__version__)}  # fmt: skip
    del made_by["seeds"], made_by["check_epochs"]
    folder = project_root() / "_build" / "full" / NAME
    return kept_unit(folder, f"{network}-{seed}", made_by, lambda path: train(checkpoint=path))


# --- What is measured --------------------------------------------------------------------------


def decide(
    logits: Float[Tensor, "samples classes"],
    network: str,
    training_prior: Float[Tensor, " classes"],
    wanted_prior: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, "samples classes"]:
    r"""Logits for a test of the wanted prior; None means equally likely classes.

    .. math:: f_k(x) - [\text{softmax}] \log \pi_k + \log q_k

    A network trained with plain softmax carries the training prior, one of PC-softmax nothing.
    """
    carried = training_prior if network == "softmax" else None
    return adjust_logits(logits, train_prior=carried, test_prior=wanted_prior)


def too_sure(
    logits: Float[Tensor, "samples classes"],
    labels: Int[Tensor, " samples"],
    training_prior: Float[Tensor, " classes"],
) -> dict[str, float]:
    """Probability of the answer minus share of right ones, for rare and for common answers."""
    confidence, answers = logits.softmax(1).max(1)
    excess = confidence - (answers == labels).float()
    rare = training_prior[answers] < 1 / len(training_prior)
    return {
        "too_sure_rare": float(excess[rare].mean()),
        "too_sure_common": float(excess[~rare].mean()),
    }


def by_rule(run: Run, network: str, test: str) -> dict[str, dict[str, float]]:
    """Accuracy and certainty of one network on one test, decided for three priors."""
    labels, found = run.labels[test], {}
    rules = {"training": run.prior, "equal": None, "test": shares(labels, len(run.counts))}
    for rule, wanted in rules.items():
        logits = run.decided(network, test, wanted)
        numbers = accuracies(logits, labels, run.counts) | certainty(logits, labels)
        found[rule] = {m: numbers[m] for m in MEASURES} | too_sure(logits, labels, run.prior)
    return found


def differences(accuracy: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Paired differences between methods, and what rule and loss each contribute."""
    found: dict[str, dict[str, Any]] = {
        name: {} for name in (*CONTRASTS, "rule", "loss", "rule_over_loss")
    }
    for m in MEASURES:
        v = {(n, r): np.array(accuracy[n][r][m]["values"]) for n in accuracy for r in accuracy[n]}
        equal, training = (v["softmax", r] + v["pc_softmax", r] for r in ("equal", "training"))
        pc, plain = (v[n, "training"] + v[n, "equal"] for n in ("pc_softmax", "softmax"))
        pairs = {name: (v[ours], v[theirs]) for name, (ours, theirs) in CONTRASTS.items()} | {
            "rule": (equal / 2, training / 2),
            "loss": (pc / 2, plain / 2),
            "rule_over_loss": (np.abs(equal - training) / 2, np.abs(pc - plain) / 2),
        }
        for name, (a, b) in pairs.items():
            found[name][m] = paired_difference(a.tolist(), b.tolist())
    return found


def per_class(runs: Sequence[Run], test: str) -> dict[str, dict[str, Tensor]]:
    """Accuracy within each class by each method, mean and standard deviation over seeds."""
    found = {}
    for method, (network, rule) in METHODS.items():
        by_seed = torch.stack([
            recalls(run.decided(network, test, run.prior if rule == "training" else None),
                    run.labels[test])
            for run in runs
        ])  # fmt: skip
        found[method] = {"mean": by_seed.mean(0), "sd": by_seed.std(0)}
    return found


def prior_curve(runs: Sequence[Run], test: str = "official") -> dict[str, Any]:
    r"""Micro accuracy on tests of other class shares, as trained and with the logits moved.

    .. math:: \sum_k q_k a_k, \qquad q = (s/5, (1-s)/5, s/5, \dots)

    with the accuracies :math:`a_k` within the classes and the share s of even digits, each of
    `EVEN_SHARES`. `gain` is the difference of the two curves, averaged over them.
    """
    found: dict[str, Any] = {"even_share": EVEN_SHARES}
    for network in NETWORKS:
        curves: dict[str, list[list[float]]] = {"as_trained": [], "corrected": []}
        for run in runs:
            labels = run.labels[test]
            fixed = recalls(run.logits[network][test], labels)
            tests = [torch.tensor([s / 5, (1 - s) / 5] * 5).float() for s in EVEN_SHARES]
            moved = (recalls(run.decided(network, test, q), labels) for q in tests)
            curves["as_trained"].append([float(q @ fixed) for q in tests])
            curves["corrected"].append([float(q @ r) for q, r in zip(tests, moved, strict=True)])
        points = {name: np.array(curve) for name, curve in curves.items()}
        means = {name: p.mean(1).tolist() for name, p in points.items()}  # over all shares
        gain = paired_difference(means["corrected"], means["as_trained"])
        found[network] = {
            name: {"mean": p.mean(0), "sd": p.std(0, ddof=1)} for name, p in points.items()
        } | {"gain": gain}
    return found


def information(run: Run, test: str) -> dict[str, Any]:
    r"""Estimates of I(X;Y) in nats from each network, and the ceiling H(Y) of the test.

    `own_prior` moves the logits to the test's prior first. `training_prior_kept` does not: its
    mean is :math:`I_q(X;Y) + \mathrm{KL}(q(x) \| p_\pi(x))`, which is no information.
    """
    labels = run.labels[test]
    there = shares(labels, len(run.counts))
    found: dict[str, Any] = {"ceiling": float(entropy(there))}
    for network in NETWORKS:
        kept = pointwise_mutual_information(
            run.logits[network][test], run.prior, prior_corrected=network == "pc_softmax"
        )
        found[network] = {
            "own_prior": mutual_information(run.decided(network, test, there), labels).value,
            "training_prior_kept": float(kept.gather(1, labels[:, None]).mean()),
        }
    return found


def evaluate(runs: Sequence[Run]) -> dict[str, Any]:
    """All numbers of the runs, test by test, and the curve over priors."""
    values: dict[str, Any] = {}
    for test in TESTS:
        accuracy = gather([{n: by_rule(run, n, test) for n in NETWORKS} for run in runs])
        values[test] = {
            "accuracy": accuracy,
            "differences": differences(accuracy),
            "commonest_class": gather([
                commonest_class(run.labels[test], run.counts) for run in runs
            ]),
            "per_class": per_class(runs, test),
            "information": gather([information(run, test) for run in runs]),
        }  # fmt: skip
    return values | {"prior_curve": prior_curve(runs)}


def run(profile: Profile = "smoke", *, seed: int = 0, device: str = "auto") -> dict[str, Any]:
    """Train, measure and save the result of a profile; return its values.

    Args:
        profile: "smoke" (on the CPU) or "full", whose networks are kept one by one, so that a
            run that was cut short goes on.
        seed: The first seed; it also makes the task that `weights_apart` trains on.
        device: Where to train in the full profile.

    Raises:
        ValueError: Another profile.

    """
    if profile not in SETTINGS:
        raise ValueError(f"profile must be one of {sorted(SETTINGS)}, got {profile!r}")
    settings, keep = SETTINGS[profile], profile == "full"
    device = device if keep else "cpu"
    seeds = list(range(seed, seed + settings.seeds))
    jobs = [(s, network) for s in seeds for network in NETWORKS]
    units = Parallel(n_jobs=2 if keep else 1)(
        delayed(_unit)(settings, network, s, device, keep) for s, network in jobs
    )
    logits = {job: unit["logits"] for job, unit in zip(jobs, units, strict=True)}
    runs = []
    for s in seeds:
        task = load_task(settings, s)
        counts = torch.bincount(task["train"][1], minlength=10)
        labels = {test: task[test][1] for test in TESTS}
        runs.append(Run(counts, labels, {n: logits[s, n] for n in NETWORKS}))
    first = load_task(settings, seed)
    values = evaluate(runs) | {
        "counts": {part: len(labels) for part, (_, labels) in first.items()},
        "even_share": {
            p: float(shares(labels, 10)[::2].sum()) for p, (_, labels) in first.items()
        },
        "weights_apart": weights_apart(settings, first["train"], seed),
    }
    _save(profile, settings, seeds, device, values, sum(unit["seconds"] for unit in units))
    return values


def _save(
    profile: Profile, settings: Settings, seeds: list[int], device: str, values: dict[str, Any],
    seconds: float,
) -> None:  # fmt: skip
    raw = data_root() / "MNIST" / "raw"
    save_result(
        NAME,
        values,
        protocol={
            "data": settings.data,
            "network": "convolutions 20-50, then 500-10",
            "pre-training": "none",
            "optimiser": f"SGD, rate {settings.rate}, momentum {settings.momentum}",
            "batch": settings.batch_size,
            "epochs": settings.epochs,
            "selection": "none: the last epoch",
        },
        profile=profile,
        seeds=seeds,
        seconds=seconds,  # of training, the networks one after another
        device=device,
        data={p.name: sha256(p) for p in sorted(raw.glob("*.gz"))} if profile == "full" else {},
    )
