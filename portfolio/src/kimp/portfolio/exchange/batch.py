"""What one request or one movement of the market changed: first written down, then told."""

from __future__ import annotations

from dataclasses import dataclass, field

from kimp.portfolio.exchange.facts import Fact
from kimp.portfolio.exchange.happenings import BalancesMoved, Happening
from kimp.research.simulation.arrivals import EventAt
from kimp.shared.domain.instruments import Instrument, Kind
from kimp.shared.domain.time import Nanos


@dataclass(slots=True)
class Batch:
    """Facts for the diary, happenings for listeners and news for the private stream, all of one moment."""

    at: Nanos
    facts: list[Fact] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    news: list[EventAt] = field(default_factory=list)
    _touched: dict[str, dict[str, None]] = field(default_factory=dict)

    def touch(self, why: str, *assets: str) -> None:
        """These balances changed."""
        self._touched.setdefault(why, {}).update(dict.fromkeys(assets))

    def traded(self, instrument: Instrument) -> None:
        """An order of this instrument was taken, filled or ended."""
        is_spot = instrument.kind is Kind.SPOT
        self.touch("order", *((instrument.base, instrument.quote) if is_spot else (instrument.quote,)))

    def told(self) -> list[Happening]:
        """All happenings, balances last, so that who asks then sees what he was told before."""
        moved = [BalancesMoved(tuple(assets), self.at, why) for why, assets in self._touched.items()]
        return [*self.happenings, *moved]
