"""Checks of what callers pass in: each raises at once and restates what it received."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

# int beside float: run-time checkers do not take one for the other, and class counts are integers.
PriorLike = Tensor | np.ndarray | Sequence[float | int]
HANDFUL = 10  # so few rows may look like probabilities by chance or by hand


def describe(tensor: Tensor) -> str:
    """Shape, dtype and device in one phrase, for error messages."""
    return f"shape {tuple(tensor.shape)}, {tensor.dtype}, on {tensor.device}"


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half-precision input accumulates in float32; float32 and float64 stay as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def values_can_be_checked(*tensors: Tensor) -> bool:
    """Value checks read data: on an accelerator they would wait for it, under compile they break
    the graph, and under `torch.func.vmap` there is no one value. There, bad values propagate as
    in PyTorch's own cross-entropy.
    """
    if torch.compiler.is_compiling():
        return False
    return all(t.device.type == "cpu" and not _stands_for_many(t) for t in tensors)


def _stands_for_many(tensor: Tensor) -> bool:
    """Whether `torch.func.vmap` runs over it; PyTorch has no public way to ask."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)  # of grad, jvp and their like
    return False


def transformed(*tensors: Tensor) -> bool:
    """Whether `torch.func` or forward-mode differentiation runs over one of them."""
    is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return any(is_wrapped(t) or unpack_dual(t).tangent is not None for t in tensors)


def sum_tolerance(dtype: torch.dtype, classes: int) -> float:
    r"""How far the sum of a stored distribution over `classes` may lie from 1 by rounding.

    .. math:: 2 \epsilon + 2 M s + \sqrt M \min(\epsilon, \epsilon_{32}),
        \quad \text{within } [10^{-6}, 0.02]

    Storing p gives :math:`p (1 + \delta)` with :math:`|\delta| \le \epsilon / 2`, or, below the
    smallest normal number, :math:`p \pm s / 2` with s the smallest positive one. The relative
    errors are weighted by probabilities, which sum to one: they do not grow with the number M
    of classes. Four such roundings are allowed (divide, smooth, mix, store), and the random walk
    of the sum that a distribution was divided by, which accumulates in float32 at the least.
    """
    limits = torch.finfo(dtype)
    smallest = limits.tiny * limits.eps
    walk = math.sqrt(classes) * min(limits.eps, torch.finfo(torch.float32).eps)
    return max(1e-6, min(0.02, 2 * limits.eps + 2 * classes * smallest + walk))


