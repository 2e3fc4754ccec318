"""What a run was made for: rows of the ledger, written down with the result.

A full run stores, beside its numbers, the rows of the ledger that name it: statement, setting,
check, margin, conditions and kind, as they were before the run. Results older than this rule have
theirs in `claims/registered.json`, taken from the ledger at the result's own commit
(`python -m tools.registered`). A row that says something else today was amended after the run, and
one that was not there was written after it; the scoreboard shows both.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from softmi.evidence.paths import project_root, result_path

REGISTERED = "registered.json"
# Chapters were numbered anew in reading order; rows and results of before keep their meaning.
RENAMED = {
    "04_imbalanced_classification": "05_imbalanced_classification",
    "05_infocam": "07_infocam",
    "06_mi_limits": "04_mi_limits",
    "07_long_tailed_losses": "06_long_tailed_losses",
}


def as_registered(entry: Mapping[str, Any], *, renumber: bool = False) -> dict[str, Any]:
    """Return what counts of a row, in one form for the ledger's old and new ones.

    Args:
        entry: As in `claims/*.yml`.
        renumber: Take the result's name for one of before the chapters were numbered anew.

    """

    def check(one: Mapping[str, Any]) -> dict[str, Any]:
        name, _, path = one["result"].partition(":")
        for old, new in RENAMED.items() if renumber else ():
            if name.startswith(old):
                name = name.replace(old, new, 1)
                break
        relation = next((r for r in ("above", "below", "equals") if one.get(r) is not None), None)
        if relation is None:  # the form of before: a direction, or a target with a tolerance
            relation, target = one.get("direction") or "equals", one.get("target", 0.0)
            margin = one.get("tolerance") or 0.0
        else:
            target, margin = one[relation], one.get("margin", 0.0)
        return {"result": f"{name}:{path}", relation: float(target), "margin": float(margin)}

    return {
        "statement": entry["statement"],
        "setting": dict(entry.get("setting") or entry.get("protocol") or {}),
        "kind": entry["kind"],
        "check": check(entry["check"]),
        "conditions": [check(one) for one in entry.get("conditions", ())],
    }


def digest(row: Mapping[str, Any]) -> str:
    """Fingerprint of a row without its kind: sorting rows into kinds is told once for all."""
    text = json.dumps({k: v for k, v in row.items() if k != "kind"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows_of_result(name: str, entries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows whose deciding number is in the result `name`, by id, each with its digest."""
    rows = {e["id"]: as_registered(e) for e in entries}
    return {
        key: row | {"digest": digest(row)}
        for key, row in rows.items()
        if row["check"]["result"].partition(":")[0] == name
    }


def registered_now(name: str) -> dict[str, dict[str, Any]]:
    """The rows of the ledger, as it stands, that a run of `name` is made for."""
    files = sorted((project_root() / "claims").glob("*.yml"))
    entries = (e for f in files for e in yaml.safe_load(f.read_text(encoding="utf-8")) or [])
    return rows_of_result(name, entries)


def registered_for(name: str) -> dict[str, dict[str, Any]]:
    """The rows that the archived run of `name` was made for.

    Raises:
        ValueError: A stored row that does not have its stored digest: somebody changed it.

    """
    path = result_path(name, "full")
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = record.get("registered")
    if rows is None:
        older = project_root() / "claims" / REGISTERED
        rows = json.loads(older.read_text()).get(name, {}) if older.exists() else {}
    for key, row in rows.items():
        found = digest({k: v for k, v in row.items() if k != "digest"})
        if found != row["digest"]:
            raise ValueError(
                f"the registered row {key!r} of {name} has digest {found}, not {row['digest']}: "
                "what a run was made for is never edited"
            )
    return rows


def changed_since_run(
    key: str, row: Mapping[str, Any], result: str
) -> tuple[str, dict[str, Any] | None]:
    """How a row differs from what its run was made for, and what that was."""
    rows = registered_for(result.partition(":")[0])
    if key not in rows:
        return "written after the run", None
    if digest(row) == rows[key]["digest"]:
        return "", None
    return "amended after the run", rows[key]
