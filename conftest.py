"""For all tests: the environment of kernels, notebooks of notebooks/ only, GPU tests skipped."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jaxtyping
import pytest

from tools.notebooks import CALM, ROOT, kernel_environment

# Kernels that nbval starts inherit these, so that a notebook is checked as it was run.
os.environ.update(CALM | kernel_environment(ROOT))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave copies of notebooks alone, such as those that the book build makes."""
    if collection_path.suffix == ".ipynb" and collection_path.parent != ROOT / "notebooks":
        return True
    return None


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Compare what a checked cell says, not the warnings beside it: they come with upgrades."""
    if hasattr(collector, "skip_compare"):  # nbval's notebook
        collector.skip_compare += ("stderr",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the list of what is tested of the papers."""
    parser.addoption(
        "--papers", action="store_true", help="list the tests of the papers by paper, run none"
    )


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """List marked tests under `key, item`; `-m paper` runs them."""
    if not config.getoption("papers"):
        return []
    tests: dict[str, dict[str, None]] = {}
    for item in items:
        for mark in item.iter_markers("paper"):
            tests.setdefault(", ".join(mark.args), {})[item.nodeid.partition("[")[0]] = None
    return [line for paper in sorted(tests) for line in (paper, *(f"  {t}" for t in tests[paper]))]


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run none of the tests that were only to be listed."""
    return True if session.config.getoption("papers") else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests marked `gpu` where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture
def no_shape_checks() -> Iterator[None]:
    """Without the run-time checks of annotations, as users run the library.

    For tests of bad input: what is raised must be our own error, not the type checker's.
    """
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
