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
# # Does infoCAM find the object better than CAM?
#
# As the authors use it, infoCAM+ does: on birds, with maps of 14x14 cells and the window sum that their code always applies, subtracting the least likely class adds 3.7 points (95 % interval 1.3 to 6.0) to the {term}`GT-known` accuracy of CAM.
# Centring the class weights, infoCAM itself, changes it by −0.1 points (−1.0 to 0.7), which leaves the matter open: gradient descent has centred them already.
# The window sum gains 6.9 points (4.6 to 9.3), by where it puts the box: shrinking a map to the middle, without any sum, gains as much, and blur alone costs.
# In the window CAM beats a box in the middle of the picture, which has seen nothing, by 3.5 points (0.4 to 7.3), and without it that is open; maps of 7x7 cells stay far below that box.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
device = "auto"

# %% tags=["remove-input", "nbval-check-output"]
from IPython.display import HTML, Markdown, display
from softmi.evidence.tables import claims_table

display(Markdown(claims_table("07_infocam")))

# %% [markdown]
# ## The settings
#
# The full {term}`profile` runs on the birds of CUB-50: classes 1 to 50 of CUB-200-2011, with a frozen MobileNetV2 and a linear head.
# Pictures are enlarged to 448 pixels, so that maps have 14x14 cells as those of the authors' networks, and, for comparison, taken at 224, which gives 7x7.
# The smoke profile, which ran to make this page, does the same on small scenes with one handwritten digit each, whose place is known.
# The metrics, which are those of `softmi.maps`, and every function of the experiment are shared by the two.

# %% tags=["hide-input"]
import torch
import torch.nn.functional as F

from softmi import pointwise_mutual_information, sum_in_boxes
from softmi.evidence.figures import dark_style, use_style
from softmi.evidence.results import load_result
from softmi.evidence.tables import provenance_table
from softmi.experiments import infocam, infocam_data
from softmi.experiments import infocam_figures as figures, infocam_tables as tables
from softmi.experiments.localisation import CONTRASTS, contrast_maps, cosine_to_centred
from softmi.experiments.localisation_accuracy import blind_boxes, evaluate

torch.set_num_threads(1)  # the same floats whatever the machine is busy with
use_style()

# %% tags=["nbval-check-output"]
infocam.SETTINGS[profile]

# %% [markdown]
# ## The idea in plain words
#
# Many image networks end in the same two steps: average each {term}`feature map` over the picture, then take a weighted sum of the averages. Both steps are linear, so they can be swapped: weight first, then average. The score of a class is then an average over the cells of a small map, and the map shows *where* the score comes from. That is the {term}`class activation map`, {term}`CAM`, of [Zhou et al. (2016)](https://arxiv.org/abs/1512.04150).
#
# A score alone means nothing, though: only differences between the scores of classes do. [Qin et al. (2019)](https://arxiv.org/abs/1911.10688) therefore look at the difference to other classes, because a difference of scores is a difference of {term}`pointwise mutual information`, and has a unit. {term}`infoCAM` subtracts the mean of all other classes, {term}`infoCAM+` the least likely class. [Zhang et al. (2025)](https://arxiv.org/abs/2501.11309) subtract the most likely rivals instead. They are one family, and differ only in what is subtracted, the {term}`contrast`.
#
# ## The formula
#
# With feature maps $A_c(i,j)$ of $h \times w$ cells, head weights $W_{kc}$ and biases $b_k$, the score of class $k$, its {term}`logit`, is
#
# $$
# f_k = b_k + \frac{1}{hw} \sum_{i,j} \sum_c W_{kc} A_c(i,j) , \qquad
# m(i,j) = \frac{1}{hw} \sum_c \Bigl( W_{yc} - \frac{1}{|R|} \sum_{k \in R} W_{kc} \Bigr) A_c(i,j) .
# $$ (eq-map)
#
# The map $m$ of class $y$ against the set $R$ of other classes is in {term}`nats <nat>` a cell.
# $R$ is empty for CAM, all others for infoCAM, the lowest score for infoCAM+, the highest one or three others for the rivals.

