"""The scoreboard: every claim with its evidence, as a page, as CSV and as JSON.

All three are functions of claims/ and results/*.json, by way of `softmi.evidence.ledger.judge`.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pybtex.database import parse_file

from softmi.evidence.ledger import CLAIM_VERDICTS, VERDICTS, Judgement
from softmi.evidence.results import command_of
from softmi.evidence.statistics import interval
from softmi.evidence.tables import expectation, format_number

ROOT = Path(__file__).resolve().parents[1]
MARKS = dict(zip(VERDICTS, "✓≈?✗↔…… ✓✗✓✗✓≈✗".replace(" ", ""), strict=True))
# Sections of the scoreboard; replications are counted over the first kind alone.
SECTIONS = {
    "claim": "Claims of the papers",
    "finding": "Findings of this book",
    "audit": "Audits of published code and data",
    "identity": "Identities, to rounding",
}

EXAMINED = ("qin2019", "qin2021evaluator", "qin2021infocam")  # they come first

# What the files for download hold of a claim, in this order.
CSV_COLUMNS = (
    "id", "chapter", "paper", "where", "statement", "kind", "paper_value", "paper_source",
    "asked_for", "ours", "ours_low", "ours_high", "ours_sd", "ours_n", "unit", "verdict", "why",
    "change", "amended", "reason", "result", "date", "commit", "device", "seeds", "seconds",
    "command",
)  # fmt: skip


def verdict(judgement: Judgement) -> str:
    """A verdict with its mark."""
    return f"{MARKS[judgement.verdict]}\N{NO-BREAK SPACE}{judgement.verdict}"


def claims_of(judgements: Sequence[Judgement], paper: str) -> list[Judgement]:
    """Return what a paper itself asserts: identities, audits and our findings are not its."""
    return [j for j in judgements if j.claim.kind == "claim" and j.claim.paper == paper]


def count_sentence(judgements: Sequence[Judgement], paper: str, name: str) -> str:
    """How many claims of a paper have which verdict, and how many numbers had no like."""
    own = claims_of(judgements, paper)
    counts = Counter(j.verdict for j in own)
    parts = [f"**{counts[v]}** {v}" for v in CLAIM_VERDICTS if counts[v]]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" and {parts[-1]}"
    claims = f"{len(own)} claims" if len(own) > 1 else "one claim"
    sentence = f"Of {claims} of {name}, {listed}."
    if printed := [j for j in own if j.claim.value is not None]:
        unlike = sum(j.verdict in ("not comparable", "not run") for j in printed)
        numbers = f"{len(printed)} printed numbers" if len(printed) > 1 else "one printed number"
        sentence += f" Of its {numbers}, **{unlike}** could not be tested like for like."
    return sentence


def paper_names() -> dict[str, str]:
    """Key and "Authors (year)" of the papers in the bibliography."""
    names = {}
    for key, entry in parse_file(ROOT / "book" / "references.bib").entries.items():
        people = [" ".join(person.last_names) for person in entry.persons.get("author", [])]
        shown = people[0] if len(people) == 1 else f"{people[0]} and {people[1]}"
        shown = f"{people[0]} et al." if len(people) > 2 else shown
        names[key] = f"{shown} ({entry.fields['year']})"
    same = Counter(names.values())
    letters = {name: iter("abcdef") for name, number in same.items() if number > 1}
    return {
        key: f"{name[:-1]}{next(letters[name])})" if name in letters else name
        for key, name in names.items()
    }


def chapter_titles() -> dict[str, str]:
    """Slug and title, the question, of each chapter."""
    titles = {}
    for source in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py")):
        found = re.search(r"^# # (.+)$", source.read_text(encoding="utf-8"), re.MULTILINE)
        titles[source.stem] = found.group(1) if found else source.stem
    return titles


def paper_number(judgement: Judgement) -> str:
    """The paper's own number, where a source confirms it."""
    value = judgement.claim.value
    return "–" if value is None else f"{value:g}"


def our_number(judgement: Judgement) -> str:
    """Our number with its spread and its unit."""
    number = format_number(judgement.ours, judgement.claim.decimals)
    return f"{number} {judgement.claim.unit}".rstrip()


def duration(seconds: float) -> str:
    """Write a time as people say it: 4.8 s, 12 min 42 s, 1 h 17 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def shown_seeds(seeds: Sequence[int]) -> str:
    """Write how many seeds, or the one that there is."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"


# --- For programs -----------------------------------------------------------------------------


def record(judgement: Judgement) -> dict[str, Any]:
    """Return all that is known of a claim, for JSON; numbers are those of the result file."""
    claim, ours = judgement.claim, judgement.ours
    low, high = (None, None) if ours is None else interval(ours)
    return {
        "id": claim.id,
        "chapter": claim.notebook,
        "paper": claim.paper,
        "where": claim.where,
        "statement": claim.statement,
        "kind": claim.kind,
        "paper_value": claim.value,
        "paper_source": claim.source,
        "asked_for": expectation(claim),
        "ours": ours,
        "ours_low": low,
        "ours_high": high,
        "unit": claim.unit,
        "verdict": judgement.verdict,
        "why": judgement.why,
        "reason": claim.reason,
        "result": claim.check.result,
        "relation": claim.check.relation,
        "target": claim.check.target,
        "margin": claim.check.margin,
        "change": judgement.change,
        "first": judgement.first,
        "amended": claim.amended,
        "conditions": [vars(condition) for condition in claim.conditions],
        "provenance": judgement.provenance,
        "command": command_of(claim.check.result.partition(":")[0]),
    }


