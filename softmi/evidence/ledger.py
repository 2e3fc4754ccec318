"""The ledger: claims, the checks that decide them, and their verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from softmi.evidence.registry import as_registered, changed_since_run, entries_of
from softmi.evidence.results import command_of, load_result, lookup, project_root
from softmi.evidence.statistics import has_spread, interval
from softmi.evidence.verdicts import Outcome, Relation, decide

KINDS = ("claim", "identity", "audit", "finding")
# Verdicts on claims of papers, which alone are counted as replications; then those of other kinds.
CLAIM_VERDICTS = (
    "reproduced",
    "reproduced with conditions",
    "open",
    "not reproduced",
    "not comparable",
    "awaiting a run",
    "not run",
)
VERDICTS = (
    *CLAIM_VERDICTS, "holds", "fails", "confirmed", "refuted", "found", "found with conditions",
    "not found",
)  # fmt: skip
# What is said of each kind where its check is met, met with a condition that fails, and not met.
_WORDS = {
    "claim": ("reproduced", "reproduced with conditions", "not reproduced"),
    "identity": ("holds", "fails", "fails"),
    "audit": ("confirmed", "refuted", "refuted"),
    "finding": ("found", "found with conditions", "not found"),
}
_DETAIL = {
    "equivalent": "equivalent within the margin",
    "reversed": "the other way round",
}


@dataclass(frozen=True)
class Check:
    """What is asked of one number of ours; exactly one of `above`, `below` and `equals` is given.

    Attributes:
        result: "name:dotted.path" of the number: a scalar, or a mapping with `mean` and `sd` or
            `low` and `high`.
        above: It is asked to lie above this, with its whole interval.
        below: Or below this.
        equals: Or to equal this.
        margin: Largest difference that does not matter, stated before the run.
        text: What a failure means, for conditions.

    """

    result: str
    above: float | int | None = None
    below: float | int | None = None
    equals: float | int | None = None
    margin: float | int = 0.0
    text: str = ""

    def __post_init__(self) -> None:
        if self.result.count(":") != 1:
            raise ValueError(f"result must be name:dotted.path, got {self.result!r}")
        given = {name: getattr(self, name) for name in ("above", "below", "equals")}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"check of {self.result} needs one of above, below, equals: {given}")
        for number in (*given.values(), self.margin):
            if not isinstance(number, int | float):  # YAML takes 1e-3 for text
                raise ValueError(f"not a number: {number!r} (in YAML write 1.0e-3, not 1e-3)")
        if not self.margin >= 0:
            raise ValueError(f"margin must not be negative, got {self.margin}")

    @property
    def relation(self) -> Relation:
        """Name of what is asked for."""
        if self.equals is not None:
            return "equals"
        return "above" if self.above is not None else "below"

    @property
    def target(self) -> float | int:
        """The number that ours is compared with."""
        return getattr(self, self.relation)

    def outcome(self, ours: Any) -> Outcome:
        """Return what the interval of a number of ours says about the check."""
        target, margin = float(self.target), float(self.margin)
        return decide(*interval(ours), self.relation, target, margin)


@dataclass(frozen=True)
class Claim:
    """A row of the ledger. Fields are those of `claims/*.yml`; see CONTRIBUTING.

    Attributes:
        id: Unique name.
        paper: Key of the bibliography: of a claim who asserts it, else what it is about.
        where: Section, table or file where the paper or its code says it.
        statement: The claim as the paper makes it, no wider and no narrower.
        kind: "claim" (a paper asserts it), "identity" (mathematics, to rounding), "audit" (a fact
            about published code or data) or "finding" (ours).
        notebook: Slug of the chapter that tests it.
        check: The comparison that decides.
        value: The paper's number, if a source confirms it.
        source: Where that number was read.
        conditions: Further comparisons; one that is not met restricts the claim.
        setting: What the paper used; any entry that differs in ours makes the two incomparable.
        reason: Why it came out so, in prose.
        amended: Why statement, setting or check changed after the run that they are read from.
        awaits: Which run will decide; until then there is no verdict.
        decimals: Digits shown.
        unit: Unit shown.
        headline: Whether the book's first page and the README show it.

    """

    id: str
    paper: str
    where: str
    statement: str
    kind: Literal["claim", "identity", "audit", "finding"]
    notebook: str
    check: Check
    value: float | int | None = None
    source: str = ""
    conditions: tuple[Check, ...] = ()
    setting: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    amended: str = ""
    awaits: str = ""
    decimals: int = 3
    unit: str = ""
    headline: bool = False


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim and what it rests on."""

    claim: Claim
    verdict: str
    ours: Any = None
    why: str = ""
    provenance: Mapping[str, Any] | None = None
    change: str = ""  # since the run: "amended after the run", "written after the run" or nothing
    first: Mapping[str, Any] | None = None  # what the run was made for, where that differs


