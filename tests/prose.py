"""What the Markdown of README, pages and chapters says, and whether the files say the same.

Each check takes the root of a project and returns what is wrong, a sentence each: the tests of the
pages ask for none, and those of falsified copies for the right one.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import jupytext
import yaml

from softmi.evidence.ledger import CLAIM_VERDICTS, Judgement
from tools import build_pages, scoreboard
from tools.notebooks import ROOT

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve")  # fmt: skip
UNITS = (
    r"nats?|bits?|%|per cent|points?|s|seconds?|min|minutes?|h|hours?|MB|GB|epochs?|seeds?|cores?|"
    r"pictures?|images?|digits?|claims?"
)
AMOUNT = rf"(?:\d[\d.,]*[\s-]?|\b(?:{'|'.join(WORDS)}|hundred|thousand|half an|an(?= hour))[\s-])"
MEASURED = re.compile(rf"{AMOUNT}(?:{UNITS})(?![\w-])", re.IGNORECASE)
NUMERAL = re.compile(r"(?<![\w.-])-?\d+(?:[.,]\d+)*(?!\w)")  # not the 10 of CIFAR-10


# --- Reading ----------------------------------------------------------------------------------


def as_shown(markdown: str) -> str:
    """Text with its roles, such as links to the glossary, as a reader sees them."""
    return re.sub(r"\{[a-z:]+\}`([^`<\n]*?)(?: <[^`\n]*>)?`", r"\1", markdown)


def one_line(markdown: str) -> str:
    return " ".join(as_shown(markdown).split())


def plain(text: str) -> str:
    """Markdown as it is compared: on one line, roles as shown, without code and set formulas.

    The level of the intervals goes, too: it is that of `softmi.evidence` everywhere.
    """
    text = re.sub(r"\$\$.*?\$\$", " ", as_shown(text), flags=re.DOTALL)
    text = re.sub(r"\$(-?\d[\d.,]*)\$", r"\1", text)  # a number alone is no formula
    text = re.sub(r"`[^`\n]*`", "`code`", text).replace("\N{MINUS SIGN}", "-")
    return " ".join(text.split()).replace("95 % interval", "interval")


def prose(name: str, root: Path = ROOT) -> str:
    """A page without what is generated, and of its code the comments alone."""
    text = (root / name).read_text(encoding="utf-8")
    if name.endswith(".py"):
        return plain("\n\n".join(_text_cells(text)))
    return _page(text)


@cache
def _page(text: str) -> str:
    def comments(fence: re.Match[str]) -> str:
        return "\n".join(re.findall(r"#+ (.*)", fence.group()))

    text = re.sub(r"<!-- results.*?<!-- end of results -->", "", text, flags=re.DOTALL)
    return plain(re.sub(r"^```.*?^```", comments, text, flags=re.DOTALL | re.MULTILINE))


@cache
def _text_cells(text: str) -> list[str]:
    cells = jupytext.reads(text, fmt="py:percent").cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def answer(name: str, root: Path = ROOT) -> str:
    """The cell with the title of a chapter, and the answer under it."""
    return _text_cells((root / name).read_text(encoding="utf-8"))[0]


def opening(name: str, root: Path = ROOT) -> str:
    """The answer under the title of a chapter, without formulas."""
    return re.sub(r"\$[^$]*\$", " ", plain(answer(name, root)))


def chapters(root: Path = ROOT) -> list[str]:
    return sorted(f"notebooks/{path.name}" for path in (root / "notebooks").glob("[0-9]*.py"))


def pages(root: Path = ROOT) -> list[str]:
    book = sorted(f"book/{page.name}" for page in (root / "book").glob("*.md"))
    return ["README.md", *book, *chapters(root)]


@cache
def _entries(text: str) -> list[dict]:
    return yaml.safe_load(text)


def listed(kind: str, root: Path = ROOT) -> list[dict]:
    """The entries of book/prose_numbers.yml or book/prose_verdicts.yml."""
    return _entries((root / "book" / f"prose_{kind}.yml").read_text(encoding="utf-8"))


# --- Numbers ----------------------------------------------------------------------------------


def unlisted(text: str, pattern: re.Pattern[str], entries: list[str]) -> list[str]:
    """Numbers that no listed text covers, each with what stands around it."""
    covered = [
        found.span() for entry in entries for found in re.finditer(re.escape(plain(entry)), text)
    ]
    return [
        text[max(0, found.start() - 40) : found.end() + 40]
        for found in pattern.finditer(text)
        if not any(a <= found.start() and found.end() <= b for a, b in covered)
    ]


def listed_for(name: str, root: Path = ROOT) -> list[str]:
    return [entry["text"] for entry in listed("numbers", root) if entry["page"] == name]


def said(entry: Mapping) -> list[str]:
    """The numbers of a listed text, or else those that it writes as words."""
    text = plain(entry["text"])
    words = re.findall(rf"\b(?:{'|'.join(WORDS)})\b", text.lower())
    return NUMERAL.findall(text) or [str(WORDS.index(word)) for word in words]


def at(record: Mapping, path: str) -> object:
    """The entry of a result file at a dotted path, from the top of the file."""
    for part in path.split("."):
        record = record[part]
    return record


def archived(root: Path = ROOT) -> Callable[[str], Mapping]:
    """The reader of a project's results."""
    return lambda name: _record((root / "results" / f"{name}.json").read_text(encoding="utf-8"))


@cache
def _record(text: str) -> Mapping:
    return json.loads(text)


