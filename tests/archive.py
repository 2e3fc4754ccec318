"""What is wrong with archived results and with rows of the ledger, a sentence each."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from softmi.evidence.ledger import Judgement, load_claims
from softmi.evidence.registry import registered_for
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
