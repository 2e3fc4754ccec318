"""A joint distribution of two discrete variables, with every quantity exact."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmi._checks import as_prior
from softmi.information.pointwise import entropy
from softmi.synthetic.task import KnownMutualInformation, _table


class DiscreteJoint:
    r"""A joint table over a discrete input and a label: everything about it is exact.

    Args:
        table: :math:`p(x, y)`, shape (inputs, classes), non-negative, summing to one.

    Raises:
        ValueError: A table that is not a distribution over two axes.

    Example:
        >>> round(DiscreteJoint([[0.5, 0.0], [0.0, 0.5]]).mutual_information().value, 4)
        0.6931

    """

    def __init__(self, table: Tensor | list) -> None:
        self.table = _table(table, "table", "(inputs, classes)")
        as_prior(self.table.flatten())  # raises unless it is a distribution

    @property
    def prior(self) -> Float[Tensor, " classes"]:
        """Marginal of the label."""
        return self.table.sum(0)

    @property
    def input_marginal(self) -> Float[Tensor, " inputs"]:
        """Marginal of the input."""
        return self.table.sum(1)

    def posterior(self) -> Float[Tensor, "inputs classes"]:
        """p(y|x), a row for each input; uniform for an input that never occurs."""
        marginal = self.input_marginal[:, None]
        return torch.where(marginal > 0, self.table / marginal, 1 / self.table.shape[1])

    def mutual_information(self) -> KnownMutualInformation:
        r""":math:`H(X) + H(Y) - H(X, Y)`, in nats, exact up to rounding."""
        value = entropy(self.input_marginal) + entropy(self.prior) - entropy(self.table.flatten())
        return KnownMutualInformation(max(0.0, float(value)), 0.0, "exact")

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Int[Tensor, " samples"], Int[Tensor, " samples"]]:
        """Draw n pairs of input index and label."""
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        cell = torch.multinomial(self.table.flatten(), n, replacement=True, generator=generator)
        return cell // self.table.shape[1], cell % self.table.shape[1]
