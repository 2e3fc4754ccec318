"""Names that users have: those of version 0.1 stay, a new one is entered where it has to be."""

import ast
import doctest
import importlib
import inspect
import json
import re
from functools import cache
from pathlib import Path

import pytest

import softmi
from tools.book import reference
from tools.book.reference import packages
from tools.closure import homes

ROOT = Path(__file__).parents[2]
# Name and signature, without annotations, of what 0.1 exported or documented, with the methods and
# properties of its classes; written by `inspect.signature` at its last commit.
OF_0_1 = json.loads((ROOT / "tests" / "data" / "public_0_1.json").read_text(encoding="utf-8"))
# What served the book's own long runs only went where its like is, outside the wheel.
MOVED = {
    "softmi.training.code_digest": "softmi.evidence.units.code_digest",
    "softmi.training.kept_unit": "softmi.evidence.units.kept_unit",
}


def find(name: str) -> object:
    """What a dotted name stands for: of a module, or of a class of it."""
    module, _, rest = name.partition(".evidence.units.")
    thing: object = importlib.import_module(f"{module}.evidence.units" if rest else "softmi")
    for part in (rest or name.removeprefix("softmi.")).split("."):
        look_up = inspect.getattr_static if inspect.isclass(thing) else getattr
        thing = look_up(thing, part)
    return thing