# %% [markdown]
# ## A network to look into
#
# A small convolutional network learns the digit in scenes of 48 pixels, in a few seconds. The digit has a random size and may be anywhere; fragments of other digits distract. Nobody tells the network where the digit is.

# %%
learned = infocam_data.scene_network(seed)
scenes, logits, maps = learned.scenes, learned.logits, learned.maps
accuracy = (logits.argmax(1) == scenes.targets).double().mean().item()
assert accuracy > 0.8  # chance is 0.1: it has learned the task
print(f"It names the digit of {accuracy:.1%} of {len(scenes)} scenes that it has not seen.")

# %% [markdown]
# **Check: a map is a complete account.**
# By equation {eq}`eq-map` its cells and the difference of the biases add up to the difference of the scores, for every image and every contrast.

# %%
errors = infocam_data.account_errors(learned)
assert max(errors.values()) < 1e-3  # float32 sums of 144 cells
errors

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three scenes with a digit each, and beside each the map of its class for CAM, infoCAM, infoCAM+, one rival and three rivals, with the true box and the box of the map."}}
_ = figures.draw_maps(learned)

# %% [markdown]
# ## What is right about infoCAM: it does not depend on the gauge
#
# Add the same vector to the weights of all classes. All scores of an image move together, and no probability changes: it is the same classifier. But the map of a class, CAM, changes, because the vector is added to it too. A map that compares classes does not change: the vector cancels. The choice of that vector is the {term}`gauge`: CAM shows something that the classifier does not determine, and infoCAM does not. This is the best argument for infoCAM, and it holds exactly.
#
# :::{prf:theorem} Gauge
# :label: thm-gauge
#
# Let $u$ be any vector, and $W'_k = W_k + u$ for all classes $k$.
# Then the probabilities of every image, and the map $m$ of equation {eq}`eq-map` for every $R$ that is not empty, are those of $W$, while CAM moves by $\frac{1}{hw} \sum_c u_c A_c(i,j)$.
# :::

# %%
moved = infocam_data.other_gauge(learned)  # one vector added to the weights of all classes
moved_logits = learned.features.mean((2, 3)) @ moved.T + learned.bias
assert torch.allclose(moved_logits.softmax(1), logits.softmax(1), atol=1e-4)  # float32
moved_maps = contrast_maps(learned.features, moved, scenes.targets, moved_logits)
change = {k: ((moved_maps[k] - maps[k]).norm() / maps[k].norm()).item() for k in CONTRASTS}
assert change["cam"] > 1  # the change is larger than the map
assert max(change[k] for k in CONTRASTS if k != "cam") < 1e-4  # rounding
change

# %% tags=["hide-input"] mystnb={"image": {"alt": "CAM and infoCAM of one scene for the same classifier in two gauges: CAM turns into its negative, infoCAM stays the same."}}
_ = figures.draw_gauge(learned, moved_maps)

# %% [markdown]
# ## Why it hardly matters after training
#
# Subtracting the mean of the other classes is the same as centring the class weights on their mean $\bar W$:
#
# $$
# W_y - \frac{1}{M-1} \sum_{k \ne y} W_k = \frac{M}{M-1} \bigl( W_y - \bar W \bigr) .
# $$ (eq-centring)
#
# The factor in front disappears when a map is scaled to its range, so infoCAM differs from CAM only by $\bar W$.
# And gradient descent never moves $\bar W$: the gradient of the {term}`cross-entropy` with respect to $f_k$ is $p_k - 1[k = y]$, which sums to zero over the classes.
#
# :::{prf:theorem} Gradient descent stays in its gauge
# :label: thm-mean-weight
#
# Under stochastic gradient descent on the cross-entropy, with momentum or without, the mean weight $\bar W$ keeps its first value; with weight decay $\lambda$ and rates $\eta_t$ and no momentum it is $\prod_t (1 - \eta_t \lambda)$ times that.
# :::
#
# The mean starts small, as that of random vectors does, while the weights of each class grow. So a head that was trained by gradient descent is almost in the gauge of infoCAM already. (Adam rescales each weight by its own history, so its steps need not sum to zero.)

