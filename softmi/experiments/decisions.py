"""What is measured of logits where classes are not equally common: chapters 05 and 06."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from softmi.evidence.statistics import crossed_interval, paired_difference
from softmi.metrics import group_accuracies

Hits = Bool[np.ndarray, "seeds images"]


def shares(labels: Int[Tensor, " samples"], classes: int) -> Float[Tensor, " classes"]:
    r"""Share of each class among labels, :math:`q_k = n_k / n`, in double precision."""
    return torch.bincount(labels, minlength=classes).double() / len(labels)


def recalls(
    logits: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]
) -> Float[Tensor, " classes"]:
    """Accuracy within each class."""
    return MulticlassAccuracy(logits.shape[1], average=None)(logits, labels)


def accuracies(
    logits: Float[Tensor, "samples classes"],
    labels: Int[Tensor, " samples"],
    counts: Int[Tensor, " classes"],
) -> dict[str, float]:
    r"""Accuracies that weigh classes differently.

    With the accuracy :math:`a_k` within class k, the test's shares :math:`q_k` and the training
    shares :math:`\pi_k`: micro is :math:`\sum_k q_k a_k`, the class mean
    :math:`\frac1M \sum_k a_k`, and the accuracy at the training prior
    :math:`\sum_k \pi_k a_k`, that of a test as skewed as the training set without the noise of
    drawing one.

    Args:
        logits: Of the test samples, shape (samples, classes).
        labels: Their classes.
        counts: Training samples of each class.

    Returns:
        `micro`, `class_mean`, `at_training_prior`, and the groups of
        :func:`softmi.metrics.group_accuracies` that have a class.

    """
    within = recalls(logits, labels).double()
    return {
        "micro": float(MulticlassAccuracy(len(counts), average="micro")(logits, labels)),
        "class_mean": float(within.mean()),
        "at_training_prior": float(within @ (counts / counts.sum()).double()),
    } | group_accuracies(within, counts)


def certainty(
    logits: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]
) -> dict[str, float]:
    """Cross-entropy in nats, and the calibration error over 15 bins, of the softmax of logits."""
    error = MulticlassCalibrationError(logits.shape[1], n_bins=15)(logits.softmax(1), labels)
    return {
        "calibration_error": float(error),
        "cross_entropy": float(F.cross_entropy(logits, labels)),
    }


def commonest_class(
    labels: Int[Tensor, " samples"], counts: Int[Tensor, " classes"]
) -> dict[str, float]:
    """Accuracies of a baseline that sees no picture: always the commonest class of training."""
    k = int(counts.argmax())
    return {
        "micro": float(shares(labels, len(counts))[k]),
        "class_mean": 1 / len(counts),
        "at_training_prior": float(counts[k] / counts.sum()),
    }


# --- Intervals over seeds and test images --------------------------------------------------------


def hits_of(logits: Sequence[Tensor], labels: Int[Tensor, " samples"]) -> Hits:
    """Whether the networks of all seeds are right about each image, shape (seeds, images)."""
    return torch.stack([f.argmax(1) == labels for f in logits]).numpy()


def costs_of(
    logits: Sequence[Tensor], labels: Int[Tensor, " samples"]
) -> Float[np.ndarray, "seeds images"]:
    r"""Cross-entropy of each image, :math:`-\log \mathrm{softmax}_y(f)`, in nats.

    In half precision, as it is kept, so that what is computed from it can be computed again.
    """
    costs = [F.cross_entropy(f.double(), labels, reduction="none") for f in logits]
    return torch.stack(costs).half().numpy()


def class_weights(counts: Int[Tensor, " classes"]) -> dict[str, np.ndarray | None]:
    r"""Weight :math:`W_k` of each class in the accuracies of
    :func:`softmi.experiments.decisions.accuracies`.

    They are :math:`\sum_k W_k a_k` of the accuracies :math:`a_k` within the classes: all alike for
    the class mean, :math:`\pi_k` at the training prior, and alike in the classes of a group. Micro
    weighs images and not classes: None.
    """
    one_class = [group_accuracies(row, counts) for row in torch.eye(len(counts))]
    return {
        "micro": None,
        "class_mean": np.full(len(counts), 1 / len(counts)),
        "at_training_prior": (counts / counts.sum()).double().numpy(),
    } | {group: np.array([found[group] for found in one_class]) for group in one_class[0]}


def accuracy_intervals(
    outcomes: Shaped[np.ndarray, "seeds images"],
    labels: Int[Tensor, " samples"],
    counts: Int[Tensor, " classes"],
) -> dict[str, dict[str, Any]]:
    r"""Each accuracy, or a difference of accuracies, with its interval over seeds and images.

    All are linear in the outcomes: of micro all images count the same, of the others those of a
    class share its weight of :func:`softmi.experiments.decisions.class_weights`, and images are
    drawn within their class.

    Args:
        outcomes: Hits, or a linear combination of the hits of several methods: their difference,
            say, whose interval is then paired by seed and by image.
        labels: Class of each image.
        counts: Training samples of each class.

    Returns:
        What :func:`softmi.evidence.statistics.crossed_interval` finds, by measure.

    """
    return {
        measure: crossed_interval(outcomes)
        if weights is None
        else crossed_interval(outcomes, labels.numpy(), weights)
        for measure, weights in class_weights(counts).items()
    }


def accuracy_differences(
    hits: Hits, other: Hits, labels: Int[Tensor, " samples"], counts: Int[Tensor, " classes"]
) -> dict[str, dict[str, Any]]:
    """Accuracies of a method minus those of another, paired by seed and by image.

    Shapes, measures and intervals as in :func:`accuracy_intervals`.
    """
    return accuracy_intervals(hits.astype(float) - other, labels, counts)


def certainty_differences(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    costs: np.ndarray | None = None,
    other: np.ndarray | None = None,
) -> dict[str, dict[str, Any]]:
    """Differences of what :func:`certainty` measures, of two methods and all seeds.

    Cross-entropy is a mean over images: where both have their costs kept its interval is over
    seeds and images. Else, and for the calibration error, which is no such mean, it is over seeds
    alone: it takes the images for all there are.

    Args:
        ours: Summaries over seeds of the one method.
        theirs: Of the other.
        costs: Of each image, as :func:`costs_of` gives them, shape (seeds, images).
        other: Of the other method.

    """
    found = {
        m: paired_difference(ours[m]["values"], theirs[m]["values"])
        for m in ("calibration_error", "cross_entropy")
    }
    if costs is not None and other is not None:
        found["cross_entropy"] = crossed_interval(costs.astype(float) - other)
    return found


def with_intervals(
    accuracy: Mapping[str, Any], held: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Add intervals over seeds and images to summaries over seeds, by loss, rule and measure.

    Args:
        accuracy: Summaries by loss, then by rule, then by measure, and whatever else there is.
        held: What :func:`accuracy_intervals` finds, by "loss/rule". The mean is that of the
            summary.

    """

    def added(number: Mapping[str, Any], crossed: Mapping[str, Any]) -> dict[str, Any]:
        return {**number, **{k: v for k, v in crossed.items() if k not in number}}

    found: dict[str, Any] = {loss: dict(rules) for loss, rules in accuracy.items()}
    for way, measures in held.items():
        loss, rule = way.split("/")
        numbers = found[loss][rule]
        found[loss][rule] = {
            m: added(n, measures[m]) if m in measures else n for m, n in numbers.items()
        }
    return found
