"""Write claims/registered.json: what the runs of before the rule were made for, from git.

`python -m tools.registered` reads, for each result that does not hold its rows itself, the ledger
at the commit that the result was made by. tests/evidence/test_registry.py compares the file with
git wherever the history is there.
"""

import json
import subprocess
from typing import Any

import yaml

from softmi.evidence.registry import REGISTERED, RENAMED, as_registered, rows_of_result
from tools.notebooks import ROOT


def ledger_at(commit: str) -> list[dict[str, Any]]:
    """The entries of the ledger at a commit, when it was one file and when it is one a chapter."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    names = git("ls-tree", "-r", "--name-only", commit, "claims.yml", "claims/").split()
    files = [name for name in names if name.endswith(".yml")]
    return [e for name in files for e in yaml.safe_load(git("show", f"{commit}:{name}")) or []]


def registered() -> dict[str, dict[str, Any]]:
    """By result, the rows at its commit; results that hold their own are left out."""
    found = {}
    for path in sorted((ROOT / "results").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "registered" in record:
            continue
        entries = ledger_at(record["provenance"]["commit"])
        old_numbers = any(e["notebook"] in RENAMED for e in entries)
        rows = [as_registered(e, renumber=old_numbers) | {"id": e["id"]} for e in entries]
        found[path.stem] = rows_of_result(path.stem, rows)
    return found


if __name__ == "__main__":
    text = json.dumps(registered(), indent=1, ensure_ascii=False)
    (ROOT / "claims" / REGISTERED).write_text(text + "\n", encoding="utf-8")
