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
# {term}`PC-softmax`, on the longest tail: on CIFAR-10-LT it has the highest {term}`class mean` of five losses under one recipe, 50.5 ± 0.5 %, ahead even of subtracting the log-prior from plain softmax afterwards, by 2.4 points (95 % interval 1.4 to 3.4).
# Where the tail is short that correction does as well (0.0 points apart on MNIST, −0.1 to 0.2), and on MNIST class weights and LDAM-DRW do.
# What it gives to rare classes it takes from common ones (17.2 points, 14.0 to 20.4, under the class shares of training); but its {term}`logits <logit>`, like those of plain softmax, carry a known {term}`prior` and can be moved to any test by adding a term, which those of {term}`focal loss` and margins cannot.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
device = "auto"
data = "all"
tier = "cpu"

# %% tags=["remove-input", "nbval-check-output"]
from IPython.display import Markdown, display
from softmi.evidence.tables import claims_table

display(Markdown(claims_table("06_long_tailed_losses")))

# %% [markdown]
# {term}`Verdicts <verdict>` are computed from the archived full results; "not run" means that there is none yet.
#
# ## The settings
#
# Every loss is trained by one and the same recipe on each data set, and every number in a recipe was there before: in the authors' code, or in that of [Cao et al. (2019)](https://arxiv.org/abs/1906.07413).
# Nothing is chosen on a test set, nor anywhere else: `softmi.experiments.long_tails.train_network` is given the test pictures without their labels, and answers with the network of the last epoch.
#
# The smoke {term}`profile`, which ran to make this page, cuts a long tail into the handwritten digits that come with scikit-learn.
# The full profile has three data sets, with five {term}`seeds <seed>` each.
# CIFAR-10-LT comes in two tiers: a small network for a computer without a GPU, whose result is archived, and the network and length of the literature for one with it, `tier = "gpu"`, which has not been run here.

# %%
PROFILES = {
    "smoke": {"data": ["digits"], "seeds": 3, "taus": {"digits": [2.0]}},
    "full": {"data": ["mnist", "cifar10lt", "cub50"], "seeds": 5, "taus": {}},
}
S = PROFILES[profile]  # an unknown profile is a KeyError
seeds = list(range(seed, seed + S["seeds"]))
names = S["data"] if data == "all" else [data]
if tier == "gpu":
    names = ["cifar10lt_gpu"]

# %% tags=["hide-input"]
import functools
import hashlib
import itertools
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

import softmi
from softmi import adjust_logits, balanced_class_weights, entropy, mutual_information
from softmi.experiments import long_tails as longtail
from softmi.losses import margins as imbalance, prior_corrected as losses, priors
from softmi.models import small as models
from softmi.datasets import (
    CUB,
    cifar10,
    cifar10_long_tailed,
    content_sha256,
    data_root,
    digits,
    first_per_class,
    imbalanced_cub_indices,
    long_tailed_counts,
    mnist,
    paper_mnist_indices,
    sha256,
)
from softmi.models import extract_feature_maps
from softmi.evidence.figures import colour, dark_style, label_line, use_style
from softmi.experiments.long_tails import LOSSES, RECIPES, carried_prior, train_network
from softmi.metrics import group_accuracies
from softmi.models import mobilenet_v2_features
from softmi.evidence.tables import format_points, markdown_table
from softmi.evidence.ledger import load_claims
from softmi.evidence.results import load_result, project_root, save_result
from softmi.evidence.statistics import paired_difference, summarise
from softmi.evidence.units import code_digest, kept_unit

NAME = "06_long_tailed_losses"
torch.set_num_threads(1)
use_style()
if profile == "smoke":
    device = "cpu"

# %% tags=["remove-input", "nbval-check-output"]
rows = [
    (r.data + (", GPU tier" if key.endswith("gpu") else ""), r.network, r.epochs, r.batch_size, f"{r.rate:g}",
     f"{r.momentum:g}", f"{r.weight_decay:g}", r.source)
    for key, r in RECIPES.items()
]  # fmt: skip
header = ("data", "network", "epochs", "batch", "rate", "momentum", "weight decay", "from")
display(Markdown(markdown_table(header, rows)))

