"""The command `softmi cam`: where in a picture a classifier finds its information, in nats."""

import argparse
import difflib
import io
import os
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms.functional import normalize, to_tensor

from softmi import models
from softmi.cli._cam_figure import cam_figure
from softmi.cli.mi import read_prior
from softmi.datasets._files import decode_image
from softmi.maps.activation_maps import ActivationMaps, Activations
from softmi.maps.boxes import boxes_from_score_maps
from softmi.maps.contrast import contrast_weights
from softmi.maps.regions import sum_in_boxes

DESCRIPTION = """\
Draw where a network finds what speaks for a class in IMAGE, and count it in nats.

The network is one of torchvision's that averages its last feature maps over cells before one
linear layer: resnet, densenet, efficientnet, convnext, mobilenet_v2, squeezenet and others. Its
weights are read from FILE; nothing is downloaded. A network whose logits are no sum over cells,
such as vgg16 or mobilenet_v3, is refused.
"""
EXAMPLE = """\
write the weights:
  torch.save(model.state_dict(), "weights.pt")

then:
  softmi cam bird.jpg --weights weights.pt
  softmi cam bird.jpg --weights weights.pt --model resnet50 --names names.txt --class wren

what the numbers mean:
  against     what the class is compared with. Only a difference between classes is a difference
              of information and has a unit; the map of a class alone (none, plain CAM) changes
              when one vector is added to the weights of all classes, though no probability does.
              mean (infoCAM): all other classes, the default. least (infoCAM+): the least likely
              class. rivals: the likeliest others, for "why this and not that?".
  box         around the largest region where the map is above a share (--threshold) of its range,
              what speaks against the class counting as zero. 0.2 is a convention; a better share
              comes from held-out images with known boxes.
  nats        what the cells inside and outside of the box add to log p(y|x), less the same of the
              other classes. The difference of biases belongs to no cell. All together are the
              difference of the network's own logits.
  --prior     of the training classes, for a network trained by plain softmax: takes the
              difference of log priors out, so that the sum is one of pointwise mutual
              information. Without it the two agree for balanced classes, and for a network that
              was trained with a prior-corrected loss.

The image is stretched to --size pixels on both sides, so that the map covers all of it.
A box says where the network looks, not where the object ends.

exit status: 0, 1 for data that cannot be used, 2 for wrong options.
"""
CONTRASTS = {"mean": "infoCAM", "least": "infoCAM+", "rivals": "Finer-CAM", "none": "CAM"}
# Their input transform depends on where they were trained, which the weights do not tell.
AMBIGUOUS = ("googlenet", "inception_v3")
OURS: dict[str, Any] = {
    "gapnet": partial(models.GAPNet, channels=3),
    "resnet50_wsol": models.resnet50_wsol,
    "vgg16_gap": models.vgg16_gap,
}
WRAPPED = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "_forward_module.", "model.")
DEEPEST, LARGEST_FILE, LARGEST_SIZE = 3, 2**28, 4096


def add_arguments(cam: argparse.ArgumentParser) -> None:
    """Make a parser that of the command `cam`."""
    cam.description, cam.epilog = DESCRIPTION, EXAMPLE
    cam.formatter_class = argparse.RawDescriptionHelpFormatter
    cam.set_defaults(run=run, show=show, parser=cam)
    cam.add_argument("image", metavar="IMAGE", type=Path)
    cam.add_argument(
        "--weights", metavar="FILE", type=Path, required=True,
        help="state dictionary, as torch.save(model.state_dict(), FILE) writes it",
    )  # fmt: skip
    cam.add_argument(
        "--model", metavar="NAME", default="resnet18",
        help="network of torchvision.models (default resnet18), or of softmi.models: "
        f"{', '.join(OURS)}",
    )  # fmt: skip
    cam.add_argument("--output", metavar="FILE.png", type=_png, help="default: IMAGE-cam.png here")
    cam.add_argument("--json", action="store_true", help="print one JSON object")
    what = cam.add_argument_group("which map")
    what.add_argument(
        "--class", dest="chosen", metavar="N|NAME", help="index or name (default: the predicted)"
    )
    what.add_argument("--names", metavar="FILE", type=Path, help="class names, one a line")
    what.add_argument("--against", choices=list(CONTRASTS), default="mean", help="default: mean")
    what.add_argument("--rivals", metavar="K", type=int, help="for --against rivals (default 3)")
    what.add_argument(
        "--prior", metavar="P1,P2,...|FILE", help="class probabilities of the training data"
    )
    what.add_argument(
        "--threshold", metavar="T", type=_share, default=0.2,
        help="share of the range of the map (default 0.2)",
    )  # fmt: skip
    how = cam.add_argument_group("how the network was trained to see")
    how.add_argument("--size", metavar="S", type=_size, default=224, help="default 224 pixels")
    how.add_argument(
        "--mean", metavar="R,G,B", type=_three, default=(0.485, 0.456, 0.406),
        help="of pixels in [0, 1] (default 0.485,0.456,0.406, ImageNet's)",
    )  # fmt: skip
    how.add_argument(
        "--std", metavar="R,G,B", type=_positive, default=(0.229, 0.224, 0.225),
        help="of the same (default 0.229,0.224,0.225)",
    )  # fmt: skip


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"must end in .png, got {text}")
    return Path(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), got {text}")
    return value


