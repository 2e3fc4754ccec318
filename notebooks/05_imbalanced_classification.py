# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does PC-softmax help when classes are imbalanced?
#
# It gives the rare classes their due and takes it from the common ones: the {term}`mean accuracy over classes <class mean>` rises by 0.97 points (95 % interval 0.59 to 1.35), and the accuracy where classes stay as unequal as in training falls by 0.64 points (0.34 to 0.94).
# Subtracting the log-prior from an ordinary network after training does the same without retraining, to 0.02 points (−0.06 to 0.09): at ten to one, what counts is the rule that one decides by, not the loss that one trains with.
# The intervals are over seeds and test pictures: what other training runs would give on other pictures of the same kind.
# The loss itself is the {term}`balanced softmax`, and the {term}`logit-adjusted loss <logit adjustment>` with $\tau = 1$, of the year after, up to a constant.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
device = "auto"

# %% tags=["remove-input", "nbval-check-output"]
from IPython.display import Markdown, display
from softmi.evidence.tables import claims_table

display(Markdown(claims_table("05_imbalanced_classification")))

# %% [markdown]
# ## The idea in plain words
#
# A classifier answers with the class that scores highest, and a score mixes two things: what the picture shows, and how common each class was in training.
# When some classes are ten times as common as others, the second pulls doubtful pictures towards the common classes.
#
# That pull is right if the classes will be as unequally common in use: then it gives the most right answers overall.
# It is wrong if they will be equally common, or if each class should count the same.
#
# {term}`PC-softmax`, of [Qin et al. (2019)](https://arxiv.org/abs/1911.10688), trains so that the score holds only what the picture shows.
# But the two parts of a score are added, and one of them is known: it is the logarithm of the class's share of the training set.
# So it can also be subtracted from an ordinary network after training, or added back to a PC-softmax network.
# This chapter does all four, and asks which matters: the loss that one trains with, or the rule that one decides by.

# %% tags=["hide-input"]
import torch
import torch.nn.functional as F

from softmi import adjust_logits, pc_cross_entropy
from softmi.evidence.figures import dark_style, use_style
from softmi.evidence.results import load_result
from softmi.evidence.statistics import standard_errors
from softmi.evidence.tables import format_points, provenance_table
from softmi.experiments import imbalanced_classification_figures as show
from softmi.experiments.imbalanced_classification import run
from softmi.experiments.imbalanced_classification_training import SETTINGS

torch.set_num_threads(1)  # the same floats whatever the machine is busy with
use_style()

# %% [markdown]
# ## The formula
#
# With training {term}`prior` $\pi_k$ and {term}`logits <logit>` $f_k(x)$, the two losses are
#
# $$L_{\text{softmax}} = -\log \frac{e^{f_y}}{\sum_k e^{f_k}}, \qquad L_{\text{PC}} = -\log \frac{e^{f_y}}{\sum_k \pi_k e^{f_k}} .$$ (eq-losses)
#
# The second is minus the logarithm of equation {eq}`eq-pc-softmax`.
# The first is smallest when $f_k(x) = \log p(k|x) + c(x)$, the second when $f_k(x) = \log p(x|k) + c(x)$.
# Since $p(k|x) \propto p(x|k)\,\pi_k$, the two differ by $\log \pi_k$, and Bayes' rule for a test prior $q$ follows for both:
#
# $$\hat y(x) = \arg\max_k \; f_k(x) - \underbrace{\log \pi_k}_{\text{only if the logits carry it}} + \log q_k .$$ (eq-rule)
#
# | network | carries | rule for the training prior | rule for equally likely classes |
# |---|---|---|---|
# | softmax | $\log \pi_k$ | $\arg\max f_k$ | $\arg\max f_k - \log \pi_k$ (post-hoc correction) |
# | PC-softmax | nothing | $\arg\max f_k + \log \pi_k$ (prior put back) | $\arg\max f_k$ |
#
# So theory says that $\arg\max f$ of a PC-softmax network is the best rule for the mean accuracy over classes, and that it *cannot* be the best for the overall accuracy under the training prior.
# One function does all of it: take out the prior that the logits carry, put in the one that is wanted.
# A softmax network that saw ten of one class for each of the other gives a picture the odds of four to one; without the prior they turn round:

# %% tags=["nbval-check-output"]
training_prior = torch.tensor([10 / 11, 1 / 11])
logits = torch.tensor([[0.8, 0.2]]).log()
corrected = adjust_logits(logits, train_prior=training_prior)  # no test prior: equal classes
for name, f in {"training prior": logits, "equal classes": corrected}.items():
    print(f"{name}: {[round(p, 2) for p in f.softmax(1)[0].tolist()]}")

# %% [markdown]
# ## One loss, many names
#
# The [balanced softmax of Ren et al. (2020)](https://arxiv.org/abs/2007.10740) adds $\log n_k$ to the logits, with $n_k$ the number of training samples of a class, and takes the ordinary {term}`cross-entropy`.
# The [logit-adjusted loss of Menon et al. (2021)](https://arxiv.org/abs/2007.07314) adds $\tau \log \pi_k$; its usual $\tau$ is 1.
# With $n_k = N \pi_k$,
#
# $$L_{\text{balanced}} = L_{\text{adjusted}}(\tau = 1) = L_{\text{PC}} - \log \pi_y .$$
#
# This is equation {eq}`eq-identity` for one sample.
# The last term does not depend on the network, so the gradients are the same, and so are the networks that come out.
# PC-softmax is of November 2019, the other two of July 2020.
#
# What [Hong et al. (2021)](https://arxiv.org/abs/2012.00321) call "PC softmax" is another thing: *post-compensated*, an ordinary network with the prior subtracted after training.
# Here that is "{term}`post-hoc <post-hoc correction>`".
#
# On random logits, for a picture of a rare and one of a common class, $L_{\text{PC}} - \log \pi_y = L_{\text{balanced}}$:

# %% tags=["nbval-check-output"]
counts = torch.tensor([300, 3000] * 5).double()
prior = counts / counts.sum()
f = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0)).double()
y = torch.arange(1000) % 10
balanced = F.cross_entropy(f + counts.log(), y, reduction="none")
pc = pc_cross_entropy(f, y, prior, reduction="none")
torch.testing.assert_close(pc - prior.log()[y], balanced)  # on all 1,000 rows
for k, kind in enumerate(("rare", "common")):
    print(f"{kind}: {pc[k]:.3f} + {-prior.log()[k]:.3f} = {balanced[k]:.3f}")

# %% [markdown]
# Equal gradients should give equal networks.
# The run below trains the same network from the same {term}`seed` twice, once with the loss of this library and once as Ren et al. write it, in single and in double precision, and a third time with plain softmax, to show how large a difference in substance is.
#
# ## The data
#
# The authors take everything from MNIST's training file.
# Of its first 40,000 pictures they keep the first 300 of each even digit and 3,000 of each odd one; the same caps on the next 10,000 give their test part.
# There are fewer than 3,000 of any digit among 10,000, so the cap on the odd digits does nothing there.
# Their test part is therefore neither balanced nor skewed like the training part: it is something in between.
# We also test on the official test set, which they do not use and which is nearly balanced.
#
# The full {term}`profile` is the authors' protocol, read from their code: network, split, rate, batches and epochs are theirs, and no epoch is selected.
# They ran it without a fixed seed and committed no table of results; we run ten seeds.
# The smoke profile, which ran to make this page, does the same on the handwritten digits that come with scikit-learn, enlarged to 16 pixels.

# %% tags=["nbval-check-output"]
SETTINGS[profile]

# %% [markdown]
# ## The experiment
#
# For each seed both losses train the same network from the same first weights on the same batches.
# So the two results of a seed make a pair, and differences are taken {term}`pair by pair <paired difference>`.
# Each network is then asked by three rules: for the training prior, for equal classes, and for the class shares of the test itself.
# The last is no tuning, but it is knowledge that one may not have: in use the shares must be known or estimated.