# %%
before, after = learned.before.mean(0), learned.weights.mean(0)
assert infocam_data.centring_error(learned.weights.double()) < 1e-12
# The mean has kept its direction (it moves by rounding alone) and has not grown ...
assert F.cosine_similarity(after, before, dim=0) > 0.999
assert after.norm() <= before.norm()
# ... while class weights have left it behind: ten seeds gave 0.997 or more.
least = cosine_to_centred(learned.weights).min()
assert least > 0.98
print(f"mean weight {before.norm():.3f} -> {after.norm():.3f}; least cosine of class weights and centred ones {least:.4f}")

# %% [markdown]
# ## How many nats are in the box?
#
# Differences of scores have a unit, so a region of a map has an amount of information.
# For one other class $k$ and {term}`prior` $\pi$ the account reads
#
# $$
# \mathrm{PMI}(x; y) - \mathrm{PMI}(x; k) = \sum_{i,j} m(i,j) + (b_y - b_k) - \log \frac{\pi_y}{\pi_k} ,
# $$ (eq-account)
#
# where the last term takes out the prior that a network trained by plain cross-entropy carries.
# The part of the first sum that lies in a box is the information that *this box* holds for $y$ over $k$.
# No threshold and no scaling of the map is needed to say it.
# Below, in the book, stands a map to point at, which shows the account of a few scenes cell by cell.

# %%
prior = learned.train.targets.bincount(minlength=10).double() / len(learned.train)
pmi = pointwise_mutual_information(logits.double(), prior)
y, k, b = scenes.targets, learned.nearest_rivals, learned.bias.double()
inside, total = sum_in_boxes(maps["rivals_1"], scenes.boxes, (48, 48)), maps["rivals_1"].sum((1, 2))
account = total + (b[y] - b[k]) - (prior[y] / prior[k]).log()
assert torch.allclose(account, pmi[range(400), y] - pmi[range(400), k], atol=1e-3)  # float32 maps
area = (scenes.boxes[:, 2:] - scenes.boxes[:, :2]).prod(1).double().mean() / 48**2
assert inside.sum() > 0.5 * total.sum()
print(f"The digit's box is {area:.0%} of the scene and holds {inside.sum() / total.sum():.0%} of what tells it from its rival.")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Nats a cell of one scene against its likeliest rival and against the least likely class, with the true box and the nats inside and outside of it."}}
_ = figures.draw_nats(learned)

# %% tags=["remove-input"]
display(HTML(figures.MAP_TO_POINT_AT))

# %% [markdown]
# A caution before the yardstick: a cell of the map looks at more of the picture than its own square, because of the convolutions before it. "In the box" says where the network writes the information down, not which pixels it came from.
#
# ## Two objects in one scene
#
# Where a scene holds two digits, "where is the four?" is a question about the four *and not the seven*. The map of one class against the other, the $m$ of equation {eq}`eq-account`, asks just that, and its two halves cancel: what speaks for the four speaks against the seven. The network has never seen a scene with two digits.

# %%
two = infocam_data.two_digits(learned)
mine, theirs = two.inside["other"]  # nats in the box of the digit that is explained, and in the other's
assert mine.mean() > 0 > theirs.mean()  # for the one, against the other
assert (mine > theirs).double().mean() > 0.8  # one half would be chance
leak = two.inside["infocam_plus"][1] - two.inside["infocam"][1]  # nats in the wrong box, paired by scene
assert leak.mean() > 4 * leak.std() / len(leak) ** 0.5
display(Markdown(tables.two_digits_table(two)))

