"""Which modules of `softmi` a piece of code imports, transitively: what a stamp has to cover.

Nothing is imported: the answer comes from the sources and from the stubs (`__init__.pyi`), which
say where the names of a lazily imported package live.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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


@cache
def _nodes(text: str) -> list[ast.AST]:
    """Imports of a source and the names that it looks up; chapters share most of their sources."""
    nodes = list(ast.walk(ast.parse(text)))
    inner = {id(n.value) for n in nodes if isinstance(n, ast.Attribute)}
    kinds = ast.Import | ast.ImportFrom | ast.Attribute | ast.Name
    return [node for node in nodes if isinstance(node, kinds) and id(node) not in inner]


_unparsed = cache(ast.unparse)


def _reached(text: str, root: Path) -> Iterator[Path]:
    """Files that the imports of one source name."""
    bound: dict[str, list[str]] = {}  # name in this source -> package or module it stands for
    for node in _nodes(text):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == PACKAGE:
                    bound[alias.asname or PACKAGE] = parts if alias.asname else [PACKAGE]
                    if len(parts) > 1:
                        yield from _resolved(parts, root)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            for alias in node.names:
                parts = [*node.module.split("."), alias.name]
                if root.joinpath(*parts).is_dir():
                    bound[alias.asname or alias.name] = parts
                else:
                    yield from _resolved(parts, root)
    for node in _nodes(text):
        if isinstance(node, ast.Attribute):
            first, *rest = _unparsed(node).split(".")
            if first in bound:
                yield from _resolved([*bound[first], *rest], root)
        elif isinstance(node, ast.Name) and node.id in bound and bound[node.id] != [PACKAGE]:
            yield from root.joinpath(*bound[node.id]).rglob("*.py")


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
        elif home := homes(folder).get(part):
            yield from _resolved([*folder.relative_to(root).parts, *home.split(".")], root)
        return
    yield folder / "__init__.py"


def homes(folder: Path) -> dict[str, str]:
    """Names that the stub of a package lists, with their modules; empty where there is none."""
    stub = folder / "__init__.pyi"
    if not stub.exists():
        return {}
    body = ast.parse(stub.read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname or alias.name: node.module for node in imports for alias in node.names}
