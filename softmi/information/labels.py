"""The prior that an estimate is about: counted, known, or contradicted by the labels."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.special import entr

from softmi._checks import PriorLike, as_prior

# A prior is contradicted by labels that chance alone gives so rarely, and that lie farther from
# it than this, in nats: with plain logits an estimate moves by exactly their divergence.
CHANCE, NEGLIGIBLE = 1e-6, 0.01

PriorMismatch = Literal["raise", "allow"]


@dataclass(frozen=True, repr=False, eq=False)
class LabelPrior:
    """Class probabilities, and where they come from.

    Attributes:
        probabilities: Shape (classes,), in float64.
        status: "estimated": the frequencies of the labels; "known": given, and not contradicted
            by the labels; "mismatched": given, contradicted, and asked for all the same. Only the
            first two allow a certificate.

    """

    probabilities: Float[Tensor, " classes"]
    status: Literal["estimated", "known", "mismatched"]

    def __repr__(self) -> str:
        return f"LabelPrior({self.status}, {len(self.probabilities)} classes)"

    @property
    def entropy(self) -> float:
        """:math:`H(Y)`, the cap of every estimate under this prior, in nats."""
        return float(entr(self.probabilities).sum())

    @property
    def ceiling(self) -> float:
        r"""What no :math:`I(X;Y)` exceeds for sure: :math:`\log M` unless the prior is given."""
        return math.log(len(self.probabilities)) if self.status == "estimated" else self.entropy


def _log_chance_of_divergence(n: int, divergence: float, classes: int) -> float:
    r"""Logarithm of a bound on the chance of labels as far from the prior that they follow.

    .. math::
        P\bigl(\mathrm{KL}(\hat\pi \,\|\, \pi) \ge d\bigr) \le
        e^{-nd} \Bigl(\frac{e\, n d}{M-1}\Bigr)^{M-1}, \qquad nd > M - 1

    for the frequencies :math:`\hat\pi` of n independent labels of M classes, at every n (Agrawal
    2020). :math:`2 n \mathrm{KL}` is the likelihood-ratio statistic G, whose chi-square
    approximation fails where classes are many and samples few; this does not.
    """
    degrees, total = classes - 1, n * divergence
    if total <= degrees or degrees == 0:
        return 0.0
    return -total + degrees * (1 + math.log(total / degrees))


def label_prior(
    counts: Num[Tensor, " classes"],
    prior: PriorLike | None = None,
    *,
    prior_mismatch: PriorMismatch = "raise",
) -> LabelPrior:
    r"""The prior to use for labels that were counted, after comparing it with them.

    A given prior is refused when the labels contradict it: when frequencies
    :math:`\hat\pi` as far from it have a probability below 1e-6 by
    `_log_chance_of_divergence`, and :math:`\mathrm{KL}(\hat\pi \| \pi)` is above 0.01 nats.
    With plain logits the estimate moves by exactly this divergence when one takes the place of
    the other: less is not worth a word, however many samples show it.

    Args:
        counts: Number of labels of each class, shape (classes,).
        prior: Class probabilities; None takes the frequencies of the labels.
        prior_mismatch: "raise" refuses a prior that the labels contradict; "allow" takes it,
            marked as "mismatched".

    Raises:
        ValueError: No labels, a prior that is no distribution over the classes, that is zero for
            a label that occurs, or that the labels contradict; another `prior_mismatch`.

    Example:
        >>> label_prior(torch.tensor([50.0, 50.0])).probabilities.tolist()
        [0.5, 0.5]
        >>> label_prior(torch.tensor([50.0, 50.0]), [0.9, 0.1], prior_mismatch="allow")
        LabelPrior(mismatched, 2 classes)

    """
    if prior_mismatch not in get_args(PriorMismatch):
        raise ValueError(f'prior_mismatch must be "raise" or "allow", got {prior_mismatch!r}')
    counts = counts.double()
    n = int(counts.sum())
    if n == 0:
        raise ValueError("there are no labels to count")
    frequencies = counts / n
    if prior is None:
        return LabelPrior(frequencies, "estimated")
    pi = as_prior(prior, classes=len(counts), like=frequencies)
    check_possible(counts, pi)
    divergence = float((torch.xlogy(frequencies, frequencies / pi.clamp(min=1e-300))).sum())
    chance = _log_chance_of_divergence(n, divergence, int((pi > 0).sum()))
    if divergence <= NEGLIGIBLE or chance >= math.log(CHANCE):
        return LabelPrior(pi, "known")
    if prior_mismatch == "allow":
        return LabelPrior(pi, "mismatched")
    raise ValueError(
        f"the labels contradict the prior: {_side_by_side(pi, frequencies, n)}, a KL divergence "
        f"of {divergence:.3g} nats, which chance gives less than once in {1 / CHANCE:,.0f} times. "
        "The prior must be that of these labels, which on a balanced test set is not that of the "
        "training set: leave it out, or give the one that they were drawn from. Logits of a "
        "prior-corrected network hold under any prior; those of a network trained with plain "
        "cross-entropy under another prior are taken over by softmi.adjust_logits. "
        'In Python, prior_mismatch="allow" computes with it all the same: that is no lower bound '
        "and has no certificate"
    )


def check_possible(counts: Tensor, prior: Tensor) -> None:
    """Raise if a label occurs that has no probability."""
    impossible = ((counts > 0) & (prior == 0)).nonzero().flatten().tolist()
    if impossible:
        raise ValueError(f"targets contain classes of zero prior: {impossible}")


def _side_by_side(prior: Tensor, frequencies: Tensor, n: int) -> str:
    """Prior and frequencies of all classes, or of the three that say most."""
    shown = range(len(prior))
    if len(prior) > 10:
        parts = torch.xlogy(frequencies, frequencies / prior.clamp(min=1e-300))
        shown = sorted((parts - frequencies + prior).topk(3).indices.tolist())  # type: ignore[assignment]
    said = [f"{float(prior[k]):.3g}" for k in shown]
    seen = [f"{float(frequencies[k]):.3g}" for k in shown]
    where = f"of classes {list(shown)} among {len(prior)} " if len(prior) > 10 else ""
    return f"{where}it says {', '.join(said)}, the {n} labels are {', '.join(seen)}"
