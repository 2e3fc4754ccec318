"""The prose pages say what the files say: scoreboard, cost, citation, addresses, typed numbers."""

import copy
import csv
import io
import json
import re
import subprocess
import sys

import pytest
import yaml
from prose import (
    MEASURED,
    NUMERAL,
    WORDS,
    at,
    chapters,
    computed,
    listed,
    listed_for,
    opening,
    pages,
    plain,
    prose,
    said,
    typed_numbers,
    unlisted,
    wrong_numbers,
)
from pybtex.database import parse_string

from softmi.evidence.ledger import judge, load_claims
from softmi.evidence.results import command_of, load_result
from tools import build_pages, headline_figure, perturb, print_book, scoreboard
from tools.edit_links import lead_to_source
from tools.scoreboard import ROOT

CLAIMS = load_claims(ROOT / "claims")
BOOK = ROOT / "book"


@pytest.fixture(scope="module")
def judgements():
    return [judge(claim) for claim in CLAIMS]


# --- The scoreboard and its downloads ---------------------------------------------------------


def test_json_read_back_is_the_ledger_with_its_verdicts(judgements):
    rows = {row["id"]: row for row in json.loads(scoreboard.scoreboard_json(judgements))}
    assert list(rows) == [claim.id for claim in CLAIMS]
    for j in judgements:
        row, claim = rows[j.claim.id], j.claim
        assert (row["verdict"], row["ours"], row["why"]) == (j.verdict, j.ours, j.why)
        assert row["provenance"] == j.provenance
        for name in ("paper", "where", "statement", "kind", "unit", "reason"):
            assert row[name] == getattr(claim, name)
        assert (row["paper_value"], row["paper_source"]) == (claim.value, claim.source)
        assert (row["chapter"], row["result"]) == (claim.notebook, claim.check.result)
        decides = (claim.check.target, claim.check.margin, claim.check.relation)
        assert (row["target"], row["margin"], row["relation"]) == decides
        assert (row["change"], row["first"], row["amended"]) == (j.change, j.first, claim.amended)
        assert len(row["conditions"]) == len(claim.conditions)


def test_csv_read_back_is_the_ledger_with_its_verdicts(judgements):
    rows = list(csv.DictReader(io.StringIO(scoreboard.scoreboard_csv(judgements))))
    assert [row["id"] for row in rows] == [claim.id for claim in CLAIMS]
    for row, j in zip(rows, judgements, strict=True):
        assert row["verdict"] == j.verdict
        assert row["statement"] == j.claim.statement
        if j.ours is None:
            assert row["ours"] == row["commit"] == ""
            continue
        ours = j.ours["mean"] if isinstance(j.ours, dict) else j.ours
        assert float(row["ours"]) == ours
        assert float(row["ours_low"]) <= ours <= float(row["ours_high"])
        assert row["commit"] == j.provenance["commit"]
        assert float(row["seconds"]) == j.provenance["seconds"]
        assert [int(seed) for seed in row["seeds"].split()] == j.provenance["seeds"]


def test_each_claim_of_the_page_has_its_evidence_folded_under_it(judgements):
    page = scoreboard.scoreboard_page(judgements)
    for j in judgements:
        start = page.index(f"{{#claim-{j.claim.id}}}")
        row = page[start : page.index("</details>", start)]
        assert j.claim.reason in row
        assert f"`{command_of(j.claim.check.result.partition(':')[0])}`" in row
        if p := j.provenance:
            for shown in (
                p["date"],
                p["commit"][:10],
                p["device"],
                scoreboard.duration(p["seconds"]),
            ):
                assert shown in row


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.84, "4.8 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (761.7, "12 min 42 s"),
     (3599.7, "1 h 0 min"), (4638.2, "1 h 17 min"), (17722.3, "4 h 55 min")],
)  # fmt: skip
def test_durations_are_written_as_people_say_them(seconds, text):
    assert scoreboard.duration(seconds) == text


# --- The first page ---------------------------------------------------------------------------