# %% [markdown]
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
# ## The formula
#
# With $n_k$ samples of class $k$, prior $\pi_k = n_k / n$, logits $f_k$ and $q = \text{softmax}(f)$:
#
# | name | loss of a sample $(x, y)$ | numbers chosen | the logits carry |
# |---|---|---|---|
# | softmax, and *post-hoc* | $-\log q_y$ | none | $\log \pi_k$ |
# | class-weighted ([Cui et al., 2019](https://arxiv.org/abs/1901.05555)) | $-w_y \log q_y$, $\; w_k \propto (1-\beta)/(1-\beta^{n_k})$ | $\beta = 0.9999$ | $\log \pi_k w_k$ |
# | focal ([Lin et al., 2017](https://arxiv.org/abs/1708.02002)) | $-(1-q_y)^\gamma \log q_y$ | $\gamma = 2$ | $\log \pi_k$, distorted |
# | LDAM-DRW ([Cao et al., 2019](https://arxiv.org/abs/1906.07413)) | softmax of $s\,(\cos\theta_k - \Delta_k [k = y])$, $\; \Delta_k \propto n_k^{-1/4}$; weights in the last fifth of the epochs | $\Delta_{\max} = 0.5$, $s = 30$, $\beta$, the epoch | $\log \pi_k w_k$, distorted |
# | PC-softmax | $-\log \bigl( e^{f_y} / \sum_k \pi_k e^{f_k} \bigr)$ | none | nothing |
# | logit adjustment ([Menon et al., 2021](https://arxiv.org/abs/2007.07314)) | $-\log \text{softmax}_y (f + \tau \log \pi)$ | $\tau$ | $(1 - \tau) \log \pi_k$ |
#
# The last column is what the best possible logits differ by from those for equally likely classes.
# It follows from the minimum of the expected loss: a weight $w_k$ acts as if class $k$ were $w_k$ times as common.
# For focal loss and for margins there is no such term (exercise 3 tells what there is for focal loss); we take what is left when focus and margin go to zero.
#
# PC-softmax is {term}`logit adjustment` with $\tau = 1$ and the {term}`balanced softmax` (equation {eq}`eq-identity`); chapter 05 trains them side by side and finds the same weights.
# In code all of this is a dictionary of losses and one function that moves logits from the prior that they carry to the one that is wanted, by the rule of equation {eq}`eq-rule`.


# %%
def moved(logits, loss, counts, wanted=None):
    """Logits of a network trained with `loss`, for a test of the wanted prior (None: equal)."""
    return adjust_logits(logits, train_prior=carried_prior(loss, counts), test_prior=wanted)


# A weight counts as frequency: inverse frequencies make all classes equally common.
counts = torch.tensor(long_tailed_counts())
weights = balanced_class_weights(counts).double()
torch.testing.assert_close(weights * counts / (weights * counts).sum(), torch.full((10,), 0.1).double())

# %% [markdown]
# ## The data
#
# | data | training | ratio | tests |
# |---|---|---|---|
# | MNIST | the authors' part, as in chapter 05 | 10 : 1, two kinds of digit | their test part; the official test set |
# | CIFAR-10-LT | the first $n_k$ pictures of each class, $n_k$ falling exponentially | 100 : 1 | all 10,000, equally many of each class |
# | CUB-50 | birds of classes 1 to 50; every second class cut to its first ten pictures, as the authors' lists are | 3 : 1 | the first 5 or 15 of each class, as in the authors' lists; all |
#
# CIFAR-10-LT is not one data set: groups that use it draw the pictures of each class by other rules, and the pack that was used here has them in another order than the original archive.
# The counts are the same.


# %% tags=["hide-input"]
def enlarged(x):
    return (F.interpolate(x, scale_factor=2, mode="bilinear") - 0.305) / 0.376


def digits_task():
    x, y = digits("train")
    kept = first_per_class(y, long_tailed_counts(10, 60, 12))
    tests, answers = digits("test")
    return (enlarged(x[kept]), y[kept]), {"official": (enlarged(tests), answers)}


def mnist_task():
    images, labels = mnist("train")
    train, test = paper_mnist_indices(labels)
    official, answers = mnist("test")

    def normalised(x):
        return (x[:, None].float() / 255 - 0.1307) / 0.3081

    return (normalised(images[train]), labels[train]), {
        "authors": (normalised(images[test]), labels[test]),
        "official": (normalised(official), answers),
    }


def cifar_task():
    return cifar10_long_tailed(), {"official": cifar10("test")}


def birds_task():
    """Pooled features of a frozen network; computed once, and shared with chapter 07."""
    cub, backbone = CUB(), mobilenet_v2_features()
    content = sha256(cub.path) if cub.path.is_file() else str(len(cub))
    maps = extract_feature_maps(backbone, cub, f"CUB {content} 224", device=device)
    pooled = torch.stack([torch.from_numpy(m.astype(np.float32)).mean((1, 2)) for m in maps])
    train, everything = imbalanced_cub_indices(cub)
    _, cut = imbalanced_cub_indices(cub, cut_test=True)
    parts = {"authors": cut, "official": everything}
    return (pooled[train], cub.targets[train]), {
        name: (pooled[part], cub.targets[part]) for name, part in parts.items()
    }


TASKS = {
    "digits": digits_task,
    "mnist": mnist_task,
    "cifar10lt": cifar_task,
    "cifar10lt_gpu": cifar_task,
    "cub50": birds_task,
}


@functools.cache
def task(name):
    return TASKS[name]()


# %%
for name in names:
    (_, y), tests = task(name)
    found = torch.bincount(y).tolist()
    print(f"{RECIPES[name].data}: {len(y):,} training pictures, {max(found)} to {min(found)} a class")
    expected = {"mnist": 16_500, "cifar10lt": 12_406, "cifar10lt_gpu": 12_406, "cub50": 1_000}
    assert len(y) == expected.get(name, len(y))

# %% [markdown]
# ## The experiment
#
# A unit is one network: a data set, a loss and a seed.
# In the full profile each unit is kept when it is done, and goes on from its last epoch if it was cut short, to the same weights.
# Within a seed all losses start from the same weights (but for the last layer of LDAM, which gives cosines) and see the same batches, so that differences can be taken {term}`pair by pair <paired difference>`.

