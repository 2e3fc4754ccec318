r"""Chapter 01: every step from mutual information to softmax cross-entropy, on exact tables.

On a discrete joint table each term can be summed, so that equations hold to rounding: the mean
over a table, :math:`\mathbb{E}\, v = \sum_{x, y} p(x, y)\, v(x, y)`, stands where a test set has
an average. All in float64 and in nats.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from softmi.evidence.extremes import largest
from softmi.evidence.results import Profile, save_result
from softmi.evidence.statistics import summarise
from softmi.information.pointwise import entropy, pointwise_mutual_information
from softmi.losses.prior_corrected import pc_cross_entropy, pc_softmax
from softmi.synthetic.discrete import DiscreteJoint

NAME = "01_softmax_is_mutual_information"
RATE = 0.05  # of Adam, on a table of free logits
VALID = ("softmax + H(Y)", "PC-softmax")  # readings that are lower bounds


@dataclass(frozen=True)
class Settings:
    """How much of the derivation is tried.

    Attributes:
        tables: Random tables on which each equation is tried.
        inputs: Values of the input.
        classes: Labels; the random tables have from two to as many.
        steps: Of training.
        trained: Tables on which logits are trained; the first is that of the worked example.
        samples: Drawn from the table of the worked example.

    """

    tables: int
    inputs: int
    classes: int
    steps: int
    trained: int = 2
    samples: int = 20_000


SETTINGS: Mapping[Profile, Settings] = {
    "smoke": Settings(tables=20, inputs=12, classes=6, steps=400),
    "full": Settings(tables=1000, inputs=60, classes=20, steps=4000, trained=10),
}


class Example(NamedTuple):
    """One table, the logits of a random classifier on its inputs, and samples of the table."""

    joint: DiscreteJoint
    logits: Float[Tensor, "inputs classes"]
    x: Int[Tensor, " samples"]
    y: Int[Tensor, " samples"]


def random_joint(inputs: int, classes: int, generator: torch.Generator) -> DiscreteJoint:
    r"""Return a random joint table whose label prior falls off by a factor of twenty or so.

    .. math:: p(x, y) \propto e_{xy}^2 \, 10^{-1.3\, y / (M - 1)}, \qquad
              e_{xy} \sim \mathrm{Exp}(1)

    Args:
        inputs: Values of the input.
        classes: Labels, :math:`M`.
        generator: Source of the randomness.

    """
    noise = -torch.rand(inputs, classes, generator=generator, dtype=torch.float64).log()
    table = noise.square() * torch.logspace(0, -1.3, classes, dtype=torch.float64)
    return DiscreteJoint(table / table.sum())


def draw_example(settings: Settings, generator: torch.Generator) -> Example:
    """Draw the table of the chapter's worked example, a random classifier, and samples."""
    joint = random_joint(settings.inputs, settings.classes, generator)
    logits = torch.randn(joint.table.shape, generator=generator, dtype=torch.float64)
    return Example(joint, logits, *joint.sample(settings.samples, generator))


def expectation(joint: DiscreteJoint, values: Float[Tensor, "inputs classes"]) -> float:
    r"""Return the mean of values under the table, :math:`\sum_{x, y} p(x, y)\, v(x, y)`."""
    return float((joint.table * values).sum())


def gradients(
    joint: DiscreteJoint, logits: Float[Tensor, "inputs classes"]
) -> tuple[Float[Tensor, "inputs classes"], Float[Tensor, "inputs classes"]]:
    r"""Return the gradients in f of :math:`-\log s_y` and of the cross-entropy of f + log pi.

    The first is differentiated as the paper writes it, as a ratio of exponentials; the mean is
    over one sample of each input, whose labels go round the classes.
    """
    labels = torch.arange(len(logits)) % logits.shape[1]
    f = logits.clone().requires_grad_()
    ratio = f.exp() / (joint.prior * f.exp()).sum(dim=1, keepdim=True)
    (paper,) = torch.autograd.grad(-ratio.log()[range(len(f)), labels].mean(), f)
    (plain,) = torch.autograd.grad(F.cross_entropy(f + joint.prior.log(), labels), f)
    return paper, plain


def errors_of_steps(
    joint: DiscreteJoint, logits: Float[Tensor, "inputs classes"]
) -> dict[str, float]:
    r"""Return the error of each step of the derivation, on one table and one classifier.

    Returns:
        `decomposition`: of :math:`I = [H(Y) - \mathrm{CE}] + \mathbb{E}\,\mathrm{KL}`;
        `bound_violation`: what the classifier reads above the truth, plain or prior-corrected;
        `optimum`: of :math:`\mathbb{E} \log s_Y = I` at the true likelihoods;
        `identity`: of :math:`\mathbb{E} \log s_Y = H(Y) - \mathrm{CE}(f + \log \pi)`;
        `gradient`: largest difference of the two gradients;
        `density_ratio`: of :math:`\sum_k \pi_k s_k = 1`, the largest over inputs;
        `over_count`: of :math:`\log M - H(Y)` as the excess of the wrong constant;
        `log_m_excess`: that excess at the best possible classifier, no error but a finding.

    """
    truth, prior = joint.mutual_information().value, joint.prior
    log_posterior, log_m = joint.posterior().log(), math.log(len(prior))
    plain = expectation(joint, pointwise_mutual_information(logits, prior))
    corrected = expectation(
        joint, pointwise_mutual_information(logits, prior, prior_corrected=True)
    )
    likelihood = (joint.table / prior).log()  # log p(x | y), up to what depends on x alone
    optimum = pointwise_mutual_information(likelihood, prior, prior_corrected=True)
    shifted_ce = -expectation(joint, (logits + prior.log()).log_softmax(1))
    gap = expectation(joint, log_posterior - logits.log_softmax(1))
    best_ce = -expectation(joint, log_posterior)
    paper, shifted = gradients(joint, logits)
    return {
        "decomposition": abs(plain + gap - truth),
        "bound_violation": max(0.0, plain - truth, corrected - truth),
        "optimum": abs(expectation(joint, optimum) - truth),
        "identity": abs(corrected - (float(entropy(prior)) - shifted_ce)),
        "gradient": float((paper - shifted).abs().max()),
        "density_ratio": float(((prior * pc_softmax(logits, prior)).sum(1) - 1).abs().max()),
        "over_count": abs((log_m - best_ce - truth) - (log_m - float(entropy(prior)))),
        "log_m_excess": log_m - best_ce - truth,
    }


