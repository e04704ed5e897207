"""Turns a recorded price into a book that can be traded on: how far the touches lie from it and how much they offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kimp.shared.domain.history import Values


class SlippageModel(Protocol):
    """What a bar's price would have cost to trade at."""

    def half_spread(self, price: Values, volume: Values) -> Values:
        """Distance of each touch from the price, as a fraction of it."""
        ...

    def depth(self, price: Values, volume: Values) -> Values:
        """Base coins offered at each touch."""
        ...

    def describe(self) -> str:
        """The model in words, for the assumptions box."""
        ...


@dataclass(frozen=True, slots=True)
class FixedSlippage:
    """Every fill is worse than the bar's price by the same fraction, whatever its size: simple and easy to compare."""

    rate: float = 0.0005

    def half_spread(self, price: Values, volume: Values) -> Values:  # noqa: ARG002
        """The same fraction for every bar."""
        return np.full(len(price), self.rate)

    def depth(self, price: Values, volume: Values) -> Values:  # noqa: ARG002
        """Enough for any order of this account."""
        return np.full(len(price), 1e6)

    def describe(self) -> str:
        """The model in words."""
        return f"fixed {self.rate:.4%} per fill, unlimited depth"


@dataclass(frozen=True, slots=True)
class VolumeSlippage:
    """A touch offers only a share of the bar's volume, so large orders fill in part and quiet minutes fill little."""

    rate: float = 0.0005
    share: float = 0.1

    def half_spread(self, price: Values, volume: Values) -> Values:  # noqa: ARG002
        """The same fraction for every bar."""
        return np.full(len(price), self.rate)

    def depth(self, price: Values, volume: Values) -> Values:  # noqa: ARG002
        """A share of what really traded in the bar (base coins)."""
        return np.maximum(volume * self.share, 1e-8)

    def describe(self) -> str:
        """The model in words."""
        return f"fixed {self.rate:.4%} per fill, at most {self.share:.0%} of a bar's volume"
