"""Units of long runs, each computed at most once."""

import ast
import hashlib
import inspect
import json
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch

from softmi.evidence.paths import written_whole

PACKAGE = __name__.partition(".")[0]


def code_digest(*parts: Any) -> str:
    """Fingerprint of functions, classes and modules, and of all that they use of this package.

    What a function calls is followed: functions, classes and constants of the package that its
    body names, and what those name in turn. So a change in a helper is noticed, and a function
    that is added beside them is not. Comments and docstrings do not count.

    Args:
        parts: Functions, classes or modules. Of a module all is taken, as it stands in the file.

    """
    seen: dict[str, str] = {}
    todo = list(parts)
    while todo:
        part = todo.pop()
        name = f"{part.__module__}.{part.__qualname__}" if hasattr(part, "__qualname__") else ""
        name = name or part.__name__
        if name in seen:
            continue
        tree, seen[name] = _syntax(part)
        for used, value in _names_used(tree, part):
            if isinstance(value, FunctionType | type):
                if value.__module__.partition(".")[0] == PACKAGE:
                    todo.append(value)
            else:
                seen[f"{name}: {used}"] = repr(value)
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()


@cache
def _syntax(part: Any) -> tuple[ast.Module, str]:
    """Tree of what stands in the file, without docstrings, and its text."""
    tree = _without_docstrings(ast.parse(textwrap.dedent(inspect.getsource(part))))
    return tree, ast.dump(tree)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def _names_used(tree: ast.Module, part: Any) -> Iterator[tuple[str, Any]]:
    """The functions, classes and plain constants that code names, looked up where it stands."""
    scope = inspect.unwrap(part) if callable(part) else part
    if isinstance(scope, ModuleType):
        known = vars(scope)
    else:
        known = dict(vars(inspect.getmodule(scope) or scope))
        if isinstance(scope, FunctionType):
            known |= inspect.getclosurevars(scope).nonlocals
    for node in ast.walk(tree):
        dotted = ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""
        first, *rest = dotted.split(".")
        if not first.isidentifier() or first not in known:
            continue
        value = known[first]
        while rest and isinstance(value, ModuleType) and hasattr(value, rest[0]):
            value = getattr(value, rest.pop(0))
        value = inspect.unwrap(value) if callable(value) else value
        value = value.__func__ if isinstance(value, MethodType) else value
        if value is part or isinstance(value, ModuleType):
            continue
        plain = int | float | str | bool | tuple | frozenset | None
        if isinstance(value, FunctionType | type) or (not rest and isinstance(value, plain)):
            yield dotted, value


def kept_unit(
    folder: Path, name: str, made_by: Mapping[str, Any], compute: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """Result of one unit of a long run, computed at most once.

    A unit is the smallest part that is repeated: a network, say, of one loss and one seed. Its
    result appears in `folder` only when it is whole and can be read. A unit that was cut short
    goes on from the checkpoint that it was given, and :func:`softmi.fit` resumes to the bit; the
    checkpoint is given up only when the result is safe.

    Args:
        folder: Where results and checkpoints are.
        name: Of the unit, unique in `folder`.
        made_by: All settings that the result depends on, as JSON can hold them: results and
            checkpoints of other settings are not looked at.
        compute: From the path of the checkpoint, for :func:`softmi.fit`, to a dictionary of
            tensors, numbers and strings, nested or not.

    Raises:
        TypeError: The result holds something else, which could not be read without running code.
            The checkpoint stays, so that only the last step has to be done again.

    """
    text = json.dumps(made_by, sort_keys=True)
    path = Path(folder) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.pt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)  # for the checkpoint
        checkpoint = path.with_suffix(".ckpt")
        result = compute(checkpoint)
        if foreign := sorted(_not_plain(result)):
            raise TypeError(
                f"unit {name!r}: a result holds tensors, numbers and strings only, got "
                f"{', '.join(foreign)}; convert them, by `float(x)` say, in what computes it. "
                f"Its checkpoint, if there is one, is kept: {checkpoint}"
            )
        with written_whole(path) as partial:
            torch.save(result, partial)
        checkpoint.unlink(missing_ok=True)
    return torch.load(path, weights_only=True)


def _not_plain(value: Any, place: str = "result") -> set[str]:
    """Places and types of what `torch.load(weights_only=True)` would refuse."""
    if type(value) in (int, float, bool, str, bytes, type(None)) or isinstance(
        value, torch.Tensor
    ):
        return set()
    if type(value) in (dict, OrderedDict):  # such as a state dictionary
        inside = [(f"{place}[{key!r}]", entry) for key, entry in value.items()]
        inside += [(f"key {key!r} of {place}", key) for key in value]
    elif type(value) in (list, tuple):
        inside = [(f"{place}[{i}]", entry) for i, entry in enumerate(value)]
    else:
        return {f"{type(value).__module__}.{type(value).__qualname__} at {place}"}
    return set().union(*(_not_plain(entry, where) for where, entry in inside))