def scoreboard_json(judgements: Sequence[Judgement]) -> str:
    """Every claim as JSON."""
    return json.dumps([record(j) for j in judgements], indent=1, ensure_ascii=False) + "\n"


def scoreboard_csv(judgements: Sequence[Judgement]) -> str:
    """Every claim as a line of CSV; `ours` is the mean, and nested entries have columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in map(record, judgements):
        ours, run = row["ours"], row["provenance"] or {}
        if isinstance(ours, Mapping):
            row |= {"ours": ours["mean"], "ours_sd": ours.get("sd"), "ours_n": ours.get("n")}
        row |= {key: run.get(key) for key in ("date", "commit", "device", "seconds")}
        row["seeds"] = " ".join(map(str, run.get("seeds", [])))
        writer.writerow(row)
    return text.getvalue()


# --- For readers ------------------------------------------------------------------------------


def card_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], name: str
) -> list[str]:
    """Return a table of class `name`, which the style sheet turns into cards on a phone.

    A cell may hold several paragraphs; `widths` are in per cent.
    """
    lines = [":::{list-table}", ":header-rows: 1", f":widths: {' '.join(map(str, widths))}",
             f":class: claims {name}", ""]  # fmt: skip
    for row in (header, *rows):
        for column, cell in enumerate(row):
            first, *more = cell.splitlines()
            lines.append(f"{'  ' if column else '* '}- {first}")
            lines += [f"    {line}".rstrip() for line in more]
    return [*lines, ":::", ""]


def scoreboard_page(judgements: Sequence[Judgement]) -> str:
    """Return the whole ledger: claims by paper, then the other kinds, with their evidence."""
    header = ("statement", "paper", "its number", "asked for", "ours", "verdict")

    def table(rows: Sequence[Judgement]) -> list[str]:
        cells = list(map(table_row, rows))
        return card_table(header, cells, (35, 13, 9, 14, 15, 14), "scoreboard")

    lines, names = [], paper_names()
    for kind, title in SECTIONS.items():
        rows = [j for j in judgements if j.claim.kind == kind]
        lines += [f"## {title}", ""]
        if kind != "claim":
            lines += table(rows)
            continue
        papers = Counter(j.claim.paper for j in rows)
        for paper in sorted(papers, key=lambda key: (key not in EXAMINED, names[key])):
            lines += [f"### {names[paper]}", "", count_sentence(rows, paper, names[paper]), ""]
            lines += table(claims_of(rows, paper))
    return "\n".join(lines)


def table_row(judgement: Judgement) -> tuple[str, ...]:
    """One claim; the filters read the second and the last cell."""
    claim = judgement.claim
    evidence = "\n".join([*why(judgement), "", run_sentence(judgement)])
    return (
        f"[{claim.statement}]{{#claim-{claim.id}}}\n\n"
        f"{change_sentence(judgement)}"
        "<details><summary>Why, and the run behind it</summary>\n\n"
        f"{evidence}\n\n</details>\n",
        f"{{cite:t}}`{claim.paper}`",
        paper_number(judgement),
        expectation(claim),
        our_number(judgement),
        f"**{verdict(judgement)}**",
    )


def change_sentence(judgement: Judgement) -> str:
    """Say at the row, not folded, that it is not what the run was made for."""
    if not judgement.change:
        return ""
    first = judgement.first
    was = f" The run was made for: “{first['statement']}”, {asked(first)}." if first else ""
    reason = judgement.claim.amended.rstrip(".")
    return f"*{judgement.change.capitalize()}: {reason}.*{was}\n\n"


def asked(row: Mapping[str, Any]) -> str:
    """What a registered row asked of its number."""
    relation = next(r for r in ("above", "below", "equals") if r in row["check"])
    margin = row["check"]["margin"]
    return f"{relation} {row['check'][relation]:g}" + (f" ± {margin:g}" if margin else "")


def why(judgement: Judgement) -> list[str]:
    """Why a verdict came out as it did, and where the claim stands."""
    claim = judgement.claim
    lines = []
    if judgement.why:
        lines.append(judgement.why[0].upper() + judgement.why[1:].rstrip(".") + ".")
    if claim.amended and not judgement.change:  # changed before the run that is shown
        lines.append(claim.amended)
    lines += [claim.reason, f"Stated in: {claim.where.rstrip('.')}."]
    if claim.source:
        lines.append(f"The paper's number: {claim.source.rstrip('.')}.")
    return [re.sub(r"(?<!\w)--[\w-]+", r"`\g<0>`", line) for line in lines]  # options, not dashes


def run_sentence(judgement: Judgement) -> str:
    """Say where, when, from which commit and for how long a result was computed."""
    name, path = judgement.claim.check.result.split(":")
    chapter = judgement.claim.notebook
    again = f"`{command_of(name)}`, [chapter {chapter[:2]}](../notebooks/{chapter}.ipynb)"
    if judgement.provenance is None:
        return f"No result yet; run {again} with the data (`{judgement.claim.id}`)."
    p = judgement.provenance
    return (
        f"`{path}` in `results/{name}.json`: {p['date']}, commit `{p['commit'][:10]}`"
        f"{'' if p['clean'] else ' with changes'}, {p['device']}, {shown_seeds(p['seeds'])}, "
        f"{duration(p['seconds'])}, torch {p['versions']['torch']}. "
        f"Run it again: {again} (`{judgement.claim.id}`)."
    )
