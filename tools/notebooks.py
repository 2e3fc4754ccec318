"""What a notebook pair is, and when its `.ipynb` is up to date.

`notebooks/NN_slug.py` (jupytext py:percent) is the source. `notebooks/NN_slug.ipynb` is built from
it and committed with its outputs. A hash in its metadata, the stamp, says from what it was built:
git keeps no file times, so nothing else could tell a fresh clone that a notebook is up to date.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from jupytext.combine import combine_inputs_with_outputs
from nbformat import NotebookNode

from tools.closure import code_alone, import_closure

ROOT = Path(__file__).resolve().parents[1]

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

# The cell metadata that is part of a pair, as in jupytext.toml. Any other is not the author's.
CELL_METADATA = ("tags", "mystnb")

# How the committed outputs are made: one thread and a fixed hash seed, for the same floats and the
# same order of sets at every run on a machine. nbval's kernels get the same (conftest.py).
CALM = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Pair:
    """One notebook of the project at `root`: its source and the file built from it."""

    root: Path
    slug: str

    @property
    def source(self) -> Path:
        """The py:percent file, the one to edit."""
        return self.root / "notebooks" / f"{self.slug}.py"

    @property
    def built(self) -> Path:
        """The executed notebook."""
        return self.root / "notebooks" / f"{self.slug}.ipynb"

    def read_source(self) -> NotebookNode:
        """The source as a notebook without outputs."""
        notebook = jupytext.reads(self.source.read_text(encoding="utf-8"), fmt="py:percent")
        for cell in notebook.cells:
            kept = {key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata}
            cell.metadata = NotebookNode(kept)
        return notebook

    def read_built(self) -> NotebookNode | None:
        """The executed notebook; None if there is none, or none that can be read."""
        try:
            return nbformat.read(self.built, as_version=4)
        except (OSError, ValueError, nbformat.ValidationError):
            return None

    def stamp(self) -> str:
        """Hash of all that the executed notebook depends on, apart from installed packages.

        Of the library these are the modules that it imports, transitively, without docstrings and
        comments: a change elsewhere cannot change what the notebook shows.
        """
        cells = self.read_source().cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        modules = sorted(import_closure(code, self.root))
        parts = {
            "cells": [_content(cell) for cell in cells],
            "library": {
                path.relative_to(self.root).as_posix(): code_alone(path.read_text("utf-8"))
                for path in modules
            },
            "results": _contents(self.root, f"results/{self.slug}*.json"),
            "claims": [c for c in read_claims(self.root) if c.get("notebook") == self.slug],
        }
        return "sha256:" + _digest(json.dumps(parts, sort_keys=True, default=str))

    def why_stale(self) -> str | None:
        """What is wrong with the executed notebook, in words; None if it is up to date."""
        notebook = self.read_built()
        if notebook is None:
            return "there is no executed notebook" if not self.built.exists() else "unreadable"
        if not same_cells(self.read_source(), notebook):
            return "its cells differ from the .py"
        if any(cell.execution_count is None for cell in code_cells(notebook)):
            return "some cells were not executed"
        if notebook.metadata.get("softmi", {}).get("stamp") != self.stamp():
            return "its code, the library, its results or its claims changed since it ran"
        return None

    def build(self) -> NotebookNode:
        """The source as a notebook to execute; a cell that was there before keeps its id."""
        fresh, before = self.read_source(), self.read_built()
        notebook, kept = fresh, set()
        if before is not None:
            notebook = combine_inputs_with_outputs(fresh, before, fmt="py:percent")
            kept = {cell.get("id") for cell in before.cells}
        for cell, source in zip(notebook.cells, fresh.cells, strict=True):
            cell.metadata = source.metadata
        # All outputs are made anew: one kept from an edited cell would be a lie.
        for cell in code_cells(notebook):
            cell.outputs, cell.execution_count = [], None
        _set_ids(self.slug, notebook, kept)
        notebook.metadata = NotebookNode(kernelspec=NotebookNode(KERNELSPEC))
        notebook.nbformat, notebook.nbformat_minor = 4, 5
        return notebook


def find_pairs(root: Path = ROOT) -> list[Pair]:
    """All notebooks of the project, in reading order."""
    sources = sorted((root / "notebooks").glob("[0-9][0-9]_*.py"))
    return [Pair(root, source.stem) for source in sources]


def code_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """The code cells of a notebook."""
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def same_cells(source: NotebookNode, built: NotebookNode) -> bool:
    """Do two notebooks have the same cells: kind, text and tags?"""
    return [_content(c) for c in source.cells] == [_content(c) for c in built.cells]


def strip_run_metadata(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs from run to run, so that a deterministic notebook gives the same bytes."""
    notebook.metadata = NotebookNode(
        {k: v for k, v in notebook.metadata.items() if k not in ("papermill", "language_info")}
    )
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill gives every cell an empty list
    return notebook


def read_claims(root: Path = ROOT) -> list[dict[str, Any]]:
    """The entries of claims/*.yml as they are; none if there are no such files."""
    texts = (p.read_text(encoding="utf-8") for p in sorted((root / "claims").glob("*.yml")))
    # The safe loader in C, where there is one, needs a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [entry for text in texts for entry in yaml.load(text, loader) or []]


def kernel_environment(root: Path) -> dict[str, str]:
    """Variables that every kernel gets, however it is started."""
    path = os.environ.get("PYTHONPATH")
    return {
        # The library of this tree, installed or not.
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else str(root),
        # Silences debugpy's note about frozen modules on stderr.
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # Empty: ipykernel then chooses its inline backend. Anything else loses the figures.
        "MPLBACKEND": "",
    }


def _content(cell: NotebookNode) -> tuple[str, str, dict[str, Any]]:
    return cell.cell_type, cell.source, dict(cell.metadata)


def _set_ids(slug: str, notebook: NotebookNode, kept: set[str | None]) -> None:
    """Give new cells an id made from their text: jupytext's are random."""
    taken = {cell.get("id") for cell in notebook.cells} & kept
    for cell in notebook.cells:
        if cell.get("id") in kept:
            continue
        name, n = "", 0
        while not name or name in taken:
            name = _digest(f"{slug} {cell.cell_type} {cell.source} {n}")[:8]
            n += 1
        cell["id"] = name
        taken.add(name)


def _contents(root: Path, pattern: str) -> dict[str, str]:
    files = sorted(root.glob(pattern))
    return {f.relative_to(root).as_posix(): _digest(f.read_text(encoding="utf-8")) for f in files}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
