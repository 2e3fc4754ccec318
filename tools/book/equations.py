"""From paper to code: what the `Source:` lines of docstrings and the markers of tests say.

A function that implements an equation or a named definition ends its docstring with a line such as
`Source: qin2019, eq. 8.`; several sources are parted by semicolons, and a key is one of
book/references.bib. A test of it carries `@pytest.mark.paper("qin2019", "eq. 8")`. Sources are
read, nothing is imported.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pybtex.database import parse_file

from softmi.evidence.tables import markdown_table
from tools.book import reference
from tools.closure import import_closure
from tools.scoreboard import paper_names

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.compile(r"\b(table|figure) \d")  # in a paper, with no function of its own
FORM = "Source: key, item; key, item."


@dataclass(frozen=True)
class Reference:
    """One item of a paper, and the function or class that implements it, or a test of it."""

    key: str
    item: str
    name: str  # in its module: a method has its class before it
    home: str  # module of a function, path of a test


def keys(root: Path = ROOT) -> list[str]:
    """Papers of the bibliography, in its order."""
    return list(parse_file(root / "book" / "references.bib").entries)


def parse_sources(docstring: str) -> list[tuple[str, str]]:
    """Return (key, item) of each source in the last line of a docstring.

    Raises:
        ValueError: A line that begins with `Source:` and is not the last, or not of that form.

    """
    *before, last = docstring.strip().split("\n\n")
    if any(re.search(r"^\s*Source:", part, re.MULTILINE) for part in before):
        raise ValueError("the line `Source:` must be the last of the docstring")
    text = " ".join(last.split())
    if "Source:" not in text:
        return []
    pairs = [tuple(pair.split(", ", 1)) for pair in text[len("Source: ") : -1].split("; ")]
    if not text.startswith("Source: ") or text[-1] != "." or {len(pair) for pair in pairs} != {2}:
        raise ValueError(f"write it as `{FORM}`, got `{text}`")
    return [(key, item) for key, item in pairs]


def sources(root: Path = ROOT) -> list[Reference]:
    """Every source that a docstring of the library names, in the order of the files.

    Raises:
        ValueError: A docstring with a malformed line; the message says which.

    """
    found = []
    for path in sorted((root / "softmi").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for name, node in _documented(ast.parse(path.read_text(encoding="utf-8"))):
            try:
                pairs = parse_sources(ast.get_docstring(node) or "")
            except ValueError as error:
                raise ValueError(f"{module}.{name}: {error}") from None
            found += [Reference(key, item, name, module) for key, item in pairs]
    return found


def paper_tests(root: Path = ROOT) -> list[Reference]:
    """Every test with a marker `paper`, in the order of the files."""
    found = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, node in _documented(ast.parse(path.read_text(encoding="utf-8"))):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.paper":
                    key, item = (ast.literal_eval(argument) for argument in mark.args)
                    found.append(Reference(key, item, name, path.relative_to(root).as_posix()))
    return found


def problems(
    known: list[str], implemented: list[Reference], tested: list[Reference]
) -> Iterator[str]:
    """What is missing, each with what to do about it."""
    items = {(source.key, source.item) for source in implemented}
    marked = {(test.key, test.item) for test in tested}
    for source in implemented:
        if source.key not in known:
            yield (
                f"{source.home}.{source.name}: the Source line names {source.key!r}, which is "
                "not in book/references.bib: add the paper there, or mend the key"
            )
        if (source.key, source.item) not in marked:
            yield (
                f"{source.home}.{source.name} implements {source.key}, {source.item}, and no test "
                f'says so: write @pytest.mark.paper("{source.key}", "{source.item}") above the '
                "test that checks it"
            )
    for test in tested:
        if test.key not in known:
            yield (
                f"{test.home}::{test.name}: marked with {test.key!r}, which is not in "
                f"book/references.bib"
            )
        if (test.key, test.item) not in items and not SHOWN.search(test.item):
            yield (
                f"{test.home}::{test.name}: marked with {test.key}, {test.item}, which no "
                f"docstring names: mend the marker, or end the docstring of the function with "
                f"`Source: {test.key}, {test.item}.`"
            )


def equations_page(root: Path = ROOT) -> str:
    """Return a table a paper: item, function, chapters that use it, tests."""
    implemented, tested = sources(root), paper_tests(root)
    tests: dict[tuple[str, str], dict[str, int]] = {}
    for test in tested:
        files = tests.setdefault((test.key, test.item), {})
        files[test.home] = files.get(test.home, 0) + 1
    entries, uses, names = _entries(root), _uses(root), paper_names()
    lines = []
    for key in keys(root):
        rows = [
            (
                source.item,
                _link(source, entries),
                ", ".join(_chapters(source, uses, root)) or "–",
                ", ".join(
                    f"`{path}`" + (f" ({n})" if n > 1 else "")
                    for path, n in tests.get((key, source.item), {}).items()
                )
                or "–",
            )
            for source in implemented
            if source.key == key
        ]
        if rows:
            header = ("item", "function", "chapters", "tests")
            lines += [f"## {names[key]}", "", f"In {{cite:p}}`{key}`:", ""]
            lines += [markdown_table(header, rows), ""]
    return "\n".join(lines)


def _documented(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def _entries(root: Path) -> dict[str, tuple[str, str]]:
    """Role and full name of each entry of the reference, by its last part."""
    text = (root / "book" / "api.md").read_text(encoding="utf-8")
    text += "".join(entry.directive for entry in reference.entries(root))
    found = re.findall(r"^\.\. auto(func|class)(?:tion)?:: ([\w.]+)$", text, re.MULTILINE)
    return {name.rpartition(".")[2]: (role, name) for role, name in found}


def _link(source: Reference, entries: dict[str, tuple[str, str]]) -> str:
    """The function, linked to its entry in the reference; a method, to that of its class."""
    first, _, method = source.name.partition(".")
    if first not in entries:
        return f"`{source.home}.{source.name}`"
    role, name = entries[first]
    return f"{{py:{role}}}`{name}`" + (f", `{method}`" if method else "")


def _chapters(source: Reference, uses: dict[str, set[str]], root: Path) -> list[str]:
    """Links to the chapters that use a function, its log form, its loss or its module.

    These are what in the same file refers to it in a docstring.
    """
    path = root.joinpath(*source.home.split(".")).with_suffix(".py")
    own = source.name.rpartition(".")[2]
    names = {own}
    for name, node in _documented(ast.parse(path.read_text(encoding="utf-8"))):
        if re.search(rf":(func|class|meth):`{own}`", ast.get_docstring(node) or ""):
            names.add(name.partition(".")[0])
    return [
        f"[{slug[:2]}](../notebooks/{slug}.ipynb)" for slug, used in uses.items() if names & used
    ]


def _uses(root: Path) -> dict[str, set[str]]:
    """Names that each chapter uses, by itself or in its experiments."""
    found = {}
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.py")):
        reached = import_closure(path.read_text(encoding="utf-8"), root)
        sources = [path, *(p for p in reached if p.parent.name == "experiments")]
        found[path.stem] = set().union(*map(_names, sources))
    return found


def _names(path: Path) -> set[str]:
    """Names in one source."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}
