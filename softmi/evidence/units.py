"""Units of long runs, each computed at most once."""

import ast
import hashlib
import inspect
import json
import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def code_digest(*parts: Any) -> str:
    """Fingerprint of functions, classes and modules: what they do, not comments and docstrings."""
    trees = [ast.parse(textwrap.dedent(inspect.getsource(part))) for part in parts]
    for node in (node for tree in trees for node in ast.walk(tree)):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256("".join(map(ast.dump, trees)).encode()).hexdigest()


def kept_unit(
    folder: Path, name: str, made_by: Mapping[str, Any], compute: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """Result of one unit of a long run, computed at most once.

    A unit is the smallest part that is repeated: a network, say, of one loss and one seed. Its
    result appears in `folder` only when it is whole. A unit that was cut short goes on from the
    checkpoint that it was given, and :func:`softmi.fit` resumes to the bit.

    Args:
        folder: Where results and checkpoints are.
        name: Of the unit, unique in `folder`.
        made_by: All settings that the result depends on, as JSON can hold them: results and
            checkpoints of other settings are not looked at.
        compute: From the path of the checkpoint, for :func:`softmi.fit`, to a dictionary of
            tensors, numbers and strings, nested or not.

    """
    text = json.dumps(made_by, sort_keys=True)
    path = Path(folder) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.pt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = path.with_suffix(".ckpt")
        result = compute(checkpoint)
        partial = path.with_suffix(f".{os.getpid()}")
        torch.save(result, partial)
        partial.replace(path)
        checkpoint.unlink(missing_ok=True)
    return torch.load(path, weights_only=True)
