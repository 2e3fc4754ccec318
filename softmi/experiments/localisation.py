r"""Weakly supervised object localisation: how chapters 07 and 08 train heads and make their maps.

A frozen backbone gives feature maps once; a linear head on their averages gives logits, and with
its weights a map of each class. What is varied: the contrast, how a map of a few cells is laid
over the picture, how the head was trained. Everything that is chosen (learning rate, threshold,
side of a centred box) is chosen on held-out images, and judged on others:
:mod:`softmi.experiments.localisation_accuracy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy
from torchvision.transforms.functional import center_crop

from softmi.datasets.splits import first_per_class
from softmi.information.estimate import mutual_information
from softmi.losses.prior_corrected import PCSoftmaxLoss
from softmi.maps import (
    class_activation_map,
    map_to_picture,
    share_of_cells,
    sum_in_boxes,
    window_sum,
)
from softmi.training.data import TensorBatches
from softmi.training.loop import fit, predict_logits, seed_everything

# Arguments of `class_activation_map`, by the names that results use.
CONTRASTS: dict[str, dict[str, Any]] = {
    "cam": {"contrast": "none"},
    "infocam": {"contrast": "mean"},
    "infocam_plus": {"contrast": "least"},
    "rivals_1": {"contrast": "rivals", "rivals": 1},
    "rivals_3": {"contrast": "rivals", "rivals": 3},
}
# The same in tables and figures.
CONTRAST_NAMES = {
    "cam": "CAM",
    "infocam": "infoCAM",
    "infocam_plus": "infoCAM+",
    "rivals_1": "1 rival",
    "rivals_3": "3 rivals",
}
GEOMETRY_NAMES = {
    "none": "no window",
    "padded": "padded window",
    "faded": "blurred and faded",
    "blur": "blurred only",
    "shrink": "shrunk only",
}
BOX_NAMES = {
    "full": "whole picture",
    "centred_75": "centred, 3/4 side",
    "centred_50": "centred, 1/2 side",
    "centred_best": "centred, best side",
}
EPOCHS, BATCH_SIZE, MOMENTUM, WEIGHT_DECAY = 30, 64, 0.9, 1e-4
RATES = {
    "sgd": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "adam": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
}
SKEW = 3  # every other class keeps a third of its images, the ratio of the authors' split


@dataclass(frozen=True)
class HeadKind:
    """How a head is trained.

    Attributes:
        prior_corrected: PC-softmax instead of softmax.
        optimizer: "sgd" (momentum, Nesterov) or "adam".
        skewed: Every second class (the first, the third, ...) has a third of the images.

    """

    prior_corrected: bool = False
    optimizer: str = "sgd"
    skewed: bool = False


HEADS: dict[str, HeadKind] = {
    "softmax": HeadKind(),
    "pc_softmax": HeadKind(prior_corrected=True),
    "softmax_adam": HeadKind(optimizer="adam"),
    "softmax_skewed": HeadKind(skewed=True),
    "pc_softmax_skewed": HeadKind(prior_corrected=True, skewed=True),
}


def train_head(
    pooled: Float[Tensor, "images channels"],
    targets: Int[Tensor, " images"],
    kind: HeadKind,
    *,
    rate: float,
    seed: int,
    epochs: int = EPOCHS,
    device: str = "cpu",
) -> tuple[nn.Linear, Float[Tensor, "classes channels"], Float[Tensor, " classes"]]:
    """Train a linear head on averaged feature maps; the rate falls as a cosine to zero.

    Args:
        pooled: Means of the feature maps over their cells.
        targets: Labels, each class present.
        kind: Loss, optimiser, and whether classes are thinned out first.
        rate: Learning rate at the start.
        seed: Of the initial weights and of the order of the data.
        epochs: Passes over the data.
        device: Fabric's accelerator.

    Returns:
        The head, its weights before training, and the class frequencies that it was trained with.

    """
    classes = int(targets.max()) + 1
    if kind.skewed:
        counts = targets.bincount(minlength=classes)
        thin = torch.arange(classes) % 2 == 0
        kept = first_per_class(targets, torch.where(thin, counts // SKEW, counts).tolist())
        pooled, targets = pooled[kept], targets[kept]
    prior = targets.bincount(minlength=classes).double() / len(targets)
    seed_everything(seed)
    head = nn.Linear(pooled.shape[1], classes)
    first = head.weight.detach().clone()
    steps = epochs * -(-len(targets) // BATCH_SIZE)

    def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        if kind.optimizer == "adam":
            return torch.optim.Adam(parameters, rate)
        return torch.optim.SGD(
            parameters, rate, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
        )

    fit(
        head,
        TensorBatches(pooled, targets),
        PCSoftmaxLoss(prior) if kind.prior_corrected else F.cross_entropy,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        optimizer=optimizer,
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps),
        seed=seed,
        device=device,
    )
    return head.cpu(), first, prior


def choose_rate(
    learn: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], optimizer: str, *, seed: int = 0,
    epochs: int = EPOCHS, device: str = "cpu",
) -> tuple[float, dict[str, float]]:  # fmt: skip
    """Rate of `RATES` with the least cross-entropy on held-out images, and that of each rate.

    Chosen once for each backbone, data set and optimiser, for plain softmax with all images; all
    other heads take it as it is.

    Args:
        learn: Averaged feature maps and labels to train with.
        held: The same of images that are neither trained nor tested on.
        optimizer: "sgd" or "adam".
        seed: Of the heads.
        epochs: Passes over the data.
        device: Fabric's accelerator.

    """
    found = {}
    for rate in RATES[optimizer]:
        kind = HeadKind(optimizer=optimizer)
        head, *_ = train_head(*learn, kind, rate=rate, seed=seed, epochs=epochs, device=device)
        found[rate] = float(F.cross_entropy(predict_logits(head, held[0]), held[1]))
    return min(found, key=found.__getitem__), {str(rate): loss for rate, loss in found.items()}


def contrast_maps(
    feature_maps: Float[Tensor, "all channels height width"]
    | Float[np.ndarray, "all channels height width"],
    weights: Float[Tensor, "classes channels"],
    classes: Int[Tensor, " images"],
    logits: Float[Tensor, "images classes"],
    *,
    index: Int[Tensor, " images"] | None = None,
    batch_size: int = 256,
) -> dict[str, Float[Tensor, "images height width"]]:
    """Map of the given class against each contrast of `CONTRASTS`.

    Args:
        feature_maps: A tensor or a memory-mapped array, also in half precision: read once, batch
            by batch.
        weights: Of the head.
        classes: Class to explain in each image.
        logits: By which the other classes are ranked.
        index: Rows of `feature_maps` that belong to `classes`; None for all.
        batch_size: Images at a time.

    """
    index = torch.arange(len(classes)) if index is None else index
    parts: dict[str, list[Tensor]] = {name: [] for name in CONTRASTS}
    for rows in torch.arange(len(classes)).split(batch_size):
        features = torch.as_tensor(np.asarray(feature_maps[index[rows].numpy()])).float()
        for name, contrast in CONTRASTS.items():
            maps = class_activation_map(
                features, weights.detach(), classes[rows], logits=logits[rows], **contrast
            )
            parts[name].append(maps)
    return {name: torch.cat(part) for name, part in parts.items()}


def place(
    maps: Float[Tensor, "images cells cells"], geometry: str, size: int
) -> Float[Tensor, "images size size"]:
    r"""Lay maps of h cells over a picture, with the authors' window sum or one ingredient of it.

    A window of s cells with padding turns h cells into h + s - 1, which the authors' code
    stretches over the same picture. `geometry` is "none" or a kind and the window s:

    ==========  =====  ===========  ======================================================
    geometry    blur   fades        shrinks towards the centre by h / (h + s - 1)
    ==========  =====  ===========  ======================================================
    padded_s    yes    yes          yes: the authors' window sum, :func:`softmi.window_sum`
    faded_s     yes    yes          no
    blur_s      yes    no           no
    shrink_s    no     no           yes
    none        no     no           no
    ==========  =====  ===========  ======================================================

    *Fades* means at the border, where windows reach into the padding. All are enlarged by bicubic
    interpolation, as theirs.

    Args:
        maps: Shape (images, h, h).
        geometry: As above, such as "none" or "padded_4".
        size: Side of the picture in pixels.

    Raises:
        ValueError: An unknown geometry.

    """
    kind, _, suffix = geometry.partition("_")
    kinds = ("padded", "faded", "blur", "shrink")
    if geometry != "none" and (kind not in kinds or not suffix.isdigit() or int(suffix) < 1):
        raise ValueError(f"geometry must be 'none' or one of {kinds} with _s, got {geometry!r}")
    window, cells = int(suffix or 1), maps.shape[-1]
    grown = cells + window - 1
    side: float = size
    if kind in ("padded", "faded"):  # the authors' sum; zeros beyond the border
        maps = window_sum(maps, window)
    if kind == "blur":  # the border's cells continue beyond it
        wide = F.pad(maps[:, None], (window - 1,) * 4, mode="replicate")[:, 0]
        maps = window_sum(wide, window, pad=False)
    if kind in ("blur", "faded"):  # put back where it belongs
        side = size * grown / cells
    if kind == "shrink":
        side = size * cells / grown
    large = map_to_picture(maps, 2 * round(side / 2))  # even, so that the middle stays there
    return center_crop(large, [size, size])  # cuts, or adds zeros: no information there


def geometry_label(geometry: str) -> str:
    """Return the geometry in words, such as "padded window 4"."""
    kind, _, window = geometry.partition("_")
    return f"{GEOMETRY_NAMES[kind]} {window}".strip()


@dataclass(frozen=True)
class Task:
    """Maps and what they are compared with.

    Attributes:
        maps: By name, shape (images, cells, cells) each.
        logits: f, shape (images, classes), whose argmax is the prediction.
        targets: Labels, shape (images,).
        boxes: x0 y0 x1 y1 in pixels, x1 and y1 exclusive, shape (images, 4).
        held: The images that choose thresholds; the others are the test.
        size: Side of the picture in pixels.

    """

    maps: Mapping[str, Float[Tensor, "images cells cells"]]
    logits: Float[Tensor, "images classes"]
    targets: Int[Tensor, " images"]
    boxes: Float[Tensor, "images 4"]
    held: Bool[Tensor, " images"]
    size: int

    @property
    def splits(self) -> tuple[Int[Tensor, " held"], Int[Tensor, " test"]]:
        """Indices of the images that choose, and of those that are judged."""
        return self.held.nonzero()[:, 0], (~self.held).nonzero()[:, 0]

    def with_strangers(self, names: tuple[str, ...] = ("cam",), seed: int = 0) -> "Task":
        """Return the control: each image has the map of another image of its split."""
        order = torch.arange(len(self.targets))
        for index in self.splits:
            draw = torch.Generator().manual_seed(seed)
            shuffled = index[torch.randperm(len(index), generator=draw)]
            order[shuffled] = shuffled.roll(1)  # one cycle: nobody keeps their own
        return replace(self, maps={name: self.maps[name][order] for name in names})


def put_aside(targets: Int[Tensor, " images"], is_train: Bool[Tensor, " images"]) -> Tensor:
    """Return which images choose: every fifth train image of each class."""
    train = F.one_hot(targets) * is_train[:, None]
    return is_train & ((train.cumsum(0) * train).sum(1) % 5 == 0)


def cosine_to_centred(weights: Float[Tensor, "classes channels"]) -> Float[Tensor, " classes"]:
    r"""Cosine between the weights of each class and the same, centred on their mean.

    .. math:: \cos(W_k, W_k - \bar W)

    One where the weights are in the gauge of infoCAM already.
    """
    return F.cosine_similarity(weights, weights - weights.mean(0))


def describe_head(task: Task, weights: Float[Tensor, "classes channels"]) -> dict[str, Any]:
    """Return what is said of a head beside the grid, on the test images.

    Returns:
        `accuracy`; `information`, H(Y) - CE for equally many images of each class, in nats;
        `cosine` and `smallest_cosine` of `cosine_to_centred`; `correlation` of the cells of
        each map with those of CAM, mean over images; `nats` of each map: `total` and `inside` of
        the true box; `box`, its share of the picture.

    """
    test = task.splits[1]
    logits, targets, boxes = task.logits[test], task.targets[test], task.boxes[test]
    weights, size = weights.detach(), (task.size, task.size)
    uniform = torch.full((len(weights),), 1 / len(weights), dtype=torch.float64)
    maps = {name: of_all[test] for name, of_all in task.maps.items()}
    flat = {n: m.flatten(1) - m.flatten(1).mean(1, keepdim=True) for n, m in maps.items()}
    cosine = cosine_to_centred(weights)
    return {
        "accuracy": float(multiclass_accuracy(logits, targets, len(weights), average="micro")),
        "information": mutual_information(logits, targets, uniform).value,
        "cosine": float(cosine.mean()),
        "smallest_cosine": float(cosine.min()),
        "correlation": {
            n: float(F.cosine_similarity(flat["cam"], m).mean()) for n, m in flat.items()
        },
        "nats": {
            n: {
                "total": float(m.sum((1, 2)).mean()),
                "inside": float(sum_in_boxes(m.double(), boxes, size).mean()),
            }
            for n, m in maps.items()
        },
        "box": float(share_of_cells(boxes, (1, 1), size).mean()),
    }


def moved_boxes(
    boxes: Float[Tensor, "... 4"], size: int, *, scale: float = 1.0, pull: float = 0.0
) -> Float[Tensor, "... 4"]:
    r"""Boxes made smaller about their own centre, or moved towards the picture's, or both.

    .. math:: c' = (1 - p)\, c + p\, \frac{S}{2} , \qquad w' = s\, w

    with centre c and sides w of a box, the picture's side S, scale s and pull p. Shrinking a map
    by a factor s about the centre of the picture is `scale=s, pull=1 - s`; this takes the two
    apart. Boxes may leave the picture; they are not clipped.

    Args:
        boxes: x0 y0 x1 y1, shape (..., 4).
        size: S in pixels.
        scale: s.
        pull: p.

    """
    centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    centre = (1 - pull) * centre + pull * size / 2
    return torch.cat([centre - scale * half, centre + scale * half], -1)
