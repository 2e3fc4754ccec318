"""The command `softmi mi`: mutual information of the samples in an npz file.

Estimate the mutual information I(X;Y) between inputs X and class labels Y.
FILE.npz holds y, shape (n,), and one of

  logits  shape (n, M): outputs of your own classifier, before or after log-softmax, for
          samples that it was NOT trained on. On training samples the numbers mean nothing: a
          network that memorised random labels reports H(Y). Then y holds integers in [0, M).
  X       shape (n, d): the inputs. A classifier is trained on folds of them and scored on the
          samples left out. Then y holds integers or strings.

Optional: prior, shape (M,), the class probabilities of these labels, sorted. It is refused when
the labels contradict it: that of the training set does not fit a balanced test set.

write the file:
  import numpy as np
  np.savez("held_out.npz", logits=logits, y=y)      # from torch: logits.cpu().numpy()
  np.savez("samples.npz", X=X, y=y)

then:
  softmi mi held_out.npz
  softmi mi samples.npz --folds 10 --seed 0 --json

what the numbers mean:
  mutual information  mean of log q(y|x) - log p(y), q being the classifier, with its standard
                      error: how much X tells about Y, as far as the classifier reads it. In
                      expectation it is below the true I(X;Y). Negative: q is worse than
                      guessing by the class frequencies, as over-confident classifiers are.
                      1 bit = 0.693 nats.
  interval            covers the expectation of that number with the given confidence, by the
                      normal approximation.
  extrapolated        from X only: the estimate for unlimited samples; no bound, and less certain.
                      Its cap is a little higher, by what counted frequencies fall short.
  cap H(Y)            entropy of the labels, which I(X;Y) cannot exceed; share is value / cap.
  certified bound     the true I(X;Y) is above it with probability 1 - delta, for any
                      classifier and any n, if no labels can occur but those that logits have
                      a column for, or beside X those in y. Negative: it says nothing.

exit status: 0, 1 for data that cannot be used, 2 for wrong options, 130 when interrupted.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

import softmi
from softmi import MutualInformationEstimate
from softmi._checks import are_probabilities
from softmi.cli._arrays import arrays_of
from softmi.cli._options import aligned, checked, help_of, prior_from

FRACTION = checked("fraction", float, lambda value: 0 < value < 1, "be in (0, 1)")
FOLDS = checked("folds", int, lambda value: value >= 2, "be at least 2")
OF_LOGITS = ("prior_corrected",)
OF_INPUTS = ("folds", "seed", "jobs", "device", "no_extrapolation", "progress")


def add_arguments(mi: argparse.ArgumentParser) -> None:
    """Make a parser that of the command `mi`."""
    mi.description, mi.epilog = help_of(__doc__, "write the file:")
    mi.formatter_class = argparse.RawDescriptionHelpFormatter
    mi.set_defaults(run=run, show=show, parser=mi)
    mi.add_argument("file", metavar="FILE.npz", type=Path)
    mi.add_argument("--json", action="store_true", help="print one JSON object")
    mi.add_argument(
        "--confidence", type=FRACTION, default=0.95, help="of the interval (default 0.95)"
    )
    mi.add_argument(
        "--delta", type=FRACTION, default=0.05,
        help="probability with which the certified bound may fail (default 0.05)",
    )  # fmt: skip
    mi.add_argument(
        "--prior", metavar="P1,P2,...|FILE",
        help="class probabilities, or a text or npy file of them (default: the array prior in "
        "FILE.npz, or else the frequencies of y)",
    )  # fmt: skip
    of_logits = mi.add_argument_group("for logits")
    of_logits.add_argument(
        "--prior-corrected", action="store_true",
        help="the classifier was trained with PC-softmax, balanced softmax or logit adjustment",
    )  # fmt: skip
    of_inputs = mi.add_argument_group("for X")
    of_inputs.add_argument("--folds", type=FOLDS, default=5, help="parts of X (default 5)")
    of_inputs.add_argument("--seed", type=int, help="for the same number again")
    of_inputs.add_argument("--jobs", type=int, help="processes at a time")
    of_inputs.add_argument(
        "--device", type=_device, default="auto", help="cpu, cuda, ... (default: auto)"
    )
    of_inputs.add_argument(
        "--no-extrapolation", action="store_true", help="leave out the extrapolated number"
    )
    of_inputs.add_argument("--progress", action="store_true", help="show a progress bar")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Estimate, and return all numbers by name and unit.

    Raises:
        OSError, TypeError, ValueError: Data that cannot be used.
        SystemExit: Options that do not apply to these data (2).

    """
    mi = options.parser
    arrays = arrays_of(options.file)
    kind, others = ("logits", OF_INPUTS) if "logits" in arrays else ("X", OF_LOGITS)
    wrong = [name for name in others if getattr(options, name) != mi.get_default(name)]
    if wrong:
        listed = ", ".join("--" + name.replace("_", "-") for name in wrong)
        mi.error(f"{options.file} holds {kind}, to which {listed} does not apply")
    return (_from_logits if kind == "logits" else _from_inputs)(arrays, options)