def computed(entry: Mapping, load: Callable[[str], Mapping] | None = None) -> list[str]:
    """The same numbers from the result: one, or the `keys` of a statistic in their order."""
    name, path = entry["result"].split(":")
    value = at((load or archived())(name), path)
    factor, digits = entry.get("factor", 1), entry.get("digits", 0)
    if "keys" in entry:  # the spread has no sign
        values = [value[k] * (abs(factor) if k == "sd" else factor) for k in entry["keys"]]
    else:
        values = [factor * (len(value) if isinstance(value, list) else value)]
    values = [round(value, digits) + 0.0 for value in values]  # no -0
    return [f"{value:,.{digits}f}" for value in values]


def typed_numbers(name: str, root: Path = ROOT) -> list[str]:
    """Numbers of a page with a unit, and of a chapter's answer all, that nothing is behind."""
    found = unlisted(prose(name, root), MEASURED, listed_for(name, root))
    if name.endswith(".py"):
        found += unlisted(opening(name, root), NUMERAL, listed_for(name, root))
    return [
        f"{name}: {text!r} is typed by hand: generate the number, or list it in "
        "book/prose_numbers.yml with the result that it comes from"
        for text in found
    ]


def wrong_numbers(entry: Mapping, root: Path = ROOT) -> Iterator[str]:
    """What is wrong with a listed number: not in its page, or not what its result says."""
    if plain(entry["text"]) not in prose(entry["page"], root):
        yield f"{entry['page']} no longer says {entry['text']!r}: see book/prose_numbers.yml"
    if "result" not in entry:
        if not entry.get("why"):
            yield f"{entry['text']!r}: say why no result stands behind it"
    elif said(entry) != (ours := computed(entry, archived(root))):
        yield f"{entry['page']} says {entry['text']!r}, but {entry['result']} is {ours}"


# --- Verdicts ---------------------------------------------------------------------------------


def wrong_verdict(
    entry: Mapping, judgements: Mapping[str, Judgement], root: Path = ROOT
) -> Iterator[str]:
    """What is wrong with a listed sentence: the verdict that it rests on, or it is not there."""
    if entry["claim"] not in judgements:
        yield f"book/prose_verdicts.yml: no claim {entry['claim']!r}"
        return
    verdict = judgements[entry["claim"]].verdict
    if verdict != entry["verdict"]:
        yield (
            f"claim {entry['claim']} is now {verdict!r}, but {entry['page']} says: "
            f"{entry['sentence']!r}"
        )
    page = one_line((root / entry["page"]).read_text(encoding="utf-8"))
    # whole words: "or not" is not said by "or nothing"
    if not re.search(rf"(?<!\w){re.escape(one_line(entry['sentence']))}(?!\w)", page):
        yield f"{entry['page']} no longer says {entry['sentence']!r}: see book/prose_verdicts.yml"


def unlisted_answer(name: str, root: Path = ROOT) -> list[str]:
    """Whether the answer of a chapter begins with a sentence that is listed with its verdict."""
    first = one_line(answer(name, root)).split("? ", 1)[1]
    sentences = [one_line(e["sentence"]) for e in listed("verdicts", root) if e["page"] == name]
    if any(first.startswith(sentence) for sentence in sentences):
        return []
    return [
        f"{name}: the answer begins {first[:60]!r}, and book/prose_verdicts.yml lists no such "
        "sentence: write there the claim and the verdict that it rests on"
    ]


# --- README and first page --------------------------------------------------------------------


def stale_readme(judgements: list[Judgement], root: Path = ROOT) -> list[str]:
    """Lines of the README's results that are not what the ledger and the results say."""
    text = (root / "README.md").read_text(encoding="utf-8")
    expected = build_pages.readme_with_results(text, judgements)
    lines = [line for line in text.splitlines() if line not in expected.splitlines()]
    if text == expected:
        return []
    return [f"README.md is stale: run `python -m tools.build_pages --readme`: {lines[:2]}"]


def wrong_first_page(root: Path = ROOT) -> list[str]:
    """Whether the first page includes the results, and explains each verdict under its mark."""
    text = (root / "book" / "intro.md").read_text(encoding="utf-8")
    wanted = [f"{scoreboard.MARKS[verdict]} {verdict}" for verdict in CLAIM_VERDICTS]
    found = re.findall(r"^\| (\S [a-z ]+?) \|", text, re.MULTILINE)
    problems = []
    if found != wanted:
        problems += [f"book/intro.md explains the verdicts {found}, there are {wanted}"]
    pages = {"intro.md": "headline.md", "scoreboard.md": "scoreboard.md", "cost.md": "cost.md"}
    for page, part in pages.items():
        include = f"```{{include}} _generated/{part}\n```"
        if include not in (root / "book" / page).read_text(encoding="utf-8"):
            problems.append(f"book/{page} does not include _generated/{part}, which is computed")
    return problems


def typed_tallies(root: Path = ROOT) -> list[str]:
    """Pages that count rows of all kinds together, as if each were a replication."""
    mixed = re.compile(r"Of \d+ claims tested|\b\d+ of (?:the |its )?\d+ claims\b", re.IGNORECASE)
    texts = {name: (root / name).read_text(encoding="utf-8") for name in pages(root)}
    return [
        f"{name}: {found.group()!r} is typed by hand or mixes kinds: the counts are generated"
        for name, text in texts.items()
        for found in mixed.finditer(text)
    ]