# %%
values = run(profile, seed=seed, device=device)
for part, number in values["counts"].items():
    print(f"{part}: {number:,} pictures, {values['even_share'][part]:.1%} of them rare digits")

# %% tags=["hide-input"]
share = values["even_share"]
assert share["train"] < share["authors"] < share["official"]
if profile == "full":
    assert values["counts"] == {"train": 16_500, "authors": 6_559, "official": 10_000}

# %% [markdown]
# First the check that was promised: how far apart the weights are after training.
# A common shift of all logits does not change a softmax, and $\log n_k$ is $\log \pi_k$ shifted by $\log N$.
# But a computer adds the shift before it cancels, so the last bit of a logit may differ: the weights agree to rounding, not bit for bit.
# If rounding is the whole story, the distance must all but vanish in double precision; if the losses differed in substance, it would stay.

# %%
apart = values["weights_apart"]
# Weights are of order 0.1, steps are at most a few hundred: sums of roundings stay far below these.
assert apart["float32_balanced"]["first"] < 1e-5
assert apart["float64_balanced"]["worst"] < 1e-12
assert apart["float64_plain"]["first"] > 1e-3
display(Markdown(show.weights_table(values)))

# %% [markdown]
# In double precision the two stay together to the last bits.
# In single precision they start together too, and may part after some epochs.
# The network has kinks, its ReLUs and its maxima: once a tie is closer than the last bit, the two runs take different branches, and from there on they are two runs.
# So even the identity of two losses does not promise the same floats, and "the same seed" promises them only for the same code on the same machine.
#
# ## What is measured
#
# - *{term}`Micro accuracy <micro accuracy>`*: the share of right answers. Common classes weigh more.
# - *Class mean*: the accuracy within each class, averaged over classes. Each class weighs the same.
# - *Accuracy at the training prior*: the accuracies of the classes, weighted by their shares of the training set. It is the micro accuracy on a test set as skewed as the training set, without the noise of drawing one.
# - *Cross-entropy*, in {term}`nats <nat>`: what the probabilities of a network cost. Only the true probabilities make it smallest.
# - *{term}`Calibration <calibration>` error*: how far the probability that a network gives to its answer is from the share of right answers, on average over 15 bins of that probability.
# - *Too sure*: the mean of that probability minus the share of right answers, over the answers that name a rare or a common digit.
#
# ## Who decides: the loss or the rule?
#
# Two networks and two rules make four methods; the third rule and a baseline without any network complete the table.

# %% tags=["hide-input"]
display(Markdown(show.accuracy_table(values, "official")))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, live run. Left: class mean accuracy rises for both networks when the rule changes from the training prior to equal classes. Right: accuracy at the training prior changes much less. The lines of softmax and PC-softmax lie close together."}}
data = SETTINGS[profile].data
show.draw_rules(values, "official", f"{data}, this run: the rule moves both networks alike")

# %% [markdown]
# Each thin line is one network that was asked twice; the bold lines are means over seeds.
# With a dozen pictures of each rare digit the networks have hardly learnt the odds, so what theory says of the right panel, that lines cannot rise, needs the full data below; the left panel does not.
# The checks hold the run to what theory says, by two standard errors of the differences over seeds: more than four were seen, but another machine rounds to other networks.
# Rate and epochs of the smoke profile were set so that it takes seconds and passes with every three of nine seeds.
# The intervals are wider than those, since they are over the few test pictures too.

# %%
found = values["official"]["differences"]
for name in ("pc_minus_softmax", "posthoc_minus_softmax", "rule_over_loss"):
    assert standard_errors(found[name]["class_mean"]) > 2
    print(f"{name}, class mean: {format_points(found[name]['class_mean'])}")