def _size(text: str) -> int:
    value = int(text)
    if not 1 <= value <= LARGEST_SIZE:
        raise argparse.ArgumentTypeError(f"must be between 1 and {LARGEST_SIZE}, got {text}")
    return value


def _three(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if len(values) != 3 or not all(abs(v) < float("inf") for v in values):
        raise argparse.ArgumentTypeError(f"must be three numbers, got {text}")
    return values


def _positive(text: str) -> tuple[float, ...]:
    values = _three(text)
    if min(values) <= 0:
        raise argparse.ArgumentTypeError(f"must be three positive numbers, got {text}")
    return values


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Draw the picture, and return all numbers by name and unit.

    Raises:
        OSError, TypeError, ValueError: Data that cannot be used; then nothing is written.
        SystemExit: Options that do not apply (2).

    """
    if options.rivals is not None and options.against != "rivals":
        options.parser.error(f"--rivals does not apply to --against {options.against}")
    output = _output(options)
    image = _image(options.image)
    state = _state(options.weights)
    model = _model(options.model, state, options.weights)
    seen = _look(model, image, options)
    number = seen.logits.shape[1]
    names = _names(options.names, number)
    chosen = int(seen.predicted[0])
    if options.chosen is not None:
        chosen = _class(options.chosen, names, number)
    report, nats = _account(seen, chosen, names, image, options)
    title = f"{report['name'][:40]} against {_against(report)}".replace(" against nothing", "")
    figure = _draw(image, nats, report, title)
    _write(figure, output)
    return report | {"picture": str(output)}


def _output(options: argparse.Namespace) -> Path:
    output = options.output or Path(f"{options.image.stem}-cam.png")
    if output.is_dir() or not output.parent.is_dir():
        raise ValueError(f"--output {output}: it is a folder, or its folder does not exist")
    sources = (options.image, options.weights, options.names, options.prior)
    if output.exists() and any(
        source is not None and os.path.exists(source) and output.samefile(source)
        for source in sources
    ):
        raise ValueError(f"--output {output} would overwrite what is read")
    return output


def _image(file: Path) -> Image.Image:
    """Read an image file as RGB, turned as the camera was held."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file")
    if file.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, more than {LARGEST_FILE}")
    image = decode_image(file.read_bytes(), str(file))
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return image  # what the camera noted is damaged, and the pixels are not


