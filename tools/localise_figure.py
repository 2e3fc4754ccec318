"""Draw the picture of `book/localise.md`: `softmi cam` on a scene with two handwritten digits.

Trains a small network on scenes with one digit each, and runs the command on one with two. Run it
again when the picture of the command changes: `python -m tools.localise_figure`.
"""

import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from softmi import fit
from softmi.cli import main
from softmi.datasets import digit_scenes, multi_digit_scenes
from softmi.models import GAPNet
from softmi.training import TensorBatches, seed_everything
from tools.notebooks import ROOT

PICTURE = ROOT / "book" / "_static" / "localise.png"
CLASSES, SIZE = 10, 64


def trained(scenes: int = 1500, epochs: int = 8, seed: int = 0) -> nn.Module:
    """Train on scenes with one digit each."""
    train = digit_scenes(scenes, torch.Generator().manual_seed(seed), size=SIZE)
    seed_everything(seed)
    network = GAPNet(CLASSES, channels=3)
    steps = epochs * -(-scenes // 25)
    fit(
        network, TensorBatches(train.images.expand(-1, 3, -1, -1), train.targets), F.cross_entropy,
        epochs=epochs, batch_size=25, seed=seed, device="cpu",
        optimizer=lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.9, weight_decay=1e-4),
        scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=steps),
    )  # fmt: skip
    return network.eval()


def draw(network: nn.Module, picture: Path, seed: int = 0) -> None:
    """Run the command on the first scene whose two digits are the two likeliest classes."""
    scenes = multi_digit_scenes(50, torch.Generator().manual_seed(seed), split="test", size=SIZE)
    with torch.inference_mode():
        likeliest = network(scenes.images.expand(-1, 3, -1, -1))[0].topk(2).indices
    both = (likeliest.sort().values == scenes.targets.sort().values).all(1)
    i = int(both.nonzero()[0, 0])
    print(f"both digits found in {int(both.sum())} of {len(both)} scenes; scene {i}, digits "
          f"{scenes.targets[i].tolist()}, boxes {scenes.boxes[i].tolist()}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        scene, weights, names = (Path(folder) / n for n in ("scene.png", "digits.pt", "names.txt"))
        pixels = (255 * scenes.images[i, 0]).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(scene)
        torch.save(network.state_dict(), weights)
        names.write_text("".join(f"digit {k}\n" for k in range(CLASSES)))
        options = f"--model gapnet --size {SIZE} --mean 0,0,0 --std 1,1,1 --names {names}"
        options += f" --against rivals --rivals 1 --output {picture}"
        if main(["cam", str(scene), "--weights", str(weights), *options.split()]):
            sys.exit(1)


if __name__ == "__main__":
    draw(trained(), PICTURE)
