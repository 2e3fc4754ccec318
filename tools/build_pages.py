"""Write what the book's prose pages include: `python -m tools.build_pages [--readme]`.

Everything here is a function of claims.yml and results/*.json, so that no number of the book's
first page, its scoreboard or the README comes from a keyboard.

book/_generated/headline.md    verdict counts in a sentence, and the table of headline claims
book/_generated/headline.svg   the picture of the first page, in a light and a dark version
book/_generated/scoreboard.md  every claim, by chapter, with reasons and provenance
book/_generated/play-*         what book/play.md shows without JavaScript
README.md                      the table between its two markers, with --readme
"""

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from softmi.figures import colour, save_figure, use_style
from softmi.results import (
    VERDICTS,
    Judgement,
    expectation,
    format_number,
    interval,
    judge,
    load_claims,
    load_result,
    lookup,
    markdown_table,
)
from tools import play_data

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / "book" / "_generated"
MARKS = dict(zip(VERDICTS, ("✓", "≈", "✗", "↔", "…"), strict=True))
README_MARKERS = ("<!-- results: written by `make book` -->", "<!-- end of results -->")


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


def headline_rows(judgements: Sequence[Judgement], link: str) -> list[tuple[str, ...]]:
    """Rows of the first page; `link` formats a slug into the address of its chapter."""
    return [
        (
            j.claim.statement,
            paper_number(j),
            format_number(j.ours, j.claim.decimals) + (f" {j.claim.unit}" if j.claim.unit else ""),
            f"**{verdict(j)}**",
            f"[{j.claim.notebook[:2]}]({link.format(j.claim.notebook)})",
        )
        for j in judgements
        if j.claim.headline
    ]


HEADER = ("claim", "paper", "ours", "verdict", "proof")


def headline_page(judgements: Sequence[Judgement]) -> str:
    """Return what the first page includes."""
    table = markdown_table(HEADER, headline_rows(judgements, "../notebooks/{}.ipynb"))
    return f"{count_sentence(judgements)}\n\n{table}\n"


def scoreboard_page(judgements: Sequence[Judgement]) -> str:
    """Return every claim, chapter by chapter, with the reason and the run behind each."""
    lines = [count_sentence(judgements), ""]
    for slug, title in chapter_titles().items():
        mine = [j for j in judgements if j.claim.notebook == slug]
        lines += [f"## {slug[:2]} · [{title}](../notebooks/{slug}.ipynb)", ""]
        rows = [
            (
                j.claim.statement,
                paper_number(j),
                expectation(j.claim),
                format_number(j.ours, j.claim.decimals),
                f"**{verdict(j)}**",
            )
            for j in mine
        ]
        lines += [markdown_table(("claim", "paper", "expected", "ours", "verdict"), rows), ""]
        lines += [":::{dropdown} Reasons, sources and how to run it again", ""]
        for j in mine:
            lines += [f"{j.claim.statement}", f": {reason(j)}", ""]
        lines += [run_sentence(slug, mine), "", ":::", ""]
    return "\n".join(lines)


def reason(judgement: Judgement) -> str:
    """Why a verdict came out as it did, and where the claim stands."""
    claim = judgement.claim
    parts = [f"*{verdict(judgement)}.*"]
    if judgement.why:
        parts.append(judgement.why[0].upper() + judgement.why[1:].rstrip(".") + ".")
    parts += [claim.reason, f"See {{cite:t}}`{claim.paper}`: {claim.where}."]
    if claim.source:
        parts.append(f"The paper's number: {claim.source}.")
    parts.append(f"(`{claim.id}`)")
    return " ".join(part for part in parts if part)


def run_sentence(slug: str, judgements: Sequence[Judgement]) -> str:
    """Say where, when, from which commit and for how long the results were computed."""
    runs = {}
    for j in judgements:
        if j.provenance is not None:
            runs[j.claim.check.result.split(":")[0]] = j.provenance
    lines = []
    for name, p in sorted(runs.items()):
        seeds = p["seeds"]
        shown = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
        lines.append(
            f"* `results/{name}.json`: {p['date']}, commit `{p['commit'][:10]}`"
            f"{'' if p['clean'] else ' with changes'}, {p['device']}, {shown}, "
            f"{p['seconds']:.0f} s, torch {p['versions']['torch']}."
        )
    return "\n".join([*lines, "", f"Run it again: `make full NB={slug[:2]}`."])


