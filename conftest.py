"""For all tests: the environment of kernels, notebooks of notebooks/ only, GPU tests skipped."""

import os
from collections.abc import Iterator
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
