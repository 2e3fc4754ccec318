"""Where the book's files are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from uuid import uuid4

Profile = Literal["smoke", "full"]


def project_root() -> Path:
    """Return the folder that holds `claims/`, from the working folder upwards.

    The environment variable `SOFTMI_ROOT` overrides the search.

    Raises:
        FileNotFoundError: No such folder: the book's files are not part of an installed wheel.

    """
    if "SOFTMI_ROOT" in os.environ:
        return Path(os.environ["SOFTMI_ROOT"])
    for folder in (here := Path.cwd(), *here.parents):
        if (folder / "claims").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(
        f"no claims/ and notebooks/ in {here} or above: run inside the project's folder"
    )


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when all is written.

    If the body fails, `path` is as it was. The name is new each time: two processes may write at
    the same time, and the last one stays. Its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def result_path(name: str, profile: Profile) -> Path:
    """Where a result lives: `results/` for full runs, the git-ignored `results/smoke/` else."""
    folder = project_root() / "results"
    return (folder / "smoke" if profile == "smoke" else folder) / f"{name}.json"


def outcomes_path(name: str, profile: Profile) -> Path:
    """Where the packed outcomes that belong to a result live: `outcomes/` beside the result."""
    return result_path(name, profile).parent / "outcomes" / f"{name}.npz"