# What deciding for equal classes brings to the class mean, it does not bring at the training prior.
mean, skewed = (found["rule"][m]["values"] for m in ("class_mean", "at_training_prior"))
assert standard_errors({"values": [a - b for a, b in zip(mean, skewed, strict=True)]}) > 2

# %% [markdown]
# ## A test of any prior
#
# The accuracies within the classes are enough to know the micro accuracy on a test of any other class shares $q$: it is their mean weighted by $q$.
# So one network and one test set give a whole curve, exactly, without a new test set being drawn.
# A rule that is fixed gives a straight line.
# The corrected rule puts each $q$ into the logits, and so gives another answer at each point.
# Averaged over all shares, knowing the prior helps the network that carries the wrong one:

# %%
gain = values["prior_curve"]["softmax"]["gain"]
assert standard_errors(gain) > 2
print(f"softmax, moved to the test's prior − as trained: {format_points(gain)}")

# %% [markdown]
# ## What the logits say about information and certainty
#
# $I(X;Y)$ belongs to a distribution, and a test with other class shares is another distribution, with another $H(Y)$ as its ceiling.
# So the logits must be moved to the test's prior before $H(Y) - \mathrm{CE}$ is read from them.
# If the training prior is left in, as when minus the test loss of PC-softmax is read as information, the mean of $\log s_Y$ tends to
#
# $$\mathbb{E}_q \log \frac{p(x|y)}{p_\pi(x)} = I_q(X;Y) + \mathrm{KL}\bigl(q(x) \,\|\, p_\pi(x)\bigr) ,$$ (eq-wrong-prior)
#
# where $p_\pi(x)$ are the pictures as mixed in training and $q(x)$ as mixed in the test.
# It is no lower bound any more, and it can exceed the ceiling.
# In {ref}`a figure with a slider <try-prior>` a classifier that was made for even classes meets classes that are not.

# %%
for test in ("authors", "official"):
    nats = values[test]["information"]
    ceiling = nats["ceiling"]["mean"]
    for network in ("softmax", "pc_softmax"):
        own, kept = (nats[network][k]["mean"] for k in ("own_prior", "training_prior_kept"))
        assert own < min(kept, ceiling)
assert ceiling < kept  # on the balanced test, far from the training prior: impossible
print(f"PC-softmax, balanced test: {own:.2f} nats moved, {kept:.2f} not; H(Y) = {ceiling:.2f}")

# %% [markdown]
# The same goes for certainty, which the full result shows.
# The softmax of logits is a probability under the prior that they carry; under another prior it is over-certain of some classes and not certain enough of others.
#
# ## The full result
#
# From here on everything is read from the archived run of the full profile, the authors' protocol on MNIST.
# Their test part has a larger share of rare digits than the training part and a smaller one than a balanced test.

# %% tags=["remove-input", "nbval-check-output"]
archived = load_result("05_imbalanced_classification")
full = archived["values"]
display(Markdown(show.parts_table(full)))

# %% [markdown]
# ### Accuracy
#
# On the authors' test part, mean and standard deviation over seeds:

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.accuracy_table(full, "authors")))

# %% [markdown]
# On the official test set:

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.accuracy_table(full, "official")))

# %% [markdown]
# The seeds differ more than the methods do, because eight epochs at a constant rate end wherever the last batches leave the network.
# But the methods of one seed share that fate, and the differences within a seed are far steadier.

# %% tags=["hide-input"] mystnb={"image": {"classes": "only-light", "alt": "Four panels of accuracy for softmax, PC-softmax and post-hoc correction, one line a seed. From softmax to PC-softmax the micro accuracy on the authors' test falls, the class mean there and the micro accuracy on the official test rise, and the accuracy at the training prior falls for every seed. PC-softmax and post-hoc are level."}}
show.draw_headline(full)

