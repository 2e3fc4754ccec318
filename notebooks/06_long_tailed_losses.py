# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which loss should one train with on a long tail?
#
# {term}`PC-softmax`, as far as ten epochs of a small network can say: on CIFAR-10-LT, a hundred to one, its {term}`class mean` is the highest of five losses under one recipe, 50.6 ± 0.6 % against 36.5 ± 0.4 % of plain softmax, ahead even of subtracting the log-prior from plain softmax afterwards, by 2.4 points (95 % interval 1.5 to 3.3).
# Networks so far from done rank the speed of losses as much as their worth: LDAM-DRW ends 4.6 points below class weights there (1.7 to 7.6), the reverse of the literature, whose longer recipe is a run of its own, below.
# On a short tail it does not lead: on MNIST the correction afterwards does as well (0.0 points apart, −0.1 to 0.2), and class weights do better, by 0.3 points (0.1 to 0.5).
# What it gives to rare classes it takes from common ones (19.3 points, 14.9 to 23.8, under the class shares of training); but its {term}`logits <logit>`, like those of plain softmax, carry a known {term}`prior` and can be moved to any test by adding a term, which those of {term}`focal loss` and margins cannot.
# The intervals on CIFAR-10-LT are over five seeds and the test pictures; those on MNIST, whose run is older, are over seeds alone.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
device = "auto"
data = "all"

# %% tags=["remove-input", "nbval-check-output"]
from IPython.display import Markdown, display
from softmi.evidence.tables import claims_table

display(Markdown(claims_table("06_long_tailed_losses")))

# %% [markdown]
# {term}`Verdicts <verdict>` are computed from the archived full results; "not run" means that there is none yet.
#
# ## The idea in plain words
#
# A {term}`long tail` is a data set in which each class is somewhat rarer than the one before, until little is left of the last.
# A network that is to get most answers right learns to name the common classes when in doubt.
# If the rare ones matter as much, something has to push the other way, and there are three places to push.
#
# *The weight of a sample.* Let each picture of a rare class count as several (class weights), or each picture that the network is not sure of (focal loss).
#
# *The distance to the boundary.* Ask of rare classes that they be told apart with more to spare (LDAM), and later also weigh them (DRW).
#
# *The score.* Give the common classes their advantage openly, as a term that is added during training and left away afterwards (PC-softmax), or subtract it from an ordinary network ({term}`post-hoc <post-hoc correction>`).
#
# The third says openly what the scores mean: logarithms of probabilities, with a prior that is known.
# So they can be moved to any test by adding a term, and information can be read from them.

# %% [markdown]
# %% tags=["hide-input"]
import torch

from softmi.datasets import long_tailed_counts
from softmi.evidence.figures import dark_style, use_style
from softmi.evidence.statistics import standard_errors
from softmi.evidence.tables import format_points, provenance_table
from softmi.experiments import long_tailed_losses_figures as show
from softmi.experiments.long_tailed_losses import run
from softmi.experiments.long_tailed_recipes import RECIPES
from softmi.experiments.loss_table import LOSSES, carried_prior, loss_of

torch.set_num_threads(1)  # the same floats whatever the machine is busy with
use_style()

# %% [markdown]
# ## The formula
#
# With $n_k$ samples of class $k$, prior $\pi_k = n_k / n$, logits $f_k$ and $q = \text{softmax}(f)$:

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.formula_table()))

# %% [markdown]
# The last column is what the best possible logits differ by from those for equally likely classes.
# It follows from the minimum of the expected loss: a weight $w_k$ acts as if class $k$ were $w_k$ times as common.
# For focal loss and for margins there is no such term (exercise 3 tells what there is for focal loss); we take what is left when focus and margin go to zero.
#
# PC-softmax is {term}`logit adjustment` with $\tau = 1$ and the {term}`balanced softmax` (equation {eq}`eq-identity`); chapter 05 trains them side by side and finds the same weights.
# In code all of this is one table of losses, `softmi.experiments.loss_table`, with a row for each: its formula, how it is made, which prior its logits carry, how it is drawn.
# The last column decides what the networks of a hundred-to-one tail lean to before they have seen a picture:

