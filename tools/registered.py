"""Write claims/registered.json: what the runs of before the rule were made for, from git.

`python -m tools.registered` reads, for each result that does not hold its rows itself, the ledger
at the commit that the result was made by. tests/evidence/test_registry.py compares the file with
git wherever the history is there.
"""

import json
from typing import Any

from softmi.evidence.registry import REGISTERED, rows_at
from tools.notebooks import ROOT


def registered() -> dict[str, dict[str, Any]]:
    """By result, the rows at its commit; results that hold their own are left out."""
    found = {}
    for path in sorted((ROOT / "results").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if "registered" in record:
            continue
        found[path.stem] = rows_at(record["provenance"]["commit"], path.stem)
    return found


if __name__ == "__main__":
    text = json.dumps(registered(), indent=1, ensure_ascii=False)
    (ROOT / "claims" / REGISTERED).write_text(text + "\n", encoding="utf-8")