# %% tags=["hide-input"]
CACHE = project_root() / "_build" / "full" / NAME
# PC-softmax with another tau is trained for the curve alone.
TRAINED = {name: [*LOSSES, *(f"tau={tau:g}" for tau in S["taus"].get(name, []))] for name in names}
CODE = code_digest(longtail.train_network, longtail.network_of, longtail.loss_of, softmi.fit,
                   softmi.training.CropsAndFlips, losses, priors, imbalance, models)  # fmt: skip


def data_digest(name):
    train, tests = task(name)
    parts = [tensor.contiguous().numpy() for pair in (train, *tests.values()) for tensor in pair]
    return [hashlib.sha256(part.tobytes()).hexdigest()[:16] for part in parts]


def unit(name, loss, seed, train, inputs):
    torch.set_num_threads(1)  # also in joblib's workers
    run = functools.partial(train_network, RECIPES[name], loss, seed, train, inputs, device=device)
    if profile == "smoke":
        return run()
    made_by = {"recipe": vars(RECIPES[name]), "device": device, "code": CODE, "data": DATA[name],
               "numbers": [longtail.GAMMA, longtail.BETA, longtail.MARGIN, longtail.SCALE],
               "torch": str(torch.__version__)}  # fmt: skip
    return kept_unit(CACHE, f"{name}-{loss}-{seed}", made_by, lambda path: run(checkpoint=path))


DATA = {name: data_digest(name) for name in names} if profile == "full" else {}

# %%
started = time.perf_counter()
jobs = [(name, *job) for name in names for job in itertools.product(TRAINED[name], seeds)]
workers = 2 if profile == "full" and tier == "cpu" else 1
inputs = {name: {test: x for test, (x, _) in task(name)[1].items()} for name in names}
units = (delayed(unit)(*job, task(job[0])[0], inputs[job[0]]) for job in jobs)
done = dict(zip(jobs, Parallel(n_jobs=workers)(units), strict=True))

# %% [markdown]
# ## What is measured
#
# - *{term}`Micro accuracy <micro accuracy>`*: the share of right answers on the test as it is.
# - *Class mean*: the accuracy within each class, averaged over classes.
# - *At the training prior*: the accuracies of the classes weighted by their shares of the training set, as on a test as skewed as that.
# - *Many, medium, few*: the mean over classes with more than 100, with 20 to 100, and with fewer than 20 training pictures ([Liu et al., 2019](https://arxiv.org/abs/1904.05160)).
# - *{term}`Calibration <calibration>` error*: how far the probability of an answer is from the share of right answers, on average over 15 bins of that probability.
# - *Information*: the estimate of $I(X;Y)$ in {term}`nats <nat>`, with the logits moved to the test's prior.


# %%
def accuracies(logits, labels, counts):
    within = MulticlassAccuracy(len(counts), average=None)(logits, labels).double()
    return {
        "micro": MulticlassAccuracy(len(counts), average="micro")(logits, labels),
        "class_mean": within.mean(),
        "at_training_prior": within @ (counts / counts.sum()).double(),
    } | group_accuracies(within, counts)


# %%
def certainty(logits, labels):
    bins = MulticlassCalibrationError(logits.shape[1], n_bins=15)
    return {
        "calibration_error": bins(logits.softmax(1), labels),
        "cross_entropy": F.cross_entropy(logits, labels),
    }


def shares(labels, classes):
    return torch.bincount(labels, minlength=classes).double() / len(labels)


# %% [markdown]
# Each network is asked by four rules: as it is, for equally likely classes, for the training prior, and for the class shares of the test.
# The last is no tuning, but it is knowledge that one may not have.

# %% tags=["hide-input"]
MEASURES = ("micro", "class_mean", "at_training_prior", "many", "medium", "few")
METHODS = {loss: (loss, "as_trained") for loss in LOSSES} | {"post-hoc": ("softmax", "equal")}
SHORT = {"softmax": "softmax", "class-weighted": "weighted", "focal": "focal", "LDAM-DRW": "ldam",
         "PC-softmax": "pc", "post-hoc": "posthoc"}  # fmt: skip
CORRECTED = ("class-weighted", "LDAM-DRW", "PC-softmax", "post-hoc")
PRIOR_POWERS = np.linspace(-1, 1, 17)
TAUS = np.linspace(0, 2.5, 11)


def gather(records):
    """One nested mapping of summaries over seeds from one nested mapping a seed."""
    if isinstance(records[0], dict):
        return {key: gather([record[key] for record in records]) for key in records[0]}
    return summarise([float(record) for record in records])


def by_rule(logits, loss, labels, counts):
    """Accuracy and certainty of one network by each rule."""
    prior, classes = counts / counts.sum(), len(counts)
    logits = {
        "as_trained": logits,
        "equal": moved(logits, loss, counts),
        "training": moved(logits, loss, counts, prior),
        "test": moved(logits, loss, counts, shares(labels, classes)),
    }
    return {r: accuracies(g, labels, counts) | certainty(g, labels) for r, g in logits.items()} | {
        "information": mutual_information(logits["test"], labels).value
    }


