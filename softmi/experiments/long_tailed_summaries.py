"""What the networks of chapter 06 are asked: accuracies by rule, differences, certainty, curves.

All of it goes over the losses that it is given, and not over those that there are: a result holds
what was trained.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi.evidence.outcomes import Outcomes
from softmi.evidence.statistics import crossed_p_value, gather, holm, summarise
from softmi.experiments.decisions import (
    accuracies,
    accuracy_differences,
    accuracy_intervals,
    certainty,
    certainty_differences,
    class_weights,
    commonest_class,
    costs_of,
    hits_of,
    recalls,
    shares,
    with_intervals,
)
from softmi.experiments.loss_table import LOSSES, carried_prior
from softmi.experiments.seed_spread import spread_over_seeds
from softmi.information import entropy, mutual_information
from softmi.losses import adjust_logits

POSTHOC = "post-hoc"
COSTS_KEPT = (("softmax", "as_trained"), ("softmax", "test"))  # of the row lt-moved-log-loss
PRIOR_POWERS = np.linspace(-1, 1, 17)
TAUS = np.linspace(0, 2.5, 11)
TAU_OF = {"softmax": 0.0, "PC-softmax": 1.0}  # strength of the correction inside two losses

Logits = Float[Tensor, "samples classes"]
Labels = Int[Tensor, " samples"]
Counts = Int[Tensor, " classes"]


def methods(losses: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Methods that a reader would choose from: the loss that trains, and the rule that decides.

    Args:
        losses: Names of those that were trained; those of a curve ("tau=2") are left out.

    """
    found = {name: (name, "as_trained") for name in LOSSES if name in set(losses)}
    return found | ({POSTHOC: ("softmax", "equal")} if "softmax" in found else {})


def short_name(method: str) -> str:
    """Name of a method in the keys of results."""
    return "posthoc" if method == POSTHOC else LOSSES[method].short


def moved(
    logits: Logits, loss: str, counts: Counts, wanted: Float[Tensor, " classes"] | None = None
) -> Logits:
    """Logits of a network trained with `loss`, for a test of the wanted prior (None: equal)."""
    return adjust_logits(logits, train_prior=carried_prior(loss, counts), test_prior=wanted)


def decided(logits: Logits, loss: str, labels: Labels, counts: Counts) -> dict[str, Logits]:
    """Logits of a network trained with `loss`, by each rule.

    The rules: as trained, for equally likely classes, for the training prior, and for the class
    shares of the test. The last is no tuning, but it is knowledge that one may not have.
    """
    return {
        "as_trained": logits,
        "equal": moved(logits, loss, counts),
        "training": moved(logits, loss, counts, counts / counts.sum()),
        "test": moved(logits, loss, counts, shares(labels, len(counts))),
    }


def by_rule(logits: Logits, loss: str, labels: Labels, counts: Counts) -> dict[str, Any]:
    """Accuracy and certainty of one network by each rule, and its information in nats."""
    ways = decided(logits, loss, labels, counts)
    found = {r: accuracies(g, labels, counts) | certainty(g, labels) for r, g in ways.items()}
    return found | {"information": mutual_information(ways["test"], labels).value}


def outcomes_of(
    counts: Counts,
    labels: Mapping[str, Labels],
    logits: Mapping[str, Sequence[Mapping[str, Logits]]],
) -> Outcomes:
    """Hits of every loss by every rule, and the costs that a row of the ledger rests on.

    Arguments as of :func:`evaluate`. Methods are named by loss and rule, such as "softmax/equal".
    """
    hits: dict[str, dict[str, np.ndarray]] = {test: {} for test in labels}
    costs: dict[str, dict[str, np.ndarray]] = {test: {} for test in labels}
    for test, answers in labels.items():
        for loss, networks in logits.items():
            ways = [decided(g[test], loss, answers, counts) for g in networks]
            for rule in ways[0]:
                by_seed = [way[rule] for way in ways]
                hits[test][f"{loss}/{rule}"] = hits_of(by_seed, answers)
                if (loss, rule) in COSTS_KEPT:
                    costs[test][f"{loss}/{rule}"] = costs_of(by_seed, answers)
    kept = {test: y.numpy().astype(np.uint8) for test, y in labels.items()}
    return Outcomes(counts.numpy(), kept, hits, costs)


def correcting(losses: Iterable[str]) -> list[str]:
    """Methods that are made for the long tail, of the losses that were trained."""
    return [m for m in methods(losses) if m == POSTHOC or LOSSES[m].corrects]


