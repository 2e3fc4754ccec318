"""A table and a task of known information that the tests of several estimators share."""

import functools

import pytest
import torch
from slow_reference import EPS

from softmi import DiscreteJoint, GaussianClasses
from softmi.estimators import (
    smile,
)

SMILE_1 = functools.partial(smile, clip=1.0)
seeds = pytest.mark.parametrize("seed", range(3))
COUNTS = torch.tensor([[300, 50, 10], [20, 400, 80], [40, 40, 60]])  # 1000 in all
# Sums of a few hundred numbers of order one, in float64.
ROUNDING = 1e3 * EPS


def random_scores(seed: int, *, n: int = 12, columns: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n, columns, generator=generator, dtype=torch.float64)


def as_counted() -> tuple[DiscreteJoint, torch.Tensor, torch.Tensor]:
    """The joint of COUNTS, and a data set in which each cell occurs exactly as counted."""
    cell = torch.repeat_interleave(torch.arange(COUNTS.numel()), COUNTS.flatten())
    return DiscreteJoint(COUNTS / COUNTS.sum().double()), cell // 3, cell % 3


def pmi_of(joint: DiscreteJoint) -> torch.Tensor:
    return (joint.table / (joint.input_marginal[:, None] * joint.prior)).log()


TASK = GaussianClasses([[-1.0], [1.0]], [0.5, 0.5])