def seeds_against_methods(accuracy):
    """Standard deviation over seeds of the corrected methods, and over their means."""
    found = {}
    for m in ("micro", "class_mean"):
        table = np.array([accuracy[n][r][m]["values"] for n, r in map(METHODS.get, CORRECTED)])
        over_seeds = float(np.sqrt(table.var(1, ddof=1).mean()))
        over_methods = float(table.mean(1).std(ddof=1))
        found[m] = {"over_seeds": over_seeds, "over_methods": over_methods,
                    "ratio": over_seeds / max(over_methods, 1e-9)}  # fmt: skip
    return found


def differences(accuracy):
    """Every pair of methods, paired by seed, and PC-softmax with the prior put back."""
    ways = {SHORT[m]: way for m, way in METHODS.items()} | {
        "pc_prior_back": ("PC-softmax", "training"),
        "softmax_moved": ("softmax", "test"),
        "pc_moved": ("PC-softmax", "test"),
    }
    return {
        f"{a}_minus_{b}": {
            m: paired_difference(*(accuracy[n][r][m]["values"] for n, r in (ways[a], ways[b])))
            for m in accuracy["softmax"]["as_trained"]
        }
        for a, b in itertools.permutations(ways, 2)
    }


def reliability(logits, labels):
    """Ten bins of the probability of the answer: its mean, the share of right ones, their weight."""
    sure, answers = torch.cat([g.softmax(1) for g in logits]).max(1)
    right = (answers == labels.repeat(len(logits))).double()
    bins = (10 * sure).long().clamp(max=9)
    number = torch.bincount(bins, minlength=10)
    mean = [torch.zeros(10).double().index_add(0, bins, v.double()) / number.clamp(min=1) for v in (sure, right)]
    return {"sure": mean[0].tolist(), "right": mean[1].tolist(), "share": (number / number.sum()).tolist()}


def curves(logits, labels, counts):
    """Accuracy against the prior of the test, and against tau, each a mean over seeds."""
    prior = counts / counts.sum()
    recall = MulticlassAccuracy(len(counts), average=None)

    def mean_over_seeds(networks, points):
        return np.mean([[float(p) for p in points(g)] for g in networks], axis=0)

    found = {"prior": {"power": PRIOR_POWERS}, "tau": {"tau": TAUS, "trained": {}}}
    tests = [prior**t / (prior**t).sum() for t in PRIOR_POWERS]
    for loss in ("softmax", "PC-softmax"):
        found["prior"][loss] = {
            "as_trained": mean_over_seeds(logits[loss], lambda g: [q @ recall(g, labels) for q in tests]),
            "moved": mean_over_seeds(
                logits[loss], lambda g, n=loss: [q @ recall(moved(g, n, counts, q), labels) for q in tests]
            ),
        }
        inside = {"softmax": 0.0, "PC-softmax": 1.0}[loss]
        for measure, weights in {"class_mean": torch.ones_like(prior) / len(prior), "at_training_prior": prior}.items():
            found["tau"].setdefault(loss, {})[measure] = mean_over_seeds(
                logits[loss],
                lambda g, i=inside, w=weights: [w @ recall(g - (t - i) * prior.log(), labels) for t in TAUS],
            )
    for loss in logits:
        tau = {"softmax": 0.0, "PC-softmax": 1.0}.get(loss) if "=" not in loss else float(loss[4:])
        if tau is not None:
            found["tau"]["trained"][f"{tau:g}".replace(".", "_")] = {
                m: summarise([float(accuracies(g, labels, counts)[m]) for g in logits[loss]])
                for m in ("class_mean", "at_training_prior")
            }
    return found


def evaluate(name):
    """All numbers of one data set, test by test."""
    (_, y), tests = task(name)
    counts, values = torch.bincount(y), {"counts": torch.bincount(y), "pictures": {"train": len(y)}}
    for test, (_, labels) in tests.items():
        logits = {loss: [done[name, loss, s]["logits"][test] for s in seeds] for loss in TRAINED[name]}
        accuracy = gather([
            {loss: by_rule(logits[loss][i], loss, labels, counts) for loss in logits}
            for i in range(len(seeds))
        ])  # fmt: skip
        there, commonest = shares(labels, len(counts)), int(counts.argmax())
        values["pictures"][test] = len(labels)
        values[test] = {
            "accuracy": accuracy,
            "differences": differences(accuracy),
            "spread": seeds_against_methods(accuracy),
            "commonest_class": {
                "micro": there[commonest], "class_mean": 1 / len(counts),
                "at_training_prior": counts[commonest] / counts.sum(),
            },
            "uniform_guess": dict.fromkeys(("micro", "class_mean", "at_training_prior"), 1 / len(counts)),
            "label_entropy": float(entropy(there)),
            "reliability": {
                loss: {
                    "as_trained": reliability(logits[loss], labels),
                    "moved": reliability([moved(g, loss, counts, there) for g in logits[loss]], labels),
                }
                for loss in LOSSES
            },
            "curves": curves(logits, labels, counts),
        }  # fmt: skip
    return values