def contrasts(losses: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs that are shown: each method against softmax, PC-softmax against those that correct.

    Without softmax or PC-softmax among the losses their pairs are left out.
    """
    known, trained = list(methods(losses)), set(losses)
    pairs = [(m, "softmax") for m in known if m != "softmax" and "softmax" in trained]
    of_pc = [m for m in correcting(losses) if m != "PC-softmax" and "PC-softmax" in trained]
    return pairs + [("PC-softmax", m) for m in of_pc]


def family_members(losses: Iterable[str]) -> list[tuple[str, str]]:
    """Differences between methods that share a test and that rows of the ledger rest on.

    In class mean all that are shown, and at the training prior what PC-softmax pays.
    """
    named = [f"{short_name(a)}_minus_{short_name(b)}" for a, b in contrasts(losses)]
    return [(name, "class_mean") for name in named] + [("pc_minus_softmax", "at_training_prior")]


def family(
    differences: Mapping[str, Mapping[str, Any]], members: Iterable[tuple[str, str]]
) -> dict[str, dict[str, dict[str, float]]]:
    """P-values of differences on one test, corrected for their number by Holm's rule.

    Args:
        differences: By name, then by measure, with intervals over seeds and test images.
        members: Name and measure of each that belongs to the family.

    Returns:
        `p` and `holm`, the adjusted p-value, by name and measure.

    """
    known = [(name, measure) for name, measure in members if name in differences]
    p_values = [crossed_p_value(differences[name][measure]) for name, measure in known]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (name, measure), p, adjusted in zip(known, p_values, holm(p_values), strict=True):
        found.setdefault(name, {})[measure] = {"p": p, "holm": adjusted}
    return found


def seeds_against_methods(outcomes: Outcomes, test: str) -> dict[str, dict[str, Any]]:
    """Spread over seeds of the methods that correct, and over their means, by measure."""
    hits, weights = outcomes.hits[test], class_weights(torch.from_numpy(outcomes.counts))
    losses = {method.split("/")[0] for method in hits}
    ways = methods(losses)
    of_methods = [hits["/".join(ways[m])] for m in correcting(losses)]
    if len(of_methods) < 2 or len(of_methods[0]) < 3:
        return {}  # one method has no spread, and of two seeds none can be left out
    stacked, labels = np.stack(of_methods), outcomes.labels[test]
    return {
        "micro": spread_over_seeds(stacked),
        "class_mean": spread_over_seeds(stacked, labels, weights["class_mean"]),
    }


def ways_compared(losses: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Loss and rule of each method, and of networks with their logits moved, by short name."""
    trained = set(losses)
    ways = {short_name(m): way for m, way in methods(trained).items()} | {
        "pc_prior_back": ("PC-softmax", "training"),
        "softmax_moved": ("softmax", "test"),
        "pc_moved": ("PC-softmax", "test"),
    }
    return {name: (loss, rule) for name, (loss, rule) in ways.items() if loss in trained}


def accuracies_held(outcomes: Outcomes, test: str) -> dict[str, dict[str, Any]]:
    """Accuracies of every loss and rule, and differences of every pair of methods.

    Each with its interval over seeds and test images, differences paired by both.

    Returns:
        `accuracy` by "loss/rule", and `differences` by name, each by measure.

    """
    labels = torch.from_numpy(outcomes.labels[test]).long()
    counts, hits = torch.from_numpy(outcomes.counts), outcomes.hits[test]
    ways = ways_compared({method.split("/")[0] for method in hits})
    return {
        "accuracy": {m: accuracy_intervals(h, labels, counts) for m, h in hits.items()},
        "differences": {
            f"{a}_minus_{b}": accuracy_differences(
                hits["/".join(ways[a])], hits["/".join(ways[b])], labels, counts
            )
            for a, b in itertools.permutations(ways, 2)
        },
    }


def certainties_apart(
    accuracy: Mapping[str, Any], costs: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Differences in certainty of every pair of methods.

    Args:
        accuracy: Summaries by loss, rule and measure.
        costs: Of each image, by "loss/rule", of the methods that have them kept.

    """
    ways = ways_compared(accuracy)
    return {
        f"{a}_minus_{b}": certainty_differences(
            accuracy[ways[a][0]][ways[a][1]],
            accuracy[ways[b][0]][ways[b][1]],
            costs.get("/".join(ways[a])),
            costs.get("/".join(ways[b])),
        )
        for a, b in itertools.permutations(ways, 2)
    }


def reliability(logits: Sequence[Logits], labels: Labels) -> dict[str, list[float]]:
    """Ten bins of the probability of the answer, over all seeds.

    Returns:
        In each bin, `sure`: the mean probability; `right`: the share of right answers; `share`:
        of all answers.

    """
    sure, answers = torch.cat([g.softmax(1) for g in logits]).max(1)
    right = (answers == labels.repeat(len(logits))).double()
    bins = (10 * sure).long().clamp(max=9)
    number = torch.bincount(bins, minlength=10)

    def mean(values: Tensor) -> list[float]:
        total = torch.zeros(10).double().index_add(0, bins, values.double())
        return (total / number.clamp(min=1)).tolist()

    return {"sure": mean(sure), "right": mean(right), "share": (number / number.sum()).tolist()}


def prior_curves(
    logits: Mapping[str, Sequence[Logits]], labels: Labels, counts: Counts
) -> dict[str, Any]:
    r"""Micro accuracy on tests of the shares :math:`q_k \propto \pi_k^t`, a mean over seeds.

    For softmax and PC-softmax, as trained and with the logits moved to each q.
    """
    prior = counts / counts.sum()
    tests = [prior**t / (prior**t).sum() for t in PRIOR_POWERS]
    found: dict[str, Any] = {"power": PRIOR_POWERS}
    for loss in (name for name in TAU_OF if name in logits):

        def fixed(g: Logits) -> list[Tensor]:
            within = recalls(g, labels)
            return [q @ within for q in tests]

        def corrected(g: Logits, loss: str = loss) -> list[Tensor]:
            return [q @ recalls(moved(g, loss, counts, q), labels) for q in tests]

        found[loss] = {
            "as_trained": _mean_over_seeds(logits[loss], fixed),
            "moved": _mean_over_seeds(logits[loss], corrected),
        }
    return found


def tau_curves(
    logits: Mapping[str, Sequence[Logits]], labels: Labels, counts: Counts
) -> dict[str, Any]:
    r"""Accuracy against the strength :math:`\tau` of the correction.

    For softmax and PC-softmax as a curve of :math:`f - (\tau - \tau_0) \log \pi`, with
    :math:`\tau_0` the strength in the loss, and under `trained` for each network that was trained
    with its own.
    """
    prior = counts / counts.sum()
    weights = {"class_mean": torch.ones_like(prior) / len(prior), "at_training_prior": prior}
    found: dict[str, Any] = {"tau": TAUS, "trained": {}}
    for loss in (name for name in TAU_OF if name in logits):
        found[loss] = {}
        for measure, weight in weights.items():

            def points(
                g: Logits, inside: float = TAU_OF[loss], weight: Tensor = weight
            ) -> list[Tensor]:
                steps = (g - (tau - inside) * prior.log() for tau in TAUS)
                return [weight @ recalls(step, labels) for step in steps]

            found[loss][measure] = _mean_over_seeds(logits[loss], points)
    for loss, networks in logits.items():
        tau = float(loss.removeprefix("tau=")) if loss.startswith("tau=") else TAU_OF.get(loss)
        if tau is not None:
            each = [accuracies(g, labels, counts) for g in networks]
            key = f"{tau:g}".replace(".", "_")  # a dot would divide the path of a result
            found["trained"][key] = {m: summarise([a[m] for a in each]) for m in weights}
    return found


def _mean_over_seeds(
    networks: Sequence[Logits], points: Callable[[Logits], list[Tensor]]
) -> np.ndarray:
    return np.mean([[float(p) for p in points(g)] for g in networks], axis=0)


def evaluate(
    counts: Counts,
    labels: Mapping[str, Labels],
    logits: Mapping[str, Sequence[Mapping[str, Logits]]],
) -> dict[str, Any]:
    """All numbers of one data set, test by test.

    Args:
        counts: Training samples of each class.
        labels: Of each test.
        logits: By loss, a network a seed, then by test.

    """
    pictures = {"train": int(counts.sum())} | {test: len(y) for test, y in labels.items()}
    values: dict[str, Any] = {"counts": counts, "pictures": pictures}
    outcomes = outcomes_of(counts, labels, logits)
    for test, answers in labels.items():
        there = shares(answers, len(counts))
        asked = {loss: [g[test] for g in networks] for loss, networks in logits.items()}
        seeds = range(len(next(iter(asked.values()))))
        accuracy = gather([
            {loss: by_rule(g[i], loss, answers, counts) for loss, g in asked.items()}
            for i in seeds
        ])  # fmt: skip
        held = accuracies_held(outcomes, test)
        apart = certainties_apart(accuracy, outcomes.costs[test])
        values[test] = {
            "accuracy": with_intervals(accuracy, held["accuracy"]),
            "differences": {k: found | apart[k] for k, found in held["differences"].items()},
            "family": family(held["differences"], family_members(logits)),
            "spread": seeds_against_methods(outcomes, test),
            "commonest_class": commonest_class(answers, counts),
            "uniform_guess": dict.fromkeys(
                ("micro", "class_mean", "at_training_prior"), 1 / len(counts)
            ),
            "label_entropy": float(entropy(there)),
            "reliability": {
                loss: {
                    "as_trained": reliability(g, answers),
                    "moved": reliability([moved(f, loss, counts, there) for f in g], answers),
                }
                for loss, g in asked.items()
                if loss in LOSSES
            },
            "curves": {
                "prior": prior_curves(asked, answers, counts),
                "tau": tau_curves(asked, answers, counts),
            },
        }
    return values