# %% [markdown]
# The archived run has five networks and 1,000 scenes; its intervals are over both.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(tables.two_digits_result(load_result("07_infocam_two_digits")["values"])))

# %% [markdown]
# CAM and infoCAM keep to the digit that they explain.
# infoCAM+ does not: the least likely class is in neither place, and so the other digit, too, speaks for the answer over it.
# Against the rivals, of which the other digit is the nearest as a rule, the account has a sign: for in one box, and against in the other.
# A difference of information can be read so; a heat map without a unit cannot.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three scenes with two digits, and beside each the map of the first digit: CAM is bright at both digits, the map against the other digit is red at the one and blue at the other."}}
_ = figures.draw_two_digits(two)

# %% [markdown]
# ## The yardstick
#
# The field judges a map by one box: the bounding box of the region above a threshold, right if its overlap with the true box (intersection over union, {term}`IoU`) is at least one half. {ref}`A figure with a slider <try-threshold>` shows how the box follows the threshold.
#
# * **{term}`GT-known`**: share of images that are right, using the map of the true class.
# * **{term}`Top-1`**: the same, and the classifier must be right too.
# * **{term}`MaxBoxAcc`** of [Choe et al. (2020)](https://arxiv.org/abs/2001.07437): GT-known at the best threshold for the evaluated images.
#   Its second version, **V2**, is the mean over overlaps of 0.3, 0.5 and 0.7, and takes the best box of several.
#
# Choosing the threshold on the evaluated images is a choice made on the test set. Here the threshold comes from images that are neither trained nor evaluated on, and the test-chosen maximum is shown beside it under its own name. The authors' fixed threshold of 0.2 is the third column of its kind.
#
# Two more things belong in every such table, and are missing from most. First, *boxes that have seen nothing*: the whole picture, and a {term}`box in the middle <centred box>` of it. Second, the *{term}`window sum`*: the authors' evaluation code sums each map over a padded window before it draws the box, with and without infoCAM.
#
# ## The window sum, taken apart
#
# A window of $s$ cells with padding turns a map of $h$ cells into one of $h + s - 1$, which is then stretched over the same picture. That does three things at once: it *blurs*, it *fades* towards the border, where windows stick out into the padding, and it *pulls everything towards the centre*, by $h / (h + s - 1)$. The last has nothing to do with information, and everything with the habit of photographers to put the bird in the middle.
#
# `softmi.experiments.localisation.place` does all of it, as the authors do, or one ingredient at a time. Maps are enlarged by bicubic interpolation, as theirs are (`softmi.map_to_picture`).
#
# | geometry | blur | fades at the border | pulled to the centre |
# |---|---|---|---|
# | none | no | no | no |
# | padded (the authors') | yes | yes | yes |
# | faded | yes | yes | no |
# | blur | yes | no | no |
# | shrink | no | no | yes, and smaller |
#
# Tests hold that what `place` calls padded is the sum of the window at every position, and a shrunken map the map itself, smaller.
#
# ## The experiment
#
# A `Task` is all that a table needs: the maps of some images, and what they are compared with. `held` marks the images that choose the threshold; the rest are the test. `evaluate` counts with the library's metrics: `MaxBoxAccuracy` on the former, which chooses the threshold, and `BoxAccuracy` with that threshold on the latter. (`per_image` lets every image choose its own, a common mistake.) The boxes that have seen nothing are those of `softmi.maps`, judged alike: the side of the best centred box is chosen on the held-out images, as thresholds are.

# %%
task = learned.task
held, test = task.splits
recognised = task.logits[test].argmax(1) == task.targets[test]
blind = blind_boxes(task.boxes[test], task.boxes[held], task.size, recognised=recognised)
found = evaluate(task, "cam", "none", thresholds=10)
assert found["top1"] <= found["gt_known"] <= found["max_box_acc"] <= found["per_image"]
shown = ("threshold", "gt_known", "top1", "max_box_acc", "per_image")
{"CAM": {key: found[key] for key in shown}, "boxes": {n: box["gt_known"] for n, box in blind.items()}}

