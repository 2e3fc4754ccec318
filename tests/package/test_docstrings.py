"""What the docstrings say is true, and every public name has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import softmi

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(softmi.__path__, "softmi.")
    if not m.name.endswith("__main__")
)
PUBLIC_MODULES = [name for name in MODULES if not name.rpartition(".")[2].startswith("_")]
NAMES = [n for n in softmi.__all__ if not inspect.ismodule(getattr(softmi, n))]


@pytest.mark.parametrize("name", ["softmi", *MODULES])
def test_examples_print_what_they_say(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0, f"{name}: see the captured output"


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_there_and_says_what_it_is(name):
    thing = getattr(softmi, name)
    text = inspect.getdoc(thing)
    assert text
    assert text.splitlines()[0].endswith(".")
    assert thing.__module__ in MODULES  # so that the test above runs its example


def test_public_names_are_sorted_and_there_once():
    assert softmi.__all__ == sorted(set(softmi.__all__))


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_public_functions_and_methods_are_documented(module):
    for name, thing in vars(importlib.import_module(module)).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module:
            continue
        assert inspect.getdoc(thing), f"{module}.{name} has no docstring"
        if inspect.isclass(thing):
            for key, method in vars(thing).items():
                if inspect.isfunction(method) and not key.startswith("_"):
                    assert inspect.getdoc(method), f"{module}.{name}.{key} has no docstring"


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_parameters_of_public_functions_are_annotated(module):
    for name, thing in vars(importlib.import_module(module)).items():
        if name.startswith("_") or not inspect.isfunction(thing) or thing.__module__ != module:
            continue
        signature = inspect.signature(thing)
        for parameter in signature.parameters.values():
            assert parameter.annotation is not parameter.empty, f"{module}.{name}({parameter})"
        assert signature.return_annotation is not signature.empty, f"{module}.{name}"
