r"""The losses of chapter 06, one row each: all that training, summaries and figures know of one.

A loss is added by its function in :mod:`softmi.losses`, a maker here and a row of `LOSSES`. The
archived results do not hold it until they are made again: there it is shown as "not run".
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from softmi.experiments.long_tailed_recipes import Recipe
from softmi.losses import FocalLoss, LDAMLoss, PCSoftmaxLoss, balanced_class_weights
from softmi.training import LossFunction

GAMMA, BETA, MARGIN, SCALE = 2.0, 0.9999, 0.5, 30.0  # the values of their papers, nowhere tuned

Counts = Int[Tensor, " classes"]
Prior = Float[Tensor, " classes"]


@dataclass(frozen=True)
class LossRow:
    r"""What there is to know of a loss that long tails are trained with.

    Attributes:
        name: As tables and figures write it.
        short: As keys of results write it: "pc" in "pc_minus_softmax".
        make: The loss from the training samples of each class and the recipe. A function with a
            name, so that :func:`softmi.evidence.units.code_digest` can read it.
        carried: From the training samples of each class to the prior, up to a factor, that the
            logits carry at the optimum; None for none. Where no prior is exact, that of the loss
            which it becomes without its extra term.
        formula: Loss of a sample in TeX, in the notation of the chapter and without "|".
        where: What its symbols stand for, in TeX.
        carries: Logarithm of `carried`, in TeX; empty for none.
        exact: Whether the logits carry that prior and nothing else.
        chosen: Numbers that were chosen, in TeX.
        paper: Link to where it is from, in Markdown; empty for what everybody knows.
        scale: What outputs are multiplied by to be the logits that the loss took.
        normalised: Whether the last layer gives cosines.
        corrects: Whether it is made for the long tail: whether it is among the methods whose
            spread is compared with that of seeds.
        hue: In figures, one of `softmi.evidence.figures.HUES`; empty for a method that has the
            same colour in the whole book.
        marker: In figures, one of matplotlib's.

    """

    name: str
    short: str
    make: Callable[[Counts, Recipe], LossFunction]
    carried: Callable[[Counts], Prior | None]
    formula: str = ""
    where: tuple[str, ...] = ()
    carries: str = ""
    exact: bool = True
    chosen: tuple[str, ...] = ()
    paper: str = ""
    scale: float = 1.0
    normalised: bool = False
    corrects: bool = True
    hue: str = ""
    marker: str = "o"


def _training_prior(counts: Counts) -> Prior:
    return counts.double() / counts.sum()


def _weighted_prior(counts: Counts) -> Prior:
    # A weight acts as if the class were so many times as common.
    return _training_prior(counts) * balanced_class_weights(counts, beta=BETA).double()


def _no_prior(counts: Counts) -> None:
    return None


def _softmax(counts: Counts, recipe: Recipe) -> LossFunction:
    return F.cross_entropy


def _class_weighted(counts: Counts, recipe: Recipe) -> LossFunction:
    return nn.CrossEntropyLoss(balanced_class_weights(counts, beta=BETA).float())


def _focal(counts: Counts, recipe: Recipe) -> LossFunction:
    return FocalLoss(gamma=GAMMA)


def _ldam_drw(counts: Counts, recipe: Recipe) -> LossFunction:
    weights = balanced_class_weights(counts, beta=BETA)
    return LDAMLoss(counts, max_margin=MARGIN, scale=SCALE, class_weights=weights,
                    reweight_from=recipe.reweight_epoch)  # fmt: skip


def _pc_softmax(counts: Counts, recipe: Recipe) -> LossFunction:
    return PCSoftmaxLoss(class_counts=counts)


# For focal and LDAM-DRW no prior is exact: they are taken for what they become without focus and
# margin.
LOSSES = {
    row.name: row
    for row in (
        LossRow("softmax", "softmax", _softmax, _training_prior,
                formula=r"-\log q_y", carries=r"\log \pi_k", corrects=False, marker="s"),
        LossRow("class-weighted", "weighted", _class_weighted, _weighted_prior,
                formula=r"-w_y \log q_y", where=(r"w_k \propto (1-\beta)/(1-\beta^{n_k})",),
                carries=r"\log \pi_k w_k", chosen=(rf"\beta = {BETA}",),
                paper="[Cui et al., 2019](https://arxiv.org/abs/1901.05555)",
                hue="pink", marker="^"),
        LossRow("focal", "focal", _focal, _training_prior,
                formula=r"-(1-q_y)^\gamma \log q_y",
                carries=r"\log \pi_k", exact=False, chosen=(rf"\gamma = {GAMMA:g}",),
                paper="[Lin et al., 2017](https://arxiv.org/abs/1708.02002)",
                corrects=False, hue="grey", marker="v"),
        LossRow("LDAM-DRW", "ldam", _ldam_drw, _weighted_prior,
                formula=r"-w_y \log \text{softmax}_y (s \cos\theta_k - s \Delta_k [k = y])",
                where=(r"\Delta_k \propto n_k^{-1/4}",
                       r"w_y = 1 \text{ before the last fifth of the epochs}"),
                carries=r"\log \pi_k w_k", exact=False,
                chosen=(rf"\Delta_{{\max}} = {MARGIN}", rf"s = {SCALE:g}", rf"\beta = {BETA}"),
                paper="[Cao et al., 2019](https://arxiv.org/abs/1906.07413)",
                scale=SCALE, normalised=True, hue="wine", marker="D"),
        LossRow("PC-softmax", "pc", _pc_softmax, _no_prior,
                formula=r"-\log \bigl( e^{f_y} / \sum_k \pi_k e^{f_k} \bigr)"),
    )
}  # fmt: skip


def loss_row(name: str) -> LossRow:
    """Row of a loss by its name: one of `LOSSES`, or PC-softmax with "tau=0.5" and so on.

    Raises:
        ValueError: Another name.

    """
    if name in LOSSES:
        return LOSSES[name]
    if not name.startswith("tau="):
        raise ValueError(f"no loss {name!r}; there are {', '.join(LOSSES)} and tau=<number>")
    tau = float(name.removeprefix("tau="))

    def tempered(counts: Counts, recipe: Recipe) -> LossFunction:
        return PCSoftmaxLoss(class_counts=counts, tau=tau)

    return LossRow(name, name, tempered, lambda counts: _training_prior(counts) ** (1 - tau),
                   formula=r"-\log \text{softmax}_y (f + \tau \log \pi)",
                   carries=r"(1 - \tau) \log \pi_k", chosen=(rf"\tau = {tau:g}",),
                   paper="[Menon et al., 2021](https://arxiv.org/abs/2007.07314)")  # fmt: skip


def loss_of(name: str, class_counts: Counts, recipe: Recipe) -> LossFunction:
    """Return a loss by its name: one of `LOSSES`, or "tau=0.5" and so on.

    Raises:
        ValueError: Another name.

    """
    return loss_row(name).make(class_counts, recipe)


def carried_prior(name: str, class_counts: Counts) -> Prior | None:
    r"""Prior that the logits carry at the optimum of a loss; None for none.

    Plain cross-entropy carries :math:`\pi`; with class weights :math:`\pi_k w_k`, normalised;
    trained with tau, :math:`\pi_k^{1-\tau}`. For focal and LDAM-DRW no such statement is exact:
    they are taken for what they become without focus and margin.
    """
    prior = loss_row(name).carried(class_counts)
    return None if prior is None else prior / prior.sum()
