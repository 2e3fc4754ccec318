# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is softmax cross-entropy an estimator of mutual information?
#
# Yes: label {term}`entropy` minus held-out {term}`cross-entropy` is a lower bound on the information that an input carries about its label, and training closes the gap, here to 0.000004 nats of 0.887.
# The bound holds for any class prior, balanced or not, as long as the constant is the entropy of the labels: with the logarithm of their number the best classifier reads at least 0.209 nats too much on each of 1,000 random tables.
# {term}`PC-softmax`, the paper's form for skewed data, is the same bound written for {term}`logits <logit>` that carry no {term}`prior`.

# %% tags=["remove-cell"]
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from softmi import (
    DiscreteJoint,
    entropy,
    mutual_information,
    pc_cross_entropy,
    pc_softmax,
    pointwise_mutual_information,
)
from softmi.evidence.figures import colour, dark_style, label_line, use_style
from softmi.evidence.tables import claims_table, format_number, markdown_table
from softmi.evidence.results import load_result, save_result

use_style()
torch.set_num_threads(1)
started = time.perf_counter()

# %% tags=["nbval-check-output", "remove-input"]
display(Markdown(claims_table("01_softmax_is_mutual_information")))

# %% [markdown]
# Every row is computed from a result file, and so is its {term}`verdict`; the rest of this page derives the rows one by one.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
device = "cpu"

# %%
settings = {
    "smoke": {"tables": 20, "inputs": 12, "classes": 6, "steps": 400},
    "full": {"tables": 1000, "inputs": 60, "classes": 20, "steps": 4000},
}[profile]
generator = torch.Generator().manual_seed(seed)

# %% [markdown]
# ## The idea in plain words
#
# Someone draws a card, looks at it, and asks you to name its suit.
# Before you see the card, four suits are possible, and naming the right one is worth $\log 4$ {term}`nats <nat>` of surprise.
# After you see it, nothing is left to guess.
# The difference between the surprise before and the surprise after is the *{term}`mutual information`* between what you see and what you name.
#
# A classifier plays this game with images and labels.
# The surprise before is the entropy of the labels, $H(Y)$.
# The surprise after is its cross-entropy: the average of $-\log$ of the probability that it gave to the right label.
# If the classifier is imperfect, its surprise is larger than it had to be, and the difference comes out too small, never too large.
# So the difference is a lower bound, and whoever lowers the cross-entropy raises the bound.
# That is the claim of [Qin et al. (2019)](https://arxiv.org/abs/1911.10688), and it takes four lines to prove.

# %% [markdown]
# ## Step 1: from mutual information to cross-entropy
#
# Let $p(x, y)$ be the joint distribution of input and label, $\pi_k = p(Y = k)$ the prior of the $M$ classes, and $q(y \mid x)$ any classifier.
# Add and subtract $\log q$ inside the definition of mutual information, $I(X;Y) = \mathbb{E} \log \bigl( p(Y \mid X) / \pi_Y \bigr)$:
#
# $$
# I(X;Y) = \underbrace{\mathbb{E} \log \frac{q(Y \mid X)}{\pi_Y}}_{H(Y) \,-\, \mathrm{CE}}
# + \underbrace{\mathbb{E}_X \, \mathrm{KL}\bigl( p(\cdot \mid X) \,\|\, q(\cdot \mid X) \bigr)}_{\ge\, 0}
# $$ (eq-bound)
#
# The first term is what a test set can measure: the entropy of the labels minus the cross-entropy.
# The second is never negative and vanishes exactly when the classifier gives the true posterior.
# That is Barber and Agakov's variational bound, for a label:
#
# :::{prf:theorem} Cross-entropy bounds mutual information
# :label: thm-bound
#
# For every joint distribution of $X$ and $Y$ with prior $\pi$ and every classifier $q$,
# $H(Y) - \mathrm{CE} \le I(X;Y)$.
# Equality holds exactly if $q(\cdot \mid x) = p(\cdot \mid x)$ for almost every $x$.
# :::
#
# On a discrete joint table every term can be summed exactly, so that the equation can be tested to rounding.
# The table is small, skewed and random; the classifier is random too, and therefore bad.