def test_the_picture_shows_known_claims_and_each_number_of_the_paper(judgements, tmp_path):
    known = {j.claim.id: j for j in judgements}
    shown = [claim for claims in headline_figure.PANELS.values() for claim in claims]
    assert set(shown) <= set(known)
    headline = {j.claim.id for j in judgements if j.claim.headline}
    assert headline <= set(shown), "a claim of the first page is not in its picture"
    text = headline_figure.alternative_text(known)
    for claim in shown:
        assert known[claim].verdict in text
    for mode in (False, True):
        path = tmp_path / f"{mode}.svg"
        headline_figure.headline_figure(path, known, dark=mode)
        assert path.stat().st_size < 200_000


# --- Cost -------------------------------------------------------------------------------------


def test_cost_page_counts_each_run_once():
    runs = build_pages.full_runs()
    files = [name for _, names, _ in runs for name in names]
    assert sorted(files) == sorted(path.name for path in (ROOT / "results").glob("*.json"))
    page = build_pages.cost_page()
    total = sum(p["seconds"] for _, _, p in runs)
    assert page.startswith(f"**{scoreboard.duration(total)}** in all, for {len(runs)} full runs")
    commands = [command_of(names[0].removesuffix(".json")) for _, names, _ in runs]
    for command in set(commands):
        assert page.count(f"`{command}`") == commands.count(command)


# --- Citation and addresses -------------------------------------------------------------------


def test_citation_is_valid_bibtex_with_the_fields_of_citation_cff():
    page = build_pages.citation_page()
    entries = {}
    for block in re.findall(r"```bibtex\n(.*?)```", page, flags=re.DOTALL):
        entries |= parse_string(block, "bibtex").entries
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert set(entries) == {"softmi", *build_pages.EXAMINED}
    assert entries["softmi"].fields["title"] == f"{{{cff['title']}}}"
    assert entries["softmi"].fields["version"] == cff["version"]
    assert entries["qin2019"].fields["eprint"] in str(cff["references"])


def test_the_repository_has_one_address():
    """Set in _config.yml; what cannot be generated from it has to be changed with it."""
    address = build_pages.repository()
    for name in ("pyproject.toml", "CITATION.cff", "README.md"):
        found = set(re.findall(r"https://github\.com/[\w.-]+/softmi\b", (ROOT / name).read_text()))
        assert found == {address}, f"{name} names {found}, _config.yml names {address}"
    for page in BOOK.glob("*.md"):
        assert address not in page.read_text(), f"{page.name}: include a generated address"


def test_edit_button_of_a_chapter_leads_to_its_source():
    button = {"label": "source-edit-button", "url": "https://x/edit/main/notebooks/01_a.ipynb"}
    issue = {"label": "source-issues-button", "url": "https://x/issues/new?title=01_a.ipynb"}
    context = {"header_buttons": [{"label": "source-buttons", "buttons": [button, issue]}]}
    lead_to_source(None, "notebooks/01_a", "page.html", context, None)
    assert button["url"].endswith("notebooks/01_a.py")
    assert issue["url"].endswith(".ipynb")


def test_the_cell_for_colab_leaves_the_notebook_inside_the_project(tmp_path, monkeypatch):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    cell = re.search(r"```python\n(.*?)```", build_pages.COLAB, re.DOTALL).group(1)
    calls = []

    def run(call, check):
        calls.append(call)
        if call[0] == "git":
            subprocess.run(["git", "clone", "--quiet", *call[2:]], check=check, cwd=tmp_path)

    lines = cell.format(url=ROOT.as_uri()).replace("subprocess.run", "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOFTMI_ROOT", raising=False)
    exec(lines, {"run": run})
    from softmi.evidence.results import project_root

    assert project_root() == tmp_path / "softmi"
    assert load_result("01_softmax_is_mutual_information")["values"]
    assert calls[1][-1] == "./softmi"
    assert (tmp_path / "softmi" / "pyproject.toml").exists()


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.stem
)
def test_issue_form_has_what_github_asks_for(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]