# %% [markdown]
# Differences are {term}`paired by image <paired difference>`, so that an easy image is easy for both sides. Their intervals hold {term}`seeds <seed>`, test images and the choice of the threshold: in each draw of the bootstrap the images put aside, drawn anew too, choose again. The main cells of the grid have all seeds; other windows have the first.
#
# ### Birds: what the full profile adds
#
# CUB-50 has 30 train images of each class, so every fifth of a class is put aside to choose thresholds, and the head trains on the other 24. The official test images are used for nothing but the final numbers. With exactly as many images of each class, {term}`PC-softmax` differs from softmax by the constant $\log M$ and trains the same head; there is one head to look at, not two. The rate was chosen by the cross-entropy of the images put aside.

# %%
values = infocam.run(profile, seed=seed, device=device)
{n: by["none"]["gt_known"]["mean"] for n, by in values["grid"].items()}

# %% [markdown]
# ## The live run
#
# On the scenes the digit may be anywhere, so a box in the middle is worth little, and the maps have to do the work.

# %%
display(Markdown(tables.grid_table(values)))
if profile == "smoke":
    noise = 4 * 0.5 / len(test) ** 0.5  # four standard errors of a share, at most
    shares = {n: by["none"]["gt_known"]["mean"] for n, by in values["grid"].items()}
    assert shares["cam"] > values["baselines"]["full"]["gt_known"] + noise
    assert shares["cam"] > values["baselines"]["centred_best"]["gt_known"] + noise
    assert abs(shares["infocam"] - shares["cam"]) < noise  # the head is in that gauge already

# %% [markdown]
# ## The full result
#
# From here on everything is drawn from the archived run on CUB-50, with 14x14 cells where nothing else is said. GT-known, Top-1 and V2 take the threshold from the images put aside; MaxBoxAcc takes the best one for the test images, and is printed under its own name because it is a choice made on the test set. The last four rows are boxes that have seen nothing.

# %% tags=["remove-input", "nbval-check-output"]
full, coarse = (load_result(name)["values"] for name in infocam.FILES.values())
drawn = load_result("07_infocam_14_cells_maps")["values"]
display(Markdown(tables.grid_table(full, tables.ALL_COLUMNS)))

# %% tags=["hide-input"] mystnb={"image": {"classes": "only-light", "alt": "GT-known accuracy of five maps in four geometries, with intervals. Without a window CAM, infoCAM and infoCAM+ lie just below the line of the best centred box, and close together. With the padded window and shrunk only they are above it, infoCAM+ highest; blurred only they are well below. Rivals stay far below throughout."}}
_ = figures.draw_geometries(full)

# %% tags=["remove-input"] mystnb={"image": {"classes": "only-dark", "alt": "GT-known accuracy of five maps in four geometries, with intervals. Without a window CAM, infoCAM and infoCAM+ lie just below the line of the best centred box, and close together. With the padded window and shrunk only they are above it, infoCAM+ highest; blurred only they are well below. Rivals stay far below throughout."}, "figure": {"name": "fig-geometry", "caption": "GT-known of five maps in four geometries on the birds, in the archived run; bars are two standard errors over images."}}
with dark_style():
    figures.draw_geometries(full)
    figures.plt.show()

# %% [markdown]
# What the geometry does in {numref}`fig-geometry` is plain from averages over all test images: where the true boxes lie, and where CAM is bright.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four averages over the test images. True boxes fill the middle of the picture. CAM without a window is brightest a little above the middle and reaches the border; padded it is concentrated in the middle; shrunk it lies in the middle with an empty border."}}
_ = figures.draw_means(drawn["means"])

# %% [markdown]
# ### What finer cells change
#
# The same network, heads and pictures, enlarged or not.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(tables.cells_table(full, coarse)))