# %%
values = {name: evaluate(name) for name in names}

# %% tags=["hide-input"]
TIERS = {"cifar10lt": "CPU", "cifar10lt_gpu": "GPU"}
PRETRAINING = {"cub50": "ImageNet"}


def files_of(name):
    if name == "mnist":
        paths = sorted((data_root() / "MNIST" / "raw").glob("*.gz"))
    else:
        paths = [CUB().path] if name == "cub50" else []
    found = {path.name: sha256(path) for path in paths if path.is_file()}
    if name.startswith("cifar"):
        found |= {"long tail": content_sha256(*task(name)[0]), "test": content_sha256(*cifar10("test"))}
    return found


for name in names:
    recipe = RECIPES[name]
    save_result(
        f"{NAME}_{name}",
        values[name],
        protocol={
            "data": recipe.data,
            "network": recipe.network,
            "pre-training": PRETRAINING.get(name, "none"),
            "optimiser": f"SGD, rate {recipe.rate:g}, momentum {recipe.momentum:g}",
            "batch": recipe.batch_size,
            "epochs": recipe.epochs,
            "values from": recipe.source,
            "selection": "none: the last epoch",
        },
        profile=profile,
        seeds=seeds,
        seconds=sum(done[job]["seconds"] for job in jobs if job[0] == name),
        device="cpu" if tier == "cpu" else device,
        data=files_of(name) if profile == "full" else {},
    )

# %% [markdown]
# ## The live run
#
# Mean and standard deviation over seeds; every digit is one of "few" or "medium" here.
# A few hundred steps on two hundred pictures rank no losses.
# LDAM in particular multiplies its logits by thirty and so takes larger steps at the same rate: at a rate that suits the others its training can fail, and at the small one that it bears the others learn slowly.
# What the live run can show is what one and the same network does under other rules.


# %% tags=["hide-input"]
NAMES = {"micro": "micro", "class_mean": "class mean", "at_training_prior": "at the training prior",
         "many": "many", "medium": "medium", "few": "few"}  # fmt: skip


def in_percent(number):
    if not isinstance(number, dict):
        return f"{100 * number:.1f}"
    return f"{100 * number['mean']:.1f} ± {100 * number['sd']:.1f}"


def accuracy_table(found):
    """Methods against measures, with two baselines that look at no picture."""
    measures = [m for m in MEASURES if m in found["accuracy"]["softmax"]["as_trained"]]
    rows = [
        (method, *(in_percent(found["accuracy"][n][r][m]) for m in measures))
        for method, (n, r) in METHODS.items()
    ]
    back = found["accuracy"]["PC-softmax"]["training"]
    rows.append(("PC-softmax, prior put back", *(in_percent(back[m]) for m in measures)))
    for key, name in {"commonest_class": "always the commonest class", "uniform_guess": "uniform guess"}.items():
        rows.append((name, *(in_percent(found[key][m]) if m in found[key] else "–" for m in measures)))
    return markdown_table(("%, trained with", *(NAMES[m] for m in measures)), rows)


def draw_methods(found, title):
    """A row a method: a dot a seed and the mean, for two accuracies."""
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
    for axes, measure in zip(panels, ("class_mean", "at_training_prior"), strict=True):
        for row, (method, (n, r)) in enumerate(METHODS.items()):
            points = 100 * np.array(found["accuracy"][n][r][measure]["values"])
            axes.plot(points, np.full(len(points), row), "o", color=colour(method), markersize=5, alpha=0.5)
            axes.plot([points.mean()] * 2, [row - 0.3, row + 0.3], color=colour(method), linewidth=3)
        axes.set(xlabel=f"{NAMES[measure]}, %", ylim=(len(METHODS) - 0.4, -0.6))
    panels[0].set_yticks(range(len(METHODS)), METHODS)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    plt.show()


live = values[names[0]]["official"]
display(Markdown(accuracy_table(live)))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, a row for each of six methods, a dot for each seed and a bar for the mean, from the live run. Left: in class mean PC-softmax and post-hoc are ahead of plain softmax. Right: at the training prior they are not."}}
draw_methods(live, f"{RECIPES[names[0]].data}, this run: what each method gives and takes")

# %% [markdown]
# The checks hold the run to what theory says; standard errors are those of differences paired by seed.


# %%
def standard_errors(difference):
    d = np.array(difference["values"])
    return d.mean() / (d.std(ddof=1) / len(d) ** 0.5)


found = live["differences"]
for better in ("pc", "posthoc"):  # both decide for equally likely classes
    over = found[f"{better}_minus_softmax"]
    assert "few" not in over or standard_errors(over["few"]) > 2  # MNIST has no class of so few
    tilt = np.array(over["class_mean"]["values"]) - np.array(over["at_training_prior"]["values"])
    assert standard_errors({"values": tilt}) > 2

# %%
for loss in LOSSES:  # each has learnt, and none reads more information than there is
    number = live["accuracy"][loss]
    assert number["as_trained"]["class_mean"]["mean"] > 3 * live["uniform_guess"]["class_mean"]
    assert number["as_trained"]["micro"]["mean"] > 3 * live["commonest_class"]["micro"]
    assert number["information"]["mean"] < live["label_entropy"]

