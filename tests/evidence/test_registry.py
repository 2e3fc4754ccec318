"""What the runs of before the rule were made for is what git says."""

import json
import subprocess

import pytest

from softmi.evidence.registry import as_registered, registered_for
from tools.notebooks import ROOT
from tools.registered import registered


def test_the_stored_rows_are_those_of_the_ledger_at_each_results_commit():
    stored = json.loads((ROOT / "claims" / "registered.json").read_text(encoding="utf-8"))
    git = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True
    )
    if git.stdout.strip() != "false":
        pytest.skip("no full history here to compare with")
    assert stored == registered()


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
