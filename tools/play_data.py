"""Compute what the figures of book/play.md show: `python -m tools.play_data [--train]`.

book/_static/play-data.js   numbers of all positions of all controls, for book/_static/play.js
tools/play_network.npz      with --train: the weights of chapter 07's network (minutes)

The pictures that stand there without JavaScript come from the same numbers, see :func:`pictures`.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from softmi import (
    GaussianClasses,
    MaxBoxAccuracy,
    boxes_from_score_maps,
    class_activation_map,
    contrast_weights,
    entropy,
    long_tailed_prior,
    pointwise_mutual_information,
)
from softmi.datasets import digit_scenes
from softmi.evidence.figures import colour, save_figure, use_style
from softmi.models import GAPNet
from softmi.training import TensorBatches, fit, seed_everything

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "book" / "_static" / "play-data.js"
NETWORK = ROOT / "tools" / "play_network.npz"
PREFIX = "window.softmiPlay = "

# --- The class prior ---------------------------------------------------------------------------

POSITIONS = 41  # of the slider: the imbalance factor goes from 1 to 100 in equal ratios
# Factor on the logits, and whether the classifier was made for even classes.
CLASSIFIERS = {
    "best": (1.0, False),
    "cautious": (0.5, False),
    "sure": (2.0, False),
    "even": (1.0, True),
}


def imbalance(position: int) -> float:
    """How many times more frequent the first class is than the last."""
    return 100 ** (position / (POSITIONS - 1))


def task_at(position: int) -> GaussianClasses:
    """The paper's five Gaussians on a line, with a long-tailed prior."""
    means = GaussianClasses.five_on_a_line(1).means
    return GaussianClasses(means, long_tailed_prior(5, imbalance(position)))


def classifier_logits(task: GaussianClasses, classifier: str, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Logits of a plain classifier and of a prior-corrected one, shape (points, classes) each.

    The ideal ones are :math:`\log p(x|k) + \log \pi_k` and :math:`\log p(x|k)`.
    """
    scale, for_even = CLASSIFIERS[classifier]
    ideal = task.log_likelihoods(x)
    return scale * (ideal if for_even else ideal + task.prior.log()), scale * ideal


def readings(task: GaussianClasses, classifier: str) -> dict[str, float]:
    r"""The three estimates of a classifier, as exact expectations over :math:`p(x, y)`, in nats.

    Gauss-Legendre quadrature, 16 nodes on each of 400 panels; beyond the ends lies less than
    1e-20 of the probability.
    """
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(-14.0, 14.0, 401)
    half = (edges[1] - edges[0]) / 2
    x = torch.from_numpy(((edges[:-1] + half)[:, None] + half * nodes).ravel())
    w = torch.from_numpy(np.tile(half * weights, 400))
    density = torch.exp(-0.5 * (x[:, None] - task.means[:, 0]).square()) / math.sqrt(2 * math.pi)
    joint = w[:, None] * task.prior * density  # p(x, y) dx
    plain, corrected = classifier_logits(task, classifier, x[:, None])
    cross_entropy = -float((joint * plain.log_softmax(1)).sum())
    pmi = pointwise_mutual_information(corrected, task.prior, prior_corrected=True)
    return {
        "log_m": math.log(task.classes) - cross_entropy,
        "entropy": float(entropy(task.prior)) - cross_entropy,
        "pc": float((joint * pmi).sum()),
    }


def prior_data() -> dict:
    """All positions of the first figure."""
    tasks = [task_at(i) for i in range(POSITIONS)]
    rows = {name: [readings(task, name) for task in tasks] for name in CLASSIFIERS}
    return {
        "imbalance": [round(imbalance(i), 4) for i in range(POSITIONS)],
        "means": tasks[0].means[:, 0].tolist(),
        "prior": [[round(p, 4) for p in task.prior.tolist()] for task in tasks],
        "label_entropy": [round(float(entropy(task.prior)), 4) for task in tasks],
        "truth": [round(task.mutual_information().value, 4) for task in tasks],
        "readings": {
            name: {key: [round(r[key], 4) for r in rows[name]] for key in rows[name][0]}
            for name in CLASSIFIERS
        },
    }


# --- Scenes and their maps ---------------------------------------------------------------------

CONTRASTS = {  # as in chapter 07
    "cam": {"contrast": "none"},
    "infocam": {"contrast": "mean"},
    "infocam_plus": {"contrast": "least"},
    "rivals_1": {"contrast": "rivals", "rivals": 1},
    "rivals_3": {"contrast": "rivals", "rivals": 3},
}
SCENES, SHOWN, THRESHOLDS, SIZE = 400, 6, 50, 48
UNIT = 1e-4  # maps are kept in whole tenths of a millinat, and all that follows uses these


def train_network() -> None:
    """Train chapter 07's network on its scenes, and keep the weights at half precision."""
    torch.set_num_threads(1)
    train = digit_scenes(1200, torch.Generator().manual_seed(0))
    seed_everything(0)
    net = GAPNet(10, width=16)
    fit(
        net, TensorBatches(train.images, train.targets), F.cross_entropy,
        epochs=7, batch_size=25, seed=0, device="cpu",
        optimizer=lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.9, weight_decay=1e-4),
        scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=7 * 48),
    )  # fmt: skip
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    halves = {k: a.astype(np.float16) if a.dtype == np.float32 else a for k, a in arrays.items()}
    np.savez_compressed(NETWORK, counts=train.targets.bincount(minlength=10).numpy(), **halves)