# --- Words ------------------------------------------------------------------------------------


def glossary() -> set[str]:
    text = (BOOK / "glossary.md").read_text()
    body = re.search(r":::\{glossary\}\n(.*?)\n:::", text, re.DOTALL).group(1)
    return {line for line in body.splitlines() if line and not line.startswith(" ")}


def test_every_word_of_the_glossary_is_explained_once_and_in_order():
    text = (BOOK / "glossary.md").read_text()
    body = re.search(r":::\{glossary\}\n(.*?)\n:::", text, re.DOTALL).group(1)
    entries = [block.splitlines() for block in body.split("\n\n")]
    assert all(block[-1].startswith("  ") for block in entries)
    firsts = [block[0].lower() for block in entries]
    assert firsts == sorted(firsts)
    words = [line for block in entries for line in block if not line.startswith(" ")]
    assert len(words) == len(set(words))


def test_links_to_the_glossary_have_an_entry():
    for page in BOOK.glob("*.md"):
        for shown, target in re.findall(r"\{term\}`([^`<]*?)(?: <([^`>]*)>)?`", page.read_text()):
            assert (target or shown) in glossary(), f"{page.name}: no entry {target or shown!r}"


# --- Numbers typed into the prose -------------------------------------------------------------

# What is measured, and typed, is listed with the result that it comes from; what is a setting, a
# definition or another's number, with its reason. It fails when either side changes.
NUMBERS = listed("numbers")
CHAPTERS = chapters()


@pytest.mark.parametrize("name", pages())
def test_every_typed_number_with_a_unit_or_in_an_answer_is_listed_with_its_source(name):
    found = typed_numbers(name)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_answer_states_a_number_of_its_result(name):
    measured = [e for e in NUMBERS if e["page"] == name and "result" in e]
    assert any(plain(entry["text"]) in opening(name) for entry in measured), (
        f"{name}: the answer under the title states no number of the result file"
    )


@pytest.mark.parametrize("entry", NUMBERS, ids=lambda e: e["text"])
def test_listed_number_is_in_its_page_and_in_its_result(entry):
    found = list(wrong_numbers(entry))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("entry", [e for e in NUMBERS if "result" in e], ids=lambda e: e["text"])
def test_another_result_or_another_number_is_noticed(entry):
    """Moved by 1.5 of the last digit shown in a copy of the file, or another in the sentence."""
    name, path = entry["result"].split(":")
    *parents, last = path.split(".")
    for key in entry.get("keys", [None]):
        record = copy.deepcopy(load_result(name))
        node = at(record, ".".join(parents)) if parents else record
        node, place = (node, last) if key is None else (node[last], key)
        step = 1.5 * 10 ** -entry.get("digits", 0) / abs(entry.get("factor", 1))
        if isinstance(node[place], list):
            node[place].append(0)
        else:
            node[place] += step
        assert said(entry) != computed(entry, lambda _, record=record: record)
    text, number = plain(entry["text"]), said(entry)[-1]
    shown = number if number in text else WORDS[int(number)]
    other = re.sub(re.escape(shown), "99", text, flags=re.IGNORECASE)
    assert said(entry | {"text": other}) != computed(entry)
    if MEASURED.search(other):
        page = prose(entry["page"]).replace(text, other)
        assert unlisted(page, MEASURED, listed_for(entry["page"]))


def test_a_number_added_to_an_opening_is_noticed():
    for name in CHAPTERS:
        text = f"{opening(name)} It was 12.34 in Table 5."
        assert len(unlisted(text, NUMERAL, listed_for(name))) == 2


# --- Check it yourself ------------------------------------------------------------------------


