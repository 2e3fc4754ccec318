"""What one forward pass of somebody's network shows: for :mod:`softmi.maps.activation_maps`."""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from softmi._checks import at_least_float32

# Feature maps are among the last outputs before the head; holding all would cost what training
# costs.
KEPT_OUTPUTS = 16


@dataclass(frozen=True)
class Account:
    """Names of the modules that account for the logits."""

    features: str
    head: str | None  # None: feature maps are class maps
    norm: str | None = None
    relu: bool = False


@dataclass(frozen=True)
class Call:
    name: str
    module: nn.Module
    input: Tensor
    output: Tensor


@dataclass(frozen=True)
class Outputs:
    """Feature maps, and the modules that put them out: working in place, or one in another."""

    names: tuple[str, ...]
    maps: Tensor

    @property
    def cells(self) -> int:
        return self.maps.shape[2] * self.maps.shape[3]


class Recorder:
    """Outputs of modules in one forward pass: all small ones, the last of the feature maps."""

    def __init__(self, keep: str | None) -> None:
        self.keep = keep
        self.maps: OrderedDict[tuple, Outputs] = OrderedDict()
        self.kept: Tensor | None = None
        self.heads: list[Call] = []
        self.norms: list[Call] = []
        self.leaves: list[tuple[str, str]] = []

    def run(
        self, model: nn.Module, watch: set[str] | None, inputs: tuple, options: dict[str, Any]
    ) -> object:
        """Call the model with hooks on the modules to watch (None: all), and take them off."""
        with ExitStack() as hooks:
            for name, module in model.named_modules():
                if watch is None or name in watch:
                    hook = module.register_forward_hook(partial(self.record, name))
                    hooks.enter_context(hook)
            return model(*inputs, **options)

    def record(self, name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        if next(module.children(), None) is None:
            self.leaves.append((name, type(module).__name__))
        if not isinstance(output, Tensor):
            return
        if output.ndim == 4 and output.is_floating_point():
            # A module that works in place, and a container of it, put out the same memory.
            key = (output.data_ptr(), output.shape, output.stride())
            before = self.maps[key].names if key in self.maps else ()
            self.maps[key] = Outputs((*before, name), output)
            if len(self.maps) > KEPT_OUTPUTS:
                self.maps.popitem(last=False)
            if name == self.keep:
                self.kept = output
        first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        if first is not None and is_pooled(first) and is_pooled(output):
            call = Call(name, module, first, output)
            if isinstance(module, nn.LayerNorm):
                self.norms.append(call)
            elif is_linear(module):
                self.heads.append(call)

    def maps_of(self, name: str) -> Tensor:
        found = [outputs.maps for outputs in self.candidates() if name in outputs.names]
        if not found:
            raise ValueError(f"module {name!r} put out no feature maps for this batch")
        return found[-1]

    def candidates(self) -> list[Outputs]:
        """Feature maps in the order of the pass; of the module to keep alone, if there is one."""
        if self.keep is None:
            return list(self.maps.values())
        return [] if self.kept is None else [Outputs((self.keep,), self.kept)]

    def between(self, features: str, head: str) -> str:
        """Names of what was called after the feature maps and before the head."""
        names = [name for name, _ in self.leaves]
        inside = [i for i, n in enumerate(names) if n == features or n.startswith(features + ".")]
        start = inside[-1] + 1 if inside else 0
        stop = len(names) - 1 - names[::-1].index(head) if head in names else len(names)
        calls = [f"{name} ({kind})" for name, kind in self.leaves[start:stop]]
        return ", ".join(calls if len(calls) <= 6 else [*calls[:4], "...", *calls[-2:]])

    def refusal(
        self, model: str, heads: list[Call], named: str | None, classes: int, small: str | None
    ) -> str:
        """Say what was found, and what to do, where nothing accounts for the logits."""
        found = self.candidates()
        last = ([outputs for outputs in found if outputs.cells > 1] or found or [None])[-1]  # type: ignore[list-item]
        if last is None:
            name, channels = "", "channels"
            who = "no module puts out" if not self.keep else f"module {self.keep!r} puts out no"
            what = f"{who} feature maps of shape (batch, channels, height, width)"
        else:
            name, channels = last.names[-1], last.maps.shape[1]
            what = f"the last feature maps are of {name!r}, of shape {tuple(last.maps.shape)}"
        if heads:
            head = heads[-1]
            what += (
                f"; the head is {head.name!r} "
                f"({type(head.module).__name__}, {head.input.flatten(1).shape[1]} to {classes})"
            )
            if between := self.between(name, head.name):
                what += f"; between them {between}"
        else:
            which = "" if named is None else f" named {named!r}"
            what += f"; no linear layer or 1x1 convolution{which} puts out the {classes} logits"
        if small is not None:
            what += (
                f". Maps of a single cell do account for them, those of {small!r}, and locate "
                "nothing: larger images may give them more cells, and "
                f"ActivationMaps(model, features={small!r}) takes them as they are"
            )
        return (
            f"{model}: its logits are not a linear function of the average of feature maps, so "
            f"cells have no exact share in them. Found: {what}. Take a network that averages its "
            "last feature maps and applies one linear layer (resnet, densenet, efficientnet, "
            f"convnext), or give this one such a head, torch.nn.Linear({channels}, {classes}) "
            "behind the average, and train it; if it has one that was not found, name both: "
            "ActivationMaps(model, features=..., head=...)"
        )


def accounts(
    outputs: Outputs,
    heads: list[Call],
    norms: list[Call],
    logits: Tensor,
    head_name: str | None,
) -> Iterator[Account]:
    """Accounts whose structure fits these maps; their numbers remain to be proved."""
    name, maps = outputs.names[-1], outputs.maps
    for relu in (False, True):
        used = maps.detach().relu() if relu else maps.detach()
        for head in heads:
            z = head.input.flatten(1)
            for norm in norms:
                if equal(norm.output.flatten(1), z) and is_average(used, norm.input):
                    yield Account(name, head.name, norm.name, relu)
            if is_average(used, z):
                yield Account(name, head.name, None, relu)
        if is_average(used, logits) and head_name in (None, *outputs.names):
            yield Account(name, None, None, relu)


def is_pooled(tensor: Tensor) -> bool:
    """Whether there is one cell, or none are left, behind batch and channels."""
    return tensor.ndim > 1 and math.prod(tensor.shape[2:]) == 1


def is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


def equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def epsilon(*tensors: Tensor) -> float:
    return max(torch.finfo(tensor.dtype).eps for tensor in tensors)


def is_average(maps: Tensor, pooled: Tensor) -> bool:
    """Whether these are averages of the maps over their cells, up to rounding."""
    pooled = pooled.detach().flatten(1)
    if pooled.shape != maps.shape[:2]:
        return False
    exact = maps.to(at_least_float32(maps).dtype)
    cells = maps[0, 0].numel()
    # Each summation order rounds within cells x eps; the result is stored in the model's dtype.
    bound = 4 * epsilon(maps, pooled) + cells * epsilon(exact)
    size = exact.abs().mean((2, 3)) + torch.finfo(maps.dtype).tiny
    return bool(((exact.mean((2, 3)) - pooled).abs() <= bound * size).all())


def logits_of(output: object) -> Tensor:
    """Logits of what a model returns."""
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    elif hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, Sequence) and len(output):
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(
            "the model must return logits, a tuple that starts with them or something with "
            f"`logits`, got {type(output).__name__}"
        )
    return output