def worst_errors(settings: Settings, generator: torch.Generator) -> tuple[dict[str, float], float]:
    """Return the worst error of each step over random tables, and the smallest excess of log M.

    Each table is read by three classifiers: one that knows nothing of it, and two close to where
    the plain and the corrected bound are reached and would be exceeded first.
    """
    found = []
    for _ in range(settings.tables):
        classes = int(torch.randint(2, 1 + settings.classes, (), generator=generator))
        joint = random_joint(settings.inputs, classes, generator)
        near = 10 ** (-8 * float(torch.rand((), generator=generator)))
        likelihood = (joint.table / joint.prior).log()
        for middle, spread in ((0, 3), (joint.posterior().log(), near), (likelihood, near)):
            noise = torch.randn(joint.table.shape, generator=generator, dtype=torch.float64)
            found.append(errors_of_steps(joint, middle + spread * noise))
    excess = min(errors.pop("log_m_excess") for errors in found)
    return {step: max(errors[step] for errors in found) for step in found[0]}, excess


def train(joint: DiscreteJoint, steps: int, *, prior_corrected: bool) -> list[float]:
    r"""Minimise the exact expected loss over a table of free logits, with Adam.

    .. math:: \min_f \; \sum_{x, y} p(x, y) \, L(f(x), y)

    with L the cross-entropy, or that of PC-softmax: no sampling, and a model that can express the
    posterior. Logits start at zero.

    Args:
        joint: The table.
        steps: Of Adam, each on the whole table.
        prior_corrected: Train with PC-softmax.

    Returns:
        The estimate before each step, in nats: :math:`H(Y) - \mathrm{CE}`, or the mean log
        PC-softmax.

    """
    f = torch.zeros_like(joint.table, requires_grad=True)
    optimiser = torch.optim.Adam([f], lr=RATE)
    posterior, marginal, prior = joint.posterior(), joint.input_marginal, joint.prior
    constant = 0.0 if prior_corrected else float(entropy(prior))
    bounds = []
    for _ in range(steps):
        if prior_corrected:
            loss = marginal @ pc_cross_entropy(f, posterior, prior, reduction="none")
        else:
            loss = -(joint.table * f.log_softmax(dim=1)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bounds.append(constant - loss.item())
    return bounds


def training_curves(joint: DiscreteJoint, steps: int) -> dict[str, list[float]]:
    """Return three readings at each step of training; two are of the same network.

    Returns:
        "softmax + H(Y)", "PC-softmax", and "softmax + log M": the first with another constant.

    """
    plain = train(joint, steps, prior_corrected=False)
    over_count = math.log(len(joint.prior)) - float(entropy(joint.prior))
    return {
        "softmax + H(Y)": plain,
        "PC-softmax": train(joint, steps, prior_corrected=True),
        "softmax + log M": [bound + over_count for bound in plain],
    }


def training_gaps(
    joints: Sequence[DiscreteJoint], curves: Sequence[Mapping[str, Sequence[float]]]
) -> dict[str, Any]:
    r"""Return what training leaves of each truth: :math:`I(X;Y)` less the last reading, in nats.

    Args:
        joints: Random tables, two at least.
        curves: What `training_curves` gives for each.

    Returns:
        `gaps`, for each valid reading a summary over tables, and `largest_gap`, the larger of the
        two means with its interval over tables.

    """
    truths = [joint.mutual_information().value for joint in joints]
    gaps = {
        reading: summarise([t - of[reading][-1] for t, of in zip(truths, curves, strict=True)])
        for reading in VALID
    }
    errors = [gap["sd"] / math.sqrt(len(joints)) for gap in gaps.values()]
    means = [gap["mean"] for gap in gaps.values()]
    return {"gaps": gaps, "largest_gap": largest(means, errors, len(joints) - 1)}


def run(profile: Profile, *, seed: int = 0) -> dict[str, Any]:
    """Run the chapter: train on the worked example, try each step on random tables, save.

    Args:
        profile: "smoke" or "full".
        seed: Of all tables and classifiers. One stream of random numbers gives the worked example
            first, then the tables on which the steps are tried, then further ones for training.

    Returns:
        What is saved, and `curves` of the training on the worked example.

    """
    settings, started = SETTINGS[profile], time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    joint = draw_example(settings, generator).joint
    worst, excess = worst_errors(settings, generator)
    further = [
        random_joint(settings.inputs, settings.classes, generator)
        for _ in range(settings.trained - 1)
    ]
    curves = [training_curves(table, settings.steps) for table in (joint, *further)]
    truth = joint.mutual_information().value
    values = {
        "worst": worst,
        "log_m_excess": excess,
        "training": {"truth": truth} | training_gaps([joint, *further], curves),
        "tables": settings.tables,
        "steps": settings.steps,
    }
    save_result(
        NAME,
        values,
        protocol={"data": "random discrete joint tables", "arithmetic": "float64"},
        profile=profile,
        seeds=[seed],
        seconds=time.perf_counter() - started,
    )
    return values | {"curves": curves[0]}
