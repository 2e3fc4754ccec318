"""Numbers in nats that can be read in bits."""

import math
from dataclasses import replace
from typing import ClassVar, TypeVar

Estimate = TypeVar("Estimate", bound="InNats")


class InNats:
    """What estimates of several kinds share: `float(estimate)`, and the same one in bits."""

    NATS: ClassVar[tuple[str, ...]]  # the fields that change with the unit
    value: float
    unit: str

    def __float__(self) -> float:
        return self.value

    def in_bits(self: Estimate) -> Estimate:
        """Return the same estimate in bits (1 bit = log 2 nats)."""
        if self.unit == "bits":
            return self
        bits = {name: getattr(self, name) / math.log(2) for name in self.NATS}
        return replace(self, unit="bits", **bits)  # type: ignore[type-var]
