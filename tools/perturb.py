"""Falsify one committed number in a scratch copy, and show that the tests notice.

python -m tools.perturb CLAIM [--by SHIFT]

The project is copied to a temporary folder; there the number that decides CLAIM is shifted, by
default far enough to turn its check round, and the tests of the ledger run before and after. The
exit status is 0 if they passed before and failed after. That its chapter is stale does not count:
the next build would make it new, with the false number.
"""

import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from softmi.evidence.ledger import Check, judge, load_claims
from softmi.evidence.results import load_result, lookup
from softmi.evidence.statistics import interval
from softmi.evidence.tables import format_number
from tools.scoreboard import ROOT

LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    "_build",
    "_generated",
    "smoke",
    "build",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
)
TESTS = ("tests/book/test_claims.py",)


def shifted(record: Mapping[str, Any], path: str, by: float) -> dict[str, Any]:
    """Return a result with the number at `path` shifted, and its interval and runs with it."""
    changed = copy.deepcopy(dict(record))
    *parents, last = path.split(".")
    node = changed["values"]
    for part in parents:
        node = node[part]
    if isinstance(node[last], Mapping):
        found = node[last]
        found |= {key: found[key] + by for key in ("mean", "low", "high") if key in found}
        found["values"] = [value + by for value in found.get("values", [])]
    else:
        node[last] += by
    return changed


def turning_shift(check: Check, ours: Any) -> float:
    """Return a shift of our number after which a check that held fails, or the reverse."""
    low, high = interval(ours)
    met, beyond = check.outcome(ours) == "met", 2 * check.margin or 1.0
    if check.relation == "equals":
        # An interval too wide to lie within the margin cannot be met: if it is open, move it away.
        away = met or (check.outcome(ours) == "open" and high - low > 2 * check.margin)
        return check.target - (low + high) / 2 + (beyond + high - low if away else 0.0)
    sign = 1 if check.relation == "above" else -1
    edge = low if check.relation == "above" else high
    distance = sign * (edge - check.target) - check.margin
    return -sign * 2 * abs(distance or 1.0) if met else sign * (2 * abs(distance) + beyond)


def run_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests of the ledger in a copy of the project."""
    environment = os.environ | {"PYTHONPATH": str(folder), "SOFTMI_ROOT": str(folder)}
    call = [sys.executable, "-m", "pytest", *TESTS, "-q", "--no-header", "--tb=no"]
    call += ["-p", "no:cacheprovider"]
    done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # neither passed nor failed: killed, or not collected
        said = f"{done.stdout}\n{done.stderr}"[-2000:]
        raise SystemExit(f"perturb: the tests ended with status {done.returncode}:\n{said}")
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.perturb",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("claim", help="id of a claim in claims/")
    parser.add_argument("--by", type=float, help="how much to add to the number")
    chosen = parser.parse_args(arguments)
    claims = {claim.id: claim for claim in load_claims(ROOT / "claims")}
    if chosen.claim not in claims:
        parser.error(f"no claim {chosen.claim!r}; known: {', '.join(claims)}")
    claim = claims[chosen.claim]
    before = judge(claim)
    if before.ours is None:
        parser.error(f"claim {claim.id} has no result yet: {before.why}")
    name, path = claim.check.result.split(":")
    by = turning_shift(claim.check, before.ours) if chosen.by is None else chosen.by
    record = shifted(load_result(name), path, by)
    after = lookup(record, path)
    print(f"{claim.id}: {claim.statement}")
    print(f"  committed: {format_number(before.ours, claim.decimals)}, {before.verdict}")
    print(f"  falsified: {format_number(after, claim.decimals)}, in a scratch copy")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "softmi"
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        passed = run_tests(folder)
        print(f"  tests before: {passed.stdout.strip().splitlines()[-1]}")
        result = folder / "results" / f"{name}.json"
        result.write_text(json.dumps(record, indent=1) + "\n")
        failed = run_tests(folder)
    print("  tests after:")
    for line in failed.stdout.splitlines():
        if line.startswith("FAILED") or line == failed.stdout.strip().splitlines()[-1]:
            print(f"    {line}")
    noticed = passed.returncode == 0 and failed.returncode == 1
    print("The change was noticed." if noticed else "THE CHANGE WAS NOT NOTICED.")
    return 0 if noticed else 1


if __name__ == "__main__":
    sys.exit(main())
