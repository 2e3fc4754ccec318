"""Three classes of 50, 20 and 5 samples, and a recipe that is quick, for tests of long tails."""

import torch

from softmi.experiments.long_tailed_recipes import Recipe

COUNTS = torch.tensor([50, 20, 5])


def tiny(**options) -> Recipe:
    numbers = {"epochs": 5, "batch_size": 16, "rate": 0.05, "momentum": 0.9, "weight_decay": 0.0}
    return Recipe("tiny", source="this test", **{"network": "linear"} | numbers | options)


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.repeat_interleave(torch.arange(3), COUNTS)
    noise = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(seed))
    return noise + torch.eye(3, 4)[y], y


def answers(
    seed: int, counts: torch.Tensor, samples: int = 60
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that lean to the right class and to the common ones, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % len(counts)
    noise = torch.randn(samples, len(counts), generator=generator)
    return noise + 2 * torch.eye(len(counts))[labels] + counts.log(), labels
