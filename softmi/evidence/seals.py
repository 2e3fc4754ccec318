"""Seal what is archived, so that nothing is bent afterwards: `python -m softmi.evidence.seals`.

claims/sealed.json holds a digest of each part of each result, and of each row on a result what
decides: who asserts it, what, the check, its conditions, its kind. A test compares them
(`problems`). This command, a part of `make claims`, seals what is new: the result of another run,
and the rows that are read from it. What was sealed stays so: other numbers of the same run are
refused, and a row only changes with a reason in its field `amended`. To take a seal off, delete
its line: the review of the change sees it.
"""

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from softmi.evidence.paths import project_root
from softmi.evidence.registry import REGISTERED, as_registered, entries_of, fingerprint
from softmi.evidence.results import lookup

SEALED = "sealed.json"
# Fields of a row that are sealed and may change without a reason: they turn no verdict or count.
FREE = ("headline", "source", "unit")
AGAIN = "restore it from git"
CLAIMS = "`make claims`"


def run_of(record: Mapping[str, Any]) -> str:
    """What tells one run from another: its day and its seconds, which no two share."""
    return f"{record['provenance']['date']}, {record['provenance']['seconds']} s"


def seal_of_result(record: Mapping[str, Any], registered: Any) -> dict[str, str]:
    """The run of a result and a digest of each of its parts.

    Args:
        record: What its file holds.
        registered: The rows that it was made for, where it does not hold them.

    """
    parts = {"registered": registered} | dict(record)
    return {"run": run_of(record)} | {part: fingerprint(parts[part]) for part in sorted(parts)}


def seal_of_row(entry: Mapping[str, Any], run: str) -> dict[str, Any]:
    """What decides in a row of the ledger; long texts as digests, what is empty left out."""
    row = as_registered(entry)
    checks = zip(row["conditions"], entry.get("conditions", ()), strict=True)
    shown = {
        "run": run,
        "paper": entry["paper"],
        "kind": entry["kind"],
        "check": _in_words(row["check"]),
        "conditions": [f"{_in_words(check)}: {one.get('text', '')}" for check, one in checks],
        "setting": row["setting"],
        "value": None if entry.get("value") is None else repr(entry["value"]),
        "awaits": bool(entry.get("awaits")),  # that it does: how it is said may be mended
        "headline": entry.get("headline", False),
        "unit": entry.get("unit"),
    }
    texts = {f: fingerprint(entry[f]) for f in ("statement", "source", "amended") if entry.get(f)}
    return {field: said for field, said in (shown | texts).items() if said}


def _in_words(check: Mapping[str, Any]) -> str:
    relation = next(r for r in ("above", "below", "equals") if r in check)
    return f"{check['result']} {relation} {check[relation]!r}, margin {check['margin']!r}"


def sealed(root: Path) -> dict[str, dict[str, Any]]:
    """What claims/sealed.json holds: `results` and `rows`."""
    path = root / "claims" / SEALED
    empty: dict[str, dict[str, Any]] = {"results": {}, "rows": {}}
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty


def current(root: Path) -> dict[str, dict[str, Any]]:
    """The seals of the results, and of the rows that are read from them, as they stand."""
    older = root / "claims" / REGISTERED
    before = json.loads(older.read_text(encoding="utf-8")) if older.exists() else {}
    files = {f.stem: f.read_text(encoding="utf-8") for f in (root / "results").glob("*.json")}
    results = {n: _of_text(t, json.dumps(before.get(n))) for n, t in sorted(files.items())}
    rows: dict[str, Any] = {}
    for path in sorted((root / "claims").glob("*.yml")):
        ledger = path.read_text(encoding="utf-8")
        rows |= _rows(ledger, tuple((n, t) for n, t in files.items() if f"{n}:" in ledger))
    return {"results": results, "rows": rows}


# What has not changed is not read twice: the tests compare the project dozens of times.
@cache
def _rows(ledger: str, files: tuple[tuple[str, str], ...]) -> dict[str, dict[str, Any]]:
    texts, found = dict(files), {}
    for entry in entries_of(ledger):
        name, key = entry["check"]["result"].split(":")
        if name in texts and _has(texts[name], key):
            found[entry["id"]] = seal_of_row(entry, run_of(_record(texts[name])))
    return found


@cache
def _record(text: str) -> dict[str, Any]:
    return json.loads(text)


