"""Evidence: result files with provenance, the ledger of claims, and computed verdicts."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from scipy.stats import t as student_t

Profile = Literal["smoke", "full"]
VERDICTS = (
    "reproduced",
    "reproduced with conditions",
    "not reproduced",
    "not comparable",
    "not run",
)


def project_root() -> Path:
    """Return the folder that holds `claims.yml`, from the working folder upwards.

    The environment variable `SOFTMI_ROOT` overrides the search.

    Raises:
        FileNotFoundError: No such folder: the book's files are not part of an installed wheel.

    """
    if "SOFTMI_ROOT" in os.environ:
        return Path(os.environ["SOFTMI_ROOT"])
    for folder in (here := Path.cwd(), *here.parents):
        if (folder / "claims.yml").exists():
            return folder
    raise FileNotFoundError(f"no claims.yml in {here} or above: run inside the project's folder")


# --- Statistics of repeated runs --------------------------------------------------------------


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation and number of repeated runs, with the values."""
    array = np.asarray(values, dtype=float)
    spread = float(array.std(ddof=1)) if len(array) > 1 else None
    return {"mean": float(array.mean()), "sd": spread, "n": len(array), "values": array.tolist()}


def paired_difference(
    ours: Sequence[float], theirs: Sequence[float], *, confidence: float = 0.95
) -> dict[str, Any]:
    r"""Mean of the differences of runs that share a seed, with Student's interval.

    .. math:: \bar d \pm t_{n-1} \, s_d / \sqrt n, \qquad d_i = a_i - b_i

    Raises:
        ValueError: Fewer than two pairs, or sequences of different lengths.

    """
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ValueError(f"need at least two pairs, got {len(ours)} and {len(theirs)} values")
    differences = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    n, mean = len(differences), float(differences.mean())
    half = float(student_t.ppf((1 + confidence) / 2, n - 1) * differences.std(ddof=1) / n**0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n,
            "values": differences.tolist()}  # fmt: skip


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[int] | np.ndarray | None = None,
    *,
    confidence: float = 0.95,
    draws: int = 4000,
    seed: int = 0,
) -> dict[str, Any]:
    r"""Mean of values and its percentile interval over resampled values (Efron 1979).

    .. math:: \bar v^* = \frac{1}{n} \sum_j c_j u_j , \qquad
              c \sim \mathrm{Multinomial}(n, n_j / n)

    with distinct values :math:`u_j`, found :math:`n_j` times among n: how often each *value* is
    drawn is all that the mean depends on, so that a share of hits costs no more than its counts.

    Args:
        values: One for each image, say: a hit, or a difference of hits.
        groups: Group of each value, such as its class. Then whole groups are resampled, and the
            mean is that of all values in the drawn groups.
        confidence: Of the interval.
        draws: Resampled means.
        seed: Of the resampling.

    Raises:
        ValueError: No values, values that are not finite, or groups of another length.

    """
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"need finite values in one dimension, got shape {array.shape}")
    draw = np.random.default_rng(seed)
    if groups is None:
        found, counts = np.unique(array, return_counts=True)
        means = draw.multinomial(len(array), counts / len(array), draws) @ found / len(array)
    else:
        if len(groups) != len(array):
            raise ValueError(f"got {len(array)} values and {len(groups)} groups")
        of = np.unique(np.asarray(groups), return_inverse=True)[1]
        sums, sizes = np.bincount(of, array), np.bincount(of)
        picks = draw.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), draws)
        means = (picks @ sums) / (picks @ sizes)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return {"mean": float(array.mean()), "low": low, "high": high, "n": len(array)}


# --- Result files -----------------------------------------------------------------------------


def provenance(
    *, profile: Profile, seeds: Sequence[int], device: str, seconds: float,
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what a reader needs to trust or repeat a run; `data` maps names to checksums."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=project_root(), capture_output=True,
                                  text=True, check=True)  # fmt: skip
        except (OSError, subprocess.CalledProcessError):  # no git, or no repository
            return None
        return done.stdout.strip()

    if device.startswith("cuda") and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    elif device in ("cpu", "auto"):
        device = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    packages = ("torch", "torchvision", "numpy", "scikit-learn")
    return {
        "commit": git("rev-parse", "HEAD") or "unknown",
        # Outputs of the run itself do not make the code another one.
        "clean": git("status", "--porcelain", "--", "softmi", "notebooks/*.py") == "",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "profile": profile,
        "seeds": list(seeds),
        "device": device,
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "data": dict(data or {}),
    }


def result_path(name: str, profile: Profile) -> Path:
    """Where a result lives: `results/` for full runs, the git-ignored `results/smoke/` else."""
    folder = project_root() / "results"
    return (folder / "smoke" if profile == "smoke" else folder) / f"{name}.json"