# %% [markdown]
# ## What $\tau$ does
#
# In logit adjustment $\tau$ says how much of the log-prior is taken out: 0 leaves plain softmax, 1 is Bayes' rule for equally likely classes, and more favours the rare classes beyond that.
# It can be set before training, in the loss, or after it, in the rule; the lines are two trained networks that were asked with every $\tau$, and the dots are networks trained with theirs.
# Nothing is picked from these curves: $\tau = 1$ was fixed beforehand, and what is best on a test set is not what one would have chosen.


# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels against tau from 0 to 2.5. Left: the class mean rises from tau 0 and flattens. Right: the accuracy at the training prior falls as tau grows. Lines: post-hoc on softmax and on PC-softmax; dots: networks trained with tau."}}
def draw_tau(found, title):
    """Class mean and accuracy at the training prior against tau."""
    curve = found["curves"]["tau"]
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.4))
    for axes, measure in zip(panels, ("class_mean", "at_training_prior"), strict=True):
        for loss, label in {"softmax": "post-hoc", "PC-softmax": "PC-softmax"}.items():
            y = 100 * np.array(curve[loss][measure])
            axes.plot(curve["tau"], y, color=colour(label), linewidth=2)
        for tau, number in curve["trained"].items():
            axes.errorbar(float(tau.replace("_", ".")), 100 * number[measure]["mean"], 100 * number[measure]["sd"],
                          fmt="o", color=colour("truth"), markersize=6)  # fmt: skip
        axes.axvline(1, color="#999999", linewidth=1, zorder=0)
        axes.set(xlabel=r"$\tau$ in all", ylabel="%", title=NAMES[measure])
    names = {"post-hoc": "softmax, post-hoc", "PC-softmax": "PC-softmax, moved on", "truth": r"trained with $\tau$"}
    for height, (key, text) in zip((0.22, 0.13, 0.04), names.items(), strict=True):
        panels[1].text(0.03, height, text, color=colour(key), transform=panels[1].transAxes)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    plt.show()


draw_tau(live, f"{RECIPES[names[0]].data}, this run: more for the rare is less for the common")

# %% [markdown]
# ## A test of any prior
#
# The accuracies within the classes give the micro accuracy on a test of any class shares, as in chapter 05.
# Where a full run is archived this section and the next draw that on CIFAR-10-LT, else the live run.
# Here the shares are $q_k \propto \pi_k^{\,t}$: those of training at $t = 1$, equal ones at $t = 0$, and the long tail the other way round at $t = -1$.
# Solid: the answers of the network as trained, one straight rule for all tests. Dashed: one and the same network, corrected to each prior at test time.


# %% tags=["hide-input"] mystnb={"image": {"alt": "Micro accuracy against the power t of the training prior in the test, from minus 1 to 1. Softmax as trained rises steeply with t, PC-softmax as trained is flatter. The dashed lines, corrected to each prior, lie above or on the solid ones over most of the range."}}
def draw_priors(found, title):
    """Micro accuracy against the test prior, as trained and moved."""
    curve = found["curves"]["prior"]
    _, axes = plt.subplots(figsize=(7.2, 3.6))
    for loss in ("softmax", "PC-softmax"):
        for kind, style in {"as_trained": "-", "moved": "--"}.items():
            axes.plot(curve["power"], 100 * np.array(curve[loss][kind]), style, color=colour(loss), linewidth=2)
        label_line(axes, 1.0, 100 * curve[loss]["as_trained"][-1], loss)
    axes.set_xticks([-1, 0, 1], ["tail reversed", "equal shares", "as in training"])
    axes.set(xlabel="class shares of the test", ylabel="micro accuracy, %", title=title, xlim=(-1.05, 1.3))
    plt.show()


main, where = live, f"{RECIPES[names[0]].data}, this run"
try:  # the archived run on CIFAR-10-LT, where there is one
    main = load_result(f"{NAME}_cifar10lt")["values"]["official"]
    where = "CIFAR-10-LT, archived full run"
except FileNotFoundError:
    pass
draw_priors(main, f"{where}: dashed, corrected to the test's prior")

# %% [markdown]
# ## Certainty
#
# The probability that a network gives to its answer, against how often it is right.
# Above the diagonal a network is too modest, below it too sure.
# The right panel shows the same networks after their logits were moved to the prior of the test.


# %% tags=["hide-input"] mystnb={"image": {"alt": "Reliability diagrams in two panels, as trained and moved to the test's prior. Points of five losses: the share of right answers against the probability of the answer, with the diagonal of perfect calibration."}}
def draw_reliability(found, title):
    """Share of right answers against the probability of the answer."""
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.8), sharey=True)
    kinds = {"as_trained": "as trained", "moved": "moved to the test's prior"}
    for axes, (kind, name) in zip(panels, kinds.items(), strict=True):
        axes.plot([0, 100], [0, 100], color="#999999", linewidth=1)
        for loss in LOSSES:
            points = {k: np.array(v) for k, v in found["reliability"][loss][kind].items()}
            used = points["share"] > 0.005
            axes.plot(100 * points["sure"][used], 100 * points["right"][used], "o-", color=colour(loss), markersize=4)
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="probability of the answer, %", title=name)
    for i, loss in enumerate(LOSSES):
        panels[0].text(0.03, 0.93 - 0.08 * i, loss, color=colour(loss), transform=panels[0].transAxes)
    panels[0].set_ylabel("right, %")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    plt.show()