@cache
def _of_text(text: str, registered: str) -> dict[str, str]:
    return seal_of_result(_record(text), json.loads(registered))


def _has(text: str, path: str) -> bool:
    try:
        lookup(_record(text), path)
    except KeyError:
        return False
    return True


def problems(root: Path) -> list[str]:
    """What is not as it was sealed, a sentence each that says what to do."""
    old, new = sealed(root), current(root)
    return [
        *_compared(old["results"], new["results"], _of_result),
        *_compared(old["rows"], new["rows"], _of_row),
    ]


def _compared(
    old: dict[str, Any], new: dict[str, Any], said: Callable[[str, Any, Any], str]
) -> list[str]:
    names = [name for name in old | new if old.get(name) != new.get(name)]
    return [said(name, old.get(name), new.get(name)) for name in names]


def _of_result(name: str, old: Any, new: Any) -> str:
    file = f"results/{name}.json"
    if old is None:
        return f"{file} is not sealed: run {CLAIMS}"
    if new is None:
        return f"{file} was sealed and is gone: {AGAIN}, or delete its line in claims/{SEALED}"
    parts = [part for part in old | new if old.get(part) != new.get(part) and part != "run"]
    what = f"{file}: its {' and '.join(parts)} differ from what was sealed"
    if old["run"] == new["run"]:
        return f"{what} of the same run ({old['run']}): {AGAIN}; numbers change with a run alone"
    return f"{what} of {old['run']}: if it was run again, {CLAIMS} seals it; else {AGAIN}"


def _of_row(name: str, old: Any, new: Any) -> str:
    if old is None:
        return f"claim {name} has a result and is not sealed: run {CLAIMS}"
    if new is None:
        return (
            f"claim {name} was sealed and is gone, or its number is: {AGAIN}, or delete its line "
            f"in claims/{SEALED}"
        )
    if old["run"] != new["run"]:
        return f"claim {name} is read from another run than was sealed: run {CLAIMS}"
    fields = [field for field in old | new if old.get(field) != new.get(field)]
    was = "; ".join(f"`{f}` was {_shown(old, f)}, is {_shown(new, f)}" for f in fields)
    return (
        f"claim {name} differs from what was sealed: {was}. {AGAIN.capitalize()}, or say why in "
        f"its field `amended` and run {CLAIMS}"
    )


def _shown(row: Mapping[str, Any], field: str) -> str:
    found = row.get(field)
    return "another text" if field in ("statement", "source", "amended") and found else repr(found)


def may_seal_result(old: Any, new: Any) -> bool:
    """Whether a result may be sealed: it was not before, or it is of another run."""
    return new is not None and (old is None or old["run"] != new["run"])


def may_seal_row(old: Any, new: Any) -> bool:
    """Whether a row may be sealed: it is new, on another run, amended with a reason, or free."""
    if new is None or old is None or old["run"] != new["run"]:
        return new is not None
    changed = {field for field in old | new if old.get(field) != new.get(field)}
    return changed <= set(FREE) or ("amended" in changed and "amended" in new)


def seal(root: Path) -> list[str]:
    """Seal what may be sealed, and return what may not, a sentence each."""
    old, new = sealed(root), current(root)
    kept: dict[str, dict[str, Any]] = {}
    for part, may in (("results", may_seal_result), ("rows", may_seal_row)):
        names = [*new[part], *(name for name in old[part] if name not in new[part])]
        pairs = {name: (old[part].get(name), new[part].get(name)) for name in names}
        kept[part] = {n: b if a == b or may(a, b) else a for n, (a, b) in pairs.items()}
    (root / "claims" / SEALED).write_text(_laid_out(kept), encoding="utf-8")
    return problems(root)


def _laid_out(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """JSON with a line a result and a line a row, so that a change shows what it changes."""

    def lines(part: str) -> str:
        rows = kept[part].items()
        return ",\n".join(f"  {json.dumps(n)}: {json.dumps(row)}" for n, row in rows)

    body = ",\n".join(f' "{part}": {{\n{lines(part)}\n }}' for part in kept)
    return f"{{\n{body}\n}}\n"


def main() -> int:
    """Command line; see the module."""
    refused = seal(project_root())
    print("\n".join(refused or [f"sealed: claims/{SEALED}"]))
    return bool(refused)


if __name__ == "__main__":
    sys.exit(main())