def save_result(
    name: str,
    values: Mapping[str, Any],
    *,
    protocol: Mapping[str, Any],
    profile: Profile,
    seeds: Sequence[int],
    seconds: float,
    device: str = "cpu",
    data: Mapping[str, str] | None = None,
) -> Path:
    """Write a result with its protocol and provenance; replaced whole or not at all.

    Args:
        name: File name without suffix: the notebook's slug, or one that starts with it.
        values: Nested mappings of numbers; tensors and arrays become lists.
        protocol: What was run on what: compared with a claim's protocol to tell what is
            comparable.
        profile: "smoke" or "full"; decides the folder.
        seeds: Seeds of the run.
        seconds: Wall time.
        device: Device that it ran on.
        data: Checksums of the data, by name.

    Raises:
        ValueError: A NaN or infinite number, which JSON does not hold.

    """
    record = {
        "protocol": dict(protocol),
        "values": values,
        "provenance": provenance(
            profile=profile, seeds=seeds, device=device, seconds=seconds, data=data
        ),
    }
    path = result_path(name, profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        text = json.dumps(_plain(record), indent=1, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"result {name!r} holds NaN or infinity: {record['values']}") from error
    partial = path.with_suffix(".partial")
    partial.write_text(text + "\n")
    partial.replace(path)
    return path


def _plain(value: Any) -> Any:
    """Tensors, arrays and NumPy scalars to Python's own, floats to ten significant digits."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.10g}")
    return value


def load_result(name: str, profile: Profile = "full") -> dict[str, Any]:
    """Read a result file.

    Raises:
        FileNotFoundError: Not run yet; the message gives the command that runs it.

    """
    path = result_path(name, profile)
    if not path.exists():
        command = f"make full NB={name[:2]}" if profile == "full" else "make notebooks"
        raise FileNotFoundError(f"no result {name!r} of profile {profile}: run `{command}`")
    return json.loads(path.read_text())


def lookup(result: Mapping[str, Any], path: str) -> Any:
    """Follow a dotted path through the values of a result.

    Raises:
        KeyError: A part of the path does not exist; the message lists what does.

    """
    node: Any = result["values"]
    for part in path.split("."):
        if not isinstance(node, Mapping) or part not in node:
            known = sorted(node) if isinstance(node, Mapping) else type(node).__name__
            raise KeyError(f"{path!r}: no {part!r} among {known}")
        node = node[part]
    return node


# --- The ledger -------------------------------------------------------------------------------


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


def interval(ours: Any) -> tuple[float, float]:
    """Return the interval of a number of ours: low and high, else Student's 95 % of the mean."""
    if not isinstance(ours, Mapping):
        return float(ours), float(ours)
    if "low" in ours:
        return ours["low"], ours["high"]
    if ours.get("sd") is None:
        return ours["mean"], ours["mean"]
    half = float(student_t.ppf(0.975, ours["n"] - 1)) * ours["sd"] / ours["n"] ** 0.5
    return ours["mean"] - half, ours["mean"] + half


@dataclass(frozen=True)
class Claim:
    """A row of the ledger. Fields are those of `claims.yml`; see CONTRIBUTING.

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


def load_claims(path: Path | None = None) -> list[Claim]:
    """Read the ledger.

    Raises:
        ValueError: A field that is unknown, missing or of the wrong type, a kind or direction
            that does not exist, or two claims with the same id.

    """
    path = path or project_root() / "claims.yml"
    claims = []
    for entry in yaml.safe_load(path.read_text()):
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
        raise ValueError(f"{path.name}: more than one claim with id {sorted(twice)}")
    return claims


def judge(claim: Claim) -> Judgement:
    """Compute the verdict on a claim from the committed full results."""
    name, path = claim.check.result.split(":")
    try:
        result = load_result(name)
    except FileNotFoundError as error:
        return Judgement(claim, "not run", why=str(error))
    ours, source = lookup(result, path), result["provenance"]
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
    except FileNotFoundError as error:
        return Judgement(claim, "not run", ours, str(error), source)
    verdict = "reproduced with conditions" if failed else "reproduced"
    return Judgement(claim, verdict, ours, "; ".join(failed), source)


def _number(reference: str) -> Any:
    name, path = reference.split(":")
    return lookup(load_result(name), path)


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
        difference: `mean`, `low` and `high` as shares of one, as :func:`paired_difference` gives.

    Example:
        >>> format_points({"mean": 0.012, "low": 0.005, "high": 0.019})
        '+1.20 [+0.50, +1.90] up'

    """
    low, mean, high = (100 * difference[key] for key in ("low", "mean", "high"))
    word = "up" if low > 0 else "down" if high < 0 else "open"
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] {word}".replace("-", "−")


def expectation(claim: Claim) -> str:
    """Write what a claim's check asks for."""
    check = claim.check
    if check.direction is not None:
        return f"{check.direction} {check.target:g}"
    target = check.target
    shown = f"{target:g}" if target == int(target) else f"{target:.{claim.decimals}f}"
    return f"{shown} ± {check.tolerance:g}"


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
