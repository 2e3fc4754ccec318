"""The ledger is complete, its verdicts follow from the files, and the pages say the same."""

import json
import re
from dataclasses import replace

import pytest
import recompute
from archive import missing_keys, unexplained, wrong_provenance
from prose import (
    chapters,
    listed,
    stale_readme,
    typed_tallies,
    unlisted_answer,
    wrong_first_page,
    wrong_verdict,
)

from softmi.evidence import seals
from softmi.evidence.ledger import VERDICTS, judge, load_claims
from softmi.evidence.statistics import has_spread
from tools import build_pages, scoreboard
from tools.build_pages import ROOT

CLAIMS = load_claims(ROOT / "claims")
BY_ID = {claim.id: claim for claim in CLAIMS}
UNDECIDED = ("not run", "awaiting a run", "not comparable")


@pytest.fixture(scope="module")
def judgements():
    return {claim.id: judge(claim) for claim in CLAIMS}


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_ID)
def test_claim_names_an_existing_chapter_paper_and_result(claim):
    assert (ROOT / "notebooks" / f"{claim.notebook}.py").exists(), (
        f"claim {claim.id}: no notebook {claim.notebook}"
    )
    bibliography = (ROOT / "book" / "references.bib").read_text()
    assert f"{{{claim.paper}," in bibliography, f"claim {claim.id}: no reference {claim.paper!r}"
    for check in (claim.check, *claim.conditions):
        name = check.result.split(":")[0]
        assert name.startswith(claim.notebook), f"claim {claim.id}: {name} is another chapter's"
    assert claim.reason, f"claim {claim.id}: no reason"
    if claim.value is not None:
        assert claim.source, f"claim {claim.id}: a number of the paper needs a source"


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_ID)
def test_a_number_that_a_result_does_not_have_is_awaited_from_a_run(claim):
    """A key with a slip of the pen would stay "not run" for ever."""
    found = list(missing_keys(claim))
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_a_mistyped_key_is_named_with_those_it_could_be():
    claim = BY_ID["lt-pc-class-mean"]
    mistyped = replace(claim.check, result=claim.check.result.replace("_minus_", "_less_"))
    (found,) = missing_keys(replace(claim, check=mistyped))
    assert "has no official.differences.pc_less_softmax.class_mean; nearest are" in found
    assert "official.differences.pc_minus_softmax.class_mean" in found
    assert "say in `awaits` which run will bring it" in found
    assert not list(missing_keys(replace(claim, check=mistyped, awaits="the next run")))


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_ID)
def test_row_has_a_verdict_and_identities_hold(claim, judgements):
    judgement = judgements[claim.id]
    assert judgement.verdict in VERDICTS
    if claim.kind == "identity":
        assert judgement.verdict == "holds", (
            f"{claim.id}: an identity is off by {judgement.ours}, allowed {claim.check.margin}"
        )


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_ID)
def test_a_row_that_changed_after_its_run_says_why(claim, judgements):
    found = list(unexplained(judgements[claim.id]))
    assert not found, found[0]


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_ID)
def test_no_verdict_on_a_claim_or_finding_rests_on_a_number_without_interval(claim, judgements):
    judgement = judgements[claim.id]
    if claim.kind in ("claim", "finding") and judgement.verdict not in UNDECIDED:
        assert has_spread(judgement.ours), f"{claim.id}: {judgement.ours}"


def test_claims_of_one_paper_on_one_run_have_one_setting():
    """So that one is not "not comparable" and another a verdict on the same networks."""
    settings = {}
    for claim in CLAIMS:
        if claim.kind == "claim" and claim.setting:
            key = claim.paper, claim.check.result.split(":")[0], claim.value is None
            settings.setdefault(key, {})[claim.id] = dict(claim.setting)
    for (paper, result, _), found in settings.items():
        assert len({json.dumps(s, sort_keys=True) for s in found.values()}) == 1, (
            f"claims of {paper} on {result} differ in their setting: {found}"
        )


def test_replication_is_counted_over_claims_alone(judgements):
    """No page prints a tally that mixes in identities, audits or findings of ours."""
    for page in (build_pages.first_page_counts, scoreboard.scoreboard_page):
        text = page(list(judgements.values()))
        for paper, name in scoreboard.paper_names().items():
            own = [c for c in CLAIMS if (c.kind, c.paper) == ("claim", paper)]
            for number in re.findall(rf"Of (\d+) claims of {re.escape(name)}", text):
                assert int(number) == len(own)
    assert not typed_tallies(), "\n".join(typed_tallies())


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.value], ids=lambda c: c.id)
def test_a_number_of_the_paper_is_the_same_in_words_and_in_the_ledger(claim):
    percent, number = f"{100 * claim.value:.2f} %", f"{claim.value:,}"
    assert percent in claim.statement or number in claim.statement


# What the prose of the book says about the main claims. When a result changes a verdict, this
# fails, and the sentences named here have to be written anew.
@pytest.mark.parametrize("entry", listed("verdicts"), ids=lambda e: e["claim"])
def test_prose_says_what_the_verdict_says(entry, judgements):
    found = list(wrong_verdict(entry, judgements))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", chapters())
def test_the_answer_of_each_chapter_begins_with_a_sentence_that_rests_on_a_verdict(name):
    assert not unlisted_answer(name), unlisted_answer(name)[0]


def test_the_first_page_and_the_scoreboard_are_generated_and_explain_each_verdict():
    assert not wrong_first_page(), "\n".join(wrong_first_page())


# --- What is archived is not bent -------------------------------------------------------------


def test_results_and_rows_are_as_they_were_sealed():
    found = seals.problems(ROOT)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda p: p.stem)
def test_every_stored_statistic_is_that_of_its_stored_values(path):
    text = path.read_text(encoding="utf-8")
    checked, found = recompute.problems(path.stem, json.loads(text)["values"])
    assert not found, "\n".join(found)
    assert checked >= text.count('"values": ['), "some statistics were not looked at"


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda p: p.stem)
def test_committed_result_has_its_provenance_and_a_claim(path):
    found = list(wrong_provenance(path))
    assert not found, "\n".join(found)
    used = {c.check.result.split(":")[0] for c in CLAIMS}
    assert any(path.stem.startswith(name) for name in used), f"{path.name}: no claim rests on it"


def test_every_chapter_has_a_claim():
    chapters = {p.stem for p in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}
    assert chapters == {claim.notebook for claim in CLAIMS}


def test_ledger_holds_at_least_twenty_claims():
    assert len(CLAIMS) >= 20


def test_scoreboard_prints_every_claim_with_its_computed_verdict(judgements):
    page = scoreboard.scoreboard_page(list(judgements.values()))
    for claim in CLAIMS:
        cells = page.split(f"* - [{claim.statement}]{{#claim-{claim.id}}}\n")[1:]
        assert len(cells) == 1, f"claim {claim.id}: {len(cells)} rows in the scoreboard"
        row = cells[0].split("\n* - ")[0]
        assert f"- **{scoreboard.verdict(judgements[claim.id])}**" in row


def test_readme_table_is_what_the_results_say(judgements):
    found = stale_readme(list(judgements.values()))
    assert not found, found[0]