# %% tags=["nbval-check-output"]
counts = torch.tensor(long_tailed_counts())  # 5,000 pictures of the first class, 50 of the last
for name in LOSSES:
    carried = carried_prior(name, counts)
    odds = 1.0 if carried is None else float(carried[0] / carried[-1])
    print(f"{name}: {odds:.2f} to one for the commonest class against the rarest")

# %% [markdown]
# And this is what a first step costs, for a picture of the rarest class and one of the commonest, where no network has learnt anything:

# %% tags=["nbval-check-output"]
nothing = torch.zeros(1, len(counts))
for name in LOSSES:
    loss = loss_of(name, counts, RECIPES["cifar10lt"])
    rare, common = (float(loss(nothing, torch.tensor([k]))) for k in (9, 0))
    print(f"{name}: {abs(rare):.2f} if rare, {abs(common):.2f} if common")

# %% [markdown]
# A mean over one picture hides its weight: class weights count when pictures of several classes are averaged.
# PC-softmax alone costs nothing where nothing is known, whatever the class: minus the loss is information.
#
# ## The data and the recipes
#
# | data | training | ratio | tests |
# |---|---|---|---|
# | MNIST | the authors' part, as in chapter 05 | 10 : 1, two kinds of digit | their test part; the official test set |
# | CIFAR-10-LT | the first $n_k$ pictures of each class, $n_k$ falling exponentially | 100 : 1 | all 10,000, equally many of each class |
# | CUB-50 | birds of classes 1 to 50; every second class cut to its first ten pictures, as the authors' lists are | 3 : 1 | the first 5 or 15 of each class, as in the authors' lists; all |
#
# CIFAR-10-LT is not one data set: groups that use it draw the pictures of each class by other rules, and the pack that was used here has them in another order than the original archive.
# The counts are the same.
#
# Every loss is trained by one and the same recipe on each data set, and every number in a recipe was there before: in the authors' code, or in that of [Cao et al. (2019)](https://arxiv.org/abs/1906.07413).
# Nothing is chosen on a test set, nor anywhere else: `softmi.experiments.long_tailed_losses.train_network` is given the test pictures without their labels, and answers with the network of the last epoch.
#
# The smoke {term}`profile`, which ran to make this page, cuts a long tail into the handwritten digits that come with scikit-learn.
# The full profile has three data sets, with five {term}`seeds <seed>` each.
# The network and the length of the literature, 200 epochs of ResNet-32, take hours a network without a GPU; `python -m softmi.experiments.published_long_tail` trains them one network at a time.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.recipes_table()))

# %% [markdown]
# ## The experiment
#
# A unit is one network: a data set, a loss and a seed.
# In the full profile each unit is kept when it is done, and goes on from its last epoch if it was cut short, to the same weights.
# Within a seed all losses start from the same weights (but for the last layer of LDAM, which gives cosines) and see the same batches, so that differences can be taken {term}`pair by pair <paired difference>`.

# %%
values = run(profile, seed=seed, device=device, data=data)
for name, found in values.items():
    pictures, per_class = found["pictures"]["train"], found["counts"]
    print(f"{RECIPES[name].data}: {pictures:,} training pictures, "
          f"{max(per_class)} to {min(per_class)} a class")  # fmt: skip
    expected = {"mnist": 16_500, "cifar10lt": 12_406, "cub50": 1_000}
    assert pictures == expected.get(name, pictures)

# %% [markdown]
# ## What is measured
#
# - *{term}`Micro accuracy <micro accuracy>`*: the share of right answers on the test as it is.
# - *Class mean*: the accuracy within each class, averaged over classes.
# - *At the training prior*: the accuracies of the classes weighted by their shares of the training set, as on a test as skewed as that.
# - *Many, medium, few*: the mean over classes with more than 100, with 20 to 100, and with fewer than 20 training pictures ([Liu et al., 2019](https://arxiv.org/abs/1904.05160)).
# - *{term}`Calibration <calibration>` error*: how far the probability of an answer is from the share of right answers, on average over 15 bins of that probability.
# - *Information*: the estimate of $I(X;Y)$ in {term}`nats <nat>`, with the logits moved to the test's prior.
#
# Each network is asked by four rules: as it is, for equally likely classes, for the training prior, and for the class shares of the test.
# The last is no tuning, but it is knowledge that one may not have.
#
# ## The live run
#
# Mean and standard deviation over seeds; every digit is one of "few" or "medium" here.
# A hundred and forty steps on two hundred pictures rank no losses.
# LDAM in particular multiplies its logits by thirty and so takes larger steps at the same rate: at a rate that suits the others its training can fail, and at the small one that it bears the others learn slowly.
# What the live run can show is what one and the same network does under other rules.

