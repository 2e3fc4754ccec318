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
# Yes: label {term}`entropy` minus held-out {term}`cross-entropy` is a lower bound on the information that an input carries about its label, and training closes the gap, here to 0.000004 nats or less on average over ten tables, of which the first holds 0.887.
# The bound holds for any class prior, balanced or not, as long as the constant is the entropy of the labels: with the logarithm of their number the best classifier reads at least 0.219 nats too much on each of 1,000 random tables.
# {term}`PC-softmax`, the paper's form for skewed data, is the same bound written for {term}`logits <logit>` that carry no {term}`prior`.

# %% tags=["remove-cell"]
import math

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

from softmi import (
    entropy,
    mutual_information,
    pc_cross_entropy,
    pc_softmax,
    pointwise_mutual_information,
)
from softmi.evidence.figures import dark_style, use_style
from softmi.evidence.results import load_result
from softmi.evidence.statistics import interval
from softmi.evidence.tables import claims_table, provenance_table
from softmi.experiments.softmax_is_mutual_information import (
    NAME,
    SETTINGS,
    draw_example,
    expectation,
    gradients,
    run,
)
from softmi.experiments.softmax_is_mutual_information_figures import draw_training, error_table

use_style()
torch.set_num_threads(1)

# %% tags=["nbval-check-output", "remove-input"]
display(Markdown(claims_table(NAME)))

# %% [markdown]
# Every row is computed from a result file, and so is its {term}`verdict`; the rest of this page derives the rows one by one.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
device = "cpu"

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
generator = torch.Generator().manual_seed(seed)
joint, logits, x, y = draw_example(SETTINGS[profile], generator)
truth = joint.mutual_information().value
inputs, classes = joint.table.shape
rarest, commonest = joint.prior.min(), joint.prior.max()
print(f"{inputs} inputs, {classes} labels: {rarest:.3f} to {commonest:.3f}")
print(f"I(X;Y) = {truth:.3f} nats, at most H(Y) = {entropy(joint.prior):.3f}")

# %% [markdown]
# In code, the summand of the first term is the *{term}`pointwise mutual information`* of an input with a label.
# `expectation` sums it over the table.

# %%
pmi = pointwise_mutual_information(logits, joint.prior)
bound, log_posterior = expectation(joint, pmi), joint.posterior().log()
gap = expectation(joint, log_posterior - logits.log_softmax(1))  # E KL(p || q)

assert bound < truth  # a random classifier knows less than there is to know
assert abs(bound + gap - truth) < 1e-12  # rounding of a few hundred terms
print(f"bound {bound:.3f} + gap {gap:.3f} = {bound + gap:.3f} nats")

# %% [markdown]
# `softmi.mutual_information` computes the bound from samples: the mean of the same quantity, with its standard error.
# On samples drawn from the table it must agree with the exact sum within a few standard errors.

# %%
estimate = mutual_information(logits[x], y, joint.prior)
assert abs(estimate.value - bound) < 4 * estimate.standard_error
mean, error = estimate.value, estimate.standard_error
print(f"{len(y):,} samples: {mean:.3f} ± {error:.3f} nats; exactly {bound:.3f}")

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
likelihood = joint.table / joint.prior  # p(x | y)
ratio = pc_softmax(likelihood.log(), joint.prior)
exact = joint.table / (joint.input_marginal[:, None] * joint.prior)

assert torch.allclose(ratio, exact, rtol=1e-10, atol=0)
sums = (joint.prior * ratio).sum(1)
assert torch.allclose(sums, torch.ones_like(sums), atol=1e-12)
assert ratio.max() > 1
seen, label = divmod(int(ratio.argmax()), classes)
print(f"input {seen} makes label {label} {ratio.max():.1f} times as likely")

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
# The next cell differentiates the paper's own formula, and the shifted cross-entropy.

# %%
paper, plain = gradients(joint, logits)
assert torch.allclose(paper, plain, rtol=0, atol=1e-15)  # rounded at 1e-16
print(f"entries up to {paper.abs().max():.3f}; the same to 1e-15")

# %% [markdown]
# The library has one function for all three names, `softmi.pc_cross_entropy`, which works in log-space and so survives logits of any size.

# %%
labels = torch.arange(len(logits)) % logits.shape[1]
loss = pc_cross_entropy(logits, labels, joint.prior)
pmi = pointwise_mutual_information(logits, joint.prior, prior_corrected=True)
mean = pmi[range(len(labels)), labels].mean()
assert torch.isclose(loss, -mean, rtol=1e-12)
print(f"loss {loss:.4f}; mean pointwise mutual information {mean:.4f} nats")

