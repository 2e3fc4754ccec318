"""The notebook runner, on a project of one tiny notebook in a temporary folder.

Each execution costs the start of a kernel, a second or two: tests share what they can.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from joblib.externals.loky import get_reusable_executor

from tools.notebooks import ROOT, Pair
from tools.run_notebooks import main

SOURCE = '''\
# %% [markdown]
# # Does it run?

# %% tags=["parameters"]
profile = "smoke"
seed = 0
device = "auto"

# %%
import os
from pathlib import Path

from softmi import ANSWER

here = Path.cwd()

# %% tags=["nbval-check-output"]
print(ANSWER, profile, seed, here.name, {"a", "b", "c"}, os.environ.get("OMP_NUM_THREADS"))

# %%
if profile == "full":
    here.parent.joinpath("results/01_tiny_run.json").write_text("{}")
'''


def make_project(folder: Path) -> Path:
    for name in ("notebooks", "softmi", "results", "claims"):
        (folder / name).mkdir()
    (folder / "softmi/__init__.py").write_text("ANSWER = 42\n")
    (folder / "notebooks/01_tiny.py").write_text(SOURCE)
    (folder / "claims/01_tiny.yml").write_text("[{id: a, notebook: 01_tiny}]")
    (folder / "claims/02_x.yml").write_text("[{id: b, notebook: 02_x}]")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose one notebook was never run."""
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose notebook the runner has run once."""
    folder = make_project(tmp_path_factory.mktemp("first_run"))
    assert runner(folder) == 0
    return folder


@pytest.fixture
def run_once(first_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to work on."""
    return shutil.copytree(first_run, tmp_path / "copy")


def runner(project: Path, *arguments: str) -> int:
    return main(["--root", str(project), *arguments])


