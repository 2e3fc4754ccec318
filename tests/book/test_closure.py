"""A stamp covers the modules that a chapter imports, transitively, and no others."""

import ast
from pathlib import Path

import pytest
from processes import in_processes

from tools.closure import code_alone, import_closure
from tools.notebooks import ROOT, code_cells, find_pairs


def reached(slug: str) -> set[str]:
    (pair,) = (pair for pair in find_pairs() if pair.slug == slug)
    code = "\n".join(cell.source for cell in code_cells(pair.read_source()))
    return {p.relative_to(ROOT / "softmi").as_posix() for p in import_closure(code, ROOT)}


SLUGS = [pair.slug for pair in find_pairs()]


@pytest.mark.parametrize("slug", SLUGS)
def test_the_command_line_stales_no_chapter(slug):
    assert not [name for name in reached(slug) if name.startswith("cli/")]


def test_boxes_stale_the_chapters_on_localisation_and_no_other():
    found = {slug for slug in SLUGS if "maps/boxes.py" in reached(slug)}
    assert found == {"07_infocam", "08_localisation_audit"}


@pytest.mark.slow
@pytest.mark.parametrize("slug", [pytest.param(SLUGS[2], marks=pytest.mark.minutes), SLUGS[-1]])
def test_every_module_that_an_import_loads_is_covered(slug, tmp_path):
    """The imports of the chapter, run: nothing of softmi is loaded that the stamp does not see.

    The other way round need not hold: what a function imports when it is called is covered, too.
    """
    (pair,) = (pair for pair in find_pairs() if pair.slug == slug)
    source = "\n".join(cell.source for cell in code_cells(pair.read_source()))
    nodes = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom))
    ours = "\n".join(line for line in map(ast.unparse, nodes) if "softmi" in line)
    code = f"""
import sys
for name in [name for name in sys.modules if name.split(".")[0] == "softmi"]:
    del sys.modules[name]  # loaded before, by what this process is forked from
{ours}
result = [m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "softmi"]
"""
    (files,) = in_processes(code, tmp_path, 1)
    loaded = {Path(file).resolve() for file in files}
    assert loaded
    assert loaded <= import_closure(source, ROOT)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A lazy package with a folder inside, a stub, and a module that imports when called."""
    files = {
        "softmi/__init__.py": "",
        "softmi/__init__.pyi": "from .rooms.one import first as first\nfrom . import rooms\n",
        "softmi/rooms/__init__.py": "",
        "softmi/rooms/__init__.pyi": "from .two import second as second\n",
        "softmi/rooms/one.py": "def first():\n    from softmi.rooms import second\n",
        "softmi/rooms/two.py": "import softmi.deep as d\nd.x\n",
        "softmi/rooms/three.py": "",
        "softmi/deep.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import numpy", ""),
        ("import softmi.deep", ". deep"),
        ("from softmi import deep", ". deep"),
        ("import softmi\nsoftmi.first()", ". rooms rooms.one rooms.two deep"),
        ("from softmi import first", ". rooms rooms.one rooms.two deep"),
        ("from softmi.rooms import second as s", ". rooms rooms.two deep"),
        ("from softmi import rooms\nrooms.second(1)", ". rooms rooms.two deep"),
        ("import softmi\nsoftmi.rooms.three.y", ". rooms rooms.three"),
        ("from softmi import rooms\nprint(rooms)", ". rooms rooms.one rooms.two rooms.three deep"),
    ],
)
def test_closure_follows_stubs_modules_and_packages_as_a_whole(package, code, expected):
    found = set()
    for path in import_closure(code, package):
        name = ".".join(path.relative_to(package / "softmi").with_suffix("").parts)
        found.add(name.removesuffix("__init__").rstrip(".") or ".")
    assert found | {"."} == set(expected.split()) | {"."}


def test_code_alone_keeps_code_and_strings_and_drops_what_changes_nothing():
    text = '"""Module."""\n\n# why\nx = """\n# kept\n"""\ndef f():\n    """Doc."""\n    return 1\n'
    assert code_alone(text) == 'x = """\n# kept\n"""\ndef f():\n    return 1'