def check_logits(
    logits: Tensor, *, name: str = "logits", allow_empty: bool = False, finite: bool = False
) -> None:
    """Raise unless `logits` is a floating (N, M) tensor with M >= 1 and, by default, N >= 1."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(logits).__name__}")
    if not logits.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {describe(logits)}")
    if logits.ndim != 2 or logits.shape[1] == 0:
        hint = "; a score s for the second of two classes is the row (0, s)"
        raise ValueError(
            f"{name} must have shape (samples, classes), got {describe(logits)}"
            f"{hint if logits.ndim == 1 else ''}"
        )
    if logits.shape[0] == 0 and not allow_empty:
        raise ValueError(f"{name} holds no samples: {describe(logits)}")
    if finite:
        check_finite(logits, name=name)


def check_classes(logits: Tensor, classes: int, holder: str) -> None:
    """Raise unless these are logits over as many classes as the `holder`, in words, has."""
    check_logits(logits)
    if logits.shape[1] != classes:
        raise ValueError(f"{holder} {classes} classes, but logits have {describe(logits)}")


def check_shape(tensor: Tensor, shape: Sequence[int], name: str, why: str = "") -> None:
    """Raise unless the tensor has this shape, such as that " of the logits" (`why`)."""
    if tensor.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}{why}, got {describe(tensor)}")


def check_floating(
    tensor: Tensor, name: str, shape: str, *, allow_empty: bool = False, finite: bool = False
) -> None:
    """Raise unless it is floating, of the rank of `shape`, such as "(batch, height, width)"."""
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {describe(tensor)}")
    if tensor.ndim != shape.count(",") + 1 or (0 in tensor.shape and not allow_empty):
        empty = ", which is empty" if 0 in tensor.shape else ""
        raise ValueError(f"{name} must have shape {shape}, got {describe(tensor)}{empty}")
    if finite:
        check_finite(tensor, name=name)


def check_finite(tensor: Tensor, *, name: str = "logits") -> None:
    """Raise if any entry is NaN or infinite, and say where the first one is."""
    bad = ~torch.isfinite(tensor.detach())
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{name} must be finite: {int(bad.sum())} of {tensor.numel()} entries are NaN or "
            f"infinite, the first at index {first} is {tensor[first].item()}"
        )


def are_probabilities(logits: Tensor) -> bool:
    """Whether these are surely no logits: each of more than a handful of rows sums to one.

    Non-negative entries and sums within 0.01 of one, so that rounded figures count too. Logits
    of a network do not do that in every row.
    """
    if len(logits) <= HANDFUL or logits.shape[1] < 2:
        return False
    logits = logits.detach()
    return bool(logits.min() >= 0) and bool(((logits.double().sum(1) - 1).abs() <= 0.01).all())


def check_outputs(logits: Tensor, targets: Tensor | None = None) -> None:
    """Raise unless these are finite logits, and labels that fit them, to read information from.

    Warns the caller of the public function that calls this of probabilities given as logits.
    """
    check_logits(logits, finite=True)
    if targets is not None:
        check_targets(targets, logits)
    if are_probabilities(logits):
        warnings.warn(
            f"all {len(logits)} rows of logits are non-negative and sum to one: probabilities? "
            "Then pass their logarithm, torch.log(p); as logits they say next to nothing",
            UserWarning,
            stacklevel=3,
        )


def check_targets(targets: Tensor, logits: Tensor, *, values: bool = True) -> None:
    """Raise unless `targets` holds one class index in [0, M) for each row of `logits`.

    `values=False` leaves out the range check, which would force a device to synchronise.
    """
    if not isinstance(targets, Tensor):
        raise TypeError(f"targets must be a torch.Tensor, got {type(targets).__name__}")
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise TypeError(f"targets must be integer class indices, got {describe(targets)}")
    if targets.shape != logits.shape[:1]:
        raise ValueError(
            f"targets must have shape ({logits.shape[0]},) to match logits of shape "
            f"{tuple(logits.shape)}, got {describe(targets)}"
        )
    if values and targets.numel():
        codes = targets.long()  # torch cannot compare unsigned integers of 16 and more bits
        low, high, classes = int(codes.min()), int(codes.max()), logits.shape[1]
        if low < 0 or high >= classes:
            hint = "; labels that count from 1 need targets - 1"
            raise ValueError(
                f"targets must lie in [0, {classes}) for {classes} classes, "
                f"got values from {low} to {high}{hint if (low, high) == (1, classes) else ''}"
            )


def check_soft_targets(targets: Tensor, logits: Tensor, *, values: bool = True) -> None:
    """Raise unless each row of `targets` is a distribution over the classes of `logits`."""
    check_shape(targets, logits.shape, "soft targets", " of the logits")
    if not values:
        return
    sums = targets.detach().sum(1, dtype=torch.float64)
    tolerance = sum_tolerance(targets.dtype, targets.shape[1])
    wrong = ~((sums - 1).abs() <= tolerance)  # NaN is wrong too
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"each row of soft targets must sum to 1: {int(wrong.sum())} of {len(targets)} do "
            f"not, the first, row {row}, sums to {sums[row].item():.8g}"
        )
    if targets.detach().min() < 0:
        raise ValueError(f"soft targets must not be negative, got {targets.min().item():.8g}")


def explain_losses(losses: Tensor, logits: Tensor, mass: Tensor) -> None:
    """Raise if bad logits are why `losses` are not finite; called once that is known.

    NaN and plus infinity always show in the loss of their row; minus infinity does where the
    target has mass, and elsewhere rules out a class. Looking at the losses alone saves a pass
    over the logits.
    """
    masked = torch.isneginf(logits) & ~mass
    good = torch.isfinite(losses)[:, None]
    check_finite(logits.detach().masked_fill(masked | good, 0.0))


def check_reduction(reduction: str) -> None:
    """Raise unless `reduction` is one of PyTorch's three."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')


def _check_entries(tensor: Tensor, name: str, classes: int | None, values: bool) -> None:
    """Raise unless it holds a number for each of the classes (None: any), finite and not < 0."""
    if tensor.ndim != 1 or tensor.numel() == 0:
        raise ValueError(f"{name} must have shape (classes,), got {describe(tensor)}")
    if classes is not None and tensor.numel() != classes:
        raise ValueError(f"{name} has {tensor.numel()} entries, but there are {classes} classes")
    if values and (not torch.isfinite(tensor).all() or (tensor < 0).any()):
        raise ValueError(f"{name} must be finite and non-negative, got {_first(tensor)}")


def _first(tensor: Tensor) -> list:
    """The first ten entries, for error messages."""
    return [*tensor[:10].tolist(), *["..."] * (len(tensor) > 10)]