draw_reliability(main, f"{where}: how far to trust the probabilities")


# %% tags=["hide-input"]
def certainty_table(found):
    """Calibration error and cross-entropy before and after the correction, and information."""
    rows = []
    for loss in LOSSES:
        number = found["accuracy"][loss]
        before, after = number["as_trained"], number["test"]
        nats = number["information"]
        rows.append((loss, *(in_percent(n["calibration_error"]) for n in (before, after)),
                     *(f"{n['cross_entropy']['mean']:.3f}" for n in (before, after)),
                     f"{nats['mean']:.3f} ± {nats['sd']:.3f}".replace("-", "−")))  # fmt: skip
    header = ("trained with", "calibration error, %", "moved to the test's prior", "cross-entropy, nats", "moved",
              "information, nats")  # fmt: skip
    return markdown_table(header, rows) + f"\n\nThe ceiling of the information is $H(Y) = {found['label_entropy']:.3f}$ nats.\n"


display(Markdown(certainty_table(live)))

# %% [markdown]
# Scores of LDAM are cosines times thirty, made for margins and not for probabilities: what they say about information is a lower bound as any other, and a loose one.

# %% [markdown]
# ## The full results
#
# From here on everything is read from the archived runs of the full profile.

# %% tags=["remove-input", "nbval-check-output"]
TITLES = {
    "cifar10lt": "CIFAR-10-LT, a hundred to one (CPU tier: GAPNet, 16 channels wide)",
    "cifar10lt_gpu": "CIFAR-10-LT, a hundred to one (GPU tier: ResNet-32)",
    "mnist": "MNIST, ten to one",
    "cub50": "CUB-50, three to one",
}
PARTS = {"authors": "the authors' test part", "official": "the official test set"}
archived, missing = {}, []
for name in TITLES:
    try:
        archived[name] = load_result(f"{NAME}_{name}")
    except FileNotFoundError:
        missing.append(TITLES[name])
full = {name: record["values"] for name, record in archived.items()}
notes = [f"* Not run here: {title}." for title in missing]
display(Markdown("\n".join(notes or ["* All are there."])))

# %% tags=["remove-input", "nbval-check-output"]
def each_test(table, note=""):
    """A heading and a table for each archived data set and test."""
    blocks = []
    for name, found in full.items():
        for test, part in PARTS.items():
            if test in found:
                pictures = found["pictures"]
                line = f"**{TITLES[name]}**, {part}: {pictures['train']:,} to train, {pictures[test]:,} to test."
                blocks.append(f"{line}\n\n{table(found[test])}\n")
    display(Markdown("\n".join(blocks) or "Nothing is archived yet."))


each_test(accuracy_table)

# %% [markdown]
# ### Differences
#
# Seed by seed, in points, with Student's 95 % interval.
# "up" and "down" mean that the whole interval lies on one side of zero, "open" that it does not.

# %% tags=["remove-input", "nbval-check-output"]
CONTRASTS = {
    "pc_minus_softmax": "PC-softmax − softmax",
    "posthoc_minus_softmax": "post-hoc − softmax",
    "weighted_minus_softmax": "class-weighted − softmax",
    "focal_minus_softmax": "focal − softmax",
    "ldam_minus_softmax": "LDAM-DRW − softmax",
    "pc_minus_posthoc": "PC-softmax − post-hoc",
    "pc_minus_weighted": "PC-softmax − class-weighted",
    "pc_minus_ldam": "PC-softmax − LDAM-DRW",
    "pc_prior_back_minus_softmax": "PC-softmax, prior put back − softmax",
}


def difference_table(found):
    measures = [m for m in ("micro", "class_mean", "at_training_prior", "few") if m in found["differences"]["pc_minus_softmax"]]
    rows = [
        (text, *(format_points(found["differences"][key][m]) for m in measures))
        for key, text in CONTRASTS.items()
    ]
    return markdown_table(("difference", *(NAMES[m] for m in measures)), rows)


each_test(difference_table)

# %% tags=["hide-input"] mystnb={"image": {"classes": "only-light", "alt": "Two panels, class mean and accuracy at the training prior, with a row for each of six methods, a dot for each of five seeds and a bar for the mean, from the archived run on CIFAR-10-LT."}}
if "cifar10lt" in full:
    draw_methods(main, f"{where}: what each method gives and takes")

# %% tags=["remove-input"] mystnb={"image": {"classes": "only-dark", "alt": "Two panels, class mean and accuracy at the training prior, with a row for each of six methods, a dot for each of five seeds and a bar for the mean, from the archived run on CIFAR-10-LT."}, "figure": {"name": "fig-long-tail", "caption": "CIFAR-10-LT, archived run: the accuracy of each method; a dot is a seed."}}
if "cifar10lt" in full:
    with dark_style():
        draw_methods(main, f"{where}: what each method gives and takes")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels against tau from 0 to 2.5, class mean and accuracy at the training prior, from the archived run on CIFAR-10-LT."}}
