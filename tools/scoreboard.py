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

from softmi.evidence.ledger import VERDICTS, Judgement
from softmi.evidence.statistics import interval
from softmi.evidence.tables import expectation, format_number

ROOT = Path(__file__).resolve().parents[1]
MARKS = dict(zip(VERDICTS, ("✓", "≈", "✗", "↔", "…"), strict=True))

# What the files for download hold of a claim, in this order.
CSV_COLUMNS = (
    "id", "chapter", "paper", "where", "statement", "kind", "paper_value", "paper_source",
    "asked_for", "ours", "ours_low", "ours_high", "ours_sd", "ours_n", "unit", "verdict", "why",
    "reason", "result", "date", "commit", "device", "seeds", "seconds", "command",
)  # fmt: skip


def verdict(judgement: Judgement) -> str:
    """A verdict with its mark."""
    return f"{MARKS[judgement.verdict]}\N{NO-BREAK SPACE}{judgement.verdict}"


def count_sentence(judgements: Sequence[Judgement]) -> str:
    """How many claims there are, and how many have which verdict."""
    counts = Counter(j.verdict for j in judgements)
    parts = [f"**{counts[v]}** {v}" for v in VERDICTS if counts[v]]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" and {parts[-1]}"
    return f"Of {len(judgements)} claims tested here, {listed}."


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


def command(slug: str) -> str:
    """Return the command that runs a chapter in full again."""
    return f"make full NB={slug[:2]}"


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
        "target": claim.check.target,
        "tolerance": claim.check.tolerance,
        "direction": claim.check.direction,
        "conditions": [vars(condition) for condition in claim.conditions],
        "provenance": judgement.provenance,
        "command": command(claim.notebook),
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
    """Return every claim, chapter by chapter, its evidence folded under it."""
    header = ("claim", "paper", "its number", "asked for", "ours", "verdict")
    lines = [count_sentence(judgements), ""]
    for slug, title in chapter_titles().items():
        lines += [f"## {slug[:2]} · [{title}](../notebooks/{slug}.ipynb)", ""]
        rows = [table_row(j) for j in judgements if j.claim.notebook == slug]
        lines += card_table(header, rows, (35, 13, 9, 14, 15, 14), "scoreboard")
    return "\n".join(lines)


def table_row(judgement: Judgement) -> tuple[str, ...]:
    """One claim; the filters read the second and the last cell."""
    claim = judgement.claim
    evidence = "\n".join([*why(judgement), "", run_sentence(judgement)])
    return (
        f"[{claim.statement}]{{#claim-{claim.id}}}\n\n"
        "<details><summary>Why, and the run behind it</summary>\n\n"
        f"{evidence}\n\n</details>\n",
        f"{{cite:t}}`{claim.paper}`",
        paper_number(judgement),
        expectation(claim),
        our_number(judgement),
        f"**{verdict(judgement)}**",
    )


def why(judgement: Judgement) -> list[str]:
    """Why a verdict came out as it did, and where the claim stands."""
    claim = judgement.claim
    lines = []
    if judgement.why:
        lines.append(judgement.why[0].upper() + judgement.why[1:].rstrip(".") + ".")
    lines += [claim.reason, f"Stated in: {claim.where.rstrip('.')}."]
    if claim.source:
        lines.append(f"The paper's number: {claim.source.rstrip('.')}.")
    return [re.sub(r"(?<!\w)--[\w-]+", r"`\g<0>`", line) for line in lines]  # options, not dashes


def run_sentence(judgement: Judgement) -> str:
    """Say where, when, from which commit and for how long a result was computed."""
    name, path = judgement.claim.check.result.split(":")
    again = f"`{command(judgement.claim.notebook)}`"
    if judgement.provenance is None:
        return f"No result yet; run {again} with the data (`{judgement.claim.id}`)."
    p = judgement.provenance
    return (
        f"`{path}` in `results/{name}.json`: {p['date']}, commit `{p['commit'][:10]}`"
        f"{'' if p['clean'] else ' with changes'}, {p['device']}, {shown_seeds(p['seeds'])}, "
        f"{duration(p['seconds'])}, torch {p['versions']['torch']}. "
        f"Run it again: {again} (`{judgement.claim.id}`)."
    )