def as_counts(counts: PriorLike, *, classes: int | None = None, values: bool = True) -> Tensor:
    """Return samples per class as a float64 tensor after checking that they are counts.

    Zeros are allowed, and so are fractions, such as counts of a weighted sampler.
    """
    tensor = torch.as_tensor(counts).detach()
    tensor = tensor.float() if tensor.device.type == "mps" else tensor.double()
    _check_entries(tensor, "class_counts", classes, values)
    if values and tensor.sum() == 0:
        raise ValueError(f"class_counts hold no sample: {_first(tensor)}")
    return tensor


def as_class_weights(
    weights: PriorLike, *, classes: int | None = None, values: bool = True
) -> Tensor:
    """Return one finite, non-negative weight per class, at least float32."""
    tensor = weights if isinstance(weights, Tensor) else torch.as_tensor(np.asarray(weights))
    _check_entries(tensor, "class_weights", classes, values)
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    return at_least_float32(tensor.detach())


def check_order(prior: object, labels: Sequence | None = None) -> None:
    """Raise if a pandas Series is not in the order of `labels` (None: 0, 1, ...), or is masked.

    `value_counts(normalize=True)` puts the most frequent label first; read by position it would
    be taken for another prior.
    """
    if isinstance(prior, Tensor):
        return
    if np.ma.is_masked(prior):
        raise ValueError("prior is a masked array with hidden entries: it needs all of them")
    index = getattr(prior, "index", None)
    if index is None or callable(index):  # list.index and tuple.index are methods
        return
    found, expected = list(index), list(range(len(index)) if labels is None else labels)
    if found != expected:
        raise ValueError(
            f"prior is a pandas Series with index {found[:10]}, but it is read in the order of "
            f"the classes, {expected[:10]}: reindex it, or pass its values in that order"
        )


def as_prior(
    prior: PriorLike,
    *,
    classes: int | None = None,
    like: Tensor | None = None,
    values: bool = True,
) -> Tensor:
    """Return `prior` as a 1-D floating tensor after checking that it is a distribution.

    Args:
        prior: Class probabilities, class after class; zeros are allowed. A pandas Series must
            have the index 0, 1, ...: its order decides.
        classes: Number of classes that it must have.
        like: Tensor whose device the result takes; its dtype is taken if at least float32.
        values: Also check the values: non-negative, finite, summing to one. Off in hot paths on
            accelerators, where the check would force the device to synchronise.

    Raises:
        TypeError: The prior is not numeric.
        ValueError: Wrong shape or length, a negative or non-finite entry, or a sum other than 1.

    """
    check_order(prior)
    tensor = prior if isinstance(prior, Tensor) else torch.as_tensor(np.array(prior))  # a copy
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"prior must hold real numbers, got {describe(tensor)}")
    given = tensor.detach()
    _check_entries(given, "prior", classes, values)
    if values:
        total = float(given.double().sum())
        stored = given.dtype if given.is_floating_point() else torch.float64
        if abs(total - 1) > sum_tolerance(stored, len(given)):
            raise ValueError(f"prior must sum to 1, got a sum of {total:.8g} from {_first(given)}")
    # Half-precision logits still meet a float32 prior: 1/1000 has three digits in bfloat16.
    model = tensor if like is None else like
    return tensor.to(model.device, torch.promote_types(model.dtype, torch.float32))


def per_class(
    logits: Tensor | None = None,
    *,
    prior: PriorLike | None = None,
    class_counts: PriorLike | None = None,
    class_weights: PriorLike | None = None,
) -> Tensor:
    """Return whichever of the three is given, checked, as one number for each class of `logits`.

    With logits this is the hot path, where values on an accelerator are not read; without, as when
    a module is made, they are.

    Raises:
        ValueError: None is given, or more than one; or what :func:`as_prior`, :func:`as_counts`
            and :func:`as_class_weights` refuse.

    """
    options = ((as_prior, prior), (as_counts, class_counts), (as_class_weights, class_weights))
    given = [(check, values) for check, values in options if values is not None]
    if len(given) != 1:
        raise ValueError("give exactly one of prior and class_counts")
    ((check, values),) = given
    # Logits of a wrong type or shape have an error of their own, which comes later.
    classes = logits.shape[1] if isinstance(logits, Tensor) and logits.ndim == 2 else None
    readable = not isinstance(values, Tensor) or values_can_be_checked(values)
    return check(values, classes=classes, values=logits is None or readable)


def label_frequencies(targets: Tensor, classes: int) -> Tensor:
    """Return the relative frequency of each class in `targets` (float64)."""
    counts = torch.bincount(targets.reshape(-1).long(), minlength=classes)
    return counts.double() / targets.numel()
