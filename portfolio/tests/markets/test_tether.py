"""The KRW-USDT book of a market that only knows the rate."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

from kimp.portfolio.markets.tether import TETHER_MARKET, WithTether, tether_book
from kimp.shared.domain.fx import USDT, FxQuote
from kimp.shared.domain.time import SECOND
from kimp.shared.messages.events import FeedLost, MarketMoved
from kimp.storage.feeds.exchange_rate.tether import TetherRate


def moved(at: int, rate: str | None = None) -> MarketMoved:
    rates = () if rate is None else (FxQuote(USDT, Decimal(rate), at, at + 60 * SECOND, "test"),)
    return MarketMoved(at, rates=rates)


def test_the_rate_that_is_read_from_the_book_is_the_rate() -> None:
    read = TetherRate().read(tether_book(Decimal("1330"), 5))
    assert read is not None
    assert read.value == Decimal(1330)
    assert tether_book(Decimal("1330"), 5).fault() is None


def test_a_book_is_shown_once_a_second_from_the_first_rate_on() -> None:
    class Market:
        async def stream(self) -> AsyncIterator[MarketMoved | FeedLost]:
            yield moved(SECOND)
            yield moved(2 * SECOND, "1330")
            yield FeedLost(2 * SECOND, "upbit:KRW-BTC", "test")
            yield moved(2 * SECOND + 1)
            yield moved(3 * SECOND)

    async def collect() -> list[object]:
        return [event async for event in WithTether(Market()).stream()]

    events = asyncio.run(collect())
    shown = [isinstance(event, MarketMoved) and [book.instrument_id for book in event.books] for event in events]
    assert shown == [[], [TETHER_MARKET.id], False, [], [TETHER_MARKET.id]]