# %% tags=["remove-input"] mystnb={"image": {"classes": "only-dark", "alt": "Four panels of accuracy for softmax, PC-softmax and post-hoc correction, one line a seed. From softmax to PC-softmax the micro accuracy on the authors' test falls, the class mean there and the micro accuracy on the official test rise, and the accuracy at the training prior falls for every seed. PC-softmax and post-hoc are level."}, "figure": {"name": "fig-imbalanced", "caption": "Accuracy of softmax, PC-softmax and post-hoc correction; a line is a seed."}}
with dark_style():
    show.draw_headline(full)

# %% [markdown]
# The differences behind {numref}`fig-imbalanced`, paired by seed and by picture, in points of accuracy, with a 95 % interval over seeds and test pictures ({py:func}`softmi.evidence.statistics.crossed_interval`).
# "up" and "down" mean that the whole interval lies on one side of zero, "open" that it does not.
# The last two rows split what happens into two causes: the rule, averaged over both networks, and the loss, averaged over both rules.
# The intervals are not corrected for their number.
#
# On the authors' test part:

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.difference_table(full, "authors")))

# %% [markdown]
# On the official test set:

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.difference_table(full, "official")))

# %% [markdown]
# This is what theory says, line by line.
# The prior put back into PC-softmax gives the accuracies of plain softmax; the prior taken out of softmax gives those of PC-softmax.
# What the choice of loss moves is small beside what the choice of rule moves.
# Between PC-softmax and post-hoc correction no interval misses zero.
#
# So "PC-softmax has the higher accuracy" is a statement about a test, not about a loss.
# The authors' test part shows it well: on it the class mean of PC-softmax is the higher, and its micro accuracy in the mean the lower, by an amount that these seeds and pictures leave open.
# Over seeds alone that fall would look certain, which is why the pictures are in the interval.
# For micro accuracy theory prefers a third rule there, the one that knows the test's own class shares.
# It is clearly better than PC-softmax as it is, in the mean a little above softmax as it is, and open to both networks.
#
# ### By class
#
# What is gained and what is paid, digit by digit, on the official test set:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy within each digit for three methods, with standard deviations. For the rare even digits PC-softmax and post-hoc are above softmax; for the common odd digits softmax is above both. PC-softmax and post-hoc agree on each digit."}}
show.draw_classes(full)

# %% [markdown]
# ### A test of any prior
#
# Micro accuracy against the share of even digits, from the accuracies within the classes of the official test set.
# Each curve is the mean of the curves of all seeds.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Micro accuracy against the share of even digits in the test. The straight line of softmax as trained falls steeply as the share grows. That of PC-softmax as trained is nearly flat. The two dashed curves of logits moved to the test's prior coincide and lie on or above both lines nearly everywhere."}}
show.draw_prior_curve(full)

# %% [markdown]
# Moving the logits to the prior of the test is worth most to the network that carries the wrong prior, and most where the test is least like the training set.
# Averaged over all shares, in points, with an interval over seeds and test pictures:

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.gain_table(full)))

# %% [markdown]
# ### Information and certainty
#
# The estimate of $I(X;Y)$ in nats, with the logits moved to the test's prior and with the training prior kept.
# Kept, the reading on the official test set is above the {term}`entropy` of its labels, which is impossible for {term}`mutual information`.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.information_table(full)))

# %% [markdown]
# How far to trust the probabilities of the same networks.
# "As trained" takes the softmax of the logits as they are: under the training prior for softmax, for equally likely classes for PC-softmax.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.certainty_table(full)))

# %% [markdown]
# On the official test, plain softmax is not sure enough when it names a rare digit and too sure when it names a common one.
# Moved to the test's prior, both errors shrink and the cross-entropy falls.
# Yet its calibration error *rises*: it looks at all answers of one probability together, where the two errors cancel as long as they are there.
# A calibration error alone would have advised against the correction.
# On the authors' test part the two networks err in opposite directions, as they must: one carries too much of the prior for it, the other too little.
#
# ### One loss
#
# The largest distance between weights of the two ways to write the loss after an epoch on MNIST:

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.weights_table(full)))

