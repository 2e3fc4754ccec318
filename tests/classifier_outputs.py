"""Logits, labels and tables that several test files share."""

import pytest
import torch

both_kinds = pytest.mark.parametrize("prior_corrected", [False, True], ids=["plain", "corrected"])
half_types = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def random_case(seed: int, *, n: int = 40, classes: int = 5, scale: float = 3.0):
    """Logits, targets of every class, and a skewed prior, in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    targets = torch.cat(
        [torch.arange(classes), torch.randint(classes, (n - classes,), generator=generator)]
    )
    prior = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.05
    return logits, targets, prior / prior.sum()


def faithful_case(seed: int, *, n: int, classes: int = 5, scale: float = 3.0):
    """As `random_case`, with labels drawn from the prior, as a known one must be."""
    logits, _, prior = random_case(seed, n=n, classes=classes, scale=scale)
    generator = torch.Generator().manual_seed(1_000 + seed)
    return logits, torch.multinomial(prior, n, replacement=True, generator=generator), prior


def samples_of_table(counts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """A data set in which each cell (input, label) of a table occurs exactly as counted."""
    cells = [(x, y) for x, row in enumerate(counts) for y, n in enumerate(row) for _ in range(n)]
    return torch.tensor([x for x, _ in cells]), torch.tensor([y for _, y in cells])


TABLES = {
    "dependent": [[30, 5, 1], [2, 40, 8], [4, 4, 20]],
    "skewed": [[900, 1], [30, 60]],
    "with empty cells": [[7, 0, 0], [0, 5, 3], [1, 0, 9], [0, 0, 2]],
    "deterministic": [[10, 0], [0, 30]],
    "independent": [[6, 2], [12, 4]],
    "one class": [[5], [3]],
}
each_table = pytest.mark.parametrize("counts", TABLES.values(), ids=TABLES)


def optimal_logits(counts: list[list[int]], *, prior_corrected: bool) -> torch.Tensor:
    """Per input log p(y|x), or log p(x|y), up to a term of x; -1e4 in place of log 0."""
    table = torch.tensor(counts, dtype=torch.float64)
    axis = 0 if prior_corrected else 1
    return (table / table.sum(axis, keepdim=True)).log().clamp(min=-1e4)
