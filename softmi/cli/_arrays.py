"""The arrays of an npz file, checked by their headers before anything is unpacked."""

import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from softmi.cli._options import BROKEN_ARRAY, existing

LARGEST = 2**34  # bytes in memory
BROKEN = (*BROKEN_ARRAY, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def arrays_of(file: Path) -> dict[str, np.ndarray]:
    """Return y, one of logits and X, and the prior where there is one, checked for being together.

    A header is believed only as far as its entry of the archive reaches, and shapes are compared
    first, so that a small file cannot take a large memory.

    Raises:
        ValueError: Not an npz file, or one that holds other arrays, Python objects, arrays that do
            not fit one another, more than 16 GiB, or numbers that are not finite.

    """
    if not zipfile.is_zipfile(existing(file)):
        raise ValueError(f"{file} is not an npz file; write one with np.savez")
    with _tried(str(file), partial(np.load, file, allow_pickle=False)) as stored:
        held = f"it holds {', '.join(sorted(stored.files)) or 'nothing'}"
        if "y" not in stored.files:
            raise ValueError(f"{file} lacks the array y (labels): {held}")
        if ("logits" in stored.files) == ("X" in stored.files):
            raise ValueError(f"{file} must hold exactly one of logits and X: {held}")
        values = "logits" if "logits" in stored.files else "X"
        names = sorted({values, "y", "prior"}.intersection(stored.files))
        called = {name: f"array {name} of {file}" for name in names}
        shapes = {n: _tried(called[n], partial(_shape, stored.zip, n)) for n in names}
        shapes.pop("prior", None)
        if list(map(len, shapes.values())) != [2, 1] or shapes[values][0] != shapes["y"][0]:
            raise ValueError(f"{file} must hold (n, columns) and y (n,), got shapes {shapes}")
        arrays = {n: _tried(called[n], partial(stored.get, n)) for n in names}
    if arrays[values].dtype.kind == "f" and not np.isfinite(arrays[values]).all():
        raise ValueError(f"{values} of {file} must be finite, but it holds NaN or infinite values")
    return arrays


def _tried(what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except BROKEN as error:
        raise ValueError(f"{what} cannot be read: {error}") from None


def _shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """Shape of an array from the header of its entry, whose size it must not exceed."""
    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as content:
        version = npy.read_magic(content)
        if version not in READERS:
            raise ValueError(f"it is written in version {version} of the format")
        shape, _, kind = READERS[version](content)
    if kind.hasobject:
        raise ValueError("it holds Python objects")
    needed = prod(shape) * kind.itemsize
    if needed > min(entry.file_size, LARGEST):
        most = f"it has {entry.file_size}" if needed > entry.file_size else f"{LARGEST} is most"
        raise ValueError(f"its shape {shape} needs {needed} bytes, and {most}")
    return shape