def network() -> tuple[GAPNet, Tensor]:
    """The kept network, and the prior of the scenes that it was trained on."""
    with np.load(NETWORK) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    counts = state.pop("counts").double()
    net = GAPNet(10, width=16)
    net.load_state_dict(state)  # copies half into single precision
    return net.eval(), counts / counts.sum()


def others(logits: Tensor, targets: Tensor, name: str) -> list[list[int]]:
    """Classes that each map subtracts: none, all others, the least likely or the likeliest."""
    ranked = logits.scatter(1, targets[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
    count = CONTRASTS[name].get("rivals")
    picked = {"none": ranked[:, :0], "mean": ranked, "least": ranked[:, -1:]}
    return picked.get(CONTRASTS[name]["contrast"], ranked[:, :count]).tolist()


def enlarge(maps: Tensor) -> Tensor:
    """Maps in whole units as scores of the picture's pixels, (images, SIZE, SIZE)."""
    return F.interpolate(UNIT * maps[:, None].double(), size=SIZE, mode="bicubic")[:, 0]


def scene_data() -> dict:
    """Scenes, maps, their boxes at every threshold, and how many scenes come out right."""
    net, prior = network()
    scenes = digit_scenes(SCENES, torch.Generator().manual_seed(1), split="test")
    with torch.no_grad():
        parts = [net(batch) for batch in scenes.images.split(100)]
        logits, features = (torch.cat(part) for part in zip(*parts, strict=True))
        weight, bias = net.head.weight.detach(), net.head.bias.detach().double()
    right = logits.argmax(1) == scenes.targets
    shown = [*range(SHOWN - 1), int((~right[SHOWN:]).nonzero()[0]) + SHOWN]  # the last is misread
    targets, pmi = scenes.targets, pointwise_mutual_information(logits.double(), prior)
    found = {
        "thresholds": THRESHOLDS,
        "count": SCENES,
        "accuracy": float(right.double().mean()),
        "curves": {},
        "scenes": [
            {
                "digit": int(targets[i]),
                "predicted": int(logits[i].argmax()),
                "box": [int(v) for v in scenes.boxes[i]],
                # Sixteen greys, a hexadecimal digit each.
                "image": "".join(f"{int(v):x}" for v in (15 * scenes.images[i]).round().flatten()),
                "maps": {},
            }
            for i in shown
        ],
    }
    for name, contrast in CONTRASTS.items():
        maps = class_activation_map(features, weight, targets, logits=logits, **contrast)
        maps = (maps.double() / UNIT).round()
        metric = MaxBoxAccuracy(thresholds=THRESHOLDS)
        metric.update(enlarge(maps), scenes.boxes)
        found["curves"][name] = metric.correct_counts[0].tolist()
        steps = metric.score_thresholds.tolist()
        scores = enlarge(maps[shown])
        boxes = torch.stack([boxes_from_score_maps(scores, t) for t in steps], dim=1)
        head = contrast_weights(bias[:, None], targets, logits=logits, **contrast)[:, 0]
        against = others(logits, targets, name)
        for i, scene, box in zip(shown, found["scenes"], boxes, strict=True):
            y, r = targets[i], against[i]
            scene["maps"][name] = {
                "cells": maps[i].int().flatten().tolist(),
                "boxes": box.flatten().tolist(),
                "against": r,
                "bias": round(float(head[i]), 4),
                # What the cells and the bias account for: a logit, or a difference of PMIs.
                **({"logit": round(float(logits[i, y]), 4)} if not r else {
                    "prior": round(float(prior.log()[y] - prior.log()[r].mean()), 4),
                    "pmi": round(float(pmi[i, y] - pmi[i, r].mean()), 4),
                }),
            }  # fmt: skip
    return found


def as_script(data: dict) -> str:
    """The data as a script that assigns it, which also loads where a page may not read files."""
    text = json.dumps(data, separators=(",", ":"))
    text = text.replace('{"digit"', '\n{"digit"').replace('],"', '],\n"')
    return f"// Written by `python -m tools.play_data`; do not edit.\n{PREFIX}{text};\n"


def load() -> dict:
    """Read the data back."""
    text = DATA.read_text(encoding="utf-8")
    return json.loads(text[text.index(PREFIX) + len(PREFIX) :].rstrip().rstrip(";"))


# --- Pictures ----------------------------------------------------------------------------------

METHODS = {  # the key of a line or a map, and the method whose colour it has
    "truth": "truth",
    "log_m": "softmax + log M",
    "entropy": "softmax + H(Y)",
    "pc": "PC-softmax",
    "cam": "CAM",
    "infocam": "infoCAM",
    "infocam_plus": "infoCAM+",
    "rivals_1": "rivals",
    "rivals_3": "rivals",
    "true_box": "true box",
}


def pictures(folder: Path) -> None:
    """Write what book/play.md shows without JavaScript, in a light and a dark version."""
    data = load()
    for dark in (False, True):
        name = "dark" if dark else "light"
        ink, ground = ("#d8d8d8", "#121212") if dark else ("#333333", "#ffffff")
        use_style()
        keys = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.titlecolor")
        plt.rcParams.update(dict.fromkeys(keys, ink) | {"image.interpolation": "nearest"})
        for key in ("figure.facecolor", "axes.facecolor", "savefig.facecolor"):
            plt.rcParams[key] = ground
        plt.rcParams["grid.color"] = plt.rcParams["axes.edgecolor"] = "#88888855"
        _prior_picture(data["prior"], ink, folder / f"play-prior-{name}.svg")
        _threshold_picture(data["scenes"], folder / f"play-threshold-{name}.png")
        _nats_picture(data["scenes"], folder / f"play-nats-{name}.png")


def _prior_picture(prior: dict, ink: str, path: Path) -> None:
    figure, axes = plt.subplots()
    lines, best = prior["imbalance"], prior["readings"]["best"]
    axes.fill_between(lines, prior["label_entropy"], 1.7, color=ink, alpha=0.1, linewidth=0)
    axes.plot(lines, prior["label_entropy"], color=ink, linewidth=1.2, label="ceiling H(Y)")
    for key, width, text in (
        ("log_m", 2.5, "log M − CE"), ("entropy", 7, "H(Y) − CE"), ("pc", 2.5, "PC-softmax")
    ):  # fmt: skip
        axes.plot(lines, best[key], color=colour(METHODS[key]), linewidth=width, label=text)
    axes.plot(lines, prior["truth"], ":", color=ink, linewidth=1.5, label="truth, I(X;Y)")
    axes.annotate("above H(Y): impossible", (95, 1.5), ha="right")
    axes.set(xscale="log", xlim=(1, 100), ylim=(0, 1.7), ylabel="nats",
             xlabel="most frequent class : rarest class")  # fmt: skip
    axes.set_xticks([1, 10, 100], ["1 : 1", "10 : 1", "100 : 1"])
    axes.legend(loc="lower left", ncols=2)
    save_figure(figure, path)


def _draw_scene(axes: Axes, scene: dict, title: str) -> None:
    grey = np.array([int(c, 16) for c in scene["image"]]).reshape(SIZE, SIZE)
    axes.imshow(grey, cmap="gray", extent=(0, SIZE, SIZE, 0))
    _bare(axes, title)
    _draw_box(axes, scene["box"], "true box")


def _bare(axes: Axes, title: str) -> None:
    axes.set(xticks=[], yticks=[], xlim=(0, SIZE), ylim=(SIZE, 0))
    axes.set_title(title)


def _draw_box(axes: Axes, box: Sequence[int], method: str, **style: str) -> None:
    x0, y0, x1, y1 = box
    frame = {"fill": False, "edgecolor": colour(method), "linewidth": 1.8} | style
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **frame))


