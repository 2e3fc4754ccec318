"""Whoever bends a number, a row or a sentence is caught, by a check that says so.

Each case changes one file of a copy of the project and names the check that has to object, and
what it says. The checks are those that the tests of the ledger and of the pages run on the project
itself; that a chapter is stale is not among them, since the next build makes it new. What is bent
is looked up, not typed: another run or another row leaves the cases as they are.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import archive
import prose
import pytest
import recompute
import yaml

from softmi.evidence import seals
from softmi.evidence.ledger import Judgement, judge, load_claims
from softmi.evidence.registry import REGISTERED, digest, entries_of
from softmi.evidence.statistics import summarise
from tools import perturb
from tools.notebooks import ROOT

Edit = Callable[[str], str]


@dataclass(frozen=True)
class Case:
    """A change of one file, and the check that objects with which words."""

    name: str
    file: str
    edit: Edit | None  # None: the file is removed
    check: str
    message: str
    lasting: bool = True  # sealing again is refused


# --- Checks, each of a root -------------------------------------------------------------------

KNOWN: dict[tuple[str, ...], Judgement] = {}


def judged(root: Path) -> dict[str, Judgement]:
    """The verdicts of the copy; what a case does not touch is judged once for all cases."""
    texts = {f.stem: f.read_text(encoding="utf-8") for f in (root / "results").glob("*.json")}
    older = json.loads((root / "claims" / REGISTERED).read_text(encoding="utf-8"))
    found = {}
    for claim in load_claims(root / "claims"):
        names = sorted({c.result.partition(":")[0] for c in (claim.check, *claim.conditions)})
        key = (repr(claim), *(f"{texts.get(n)}{json.dumps(older.get(n))}" for n in names))
        if key not in KNOWN:
            KNOWN[key] = judge(claim)
        found[claim.id] = KNOWN[key]
    return found


def statistics(root: Path) -> Iterable[str]:
    for path in sorted((root / "results").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        if text != (ROOT / "results" / path.name).read_text(encoding="utf-8"):  # tested elsewhere
            yield from recompute.problems(path.stem, json.loads(text)["values"])[1]


def provenance(root: Path) -> Iterable[str]:
    for path in sorted((root / "results").glob("*.json")):
        yield from archive.wrong_provenance(path)


def amended(root: Path) -> Iterable[str]:
    for judgement in judged(root).values():
        yield from archive.unexplained(judgement)


def numbers(root: Path) -> Iterable[str]:
    for found in prose.listed("numbers", root):
        yield from prose.wrong_numbers(found, root)


def typed(root: Path) -> Iterable[str]:
    for name in prose.pages(root):
        yield from prose.typed_numbers(name, root)


def verdicts(root: Path) -> Iterable[str]:
    judgements = judged(root)
    for found in prose.listed("verdicts", root):
        yield from prose.wrong_verdict(found, judgements, root)


def answers(root: Path) -> Iterable[str]:
    for name in prose.chapters(root):
        yield from prose.unlisted_answer(name, root)


def readme(root: Path) -> Iterable[str]:
    return prose.stale_readme(list(judged(root).values()), root)


CHECKS: dict[str, Callable[[Path], Iterable[str]]] = {
    "sealed": seals.problems,
    "statistics": statistics,
    "provenance": provenance,
    "readable": archive.unreadable,
    "amended": amended,
    "numbers": numbers,
    "typed": typed,
    "verdicts": verdicts,
    "answers": answers,
    "readme": readme,
    "first page": prose.wrong_first_page,
    "tallies": prose.typed_tallies,
}

# --- What there is to bend --------------------------------------------------------------------

RECORDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "results").glob("*.json"))
}
SEALED = seals.sealed(ROOT)
ROWS = {
    row["id"]: (f"claims/{path.name}", row)
    for path in sorted((ROOT / "claims").glob("*.yml"))
    for row in entries_of(path.read_text(encoding="utf-8"))
    if row["id"] in SEALED["rows"]
}
OLDER = json.loads((ROOT / "claims" / REGISTERED).read_text(encoding="utf-8"))
REFERENCES = [e for e in prose.listed("numbers") if "result" in e]


def statistic(wanted: Callable[[dict], bool]) -> tuple[str, str]:
    """Result and path of the first summary of its kind that has values."""
    return next(
        (name, f"values.{path}")
        for name, record in RECORDS.items()
        for path, found in recompute.statistics(record["values"])
        if wanted(found) and "=" not in path  # some keys hold a dot: "tau=0.5"
    )


def number(wanted: Callable[[object, str], bool]) -> tuple[str, str]:
    """Result and path of the first leaf of its kind."""

    def leaves(node: object, path: str):
        if isinstance(node, dict):
            for key, inner in node.items():
                yield from leaves(inner, f"{path}.{key}")
        else:
            yield path, node

    return next(
        (name, path)
        for name, record in RECORDS.items()
        for path, leaf in leaves(record["values"], "values")
        if wanted(leaf, path)
    )


def reference(wanted: Callable[[dict], bool]) -> tuple[str, str]:
    """Result and path of the first number of its kind that a page quotes."""
    name, path = next(e for e in REFERENCES if wanted(e))["result"].split(":")
    return name, path


def difference() -> tuple[str, str, str]:
    """A result, the path of a difference in it, and that of the accuracy that it starts from."""
    for name, record in RECORDS.items():
        for test, found in record["values"].items():
            if isinstance(found, dict) and {"accuracy", "differences"} <= set(found):
                path, *_ = next(iter(recompute.differences(found)))
                return name, f"{test}.differences.{path}", path
    raise LookupError("no difference with both of its sides")


def row_with(wanted: Callable[[dict], Any]) -> dict | None:
    """The first sealed row of its kind, if there is one."""
    return next((row for _, row in ROWS.values() if wanted(row)), None)


# --- Changes ----------------------------------------------------------------------------------


def entry(path: str, new: object) -> Edit:
    """Another entry of a JSON file; a function is applied to the old one, None removes it."""

    def edit(text: str) -> str:
        record = json.loads(text)
        *parents, last = path.split(".")
        node = record
        for part in parents:
            node = node[part]
        place = int(last) if isinstance(node, list) else last
        if new is None:
            del node[place]
        else:
            node[place] = new(node[place]) if callable(new) else new
        return json.dumps(record, indent=1) + "\n"

    return edit


def add(by: float) -> Callable[[float], float]:
    return lambda old: old + by


def all_moved(path: str, by: float) -> Edit:
    """A number with its interval and its values, so that they still agree."""
    return lambda text: json.dumps(perturb.shifted(json.loads(text), path, by), indent=1) + "\n"


def best_two(found: dict) -> dict:
    """The two largest values of a summary, which is then computed anew from them."""
    return summarise(sorted(found["values"])[-2:])


def swapped(pattern: str, new: str | Callable[[re.Match[str]], str]) -> Edit:
    """Another text at the first place of a pattern."""

    def edit(text: str) -> str:
        changed, times = re.subn(pattern, new, text, count=1, flags=re.MULTILINE)
        assert times, f"the case is out of date: nothing is {pattern!r}"
        assert changed != text
        return changed

    return edit


def next_digit(text: str) -> str:
    """The text with another last digit of its last number."""
    return re.sub(r"\d(?=\D*$)", lambda d: str((int(d.group()) + 1) % 10), text)


def row(name: str, **changed: object) -> Edit:
    """Other fields of a row; None drops a field, a function is applied to the old one."""

    def edit(text: str) -> str:
        rows = entries_of(text)
        (found,) = (one for one in rows if one["id"] == name)
        for field, new in changed.items():
            if new is None:
                found.pop(field, None)
            else:
                found[field] = new(found.get(field)) if callable(new) else new
        return dumped(rows)

    return edit


def dumped(rows: list[dict]) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(rows, Dumper=dumper, sort_keys=False, allow_unicode=True)


def another_check(**changed: object) -> Callable[[dict], dict]:
    """Other parts of a check; None drops one, a function is applied to the old one."""

    def edit(old: dict) -> dict:
        new = {k: v(old.get(k, 0.0)) if callable(v) else v for k, v in changed.items()}
        return {k: v for k, v in (old | new).items() if v is not None}

    return edit


def forged(**changed: object) -> Callable[[dict], dict]:
    """Another registered row, with its digest made to fit."""

    def edit(old: dict) -> dict:
        new = {k: v for k, v in (old | changed).items() if k != "digest"}
        return new | {"digest": digest(new)}

    return edit


# --- Cases ------------------------------------------------------------------------------------

SAME = "differ from what was sealed of the same run"
ONE = next(iter(RECORDS))


def in_result(name: str, where: tuple[str, str], new: object, check: str, message: str) -> Case:
    result, path = where
    edit = new if path == "" else entry(path, new)
    return Case(name, f"results/{result}.json", edit, check, message)


SD = statistic(lambda found: "sd" in found and (found["n"] or 0) > 2)
STUDENT = statistic(lambda found: "low" in found and "variance" not in found)
LOOSE = number(lambda leaf, path: path.endswith(".low") and isinstance(leaf, float) and leaf)
SCALAR = number(lambda leaf, path: isinstance(leaf, float))
COUNT = number(lambda leaf, path: type(leaf) is int)
LIST = number(lambda leaf, path: isinstance(leaf, list) and ".values" not in path)
QUOTED = reference(lambda e: "keys" not in e and ":values" in e["result"])
EPOCHS = reference(lambda e: e["result"].endswith(":protocol.epochs"))
SEEDS = reference(lambda e: e["result"].endswith(":provenance.seeds"))
DATA = next((n, "provenance.data") for n, r in RECORDS.items() if r["provenance"]["data"])
NETWORK = next((n, "protocol.network") for n, r in RECORDS.items() if "network" in r["protocol"])
WHERE, PAIR, SHOWN = difference()
SIDES = f"{re.escape(SHOWN)} is not the difference of its two sides"


def inside(where: tuple[str, str], part: str) -> tuple[str, str]:
    return where[0], f"{where[1]}.{part}"


RESULTS = [
    in_result("mean", inside(SD, "mean"), add(0.1), "statistics",
              r"\.mean is .*, but its values give .*: restore the file from git, or run it again"),
    in_result("mean by a trifle", inside(SD, "mean"), lambda x: x * (1 + 1e-8), "statistics",
              r"\.mean is"),
    in_result("sd", inside(SD, "sd"), lambda x: x / 2 + 1e-6, "statistics",
              r"\.sd is .*, but its values give"),
    in_result("no spread", inside(SD, "sd"), lambda _: None, "statistics", r"\.sd is None"),
    in_result("number of seeds", inside(SD, "n"), lambda n: 10 * n, "statistics",
              r"\.n is \d+, but its values give"),
    in_result("one value", inside(SD, "values.0"), add(0.05), "statistics", r"\.mean is"),
    in_result("low", inside(STUDENT, "low"), add(1e-4), "statistics", r"\.low is"),
    in_result("high", inside(STUDENT, "high"), add(-1e-4), "statistics", r"\.high is"),
    Case("difference with all that belongs to it", f"results/{WHERE}.json",
         all_moved(PAIR, 0.01), "statistics", SIDES),
    Case("trifling difference with all that belongs to it", f"results/{WHERE}.json",
         all_moved(PAIR, 1e-6), "statistics", SIDES),
    in_result("interval beside its mean", LOOSE, add(10.0), "statistics", "mean .* not in"),
    in_result("interval a little", LOOSE, add(-1e-4), "sealed", f"its values {SAME}"),
    in_result("best seeds alone", SD, best_two, "sealed", f"its values {SAME}"),
    in_result("scalar", SCALAR, lambda x: x / 2 + 1e-17, "sealed",
              rf"its values {SAME} \(.* s\): restore it from git"),
    in_result("count", COUNT, add(1), "sealed", f"its values {SAME}"),
    in_result("curve", LIST, lambda old: old[1:], "sealed", f"its values {SAME}"),
    in_result("quoted number", QUOTED, add(1.0), "numbers", r"says '.*', but .* is \['"),
    in_result("data of the protocol", (ONE, "protocol.data"), "CUB-200-2011", "sealed",
              f"its protocol {SAME}"),
    in_result("network of the protocol", NETWORK, "Inception-V3", "sealed",
              f"its protocol {SAME}"),
    in_result("epochs", EPOCHS, 2000, "numbers", r"protocol\.epochs is \['2,000'\]"),
    in_result("commit", (ONE, "provenance.commit"), "0" * 40, "sealed",
              f"its provenance {SAME}"),
    in_result("no commit", (ONE, "provenance.commit"), "unknown", "provenance", "no commit"),
    in_result("changed code", (ONE, "provenance.clean"), False, "provenance",
              "made by changed code; commit it and run again"),
    in_result("profile", (ONE, "provenance.profile"), "smoke", "provenance", "not by a full run"),
    in_result("seeds", SEEDS, [0], "numbers", r"provenance\.seeds is \['1'\]"),
    in_result("checksums of the data", DATA, {}, "sealed", f"its provenance {SAME}"),
    in_result("rows that it was made for", (ONE, "registered"), {"forged": {}}, "sealed",
              f"its registered {SAME}"),
    in_result("whole result", (ONE, ""), None, "sealed", rf"{ONE}\.json was sealed and is gone"),
    Case("day of the run", f"results/{ONE}.json", entry("provenance.date", "2000-01-01"),
         "sealed", "if it was run again, `make claims` seals it; else restore it from git",
         lasting=False),
]  # fmt: skip

SEAL, FIRST = f"claims/{seals.SEALED}", next(iter(ROWS))


def registered_rows() -> Iterable[Case]:
    """Of what a run was made for, while there are results of before rows were stored with them."""
    known = ((r, name, old) for r, rows in OLDER.items() for name, old in rows.items())
    plain = ((r, n, old) for r, n, old in known if n in ROWS and not ROWS[n][1].get("amended"))
    for result, name, old in list(plain)[:1]:
        file, path = f"claims/{REGISTERED}", f"{result}.{name}"
        wider = old["check"] | {"margin": 0.9}
        yield Case(
            "registered margin",
            file,
            entry(f"{path}.check.margin", 0.9),
            "readable",
            rf"the registered row '{name}' of {result} has digest .* never edited",
        )
        yield Case(
            "registered margin with its digest",
            file,
            entry(path, forged(check=wider)),
            "sealed",
            rf"{result}\.json: its registered {SAME}",
        )
        yield Case(
            "registered statement with its digest",
            file,
            entry(path, forged(statement="Something else")),
            "amended",
            f"{name} was amended after the run: give the reason",
        )
        yield Case("registered row", file, entry(path, None), "amended",
                   f"{name} was written after the run: give the reason")  # fmt: skip


DIGESTS = [
    Case("values of a result", SEAL, entry(f"results.{ONE}.values", "0" * 16), "sealed",
         rf"{ONE}\.json: its values {SAME}", lasting=False),
    Case("kind of a row", SEAL, entry(f"rows.{FIRST}.kind", "conjecture"), "sealed",
         f"claim {FIRST} .* `kind` was 'conjecture', is", lasting=False),
    Case("no seal of a result", SEAL, entry(f"results.{ONE}", None), "sealed",
         rf"{ONE}\.json is not sealed: run `make claims`", lasting=False),
    Case("no seal of a row", SEAL, entry(f"rows.{FIRST}", None), "sealed",
         f"claim {FIRST} has a result and is not sealed", lasting=False),
    *registered_rows(),
]  # fmt: skip

STALE = r"README\.md is stale: run `python -m tools\.build_pages --readme`"
README = [
    Case("number of the table", "README.md", swapped(
             r"^(\| [A-Z].*?\| )(-?\d\.\d*?)(\d)( ±| \[)", lambda m: m[1] + m[2]
             + str((int(m[3]) + 1) % 10) + m[4]), "readme", STALE),
    Case("end of an interval", "README.md", swapped(r"(\d)\] \|", lambda m: f"{m[1]}9] |"),
         "readme", STALE),
    Case("verdict of the table", "README.md", swapped(r"\*\*.\s[a-z ]+\*\* \|", "**sure** |"),
         "readme", rf"{STALE}: .*\*\*sure\*\*"),
    Case("count", "README.md", swapped(r"\*\*(\d+)\*\* ", lambda m: f"**{int(m[1]) + 1}** "),
         "readme", STALE),
    Case("number of claims", "README.md", swapped(r"Of (\d+) claims", "Of 99 claims"),
         "readme", rf"{STALE}: .*Of 99 claims"),
    Case("statement of the table", "README.md", swapped(r"^\| [A-Z]\w+ ", "| Surely "),
         "readme", rf"{STALE}: .*Surely"),
    Case("row of the table", "README.md", swapped(r"^\| [A-Z].*\n", ""), "readme", STALE),
    Case("number in its prose", "README.md", swapped(r"^The notebooks ", "By 4.5 points they "),
         "typed", r"README\.md: .*By 4\.5 points.* is typed by hand"),
    Case("tally in its prose", "README.md", swapped(r"^The notebooks ", "52 of 87 claims "),
         "tallies", r"README\.md: '52 of 87 claims' is typed by hand or mixes kinds"),
]  # fmt: skip

ANSWER = r"^(# # .+\?\n#\n# )(\S+)"  # the title of a chapter, and the first word under it


def openings() -> Iterable[Case]:
    """In each answer: a number of its result, the first word, and a number more."""
    for page in prose.chapters():
        slug = Path(page).stem[:2]
        text = (ROOT / page).read_text(encoding="utf-8")
        quoted = next(
            e["text"] for e in REFERENCES
            if e["page"] == page and e["text"] in text and re.search(r"\d", e["text"])
            and prose.plain(e["text"]) in prose.opening(page)
        )  # fmt: skip
        other = next_digit(quoted)
        turned = swapped(re.escape(quoted), lambda _, other=other: other)
        yield Case(f"number of {slug}", page, turned, "numbers",
                   f"{re.escape(page)} no longer says .{re.escape(quoted)}")  # fmt: skip
        yield Case(f"answer of {slug}", page, swapped(ANSWER, r"\1Quite the reverse, \2"),
                   "answers", f"{page}: the answer begins .Quite the reverse")  # fmt: skip
        yield Case(f"number more in {slug}", page, swapped(ANSWER, r"\1By 12.34 more, \2"),
                   "typed", rf"{page}: .*By 12\.34 more.* is typed by hand")  # fmt: skip


def sentences() -> Iterable[Case]:
    """One listed sentence of each page: its last word is another."""
    for page in dict.fromkeys(e["page"] for e in prose.listed("verdicts")):
        text = (ROOT / page).read_text(encoding="utf-8")
        said = [e["sentence"] for e in prose.listed("verdicts") if e["page"] == page]
        for sentence in [s for s in said if s in text][-1:]:
            other = sentence.rsplit(" ", 1)[0] + " nothing"
            yield Case(
                f"sentence of {page}", page, swapped(re.escape(sentence), lambda _, o=other: o),
                "verdicts", f"{re.escape(page)} no longer says .{re.escape(sentence)}",
            )  # fmt: skip


def asks(relation: str, **more: bool) -> dict | None:
    """A row that asks for a relation, with or without some fields: `amended=True`, say."""
    return row_with(
        lambda r: relation in r["check"] and all(bool(r.get(k)) == v for k, v in more.items())
    )


def in_ledger(
    name: str, found: dict | None, by: str, message: str, **changed: object
) -> list[Case]:
    """A change of a row, if there is one of its kind; ID in the message stands for its id."""
    if found is None:
        return []
    free = set(changed) <= set(seals.FREE)  # needs no reason: visible in claims/sealed.json alone
    message = message.replace("ID", re.escape(found["id"]))
    return [Case(name, ROWS[found["id"]][0], row(found["id"], **changed), by, message, not free)]


def without(name: str) -> Edit:
    return lambda text: dumped([r for r in entries_of(text) if r["id"] != name])


def twice(name: str) -> Edit:
    """The row once more, under another id."""

    def edit(text: str) -> str:
        rows = entries_of(text)
        return dumped([*rows, *(r | {"id": "late"} for r in rows if r["id"] == name)])

    return edit


PLAIN, AMENDED = asks("above", amended=False), row_with(lambda r: r.get("amended"))
ABOVE, BELOW, EQUALS = (asks(relation) for relation in ("above", "below", "equals"))
RESTRICTED = row_with(lambda r: r.get("conditions"))
REASON = "was amended after the run: give the reason in its field `amended`"
BENT = "claim ID differs from what was sealed: `{}` was "
LEDGER = [
    *in_ledger("target", PLAIN, "amended", f"ID {REASON}", check=another_check(above=add(-1))),
    *in_ledger("target of an amended row", AMENDED, "sealed", BENT.format("check"),
               check=lambda old: {k: v if k == "result" else v + 1 for k, v in old.items()}),
    *in_ledger("target of an audit", row_with(lambda r: r["kind"] == "audit"), "sealed",
               BENT.format("check"),
               check=lambda old: {k: v if k == "result" else v + 1 for k, v in old.items()}),
    *in_ledger("margin", EQUALS, "sealed", BENT.format("check") + r".*margin .*margin 0\.9",
               check=another_check(margin=0.9)),
    *in_ledger("margin ten times as wide", EQUALS, "sealed", BENT.format("check"),
               check=another_check(margin=lambda old: 10 * old)),
    *in_ledger("relation", ABOVE, "sealed", BENT.format("check") + ".* above .* below ",
               check=another_check(above=None, below=0.0)),
    *in_ledger("relation the other way", BELOW, "sealed", BENT.format("check"),
               check=another_check(below=None, above=0.0)),
    *in_ledger("equality asked less of", EQUALS, "sealed", BENT.format("check"),
               check=another_check(equals=None, above=-1.0)),
    *in_ledger("number that decides", PLAIN, "sealed", "claim ID .* its number is: restore it",
               check=another_check(result=f"{ONE}:no.such.number")),
    *in_ledger("threshold of a condition", RESTRICTED, "sealed", BENT.format("conditions"),
               conditions=lambda old: [old[0] | {"margin": 0.9}, *old[1:]]),
    *in_ledger("condition", RESTRICTED, "sealed", BENT.format("conditions"),
               conditions=lambda old: old[1:]),
    *in_ledger("text of a condition", RESTRICTED, "sealed", BENT.format("conditions"),
               conditions=lambda old: [old[0] | {"text": "without weight"}, *old[1:]]),
    *in_ledger("finding to claim", row_with(lambda r: r["kind"] == "finding"), "sealed",
               BENT.format("kind") + "'finding', is 'claim'", kind="claim"),
    *in_ledger("claim to finding", row_with(lambda r: r["kind"] == "claim"), "sealed",
               BENT.format("kind") + "'claim', is 'finding'", kind="finding"),
    *in_ledger("identity to claim", row_with(lambda r: r["kind"] == "identity"), "sealed",
               BENT.format("kind") + "'identity', is 'claim'", kind="claim"),
    *in_ledger("unknown kind", PLAIN, "readable", "'ID': unknown kind 'theorem'", kind="theorem"),
    *in_ledger("statement", PLAIN, "amended", f"ID {REASON}", statement="It always helps"),
    *in_ledger("statement of an amended row", AMENDED, "sealed",
               BENT.format("statement") + "another text", statement="It always helps"),
    *in_ledger("setting", row_with(lambda r: r.get("setting")), "sealed",
               BENT.format("setting") + ".*is None", setting=None),
    *in_ledger("setting that parts the two", row_with(lambda r: not r.get("setting")), "sealed",
               BENT.format("setting") + ".*CUB-200", setting={"data": "CUB-200-2011"}),
    *in_ledger("amended", AMENDED, "sealed", BENT.format("amended") + "another text, is None",
               amended=None),
    *in_ledger("awaits dropped", row_with(lambda r: r.get("awaits")), "sealed",
               BENT.format("awaits") + "True, is None", awaits=None),
    *in_ledger("awaits to hide a verdict", row_with(lambda r: not r.get("awaits")), "sealed",
               BENT.format("awaits") + "None, is True", awaits="a better run"),
    *in_ledger("headline dropped", row_with(lambda r: r.get("headline")), "readme", STALE,
               headline=None),
    *in_ledger("headline given", row_with(lambda r: not r.get("headline")), "sealed",
               BENT.format("headline") + "None, is True", headline=True),
    *in_ledger("the paper's number", row_with(lambda r: r.get("value")), "sealed",
               BENT.format("value"), value=lambda old: 2 * old),
    *in_ledger("source of it", row_with(lambda r: r.get("source")), "sealed",
               BENT.format("source"), source="Table 9"),
    *in_ledger("paper", PLAIN, "sealed", BENT.format("paper"), paper="menon2021x"),
    *in_ledger("unit", row_with(lambda r: r.get("unit") == "nats"), "sealed",
               BENT.format("unit") + "'nats', is 'bits'", unit="bits"),
    Case("row dropped", ROWS[PLAIN["id"]][0], without(PLAIN["id"]), "sealed",
         f"claim {PLAIN['id']} was sealed and is gone"),
    Case("row written late", ROWS[PLAIN["id"]][0], twice(PLAIN["id"]), "amended",
         "late was written after the run: give the reason", lasting=False),
]  # fmt: skip

PAGES = [
    Case("verdict left out", "book/intro.md", swapped(r"^\| \? open .*\n", ""), "first page",
         "intro.md explains the verdicts"),
    Case("mark turned", "book/intro.md", swapped("✗ not reproduced", "✓ not reproduced"),
         "first page", "intro.md explains the verdicts"),
    Case("table by hand", "book/intro.md", swapped("_generated/headline.md", "results.md"),
         "first page", "book/intro.md does not include _generated/headline.md"),
    Case("scoreboard by hand", "book/scoreboard.md", swapped("_generated/scoreboard.md", "s.md"),
         "first page", "book/scoreboard.md does not include _generated/scoreboard.md"),
    Case("count by hand", "book/intro.md", swapped(r"^The paper makes", "13 claims hold. It"),
         "typed", "book/intro.md: .*13 claims hold.* is typed by hand"),
    *sentences(),
]  # fmt: skip

TABLE = {
    "result": RESULTS, "digest": DIGESTS, "README": README, "opening": list(openings()),
    "row": LEDGER, "page": PAGES,
}  # fmt: skip
CASES = {f"{kind}: {case.name}": case for kind, cases in TABLE.items() for case in cases}

# --- The tests --------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("no_shape_checks")  # messages as readers get them


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of all that the checks read, without the executed notebooks."""
    root = tmp_path_factory.mktemp("project")
    for pattern in ("README.md", "claims/*", "results/*.json", "book/*.md", "book/*.yml",
                    "notebooks/*.py"):  # fmt: skip
        for path in ROOT.glob(pattern):
            (root / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
            shutil.copy2(path, root / path.relative_to(ROOT))
    return root


@pytest.fixture
def falsified(project, monkeypatch):
    """Apply a case to the copy; all is as it was afterwards."""
    monkeypatch.setenv("SOFTMI_ROOT", str(project))
    kept = {SEAL: (project / SEAL).read_bytes()}

    def apply(case: Case) -> Path:
        path = project / case.file
        kept.setdefault(case.file, path.read_bytes())
        if case.edit is None:
            path.unlink()
        else:
            path.write_text(case.edit(path.read_text(encoding="utf-8")), encoding="utf-8")
        return project

    yield apply
    for name, content in kept.items():
        (project / name).write_bytes(content)


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_objects_to_the_project_as_it_is(check, project, monkeypatch):
    monkeypatch.setenv("SOFTMI_ROOT", str(project))
    assert not list(CHECKS[check](project))


def test_there_are_sixty_changes_and_more_and_each_check_is_asked():
    assert len(CASES) == sum(map(len, TABLE.values())) >= 100
    assert {case.check for case in CASES.values()} == set(CHECKS)


@pytest.mark.parametrize("name", CASES)
def test_the_change_is_caught_with_its_message_and_sealing_again_does_not_hide_it(name, falsified):
    case = CASES[name]
    root = falsified(case)
    found = list(CHECKS[case.check](root))
    assert any(re.search(case.message, problem) for problem in found), found
    if case.file.startswith(("results/", "claims/")) and case.check != "readable":
        assert seals.problems(root), "the seals do not notice it"
        if case.lasting:
            assert seals.seal(root), "`make claims` seals it"


def test_another_run_and_a_row_with_a_reason_are_sealed(falsified):
    """What may change, does: else nobody could go on."""
    root = falsified(Case("", f"results/{ONE}.json", entry("provenance.seconds", 1.25), "", ""))
    assert not seals.seal(root)
    assert seals.sealed(root)["results"][ONE]["run"].endswith("1.25 s")
    name = PLAIN["id"]
    reworded = row(name, statement="Another statement", amended="It said too much.")
    root = falsified(Case("", ROWS[name][0], reworded, "", ""))
    assert not seals.seal(root)
    assert not seals.problems(root)