# %% [markdown]
# ## What could be wrong
#
# * **No number of the paper stands beside ours.** Its MNIST table is not among the sources that we could read.
#   Its headline for PC-softmax is on birds (CUB-200-2011), with a large network trained on other birds before, of which the last layer is retrained.
#   The authors' script for it imports a module that is not in their repository, so it cannot be run as published; we call those two numbers not comparable, and not wrong.
# * **The authors' code changed.** Until December 2019 their MNIST script divided the prior of one digit by a hundred before using it; whether the paper's MNIST numbers were made before or after is not known.
#   We use the prior that the paper defines.
# * **MNIST is easy and the skew is mild.** All methods are close to the ceiling. The two losses have the same optimum but not the same path to it, so with rarer classes they may come apart; at a hundred to one, in chapter 06, they do.
# * **The intervals are over seeds and test pictures, not over training sets.** They say what other training runs would give on other pictures of the same kind, and not what another training set would give.
#   What each network answered to each picture is kept in `results/outcomes/`, so that anybody can compute them again.
# * **The test's prior was known exactly.** Where it must be estimated, or guessed, the dashed curves are an upper limit.
# * **Post-hoc correction trusts the logits.** It needs the ordinary network to be right about odds of ten to one. This one is; a network that has memorised its training set need not be.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(provenance_table("05_imbalanced_classification")))

# %% [markdown]
# ## Exercises
#
# **1. Ten to one.**
# In training one class was ten times as common as the other, and for some picture a softmax network gives the common class 0.8, as above.
# With which probability does the rule for equally likely classes answer, and from which probability of the network on does the common class win?
#
# :::{admonition} Solution 1
# :class: dropdown
#
# The odds are four to one for the common class, and the prior accounts for ten to one: without it they are 0.4 to one.
# So the answer is the rare class, with probability $1/1.4 = 0.71$.
# The common class wins from odds of ten to one on, a probability of $10/11 = 0.91$.
#
# :::
#
# **2. Best for what?**
# Show that no rule has a higher class mean than the one that answers with the largest $p(x|k)$.
# What is the best rule for the accuracy at the training prior, and can one rule be best for both?
#
# :::{admonition} Solution 2
# :class: dropdown
#
# A rule $\hat y$ has the class mean $\frac1M \sum_k \sum_x p(x|k)\,[\hat y(x) = k] = \frac1M \sum_x p(x|\hat y(x))$.
# Each $x$ can be decided by itself, and the largest $p(x|k)$ is the best that it can get.
# At the training prior each class counts $\pi_k$ in place of $1/M$, and the best answer is the largest $\pi_k\, p(x|k)$, that is, the largest $p(k|x)$.
# One rule is best for both only if the prior tips the balance for no picture.
# These are the two rules for $q_k = 1/M$ and $q_k = \pi_k$ of equation {eq}`eq-rule`.
#
# :::
#
# **3. Impossible information.**
# A perfect network knows every digit, and was trained with the counts of this chapter: 300 of each even digit, 3,000 of each odd one.
# The test has equally many of each.
# What is read if the training prior is kept, and how far above the ceiling is it?
#
# :::{admonition} Solution 3
# :class: dropdown
#
# If each picture belongs to one digit, $p(x|y) / p_\pi(x) = 1 / \pi_y$, and the reading is the mean of $-\log \pi_y$ over the test.
# The shares in training are $1/55$ for an even digit and $10/55$ for an odd one, so it is $\frac12 \log 55 + \frac12 \log 5.5 = 2.856$ nats.
# The ceiling is $\log 10 = 2.303$.
# The 0.553 nats between them are the KL term of equation {eq}`eq-wrong-prior`, here $\sum_k q_k \log (q_k / \pi_k)$: how far the test is from the training set, and nothing about the network.
#
# :::

# %% [markdown]
# Next: more losses, and longer tails, in chapter 06; then the same weights, asked not what is in a picture but where: chapter 07.
