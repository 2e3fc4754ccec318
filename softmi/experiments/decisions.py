"""What is measured of logits where classes are not equally common: chapters 05 and 06."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from softmi.metrics import group_accuracies


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
