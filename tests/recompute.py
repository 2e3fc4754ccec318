r"""Statistics of a result file, computed anew from the values stored beside them.

Floats are stored with ten significant digits, so that a stored x is off by at most
:math:`u(x) = \tfrac12 10^{\lfloor \log_{10} |x| \rfloor - 9}`. With u the largest of the values'
and n their number, a mean of them is off by u, their standard deviation s by
:math:`u \sqrt{n / (n - 1)}` (it is the length of a projection of the values over
:math:`\sqrt{n - 1}`), and a bound :math:`\bar v \pm t s / \sqrt n` by the sum of both; the stored
statistic has its own u besides. Nothing larger passes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from softmi.evidence.statistics import paired_difference, summarise

# Loss and rule behind the short names of differences; a rule of None is the network as it is.
WAYS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "softmax": (("softmax",), None),
    "weighted": (("class-weighted",), None),
    "focal": (("focal",), None),
    "ldam": (("LDAM-DRW",), None),
    "pc": (("PC-softmax", "pc_softmax"), None),
    "posthoc": (("softmax",), "equal"),
    "pc_prior_back": (("PC-softmax", "pc_softmax"), "training"),
    "softmax_moved": (("softmax",), "test"),
    "pc_moved": (("PC-softmax", "pc_softmax"), "test"),
}

# Each side may be a mean in single precision, good to a few units of its last place, 2^-24.
SINGLE = 2.0**-21
# The costs of single images are packed in half precision, each good to 2^-11 of itself.
HALF = 2.0**-11


def rounding(x: float) -> float:
    """Largest error of a stored float: half a unit of its tenth digit."""
    return 0.5 * 10.0 ** (math.floor(math.log10(abs(x))) - 9) if x else 0.0


def statistics(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All summaries with the values that they are of, each with its dotted path."""
    if isinstance(node, Mapping):
        if "mean" in node and isinstance(node.get("values"), list):
            yield path, node
        for key, entry in node.items():
            yield from statistics(entry, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for place, entry in enumerate(node):
            yield from statistics(entry, f"{path}.{place}".lstrip("."))


def wrong_parts(found: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Parts of a summary that its own values contradict: what is stored, and what follows.

    Args:
        found: `mean`, `values`, `n`, and `sd`, or `low` and `high` of Student's 95 % interval. An
            interval over seeds and images (it has `variance`) does not follow from the means of
            the seeds alone: of such only `mean` and `n` are compared.

    """
    values = [float(v) for v in found["values"]]
    n, u = len(values), max(map(rounding, values), default=0.0)
    if not n or n != found.get("n", n):
        return {"n": (found.get("n"), n)}
    anew, off = dict(summarise(values)), {"mean": u, "sd": u * math.sqrt(n / max(n - 1, 1))}
    if "low" in found and "variance" not in found and n > 1:
        anew |= paired_difference(values, np.zeros(n))
        # t / sqrt(n) of this n, read off an interval whose standard deviation is known
        factor = (anew["high"] - anew["mean"]) / anew["sd"] if anew["sd"] else 0.0
        off |= dict.fromkeys(("low", "high"), u + factor * off["sd"])
    wrong = {}
    for key in ("mean", "sd", "low", "high"):
        if key not in found or key not in anew:
            continue
        stored, ours = found[key], anew[key]
        if stored is None or ours is None:
            same = stored is ours
        else:  # 1e-9 of the bound itself: it is computed in floats
            same = abs(stored - ours) <= (off[key] + rounding(stored)) * (1 + 1e-9)
        if not same:
            wrong[key] = (stored, ours)
    return wrong


def unordered(node: Any, path: str = "") -> Iterator[str]:
    """Intervals, with values or without, whose mean is not between their ends."""
    if isinstance(node, Mapping):
        if {"low", "mean", "high"} <= set(node):
            slack = sum(rounding(node[key]) for key in ("low", "mean", "high"))
            if not node["low"] - slack <= node["mean"] <= node["high"] + slack:
                yield f"{path}: mean {node['mean']} not in [{node['low']}, {node['high']}]"
        for key, entry in node.items():
            yield from unordered(entry, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for place, entry in enumerate(node):
            yield from unordered(entry, f"{path}.{place}".lstrip("."))


def differences(test: Mapping[str, Any]) -> Iterator[tuple[str, list[float], list[float], float]]:
    """The differences of a test whose two sides are stored as well.

    Yields:
        Name, stored differences, the differences of the two sides by seed, and by how much
        rounding may part them.

    """
    for name, by_measure in test.get("differences", {}).items():
        sides = [_side(test["accuracy"], side) for side in name.split("_minus_")]
        if len(sides) != 2 or None in sides:
            continue
        for measure, found in by_measure.items():
            a, b = (side.get(measure, {}).get("values", ()) for side in sides)  # type: ignore[union-attr]
            if "values" in found and len(a) == len(b) == len(found["values"]):
                packed = measure == "cross_entropy" and "variance" in found
                largest = [max(map(abs, side)) for side in (a, b)]
                bound = HALF * sum(largest) if packed else SINGLE * max(1.0, *largest)
                yield f"{name}.{measure}", found["values"], np.subtract(a, b).tolist(), bound


def _side(accuracy: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    losses, rule = WAYS.get(name, ((), None))
    loss = next((loss for loss in losses if loss in accuracy), None)
    if loss is None:
        return None
    own = "equal" if loss == "pc_softmax" else "training"  # chapter 05 has no rule "as_trained"
    rules = accuracy[loss]
    return rules.get(rule or ("as_trained" if "as_trained" in rules else own))


def problems(name: str, values: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many statistics of a result were computed anew, and those that are not what follows."""
    said, checked = [], 0
    for path, found in statistics(values):
        checked += 1
        for key, (stored, ours) in wrong_parts(found).items():
            said.append(
                f"results/{name}.json: {path}.{key} is {stored}, but its values give {ours}: "
                "restore the file from git, or run it again"
            )
    said += [f"results/{name}.json: {line}" for line in unordered(values)]
    for test in _tests(values):
        for what, stored, ours, bound in differences(test):
            checked += 1
            if not _close(stored, ours, bound):
                said.append(
                    f"results/{name}.json: {what} is not the difference of its two sides, "
                    f"{stored} against {ours}: restore the file from git, or run it again"
                )
    return checked, said


def _tests(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    tests = (test for test in values.values() if isinstance(test, Mapping))
    return (test for test in tests if {"accuracy", "differences"} <= set(test))


def _close(stored: Sequence[float], ours: Sequence[float], bound: float) -> bool:
    return max(abs(a - b) for a, b in zip(stored, ours, strict=True)) <= bound * (1 + 1e-9)