def _device(text: str) -> str:
    if text != "auto":
        try:
            torch.zeros((), device=text).item()
        except (AssertionError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise argparse.ArgumentTypeError(f"{text} cannot be used: {reason}") from None
    return text


def _from_logits(arrays: dict[str, np.ndarray], options: argparse.Namespace) -> dict[str, Any]:
    logits, y = arrays["logits"], arrays["y"]
    # float64 and int64 of this machine: torch knows no other byte order and no longdouble.
    if logits.dtype.kind == "f":
        logits = logits.astype(np.float64)
    if y.dtype.kind not in "iu":
        raise TypeError(
            f"beside logits, y must hold integer class indices, got {y.dtype}: the columns of "
            "logits that the labels belong to, 0 for the first"
        )
    if are_probabilities(torch.from_numpy(logits)):
        raise ValueError(
            f"logits of {options.file} look like probabilities, as all rows are non-negative and "
            "sum to one: save np.log(p) as logits"
        )
    estimate = softmi.mutual_information(
        torch.from_numpy(logits),
        torch.from_numpy(y.astype(np.int64)),
        prior=prior_from(options.prior, arrays.get("prior")),
        prior_corrected=options.prior_corrected,
        confidence=options.confidence,
    )
    return _report("logits", estimate, estimate, logits.shape[1], options)


def _from_inputs(arrays: dict[str, np.ndarray], options: argparse.Namespace) -> dict[str, Any]:
    from softmi.estimators.softmax import SoftmaxMutualInformation

    fitted = SoftmaxMutualInformation(
        folds=options.folds,
        extrapolate=not options.no_extrapolation,
        prior=prior_from(options.prior, arrays.get("prior")),
        n_jobs=options.jobs,
        device=options.device,
        progress=options.progress,
        random_state=options.seed,
        confidence=options.confidence,
    ).fit(arrays["X"], arrays["y"])
    classes = fitted.classes_.tolist()
    report = _report("X", fitted.mutual_information_, fitted, len(classes), options)
    if fitted.extrapolated_ is not None:
        report |= _in_both_units("extrapolated", fitted.extrapolated_)
        report["extrapolated_is_trustworthy"] = bool(fitted.trustworthy_)
    shares = [float(share) for share in fitted.class_contributions_]
    report["class_contributions_nats"] = dict(zip(map(str, classes), shares, strict=True))
    return report


def _report(
    source: str,
    estimate: MutualInformationEstimate,
    bounded: Any,
    classes: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return all numbers by name and unit; what cannot be said is None."""
    try:
        certified, reason = float(bounded.certified_lower_bound(options.delta)), None
    except ValueError as error:
        certified, reason = None, str(error)
    cap = estimate.label_entropy
    return {
        "source": source,
        **_in_both_units("mutual_information", estimate),
        "confidence": options.confidence,
        "label_entropy_nats": cap,
        "label_entropy_bits": cap / math.log(2),
        "share_of_label_entropy": estimate.value / cap if cap > 0 else None,
        "certified_lower_bound_nats": certified,
        "certified_lower_bound_bits": None if certified is None else certified / math.log(2),
        "certified_lower_bound_missing_because": reason,
        "delta": options.delta,
        "n_samples": estimate.n_samples,
        "n_classes": classes,
    }


def _in_both_units(name: str, estimate: Any) -> dict[str, float]:
    return {
        f"{name}{'' if field == 'value' else '_' + field}_{e.unit}": getattr(e, field)
        for e in (estimate, estimate.in_bits())
        for field in ("value", "standard_error", "low", "high")
    }


def show(report: dict[str, Any]) -> str:
    """Lay the numbers out in three columns: what it is, nats, bits."""

    def both(form: str, *names: str) -> list[str]:
        """The same numbers in nats and in bits, for two cells."""
        cells = [[report[f"{name}_{unit}"] for name in names] for unit in ("nats", "bits")]
        return ["none" if None in cell else form.format(*cell) for cell in cells]

    interval = f"  {100 * report['confidence']:g} % interval"
    rows = [["", "nats", "bits"]]
    for title in ("mutual information", "extrapolated"):
        name = title.replace(" ", "_")
        if f"{name}_nats" in report:
            rows.append([title, *both("{:.4f} ± {:.4f}", name, f"{name}_standard_error")])
            rows.append([interval, *both("{:.4f} to {:.4f}", f"{name}_low", f"{name}_high")])
    bound = f"certified bound, delta {report['delta']:g}"
    rows.append(["cap H(Y)", *both("{:.4f}", "label_entropy")])
    rows.append([bound, *both("{:.4f}", "certified_lower_bound")])
    share = report["share_of_label_entropy"]
    rows.append(["share of the cap", "none" if share is None else f"{100 * share:.1f} %", ""])
    rows += [[name, str(report[f"n_{name}"]), ""] for name in ("samples", "classes")]
    lines = aligned(rows, "<<<")
    if share == 1:
        lines.append("the estimate is at the cap, to which it was cut if it was above")
    if not report.get("extrapolated_is_trustworthy", True):
        lines.append("do not trust the extrapolated number: it is far from the estimate")
    if report["certified_lower_bound_missing_because"]:
        lines.append(f"no certified bound: {report['certified_lower_bound_missing_because']}")
    return "\n".join(lines)