# %%
def random_joint(inputs: int, classes: int) -> DiscreteJoint:
    """Return a random joint table whose label prior falls off by a factor of twenty or so."""
    noise = -torch.rand(inputs, classes, generator=generator, dtype=torch.float64).log()
    table = noise.square() * torch.logspace(0, -1.3, classes, dtype=torch.float64)
    return DiscreteJoint(table / table.sum())


def expectation(joint: DiscreteJoint, values: torch.Tensor) -> float:
    """Return the mean of values[x, y] under the joint table."""
    return float((joint.table * values).sum())


joint = random_joint(settings["inputs"], settings["classes"])
truth = joint.mutual_information().value
logits = torch.randn(joint.table.shape, generator=generator, dtype=torch.float64)

# %% [markdown]
# In code, the summand of the first term is the *{term}`pointwise mutual information`* of an input with a label.

# %%
log_q = logits.log_softmax(dim=1)
bound = expectation(joint, pointwise_mutual_information(logits, joint.prior))
posterior = joint.posterior()
gap = expectation(joint, posterior.log() - log_q)  # E KL(p || q)

assert bound < truth  # a random classifier knows less than there is to know
assert abs(bound + gap - truth) < 1e-12  # sums of a few hundred terms of size one: rounding

# %% [markdown]
# `softmi.mutual_information` computes the bound from samples: the mean of the same quantity, with its standard error.
# On samples drawn from the table it must agree with the exact sum within a few standard errors.

# %%
x, y = joint.sample(20_000, generator)
estimate = mutual_information(logits[x], y, joint.prior)
assert abs(estimate.value - bound) < 4 * estimate.standard_error

# %% [markdown]
# ## Step 2: PC-softmax is a density ratio
#
# A network can be trained so that its logits carry no prior.
# The paper divides by the prior-weighted sum and calls the result the probability-corrected softmax:
#
# $$
# s_y(x) = \frac{\exp f_y(x)}{\sum_k \pi_k \exp f_k(x)} \qquad \text{estimates} \qquad \frac{p(x, y)}{p(x)\, p(y)} .
# $$ (eq-pc-softmax)
#
# It is a ratio of densities and not a probability: it may exceed one, and what sums to one is $\sum_k \pi_k s_k$.
# Put the true log-likelihoods in for $f$, and $\log s_y$ is the exact pointwise mutual information.

# %%
likelihood = joint.table / joint.prior  # p(x | y), up to what depends on x alone
ratio = pc_softmax(likelihood.log(), joint.prior)
exact = joint.table / (joint.input_marginal[:, None] * joint.prior)

assert torch.allclose(ratio, exact, rtol=1e-10, atol=0)
assert torch.allclose((joint.prior * ratio).sum(1), torch.ones(len(ratio)).double(), atol=1e-12)
assert ratio.max() > 1

# %% [markdown]
# ## Step 3: the identity that joins the two
#
# Multiply numerator and denominator of $s_y$ by $\pi_y$, and PC-softmax turns into a softmax of shifted logits:
#
# $$
# \begin{aligned}
# \log s_y(x) &= \log \mathrm{softmax}(f(x) + \log \pi)_y - \log \pi_y , \\
# \mathbb{E} \log s_Y &= H(Y) - \mathrm{CE}(f + \log \pi) .
# \end{aligned}
# $$ (eq-identity)
#
# The last term of the first line does not depend on the network, so that its gradient is zero:
#
# :::{prf:theorem} One loss
# :label: thm-one-loss
#
# The loss $-\log s_y$ of PC-softmax and the plain cross-entropy of $f + \log \pi$ have the same gradient in $f$, and the same minimisers.
# From the same seed they give the same training run.
# :::
#
# Ren et al. (2020) published this loss as {term}`balanced softmax`, and Menon et al. (2021) as the {term}`logit-adjusted loss <logit adjustment>` with $\tau = 1$: three names, one kernel.