def test_a_falsified_number_turns_its_check_round(judgements):
    files = {path.stem: json.loads(path.read_text()) for path in (ROOT / "results").glob("*.json")}
    run = [j for j in judgements if j.ours is not None]
    assert len(run) > 70
    for j in run:
        check = j.claim.check
        name, path = check.result.split(":")
        changed = perturb.shifted(files[name], path, perturb.turning_shift(check, j.ours))
        assert at(files[name], f"values.{path}") == j.ours, "the file itself was changed"
        after = at(changed, f"values.{path}")
        before, said = check.outcome(j.ours), check.outcome(after)
        assert said != before, f"{j.claim.id}: {j.ours} -> {after}"


@pytest.mark.minutes
@pytest.mark.parametrize("by", [[], ["--by", "1e-6"]], ids=["verdict turned", "a trifle"])
def test_the_command_shows_that_a_falsified_number_is_noticed(by, capsys):
    assert perturb.main(["synthetic-pc-softmax", *by]) == 0
    said = capsys.readouterr().out
    assert "committed: -0.0028" in said
    noticing = ["results_and_rows_are_as_they_were_sealed"]
    if not by:
        noticing += ["readme_table_is_what_the_results_say", "prose_says_what_the_verdict_says"]
    for test in noticing:
        assert f"FAILED tests/book/test_claims.py::test_{test}" in said


def test_a_claim_that_is_unknown_or_not_run_cannot_be_falsified(capsys, judgements):
    not_run = [(j.claim.id, "no result") for j in judgements if j.verdict == "not run"]
    for claim, message in [("nonsense", "no claim 'nonsense'"), *not_run]:
        with pytest.raises(SystemExit):
            perturb.main([claim])
        assert message in capsys.readouterr().err


def test_tests_that_did_not_run_are_no_proof(tmp_path):
    with pytest.raises(SystemExit, match="the tests ended with status 4"):
        perturb.run_tests(tmp_path)


def blocks_of_the_worked_example() -> list[tuple[str, str]]:
    text = (BOOK / "check.md").read_text()
    return re.findall(r"```\{code-block\} \w+\n:caption: (.+?)\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.minutes
def test_the_worked_example_adds_a_paper_a_chapter_and_a_claim(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    clone = tmp_path / "softmi"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for setting in ("user.name=Test", "user.email=test@example.org", "commit.gpgsign=false"):
        subprocess.run(["git", "config", *setting.split("=")], cwd=clone, check=True)
    blocks = dict(blocks_of_the_worked_example())
    for name, text in blocks.items():
        path = clone / name
        if name == "_toc.yml":
            *_, last = re.findall(r"^ *- file: notebooks/\w+\n", path.read_text(), re.MULTILINE)
            path.write_text(path.read_text().replace(last, last + text))
        elif name != "in a shell":
            path.write_text((path.read_text() if path.exists() else "") + text)
    commands = [line for line in blocks["in a shell"].splitlines() if line != "make book"]
    assert len(commands) == 4
    script = "set -e\n" + "\n".join(
        f"{line} ENV= PYTHON={sys.executable}" if line.startswith("make") else line
        for line in commands
    )
    environment = {**perturb.os.environ, "PYTHONPATH": str(clone)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=clone, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    board = (clone / "book" / "_generated" / "scoreboard.csv").read_text()
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(board))}
    assert rows["counted-entropy-low"]["verdict"] == "reproduced"
    assert rows["counted-entropy-low"]["change"] == ""


# --- The PDF ----------------------------------------------------------------------------------


def test_the_printed_page_is_light_and_unfolded():
    html = (
        '<html data-mode="dark"><head></head><details class="x"><summary>a</summary></details>'
        "<details open><summary>b</summary></details>"
        '<a href="book/intro.html#term-nat">nat</a><a href="https://a.org/b.html#c">c</a></html>'
    )
    page = print_book.printable(html)
    assert page.count("<details open") == 2
    assert 'data-mode="light"' in page
    assert 'href="#term-nat"' in page
    assert 'href="https://a.org/b.html#c"' in page
    assert "@page" in page


def test_a_missing_browser_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(print_book.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=r"no Chromium found.*make pdf CHROMIUM="):
        print_book.find_browser(None)