# %% [markdown]
# Finer cells bring CAM up to the box in the middle, and the window then gains about a third of what it gains on coarse maps.
# What this book once said of CAM and the box, it said of coarse cells.
#
# ### The contrast, at a fixed geometry
#
# Difference to CAM in GT-known, paired by image, in percentage points. In the second interval whole classes of birds are drawn in place of images, which asks whether another fifty species would say the same.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(tables.contrast_table(full)))

# %% [markdown]
# infoCAM cannot be told from CAM: their interval includes zero in every geometry. infoCAM+ gains in the window, and shrunk or blurred alone, also if other species are imagined; without a window that is open. Rivals do worse: what tells a bird from its nearest rival is a small part of it, and the yardstick asks for the whole bird.
#
# ### The window sum, taken apart
#
# The same maps through each ingredient alone, against no window. Windows of four cells have all seeds, but for the fading; the others have the head of the first.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(tables.ingredients_table(full)))

# %% [markdown]
# On fine maps blur alone does harm (on coarse ones that is open), and fading at the border does not help. Shrinking alone, which adds nothing to the map, brings all of the gain. It moves boxes towards the centre and makes them smaller; which of the two gains is not separated here.
#
# ### How much of it is the image?
#
# A control: judge every image by the CAM of *another* test image. Whatever such a map scores, it scores by habit and not by looking.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(tables.control_table(full)))

# %% [markdown]
# The wrong image's map is right half as often as the right one's, or more often: much of what the yardstick rewards is where birds usually are.
#
# ### Against the box in the middle

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(tables.centred_box_table(full)))

# %% [markdown]
# Left in their place, maps are not surely above or below the box. In the window and shrunk all three are above it, infoCAM+ also if other species are imagined, and the images put aside choose one of its two cells with every seed. So its map does hold something about the place of the bird that the middle of the picture does not, once it is given the habit of the middle as well.
#
# ### The threshold

# %% tags=["hide-input"] mystnb={"image": {"alt": "GT-known accuracy against the threshold for CAM, infoCAM and infoCAM+ without a window, padded and shrunk. Curves of CAM and infoCAM coincide; those of infoCAM+ peak higher and at higher thresholds. Shrunk and padded curves peak highest, near a threshold of 0.2; without a window the peak is lower and further right."}}
_ = figures.draw_thresholds(full)

# %% [markdown]
# ### The gauge, and the nats, on real heads
#
# The argument of the first half, measured on the trained heads: the mean weight keeps its direction, class weights are centred to within a fraction of a percent, and the maps of CAM and infoCAM are the same map. A head trained with Adam is further from that gauge, as predicted; what follows from it for the boxes is in chapter 08.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(tables.heads_table(full)), Markdown(tables.nats_table(full)))

# %% [markdown]
# Read in nats, as in equation {eq}`eq-account`, without threshold or box, the maps do favour the bird: its box holds more than its area's share of what speaks for its class.
#
# ## What could be wrong
#
# * **Not the paper's setting.** CUB-50 is not CUB-200, and a frozen MobileNetV2 is not a fine-tuned ResNet-50, though its maps have as many cells here. The paper's numbers are therefore *not comparable*, and a fine-tuned backbone may tell a different story about the contrast.
# * **Enlarged pictures.** The pictures have 224 pixels on their short side, and at 448 they show nothing new: only the network looks at smaller parts of them.
# * **Few images choose.** Six a class; that is in the intervals, which are not corrected for their number.
# * **Maps lean.** This backbone pads at the bottom right, as TensorFlow does; maps of mirrored images show that it shifts them to the left, by the fraction of a cell that the result file holds under `mirror`. It lowers all methods alike.
# * **One box a picture.** The yardstick asks for the whole object; a map of what is *informative* need not cover it.
# * **Which flag is which row.** The authors' repository does not say which options made which row of the paper's table; infoCAM and infoCAM+ are our reading of them.

