"""Write what the book's prose pages include: `python -m tools.build_pages [--readme]`.

Everything here is a function of claims/, results/*.json, CITATION.cff, the bibliography
and the address in _config.yml, so that no number of the book's first page, its scoreboard or the
README comes from a keyboard.

book/_generated/headline.md    the picture, the verdict counts and the table of headline claims
book/_generated/headline-*.svg the picture of the first page, in a light and a dark version
book/_generated/scoreboard.md  every claim, by chapter, with reasons and provenance
book/_generated/scoreboard.*   the same as .csv and .json, to download
book/_generated/cost.md        time, hardware and seeds of each full run
book/_generated/colab.md       the cell that readies a notebook on Colab
book/_generated/equations.md   paper, item, function, chapters and tests
book/_generated/api_*.md       the entries of the reference, a file a section
book/_generated/clone.md       the commands that bring the book to a machine
book/_generated/citation.md    BibTeX of this book and of the papers that it examines
README.md                      the table between its two markers, with --readme
"""

import argparse
from collections.abc import Sequence
from typing import Any

import yaml
from pybtex.database import BibliographyData, parse_file

from softmi.evidence.ledger import Judgement, judge, load_claims
from softmi.evidence.results import command_of, load_result
from softmi.evidence.tables import markdown_table
from tools import scoreboard
from tools.book.equations import equations_page
from tools.book.reference import SECTIONS, section_page
from tools.headline_figure import alternative_text, caption, headline_figure
from tools.scoreboard import EXAMINED, ROOT

GENERATED = ROOT / "book" / "_generated"
README_MARKERS = ("<!-- results: written by `make claims` -->", "<!-- end of results -->")
HEADER = ("claim", "paper", "ours", "verdict", "proof")


def headline_rows(judgements: Sequence[Judgement], link: str) -> list[tuple[str, ...]]:
    """Rows of the first page; `link` formats a slug into the address of its chapter."""
    return [
        (
            j.claim.statement,
            scoreboard.paper_number(j),
            scoreboard.our_number(j),
            f"**{scoreboard.verdict(j)}**",
            f"[{j.claim.notebook[:2]}]({link.format(j.claim.notebook)})",
        )
        for j in judgements
        if j.claim.headline
    ]


def headline_page(judgements: Sequence[Judgement]) -> str:
    """Return what the first page includes."""
    known = {j.claim.id: j for j in judgements}
    pictures = [
        f"```{{image}} _generated/headline-{mode}.svg\n:class: only-{mode}\n:align: center\n"
        f":alt: {alternative_text(known)}\n```\n"
        for mode in ("light", "dark")
    ]
    rows = headline_rows(judgements, "../notebooks/{}.ipynb")
    return "\n".join(
        [*scoreboard.card_table(HEADER, rows, (45, 10, 22, 16, 7), "headline"),
         first_page_counts(judgements), "", *pictures, caption(known), ""]
    )  # fmt: skip


def first_page_counts(judgements: Sequence[Judgement]) -> str:
    """The tally of the papers that the book is about."""
    names = scoreboard.paper_names()
    told = [key for key in EXAMINED if scoreboard.claims_of(judgements, key)]
    return " ".join(scoreboard.count_sentence(judgements, key, names[key]) for key in told)


def full_runs() -> list[tuple[str, list[str], dict[str, Any]]]:
    """Slug, result files and provenance of each full run; one run may write several files."""
    runs: dict[tuple[Any, ...], tuple[str, list[str], dict[str, Any]]] = {}
    for path in sorted((ROOT / "results").glob("*.json")):
        p = load_result(path.stem)["provenance"]
        slug = next(slug for slug in scoreboard.chapter_titles() if path.stem.startswith(slug))
        key = (slug, p["commit"], p["seconds"], *p["seeds"])
        runs.setdefault(key, (slug, [], p))[1].append(path.name)
    return list(runs.values())


