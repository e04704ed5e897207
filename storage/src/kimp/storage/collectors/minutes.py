"""Minute bars from other people's trades: what Upbit's bars are until its own word on them is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kimp.shared.domain.candles import Candle
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import MINUTE, SECOND, Nanos

GRACE: Nanos = 2 * SECOND
"""How long after its end a minute waits for late trades; the venue's own bars come with the next repair anyway."""
KEPT: Nanos = 5 * MINUTE
"""How long a bar that was told can still be amended by a late trade."""


@dataclass
class _Bar:
    """One minute under way; a trade's place in it is its venue time and id, not its arrival."""

    first: tuple[Nanos, int]
    last: tuple[Nanos, int]
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    turnover: Decimal = ZERO
    is_told: bool = False

    def add(self, trade: PublicTrade) -> None:
        place = (trade.venue_at, trade.trade_id)
        if place < self.first:
            self.first, self.open = place, trade.price
        if place > self.last:
            self.last, self.close = place, trade.price
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.volume += trade.quantity
        self.turnover += trade.price * trade.quantity
        self.is_told = False


class MinuteBuilder:
    """Bars of one market. A minute that was not heard from its first moment on is left out: the venue knows it whole."""

    def __init__(self, instrument_id: InstrumentId) -> None:
        self._instrument_id = instrument_id
        self._bars: dict[Nanos, _Bar] = {}
        self._heard_since: Nanos | None = None

    def heard(self, at: Nanos) -> None:
        """The market's connection delivers."""
        if self._heard_since is None:
            self._heard_since = at

    def lost(self) -> None:
        """The connection broke: nobody knows which trades are missing since."""
        self._heard_since = None
        self._bars.clear()

    def add(self, trade: PublicTrade) -> None:
        """One trade, however late."""
        opened_at = trade.venue_at // MINUTE * MINUTE
        if self._heard_since is None or opened_at < self._heard_since:
            return
        bar = self._bars.get(opened_at)
        if bar is None:
            place, price = (trade.venue_at, trade.trade_id), trade.price
            bar = self._bars[opened_at] = _Bar(place, place, price, price, price, price)
        bar.add(trade)

    def closed(self, now: Nanos) -> list[Candle]:
        """Bars that ended and were not told yet, or changed since; call it every second or so."""
        done: list[Candle] = []
        for opened_at in sorted(self._bars):
            bar, ends_at = self._bars[opened_at], opened_at + MINUTE
            if not bar.is_told and now >= ends_at + GRACE:
                bar.is_told = True
                done.append(self._candle(opened_at, bar, now))
            if now >= ends_at + KEPT:
                del self._bars[opened_at]
        return done

    def _candle(self, opened_at: Nanos, bar: _Bar, now: Nanos) -> Candle:
        prices = (bar.open, bar.high, bar.low, bar.close)
        return Candle(self._instrument_id, MINUTE, opened_at, *prices, bar.volume, bar.turnover, True, now)