# %% [markdown]
# ## Step 4: the constant is H(Y), not log M
#
# For balanced classes $H(Y) = \log M$, and the paper's formula $\log M - \mathrm{CE}$ is right.
# The authors' code adds $\log M$ to the plain softmax on skewed data as well; PC-softmax has the prior inside, and neither the paper nor the code adds a constant to it.
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
best = expectation(joint, log_posterior - joint.prior.log())  # H(Y) - CE
wrong = expectation(joint, log_posterior) + math.log(classes)  # log M - CE
over_count = math.log(classes) - float(entropy(joint.prior))

assert abs(best - truth) < 1e-12
assert abs(wrong - best - over_count) < 1e-12
assert wrong > truth
print(f"H(Y) - CE = {best:.3f} nats, the truth; log M - CE = {wrong:.3f}")

# %% [markdown]
# ## Training closes the gap
#
# The bound is tight only at the true posterior; whatever lowers the cross-entropy moves towards it.
# Below, a table of free logits is trained by Adam on the exact loss of the whole table, once with plain cross-entropy and once with PC-softmax.
# Adam is not gradient descent: it divides each entry of the gradient by its recent size, and so takes another path.
# Both end at the same probabilities, since the loss is convex in the logits.
# But a number added to all logits of an input changes no probability: gradient descent never moves in that direction, and Adam does.
# Here nothing hangs on it; chapter 08 turns on that difference.
#
# One call of `run` trains both, and tries all the equations above on many tables.
# This page runs its smoke {term}`profile`, on the small table above; the numbers in the opening answer are of the archived full run and its larger tables.

# %%
live = run(profile, seed=seed)
curves = live["curves"]
for method in ("softmax + H(Y)", "PC-softmax"):
    assert max(curves[method]) <= truth + 1e-12  # a lower bound at every step
    assert truth - curves[method][-1] < 0.05 * truth
    print(f"{method}: {curves[method][0]:.3f} to {curves[method][-1]:.3f} nats")
assert max(live["worst"].values()) < 1e-10
print(f"truth: {truth:.3f}; every equation holds to 1e-10 on all tables")

# %% [markdown]
# In {numref}`fig-training` both readings climb to the same exact value, and with $\log M$ in place of $H(Y)$ the plain one climbs past it.

# %% tags=["hide-input"] mystnb={"image": {"classes": "only-light", "alt": "Three curves against training steps. Softmax with H(Y) and PC-softmax rise from below to the dashed line of the true mutual information and stay under it; softmax with log M lies above softmax with H(Y) throughout and ends above the line."}}
_ = draw_training(curves, truth)
plt.show()

# %% tags=["remove-input"] mystnb={"image": {"classes": "only-dark", "alt": "Three curves against training steps. Softmax with H(Y) and PC-softmax rise from below to the dashed line of the true mutual information and stay under it; softmax with log M lies above softmax with H(Y) throughout and ends above the line."}, "figure": {"name": "fig-training", "caption": "What three readings say while a network trains; the dashed line is the true information."}}
with dark_style():
    _ = draw_training(curves, truth)
    plt.show()

# %% [markdown]
# ## The full result
#
# The checks above, on many random tables of random size; the archived run of the full profile is printed here.
# Each number is the worst case over all tables.

# %% tags=["nbval-check-output", "remove-input"]
full = load_result(NAME)["values"]
display(Markdown(error_table(full)))

# %% [markdown]
# What training leaves of the gap, on average over random tables (the upper end of the interval), and what the wrong constant adds even on the table that is kindest to it:

# %% tags=["nbval-check-output"]
_, most = interval(full["training"]["largest_gap"])
print(f"a gap of {most:.6f} nats at most after {full['steps']:,} steps")
print(f"at least {full['log_m_excess']:.3f} nats too much with log M")

# %% [markdown]
# ## What could be wrong
#
# * **"Equivalent" is a strong word.** The bound is tight only if the network can express the posterior, the optimiser finds it, and the data suffice.
#   A finite network trained on a finite sample stays below the truth; how far below is the subject of the next chapter.
# * **The bound speaks of samples that the network has not seen.** On its own training set a network can drive the cross-entropy to zero and report $H(Y)$ even for random labels.
# * **There is a ceiling.** $I(X;Y) \le H(Y) \le \log M$ (equation {eq}`eq-cap`): ten balanced classes can never show more than $\log 10$ nats.
# * **Older than the paper.** $H(Y) - \mathrm{CE}$ is Barber and Agakov's bound; what the paper adds is the reading of everyday training as its maximisation, and the {term}`density-ratio <density ratio>` form for skewed priors.

# %% tags=["nbval-check-output", "remove-input"]
display(Markdown(provenance_table(NAME)))

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
