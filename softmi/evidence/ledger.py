"""The ledger: claims, the checks that decide them, and their verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from softmi.evidence.results import load_result, lookup, project_root
from softmi.evidence.statistics import interval

VERDICTS = (
    "reproduced",
    "reproduced with conditions",
    "not reproduced",
    "not comparable",
    "not run",
)


@dataclass(frozen=True)
class Check:
    """One comparison of a number of ours with what a claim says.

    Attributes:
        result: "name:dotted.path" of the number: a scalar, or a mapping with `mean` and `sd` or
            `low` and `high`.
        target: What it is compared with.
        tolerance: Largest distance from the target; for claims of equality.
        direction: "above" or "below" the target, with the whole interval if there is one.
        text: What a failure means, for conditions.

    """

    result: str
    target: float | int = 0.0
    tolerance: float | int | None = None
    direction: Literal["above", "below"] | None = None
    text: str = ""

    def __post_init__(self) -> None:
        if self.result.count(":") != 1:
            raise ValueError(f"result must be name:dotted.path, got {self.result!r}")
        if self.direction not in (None, "above", "below"):
            raise ValueError(f"direction must be above or below, got {self.direction!r}")
        if self.direction is None and self.tolerance is None:
            raise ValueError(f"check of {self.result} has neither tolerance nor direction")
        for number in (self.target, self.tolerance):
            if not isinstance(number, int | float | type(None)):  # YAML takes 1e-3 for text
                raise ValueError(f"not a number: {number!r} (in YAML write 1.0e-3, not 1e-3)")

    def holds(self, ours: Any) -> bool:
        """Whether a number of ours, read from the result file, bears the claim out."""
        middle = ours["mean"] if isinstance(ours, Mapping) else float(ours)
        if self.direction is None:
            return abs(middle - self.target) <= self.tolerance
        low, high = interval(ours)
        return low > self.target if self.direction == "above" else high < self.target


@dataclass(frozen=True)
class Claim:
    """A row of the ledger. Fields are those of `claims/*.yml`; see CONTRIBUTING.

    Attributes:
        id: Unique name.
        paper: Key of the bibliography.
        where: Section, table or file where the paper or its code says it.
        statement: The claim in our words.
        kind: "identity", "statistical" or "qualitative".
        notebook: Slug of the chapter that tests it.
        check: The comparison that decides.
        value: The paper's number, if a source confirms it.
        source: Where that number was read.
        conditions: Further comparisons; a failure restricts the claim.
        protocol: What the paper used; any entry that differs in ours makes the two incomparable.
        reason: Why it came out so, in prose.
        decimals: Digits shown.
        unit: Unit shown.
        headline: Whether the book's first page and the README show it.

    """

    id: str
    paper: str
    where: str
    statement: str
    kind: Literal["identity", "statistical", "qualitative"]
    notebook: str
    check: Check
    value: float | int | None = None
    source: str = ""
    conditions: tuple[Check, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
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


def load_claims(folder: Path | None = None) -> list[Claim]:
    """Read the ledger.

    Raises:
        ValueError: A field that is unknown, missing or of the wrong type, a kind or direction
            that does not exist, or two claims with the same id.

    """
    folder = folder or project_root() / "claims"
    claims = []
    for path, entry in ((p, e) for p in sorted(folder.glob("*.yml")) for e in _entries(p)):
        try:
            entry["check"] = Check(**entry["check"])
            entry["conditions"] = tuple(Check(**c) for c in entry.get("conditions", ()))
            claim = Claim(**entry)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name}, claim {entry.get('id')!r}: {error}") from error
        if claim.kind not in ("identity", "statistical", "qualitative"):
            raise ValueError(f"{path.name}, claim {claim.id!r}: unknown kind {claim.kind!r}")
        claims.append(claim)
    ids = [claim.id for claim in claims]
    if twice := {i for i in ids if ids.count(i) > 1}:
        raise ValueError(f"{folder.name}/: more than one claim with id {sorted(twice)}")
    return claims


def _entries(path: Path) -> list[dict[str, Any]]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or []


def judge(claim: Claim) -> Judgement:
    """Compute the verdict on a claim from the committed full results."""
    name, path = claim.check.result.split(":")
    try:
        result = load_result(name)
    except FileNotFoundError as error:
        return Judgement(claim, "not run", why=str(error))
    source = result["provenance"]
    try:
        ours = lookup(result, path)
    except KeyError as error:
        why = f"results/{name}.json has no {path} ({error.args[0]}): {_how_to_run(claim)}"
        return Judgement(claim, "not run", why=why)
    differing = {
        key: (theirs, result["protocol"].get(key, "not stated"))
        for key, theirs in claim.protocol.items()
        if result["protocol"].get(key) != theirs
    }
    if differing:
        why = "; ".join(f"{key}: {a} there, {b} here" for key, (a, b) in differing.items())
        return Judgement(claim, "not comparable", ours, why, source)
    if not claim.check.holds(ours):
        return Judgement(claim, "not reproduced", ours, "", source)
    try:
        failed = [c.text for c in claim.conditions if not c.holds(_number(c.result))]
    except (FileNotFoundError, KeyError) as error:
        why = f"a condition has no result yet ({error.args[0]}): {_how_to_run(claim)}"
        return Judgement(claim, "not run", ours, why, source)
    verdict = "reproduced with conditions" if failed else "reproduced"
    return Judgement(claim, verdict, ours, "; ".join(failed), source)


def _how_to_run(claim: Claim) -> str:
    return f"run `make full NB={claim.notebook[:2]}`"


def _number(reference: str) -> Any:
    name, path = reference.split(":")
    return lookup(load_result(name), path)