# %% tags=["hide-input"]
first = next(iter(values))
live = values[first]["official"]
display(Markdown(show.accuracy_table(live)))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, a row for each method, a dot for each seed and a bar for the mean, from the live run. Left: in class mean PC-softmax and post-hoc are ahead of plain softmax. Right: at the training prior they are not."}}
show.draw_methods(live, f"{RECIPES[first].data}, this run: what each method gives and takes")

# %% [markdown]
# The checks hold the run to what theory says: whoever decides for equal classes gains where rare classes count, and more there than under the training prior, by two standard errors of the differences paired by seed.

# %%
for better in ("pc", "posthoc"):  # both decide for equally likely classes
    over = live["differences"][f"{better}_minus_softmax"]
    few = over.get("few", over["class_mean"])  # MNIST has no class of so few
    mean, skewed = (over[m]["values"] for m in ("class_mean", "at_training_prior"))
    tilt = [a - b for a, b in zip(mean, skewed, strict=True)]
    assert standard_errors(few) > 2
    assert standard_errors({"values": tilt}) > 2
    print(f"{better}_minus_softmax, few: {format_points(few)}")

# %% tags=["hide-input"]
for number in (live["accuracy"][loss] for loss in LOSSES):  # each has learnt ...
    assert number["as_trained"]["class_mean"]["mean"] > 3 * live["uniform_guess"]["class_mean"]
    assert number["as_trained"]["micro"]["mean"] > 3 * live["commonest_class"]["micro"]
    assert number["information"]["mean"] < live["label_entropy"]  # ... and no more than there is

# %% [markdown]
# ## What $\tau$ does
#
# In logit adjustment $\tau$ says how much of the log-prior is taken out: 0 leaves plain softmax, 1 is Bayes' rule for equally likely classes, and more favours the rare classes beyond that.
# It can be set before training, in the loss, or after it, in the rule; the lines are two trained networks that were asked with every $\tau$, and the dots are networks trained with theirs.
# Nothing is picked from these curves: $\tau = 1$ was fixed beforehand, and what is best on a test set is not what one would have chosen.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels against tau from 0 to 2.5. Left: the class mean rises from tau 0 and flattens. Right: the accuracy at the training prior falls as tau grows. Lines: post-hoc on softmax and on PC-softmax; dots: networks trained with tau."}}
show.draw_tau(live, f"{RECIPES[first].data}, this run: more for the rare is less for the common")

# %% [markdown]
# ## The full results
#
# From here on everything is read from the archived runs of the full profile.
# MNIST is chapter 05's subject: here it stands only where it says something about the other losses.

# %% tags=["remove-input", "nbval-check-output"]
archive = show.archived()
longer = {name: record for name, record in archive.items() if name != "mnist"}
display(Markdown(show.each_test(show.accuracy_table, longer)))

# %% [markdown]
# ### Differences
#
# Paired by seed and by picture, in points, with a 95 % interval over seeds and test pictures ({py:func}`softmi.evidence.statistics.crossed_interval`).
# "up" and "down" mean that the whole interval lies on one side of zero, "open" that it does not.
# It says what other training runs would give on other pictures of the same kind; the 496 of the authors' bird test alone give one accuracy a standard error of 2 points.
# What each network answered to each picture is kept in `results/outcomes/`, so that anybody can compute the intervals again.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.each_test(show.difference_table, longer)))

# %% [markdown]
# The run on MNIST is of before outcomes were kept: until it is run again its intervals take the test pictures for all there are.
# There, ten to one, the order is another: class weights are ahead of PC-softmax, LDAM-DRW cannot be told from it, and post-hoc correction does all that PC-softmax does.

# %% tags=["remove-input", "nbval-check-output"]
short = {name: record for name, record in archive.items() if name == "mnist"}
display(Markdown(show.each_test(show.difference_table, short, ["official"])))