def pair_of(project: Path) -> Pair:
    return Pair(project, "01_tiny")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def stdout(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "".join(o.text for c in cells for o in c.get("outputs", []) if o.get("text"))


@contextmanager
def running(project: Path) -> Iterator[subprocess.Popen]:
    """The runner in a process group of its own, as a shell would start it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.run_notebooks", "--root", str(project)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # A test run in the background of a script ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)


def test_run_then_skip_then_force_gives_the_same_bytes(run_once, capsys):
    pair = pair_of(run_once)
    first = pair.built.read_bytes()
    assert pair.why_stale() is None
    assert "42 smoke 0 notebooks {" in stdout(pair.built)
    assert stdout(pair.built).rstrip().endswith("1")  # one thread
    assert "papermill" not in first.decode()

    capsys.readouterr()
    assert runner(run_once) == 0
    assert "01_tiny: up to date" in capsys.readouterr().out

    assert runner(run_once, "--force") == 0
    assert pair.built.read_bytes() == first


def test_each_thing_that_a_notebook_depends_on_makes_it_stale(project, capsys):
    pair = pair_of(project)
    assert runner(project, "--check") == 1
    assert "there is no executed notebook" in capsys.readouterr().out
    stamp = pair.stamp()
    for name, text in {
        "notebooks/01_tiny.py": SOURCE + "\n# %% [markdown]\n# More prose.\n",
        "softmi/__init__.py": "from softmi.answers import ANSWER\n",
        "softmi/answers.py": "ANSWER = 43\n",
        "results/01_tiny_run.json": "{}",
        "claims/01_tiny.yml": "[{id: a, notebook: 01_tiny, value: 1}]",
    }.items():
        (project / name).write_text(text)
        assert pair.stamp() != stamp, name
        stamp = pair.stamp()
    for name, text in {
        "results/02_x.json": "[]",
        "softmi/notes.md": "[]",
        "README.md": "[]",
        "softmi/unused.py": "ANSWER = 44\n",  # the notebook does not reach it
        "softmi/answers.py": '"""A docstring."""\n\n# And a comment.\nANSWER = 43\n',
    }.items():
        (project / name).write_text(text)
        assert pair.stamp() == stamp, name


def test_edit_reruns_and_keeps_the_ids_of_cells(run_once):
    pair = pair_of(run_once)
    before = [cell.id for cell in pair.read_built().cells]
    edit(pair.source, "print(ANSWER,", "print(ANSWER + 1,")
    assert pair.why_stale() == "its cells differ from the .py"
    assert runner(run_once) == 0
    assert [cell.id for cell in pair.read_built().cells] == before
    assert "43 smoke" in stdout(pair.built)


def test_outputs_cleared_by_hand_and_conflict_markers_are_mended(run_once):
    pair = pair_of(run_once)
    good = pair.built.read_bytes()
    notebook = pair.read_built()
    notebook.cells[-1].execution_count = None
    nbformat.write(notebook, pair.built)
    assert pair.why_stale() == "some cells were not executed"
    pair.built.write_text("<<<<<<< HEAD\n{}\n")
    assert pair.why_stale() == "unreadable"
    assert runner(run_once) == 0
    assert pair.built.read_bytes() == good


def test_failing_cell_leaves_the_old_file_and_says_where(project, capsys):
    pair = pair_of(project)
    pair.built.write_text("old")
    edit(pair.source, "here = Path.cwd()", "assert ANSWER == 41, 'the answer is off'")
    assert runner(project) == 1
    said = capsys.readouterr().err
    assert "01_tiny: FAILED in code cell [2], AssertionError: the answer is off" in said
    assert "_build/runs/01_tiny.smoke.ipynb" in said
    assert "1 of 1 notebooks failed" in said
    assert pair.built.read_text() == "old"
    assert (project / "_build/runs/01_tiny.smoke.ipynb").exists()


def test_kernel_that_dies_is_reported_as_a_failure(project, capsys):
    edit(pair_of(project).source, "here = Path.cwd()", "os._exit(9)")
    assert runner(project) == 1
    assert "01_tiny: FAILED, its kernel died" in capsys.readouterr().err


def test_full_profile_and_parameters_never_touch_the_pair(project):
    pair = pair_of(project)
    pair.built.write_text("old")
    assert runner(project, "1", "--profile", "full", "-p", "seed=3") == 0
    assert "42 full 3" in stdout(project / "_build/full/01_tiny.ipynb")
    assert (project / "results/01_tiny_run.json").exists()
    assert runner(project, "01_tiny", "-p", "seed=5") == 0
    assert "42 smoke 5" in stdout(project / "_build/smoke/01_tiny.ipynb")
    assert pair.built.read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "sede=3"], "01_tiny has no parameter sede; it has profile, seed, device"),
        (["-p", "seed"], "write it as name=value"),
        (["-p", "profile=full"], "choose the profile with --profile"),
        (["07"], "no notebook '07'; there are 01_tiny"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_senseless_calls_are_refused_before_anything_runs(project, capsys, arguments, message):
    try:
        status = runner(project, *arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert not list((project / "notebooks").glob("*.ipynb"))


def test_missing_profile_parameter_is_refused(project, capsys):
    edit(pair_of(project).source, 'profile = "smoke"\n', "")
    assert runner(project, "--profile", "full") == 2
    assert "has no parameter profile" in capsys.readouterr().err


def test_no_notebooks_is_an_error(tmp_path, capsys):
    assert runner(tmp_path) == 2
    assert "run it from the repository root" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_interrupted_run_loses_nothing_and_the_next_one_recovers(project, how):
    pair = pair_of(project)
    pair.built.write_text("old")
    edit(pair.source, "here = Path.cwd()", "Path('started').touch()\nimport time; time.sleep(60)")
    with running(project) as process:
        wait_for(project / "notebooks/started")
        os.killpg(process.pid, how)
        said = process.communicate(timeout=30)[0].decode()
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL), said
    assert pair.built.read_text() == "old"
    assert "Traceback" not in said

    edit(pair.source, "import time; time.sleep(60)", "here = Path.cwd()")
    assert runner(project) == 0
    assert pair.why_stale() is None


def test_jobs_run_side_by_side_and_one_failure_does_not_stop_the_other(project, capfd):
    # Workers that another test has left behind would write to that test's streams.
    get_reusable_executor().shutdown(wait=True)
    bad = project / "notebooks/02_bad.py"
    bad.write_text(SOURCE + "\n# %%\nraise ValueError('on purpose')\n")
    assert runner(project, "--jobs", "2") == 1
    said = capfd.readouterr()
    assert "02_bad: FAILED in code cell [5], ValueError: on purpose" in said.err
    assert "1 of 2 notebooks failed" in said.err
    assert pair_of(project).why_stale() is None
    assert not bad.with_suffix(".ipynb").exists()
