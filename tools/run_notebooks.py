"""Run the notebooks: `python -m tools.run_notebooks [NB ...] [options]`, from the repository root.

smoke (the default)  each notebook whose stamp is stale is built from its .py, executed and put in
                     its place as notebooks/NN_slug.ipynb, in one atomic move at the very end.
full                 the notebook is given profile="full", goes to _build/full/NN_slug.ipynb and
                     writes its numbers to results/ itself.

With `-p`, a smoke run goes to _build/smoke/ instead: papermill writes the values that it is given
into the notebook, and they must not become part of the pair.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import papermill
import yaml
from joblib import Parallel, delayed
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from tools.notebooks import CALM, ROOT, Pair, find_pairs, kernel_environment, strip_run_metadata

# Committed outputs hold no progress bars: they go to stderr and differ from run to run.
COMMITTED = CALM | {"TQDM_DISABLE": "1"}
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class RunError(Exception):
    """Something that the user can mend; its text says what and how."""


@dataclass(frozen=True)
class Plan:
    """How one call of the runner treats each notebook."""

    profile: str = "smoke"
    parameters: dict[str, Any] = field(default_factory=dict)
    force: bool = False
    progress_bar: bool = False

    @property
    def in_place(self) -> bool:
        """Only a plain smoke run may replace the committed notebook."""
        return self.profile == "smoke" and not self.parameters

    def output(self, pair: Pair) -> Path:
        """Where the executed notebook goes."""
        if self.in_place:
            return pair.built
        return pair.root / "_build" / self.profile / pair.built.name


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status is 1 if a notebook failed, 2 if the call made no sense."""
    options = _parse(argv)
    try:
        pairs = select(find_pairs(options.root), options.notebooks)
        if options.check:
            return _check(pairs)
        bar = options.jobs == 1 and sys.stderr.isatty()
        plan = Plan(options.profile, dict(options.parameters), options.force, progress_bar=bar)
        return run(pairs, plan, jobs=options.jobs)
    except RunError as error:
        print(f"run_notebooks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; no notebook was left half-written", file=sys.stderr)
        return 130


def select(pairs: list[Pair], names: Sequence[str]) -> list[Pair]:
    """The notebooks that are asked for: by number ("05"), slug or path; all of them for none."""
    if not pairs:
        raise RunError("no notebooks/NN_slug.py here; run it from the repository root")
    wanted: list[Pair] = []
    for name in names:
        stem = Path(name).stem
        found = [p for p in pairs if p.slug == stem or p.slug.split("_")[0] == stem.zfill(2)]
        if not found:
            raise RunError(f"no notebook {name!r}; there are {', '.join(p.slug for p in pairs)}")
        wanted += [pair for pair in found if pair not in wanted]
    return wanted or pairs


def run(pairs: list[Pair], plan: Plan, jobs: int = 1) -> int:
    """Run the notebooks that need it; the number of jobs is that of notebooks at a time."""
    todo = []
    for pair in pairs:
        if plan.in_place and not plan.force and pair.why_stale() is None:
            print(f"{pair.slug}: up to date")
        else:
            _check_parameters(pair, plan)
            todo.append(pair)
    workers = Parallel(n_jobs=min(jobs, max(len(todo), 1)))
    failed = workers(delayed(_run_one)(pair, plan) for pair in todo)
    if any(failed):
        print(f"{sum(failed)} of {len(todo)} notebooks failed", file=sys.stderr)
    return int(any(failed))


def _run_one(pair: Pair, plan: Plan) -> bool:
    """Run one notebook and report; True if it failed."""
    say = partial(print, flush=True)
    say(f"{pair.slug}: running ({plan.profile}) ...")
    start = time.monotonic()
    try:
        output = execute(pair, plan)
    except PapermillExecutionError as error:
        say(_explain(pair, plan, error), file=sys.stderr)
        return True
    except DeadKernelError:
        say(f"{pair.slug}: FAILED, its kernel died: out of memory?", file=sys.stderr)
        return True
    say(f"{pair.slug}: {time.monotonic() - start:.1f} s -> {output.relative_to(pair.root)}")
    return False


