"""The package as others get it: built, installed where nothing of the project is, and typed."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import softmi
from tools.notebooks import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = PROJECT["version"]
MODULES = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "softmi").rglob("*.py*")
    if path.suffix in (".py", ".pyi") and path.parts[-2] not in ("experiments", "evidence")
}
# What the package is made of, and folders that must not get into it.
SOURCES = (
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "softmi",
    "tests",
    "tools",
    "notebooks",
)
BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
ALONE = ("--no-deps", "--no-index")


def outside() -> dict[str, str]:
    """The environment without what leads Python to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd, env=outside(), text=True, capture_output=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_loss_and_an_estimate_wait_for_torch_alone():
    script = """
import sys
import softmi
assert "torch" not in sys.modules
from softmi import PCSoftmaxLoss, mutual_information
heavy = {"torchvision", "torchmetrics", "sklearn", "scipy", "matplotlib", "lightning_fabric"}
print(sorted(heavy & set(sys.modules)))
"""
    assert run(sys.executable, "-c", script, cwd=ROOT).strip() == "[]"


def test_names_of_the_package_are_found_when_asked_for():
    assert set(softmi.__all__) <= set(dir(softmi))
    assert softmi.metrics.MutualInformation  # modules, too
    for name in ("pc_sofmax", "_audits", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"softmi.*{name}"):
            getattr(softmi, name)


@pytest.mark.slow
def test_a_type_checker_passes_on_the_library():
    pytest.importorskip("mypy", reason="types are not checked: pip install mypy")
    call = (sys.executable, "-m", "mypy", "--config-file")
    assert "Success" in run(*call, "pyproject.toml", "softmi", cwd=ROOT)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, made from a copy, and the wheel, made from the sdist."""
    copy, folder = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    unwanted = shutil.ignore_patterns("__pycache__", "data", ".*", "*.egg-info")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=unwanted)
        else:
            shutil.copy(source, copy / name)
    run(sys.executable, "-W", "ignore", "-c", BUILD, folder, cwd=copy)
    (sdist,) = folder.glob("*.tar.gz")
    run(*PIP, "wheel", "--no-build-isolation", *ALONE, "-w", folder, sdist, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def clean(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the wheel in it, beside the packages that it needs."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    wheel = next(dist.glob("*.whl"))
    run(*PIP, "--python", python, "install", *ALONE, wheel, cwd=dist)
    # Only now, so that pip cannot take the checkout's editable install for this one. A folder in a
    # .pth file comes after site-packages, and .pth files inside it, such as that of an editable
    # install, are not read: the dependencies are there, the checkout is not.
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(python, "-c", query, cwd=dist).strip())
    needed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "dependencies.pth").write_text("\n".join(sorted(needed)) + "\n")
    return python


def readme_examples() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)


def test_wheel_has_the_library_its_marker_its_licence_and_nothing_else(dist: Path):
    (path,) = dist.glob("*.whl")
    assert path.name == f"softmi-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        info = f"softmi-{VERSION}.dist-info"
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
        metadata = wheel.read(f"{info}/METADATA").decode()
    library = {name for name in names if not name.startswith(f"{info}/")}
    assert library == MODULES | {"softmi/py.typed", "softmi/datasets/authors_test.b85"}
    assert f"{info}/licenses/LICENSE" in names
    assert "softmi = softmi.cli:main" in entry_points
    assert "License-Expression: BSD-3-Clause" in metadata


def test_sdist_builds_the_library_and_leaves_the_notebooks_out(dist: Path):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    assert names >= MODULES | {"softmi/py.typed"}
    assert names >= {"pyproject.toml", "README.md", "LICENSE"}
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert folders == {"softmi", "softmi.egg-info"}


def test_the_softmi_command_is_installed_and_tells_the_version(clean: Path, tmp_path: Path):
    assert run(clean.parent / "softmi", "--version", cwd=tmp_path) == f"softmi {VERSION}\n"


def test_the_library_examples_of_the_readme_run_with_the_wheel_alone(clean: Path, tmp_path: Path):
    examples = readme_examples()
    assert len(examples) == 2
    # In one process and with fewer folds, for the sake of time; the second imports what it needs.
    examples[1] = examples[1].replace("(random_state=0)", "(random_state=0, folds=2)")
    assert "folds=2" in examples[1]
    code = "\n".join(["import softmi", "print(softmi.__file__)", *examples])
    where, *printed = run(clean, "-c", code, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(clean.parent.parent), "not the wheel's"
    assert not Path(where).is_relative_to(ROOT)
    assert len(printed) >= sum(example.count("print(") for example in examples)
