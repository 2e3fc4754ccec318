"""Activation maps of a whole network, images to maps, beside the bare forward pass and peers.

torch-cam and pytorch-grad-cam are optional: `pip install -e '.[bench]'`. Where one is missing its
row says so.
"""

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torchvision.models import resnet18

from softmi.maps import ActivationMaps

CONTRASTS: tuple[dict, ...] = (
    {"contrast": "none"},
    {"contrast": "mean"},
    {"contrast": "least"},
    {"contrast": "rivals", "rivals": 1},
    {"contrast": "rivals", "rivals": 3},
)
# Module, and how the table calls it.
PEERS = {
    "torchcam": "torch-cam CAM, one map",
    "pytorch_grad_cam": "pytorch-grad-cam GradCAM, one map",
}


def candidates(
    batch: int, side: int, stack: ExitStack
) -> tuple[dict[str, Callable[[], object]], list[str]]:
    """What is timed, by the name of its row, and the names of peers that are not installed."""
    model, images = resnet18().eval(), torch.randn(batch, 3, side, side)
    look = stack.enter_context(ActivationMaps(model))

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return model(images)

    def ours() -> list[torch.Tensor]:
        seen = look(images)
        return [seen.maps(**options) for options in CONTRASTS]

    found: dict[str, Callable[[], object]] = {"ours": ours, "bare forward pass": forward}
    missing = [name for module, name in PEERS.items() if not importlib.util.find_spec(module)]
    if PEERS["torchcam"] not in missing:
        from torchcam.methods import CAM

        # A model of its own: its hook stays on between calls.
        hooked = resnet18().eval()
        extractor = stack.enter_context(CAM(hooked, "layer4", "fc"))

        def cam() -> list[torch.Tensor]:
            with torch.inference_mode():
                classes = hooked(images).argmax(1)
            return extractor(classes.tolist())

        found[PEERS["torchcam"]] = cam
    if PEERS["pytorch_grad_cam"] not in missing:
        from pytorch_grad_cam import GradCAM

        network = resnet18().eval()
        gradients = stack.enter_context(GradCAM(network, [network.layer4]))
        found[PEERS["pytorch_grad_cam"]] = lambda: gradients(images, None)
    return found, missing


def compare_activation_maps(
    timed: Callable[..., dict[str, float]], batch: int = 32, side: int = 224, rounds: int = 11
) -> list[tuple[str, str, float, float | None]]:
    """Time all five maps of a batch against one forward pass and one map of each peer.

    Args:
        timed: Median seconds of functions by name, taken in turns.
        batch: Images.
        side: Of the images.
        rounds: Of all of them.

    Returns:
        Rows of our name, the peer's, our seconds and its seconds: None if it is not installed.

    """
    with ExitStack() as stack:
        found, missing = candidates(batch, side, stack)
        seconds = timed(found, rounds=rounds)
    name = f"ActivationMaps, five contrasts, ResNet-18, {batch} x 3 x {side} x {side}"
    ours = seconds.pop("ours")
    rows: list[tuple[str, str, float, float | None]] = [
        (name, peer, ours, theirs) for peer, theirs in seconds.items()
    ]
    return rows + [(name, f"{peer}: not installed", ours, None) for peer in missing]
