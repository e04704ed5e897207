"""Adds Upbit's KRW-USDT market to one that only knows the rate, for clients that read the rate from its book."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.fx import USDT
from kimp.shared.domain.instruments import Instrument, Side, upbit_spot
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.shared.ports.market import MarketDataSource

TETHER_MARKET: Instrument = upbit_spot("USDT")

DEPTH = Decimal(200_000)
"""Tethers on each side: on the real market some hundred thousand stand at the touch."""

SHOWN_EVERY: Nanos = SECOND


def tether_book(rate: Decimal, at: Nanos) -> Book:
    """A book whose middle is the rate, to the market's whole-won tick: one tick off on either side."""
    rules = TETHER_MARKET.rules
    middle = rules.bound(rate, Side.BUY)
    tick = rules.tick_at(middle)
    bids, asks = (Level(middle - tick, DEPTH),), (Level(middle + tick, DEPTH),)
    return Book(TETHER_MARKET.id, bids, asks, at, at)


class WithTether:
    """The market inside, with a KRW-USDT book every second once its rate is known."""

    def __init__(self, market: MarketDataSource) -> None:
        self._market = market

    async def stream(self) -> AsyncIterator[MarketMoved | FeedLost | FeedBack]:
        """Events in the order they arrived."""
        rate: Decimal | None = None
        shown_at: Nanos = 0
        async for moved in self._market.stream():
            if not isinstance(moved, MarketMoved):
                yield moved
                continue
            rate = next((quote.value for quote in moved.rates if quote.base == USDT), rate)
            if rate is not None and moved.at >= shown_at + SHOWN_EVERY:
                shown_at = moved.at
                moved = msgspec.structs.replace(moved, books=(*moved.books, tether_book(rate, moved.at)))
            yield moved
