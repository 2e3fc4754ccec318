"""Units of long runs: none is lost, and each is made anew when what made it changes."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from softmi.evidence import units
from softmi.evidence.units import code_digest, kept_unit

HELPERS = """
SCALE = 2.0


def helper(x):
    return SCALE * x


def other(x):
    return -x


class Kept:
    def value(self):
        return helper(3)
"""
MAIN = """
from softmi_helpers import Kept, helper
import softmi_helpers


def unit(x):
    \"\"\"Says something.\"\"\"
    return helper(x)  # and more


def by_module(x):
    return softmi_helpers.helper(x)


def by_class():
    return Kept().value()
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that imports a text as the module of that name; its helpers are the package."""
    monkeypatch.setattr(units, "PACKAGE", "softmi_helpers")

    def loaded(name: str, text: str) -> types.ModuleType:
        path = tmp_path / f"{name}_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return loaded


@pytest.fixture
def digests(load):
    """Digests of the functions of MAIN, with either text changed."""

    def found(change: tuple[str, str] = ("", "")) -> dict[str, str]:
        load("softmi_helpers", HELPERS.replace(*change))
        main = load("main_of_a_unit", MAIN.replace(*change))
        return {n: code_digest(getattr(main, n)) for n in ("unit", "by_module", "by_class")}

    return found


@pytest.mark.parametrize(
    "change",
    [("SCALE * x", "SCALE + x"), ("SCALE = 2.0", "SCALE = 3.0")],
    ids=["a helper", "a constant of a helper"],
)
def test_a_change_in_what_a_unit_calls_changes_its_digest(digests, change):
    before, after = digests(), digests(change)
    assert all(before[name] != after[name] for name in before)


@pytest.mark.parametrize(
    "change",
    [
        ("return -x", "return x"),
        ("def other", "def new(x):\n    return x\n\n\ndef other"),
        ("Says something", "Says another thing"),
        ("# and more", "# and less"),
    ],
    ids=["a function beside it", "a new function", "a docstring", "a comment"],
)
def test_a_change_elsewhere_leaves_the_digest(digests, change):
    assert digests() == digests(change)


def test_the_digest_of_a_module_covers_all_that_stands_in_it_and_what_it_names(load):
    """Of a module there is no function to begin with: another one in the file counts, too."""

    def digest(helpers: tuple[str, str] = ("", ""), main: tuple[str, str] = ("", "")) -> str:
        load("softmi_helpers", HELPERS.replace(*helpers))
        return code_digest(load("main_of_a_unit", MAIN.replace(*main)))

    before = digest()
    assert digest() == before
    assert digest(main=("Says something", "Says another thing")) == before
    assert digest(main=("Kept().value()", "Kept().value() + 1")) != before
    assert digest(main=("def by_class", "def new(x):\n    return x\n\n\ndef by_class")) != before
    assert digest(("SCALE * x", "SCALE + x")) != before  # a helper that its functions call
    assert digest(("return -x", "return x")) == before  # a helper that nobody calls


def test_the_digest_follows_the_training_loop_into_the_losses(monkeypatch):
    from softmi import FocalLoss, fit
    from softmi.losses import reweighting

    def unit():
        return fit, FocalLoss

    before = code_digest(unit)

    def focal(*_):
        return 0

    monkeypatch.setattr(focal, "__module__", "softmi.losses.reweighting")
    monkeypatch.setattr(reweighting, "focal_loss", focal)
    assert code_digest(unit) != before


@pytest.mark.parametrize(
    ("result", "place"),
    [
        ({"a": np.float64(1.0)}, r"numpy\.float64 at result\['a'\]"),
        ({"a": [1, np.zeros(2)]}, r"numpy\.ndarray at result\['a'\]\[1\]"),
        ({np.int64(1): 1}, r"numpy\.int64 at key"),
    ],
)
def test_a_result_that_could_not_be_read_again_is_refused_and_its_checkpoint_stays(
    result, place, tmp_path
):
    def compute(checkpoint):
        checkpoint.write_text("hours of work")
        return result

    with pytest.raises(TypeError, match=place):
        kept_unit(tmp_path, "u", {}, compute)
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "hours of work"
    assert left.suffix == ".ckpt"


def test_a_disk_that_is_full_loses_neither_checkpoint_nor_an_older_unit(tmp_path, monkeypatch):
    def compute(checkpoint):
        checkpoint.touch()
        return {"x": torch.ones(1)}

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        kept_unit(tmp_path, "u", {}, compute)
    assert [path.suffix for path in tmp_path.iterdir()] == [".ckpt"]