def load_claims(folder: Path | None = None) -> list[Claim]:
    """Read the ledger.

    Raises:
        ValueError: A field that is unknown, missing or of the wrong type, a kind or direction
            that does not exist, or two claims with the same id.

    """
    folder = folder or project_root() / "claims"
    claims = []
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yml"))}
    for path, entry in ((p, e) for p, text in texts.items() for e in entries_of(text)):
        try:
            entry["check"] = Check(**entry["check"])
            entry["conditions"] = tuple(Check(**c) for c in entry.get("conditions", ()))
            claim = Claim(**entry)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name}, claim {entry.get('id')!r}: {error}") from error
        if claim.kind not in KINDS:
            raise ValueError(f"{path.name}, claim {claim.id!r}: unknown kind {claim.kind!r}")
        claims.append(claim)
    ids = [claim.id for claim in claims]
    if twice := {i for i in ids if ids.count(i) > 1}:
        raise ValueError(f"{folder.name}/: more than one claim with id {sorted(twice)}")
    return claims


def judge(claim: Claim) -> Judgement:
    """Compute the verdict on a claim from the committed full results."""
    try:
        result = load_result(_parts(claim.check)[0])
    except FileNotFoundError as error:
        return Judgement(claim, "not run", why=str(error))
    judgement = _verdict(claim, result)
    if judgement.provenance is None:
        return judgement
    change, first = changed_since_run(claim.id, as_registered(vars_of(claim)), result)
    return replace(judgement, change=change, first=first)


def vars_of(claim: Claim) -> dict[str, Any]:
    """A claim as its entry in `claims/*.yml` would be."""
    entry = {name: getattr(claim, name) for name in ("id", "statement", "setting", "kind")}
    checks = [
        {"result": c.result, c.relation: c.target, "margin": c.margin}
        for c in (claim.check, *claim.conditions)
    ]
    return entry | {"check": checks[0], "conditions": checks[1:]}


def _verdict(claim: Claim, result: Mapping[str, Any]) -> Judgement:
    name, path = _parts(claim.check)
    source = result["provenance"]
    try:
        ours = lookup(result, path)
    except KeyError as error:
        why = f"results/{name}.json has no {path} ({error.args[0]}): run `{command_of(name)}`"
        return Judgement(claim, "not run", why=why)
    differing = {
        key: (theirs, result["protocol"].get(key, "not stated"))
        for key, theirs in claim.setting.items()
        if result["protocol"].get(key) != theirs
    }
    if differing:
        why = "; ".join(f"{key}: {a} there, {b} here" for key, (a, b) in differing.items())
        return Judgement(claim, "not comparable", ours, why, source)
    if claim.awaits:
        return Judgement(claim, "awaiting a run", ours, claim.awaits, source)
    if claim.kind in ("claim", "finding") and not has_spread(ours):
        why = "the archived number has no interval; the next full run gives it one"
        return Judgement(claim, "awaiting a run", ours, why, source)
    outcome = claim.check.outcome(ours)
    met, restricted, failed = _WORDS[claim.kind]
    if outcome == "open":
        # Of an identity or a count nothing is left to chance: what is not met fails.
        return Judgement(claim, failed if claim.kind == "identity" else "open", ours, "", source)
    if outcome != "met":
        return Judgement(claim, failed, ours, _DETAIL.get(outcome, ""), source)
    try:
        known = {name: result}
        found = [(c, c.outcome(_number(c, known))) for c in claim.conditions]
    except (FileNotFoundError, KeyError) as error:
        why = f"a condition has no result yet ({error.args[0]}): run `{command_of(name)}`"
        return Judgement(claim, "not run", ours, why, source)
    unmet = [c.text + (" (open)" if o == "open" else "") for c, o in found if o != "met"]
    return Judgement(claim, restricted if unmet else met, ours, "; ".join(unmet), source)


def _parts(check: Check) -> tuple[str, str]:
    name, path = check.result.split(":")
    return name, path


def _number(check: Check, known: dict[str, Mapping[str, Any]]) -> Any:
    """The number of a check; `known` holds the results that were read."""
    name, path = _parts(check)
    if name not in known:
        known[name] = load_result(name)
    return lookup(known[name], path)
