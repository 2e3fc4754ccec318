"""What the tests of losses share: logits with their labels, gradients, a small training run."""

import functools

import torch
from torch import nn

from softmi import GaussianClasses, fit
from softmi.models import MLP
from softmi.training import TensorBatches

COUNTS = torch.tensor([67.0, 19.0, 10.0], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0], dtype=torch.float64)


def case(seed: int = 0, *, n: int = 12, classes: int = 5, scale: float = 3.0):
    """Logits, targets of every class and samples per class, in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    targets = torch.arange(n) % classes
    counts = torch.randint(1, 1000, (classes,), generator=generator).double()
    return logits, targets, counts


def gradient(loss, logits: torch.Tensor) -> torch.Tensor:
    leaf = logits.detach().clone().requires_grad_(True)
    loss(leaf).backward()
    return leaf.grad


def soft_targets(n: int = 12, classes: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(50)
    return torch.randn(n, classes, generator=generator, dtype=torch.float64).softmax(1)


def trained(loss, *, model=None, epochs: int = 3, **options) -> nn.Module:
    """A small network after some epochs on skewed labels."""
    task = GaussianClasses([[-2.0, 0.0], [0.0, 1.0], [2.0, -1.0]], [0.7, 0.2, 0.1])
    x, y = task.sample(96, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = model or MLP(2, 3, hidden=16)
    dtype = next(model.parameters()).dtype
    options = {"optimizer": functools.partial(torch.optim.Adam, lr=0.01)} | options
    fit(model, TensorBatches(x.to(dtype), y), loss, epochs=epochs, batch_size=16, device="cpu",
        **options)  # fmt: skip
    return model


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(u, v) for u, v in pairs)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 16), nn.Tanh())
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.body(x))
