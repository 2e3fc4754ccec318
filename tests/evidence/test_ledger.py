"""The ledger: what a row may say, and the verdict that follows from whole intervals."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from softmi.evidence.ledger import (
    CLAIM_VERDICTS,
    KINDS,
    VERDICTS,
    Check,
    Claim,
    judge,
    load_claims,
)
from softmi.evidence.registry import digest, registered_for
from softmi.evidence.results import result_path, save_result
from softmi.evidence.tables import claims_table, expectation

RUN = {
    "protocol": {"data": "toy", "seeds": 3}, "profile": "full", "seeds": [0, 1], "seconds": 1.26,
}  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty project."""
    for folder in ("claims", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("SOFTMI_ROOT", str(tmp_path))
    return tmp_path


def claim(**changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": "c", "paper": "p", "where": "table 1", "statement": "s", "kind": "claim",
        "notebook": "01_x", "check": Check("01_x:mi", equals=1.0, margin=0.1),
    }  # fmt: skip
    return Claim(**fields | changes)


def ours(mi: Any, **more: Any) -> None:
    save_result("01_x", {"mi": mi, **more}, **RUN)


def around(middle: float, half: float = 0.01) -> dict[str, float]:
    return {"mean": middle, "low": round(middle - half, 9), "high": round(middle + half, 9)}


# --- Verdicts ---------------------------------------------------------------------------------


def test_replications_have_words_of_their_own():
    """No other kind may say "reproduced": a tally over the ledger cannot be mistaken for one."""
    assert set(CLAIM_VERDICTS) < set(VERDICTS)
    assert len(set(VERDICTS)) == len(VERDICTS)
    others = set(VERDICTS) - set(CLAIM_VERDICTS)
    assert not [verdict for verdict in others if "reproduced" in verdict]


SPREAD = [
    # interval, check, then the words for claim, finding and audit
    (around(1.0), {"equals": 1.0, "margin": 0.1}, "reproduced", "found", "confirmed"),
    (around(1.1), {"equals": 1.0, "margin": 0.1}, "open", "open", "open"),
    (around(1.2), {"equals": 1.0, "margin": 0.1}, "not reproduced", "not found", "refuted"),
    (around(0.1), {"above": 0.0}, "reproduced", "found", "confirmed"),
    (around(0.005), {"above": 0.0}, "open", "open", "open"),
    (around(-0.1), {"above": 0.0}, "not reproduced", "not found", "refuted"),
    (around(0.0), {"above": 0.0, "margin": 0.1}, "not reproduced", "not found", "refuted"),
    (around(-0.1), {"below": 0.0}, "reproduced", "found", "confirmed"),
    # Student's: n = 3, sd = 0.1 gives 0.248.
    ({"mean": 0.25, "sd": 0.1, "n": 3}, {"above": 0.0}, "reproduced", "found", "confirmed"),
    ({"mean": 0.24, "sd": 0.1, "n": 3}, {"above": 0.0}, "open", "open", "open"),
]


@pytest.mark.parametrize(("value", "check", "of_claim", "of_finding", "of_audit"), SPREAD)
def test_the_verdict_is_that_of_the_whole_interval(
    value, check, of_claim, of_finding, of_audit, root
):
    ours(value)
    for kind, verdict in {"claim": of_claim, "finding": of_finding, "audit": of_audit}.items():
        judgement = judge(claim(kind=kind, check=Check("01_x:mi", **check)))
        assert judgement.verdict == verdict
        assert judgement.ours == value
        assert judgement.provenance["profile"] == "full"


@pytest.mark.parametrize(
    ("middle", "margin", "why"),
    [(-0.5, 0.0, "the other way round"), (0.0, 0.1, "equivalent within the margin"),
     (-0.095, 0.1, "")],
)  # fmt: skip
def test_a_failure_says_which(middle, margin, why, root):
    ours(around(middle))
    judgement = judge(claim(check=Check("01_x:mi", above=0.0, margin=margin)))
    assert (judgement.verdict, judgement.why) == ("not reproduced", why)


def test_an_identity_holds_or_fails(root):
    across = {"mean": 0.0, "low": -1e-11, "high": 1e-11}
    for value, verdict in ((0.0, "holds"), (2e-12, "fails"), (across, "fails")):
        ours(value)
        check = Check("01_x:mi", equals=0.0, margin=1e-12)
        assert judge(claim(kind="identity", check=check)).verdict == verdict


@pytest.mark.parametrize("kind", ["claim", "finding"])
@pytest.mark.parametrize("value", [1.0, {"mean": 1.0, "sd": None, "n": 1}])
def test_a_number_without_spread_decides_no_claim_and_no_finding(kind, value, root):
    ours(value)
    judgement = judge(claim(kind=kind))
    assert judgement.verdict == "awaiting a run"
    assert "no interval" in judgement.why


def test_a_row_that_awaits_a_run_has_no_verdict_until_then(root):
    ours(around(1.0))
    judgement = judge(claim(awaits="the run with fourteen cells decides"))
    assert judgement.verdict == "awaiting a run"
    assert judgement.why == "the run with fourteen cells decides"
    assert judgement.ours == around(1.0)


def test_a_condition_that_is_not_met_restricts_a_claim_and_says_how(root):
    ours(around(1.0), large=around(0.2), small=around(0.8), near=around(0.5))
    conditions = (
        Check("01_x:large", above=0.5, text="large nets only"),
        Check("01_x:small", above=0.5, text="small nets only"),
        Check("01_x:near", above=0.5, text="not here"),
    )
    judgement = judge(claim(conditions=conditions))
    assert judgement.verdict == "reproduced with conditions"
    assert judgement.why == "large nets only; not here (open)"
    assert judge(claim(conditions=conditions[1:2])).verdict == "reproduced"


def test_conditions_do_not_rescue_a_claim_that_fails(root):
    ours(around(5.0), other=1.0)
    passing = (Check("01_x:other", above=0.0, text="t"),)
    assert judge(claim(conditions=passing)).verdict == "not reproduced"


def test_another_setting_is_not_comparable_and_says_why(root):
    ours(around(1.0))
    judgement = judge(claim(setting={"data": "real", "seeds": 3, "network": "ResNet"}))
    assert judgement.verdict == "not comparable"
    assert judgement.why == "data: real there, toy here; network: ResNet there, not stated here"
    assert judge(claim(setting={"data": "toy"})).verdict == "reproduced"


def test_what_was_not_run_says_how_to_run_it(root):
    judgement = judge(claim())
    assert (judgement.verdict, judgement.provenance) == ("not run", None)
    assert "make full NB=01" in judgement.why
    save_result("01_x", {"mi": around(1.0)}, **RUN | {"profile": "smoke"})  # does not count
    assert judge(claim()).verdict == "not run"
    ours(around(1.0))
    conditions = (Check("02_y:z", above=0.0),)
    judgement = judge(claim(conditions=conditions))
    assert judgement.verdict == "not run"
    assert "make full NB=02" in judgement.why


def test_a_number_that_the_result_does_not_hold_yet_is_not_run_and_is_named(root):
    """A claim is written before its run: the rest of the ledger is judged all the same."""
    ours(around(1.0))
    judgement = judge(claim(check=Check("01_x:new.number", equals=1.0)))
    assert (judgement.verdict, judgement.ours, judgement.provenance) == ("not run", None, None)
    assert "results/01_x.json has no new.number" in judgement.why
    assert "no 'new' among ['mi']" in judgement.why
    assert "make full NB=01" in judgement.why
    judgement = judge(claim(conditions=(Check("01_x:new", above=0.0),)))
    assert judgement.verdict == "not run"
    assert "no 'new' among ['mi']" in judgement.why


# --- What a run was made for ------------------------------------------------------------------

ENTRY = {
    "id": "a", "paper": "p", "where": "w", "statement": "s", "kind": "claim",
    "notebook": "01_x", "check": {"result": "01_x:mi", "equals": 1.0, "margin": 0.5},
}  # fmt: skip


def ledger(root: Path, *entries: dict[str, Any]) -> list[Claim]:
    (root / "claims/01_tiny.yml").write_text(yaml.safe_dump(list(entries)))
    return load_claims()


def test_a_run_stores_the_rows_that_it_was_made_for(root):
    other = ENTRY | {"id": "b", "check": {"result": "02_y:z", "above": 0.0}}
    (before,) = (c for c in ledger(root, ENTRY, other) if c.id == "a")
    ours(around(1.0))
    rows = json.loads(result_path("01_x", "full").read_text())["registered"]
    assert list(rows) == ["a"]
    assert rows["a"]["check"] == {"result": "01_x:mi", "equals": 1.0, "margin": 0.5}
    assert judge(before).change == ""


@pytest.mark.parametrize(
    "change",
    [
        {"statement": "another"},
        {"setting": {"data": "toy"}},
        {"check": ENTRY["check"] | {"margin": 0.6}},
        {"check": ENTRY["check"] | {"equals": 1.1}},
        {"check": {"result": "01_x:mi", "above": 0.0}},
        {"conditions": [{"result": "01_x:mi", "above": 0.0, "text": "t"}]},
        {"kind": "finding"},
    ],
    ids=["statement", "setting", "margin", "target", "relation", "condition", "kind"],
)
def test_a_row_that_changes_after_its_run_says_so_with_its_first_wording(change, root):
    ledger(root, ENTRY)
    ours(around(1.0))
    (after,) = ledger(root, ENTRY | change)
    judgement = judge(after)
    assert judgement.change == "amended after the run"
    assert judgement.first["statement"] == "s"
    assert judgement.first["check"] == {"result": "01_x:mi", "equals": 1.0, "margin": 0.5}


@pytest.mark.parametrize(
    "change", [{"reason": "new"}, {"where": "table 2"}, {"decimals": 1}, {"headline": True}]
)
def test_what_decides_nothing_may_change(change, root):
    ledger(root, ENTRY)
    ours(around(1.0))
    (after,) = ledger(root, ENTRY | change)
    assert judge(after).change == ""


def test_a_row_made_after_its_result_was_known_says_so(root):
    ledger(root, ENTRY)
    ours(around(1.0))
    _, late = ledger(root, ENTRY, ENTRY | {"id": "late"})
    assert judge(late).change == "written after the run"


def test_a_stored_row_that_somebody_edits_is_noticed(root):
    (row,) = ledger(root, ENTRY)
    ours(around(1.0))
    path = result_path("01_x", "full")
    path.write_text(path.read_text().replace('"margin": 0.5', '"margin": 0.7'))
    with pytest.raises(ValueError, match=r"row 'a' of 01_x has digest .* never edited"):
        judge(row)


def test_results_of_before_the_rule_have_their_rows_in_one_file(root):
    (row,) = ledger(root, ENTRY)
    ours(around(1.0))
    path = result_path("01_x", "full")
    record = json.loads(path.read_text())
    rows = record.pop("registered")
    path.write_text(json.dumps(record))
    assert judge(row).change == "written after the run"
    (root / "claims/registered.json").write_text(json.dumps({"01_x": rows}))
    assert registered_for("01_x") == rows
    assert judge(row).change == ""
    (sorted_anew,) = ledger(root, ENTRY | {"kind": "finding"})
    assert judge(sorted_anew).change == ""  # told once for all, on the scoreboard


def test_a_result_is_read_once_to_judge_a_claim(root, monkeypatch):
    (row,) = ledger(root, ENTRY | {"conditions": [{"result": "01_x:mi", "above": 0.0}]})
    ours(around(1.0))
    read, text = [], Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda p, **k: read.append(p.name) or text(p, **k))
    assert judge(row).verdict == "reproduced"
    assert read.count("01_x.json") == 1


