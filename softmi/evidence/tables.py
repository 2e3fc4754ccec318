"""Numbers and claims as text and Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softmi.evidence.ledger import Claim, judge, load_claims
from softmi.evidence.results import load_result, result_path


def format_number(ours: Any, decimals: int = 3) -> str:
    """Write a number of ours with its spread: mean ± s.d. (n), or mean [low, high]."""

    def fixed(x: float) -> str:
        if abs(x) < 1e-6:
            return "0" if x == 0 else f"{x:.1e}"
        return f"{x:.{decimals}f}"

    if ours is None:
        return "–"
    if not isinstance(ours, Mapping):
        return fixed(float(ours))
    if "low" in ours:
        return f"{fixed(ours['mean'])} [{fixed(ours['low'])}, {fixed(ours['high'])}]"
    if ours.get("sd") is None:
        return fixed(ours["mean"])
    return f"{fixed(ours['mean'])} ± {fixed(ours['sd'])} (n = {ours['n']})"


def format_points(difference: Mapping[str, Any]) -> str:
    """Write a difference of shares in percentage points with its interval, and its sign in a word.

    The word is "up" or "down" where the whole interval lies on one side of zero, else "open".

    Args:
        difference: `mean`, `low` and `high` as shares of one, as `paired_difference` gives.

    Example:
        >>> format_points({"mean": 0.012, "low": 0.005, "high": 0.019})
        '+1.20 [+0.50, +1.90] up'

    """
    low, mean, high = (100 * difference[key] for key in ("low", "mean", "high"))
    word = "up" if low > 0 else "down" if high < 0 else "open"
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] {word}".replace("-", "−")


def in_percent(share: float | Mapping[str, Any], decimals: int = 1) -> str:
    """Write a share of one in per cent, with its standard deviation if it is a summary.

    Example:
        >>> in_percent({"mean": 0.505, "sd": 0.005}), in_percent(0.1)
        ('50.5 ± 0.5', '10.0')

    """
    if not isinstance(share, Mapping):
        return f"{100 * share:.{decimals}f}"
    spread = f" ± {100 * share['sd']:.{decimals}f}" if share.get("sd") is not None else ""
    return f"{100 * share['mean']:.{decimals}f}{spread}"


def in_points(difference: Mapping[str, Any], decimals: int = 1) -> str:
    """Write a difference of shares in percentage points with its interval.

    Example:
        >>> in_points({"mean": 0.024, "low": 0.014, "high": 0.034})
        '+2.4 [+1.4, +3.4]'

    """
    low, mean, high = (100 * difference[key] for key in ("low", "mean", "high"))
    text = f"{mean:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}]"
    return text.replace("-", "−")


def provenance_table(*names: str) -> str:
    """Return the table that a chapter ends with: what each full run was, and when.

    Args:
        names: Of result files; those that do not exist are left out.

    """
    rows = []
    for name in names:
        if not result_path(name, "full").exists():
            continue
        record = load_result(name)
        run, versions = record["provenance"], record["provenance"]["versions"]
        state = "" if run["clean"] else " with changes"
        shown = ", ".join(map(str, run["seeds"]))
        rows.append((
            f"`{name}.json`", f"{run['date']}, commit `{run['commit'][:10]}`{state}", shown,
            run["device"], f"{run['seconds'] / 60:.0f} min", f"torch {versions['torch']}",
        ))  # fmt: skip
    header = ("full run", "when", "seeds", "device", "time", "with")
    return markdown_table(header, rows) if rows else "Nothing is archived yet."


def expectation(claim: Claim) -> str:
    """Write what a claim's check asks for."""
    check, target = claim.check, claim.check.target
    shown = f"{target:g}" if target == int(target) else f"{target:.{claim.decimals}f}"
    if check.relation == "equals":
        return f"{shown} ± {check.margin:g}"
    by = f" by more than {check.margin:g}" if check.margin else ""
    return f"{check.relation} {target:g}{by}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; columns after the first are right-aligned when numeric."""
    cells = [[str(c).replace("|", "\\|").replace("\n", " ") for c in row] for row in rows]

    def numeric(column: int) -> bool:
        return bool(cells) and all(r[column][:1] in "0123456789+-–−" for r in cells)

    rule = ["---:" if i and numeric(i) else "---" for i in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(header), rule, *cells])


def claims_table(notebook: str) -> str:
    """Return the ledger's rows for one chapter as a Markdown table, verdicts computed."""
    rows = []
    for judgement in map(judge, load_claims()):
        claim = judgement.claim
        if claim.notebook != notebook:
            continue
        paper = "–" if claim.value is None else f"{claim.value:g}"
        ours = format_number(judgement.ours, claim.decimals)
        rows.append((claim.statement, paper, expectation(claim), ours, f"**{judgement.verdict}**"))
    return markdown_table(("claim", "paper", "expected", "ours", "verdict"), rows)
