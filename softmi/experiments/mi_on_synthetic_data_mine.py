r"""MINE beside the classifier: the paper's own comparison, on its eight tasks.

The paper's repository has no code for MINE (Belghazi et al. 2018). Here its critic is the
classifier's network, with a score :math:`T(x, k)` for each class, and it is trained on the same
points, in the same batches and for as many steps; the loss is another one,

.. math:: -\Bigl[ \mathbb{E}_{p(x,y)} T - \log \mathbb{E}_{p(x)p(y)} e^T \Bigr],

and so is the learning rate, which was set as that of the classifiers was. The expectation over
pairs apart is over all those of a batch. So many make the bias of the gradient, which MINE's
moving average corrects in small batches, too small to matter, and it is left out. All in nats.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from softmi.estimators.variational import donsker_varadhan
from softmi.evidence.statistics import summarise
from softmi.experiments.mi_on_synthetic_data_networks import TASKS, Settings, draw_task, train
from softmi.experiments.mi_on_synthetic_data_summary import paired
from softmi.training.loop import predict_logits

# Of Adam, falling to zero along a cosine. The best of 1e-3, 3e-3, 1e-2, 2e-2 and 4e-2 in trials on
# four of the tasks with data of seed 100; at 4e-2 training breaks down in ten dimensions.
CRITIC_RATE = 1e-2
FEW = 2  # dimensions, at most, of the tasks that count as low-dimensional


def minus_bound(
    scores: Float[Tensor, "batch classes"], y: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Return what MINE minimises: the bound of Donsker and Varadhan, with its sign changed."""
    return -donsker_varadhan(scores, y)


def run_mine(
    name: str, seed: int, settings: Settings, device: str, rate: float = CRITIC_RATE
) -> dict[str, float]:
    r"""Train MINE's critic on the points of `run_task` and read it on the same fresh sample.

    Args:
        name: Of the task.
        seed: Of the points, the first weights and the order of the data.
        settings: Of the run.
        device: Where to train.
        rate: Learning rate at the start.

    Returns:
        `value`, and `error`: value less the exact mean of :math:`\log p(x|y) / p(x)` on the same
        points.

    """
    (x, y), _, (fresh, labels) = draw_task(name, seed, settings)
    critic, _ = train(x, y, minus_bound, seed, epochs=settings.epochs, batch=settings.batch,
                      device=device, rate=rate)  # fmt: skip
    trained_on = str(critic.fc1.weight.device)
    scores = predict_logits(critic, fresh, batch_size=20_000, device=trained_on)
    value = float(donsker_varadhan(scores.double(), labels))
    exact = TASKS[name].pointwise_mutual_information(fresh).gather(1, labels[:, None])
    return {"value": value, "error": value - float(exact.mean())}


def summarise_mine(units: Sequence[Mapping[str, Any]], settings: Settings) -> dict[str, Any]:
    r"""Return the errors of MINE, and how much larger they are than those of the classifier.

    Absolute errors against the exact value of the same points, averaged over tasks and paired by
    seed: :math:`\frac1K \sum_k |\epsilon^{\text{MINE}}_k| - |\epsilon^{\text{PC}}_k|`.

    Args:
        units: One a seed, as `run_seed` gives them.
        settings: Of the run.

    Returns:
        `mine` and `pc_softmax`, for each task a summary of the errors over seeds; and the
        differences `all`, over all tasks, `few_dimensions` and `more_dimensions`.

    """
    errors = {
        "mine": [{n: u["mine"][n]["error"] for n in settings.names} for u in units],
        "pc_softmax": [
            {n: -u["tasks"][n]["pc_softmax"]["shortfall"] for n in settings.names} for u in units
        ],
    }
    few = [n for n in settings.names if int(n.split("_d")[1]) <= FEW]
    groups = {
        "all": settings.names,
        "few_dimensions": few,
        "more_dimensions": [n for n in settings.names if n not in few],
    }

    def size(method: str, names: Sequence[str]) -> list[float]:
        return [float(np.mean([abs(of_seed[n]) for n in names])) for of_seed in errors[method]]

    return {
        method: {n: summarise([of_seed[n] for of_seed in found]) for n in settings.names}
        for method, found in errors.items()
    } | {group: paired(size("mine", n), size("pc_softmax", n)) for group, n in groups.items()}
