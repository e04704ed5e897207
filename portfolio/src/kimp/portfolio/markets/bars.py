"""Minute candles made of trades as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from kimp.shared.domain.candles import Candle
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import MINUTE, Nanos

BARS_MAX = 1_500
"""Minutes kept per instrument: the most Binance shows in one answer, a day and an hour."""


class Bars:
    """The last minutes of one instrument; a minute without a trade has no bar, as Upbit has it."""

    def __init__(self, instrument_id: InstrumentId) -> None:
        self._instrument_id = instrument_id
        self._bars: deque[Candle] = deque(maxlen=BARS_MAX)

    def add(self, trade: PublicTrade) -> None:
        """Take in a trade; one that is later than its minute counts for the running one, as it is not told otherwise."""
        opened_at = trade.venue_at - trade.venue_at % MINUTE
        turnover = trade.price * trade.quantity
        if self._bars and self._bars[-1].opened_at >= opened_at:
            bar = self._bars.pop()
            self._bars.append(
                msgspec.structs.replace(
                    bar,
                    high=max(bar.high, trade.price),
                    low=min(bar.low, trade.price),
                    close=trade.price,
                    volume=bar.volume + trade.quantity,
                    turnover=bar.turnover + turnover,
                    received_at=trade.received_at,
                )
            )
            return
        price = trade.price
        self._bars.append(
            Candle(
                self._instrument_id, MINUTE, opened_at, price, price, price, price, trade.quantity, turnover,
                is_closed=False, received_at=trade.received_at,
            )
        )  # fmt: skip

    def latest(self, count: int, before: Nanos | None, now: Nanos) -> Sequence[Candle]:
        """At most ``count`` bars opened before ``before``, oldest first; closed where their minute is over ``now``."""
        bars = [bar for bar in self._bars if before is None or bar.opened_at < before]
        return tuple(
            msgspec.structs.replace(bar, is_closed=bar.opened_at + MINUTE <= now) for bar in bars[-count:] if count > 0
        )
