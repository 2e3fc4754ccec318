"""The network of `softmi cam`: weights out of a file, and the module that they fit."""

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from softmi import models
from softmi.cli._options import existing

# Their input transform depends on where they were trained, which the weights do not tell.
AMBIGUOUS = ("googlenet", "inception_v3")
OURS: dict[str, Any] = {
    "gapnet": partial(models.GAPNet, channels=3),
    "resnet50_wsol": models.resnet50_wsol,
    "vgg16_gap": models.vgg16_gap,
}
WRAPPED = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "_forward_module.", "model.")
DEEPEST = 3
HOW = "write torch.save(model.state_dict(), FILE)"


def few(names: Sequence[str]) -> str:
    """The first three of many names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a state dictionary, out of a checkpoint and without the prefixes of wrappers.

    Raises:
        ValueError: No such file, one that cannot be read without running what it holds, or one
            that holds no state dictionary.

    """
    existing(file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a spoilt file makes it meet
        raise ValueError(
            f"{file} cannot be read as weights, or holds more than tensors; {HOW} "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        ) from None
    for _ in range(DEEPEST):  # a file may hold itself
        inner = [state[k] for k in WRAPPED if isinstance(state, Mapping) and k in state]
        state = next((s for s in inner if isinstance(s, Mapping)), state)
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{file} holds no state dictionary but {type(state).__name__}; {HOW}")
    if wrong := [str(key) for key, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{file} holds no state dictionary: {few(wrong)} is no tensor; {HOW}")
    if wrong := [str(key) for key in state if not isinstance(key, str)]:
        raise ValueError(f"{file} holds no state dictionary: {few(wrong)} are no names; {HOW}")
    kept = dict(state)
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in kept)), ""):
        kept = {key.removeprefix(prefix): value for key, value in kept.items()}
    return kept


def network(name: str, state: dict[str, Tensor], file: Path) -> nn.Module:
    """Build the network with as many classes as the weights have, and fill it with them.

    Raises:
        ValueError: A network that is not known or cannot be built, or weights of another one.

    """
    known = [*torchvision.models.list_models(module=torchvision.models), *OURS]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or ["resnet18", "resnet50"]
        raise ValueError(f"--model {name} is not in torchvision.models; near it: {few(near)}")
    if name in AMBIGUOUS:
        raise ValueError(
            f"--model {name} changes its input, or does not, depending on where it was trained: "
            "use softmi.ActivationMaps in Python"
        )
    matrices = [key for key, value in state.items() if value.ndim > 1]
    if not matrices:
        raise ValueError(f"{file} does not fit {name}: it has no matrix of weights")
    try:
        model = _built(name, len(state[matrices[-1]]))
        # The head comes last in torchvision's networks; a file may be in another order.
        head = next(k for k, v in reversed(model.state_dict().items()) if v.ndim > 1)
        if head in matrices and len(state[head]) != len(model.state_dict()[head]):
            model = _built(name, len(state[head]))
    except RuntimeError as error:  # such as more classes than memory
        raise ValueError(f"{name} cannot be built: {str(error).splitlines()[0]}") from None
    own = model.state_dict()
    wrong = {
        "missing": [k for k in own if k not in state and not k.endswith("num_batches_tracked")],
        "unexpected": [k for k in state if k not in own],
        "other shapes": [
            f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
            for k in own
            if k in state and state[k].shape != own[k].shape
        ],
        "complex": [k for k in own if k in state and state[k].is_complex()],
    }
    if parts := [f"{what}: {few(keys)}" for what, keys in wrong.items() if keys]:
        raise ValueError(
            f"{file} does not fit {name} (--model names the network); {'; '.join(parts)}"
        )
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a layout that cannot be copied, such as a sparse one
        raise ValueError(f"{file} does not fit {name}: {error}") from None
    return model.eval()


def _built(name: str, classes: int) -> nn.Module:
    if name in OURS:
        return OURS[name](classes)
    return torchvision.models.get_model(name, weights=None, num_classes=classes)