# %% tags=["remove-input", "nbval-check-output"]
display(Markdown(provenance_table(*infocam.FILES.values())))

# %% [markdown]
# ## Exercises
#
# What the solutions say of maps and boxes is checked by tests.
#
# **1. The vector that nobody sees.**
# Add one vector $u$ to the weights of all classes. What becomes of the scores, of the probabilities, of infoCAM and of CAM in equation {eq}`eq-map`? Which $u$ wipes CAM of class 3 off every picture, and which one turns CAM into infoCAM but for a factor?
#
# :::{admonition} Solution 1
# :class: dropdown
#
# All scores of a picture move by the same number, the product of $u$ with the averages of the feature maps, and the softmax divides it out. In the map $m$ the vector enters once with $W_y$ and once with the mean over $R$, and cancels, as long as $R$ is not empty. For CAM it is empty, and each cell moves by $\frac{1}{hw} \sum_c u_c A_c(i,j)$.
#
# With $u = -W_3$ CAM of class 3 is zero in every cell of every picture, and the classifier still tells a 3 from the rest as well as before. With $u = -\bar W$ the weights are centred, and by equation {eq}`eq-centring` CAM is $(M-1)/M$ times infoCAM: the same boxes.
#
# :::
#
# **2. One bright cell.**
# A map of $7 \times 7$ cells is zero but for one cell, in the second row and the sixth column. It is laid over a picture of 280 pixels, each cell a plain square, as it is and summed over the padded window of $s = 4$ cells. Where is the box at a threshold of one half, before and after? By which factor does it grow, and by which does it come nearer to the middle? What does it know about the object afterwards that it did not know before?
#
# :::{admonition} Solution 2
# :class: dropdown
#
# A cell is 40 pixels wide, so the box goes from 200 to 240 across and from 40 to 80 down. Summed, the map has $7 + 4 - 1 = 10$ cells a side, of 28 pixels each, and the bright cell has become a square of four by four: the box goes from 140 to 252 across and from 28 to 140 down.
#
# Its side has grown by $s h / (h + s - 1) = 2.8$. Its centre was 80 pixels from the middle in both directions and is 56 now: nearer by $h / (h + s - 1) = 0.7$, and that is so for every cell. It knows nothing new: both factors depend on $h$ and $s$ alone.
#
# :::
#
# **3. Against whom?**
# Three features are seen in one cell each of a map of $2 \times 2$ cells: the bird's head, its body, and the branch that it sits on. Each is 4 in its cell and zero elsewhere, and these are the weights:
#
# | class | head | body | branch |
# |---|---|---|---|
# | the right one | 2 | 2 | 0 |
# | its nearest rival | 0 | 2 | 0 |
# | the least likely one | 0 | 0 | −1 |
#
# Write down the maps of the right class for CAM, infoCAM, infoCAM+ and against the one rival. Which of them show the whole bird, and which the branch, and why? Which has the largest sum?
#
# :::{admonition} Solution 3
# :class: dropdown
#
# The scores are 4, 2 and −1, and equation {eq}`eq-map` gives:
#
# | map | head | body | branch | sum |
# |---|---|---|---|---|
# | CAM | 2 | 2 | 0 | 4 |
# | infoCAM | 2 | 1 | ½ | 3½ |
# | infoCAM+ | 2 | 2 | 1 | 5 |
# | 1 rival | 2 | 0 | 0 | 2 |
#
# Against the rival all that both share cancels, and only the head is left. That answers "how do I tell the two apart?", while a box is asked for the whole bird. Against the least likely class nothing of the bird cancels. But the branch appears, which says nothing for the right class: it speaks against the other.
#
# The sums are differences of scores. So among the maps against a single class infoCAM+ has the largest sum and one rival the smallest, whatever the picture, and infoCAM is the mean over all of them.
#
# :::
#
# Next: the same question on more data and networks, and what the original evaluation measured: chapter 08.