if "cifar10lt" in full:
    draw_tau(main, f"{where}: what tau does")

# %% tags=["remove-input", "nbval-check-output"]
each_test(certainty_table)

# %% [markdown]
# ### Does the seed matter as much as the method?
#
# Among the four methods of {numref}`fig-long-tail` that are made for the long tail (class-weighted, LDAM-DRW, PC-softmax, post-hoc): the standard deviation over seeds within a method, and over the means of the methods.

# %% tags=["remove-input", "nbval-check-output"]
rows = []
for name, found in full.items():
    for test in PARTS:
        for measure in ("micro", "class_mean") if test in found else ():
            number = found[test]["spread"][measure]
            rows.append((f"{RECIPES[name].data}, {PARTS[test]}", NAMES[measure],
                         *(f"{100 * number[k]:.2f}" for k in ("over_seeds", "over_methods")), f"{number['ratio']:.2f}"))  # fmt: skip
header = ("test", "accuracy", "over seeds, points", "over methods, points", "ratio")
display(Markdown(markdown_table(header, rows) if rows else "Nothing is archived yet."))

# %% [markdown]
# ### Beside the papers
#
# The published numbers that somebody can look up, as they stand in the ledger, and ours.

# %% tags=["remove-input", "nbval-check-output"]
OURS = {  # claim: result, and the number in it
    "lt-menon-softmax": ("cifar10lt", "official", "softmax", "as_trained", "class_mean"),
    "lt-menon-posthoc": ("cifar10lt", "official", "softmax", "equal", "class_mean"),
    "lt-menon-loss": ("cifar10lt", "official", "PC-softmax", "as_trained", "class_mean"),
    "cub-pc-micro": ("cub50", "authors", "PC-softmax", "as_trained", "micro"),
    "cub-pc-class-mean": ("cub50", "authors", "PC-softmax", "as_trained", "class_mean"),
}
ledger, rows = {claim.id: claim for claim in load_claims()}, []
for key, (name, test, network, rule, measure) in OURS.items():
    claim, ours = ledger[key], "not run"
    if name in full:
        ours = in_percent(full[name][test]["accuracy"][network][rule][measure])
    what = f"{claim.protocol['data']}: {network if rule == 'as_trained' else 'post-hoc'}, {NAMES[measure]}"
    rows.append((what, f"{100 * claim.value:.2f}", claim.protocol["network"], ours, RECIPES[name].data, RECIPES[name].network))
header = ("number", "published, %", "with", "ours, %", "on", "with")
display(Markdown(markdown_table(header, rows)))

# %% [markdown]
# None of these rows compares like with like.
#
# *CIFAR-10-LT.* Menon et al. train a deeper network for many more epochs; our CPU tier is made for a computer without a GPU.
# What can be compared is the order of the methods.
#
# *CUB.* Ours is a quarter of its classes and a head on the frozen features of a network that was trained on ImageNet.
# Theirs is a network that had seen the birds of iNaturalist before, and the script that trained it imports a module that is not in the repository.
# The tail is short there, three to one: how much there is to gain is the distance between two rules on one network, and not between the numbers of two papers.

# %% [markdown]
# ## What could be wrong
#
# * **One recipe may suit one loss better than another.** LDAM's factor of thirty acts like a larger rate, as the live run shows; tuned one by one, on a held-out part of the training set, the order may change. We tuned none.
# * **Ten epochs are few.** Re-weighting in the last fifth then means two. The GPU tier has the length of the literature and can be run by anyone who has the hardware; it has not been run here.
# * **Intervals are over seeds, not over tests.** They say what another training run would give on the same pictures, and five runs give wide ones.
# * **Many differences are shown.** Among so many intervals one in twenty misses zero by chance.
# * **Our CIFAR-10-LT holds other pictures than that of other papers**, with the same numbers of each class.
# * **CUB-50 is a head on frozen features.** A linear head on features of another data set says little about losses for networks that are trained from the first layer on.

# %% tags=["remove-input", "nbval-check-output"]
blocks = []
for name, record in archived.items():
    source, protocol = record["provenance"], record["protocol"]
    rows = [*protocol.items(), ("seeds", ", ".join(map(str, source["seeds"]))), ("date", source["date"]),
            ("commit", f"`{source['commit'][:10]}`" + ("" if source["clean"] else ", with changes")),
            ("device", source["device"]), ("training, summed over units", f"{source['seconds'] / 60:.0f} minutes on a shared machine"),
            ("versions", ", ".join(f"{k} {v}" for k, v in source["versions"].items())),
            *((f"`{k}`", f"sha256 `{v[:12]}…`") for k, v in source["data"].items())]  # fmt: skip
    blocks.append(markdown_table((RECIPES[name].data, ""), rows))
display(Markdown("\n\n".join(blocks) or "Nothing is archived yet."))

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
# Put 0.5 beside the 2.0 in `taus` of the smoke profile and run the notebook again: where would the new dot lie if every network were the best possible one?
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
