"""The entries of the reference, book/api.md: one for every name that the stubs list.

A section of the page includes what `section_page` writes of it. Stubs and sources are read, and
nothing is imported.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.closure import homes

ROOT = Path(__file__).resolve().parents[2]
# Sections, and the modules whose names they show, in this order; a package stands for those of its
# modules that are named nowhere before.
SECTIONS: dict[str, tuple[str, ...]] = {
    "information": ("information.pointwise", "information.estimate", "information"),
    "estimators": ("estimators.softmax", "estimators.extrapolation", "estimators.calibration",
                   "metrics"),
    "rivals": ("estimators.variational", "estimators"),
    "losses": ("losses.prior_corrected", "losses.priors", "losses.reweighting", "losses"),
    "synthetic": ("synthetic.task", "synthetic.gaussian", "synthetic"),
    "maps": ("maps.activation_maps", "maps.contrast", "maps.regions", "maps.picture", "maps.boxes",
             "maps"),
    "training": ("training",),
    "data": ("datasets", "models"),
}  # fmt: skip
# In stubs for the sake of other packages of ours: of no use to anybody else.
INTERNAL = ("InNats", "decode_image", "label_log_probabilities", "normal_interval", "sha256")
# What PyTorch calls, and nobody else.
HOOKS = ("forward", "extra_repr")


@dataclass(frozen=True)
class Entry:
    """A function or class that users can import."""

    name: str  # in full, as it is imported
    home: str  # module that defines it, without "softmi."
    node: ast.FunctionDef | ast.ClassDef
    methods: tuple[str, ...] = ()  # of a class, with its properties

    @property
    def package(self) -> str:
        """Where it is imported from."""
        return self.name.rpartition(".")[0]

    @property
    def directive(self) -> str:
        """What makes Sphinx write its entry."""
        if isinstance(self.node, ast.FunctionDef):
            return f".. autofunction:: {self.name}\n"
        members = f"   :members: {', '.join(self.methods)}\n" if self.methods else ""
        return f".. autoclass:: {self.name}\n{members}"


def packages(root: Path = ROOT) -> list[Path]:
    """Packages of the library whose names are listed in a stub."""
    return sorted(path.parent for path in (root / "softmi").glob("*/__init__.pyi"))


@cache
def entries(root: Path = ROOT) -> tuple[Entry, ...]:
    """Every public function and class, under the shortest name that it is imported by."""
    top = homes(root / "softmi")
    found = {}
    for package in packages(root):
        for name, module in homes(package).items():
            where = "softmi" if name in top else f"softmi.{package.name}"
            found[f"{where}.{name}"] = f"{package.name}.{module}"
    known = {}
    for path in sorted((root / "softmi").rglob("*.py")):
        module = ".".join(path.relative_to(root / "softmi").with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                known[module, node.name] = node
                if module == "metrics" and not node.name.startswith("_"):
                    found[f"softmi.metrics.{node.name}"] = module
    shown = {n: home for n, home in found.items() if n.rpartition(".")[2] not in INTERNAL}
    listed = {name.rpartition(".")[2] for name in shown}
    classes = {n: node for (_, n), node in known.items() if isinstance(node, ast.ClassDef)}
    unlisted = {n: node for n, node in classes.items() if n not in listed}
    return tuple(
        Entry(name, home, node, tuple(dict.fromkeys(_methods(node, unlisted))))
        for name, home in shown.items()
        if (node := known.get((home, name.rpartition(".")[2])))  # else a constant or a type
    )


def section_entries(section: str, root: Path = ROOT) -> list[Entry]:
    """Entries of a section: module by module, each in the order of its file."""
    order = [module for modules in SECTIONS.values() for module in modules]
    own = [entry for entry in entries(root) if _place(entry, order) in SECTIONS[section]]
    return sorted(own, key=lambda e: (order.index(_place(e, order)), e.home, e.node.lineno))


def section_page(section: str, root: Path = ROOT) -> str:
    """What a section of book/api.md includes: from where, and the entries."""
    own = section_entries(section, root)
    blocks = []
    for package in sorted({entry.package for entry in own}):
        listed = "".join(entry.directive for entry in own if entry.package == package)
        block = f"```{{eval-rst}}\n.. currentmodule:: softmi\n{listed}```"
        blocks.append(f"From `{package}`:\n\n{block}\n")
    return "\n".join(blocks)


def _place(entry: Entry, order: list[str]) -> str:
    """The module or package of `SECTIONS` that an entry belongs to."""
    places = [p for p in (entry.home, entry.home.partition(".")[0]) if p in order]
    if not places:
        raise ValueError(
            f"softmi.{entry.home} is in no section of the reference: add it to SECTIONS in "
            f"tools/book/reference.py, and to a section of book/api.md"
        )
    return places[0]


def _methods(
    node: ast.FunctionDef | ast.ClassDef, unlisted: Mapping[str, ast.ClassDef]
) -> Iterator[str]:
    """Documented methods and properties that users call, with those of bases without an entry."""
    if isinstance(node, ast.FunctionDef):
        return
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in unlisted:
            yield from _methods(unlisted[base.id], unlisted)
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and ast.get_docstring(inner):
            hidden = inner.name.startswith("_") and inner.name != "__call__"
            if not hidden and inner.name not in HOOKS:
                yield inner.name
