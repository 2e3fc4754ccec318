"""For the tests of losses."""

import pytest
import torch


@pytest.fixture(autouse=True)
def global_generator():
    """Networks are drawn from the global generator, and `fit` seeds it: put it back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
