"""Tables of chapter 04, each from the values of one section of its result."""

import math
from collections.abc import Mapping
from typing import Any

from softmi.evidence.tables import markdown_table
from softmi.experiments.mi_limits import METHODS
from softmi.experiments.pc_softmax_defects import CLASSES, DEFECTS

Section = Mapping[str, Any]


def spread(entry: Section, digits: int = 3) -> str:
    """Write a summary as its mean with sign ± its standard deviation."""
    return f"{entry['mean']:+.{digits}f} ± {entry['sd']:.{digits}f}"


def caps_table() -> str:
    """The cap for some numbers of equally likely classes."""
    rows = [(f"{m:,}", f"{math.log(m):.3f}", f"{math.log2(m):.3f}")
            for m in (2, 5, 10, 100, 200, 1000)]  # fmt: skip
    return markdown_table(("classes M, equally likely", "cap, nats", "cap, bits"), rows)


def random_table(random: Section) -> str:
    """Readings of labels that mean nothing."""
    rows = [
        ("truth", "0"),
        ("the most there could be, H(Y)", f"{random['label_entropy']['mean']:.3f}"),
        ("network, on its training points", spread(random["in_sample"])),
        ("network, on fresh points", spread(random["held_out"])),
        ("the same, labels not asked: H(Y) minus entropy of the predictions",
         spread(random["unasked"])),
        ("cross-fitted estimator on the training points", spread(random["cross_fitted"], 4)),
    ]  # fmt: skip
    return markdown_table(("nats, over seeds", "labels that mean nothing"), rows)


def quick_start_table(quick: Section) -> str:
    """Readings of a forest on its own points and on fresh ones, in bits."""
    rows = [
        ("truth", f"{quick['truth']['mean']:.2f}"),
        ("forest, fitted and scored on the same points", spread(quick["in_sample"], 2)),
        ("the same, labels not asked", spread(quick["in_sample_unasked"], 2)),
        ("its accuracy there", f"{quick['accuracy']['mean']:.2f}"),
        ("forest, fresh points", spread(quick["held_out"], 2)),
        ("cross-fitted estimator, the same points", spread(quick["cross_fitted"], 2)),
        ("cap, log 3", f"{math.log2(3):.2f}"),
    ]
    return markdown_table(("bits, over seeds", "three classes, 1,000 points"), rows)


def confidence_table(confidence: Section) -> str:
    """Readings at the best and the last epoch, as trained and at one temperature."""
    rows = []
    for label, key in (("the network's best epoch", "best"), ("last epoch", "last")):
        at = confidence[key]
        rows.append((
            label, f"{at['accuracy']['mean']:.3f}", spread(at["raw"]),
            f"{at['raw_gap']['mean']:.3f}", f"{at['temperature']['mean']:.2f}",
            spread(at["scaled"]), f"{at['scaled_gap']['mean']:.3f}",
        ))  # fmt: skip
    header = ["fresh points, nats", "accuracy", "reading", "KL left", "T", "reading at T",
              "KL left at T"]  # fmt: skip
    return markdown_table(header, rows)


def variance_table(variance: Section) -> str:
    """Mean and spread of each method's reading, for each channel."""
    rows = []
    for classes, v in variance["levels"].items():
        cells = [f"{v['mean'][m]:.2f} ± {v['sd'][m]:.2f}" for m in METHODS]
        rows.append((f"{int(classes):,}", f"{v['truth']:.2f}", *cells))
    return markdown_table(("M", "truth, nats", *METHODS[:-1], "classifier"), rows)


def law_table(variance: Section) -> str:
    """The law of the variance beside the exact and the simulated one."""
    rows = [
        (f"{v['truth']:.2f}", f"{v['law_sd']:.3f}", f"{v['exact_partition_sd']:.3f}",
         f"{v['partition_sd']:.3f}")
        for v in variance["levels"].values()
    ]  # fmt: skip
    header = ("truth, nats", "the law, √((eᴵ − 1)/n)", "exact s.d.", "simulated")
    return markdown_table(header, rows)


def certified_table(certified: Section) -> str:
    """From what sample size a bound says anything, and what the largest sample certifies."""
    rows = []
    for task in certified["tasks"].values():
        first = [task[f"{k}_first"] for k in ("known", "counted")]
        last = [task[k][-1] for k in ("known", "counted")]
        rows.append((
            f"{task['truth']:.3f}", *(f"{n:,}" if n else "not yet" for n in first),
            *(f"{bound:.3f}" if bound > 0 else "nothing" for bound in last),
        ))  # fmt: skip
    header = ["truth, nats", "above 0 from n, prior known", "prior counted",
              "certified at n = 100,000, prior known", "prior counted"]  # fmt: skip
    return markdown_table(header, rows)


def constant_table(constant: Section) -> str:
    """What log M in place of H(Y) adds, for each imbalance."""
    rows = []
    for factor, r in zip(constant["factors"], constant["rows"], strict=True):
        wrong = r["truth"] + r["over_count"]
        numbers = (r["truth"], r["cap"], wrong, abs(r["over_count"]))
        above = "yes" if wrong > r["cap"] else "no"
        rows.append((f"{factor:,}", *(f"{number:.3f}" for number in numbers), above))
    header = ["imbalance", "truth, nats", "cap H(Y)", "with log M", "over-count", "above the cap"]
    return markdown_table(header, rows)


def dismissal_table(dismissal: Section) -> str:
    """Error of each variant, for each kind of task."""
    rows = [
        (label, *(spread(entry["readings"][k]["error"]) for entry in dismissal.values()))
        for k, label in DEFECTS.items()
    ]
    header = ["error, nats", *(f"{k}, truth {v['truth']:.3f}" for k, v in dismissal.items())]
    return markdown_table(header, rows)


def defaults_table(dismissal: Section) -> str:
    """What the default settings read beside log M - H(Y), and the largest error of one defect."""
    rows = []
    for kind, entry in dismissal.items():
        over, worst = math.log(CLASSES) - entry["label_entropy"], entry["worst"]["name"]
        error = {k: v["error"]["mean"] for k, v in entry["readings"].items()}
        rows.append((kind, f"{entry['truth']:.3f}", f"{entry['truth'] + error['ten_abce']:.3f}",
                     f"{abs(over):.3f}", f"{DEFECTS[worst]}: {error[worst]:+.3f}"))  # fmt: skip
    header = ["nats", "truth", "default settings read", "log M - H(Y)",
              "largest alone, three layers"]  # fmt: skip
    return markdown_table(header, rows)
