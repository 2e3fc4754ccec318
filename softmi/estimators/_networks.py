"""Small networks, several trained at once in one batched product."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.adamw import adamw

CHUNK = 8_192  # rows predicted at a time
RATE, PATIENCE = 6e-3, 5


@dataclass(frozen=True)
class Scaling:
    """Robust centring and scaling of each feature, and a smooth clip of what is far out.

    Median and interquartile range, so that one wild value cannot squeeze all others; beyond
    `LIMIT` scales values level off (at 3 the change is below 1 %). All of it is one-to-one:
    no information is lost but by rounding.
    """

    size: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    LIMIT = 8.0

    @classmethod
    def of(cls, x: np.ndarray) -> "Scaling":
        """Measure the features of `x`, shape (samples, features)."""
        # Powers of two, so that nothing is rounded: squares and differences of huge or tiny values
        # would leave the range of floating point.
        exponent = np.frexp(np.abs(x).max(axis=0))[1]
        size = np.ldexp(np.ones(1, x.dtype), np.maximum(exponent - 1, np.finfo(x.dtype).minexp))
        x = x / size
        least, low, centre, high, most = np.quantile(x, (0.01, 0.25, 0.5, 0.75, 0.99), axis=0)
        # Each is the standard deviation of a Gaussian. Where half of the values agree, or nearly,
        # the narrow range says nothing, and where nearly all do, the wide one.
        scale, wide = (high - low) / 1.349, (most - least) / 4.653
        scale = np.where(scale > 1e-3 * wide, scale, wide)
        scale = np.where(scale > 0, scale, x.std(axis=0, dtype=np.float64))
        scale = np.where(scale > 0, scale, 1.0)
        return cls(size, centre.astype(x.dtype), scale.astype(x.dtype))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return `x` scaled, in float32."""
        # New values may be beyond all bounds; the fourth power would overflow in float32.
        with np.errstate(over="ignore"):
            z = (x / self.size - self.centre) / self.scale
        z = np.clip(z, -1e9, 1e9).astype(np.float32)
        return z / (1 + (z / self.LIMIT) ** 4) ** np.float32(0.25)


class Networks(nn.Module):
    """Networks of one shape, evaluated at once: two hidden layers, and a linear path past them."""

    def __init__(
        self, networks: int, features: int, classes: int, hidden: int, *, seed: int
    ) -> None:
        super().__init__()
        # Its own generator: the global ones, also those of GPUs, are the user's.
        rng = torch.Generator().manual_seed(seed)
        sizes = [(features, hidden), (hidden, hidden), (hidden, classes), (features, classes)]
        self.weights = nn.ParameterList(
            # He et al.; the output starts small
            torch.randn(networks, a, b, generator=rng) * math.sqrt(gain / a)
            for (a, b), gain in zip(sizes, (2.0, 2.0, 0.1, 0.1), strict=True)
        )
        self.biases = nn.ParameterList(
            torch.zeros(networks, 1, b) for b in (hidden, hidden, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (networks, batch, classes) of inputs (networks, batch, features)."""
        w1, w2, w3, skip = self.weights
        b1, b2, b3 = self.biases
        h = torch.relu(torch.baddbmm(b1, x, w1))
        h = torch.relu(torch.baddbmm(b2, h, w2))
        return torch.baddbmm(b3, h, w3) + x @ skip


@dataclass(frozen=True)
class Part:
    """Data, scaled when it is asked for, so that much of it is never copied as a whole."""

    x: np.ndarray
    y: np.ndarray
    scaling: Scaling | None
    device: str
    dtype: type = np.float32

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """Scaled inputs of these rows."""
        x = self.x[rows]
        return (x if self.scaling is None else self.scaling(x)).astype(self.dtype, copy=False)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Inputs and labels of these rows, in the shape of `rows`, for the networks."""
        z = torch.from_numpy(self.inputs(rows)).to(self.device)
        return z, torch.from_numpy(self.y[rows]).to(self.device)


def train_networks(
    data: Part,
    classes: int,
    training: np.ndarray,
    validation: np.ndarray | None,
    *,
    rounds: int,
    seed: int,
) -> tuple[Networks, int]:
    """Train a network on each of the rows of `training`; return their averaged weights.

    Adam with decoupled weight decay; the weights are averaged over about one round. With
    validation rows, shape (networks, rows), the round with the lowest log-loss there is kept, and
    training ends `PATIENCE` rounds after it; without, it takes all `rounds`. Also returns their
    number.
    """
    rng = np.random.default_rng(seed)
    samples, features = training.shape[1], data.x.shape[1]
    batch = min(512, max(16, samples // 8))
    steps = min(math.ceil(samples / batch), 400)
    hidden = 64 if samples < 2_000 else 128
    model = Networks(len(training), features, classes, hidden, seed=seed).to(data.device)
    average = copy.deepcopy(model).requires_grad_(False)
    parameters: list[Tensor] = list(model.parameters())
    averaged: list[Tensor] = list(average.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    taken = [torch.zeros((), device=data.device) for _ in parameters]
    best, best_round, kept = math.inf, rounds, average
    for done in range(1, rounds + 1):
        for _ in range(steps):
            chosen = rng.integers(samples, size=(len(training), batch))
            x, y = data.batch(np.take_along_axis(training, chosen, axis=1))
            # Times their number: each network sees the gradient of its own mean loss.
            loss = cross_entropy(model(x).flatten(0, 1), y.flatten()) * len(training)
            gradients = list(torch.autograd.grad(loss, parameters))
            with torch.no_grad():
                # The class AdamW does the same, and searches for a GPU at every step.
                adamw(
                    parameters, gradients, first, second, [], taken, fused=True, amsgrad=False,
                    beta1=0.9, beta2=0.999, lr=RATE, weight_decay=1e-2, eps=1e-8, maximize=False,
                )  # fmt: skip
                torch._foreach_lerp_(averaged, parameters, 1 / (steps + 1))
        if validation is None:
            continue
        log_q = network_log_probabilities(average, data, validation)
        loss = -np.take_along_axis(log_q, data.y[validation][:, :, None], 2).mean()
        if loss < best - 5e-4:
            best, best_round, kept = loss, done, copy.deepcopy(average)
        elif done - best_round >= PATIENCE:
            break
    return kept, best_round


@torch.no_grad()
def network_log_probabilities(networks: Networks, data: Part, rows: np.ndarray) -> np.ndarray:
    """Log-probabilities (networks, rows, classes) of rows (networks, rows) or (1, rows)."""
    copies = networks.biases[0].shape[0]
    parts = [
        networks(data.batch(chunk)[0].expand(copies, -1, -1)).log_softmax(-1).cpu().numpy()
        for chunk in np.array_split(rows, math.ceil(rows.shape[1] / CHUNK), axis=1)
    ]
    return np.concatenate(parts, axis=1, dtype=np.float64)