def headline_figure(path: Path, *, dark: bool) -> None:
    """Estimates on the skewed synthetic task against the truth: the paper's claim in a picture."""
    result = load_result("02_mi_on_synthetic_data")
    ink = "#d8d8d8" if dark else "#333333"
    use_style()
    plt.rcParams.update(
        {k: ink for k in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")}
    )
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    dimensions = (1, 2, 5, 10)
    cap = lookup(result, "tasks.imbalanced_d1.label_entropy")
    for x, d in enumerate(dimensions):
        task = lookup(result, f"tasks.imbalanced_d{d}")
        axes.hlines(task["truth"], x - 0.36, x + 0.36, color=ink, linewidth=1.5)
        for shift, key, method in (
            (-0.22, "softmax_log_m", "softmax + log M"),
            (0.0, "softmax_entropy", "softmax + H(Y)"),
            (0.22, "pc_softmax", "PC-softmax"),
        ):
            estimate = task[key]["estimate"]
            axes.vlines(x + shift, *interval(estimate), color=colour(method), linewidth=2)
            axes.plot(x + shift, estimate["mean"], "o", color=colour(method), markersize=7)
    first = lookup(result, "tasks.imbalanced_d1")
    for x, y, method, side in (
        (-0.22, first["softmax_log_m"]["estimate"]["mean"], "softmax + log M", 10),
        (-0.06, first["truth"], "softmax + H(Y)", -13),
        (0.16, first["truth"], "PC-softmax", -26),
    ):
        axes.annotate(method, (x, y), xytext=(0, side), textcoords="offset points",
                      ha="left", va="center", fontsize=9, color=colour(method))  # fmt: skip
    axes.annotate("truth", (0.38, first["truth"]), va="center", fontsize=9, color=ink)
    axes.axhline(cap, color=ink, linestyle=":", linewidth=1)
    axes.annotate("ceiling H(Y)", (-0.56, cap), xytext=(0, 3),
                  textcoords="offset points", color=ink, fontsize=9)  # fmt: skip
    axes.set_xticks(range(len(dimensions)), [f"d = {d}" for d in dimensions])
    axes.set(xlim=(-0.6, len(dimensions) - 0.4), ylim=(0.95, 1.65))
    axes.set_ylabel("mutual information (nats)")
    axes.grid(visible=False, axis="x")
    axes.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    axes.yaxis.grid(color="#88888855")
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#88888855")
    save_figure(figure, path)


def readme_with_results(text: str, judgements: Sequence[Judgement]) -> str:
    """Return the README with its table of results brought up to date."""
    start, end = README_MARKERS
    head, rest = text.split(start)
    tail = rest.split(end)[1]
    table = markdown_table(HEADER, headline_rows(judgements, "notebooks/{}.ipynb"))
    return f"{head}{start}\n{count_sentence(judgements)}\n\n{table}\n{end}{tail}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the generated pages, and with --readme the README's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readme", action="store_true", help="also bring README.md up to date")
    chosen = parser.parse_args(arguments)
    GENERATED.mkdir(parents=True, exist_ok=True)
    judgements = [judge(claim) for claim in load_claims(ROOT / "claims.yml")]
    (GENERATED / "headline.md").write_text(headline_page(judgements), encoding="utf-8")
    (GENERATED / "scoreboard.md").write_text(scoreboard_page(judgements), encoding="utf-8")
    headline_figure(GENERATED / "headline-light.svg", dark=False)
    headline_figure(GENERATED / "headline-dark.svg", dark=True)
    play_data.pictures(GENERATED)
    readme = ROOT / "README.md"
    updated = readme_with_results(readme.read_text(encoding="utf-8"), judgements)
    if chosen.readme:
        readme.write_text(updated, encoding="utf-8")
    print(f"{len(judgements)} claims -> {GENERATED.relative_to(ROOT)}/")


if __name__ == "__main__":
    main()
