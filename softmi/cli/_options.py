"""What the commands share: values of options, their help, and priors."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

# What NumPy raises on a spoilt npy file, besides ValueError: its header is parsed as Python.
BROKEN_ARRAY = (EOFError, MemoryError, RecursionError, SyntaxError, TokenError, ValueError)


def help_of(text: str | None, start: str) -> tuple[str, str]:
    """What the docstring of a command says before its options, and from `start` on after them."""
    before, _, after = (text or "").partition(start)
    return before.partition("\n\n")[2], start + after


def checked(
    name: str, kind: Callable[[str], Any], fits: Callable[[Any], bool], must: str
) -> Callable[[str], Any]:
    """A `type` of argparse: the value of an option as `kind`, if it `fits`; its `name` and what it
    `must` be are for errors.
    """

    def convert(text: str) -> Any:
        value = kind(text)
        if not fits(value):
            raise argparse.ArgumentTypeError(f"must {must}, got {text}")
        return value

    convert.__name__ = name
    return convert


def aligned(table: Sequence[Sequence[str]], align: str) -> list[str]:
    """Lay rows out as lines, each column to the left or right as `align` says, such as "<>>"."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map("{:{}{}}".format, row, align, widths)).rstrip() for row in table]


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    return tuple(float(part) for part in text.split(","))


def existing(file: Path, option: str = "") -> Path:
    """Return the file; the error names the option that gave it."""
    if not file.is_file():
        raise ValueError(f"{option} {file}: there is no such file".lstrip())
    return file


def prior_from(option: str | None, otherwise: np.ndarray | None = None) -> np.ndarray | None:
    """Return the prior that the option names: numbers, or a text or npy file of them.

    Raises:
        ValueError: Neither numbers nor a file, or a file that cannot be read.

    """
    if option is None:
        return otherwise
    try:
        return np.array(numbers(option))
    except ValueError:
        file = Path(option)
    if not file.is_file():
        raise ValueError(f"--prior {option} is neither a list of numbers nor a file")
    try:
        if file.suffix == ".npy":
            return np.load(file, allow_pickle=False)
        return np.array(numbers(",".join(file.read_text("utf-8").replace(",", " ").split())))
    except BROKEN_ARRAY as error:
        raise ValueError(f"--prior {option} cannot be read: {error}") from None
