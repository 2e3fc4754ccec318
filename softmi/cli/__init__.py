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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `softmi` and return its exit status.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        0, or 1 for data that cannot be used, with one line on stderr.

    Raises:
        SystemExit: After `--help` and `--version` (0), or for wrong options (2).

    """
    parser = argparse.ArgumentParser(
        prog="softmi", description="Classifiers as estimators of mutual information."
    )
    parser.add_argument("--version", action="version", version=f"softmi {softmi.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    argv = sys.argv[1:] if argv is None else argv
    chosen = next((argument for argument in argv if not argument.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name == chosen:  # the other is only listed: its imports take seconds
            importlib.import_module(f"softmi.cli.{name}").add_arguments(command)
    options = parser.parse_args(argv)
    try:
        report = options.run(options)
    except (OSError, TypeError, ValueError) as error:
        print(f"softmi: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(json.dumps(_finite(report), indent=2) if options.json else options.show(report))
    return 0


def _finite(report: dict[str, object]) -> dict[str, object]:
    """JSON knows no infinity: the standard error of a single sample becomes null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in report.items()
    }
