"""The figure and the table of chapter 01."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from softmi.evidence.figures import colour, label_line
from softmi.evidence.tables import markdown_table

EQUATIONS = {
    "decomposition": "$I = [H(Y) - \\mathrm{CE}] + \\mathbb{E}\\,\\mathrm{KL}$",
    "bound_violation": "bound above the truth",
    "optimum": "$\\mathbb{E} \\log s_Y = I$ at the true likelihoods",
    "identity": "$\\mathbb{E} \\log s_Y = H(Y) - \\mathrm{CE}(f + \\log \\pi)$",
    "gradient": "gradients of PC-softmax and of shifted cross-entropy",
    "density_ratio": "$\\sum_k \\pi_k s_k = 1$",
    "over_count": "excess of the $\\log M$ constant is $\\log M - H(Y)$",
}


def draw_training(curves: Mapping[str, Sequence[float]], truth: float) -> Figure:
    """Draw what three readings say while a network trains, beside the true information.

    Args:
        curves: As `training_curves` gives them, in nats.
        truth: Mutual information, in nats.

    """
    figure, axes = plt.subplots()
    last = len(curves["PC-softmax"])
    axes.axhline(truth, color=colour("truth"), linestyle="--", linewidth=1)
    label_line(axes, 1.0, 1.04 * truth, "truth", "true I(X;Y)")
    for method, style in (("softmax + H(Y)", "-"), ("PC-softmax", "--"), ("softmax + log M", "-")):
        steps = np.arange(1, last + 1)
        axes.plot(steps, curves[method], style, color=colour(method), linewidth=2)
    label_line(axes, last / 8, 0.94 * curves["softmax + log M"][-1], "softmax + log M")
    label_line(axes, last / 8, 0.90 * truth, "PC-softmax")
    label_line(axes, last / 8, 0.79 * truth, "softmax + H(Y)")
    axes.set(xscale="log", xlabel="training step", ylabel="estimate (nats)", xlim=(1, last))
    axes.set_title("Both valid bounds climb to the truth; the wrong constant overshoots it")
    return figure


def error_table(values: Mapping[str, Any]) -> str:
    """Return the worst error of each equation over all tables as a Markdown table.

    Args:
        values: Of the chapter's result.

    """
    rows = [(EQUATIONS[step], f"{error:.0e}") for step, error in values["worst"].items()]
    return markdown_table(("equation", f"worst error, {values['tables']} tables"), rows)