def cost_page() -> str:
    """Return a row a full run, and the sum."""
    runs, titles = full_runs(), scoreboard.chapter_titles()
    rows = [
        (
            f"[{slug[:2]}](../notebooks/{slug}.ipynb)"
            f"{files[0].removeprefix(slug).removesuffix('.json').replace('_', ' ')}",
            scoreboard.duration(p["seconds"]),
            scoreboard.shown_seeds(p["seeds"]),
            p["device"],
            p["date"],
            f"`{p['commit'][:10]}`",
            f"`{command_of(files[0].removesuffix('.json'))}`",
        )
        for slug, files, p in runs
    ]
    header = ("chapter", "time", "seeds", "hardware", "date", "commit", "run again")
    total = scoreboard.duration(sum(p["seconds"] for _, _, p in runs))
    machines = " and ".join(sorted({p["device"] for _, _, p in runs}))
    versions = {
        f"Python {v['python']}, torch {v['torch']}" for v in (p["versions"] for *_, p in runs)
    }
    return (
        f"**{total}** in all, for {len(runs)} full runs of {len(titles)} chapters, "
        f"on {machines}, with {' and '.join(sorted(versions))}.\n\n"
        f"{markdown_table(header, rows)}\n"
    )


def citation_page() -> str:
    """Return BibTeX of this book, from CITATION.cff, and of the papers, from the bibliography."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(
        f"{{{a['name']}}}" if "name" in a else f"{a['family-names']}, {a['given-names']}"
        for a in cff["authors"]
    )
    fields = {
        "author": authors,
        "title": f"{{{cff['title']}}}",
        "version": cff["version"],
        "url": cff["repository-code"],
    }
    if "date-released" in cff:
        fields["year"] = str(cff["date-released"])[:4]
    inner = ",\n".join(f"    {key} = {{{value}}}" for key, value in fields.items())
    library = parse_file(ROOT / "book" / "references.bib").entries
    papers = BibliographyData({key: library[key] for key in EXAMINED}).to_string("bibtex")
    return (
        f"## This book and its library\n\n```bibtex\n@software{{softmi,\n{inner}\n}}\n```\n\n"
        f"## The papers that it examines\n\n```bibtex\n{papers.strip()}\n```\n"
    )


def repository() -> str:
    """Return the address of the repository: _config.yml is where it is set."""
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


COLAB = """\
```python
import os, subprocess, sys
subprocess.run(["git", "clone", "--depth", "1", "{url}", "softmi"], check=True)
subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "./softmi"], check=True)
os.chdir("softmi/notebooks")
```
"""
CLONE = """\
```sh
git clone {url} softmi && cd softmi
make book    # runs what is out of date and builds the book
make test    # checks the library, the notebooks and every claim
```
"""


def readme_with_results(text: str, judgements: Sequence[Judgement]) -> str:
    """Return the README with its table of results brought up to date."""
    start, end = README_MARKERS
    head, rest = text.split(start)
    tail = rest.split(end)[1]
    table = markdown_table(HEADER, headline_rows(judgements, "notebooks/{}.ipynb"))
    return f"{head}{start}\n{table}\n\n{first_page_counts(judgements)}\n{end}{tail}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the generated pages, and with --readme the README's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", action="store_true", help="also bring README.md up to date")
    chosen = parser.parse_args(arguments)
    GENERATED.mkdir(parents=True, exist_ok=True)
    judgements = [judge(claim) for claim in load_claims(ROOT / "claims")]
    pages = {
        "headline.md": headline_page(judgements),
        "scoreboard.md": scoreboard.scoreboard_page(judgements),
        "scoreboard.csv": scoreboard.scoreboard_csv(judgements),
        "scoreboard.json": scoreboard.scoreboard_json(judgements),
        "cost.md": cost_page(),
        "citation.md": citation_page(),
        "colab.md": COLAB.format(url=repository()),
        "clone.md": CLONE.format(url=repository()),
        "equations.md": equations_page(),
    } | {f"api_{section}.md": section_page(section) for section in SECTIONS}
    for name, text in pages.items():
        (GENERATED / name).write_text(text, encoding="utf-8")
    known = {j.claim.id: j for j in judgements}
    for mode in ("light", "dark"):
        headline_figure(GENERATED / f"headline-{mode}.svg", known, dark=mode == "dark")
    readme = ROOT / "README.md"
    if chosen.readme:
        updated = readme_with_results(readme.read_text(encoding="utf-8"), judgements)
        readme.write_text(updated, encoding="utf-8")
    print(f"{len(judgements)} claims -> {GENERATED.relative_to(ROOT)}/")


if __name__ == "__main__":
    main()