def parameters(signature: str) -> list[tuple[str, str, str | None]]:
    """Name, kind and default of each parameter of a signature in words."""
    shown = re.sub(r"<[^>]*>", "...", signature)  # the default of a field with a factory
    a = ast.parse(f"def f{shown}: ...").body[0].args
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + a.defaults
    rows = [(p.arg, "positional", d) for p, d in zip(positional, defaults, strict=True)]
    rows += [(a.vararg.arg, "*", None)] if a.vararg else []
    rows += [(p.arg, "keyword", d) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    rows += [(a.kwarg.arg, "**", None)] if a.kwarg else []
    return [(name, kind, d and ast.unparse(d)) for name, kind, d in rows]


def broken(old: str, new: str) -> list[str]:
    """Ways in which calls that fitted the old signature do not fit the new one."""
    before, after = parameters(old), parameters(new)
    known = {name: (kind, default) for name, kind, default in after}
    found = []
    if any(kind == "**" for _, kind, _ in after):
        known |= {name: (kind, d) for name, kind, d in before if name not in known}
    for name, kind, default in before:
        now = known.get(name)
        if now is None:
            found.append(f"{name} is gone")
        elif kind != now[0] and (kind, now[0]) != ("keyword", "positional"):
            found.append(f"{name} was {kind} and is {now[0]}")
        elif default is not None and default != now[1]:
            found.append(f"the default of {name} was {default} and is {now[1]}")
    order = [name for name, kind, _ in before if kind == "positional"]
    if [name for name, kind, _ in after if kind == "positional"][: len(order)] != order:
        found.append(f"positional parameters were {', '.join(order)} in this order")
    names = {name for name, _, _ in before}
    for name, kind, default in after:
        if name not in names and kind in ("positional", "keyword") and default is None:
            found.append(f"the new {name} has no default")
    return found


def signature_of(thing: object) -> str:
    """The signature as it is written in the list."""
    if isinstance(thing, staticmethod | classmethod):
        bound = isinstance(thing, classmethod)
        parameters = [*inspect.signature(thing.__func__).parameters.values()][bound:]
    else:
        parameters = [*inspect.signature(thing).parameters.values()]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return str(inspect.Signature([p for p in plain if p.name == "self" or p.name[0] != "_"]))


@pytest.mark.parametrize("name", OF_0_1)
def test_names_of_version_0_1_are_there_with_their_signatures(name):
    thing = find(MOVED.get(name, name))
    old = OF_0_1[name]
    if old == "property":
        assert not inspect.isfunction(thing), f"{name} was a property"
        return
    new = signature_of(thing)
    assert not broken(old, new), f"{name}{old} is now {new}: {'; '.join(broken(old, new))}"


def test_a_signature_may_grow_by_options_only():
    assert broken("(a, b=1)", "(a, b=1, *, c=None)") == []
    assert broken("(a, *, b=1)", "(a, b=1)") == []
    assert broken("(a, b)", "(a, b=None)") == []
    assert broken("(a, **kwargs)", "(a, b=1, **kwargs)") == []
    assert broken("(a, b=1)", "(a)")[0] == "b is gone"
    assert broken("(a, b=1)", "(a, *, b=1)")[0] == "b was positional and is keyword"
    assert broken("(a, b=1)", "(a, b=2)") == ["the default of b was 1 and is 2"]
    assert broken("(a, b=1)", "(a, c=2, b=1)") == ["positional parameters were a, b in this order"]
    assert broken("(a)", "(a, *, c)") == ["the new c has no default"]


# --- A new name -------------------------------------------------------------------------------


@cache
def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def defined(package: Path) -> dict[str, str]:
    """Public functions and classes of the public modules of a package, with their modules."""
    return {
        node.name: path.stem
        for path in sorted(package.glob("[!_]*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }


def used_outside(name: str, home: Path) -> bool:
    """Whether the library uses a name outside a file or a package: a tool that parts of it share.

    Such a name need not be of use to anybody else.
    """
    own = {home} if home.is_file() else {*home.rglob("*.py")}
    others = {*(ROOT / "softmi").rglob("*.py")} - own
    return any(re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")) for path in others)


def listed() -> dict[str, Path]:
    """Functions and classes that users can import, with the folders of their packages."""
    names = {f"softmi.{name}": ROOT / "softmi" for name in softmi.__all__}
    for package in packages():
        for name in homes(package):
            if name not in softmi.__all__ and not used_outside(name, package):
                names[f"softmi.{package.name}.{name}"] = package
    things = {name: find(name) for name in names}
    return {n: names[n] for n, t in things.items() if inspect.isfunction(t) or inspect.isclass(t)}


NAMES = sorted(listed())


@pytest.mark.parametrize("package", packages(), ids=lambda p: p.name)
def test_what_a_public_module_defines_is_in_the_stub_of_its_package(package):
    stub = homes(package)
    missing = [
        f"from .{module} import {name} as {name}"
        for name, module in defined(package).items()
        if name not in stub and not used_outside(name, package / f"{module}.py")
    ]
    if missing:
        told = f"add to softmi/{package.name}/__init__.pyi, or begin the name with an underscore:"
        pytest.fail("\n".join([told, *missing]), pytrace=False)


def test_the_reference_shows_every_public_name_in_a_section_of_its_page():
    shown = [e for section in reference.SECTIONS for e in reference.section_entries(section)]
    names = [entry.name for entry in shown]
    assert len(set(names)) == len(names)
    assert set(names) >= set(NAMES)
    for section in reference.SECTIONS:
        assert read("book/api.md").count(f"{{include}} _generated/api_{section}.md\n") == 1
        page = reference.section_page(section)
        assert all(entry.directive in page for entry in reference.section_entries(section))


def test_the_reference_shows_what_0_1_had():
    """Methods that a class inherits stand at the class that defines them."""
    shown = {entry.name: entry for entry in reference.entries()}
    for name, signature in OF_0_1.items():
        outer = name.rpartition(".")[0]
        if outer not in shown:
            assert name in shown or name in MOVED, f"{name}{signature} is not in the reference"
        elif name.rpartition(".")[2] in vars(find(outer)):
            assert name.rpartition(".")[2] in (*shown[outer].methods, *reference.HOOKS), name


CHANGED = [e for e in reference.entries() if e.name not in OF_0_1]


@pytest.mark.parametrize("entry", CHANGED, ids=lambda e: e.name)
def test_a_name_that_0_1_did_not_have_is_in_the_changelog(entry):
    leaf = entry.name.rpartition(".")[2]
    if not re.search(rf"`([\w.]+\.)?{leaf}[`(]", read("CHANGELOG.md")):
        what = (ast.get_docstring(entry.node) or "").partition("\n")[0]
        what = re.sub(r":\w+:`", "`", what)  # roles are Sphinx's
        told = f"add to CHANGELOG.md, under `### Added` at its top:\n- `{leaf}`: {what}"
        pytest.fail(told, pytrace=False)


# --- Its docstring ----------------------------------------------------------------------------

# Functions of these packages compute what a paper defines: formula and example belong to them.
FORMULAS = {
    entry.name: ast.get_docstring(entry.node) or ""
    for entry in reference.entries()
    if entry.home.partition(".")[0] in ("losses", "estimators", "information")
    and isinstance(entry.node, ast.FunctionDef)
}
NO_FORMULA = {
    "softmi.estimators.critic_mutual_information": "the formula is that of the bound it is given",
    "softmi.information.label_prior": "it chooses between two priors and computes none",
}
NO_EXAMPLE = {
    "softmi.estimators.critic_mutual_information": "it trains networks, for seconds",
}


def prints(docstring: str) -> bool:
    """Whether an example in a docstring prints; tests/package/test_docstrings.py runs it."""
    return any(e.want for e in doctest.DocTestParser().get_examples(docstring))


@pytest.mark.parametrize("name", FORMULAS)
def test_what_a_paper_defines_has_its_formula_displayed_in_the_docstring(name):
    if ".. math::" not in FORMULAS[name] and name not in NO_FORMULA:
        told = f"{name}: add the formula to the docstring, as `.. math:: ...`, symbols bound below"
        pytest.fail(told, pytrace=False)


@pytest.mark.parametrize("name", sorted({*NAMES, *FORMULAS}))
def test_a_public_name_has_an_example_that_prints(name):
    if (name.count(".") > 1 and name not in FORMULAS) or name in NO_EXAMPLE:
        return  # those at the top are what most users meet
    if not prints(FORMULAS.get(name) or find(name).__doc__ or ""):
        told = f"{name}: add an `Example:` with `>>>` and what it prints to the docstring"
        pytest.fail(told, pytrace=False)


def test_exceptions_from_formula_and_example_are_needed():
    assert not [name for name in NO_FORMULA if ".. math::" in FORMULAS[name]]
    assert not [name for name in NO_EXAMPLE if prints(FORMULAS[name])]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_tested_where_its_package_is(name):
    if name.count(".") > 1 and inspect.isclass(find(name)):
        return  # what functions return is tested with them
    module = find(name).__module__.split(".")
    folder = ROOT / "tests" / module[1]
    files = folder.rglob("*.py") if folder.is_dir() else (ROOT / "tests").glob("*.py")
    leaf = name.rpartition(".")[2]
    if not any(re.search(rf"\b{leaf}\b", file.read_text(encoding="utf-8")) for file in files):
        told = f"no test uses {leaf}: write tests/{module[1]}/test_{module[-1].strip('_')}.py"
        pytest.fail(told, pytrace=False)
