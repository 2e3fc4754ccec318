"""What is wrong with archived results and with rows of the ledger, a sentence each."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from softmi.evidence.ledger import Claim, Judgement, load_claims
from softmi.evidence.registry import registered_for
from softmi.evidence.results import load_result, lookup
from tools.notebooks import ROOT

PROVENANCE = {"commit", "date", "profile", "seeds", "device", "seconds", "versions", "data"}


def wrong_provenance(path: Path) -> Iterator[str]:
    """What a result does not say of the run that made it, or says that no run may."""
    found = json.loads(path.read_text(encoding="utf-8"))["provenance"]
    if missing := PROVENANCE - set(found):
        yield f"{path.name}: provenance lacks {sorted(missing)}"
        return
    if found["profile"] != "full":
        yield f"{path.name}: made by the profile {found['profile']}, not by a full run"
    if not re.fullmatch(r"[0-9a-f]{40}", found["commit"]):
        yield f"{path.name}: no commit"
    if found.get("clean") is not True:
        yield f"{path.name}: made by changed code; commit it and run again"


def unexplained(judgement: Judgement) -> Iterator[str]:
    """A row that is not what its run was made for and does not say why."""
    if judgement.change and not judgement.claim.amended:
        yield (
            f"{judgement.claim.id} was {judgement.change}: give the reason in its field "
            f"`amended`, or restore what its run was made for: {judgement.first}"
        )


def missing_keys(claim: Claim) -> Iterator[str]:
    """Keys of a row that its result, which is there, does not have, though it awaits no run."""
    for check in (claim.check, *claim.conditions):
        name, path = check.result.split(":")
        try:
            record = load_result(name)
            lookup(record, path)
        except FileNotFoundError:
            continue  # not run, and no key can be wrong yet
        except KeyError:
            if not claim.awaits:
                near = difflib.get_close_matches(path, _paths(record["values"]), 3, cutoff=0.0)
                yield (
                    f"{claim.id}: results/{name}.json has no {path}; nearest are "
                    f"{', '.join(near)}: correct it, or say in `awaits` which run will bring it"
                )


def _paths(node: Any, before: str = "") -> Iterator[str]:
    """Dotted paths of all that a result holds."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{before}{key}"
            yield from _paths(value, f"{before}{key}.")


def unreadable(root: Path = ROOT) -> Iterator[str]:
    """Rows that are no rows, and registered ones that somebody changed."""
    try:
        load_claims(root / "claims")
    except ValueError as error:
        yield str(error)
    for path in sorted((root / "results").glob("*.json")):
        try:
            registered_for(path.stem)
        except ValueError as error:
            yield str(error)
