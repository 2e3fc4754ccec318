"""A label-noise channel over any data: information between bounds."""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from softmi._checks import PriorLike, as_prior, check_targets, describe
from softmi.synthetic.discrete import DiscreteJoint
from softmi.synthetic.task import KnownMutualInformation, _prior_or_uniform, _table


class LabelNoise:
    r"""A channel that turns a clean label into a noisy one, whatever the input.

    .. math:: W_{kj} = p(\tilde Y = j \mid Y = k), \qquad X \to Y \to \tilde Y

    On real data nobody knows :math:`I(X;Y)`, but labels sent through a known channel have a known
    :math:`I(Y;\tilde Y)`, and :math:`I(X;\tilde Y)` is at most that (data processing), equal if
    the input determines the clean label, and nearly so if it nearly does: see :meth:`bounds`.

    Args:
        transition: :math:`W`, shape (classes, noisy classes), rows that are distributions.
        prior: :math:`\pi` of the clean label, shape (classes,).

    Raises:
        ValueError: A row or a prior that is no distribution, or shapes that do not match.

    Example:
        >>> noise = LabelNoise.symmetric(10, 0.2)
        >>> round(noise.mutual_information().value, 4)
        1.3627
        >>> low, high = noise.bounds(0.01)
        >>> round(low, 4), round(high, 4)
        (1.3351, 1.3627)

    """

    def __init__(self, transition: Tensor | list, prior: PriorLike) -> None:
        self.transition = _as_channel(transition, name="transition")
        self.prior = as_prior(prior, classes=len(self.transition), like=self.transition)

    @classmethod
    def symmetric(
        cls, classes: int, rate: float | int, prior: PriorLike | None = None
    ) -> "LabelNoise":
        r"""A label is kept with probability :math:`1 - r`, else any other is taken alike.

        .. math:: W_{kk} = 1 - r, \qquad W_{kj} = \frac{r}{M - 1} \quad (j \ne k)

        Args:
            classes: :math:`M`, at least 2.
            rate: :math:`r`, in [0, 1]; at :math:`1 - 1/M` the noisy label tells nothing.
            prior: Shape (classes,); None is uniform.

        Raises:
            ValueError: Fewer than two classes, a rate outside [0, 1], or a prior that is no
                distribution over the classes.

        """
        if classes < 2 or not 0 <= rate <= 1:
            raise ValueError(f"need classes >= 2 and a rate in [0, 1], got {classes=}, {rate=}")
        transition = torch.full((classes, classes), rate / (classes - 1), dtype=torch.float64)
        transition.fill_diagonal_(1 - rate)
        return cls(transition, _prior_or_uniform(prior, classes))

    @property
    def classes(self) -> int:
        """Number of clean classes."""
        return self.prior.numel()

    @property
    def joint(self) -> DiscreteJoint:
        r"""Table of :math:`p(y, \tilde y)`: the clean label is its input, the noisy one its class.

        Its `prior` is that of the noisy label.
        """
        return DiscreteJoint(self.prior[:, None] * self.transition)

    def apply(
        self, y: Int[Tensor, " samples"], generator: torch.Generator | None = None
    ) -> Int[Tensor, " samples"]:
        """Draw a noisy label for each clean one; int64.

        Raises:
            TypeError: Labels that are not integers.
            ValueError: Labels outside [0, classes), or not in one dimension.

        """
        check_targets(y, self.transition.new_empty(y.numel(), self.classes))
        if not y.numel():
            return y.long()
        rows = self.transition[y.long()]
        return torch.multinomial(rows, 1, generator=generator)[:, 0]

    def mutual_information(self) -> KnownMutualInformation:
        r""":math:`I(Y;\tilde Y)` in nats, exact up to rounding."""
        return self.joint.mutual_information()

    def bounds(
        self,
        error_rate: float | int | None = None,
        *,
        confusion: Tensor | list | None = None,
    ) -> tuple[float, float]:
        r"""Lower and upper bound of :math:`I(X;\tilde Y)` in nats, for inputs that tell of Y.

        The upper one is :math:`I(Y;\tilde Y)`. The lower one follows from how well some classifier
        :math:`\hat Y = g(X)` finds the *clean* label; give its error rate or, better, its
        confusion matrix. What is estimated from a sample makes the bound an estimate too.

        **From the confusion matrix**, :math:`I(X;\tilde Y) \ge I(\hat Y;\tilde Y)`. Proof: data
        processing along :math:`\tilde Y \to X \to \hat Y`; and as :math:`\hat Y` and
        :math:`\tilde Y` are independent given Y, their joint table is
        :math:`\sum_k \pi_k C_{ki} W_{kj}`.

        **From the error rate** :math:`e`, with :math:`\phi(t) = -t \log t - (1-t) \log(1-t) +
        t \log(M-1)` up to its maximum :math:`\log M` at :math:`1 - 1/M`, constant beyond, and
        :math:`\eta = \max_{k,l} \frac12 \sum_j |W_{kj} - W_{lj}|`,

        .. math:: I(Y;\tilde Y) - I(X;\tilde Y) = I(Y;\tilde Y \mid X) \le \eta\, H(Y \mid X)
            \le \eta\, \phi(e) .

        Proof: the chain rule along :math:`X \to Y \to \tilde Y`; the channel contracts information
        by Dobrushin's :math:`\eta` (Polyanskiy and Wu 2017), applied to :math:`Y \to Y \to
        \tilde Y` given each x; Fano's inequality.

        For a symmetric channel of rate :math:`r \le 1 - 1/M` this sharpens to
        :math:`\phi(e \circ r) - \phi(r)` with :math:`e \circ r = e + r - e r M/(M-1)`, the error
        of both in a row. Proof: :math:`I(Y;\tilde Y|X=x) = H(\tilde Y|x) - \phi(r)`, and Fano's
        inequality for :math:`\tilde Y` given :math:`\hat Y`, wrong with probability
        :math:`e \circ r`, bounds :math:`H(\tilde Y|X) \le H(\tilde Y|\hat Y)`.

        The bound from a classifier's confusion matrix is never below that from its error rate.
        Proof: :math:`I(Y;\tilde Y) - I(\hat Y;\tilde Y) = I(Y;\tilde Y|\hat Y)`, and both proofs
        above hold with :math:`\hat Y` for X.

        Args:
            error_rate: Probability that the best classifier errs, or an upper bound on it, such as
                the error rate of any classifier.
            confusion: :math:`C_{ki} = p(\hat Y = i \mid Y = k)`, shape (classes, predictions).

        Raises:
            ValueError: Not exactly one of the two, an error rate outside [0, 1], or a confusion
                matrix without a distribution for each clean class.

        """
        if (error_rate is None) == (confusion is None):
            raise ValueError(
                f"give either error_rate or confusion, got {error_rate} and {confusion}"
            )
        high = self.mutual_information().value
        if confusion is not None:
            table = _as_channel(confusion, name="confusion")
            if len(table) != self.classes:
                raise ValueError(
                    f"confusion must have a row for each of {self.classes} classes, got "
                    f"{describe(table)}"
                )
            joint = DiscreteJoint((self.prior[:, None] * table).T @ self.transition)
            return min(high, joint.mutual_information().value), high
        assert error_rate is not None
        if not 0 <= error_rate <= 1:
            raise ValueError(f"error_rate must lie in [0, 1], got {error_rate}")
        classes, rate = self.classes, self._symmetric_rate()
        if rate is None:
            # Dobrushin's coefficient: the largest total variation between two rows.
            contraction = float(torch.cdist(self.transition, self.transition, p=1).max()) / 2
            loss = contraction * _fano(float(error_rate), classes)
        else:
            error = min(error_rate, 1 - 1 / classes)
            both = error + rate - error * rate * classes / (classes - 1)
            loss = _fano(both, classes) - _fano(rate, classes)
        return min(high, max(0.0, high - loss)), high

    def _symmetric_rate(self) -> float | None:
        """Rate of a symmetric channel that errs no more than by chance; None for any other."""
        classes = self.classes
        if classes < 2 or self.transition.shape != (classes, classes):
            return None
        rate = 1 - float(self.transition.diagonal().mean())
        expected = torch.full_like(self.transition, rate / (classes - 1)).fill_diagonal_(1 - rate)
        # A tolerance for rounding only: the sharper bound assumes the symmetry.
        close = torch.allclose(self.transition, expected, rtol=0, atol=1e-12)
        return max(0.0, rate) if close and rate <= 1 - 1 / classes else None


def _as_channel(channel: Tensor | list, *, name: str) -> Tensor:
    rows = _table(channel, name, "(classes, outputs)")
    sums = rows.sum(1)
    # Rows divided by their sum in float32 miss one by some of its roundings.
    if (rows < 0).any() or (sums - 1).abs().max() > 1e-6:
        raise ValueError(
            f"each row of {name} must be non-negative and sum to 1, got sums {sums.tolist()} and "
            f"a smallest entry {float(rows.min())}"
        )
    return rows


def _fano(error: float, classes: int) -> float:
    """Largest conditional entropy of a label that is guessed with this error, in nats."""
    error = min(error, 1 - 1 / classes)
    if error <= 0:
        return 0.0
    return -error * math.log(error / (classes - 1)) - (1 - error) * math.log1p(-error)