def test_the_digest_does_not_depend_on_order_and_leaves_out_the_kind():
    row = {"statement": "s", "kind": "claim", "check": {"result": "a:b", "above": 0.0}}
    turned = {"check": {"above": 0.0, "result": "a:b"}, "kind": "finding", "statement": "s"}
    assert digest(row) == digest(turned)


# --- The file ---------------------------------------------------------------------------------


def test_ledger_is_read_with_its_defaults(root):
    full = ENTRY | {
        "id": "b", "value": 1.5, "source": "README", "reason": "r", "decimals": 2, "unit": "nats",
        "setting": {"data": "toy"}, "amended": "why", "awaits": "a run",
        "conditions": [{"result": "01_x:b", "above": 0.0, "text": "t"}],
    }  # fmt: skip
    first, second = ledger(root, ENTRY, full)
    assert first.check == Check("01_x:mi", equals=1.0, margin=0.5)
    assert (first.check.relation, first.check.target) == ("equals", 1.0)
    assert (first.value, first.conditions, dict(first.setting), first.decimals) == (
        None, (), {}, 3,
    )  # fmt: skip
    assert second.conditions == (Check("01_x:b", above=0.0, text="t"),)
    assert (second.value, second.unit, second.setting["data"]) == (1.5, "nats", "toy")


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "reproduced"}, "claim 'b': .*unexpected keyword argument 'verdict'"),
        ({"check": {"result": "01_x:a", "tol": 1.0}}, "claim 'b': .*keyword argument 'tol'"),
        ({"conditions": [{"above": 1.0}]}, "claim 'b': .*'result'"),
        ({"statement": None}, "claim 'b': .*'statement'"),
        ({"check": None}, "claim 'b': 'check'"),
        ({"kind": "opinion"}, "claim 'b': unknown kind 'opinion'"),
        ({"id": "a"}, r"more than one claim with id \['a'\]"),
        ({"check": {"result": "01_x:a"}}, "claim 'b': .*needs one of above, below, equals"),
        (
            {"check": {"result": "01_x:a", "above": 0.0, "below": 1.0}},
            "claim 'b': .*needs one of above, below, equals",
        ),
        (
            {"check": {"result": "01_x:a", "equals": 1.0, "margin": "1e-3"}},
            "claim 'b': not a number: '1e-3'",
        ),
        (
            {"check": {"result": "01_x:a", "above": 0.0, "margin": -1}},
            "claim 'b': margin must not be negative",
        ),
        ({"check": {"result": "mi", "above": 1.0}}, "claim 'b': .*dotted.path, got 'mi'"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_id_and_what_is_wrong(change, message, root):
    entry = ENTRY | {"id": "b"} | change
    entry = {k: v for k, v in entry.items() if v is not None}  # None: the field is left out
    with pytest.raises(ValueError, match=rf"(01_tiny\.yml|claims/).*{message}"):
        ledger(root, ENTRY, entry)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (Check("n:r", equals=1.0314, margin=0.01), "1.031 ± 0.01"),
        (Check("n:r", equals=0.0, margin=1e-12), "0 ± 1e-12"),
        (Check("n:r", above=0.5), "above 0.5"),
        (Check("n:r", below=0.0, margin=0.1), "below 0 by more than 0.1"),
    ],
)
def test_expectation_is_written_as_it_is_checked(check, text):
    assert expectation(claim(check=check)) == text


def test_claims_table_shows_a_chapters_rows_with_their_verdicts(root):
    elsewhere = ENTRY | {"id": "b", "notebook": "02_y", "check": {"result": "02_y:z", "above": 0}}
    ledger(root, ENTRY | {"value": 1.25}, elsewhere)
    ours(around(1.0))
    header, _, *rows = claims_table("01_x").splitlines()
    assert header == "| claim | paper | expected | ours | verdict |"
    assert rows == ["| s | 1.25 | 1 ± 0.5 | 1.000 [0.990, 1.010] | **reproduced** |"]


def test_every_kind_has_its_words(root):
    ours(around(1.0))
    assert {judge(claim(kind=kind)).verdict for kind in KINDS} == {
        "reproduced", "holds", "confirmed", "found",
    }  # fmt: skip
