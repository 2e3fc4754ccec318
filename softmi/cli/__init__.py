"""The commands `softmi mi`, mutual information of samples, and `softmi cam`, maps of a picture."""

import argparse
import importlib
import json
import math
import sys
from collections.abc import Sequence

import softmi

COMMANDS = {
    "mi": "estimate the mutual information of the samples in FILE.npz",
    "cam": "draw where in IMAGE a network finds its information",
}
INTERRUPTED = 130  # as shells say it: 128 and the number of the signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `softmi` and return its exit status.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        0, or 1 for data that cannot be used, or 130 when interrupted, with one line on stderr.

    Raises:
        SystemExit: After `--help` and `--version` (0), or for wrong options (2).

    """
    try:
        print(_report(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except (MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        return _failed(str(error) or "not enough memory", 1)
    return 0


def _report(argv: Sequence[str]) -> str:
    parser = argparse.ArgumentParser(
        prog="softmi", description="Classifiers as estimators of mutual information."
    )
    parser.add_argument("--version", action="version", version=f"softmi {softmi.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((argument for argument in argv if not argument.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name == chosen:  # the other is only listed: its imports take seconds
            importlib.import_module(f"softmi.cli.{name}").add_arguments(command)
    options = parser.parse_args(argv)
    report = options.run(options)
    if not options.json:
        return printable(options.show(report))
    # JSON knows no infinity: the standard error of a single sample becomes null.
    infinite = {k for k, v in report.items() if isinstance(v, float) and not math.isfinite(v)}
    return json.dumps(report | dict.fromkeys(infinite), indent=2)


def _failed(reason: str, status: int) -> int:
    print(f"softmi: {printable(' '.join(reason.split()))}", file=sys.stderr)
    return status


def printable(text: str) -> str:
    """Text without what would steer a terminal: names come from files of others."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
