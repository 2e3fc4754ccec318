"""Compare a function with what `torch.compile` makes of it."""

from collections.abc import Callable

import torch
from slow_reference import EPS
from torch import Tensor


def compiled_like_eager(
    losses: Callable[[Tensor], Tensor], logits: Tensor, *, roundings: int = 64
) -> Callable[[Tensor], Tensor]:
    """Compile `losses` into one graph, assert equal values and gradients, and return the graph.

    Dynamo and AOTAutograd capture it, without a graph break; it runs without generating C++.
    """
    torch.compiler.reset()
    compiled = torch.compile(losses, backend="aot_eager", fullgraph=True)
    a, b = (logits.clone().requires_grad_(True) for _ in range(2))
    eager, traced = losses(a), compiled(b)
    eager.sum().backward()
    traced.sum().backward()
    torch.testing.assert_close(traced, eager, rtol=0, atol=roundings * EPS)
    torch.testing.assert_close(b.grad, a.grad, rtol=0, atol=roundings * EPS)
    return compiled
