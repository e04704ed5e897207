"""How long a request and its answer travel, as a small port."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Protocol

from kimp.shared.domain.time import MILLISECOND, Nanos


class LatencyModel(Protocol):
    """One-way delays between the engine and a venue (nanoseconds)."""

    def delay(self) -> Nanos:
        """The next delay, one way."""
        ...


@dataclass(frozen=True, slots=True)
class FixedLatency:
    """Every message takes the same time: 25 ms one way is an ordinary home line to both venues."""

    one_way: Nanos = 25 * MILLISECOND

    def delay(self) -> Nanos:
        """Always the same."""
        return self.one_way


@dataclass(frozen=True, slots=True)
class RandomLatency:
    """Delays drawn log-normally around a median, as measured networks show; reproducible by the seeded ``dice``."""

    dice: Random
    median: Nanos = 25 * MILLISECOND
    sigma: float = 0.5

    def delay(self) -> Nanos:
        """A fresh draw."""
        return int(self.median * self.dice.lognormvariate(0.0, self.sigma))