# %% [markdown]
# These intervals are not corrected for their number.
# For the differences that rows of the ledger rest on, here are the p-values that belong to the intervals, each alone and by Holm's rule for all of one test: where the latter is below 0.05 the difference is told from zero in a family of that size.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.each_test(show.family_table, archive)))

# %% tags=["hide-input"] mystnb={"image": {"classes": "only-light", "alt": "Two panels, class mean and accuracy at the training prior, with a row for each method, a dot for each of five seeds and a bar for the mean, from the archived run on CIFAR-10-LT."}}
main = archive["cifar10lt"]["values"]["official"] if "cifar10lt" in archive else live
where = "CIFAR-10-LT, archived run" if "cifar10lt" in archive else "this run"
show.draw_methods(main, f"{where}: what each method gives and takes")

# %% tags=["remove-input"] mystnb={"image": {"classes": "only-dark", "alt": "Two panels, class mean and accuracy at the training prior, with a row for each method, a dot for each of five seeds and a bar for the mean, from the archived run on CIFAR-10-LT."}, "figure": {"name": "fig-long-tail", "caption": "CIFAR-10-LT, archived run: the accuracy of each method; a dot is a seed."}}
with dark_style():
    show.draw_methods(main, f"{where}: what each method gives and takes")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels against tau from 0 to 2.5, class mean and accuracy at the training prior, from the archived run on CIFAR-10-LT."}}
show.draw_tau(main, f"{where}: what tau does")

# %% [markdown]
# On a test of other class shares one and the same network does better if its logits are moved, as in chapter 05.
# Here the shares are $q_k \propto \pi_k^{\,t}$: those of training at $t = 1$, equal ones at $t = 0$, and the long tail the other way round at $t = -1$.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Micro accuracy against the power t of the training prior in the test, from minus 1 to 1. Softmax as trained rises steeply with t, PC-softmax as trained is flatter. The dashed lines, corrected to each prior, lie above or on the solid ones over most of the range."}}
show.draw_priors(main, f"{where}: dashed, corrected to the test's prior")

# %% [markdown]
# ### Certainty
#
# The probability that a network gives to its answer, against how often it is right.
# Above the diagonal a network is too modest, below it too sure.
# The right panel shows the same networks after their logits were moved to the prior of the test.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Reliability diagrams in two panels, as trained and moved to the test's prior. Points of each loss: the share of right answers against the probability of the answer, with the diagonal of perfect calibration."}}
show.draw_reliability(main, f"{where}: how far to trust the probabilities")

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.each_test(show.certainty_table, longer, ["official"])))

# %% [markdown]
# Scores of LDAM are cosines times thirty, made for margins and not for probabilities: what they say about information is a lower bound as any other, and a loose one.
#
# ### Does the seed matter as much as the method?
#
# Among the four methods of {numref}`fig-long-tail` that are made for the long tail (class-weighted, LDAM-DRW, PC-softmax, post-hoc): the standard deviation over seeds within a method, and over the means of the methods.
# The interval of their ratio leaves each seed out in turn, and adds what other test pictures would change.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.spread_table(archive)))

# %% [markdown]
# ### By the recipe of the literature
#
# ResNet-32 for 200 epochs, as [Cao et al. (2019)](https://arxiv.org/abs/1906.07413) and [Menon et al. (2021)](https://arxiv.org/abs/2007.07314) train it, for the claims that need it; their rows were written before the run.
# The logits of each network are kept in `results/units/`, so that anybody can ask them by another rule.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.published_tables()))

# %% [markdown]
# ### Beside the papers
#
# The published numbers that somebody can look up, as they stand in the ledger, and ours.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(show.papers_table()))

