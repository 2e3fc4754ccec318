"""Which modules of `softmi` a piece of code imports, transitively: what a stamp has to cover.

Nothing is imported: the answer comes from the sources and from the stubs (`__init__.pyi`), which
say where the names of a lazily imported package live.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "softmi"


def import_closure(text: str, root: Path) -> set[Path]:
    """Files of the package under `root` that the code in `text` reaches by its imports.

    A package that is used as a whole, not by a name of it, counts with all its files.
    """
    found: set[Path] = set()
    todo = set(_reached(text, root))
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo |= set(_reached(path.read_text(encoding="utf-8"), root)) - found
    return found


@cache
def code_alone(text: str) -> str:
    """A source without docstrings and comment lines: no result depends on them."""
    tree = ast.parse(text)
    dropped: set[int] = set()
    kept: set[int] = set()
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            dropped.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        elif isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno > node.lineno:
            kept.update(range(node.lineno, node.end_lineno + 1))  # a string of several lines
    return "\n".join(
        line.rstrip()
        for number, line in enumerate(text.splitlines(), 1)
        if number not in dropped
        and line.strip()
        and (number in kept or not line.lstrip().startswith("#"))
    )


class _Mentions(NamedTuple):
    """What a source says of the package, and of anything that may turn out to be the package's."""

    imports: list[tuple[list[str], str | None]]  # import a.b as c: a.b, split, and c
    taken: list[tuple[list[str], str]]  # from a.b import c as d: a.b.c, split, and d
    lookups: set[tuple[str, ...]]  # a.b.c, split
    names: set[str]  # a alone


@cache
def _mentions(text: str) -> _Mentions:
    """Read one source; chapters share most of theirs."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    found = _Mentions([], [], set(), set())
    inner = {id(n.value) for n in nodes if isinstance(n, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == PACKAGE:
                    found.imports.append((parts, alias.asname))
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            if parts[0] == PACKAGE:
                found.taken.extend(([*parts, a.name], a.asname or a.name) for a in node.names)
        elif isinstance(node, ast.Attribute) and id(node) not in inner:
            found.lookups.add(tuple(ast.unparse(node).split(".")))
        elif isinstance(node, ast.Name) and id(node) not in inner:
            found.names.add(node.id)
    return found


def _reached(text: str, root: Path) -> Iterator[Path]:
    """Files that the imports of one source name."""
    found = _mentions(text)
    bound: dict[str, list[str]] = {}  # name in this source -> package or module it stands for
    for parts, name in found.imports:
        bound[name or PACKAGE] = parts if name else [PACKAGE]
        if len(parts) > 1:
            yield from _resolved(parts, root)
    for parts, name in found.taken:
        if root.joinpath(*parts).is_dir():
            bound[name] = parts
        else:
            yield from _resolved(parts, root)
    for first, *rest in found.lookups:
        if first in bound:
            yield from _resolved([*bound[first], *rest], root)
    for name in found.names & set(bound):
        folder = root.joinpath(*bound[name])
        yield from folder.rglob("*.py") if bound[name] != [PACKAGE] else ()


def _resolved(parts: list[str], root: Path) -> Iterator[Path]:
    """Files that are imported when the dotted name `parts` is looked up."""
    folder = root / parts[0]
    for part in parts[1:]:
        yield folder / "__init__.py"
        if (folder / part).is_dir():
            folder = folder / part
            continue
        module = folder / f"{part}.py"
        if module.exists():
            yield module
        elif home := _homes(folder).get(part):
            yield from _resolved([*folder.relative_to(root).parts, *home.split(".")], root)
        return
    yield folder / "__init__.py"


def _homes(folder: Path) -> dict[str, str]:
    """Name -> module, from the stub of a package; empty where there is none."""
    stub = folder / "__init__.pyi"
    if not stub.exists():
        return {}
    body = ast.parse(stub.read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname or alias.name: node.module for node in imports for alias in node.names}
