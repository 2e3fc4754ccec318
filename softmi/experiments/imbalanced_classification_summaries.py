"""What the networks of chapter 05 are asked: accuracies by rule, differences, information."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi.evidence.outcomes import Outcomes
from softmi.evidence.statistics import crossed_interval, gather, paired_difference
from softmi.experiments.decisions import (
    accuracies,
    accuracy_intervals,
    certainty,
    commonest_class,
    hits_of,
    recalls,
    shares,
    with_intervals,
)
from softmi.information import entropy, mutual_information, pointwise_mutual_information
from softmi.losses import adjust_logits

NETWORKS, TESTS = ("softmax", "pc_softmax"), ("authors", "official")
ACCURACIES = ("micro", "class_mean", "at_training_prior")
MEASURES = (*ACCURACIES, "cross_entropy", "calibration_error")
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
# Rule and loss, as signs of the four methods of two networks and two rules.
EFFECTS = {
    name: [(n, r, 1.0 if (n, r)[place] == ours else -1.0)
           for n in ("softmax", "pc_softmax") for r in ("training", "equal")]
    for name, (place, ours) in {"rule": (1, "equal"), "loss": (0, "pc_softmax")}.items()
}  # fmt: skip
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


def rules(run: Run, test: str) -> dict[str, Float[Tensor, " classes"] | None]:
    """Class shares that each rule decides for, on a test."""
    return {
        "training": run.prior, "equal": None, "test": shares(run.labels[test], len(run.counts))
    }  # fmt: skip


def by_rule(run: Run, network: str, test: str) -> dict[str, dict[str, float]]:
    """Accuracy and certainty of one network on one test, decided for three priors."""
    labels, found = run.labels[test], {}
    for rule, wanted in rules(run, test).items():
        logits = run.decided(network, test, wanted)
        numbers = accuracies(logits, labels, run.counts) | certainty(logits, labels)
        found[rule] = {m: numbers[m] for m in MEASURES} | too_sure(logits, labels, run.prior)
    return found


def outcomes_of(runs: Sequence[Run]) -> Outcomes:
    """Hits of the networks of all seeds by network and rule, such as "softmax/equal".

    Raises:
        ValueError: Runs that were tested on other images, so that they have no outcomes in common.

    """
    first = runs[0]
    if any(not torch.equal(run.labels[t], first.labels[t]) for run in runs for t in first.labels):
        raise ValueError("the runs were not tested on the same images: their labels differ")
    hits = {
        test: {
            f"{network}/{rule}": hits_of(
                [run.decided(network, test, wanted) for run in runs], labels
            )
            for network in first.logits
            for rule, wanted in rules(first, test).items()
        }
        for test, labels in first.labels.items()
    }
    labels = {test: y.numpy().astype(np.uint8) for test, y in first.labels.items()}
    return Outcomes(first.counts.numpy(), labels, hits)


def intervals(outcomes: Outcomes, test: str) -> dict[str, dict[str, Any]]:
    r"""Accuracies of each network and rule, and differences, over seeds and test images.

    Besides the contrasts there are effects, linear in the hits of the four methods of two networks
    and two rules: `rule`, equal classes minus training prior, a mean over both networks; `loss`,
    PC-softmax minus softmax, a mean over both rules; and `rule_over_loss`, with the signs
    :math:`\pm` that make both means positive, which are fixed beforehand,

    .. math:: \pm\,\text{rule} \mp \text{loss}.

    Where the loss has no effect its mean is above zero by chance, so `rule_over_loss` is if
    anything too small.

    Returns:
        `accuracy` by network and rule ("softmax/equal"), and `differences` by name, each by
        measure.

    """
    labels = torch.from_numpy(outcomes.labels[test]).long()
    counts = torch.from_numpy(outcomes.counts)
    hits = {method: h.astype(float) for method, h in outcomes.hits[test].items()}

    def measured(x: np.ndarray) -> dict[str, Any]:
        found = accuracy_intervals(x, labels, counts)
        return {measure: found[measure] for measure in ACCURACIES}

    effects = {
        name: np.sum([sign * hits[f"{n}/{r}"] / 2 for n, r, sign in signs], axis=0)
        for name, signs in EFFECTS.items()
    }
    over = {"rule": measured(effects["rule"]), "loss": measured(effects["loss"])}
    signs = {
        m: [1.0 if over[name][m]["mean"] >= 0 else -1.0 for name in ("rule", "loss")]
        for m in ACCURACIES
    }
    contrasts = {
        name: measured(hits["/".join(ours)] - hits["/".join(theirs)])
        for name, (ours, theirs) in CONTRASTS.items()
    }
    over["rule_over_loss"] = {
        m: measured(of_rule * effects["rule"] - of_loss * effects["loss"])[m]
        for m, (of_rule, of_loss) in signs.items()
    }
    accuracy = {method: measured(h) for method, h in hits.items()}
    return {"accuracy": accuracy, "differences": contrasts | over}


def certainties_apart(accuracy: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Differences of cross-entropy and calibration error, over seeds alone.

    They take the test images for all there are; no row of the ledger rests on them.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in (*CONTRASTS, *EFFECTS)}
    for m in (m for m in MEASURES if m not in ACCURACIES):
        v = {(n, r): np.array(accuracy[n][r][m]["values"]) for n in accuracy for r in accuracy[n]}
        for name, (ours, theirs) in CONTRASTS.items():
            found[name][m] = paired_difference(v[ours], v[theirs])
        for name, signs in EFFECTS.items():
            effect = np.sum([sign * v[n, r] / 2 for n, r, sign in signs], axis=0)
            found[name][m] = paired_difference(effect, np.zeros(len(effect)))
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
    `EVEN_SHARES`. `gain` is the difference of the two curves, averaged over them. Each point is
    linear in the hits, of which an image of class k counts :math:`q_k` among those of its class,
    so the interval of `gain` is over seeds and test images.
    """
    labels = runs[0].labels[test]
    tests = [torch.tensor([s / 5, (1 - s) / 5] * 5).float() for s in EVEN_SHARES]
    found: dict[str, Any] = {"even_share": EVEN_SHARES}
    for network in NETWORKS:
        curves: dict[str, list[list[float]]] = {"as_trained": [], "corrected": []}
        for run in runs:
            fixed = recalls(run.logits[network][test], labels)
            moved = (recalls(run.decided(network, test, q), labels) for q in tests)
            curves["as_trained"].append([float(q @ fixed) for q in tests])
            curves["corrected"].append([float(q @ r) for q, r in zip(tests, moved, strict=True)])
        as_trained = hits_of([run.logits[network][test] for run in runs], labels)
        gains = np.mean([
            q[labels].numpy()
            * (hits_of([run.decided(network, test, q) for run in runs], labels) - 1.0 * as_trained)
            for q in tests
        ], axis=0)  # fmt: skip
        points = {name: np.array(curve) for name, curve in curves.items()}
        found[network] = {
            name: {"mean": p.mean(0), "sd": p.std(0, ddof=1)} for name, p in points.items()
        } | {"gain": crossed_interval(gains, labels.numpy(), np.ones(len(runs[0].counts)))}
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
    outcomes = outcomes_of(runs)
    for test in TESTS:
        accuracy = gather([{n: by_rule(run, n, test) for n in NETWORKS} for run in runs])
        held, alone = intervals(outcomes, test), certainties_apart(accuracy)
        values[test] = {
            "accuracy": with_intervals(accuracy, held["accuracy"]),
            "differences": {
                name: found | alone.get(name, {}) for name, found in held["differences"].items()
            },
            "commonest_class": gather([
                commonest_class(run.labels[test], run.counts) for run in runs
            ]),
            "per_class": per_class(runs, test),
            "information": gather([information(run, test) for run in runs]),
        }  # fmt: skip
    return values | {"prior_curve": prior_curve(runs)}