# %% [markdown]
# *CIFAR-10-LT.* Network, length and recipe are the published ones; the pictures are not, only their counts.
#
# *CUB.* These rows do not compare like with like.
# Ours is a quarter of its classes and a head on the frozen features of a network that was trained on ImageNet.
# Theirs is a network that had seen the birds of iNaturalist before, and the script that trained it imports a module that is not in the repository.
# The tail is short there, three to one: how much there is to gain is the distance between two rules on one network, and not between the numbers of two papers.
#
# ## What could be wrong
#
# * **Ten epochs of a small network are few.** All five losses end between 36.5 and 50.6 % in class mean, far from what they can do, and re-weighting in the last fifth then means two epochs. That LDAM-DRW ends below class weights, the reverse of the literature, is likely a sign of it. So the order on CIFAR-10-LT is that of an early stop, and no recommendation before the published recipe has been run.
# * **One recipe may suit one loss better than another.** LDAM's factor of thirty acts like a larger rate, as the live run shows; tuned one by one, on a held-out part of the training set, the order may change. We tuned none.
# * **Intervals are over seeds and test pictures, not over training sets.** They say what other training runs would give on other pictures of the same kind, and five runs give wide ones. Only for the calibration error, and for cross-entropies that no row rests on, do they take the test pictures as given, and on MNIST until its next run.
# * **Many differences are shown.** Among so many intervals one in twenty misses zero by chance; Holm's rule corrects those that rows rest on, test by test, and not across tests.
# * **Our CIFAR-10-LT holds other pictures than that of other papers**, with the same numbers of each class.
# * **CUB-50 is a head on frozen features.** A linear head on features of another data set says little about losses for networks that are trained from the first layer on.

# %% tags=["remove-input", "nbval-check-output"]
results = [f"06_long_tailed_losses_{name}" for name in (*show.TITLES, "published")]
display(Markdown(provenance_table(*results)))

# %% [markdown]
# ## Exercises
#
# **1. How heavy is a weight?**
# Two classes have 5,000 and 50 training pictures.
# With $\beta = 0.9999$, how much more does a picture of the rare class weigh, and which odds of the two classes do the logits still carry?
# What does $\beta$ do as it goes to zero and to one?
#
# :::{admonition} Solution 1
# :class: dropdown
#
# The sum $(1 - \beta^n)/(1 - \beta)$ is 3,935 for 5,000 pictures and 49.9 for 50, so a rare picture weighs 79 times as much.
# By $\log \pi_k w_k$ the logits carry odds of $100/79 = 1.27$ to one for the common class: nearly none.
# As $\beta$ goes to one the weights become inverse frequencies and nothing is carried; at zero all weights are equal, and it is plain softmax.
#
# :::
#
# **2. Half a correction.**
# A network is trained with $\tau = \tfrac12$.
# What has to be added to its logits to decide for equally likely classes, and for the training prior?
# Give `run` above `taus=[0.5, 2.0]` and run the notebook again: where would the new dot lie if every network were the best possible one?
#
# :::{admonition} Solution 2
# :class: dropdown
#
# The logits carry $(1 - \tau) \log \pi = \tfrac12 \log \pi$.
# Subtract that for equally likely classes; add another $\tfrac12 \log \pi$ for the training prior.
# Best possible networks differ by such terms only, so both lines of the figure would be one, and all dots would lie on it.
# How far they lie off shows what the path of training does, and the luck of few pictures.
#
# :::
#
# **3. What focal loss does to a logit.**
# Let $p$ be the probability of the first of two classes, and $q$ the network's.
# The focal loss with $\gamma = 2$ costs $-p\,(1-q)^2 \log q - (1-p)\, q^2 \log (1-q)$ on average.
# Find the best $q$ for $p = 0.9$, on a grid of values.
# What happens to somebody who subtracts the log-prior from such logits?
# Can the true $p$ be had from $q$?
#
# :::{admonition} Solution 3
# :class: dropdown
#
# The best $q$ is 0.694: the network is right about which class is likelier, and not sure enough.
# In logits $\log \frac{p}{1-p} = 2.20$ has become $\log \frac{q}{1-q} = 0.82$.
# A prior of ten to one adds $\log 10 = 2.30$ to the former, and to the latter, where the picture itself tells nothing, only 0.86: the best $q$ for $p = 10/11$ is 0.702.
# Whoever subtracts 2.30 takes out far too much, and the rare class is named too often.
#
# The truth is not lost.
# At the minimum the derivatives of all classes balance, which for any number of classes gives
#
# $$
# p_k \;\propto\; \frac{q_k}{(1 - q_k)^\gamma - \gamma\, q_k (1 - q_k)^{\gamma - 1} \log q_k}
# $$
#
# {cite:p}`charoenphakdee2020`, and these $p_k$ can be moved to any prior.
# But that is a formula for probabilities, not a term to add to logits, and it trusts the network to be at the minimum.
#
# :::

# %% [markdown]
# Next: the same weights, asked not what is in a picture but where: chapter 07.