def _threshold_picture(data: dict, path: Path) -> None:
    scene, step = data["scenes"][1], round(0.4 * THRESHOLDS)
    kind = scene["maps"]["infocam"]
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.5), width_ratios=(1, 1, 1.5))
    _draw_scene(axes[0], scene, f"a {scene['digit']}")
    scores = enlarge(torch.tensor(kind["cells"]).view(1, 12, 12))[0]
    share = ((scores - scores.min()) / (scores.max() - scores.min())).numpy()
    opacity = np.where(share > step / THRESHOLDS, 1.0, 0.35)
    axes[1].imshow(share, cmap="magma", alpha=opacity, extent=(0, SIZE, SIZE, 0))
    _bare(axes[1], "infoCAM, above 0.4")
    _draw_box(axes[1], scene["box"], "true box")
    box = kind["boxes"][4 * step : 4 * step + 4]
    for ax in axes[:2]:
        _draw_box(ax, box, "infoCAM", linestyle="--")
    at = np.arange(THRESHOLDS) / THRESHOLDS
    for name, counts in data["curves"].items():
        chosen = name == "infocam"
        axes[2].plot(at, np.array(counts) / data["count"], color=colour(METHODS[name]),
                     linewidth=2.5 if chosen else 1, alpha=1 if chosen else 0.6)  # fmt: skip
    axes[2].plot(at[step], data["curves"]["infocam"][step] / data["count"], "o",
                 color=colour("infoCAM"))  # fmt: skip
    axes[2].set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1))
    axes[2].set_title("share of scenes that are right")
    save_figure(figure, path)


def _nats_picture(data: dict, path: Path) -> None:
    scene = data["scenes"][1]
    kind = scene["maps"]["rivals_1"]
    figure, axes = plt.subplots(1, 2, figsize=(6.2, 2.7), width_ratios=(1, 1.25))
    _draw_scene(axes[0], scene, f"a {scene['digit']}")
    cells = UNIT * np.array(kind["cells"]).reshape(12, 12)
    top = np.abs(cells).max()
    shown = axes[1].imshow(cells, cmap="RdBu_r", vmin=-top, vmax=top, extent=(0, SIZE, SIZE, 0))
    _bare(axes[1], f"{scene['digit']} against {kind['against'][0]}")
    _draw_box(axes[1], scene["box"], "true box")
    figure.colorbar(shown, ax=axes[1], label="nats a cell").outline.set_visible(False)
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the data, and with --train first the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train the network anew")
    if parser.parse_args(arguments).train:
        train_network()
    colours = {key: colour(method) for key, method in METHODS.items()}
    text = as_script({"colours": colours, "prior": prior_data(), "scenes": scene_data()})
    DATA.write_text(text, encoding="utf-8")
    print(f"{DATA.relative_to(ROOT)}: {len(text.encode()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
