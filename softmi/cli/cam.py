"""The command `softmi cam`: where in a picture a classifier finds its information, in nats.

Draw where a network finds what speaks for a class in IMAGE, and count it in nats.

The network is one of torchvision's that averages its last feature maps over cells before one
linear layer: resnet, densenet, efficientnet, convnext, mobilenet_v2, squeezenet and others. Its
weights are read from FILE; nothing is downloaded. A network whose logits are no sum over cells,
such as vgg16 or mobilenet_v3, is refused.

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

The picture is drawn by matplotlib: pip install "softmi[figures]".
The image is stretched to --size pixels on both sides, so that the map covers all of it.
A box says where the network looks, not where the object ends.

exit status: 0, 1 for data that cannot be used, 2 for wrong options, 130 when interrupted.
"""

import argparse
import difflib
import math
import os
import struct
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from torch import nn
from torchvision.transforms.functional import normalize, to_tensor

from softmi.cli._cam_account import CONTRASTS, account, heading, picture_rows, show
from softmi.cli._network import OURS, few, network, read_weights
from softmi.cli._options import checked, existing, help_of, numbers, prior_from
from softmi.datasets import decode_image
from softmi.maps import ActivationMaps, Activations

LARGEST_FILE, LARGEST_SIZE = 2**28, 4096
PNG = checked("file", Path, lambda path: path.suffix.lower() == ".png", "end in .png")
SHARE = checked("share", float, lambda value: 0 <= value < 1, "be in [0, 1)")
SIZE = checked(
    "size", int, lambda value: 1 <= value <= LARGEST_SIZE, f"be between 1 and {LARGEST_SIZE}"
)
THREE = checked(
    "numbers", numbers, lambda v: len(v) == 3 and all(map(math.isfinite, v)), "be three numbers"
)
POSITIVE = checked("numbers", THREE, lambda values: min(values) > 0, "be three positive numbers")


def add_arguments(cam: argparse.ArgumentParser) -> None:
    """Make a parser that of the command `cam`."""
    cam.description, cam.epilog = help_of(__doc__, "write the weights:")
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
    cam.add_argument("--output", metavar="FILE.png", type=PNG, help="default: IMAGE-cam.png here")
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
        "--threshold", metavar="T", type=SHARE, default=0.2,
        help="share of the range of the map (default 0.2)",
    )  # fmt: skip
    how = cam.add_argument_group("how the network was trained to see")
    how.add_argument("--size", metavar="S", type=SIZE, default=224, help="default 224 pixels")
    how.add_argument(
        "--mean", metavar="R,G,B", type=THREE, default=(0.485, 0.456, 0.406),
        help="of pixels in [0, 1] (default 0.485,0.456,0.406, ImageNet's)",
    )  # fmt: skip
    how.add_argument(
        "--std", metavar="R,G,B", type=POSITIVE, default=(0.229, 0.224, 0.225),
        help="of the same (default 0.229,0.224,0.225)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Draw the picture, and return all numbers by name and unit.

    Raises:
        OSError, RuntimeError, TypeError, ValueError: Data that cannot be used; then nothing is
            written.
        SystemExit: Options that do not apply (2).

    """
    try:
        from softmi.cli._cam_figure import cam_figure, png
    except ModuleNotFoundError as error:
        raise ValueError('the picture needs matplotlib: pip install "softmi[figures]"') from error
    if options.rivals is not None and options.against != "rivals":
        options.parser.error(f"--rivals does not apply to --against {options.against}")
    output = _output(options)
    image = _image(options.image)
    model = network(options.model, read_weights(options.weights), options.weights)
    seen = _look(model, image, options)
    names = _names(options.names, seen.logits.shape[1])
    chosen = int(seen.predicted[0])
    if options.chosen is not None:
        chosen = _class(options.chosen, names)
    report, nats = account(seen, chosen, names, image.size, options)
    rows, unit = picture_rows(report), f"{report['unit']} a cell"
    _write(png(cam_figure(image, nats, report["box"], heading(report), rows, unit)), output)
    return report | {"picture": str(output)}


def _output(options: argparse.Namespace) -> Path:
    output = options.output or Path(f"{options.image.stem}-cam.png")
    if output.is_dir() or not output.parent.is_dir():
        raise ValueError(f"--output {output}: it is a folder, or its folder does not exist")
    sources = filter(None, (options.image, options.weights, options.names, options.prior))
    if output.exists() and any(os.path.exists(s) and output.samefile(s) for s in sources):
        raise ValueError(f"--output {output} would overwrite what is read")
    return output


def _image(file: Path) -> Image.Image:
    """Read an image file as RGB, turned as the camera was held."""
    if (size := existing(file).stat().st_size) > LARGEST_FILE:
        raise ValueError(f"{file} has {size} bytes, more than {LARGEST_FILE}")
    image = decode_image(file.read_bytes(), str(file))
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return image  # what the camera noted is damaged, and the pixels are not


def _look(model: nn.Module, image: Image.Image, options: argparse.Namespace) -> Activations:
    size, prior = options.size, prior_from(options.prior)
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
    try:
        names = existing(file, "--names").read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"--names {file} is not UTF-8 text") from None
    if len(names) != number:
        raise ValueError(f"--names {file} has {len(names)} lines for {number} classes")
    return [name.strip() for name in names]


def _class(text: str, names: list[str]) -> int:
    """Index of a class: a name goes before a number."""
    found = [i for i, name in enumerate(names) if name == text]
    found = found or [i for i, name in enumerate(names) if name.lower() == text.lower()]
    if len(found) > 1:
        raise ValueError(f"--class {text} names several classes, {found}: give an index")
    if found:
        return found[0]
    if text.lstrip("-").isdecimal():
        if 0 <= int(text) < len(names):
            return int(text)
        raise ValueError(f"--class {text} is out of range: there are {len(names)} classes, from 0")
    near = difflib.get_close_matches(text, names, n=3)
    hint = f"; near it: {few(near)}" if near else ""
    raise ValueError(f"--class {text} is neither an index nor a name in --names{hint}")


def _write(content: bytes, output: Path) -> None:
    partial = output.with_name(f".{output.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(output)  # a full disk leaves the picture of last time
    finally:
        partial.unlink(missing_ok=True)
