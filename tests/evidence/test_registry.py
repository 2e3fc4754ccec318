"""What the runs of before the rule were made for is what git says."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from softmi.evidence.registry import as_registered, registered_before, registered_for
from tools.notebooks import ROOT
from tools.registered import registered


@pytest.fixture
def history():
    """Skip where git has no full history to compare with."""
    git = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True
    )
    if git.stdout.strip() != "false":
        pytest.skip("no full history here to compare with")


@pytest.mark.usefixtures("history")
def test_the_stored_rows_are_those_of_the_ledger_at_each_results_commit():
    stored = json.loads((ROOT / "claims" / "registered.json").read_text(encoding="utf-8"))
    assert stored == registered()


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda p: p.stem)
def test_the_commit_that_made_a_result_is_in_the_history(path):
    made_by = json.loads(path.read_text(encoding="utf-8"))["provenance"]["commit"]
    call = ["git", "merge-base", "--is-ancestor", made_by, "HEAD"]
    found = subprocess.run(call, cwd=ROOT, capture_output=True)
    assert found.returncode == 0, f"{path.name}: no commit {made_by} in the history of this one"


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda p: p.stem)
def test_every_result_knows_what_it_was_made_for(path):
    assert isinstance(registered_for(path.stem), dict)


def test_old_and_new_forms_of_a_row_are_one():
    old = {
        "id": "a", "statement": "s", "kind": "statistical", "protocol": {"data": "MNIST"},
        "check": {"result": "07_long_tailed_losses_mnist:a.b", "target": 0.5, "tolerance": 0.1},
        "conditions": [{"result": "05_infocam:c", "direction": "below", "text": "t"}],
    }  # fmt: skip
    new = {
        "id": "a", "statement": "s", "kind": "statistical", "setting": {"data": "MNIST"},
        "check": {"result": "06_long_tailed_losses_mnist:a.b", "equals": 0.5, "margin": 0.1},
        "conditions": [{"result": "07_infocam:c", "below": 0, "margin": 0.0, "text": "t"}],
    }  # fmt: skip
    assert as_registered(old, renumber=True) == as_registered(new)


def commit(root: Path, statement: str) -> str:
    """A commit of a ledger whose one row, of the result 01_x, has this statement."""
    row = {"id": "a", "statement": statement, "kind": "claim", "notebook": "01_x",
           "check": {"result": "01_x:mi", "above": 0.0}}  # fmt: skip
    (root / "claims").mkdir(exist_ok=True)
    (root / "claims" / "01_x.yml").write_text(yaml.safe_dump([row]))
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    for call in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "x"), ("rev-parse", "HEAD")):
        done = subprocess.run(["git", *identity, *call], cwd=root, check=True, capture_output=True)
    return done.stdout.decode().strip()


def test_a_run_in_parts_is_made_for_the_rows_of_before_its_first_part(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    first, second = commit(tmp_path, "before"), commit(tmp_path, "between")
    commit(tmp_path, "after")
    assert registered_before("01_x", [second, first])["a"]["statement"] == "before"
    assert registered_before("01_x", [second])["a"]["statement"] == "between"
    assert registered_before("02_y", [first]) == {}


@pytest.mark.parametrize("known", [True, False], ids=["no such commit", "no repository"])
def test_without_history_nothing_counts_as_older_than_the_run(known, tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    if known:
        commit(tmp_path, "s")
    assert registered_before("01_x", ["0" * 40]) == {}