def _state(file: Path) -> dict[str, Tensor]:
    """Read a state dictionary, out of a checkpoint and without the prefixes of wrappers."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file")
    how = "write torch.save(model.state_dict(), FILE)"
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a spoilt file makes it meet
        raise ValueError(
            f"{file} cannot be read as weights, or holds more than tensors; {how} "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        ) from None
    for _ in range(DEEPEST):  # a file may hold itself
        inner = [state[k] for k in WRAPPED if isinstance(state, Mapping) and k in state]
        state = next((s for s in inner if isinstance(s, Mapping)), state)
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{file} holds no state dictionary but {type(state).__name__}; {how}")
    wrong = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if wrong or not all(isinstance(key, str) for key in state):
        raise ValueError(
            f"{file} holds no state dictionary: {_few(wrong or list(map(str, state)))} "
            f"{'is no tensor' if wrong else 'are no names'}; {how}"
        )
    kept = dict(state)
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in kept)), ""):
        kept = {key.removeprefix(prefix): value for key, value in kept.items()}
    return kept


def _model(name: str, state: dict[str, Tensor], file: Path) -> nn.Module:
    """Build the network with as many classes as the weights have, and fill it with them."""
    known = [*torchvision.models.list_models(module=torchvision.models), *OURS]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or ["resnet18", "resnet50"]
        raise ValueError(f"--model {name} is not in torchvision.models; near it: {_few(near)}")
    if name in AMBIGUOUS:
        raise ValueError(
            f"--model {name} changes its input, or does not, depending on where it was trained: "
            "use softmi.ActivationMaps in Python"
        )

    def built(head: str) -> nn.Module:
        if head not in state or state[head].ndim < 2:
            head = next((k for k in reversed(state) if state[k].ndim > 1), "")
        if not head:
            raise ValueError(f"{file} does not fit {name}: it has no matrix of weights")
        if name in OURS:
            return OURS[name](len(state[head]))
        return torchvision.models.get_model(name, weights=None, num_classes=len(state[head]))

    try:
        model = built("")
        # The head comes last in torchvision's networks; a file may be in another order.
        head = next(k for k, v in reversed(model.state_dict().items()) if v.ndim > 1)
        if head in state and len(state[head]) != len(model.state_dict()[head]):
            model = built(head)
    except RuntimeError as error:  # such as more classes than memory
        raise ValueError(f"{name} cannot be built: {str(error).splitlines()[0]}") from None
    own = model.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    other = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or unexpected or other:
        parts = [
            f"{what}: {_few(keys)}"
            for what, keys in [
                ("missing", missing), ("unexpected", unexpected), ("other shapes", other)
            ]
            if keys
        ]  # fmt: skip
        raise ValueError(
            f"{file} does not fit {name} (--model names the network); {'; '.join(parts)}"
        )
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a layout that cannot be copied, such as a sparse one
        raise ValueError(f"{file} does not fit {name}: {' '.join(str(error).split())}") from None
    return model.eval()


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _look(model: nn.Module, image: Image.Image, options: argparse.Namespace) -> Activations:
    size, prior = options.size, read_prior(options.prior, {})
    pixels = to_tensor(image.resize((size, size), Image.Resampling.BILINEAR))
    batch = normalize(pixels, options.mean, options.std)[None]
    with ActivationMaps(model, prior=prior) as look:
        try:
            return look(batch)
        except (AssertionError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{options.model} does not take images of {size} pixels (--size): {reason}"
            ) from None


def _names(file: Path | None, number: int) -> list[str]:
    if file is None:
        return [f"class {i}" for i in range(number)]
    if not file.is_file():
        raise ValueError(f"--names {file}: there is no such file")
    try:
        names = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"--names {file} is not UTF-8 text") from None
    if len(names) != number:
        raise ValueError(f"--names {file} has {len(names)} lines for {number} classes")
    return [name.strip() for name in names]


def _class(text: str, names: list[str], number: int) -> int:
    """Index of a class: a name goes before a number."""
    found = [i for i, name in enumerate(names) if name == text]
    found = found or [i for i, name in enumerate(names) if name.lower() == text.lower()]
    if len(found) > 1:
        raise ValueError(f"--class {text} names several classes, {found}: give an index")
    if found:
        return found[0]
    if text.lstrip("-").isdecimal():
        if 0 <= int(text) < number:
            return int(text)
        raise ValueError(f"--class {text} is out of range: there are {number} classes, from 0")
    near = difflib.get_close_matches(text, names, n=3)
    hint = f"; near it: {_few(near)}" if near else ""
    raise ValueError(f"--class {text} is neither an index nor a name in --names{hint}")


def _account(
    seen: Activations,
    chosen: int,
    names: list[str],
    image: Image.Image,
    options: argparse.Namespace,
) -> tuple[dict[str, Any], Tensor]:
    """All numbers of the map of a class, and the map, in nats a cell."""
    contrast = {
        "contrast": options.against,
        "rivals": 3 if options.rivals is None else options.rivals,
    }
    maps = seen.maps(chosen, **contrast).double()
    box = _box(maps, options, image.size)
    inside = float(sum_in_boxes(maps, torch.tensor([box]), image.size))
    total = float(maps.sum())
    logits = seen.logits.double()
    log_prior = torch.zeros_like(logits[0])
    if seen.log_prior is not None:
        log_prior = seen.log_prior.double()
    # Weight of each class in the difference: of logits, biases and log priors alike.
    weight = contrast_weights(
        torch.eye(logits.shape[1], dtype=torch.float64), torch.tensor([chosen]),
        logits=logits - log_prior, **contrast,
    )[0]  # fmt: skip
    bias, prior = float(weight @ seen.bias.double()), float(weight @ -log_prior)
    log_q = logits[0].log_softmax(0)
    rows = []
    for i in log_q.argsort(descending=True, stable=True)[:5].tolist():
        row = {"class": i, "name": names[i], "probability": float(log_q[i].exp())}
        row["logit"] = float(logits[0, i])
        if options.prior is not None:
            row["pmi_nats"] = float(log_q[i] - log_prior[i])
        rows.append(row)
    compared = weight.lt(0).nonzero()[:, 0].tolist() if options.against != "mean" else []
    width, height = image.size
    report = {
        "image": str(options.image),
        "image_size": [width, height],
        "model": options.model,
        "n_classes": len(weight),
        "predicted": rows,
        "class": chosen,
        "name": names[chosen],
        "against": options.against,
        "method": CONTRASTS[options.against],
        "against_classes": compared,
        "against_names": [names[i] for i in compared],
        "quantity": _quantity(options),
        "cells": list(maps.shape[1:]),
        "threshold": options.threshold,
        "box": box,
        "share_of_area": (box[2] - box[0]) * (box[3] - box[1]) / (width * height),
        "unit": "logit" if options.against == "none" else "nats",
        "inside": inside,
        "outside": total - inside,
        "bias": bias,
        "prior": prior,
        "sum": total + bias + prior,
        "difference": float(weight @ (logits[0] - log_prior)),
    }
    return report, maps[0]


def _quantity(options: argparse.Namespace) -> str:
    if options.against == "none":
        return "logit"
    if options.prior is None:
        return "difference of log probabilities"
    return "difference of pointwise mutual informations"


def _box(maps: Tensor, options: argparse.Namespace, size: tuple[int, int]) -> list[int]:
    """Box of the map in pixels of the image, widened to whole ones."""
    seen = options.size
    wide = F.interpolate(maps[None], size=(seen, seen), mode="bicubic", align_corners=False)[0]
    # What speaks against the class would stretch the range, and lower the threshold below zero.
    x0, y0, x1, y1 = boxes_from_score_maps(wide.clamp(min=0), options.threshold)[0].tolist()
    low = [edge * side // seen for edge, side in zip((x0, y0), size, strict=True)]
    high = [-(-edge * side // seen) for edge, side in zip((x1, y1), size, strict=True)]
    return low + high


def _against(report: dict[str, Any]) -> str:
    if report["against"] == "none":
        return "nothing"
    if report["against"] == "mean":
        return f"the mean of all {report['n_classes'] - 1} others"
    listed = ", ".join(name[:40] for name in report["against_names"][:3])
    more = len(report["against_names"]) - 3
    return listed + (f" and {more} more" if more > 0 else "")


def _rows(report: dict[str, Any]) -> list[tuple[str, float]]:
    """The account, by name and nats."""
    x0, y0, x1, y1 = report["box"]
    area = f"{100 * report['share_of_area']:.1f} % of the area"
    place = (
        f"in the box {x0} {y0} {x1} {y1} ({area})"
        if x1 > x0
        else "no box, no place speaks for it more than others"
    )
    rows = [(place, "inside"), ("outside of it", "outside"), ("from the biases", "bias")]
    if _has_prior(report):
        rows.append(("from the log priors", "prior"))
    return [(name, report[key]) for name, key in [*rows, ("together", "sum")]]


def _has_prior(report: dict[str, Any]) -> bool:
    return "pmi_nats" in report["predicted"][0]


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # no negative zero


def _draw(image: Image.Image, nats: Tensor, report: dict[str, Any], title: str) -> Image.Image:
    unit = report["unit"]
    rows = [(_signed(value, 2), f"{unit} {name}") for name, value in _rows(report)]
    best = report["predicted"][0]
    rows.append((f"{100 * best['probability']:.0f} %", f"probability of {best['name'][:40]}"))
    return cam_figure(image, nats, report["box"], title, rows, f"{unit} a cell")


def _write(figure: Image.Image, output: Path) -> None:
    content = io.BytesIO()
    figure.save(content, "PNG")
    partial = output.with_name(f".{output.name}.partial")
    try:
        partial.write_bytes(content.getvalue())
        partial.replace(output)  # a full disk leaves the picture of last time
    finally:
        partial.unlink(missing_ok=True)


def show(report: dict[str, Any]) -> str:
    """Lay the numbers out: what is predicted, then the account of one difference."""
    with_prior = _has_prior(report)
    table = [("predicted", "probability", "logit", *(["PMI, nats"] if with_prior else []))]
    for row in report["predicted"]:
        cells = (f"{100 * row['probability']:.1f} %", f"{row['logit']:.3f}")
        pmi = (f"{row['pmi_nats']:.3f}",) if with_prior else ()
        name = row["name"][:40]
        label = name if name == f"class {row['class']}" else f"{row['class']} {name}"
        table.append((label, *cells, *pmi))
    lines = _aligned(table)
    heading = f"{report['name'][:40]} against {_against(report)} ({report['method']})"
    lines += ["", heading]
    rows = [(name, _signed(value, 4)) for name, value in _rows(report)]
    rows.append(("the network's own", _signed(report["difference"], 4)))
    lines += _aligned([(report["quantity"], report["unit"]), *rows])
    if report["against"] == "none":
        lines.append("a logit alone has no unit: compare classes, by --against, for nats")
    lines += ["", f"picture: {report['picture']}"]
    return "\n".join(lines)


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    width = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [
        "  ".join(
            [f"{row[0]:{width[0]}}"]
            + [f"{cell:>{w}}" for cell, w in zip(row[1:], width[1:], strict=True)]
        )
        for row in table
    ]
