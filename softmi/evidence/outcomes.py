"""What each network answered to each test image, kept with a result: hits, packed into bits.

An interval over seeds and test images (:func:`softmi.evidence.statistics.crossed_interval`) needs
the outcomes one by one; means over seeds do not give it. So they are kept in one small file a
result, `results/outcomes/<name>.npz`, from which anybody can compute the intervals again. The
result holds the file's checksum.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Int, UInt8

from softmi.evidence.paths import Profile, outcomes_path, written_whole
from softmi.evidence.results import command_of, load_result


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of the networks of all seeds, which answered the same test images.

    Attributes:
        counts: Training samples of each class.
        labels: Classes of the images of each test, at most 256 of them.
        hits: By test, then by method, such as "softmax/equal" (loss and decision rule): whether
            the network of a seed was right about an image.
        costs: By test, then by method: minus the logarithm of the probability of the right class,
            in nats, in half precision. For the methods that need it alone: it takes sixteen times
            as much room.
        sweeps: By test, then by method: hits at each of several choices, such as thresholds, of
            which held-out images take one (:func:`softmi.evidence.chosen.chosen_interval`).

    """

    counts: Int[np.ndarray, " classes"]
    labels: Mapping[str, UInt8[np.ndarray, " _images"]]
    hits: Mapping[str, Mapping[str, Bool[np.ndarray, "_seeds _images"]]]
    costs: Mapping[str, Mapping[str, Float16[np.ndarray, "_seeds _images"]]] = field(
        default_factory=dict
    )
    sweeps: Mapping[str, Mapping[str, Bool[np.ndarray, "_seeds _images _choices"]]] = field(
        default_factory=dict
    )


def save_outcomes(name: str, outcomes: Outcomes, profile: Profile) -> str:
    """Write outcomes packed, whole or not at all, and return the checksum for the result.

    Hits take a bit each. The same outcomes give the same bytes, and so the same checksum.

    Args:
        name: Of the result.
        outcomes: Hits, costs and sweeps of every test of `labels`.
        profile: "smoke" or "full"; decides the folder.

    Raises:
        ValueError: Hits or costs that are not of shape (seeds, images of the test), or sweeps
            without choices.

    """
    arrays: dict[str, np.ndarray] = {"counts": outcomes.counts}
    for test, labels in outcomes.labels.items():
        arrays[f"{test}/labels"] = labels
        for kind, axes in (("hits", 2), ("costs", 2), ("sweeps", 3)):
            for method, found in getattr(outcomes, kind).get(test, {}).items():
                if found.ndim != axes or found.shape[1] != len(labels):
                    shape = f"(seeds, {len(labels)}{', choices' if axes == 3 else ''})"
                    raise ValueError(
                        f"{kind} of {method} on {test}: need shape {shape}, got {found.shape}"
                    )
                packed = found if kind == "costs" else np.packbits(found, axis=1)
                arrays[f"{test}/{kind}/{method}"] = packed
    path = outcomes_path(name, profile)
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # with a fixed date
    return _sha256(path)


def load_outcomes(name: str, profile: Profile = "full") -> Outcomes:
    """Read the outcomes of a result, which says by its checksum that they are its own.

    Raises:
        FileNotFoundError: No such result, or none with outcomes.
        ValueError: Another checksum than in the result, or a file that cannot be read.

    """
    stated = load_result(name, profile).get("outcomes")
    path = outcomes_path(name, profile)
    if stated is None or not path.exists():
        missing = "the result names none" if stated is None else f"no {path}"
        raise FileNotFoundError(
            f"no outcomes of {name!r} ({missing}): `{command_of(name)}` writes them"
        )
    if (found := _sha256(path)) != stated["sha256"]:
        raise ValueError(
            f"{path} has the checksum {found}, and the result {name!r} was computed from "
            f"{stated['sha256']}: the two are not of one run"
        )
    try:
        with path.open("rb") as file:  # np.load leaves a damaged file open
            packed = np.load(file)
            arrays = {key: packed[key] for key in packed.files}
    except (ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    labels = {k.removesuffix("/labels"): v for k, v in arrays.items() if k.endswith("/labels")}
    found_by: dict[str, dict[str, dict[str, np.ndarray]]] = {
        kind: {test: {} for test in labels} for kind in ("hits", "costs", "sweeps")
    }
    for key, array in arrays.items():
        test, _, rest = key.partition("/")
        kind, _, method = rest.partition("/")
        if kind in ("hits", "sweeps"):
            array = np.unpackbits(array, axis=1, count=len(labels[test])).astype(bool)
        if method:
            found_by[kind][test][method] = array
    return Outcomes(arrays["counts"], labels, **found_by)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
