"""What a run was made for: rows of the ledger, written down with the result.

A full run stores, beside its numbers, the rows of the ledger that name it: statement, setting,
check, margin, conditions and kind, as they were before the run. Results older than this rule have
theirs in `claims/registered.json`, taken from the ledger at the result's own commit
(`python -m tools.registered`). A row that says something else today was amended after the run, and
one that was not there was written after it; the scoreboard shows both.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from softmi.evidence.paths import project_root, result_path

REGISTERED = "registered.json"
OLD_KINDS = ("statistical", "qualitative")  # how a row was checked, not who asserts it
# Chapters were numbered anew in reading order; rows and results of before keep their meaning.
RENAMED = {
    "04_imbalanced_classification": "05_imbalanced_classification",
    "05_infocam": "07_infocam",
    "06_mi_limits": "04_mi_limits",
    "07_long_tailed_losses": "06_long_tailed_losses",
}


def entries_of(text: str) -> list[dict[str, Any]]:
    """The rows in the text of one file of the ledger, as they are written."""
    return yaml.load(text, Loader=_LOADER) or []


# The parser in C where PyYAML was built with it: the same rows, ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
    """Fingerprint of a row without its kind: rows of before the rule were sorted once for all."""
    return fingerprint({k: v for k, v in row.items() if k != "kind"})


def fingerprint(content: Any) -> str:
    """Digest of what JSON holds, however it is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


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
    entries = (e for f in files for e in entries_of(f.read_text(encoding="utf-8")))
    return rows_of_result(name, entries)


def rows_at(commit: str, name: str) -> dict[str, dict[str, Any]]:
    """The rows of the ledger at a commit, in one file or one a chapter, for the result `name`.

    Raises:
        subprocess.CalledProcessError: No such commit, or no repository.

    """
    files = _git("ls-tree", "-r", "--name-only", commit, "claims.yml", "claims/").split()
    texts = [_git("show", f"{commit}:{file}") for file in files if file.endswith(".yml")]
    entries = [entry for text in texts for entry in entries_of(text)]
    old_numbers = any(e["notebook"] in RENAMED for e in entries)
    rows = (as_registered(e, renumber=old_numbers) | {"id": e["id"]} for e in entries)
    return rows_of_result(name, rows)


def registered_before(name: str, commits: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The rows that a run of `name` in several parts was made for, if git has its commits.

    They are those of the ledger before any part was run: at the last commit that all of `commits`
    descend from. Where git cannot tell there are none: what cannot be shown to be older than the
    run counts as written after it.
    """
    try:
        return rows_at(_git("merge-base", "--octopus", *sorted(set(commits))).strip(), name)
    except (OSError, subprocess.CalledProcessError):  # no git, or a clone without these commits
        return {}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=project_root(), capture_output=True, text=True, check=True
    ).stdout


def registered_for(
    name: str, record: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """The rows that the archived run of `name` was made for.

    Args:
        name: Of the result.
        record: What its file holds, if it has been read.

    Raises:
        ValueError: A stored row that does not have its stored digest: somebody changed it.

    """
    if record is None:
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
    key: str, row: Mapping[str, Any], record: Mapping[str, Any]
) -> tuple[str, dict[str, Any] | None]:
    """How a row differs from what its run was made for, and what that was.

    Args:
        key: Its id.
        row: As :func:`as_registered` gives it.
        record: The result that its number is read from.

    """
    rows = registered_for(row["check"]["result"].partition(":")[0], record)
    if key not in rows:
        return "written after the run", None
    # The rows of before the rule had other kinds and were sorted anew, once for all.
    sorted_anew = "registered" not in record or rows[key]["kind"] in OLD_KINDS
    same_kind = sorted_anew or row["kind"] == rows[key]["kind"]
    if digest(row) == rows[key]["digest"] and same_kind:
        return "", None
    return "amended after the run", rows[key]
