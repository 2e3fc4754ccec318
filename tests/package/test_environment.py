"""requirements.lock, environment.yml and pyproject.toml ask for the same environment."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.notebooks import ROOT
from tools.write_lock import LINUX_GPU, project_requirements

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
CONDA_NAMES = {"pytorch": "torch"}
ASKED_FOR = {
    "jupyter-book", "jupytext", "torch", "torchvision", "numpy",
    "matplotlib", "seaborn", "papermill", "pytest", "nbval",
}  # fmt: skip


def pins() -> dict[str, str]:
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def conda_pins() -> dict[str, str]:
    """Name on PyPI and version of everything in environment.yml, its pip section included."""
    *conda, last = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pairs = [line.split("=") for line in conda if line != "pip"]
    pairs += [line.split("==") for line in last["pip"] if not line.startswith("--editable")]
    return {CONDA_NAMES.get(name, name): version for name, version in pairs}


def test_lock_is_nothing_but_sorted_exact_pins():
    lines = [line for line in LOCK.splitlines() if not line.startswith("#")]
    odd = [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.]*", line)]
    assert not odd, f"hosts, paths, options and markers do not belong in requirements.lock: {odd}"
    assert lines == sorted(set(lines), key=lambda line: line.split("==")[0])


def test_lock_fits_pytorch_for_other_machines():
    gpu = [name for name in pins() if LINUX_GPU.fullmatch(name)]
    assert not gpu, f"on macOS or CPU these cannot be installed: {gpu}"


@pytest.mark.parametrize("needed", project_requirements(), ids=lambda needed: needed.name)
def test_lock_satisfies_each_requirement_of_the_project(needed: Requirement):
    version = pins().get(canonicalize_name(needed.name))
    assert version is not None, f"{needed.name} is not in requirements.lock; run: make lock"
    assert needed.specifier.contains(version), f"{needed} is not met by {version}; run: make lock"


def test_jupyter_book_is_pinned_exactly_to_the_last_version_1():
    assert pins()["jupyter-book"] == "1.0.4.post1"
    assert "jupyter-book==1.0.4.post1" in map(str, project_requirements())


def test_every_pin_of_environment_yml_is_that_of_the_lock():
    conda = conda_pins()
    python = conda.pop("python")
    differ = {name: (v, pins().get(name)) for name, v in conda.items() if pins().get(name) != v}
    assert not differ, f"environment.yml and requirements.lock differ: {differ}"
    floor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={python}" == floor


def test_environment_yml_has_each_requirement_of_the_project():
    missing = {canonicalize_name(r.name) for r in project_requirements()} - set(conda_pins())
    assert not missing, f"add to environment.yml: {sorted(missing)}"


def test_the_packages_that_the_book_is_meant_to_use_are_in_all_three():
    for names in (pins(), conda_pins(), {r.name for r in project_requirements()}):
        assert set(names) >= ASKED_FOR