# %%
def gradients(joint: DiscreteJoint, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of -log s_y as the paper writes it, and of cross-entropy on f + log pi."""
    labels = torch.arange(len(logits)) % logits.shape[1]
    f = logits.clone().requires_grad_()
    ratio = f.exp() / (joint.prior * f.exp()).sum(dim=1, keepdim=True)
    (paper,) = torch.autograd.grad(-ratio.log()[range(len(f)), labels].mean(), f)
    shifted = torch.nn.functional.cross_entropy(f + joint.prior.log(), labels)
    (plain,) = torch.autograd.grad(shifted, f)
    return paper, plain


paper, plain = gradients(joint, logits)
assert torch.allclose(paper, plain, rtol=0, atol=1e-15)  # entries are at most 1/N, rounded at 1e-16

# %% [markdown]
# The library has one function for all three names, `softmi.pc_cross_entropy`, which works in log-space and so survives logits of any size.

# %%
labels = torch.arange(len(logits)) % logits.shape[1]
loss = pc_cross_entropy(logits, labels, joint.prior)
pmi = pointwise_mutual_information(logits, joint.prior, prior_corrected=True)
assert torch.isclose(loss, -pmi[range(len(labels)), labels].mean(), rtol=1e-12)

# %% [markdown]
# ## Step 4: the constant is H(Y), not log M
#
# For balanced classes $H(Y) = \log M$, and the paper's formula $\log M - \mathrm{CE}$ is right.
# The authors' code adds $\log M$ to the plain softmax on skewed data as well.
# That over-counts by
#
# $$
# \log M - H(Y) = \mathrm{KL}(\pi \,\|\, \text{uniform}) \ge 0 ,
# $$ (eq-over-count)
#
# whatever the network, and can lift a "lower bound" above the truth.
# Here it does so for the best possible classifier.
# {ref}`A figure with a slider <try-prior>` shows by how much, as the classes get less even.

# %%
best = expectation(joint, posterior.log() - joint.prior.log())  # H(Y) - CE at the optimum
wrong = expectation(joint, posterior.log()) + np.log(joint.table.shape[1])  # log M - CE
over_count = np.log(joint.table.shape[1]) - float(entropy(joint.prior))

assert abs(best - truth) < 1e-12
assert abs(wrong - best - over_count) < 1e-12
assert wrong > truth

# %% [markdown]
# ## Training closes the gap
#
# The bound is tight only at the true posterior; gradient descent on the cross-entropy moves towards it.
# Below, a table of free logits is trained by full-batch gradient steps, once with plain cross-entropy and once with PC-softmax.
# In {numref}`fig-training` both readings climb to the same exact value, and with $\log M$ in place of $H(Y)$ the plain one climbs past it.


# %% tags=["hide-input"]
def train(joint: DiscreteJoint, steps: int, *, prior_corrected: bool) -> list[float]:
    """Minimise the exact loss over a free table of logits; return the bound at each step."""
    f = torch.zeros_like(joint.table, requires_grad=True)
    optimiser = torch.optim.Adam([f], lr=0.05)
    log_prior = joint.prior.log()
    bounds = []
    for _ in range(steps):
        log_q = (f + log_prior if prior_corrected else f).log_softmax(dim=1)
        loss = -(joint.table * log_q).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bounds.append(float(entropy(joint.prior)) - loss.item())
    return bounds


curves = {
    "softmax + H(Y)": train(joint, settings["steps"], prior_corrected=False),
    "PC-softmax": train(joint, settings["steps"], prior_corrected=True),
}
for bounds in curves.values():
    assert max(bounds) <= truth + 1e-12  # a lower bound at every step
    assert truth - bounds[-1] < 0.05 * truth

# %% tags=["hide-input"] mystnb={"image": {"classes": "only-light", "alt": "Three curves against training steps. Softmax with H(Y) and PC-softmax rise from below to the dashed line of the true mutual information and stay under it; softmax with log M lies above softmax with H(Y) throughout and ends above the line."}}
steps = np.arange(1, settings["steps"] + 1)
curves["softmax + log M"] = [b + over_count for b in curves["softmax + H(Y)"]]


def draw_headline():
    _, axes = plt.subplots()
    axes.axhline(truth, color=colour("truth"), linestyle="--", linewidth=1)
    label_line(axes, 1, 1.04 * truth, "truth", "true I(X;Y)")
    for method, style in (("softmax + H(Y)", "-"), ("PC-softmax", "--"), ("softmax + log M", "-")):
        axes.plot(steps, curves[method], style, color=colour(method), linewidth=2)
    label_line(axes, steps[-1] / 8, 0.94 * curves["softmax + log M"][-1], "softmax + log M")
    label_line(axes, steps[-1] / 8, 0.90 * truth, "PC-softmax")
    label_line(axes, steps[-1] / 8, 0.79 * truth, "softmax + H(Y)")
    axes.set(xscale="log", xlabel="training step", ylabel="estimate (nats)", xlim=(1, steps[-1]))
    axes.set_title("Both valid bounds climb to the truth; the wrong constant overshoots it")
    plt.show()


draw_headline()

# %% tags=["remove-input"] mystnb={"image": {"classes": "only-dark", "alt": "Three curves against training steps. Softmax with H(Y) and PC-softmax rise from below to the dashed line of the true mutual information and stay under it; softmax with log M lies above softmax with H(Y) throughout and ends above the line."}, "figure": {"name": "fig-training", "caption": "What three readings say while a network trains; the dashed line is the true information."}}
with dark_style():
    draw_headline()

# %% [markdown]
# ## The full result
#
# The checks above, on many random tables of random size, in both {term}`profiles <profile>`; the archived run of the full profile is printed here.
# Each number is the worst case over all tables.


# %% tags=["hide-input"]
def measure(joint: DiscreteJoint) -> dict[str, float]:
    """Return the error of each step of the derivation on one table and one random classifier."""
    f = 3 * torch.randn(joint.table.shape, generator=generator, dtype=torch.float64)
    truth, prior = joint.mutual_information().value, joint.prior
    posterior, log_prior = joint.posterior(), joint.prior.log()
    plain = expectation(joint, pointwise_mutual_information(f, prior))
    corrected = expectation(joint, pointwise_mutual_information(f, prior, prior_corrected=True))
    shifted_ce = -expectation(joint, (f + log_prior).log_softmax(1))
    gap = expectation(joint, posterior.log() - f.log_softmax(1))
    likelihood = (joint.table / prior).log()
    optimum = pointwise_mutual_information(likelihood, prior, prior_corrected=True)
    pc, shifted = gradients(joint, f)
    best_ce = -expectation(joint, posterior.log())
    log_m = float(np.log(len(prior)))
    return {
        "decomposition": abs(plain + gap - truth),
        "bound_violation": max(0.0, plain - truth, corrected - truth),
        "optimum": abs(expectation(joint, optimum) - truth),
        "identity": abs(corrected - (float(entropy(prior)) - shifted_ce)),
        "gradient": float((pc - shifted).abs().max()),
        "density_ratio": float(((prior * pc_softmax(f, prior)).sum(1) - 1).abs().max()),
        "over_count": abs((log_m - best_ce - truth) - (log_m - float(entropy(prior)))),
        "log_m_minus_truth": log_m - best_ce - truth,
    }


worst: dict[str, float] = {}
smallest_excess = np.inf
for _ in range(settings["tables"]):
    shape = torch.randint(2, 1 + settings["classes"], (), generator=generator).item()
    errors = measure(random_joint(settings["inputs"], shape))
    smallest_excess = min(smallest_excess, errors.pop("log_m_minus_truth"))
    worst = {key: max(worst.get(key, 0.0), value) for key, value in errors.items()}
training_gap = {m: truth - curves[m][-1] for m in ("softmax + H(Y)", "PC-softmax")}
save_result(
    "01_softmax_is_mutual_information",
    {
        "worst": worst,
        "log_m_excess": smallest_excess,
        "training": {"truth": truth, "largest_gap": max(training_gap.values())},
        "tables": settings["tables"],
        "steps": settings["steps"],
    },
    protocol={"data": "random discrete joint tables", "arithmetic": "float64"},
    profile=profile,
    seeds=[seed],
    seconds=time.perf_counter() - started,
)
assert max(worst.values()) < 1e-10

# %% tags=["nbval-check-output", "remove-input"]
archived = load_result("01_softmax_is_mutual_information")
values = archived["values"]
meaning = {
    "decomposition": "$I = [H(Y) - \\mathrm{CE}] + \\mathbb{E}\\,\\mathrm{KL}$",
    "bound_violation": "bound above the truth",
    "optimum": "$\\mathbb{E} \\log s_Y = I$ at the true likelihoods",
    "identity": "$\\mathbb{E} \\log s_Y = H(Y) - \\mathrm{CE}(f + \\log \\pi)$",
    "gradient": "gradients of PC-softmax and of shifted cross-entropy",
    "density_ratio": "$\\sum_k \\pi_k s_k = 1$",
    "over_count": "excess of the $\\log M$ constant is $\\log M - H(Y)$",
}
rows = [(text, f"{values['worst'][key]:.0e}") for key, text in meaning.items()]
assert set(meaning) == set(values["worst"])
display(Markdown(markdown_table(("equation", f"worst error, {values['tables']} tables"), rows)))

# %% [markdown]
# ## What could be wrong
#
# * **"Equivalent" is a strong word.** The bound is tight only if the network can express the posterior, the optimiser finds it, and the data suffice.
#   A finite network trained on a finite sample stays below the truth; how far below is the subject of the next chapter.
# * **The bound speaks of samples that the network has not seen.** On its own training set a network can drive the cross-entropy to zero and report $H(Y)$ even for random labels.
# * **There is a ceiling.** $I(X;Y) \le H(Y) \le \log M$ (equation {eq}`eq-cap`): ten balanced classes can never show more than $\log 10$ nats.
# * **Older than the paper.** $H(Y) - \mathrm{CE}$ is Barber and Agakov's bound; what the paper adds is the reading of everyday training as its maximisation, and the {term}`density-ratio <density ratio>` form for skewed priors.

# %% tags=["nbval-check-output", "remove-input"]
source = archived["provenance"]
display(
    Markdown(
        f"*Full run: {values['tables']} tables, seed {source['seeds'][0]}, {source['date']}, "
        f"commit `{source['commit'][:10]}`, {source['device']}, torch {source['versions']['torch']}; "
        f"training gap after {values['steps']} steps {format_number(values['training']['largest_gap'], 6)} nats.*"
    )
)

# %% [markdown]
# ## Exercises
#
# **1. A coin seen badly.**
# $Y$ is the toss of a fair coin, and $X$ shows it rightly nine times in ten.
# A classifier gives the side that it sees a probability of 0.6.
# Compute the three terms of equation {eq}`eq-bound`, and check that they add up.
#
# :::{admonition} Solution 1
# :class: dropdown
#
# The true posterior gives the side that is seen 0.9, so $I(X;Y) = \log 2 + 0.9 \log 0.9 + 0.1 \log 0.1 = 0.368$ nats.
# The classifier reads $\log 2 + 0.9 \log 0.6 + 0.1 \log 0.4 = 0.142$.
# The gap is $0.9 \log \frac{0.9}{0.6} + 0.1 \log \frac{0.1}{0.4} = 0.226$, and $0.142 + 0.226 = 0.368$.
#
# :::
#
# **2. Where the curves start.**
# In the figure above all logits start at zero.
# From which value does each of the three curves start?
# The notebook keeps them in `curves`; the first entry of each is your check.
#
# :::{admonition} Solution 2
# :class: dropdown
#
# Zero logits give plain softmax $1/M$ for each class, so its cross-entropy is $\log M$.
# With $H(Y)$ it reads $H(Y) - \log M$, which is below zero: before it can learn anything else it has to learn the prior.
# With $\log M$ it reads zero.
# PC-softmax is one for each class, because the prior sums to one, and its logarithm is zero: it knows nothing and says so.
#
# :::
#
# **3. When is $\log M$ right?**
# For which priors is $\log M - \mathrm{CE}$ a lower bound, whatever the input and the classifier?
#
# :::{admonition} Solution 3
# :class: dropdown
#
# For equally likely classes only.
# By equations {eq}`eq-bound` and {eq}`eq-over-count` the reading exceeds the truth by $\mathrm{KL}(\pi \,\|\, \text{uniform}) - \mathbb{E}\,\mathrm{KL}(p \,\|\, q)$.
# The best classifier makes the second term zero, and then the first alone decides.
# The plainest case is an input that tells nothing, and a classifier that always answers with the prior: the truth is zero and the reading is $\mathrm{KL}(\pi \,\|\, \text{uniform})$.
#
# :::

# %% [markdown]
# Next: does it hold up when a network has to learn the posterior from samples? Chapter 02 measures it where the truth is known.
