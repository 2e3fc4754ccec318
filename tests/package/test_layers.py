"""Who imports whom: the contracts of pyproject.toml, and no private name of another package."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.notebooks import ROOT

LINT = "from importlinter.cli import lint_imports_command as check; check(['--no-cache'])"


def test_packages_import_from_the_layers_below():
    reason = "layers are not checked: pip install import-linter"
    pytest.importorskip("importlinter", reason=reason)
    done = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True)
    hint = "Import from a layer below, or move the name: the layers are in pyproject.toml."
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{hint}"


def private_imports(path: Path, package: str) -> Iterator[str]:
    """Names with an underscore that a source outside `package` takes from a package of softmi."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if not module.startswith("softmi.") or module.split(".")[1] in (package, "_checks"):
            continue
        parts = [*module.split("."), *(alias.name for alias in node.names)]
        yield from (
            f"{path.relative_to(ROOT)}:{node.lineno}: {part} of {module}"
            for part in parts
            if part.startswith("_")
        )


def test_no_private_name_is_imported_from_another_package():
    """Nor by a chapter: what it shows has to be there for everybody."""
    found = []
    for path in sorted((ROOT / "softmi").rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        found += private_imports(path, parts[1].removesuffix(".py"))
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        found += private_imports(path, "")
    assert not found, "\n".join(
        ["give these a public name, or move what uses them into their package:", *found]
    )
