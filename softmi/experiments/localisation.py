r"""Weakly supervised object localisation: how chapters 05 and 08 train heads and judge their maps.

A frozen backbone gives feature maps once; a linear head on their averages gives logits, and with
its weights a map of each class. What is varied: the contrast, how a map of a few cells is laid
over the picture, how the head was trained. Everything that is chosen (learning rate, threshold,
side of a centred box) is chosen on held-out images, and judged on others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop

from softmi.datasets.splits import first_per_class
from softmi.losses.prior_corrected import PCSoftmaxLoss
from softmi.maps._sweep import ious_over_thresholds
from softmi.maps.contrast import class_activation_map
from softmi.maps.regions import window_sum
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
    side = 2 * round(side / 2)
    large = F.interpolate(maps[:, None], size=side, mode="bicubic", align_corners=False)[:, 0]
    return center_crop(large, [size, size])  # cuts, or adds zeros: no information there


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

    def ious(
        self,
        name: str,
        geometry: str,
        thresholds: int,
        *,
        multi: bool = False,
        at_least: float = 0.0,
        batch_size: int = 100,
    ) -> Float[Tensor, "images thresholds"]:
        """IoU of each map's box with the true one at each threshold, laid over the picture.

        `at_least` as in :func:`softmi.ious_over_thresholds`.
        """
        parts = torch.arange(len(self.targets)).split(batch_size)
        return torch.cat([
            ious_over_thresholds(place(self.maps[name][part], geometry, self.size),
                                 self.boxes[part], thresholds, multi=multi, at_least=at_least)
            for part in parts
        ])  # fmt: skip

    def with_strangers(self, names: tuple[str, ...] = ("cam",), seed: int = 0) -> "Task":
        """Return the control: each image has the map of another image of its split."""
        order = torch.arange(len(self.targets))
        for index in self.splits:
            draw = torch.Generator().manual_seed(seed)
            shuffled = index[torch.randperm(len(index), generator=draw)]
            order[shuffled] = shuffled.roll(1)  # one cycle: nobody keeps their own
        return replace(self, maps={name: self.maps[name][order] for name in names})


def judge(
    task: Task, name: str, geometry: str, thresholds: int = 100, *, iou: float = 0.5
) -> dict[str, Any]:
    """Localisation of one kind of map: the threshold from held-out images, the rest from the test.

    Args:
        task: Maps, boxes, and the division of the images.
        name: Which maps.
        geometry: As in :func:`place`.
        thresholds: T score thresholds 0, 1/T, ..., as in :class:`softmi.MaxBoxAccuracy`.
        iou: From which overlap on a box is right.

    Returns:
        `gt_known` and `top1` at the threshold that is best for the held-out images; `threshold`;
        `held_out`, its accuracy there; `fixed`, GT-known at 0.2 as in the authors' code;
        `max_box_acc`, at the threshold that is best for the test; `per_image`, each test image at
        its own best threshold (a common mistake); `curve`, over thresholds; `hits`, right or not
        for each test image.

    """
    right = task.ious(name, geometry, thresholds, at_least=iou) >= iou
    held, test = task.splits
    chosen = int(right[held].sum(0).argmax())
    curve = right[test].double().mean(0)
    hits = right[test, chosen]
    recognised = task.logits[test].argmax(1) == task.targets[test]
    return {
        "gt_known": float(hits.double().mean()),
        "top1": float((hits & recognised).double().mean()),
        "threshold": chosen / thresholds,
        "held_out": float(right[held, chosen].double().mean()),
        "fixed": float(curve[round(0.2 * thresholds)]),
        "max_box_acc": float(curve.max()),
        "per_image": float(right[test].any(1).double().mean()),
        "curve": curve,
        "hits": hits,
    }


def judge_v2(
    task: Task, name: str, geometry: str, thresholds: int = 100,
    ious: tuple[float, ...] = (0.3, 0.5, 0.7),
) -> dict[str, float]:  # fmt: skip
    """MaxBoxAccV2 (Choe et al. 2020) at held-out thresholds (`v2`) and at the test's own.

    The mean over `ious` of the share of images with a contour whose box reaches the IoU; each IoU
    has its own threshold.
    """
    overlap = task.ious(name, geometry, thresholds, multi=True, at_least=min(ious))
    held, test = task.splits
    honest, best = [], []
    for iou in ious:
        right = overlap >= iou
        curve = right[test].double().mean(0)
        honest.append(float(curve[int(right[held].sum(0).argmax())]))
        best.append(float(curve.max()))
    return {"v2": sum(honest) / len(ious), "max_box_acc_v2": sum(best) / len(ious)}


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