def execute(pair: Pair, plan: Plan) -> Path:
    """Build, execute, strip and stamp one notebook; returns where it now is.

    All writing happens under `_build/`; what was at the returned path before stays there until the
    new file, whole, takes its place.
    """
    output, work = plan.output(pair), _work(pair, plan)
    for folder in (output.parent, work.parent):
        folder.mkdir(parents=True, exist_ok=True)
    stamp = pair.stamp()  # of what is about to run: an edit meanwhile makes it stale again
    nbformat.write(pair.build(), work)
    given = plan.parameters | ({"profile": plan.profile} if plan.profile != "smoke" else {})
    # Kernels inherit the variables of the time at which they start.
    variables = kernel_environment(pair.root) | (COMMITTED if plan.in_place else {})
    with patch.dict(os.environ, variables):
        notebook = papermill.execute_notebook(
            work,
            work,
            parameters=given,
            kernel_name="python3",
            extra_arguments=["--log-level=CRITICAL"],  # errors come in the notebook
            cwd=pair.source.parent,
            progress_bar=plan.progress_bar,
        )
    strip_run_metadata(notebook)
    notebook.metadata["softmi"] = {"profile": plan.profile, "stamp": stamp}
    whole = work.with_suffix(f".{os.getpid()}.new")
    whole.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")
    whole.replace(output)  # it is there whole or not at all
    work.unlink()
    return output


def _check_parameters(pair: Pair, plan: Plan) -> None:
    """Refuse names that the notebook does not have: papermill only logs a warning."""
    if not plan.parameters and plan.profile == "smoke":
        return
    work = _work(pair, plan)
    work.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(pair.build(), work)
    known = papermill.inspect_notebook(work)
    work.unlink()
    unknown = sorted({*plan.parameters, "profile"} - set(known))
    if unknown:
        has = ", ".join(known) or "none"
        raise RunError(f"{pair.slug} has no parameter {', '.join(unknown)}; it has {has}")


def _explain(pair: Pair, plan: Plan, error: PapermillExecutionError) -> str:
    """Which notebook, which cell, what error, and where to look."""
    traceback = ANSI.sub("", "\n".join(error.traceback))
    return (
        f"{pair.slug}: FAILED in code cell [{error.exec_count}], "
        f"{error.ename}: {error.evalue}\n{traceback}\n"
        f"{pair.slug}: nothing was replaced; the cells that ran are in "
        f"{_work(pair, plan).relative_to(pair.root)}"
    )


def _work(pair: Pair, plan: Plan) -> Path:
    """Where a notebook is while it runs; what a failed or interrupted run leaves to look at."""
    return pair.root / "_build" / "runs" / f"{pair.slug}.{plan.profile}.ipynb"


def _check(pairs: list[Pair]) -> int:
    """Report, run nothing; the exit status is 1 if a notebook is stale."""
    reasons = {pair.slug: pair.why_stale() for pair in pairs}
    for slug, reason in reasons.items():
        print(f"{slug}: {reason or 'up to date'}")
    return int(any(reasons.values()))


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: write it as name=value")
    if name == "profile":
        raise argparse.ArgumentTypeError("choose the profile with --profile")
    return name, yaml.safe_load(value)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.run_notebooks",
        description="Build and execute the notebooks from their .py sources.",
    )
    parser.add_argument("notebooks", nargs="*", metavar="NB", help='"05", a slug or a path')
    parser.add_argument("--profile", choices=["smoke", "full"], default="smoke")
    parser.add_argument("--force", action="store_true", help="run what is up to date, too")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks at a time")
    parser.add_argument(
        "-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE",
        type=_parameter, help="a parameter of the notebook; may be repeated",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="say what is stale; run nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error("--jobs takes a number of one or more")
    options.root = options.root.resolve()
    return options


if __name__ == "__main__":
    sys.exit(main())
