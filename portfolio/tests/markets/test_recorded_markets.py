"""Recorded frames and bars, and live feeds, become markets with boards."""

import asyncio
import os
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from kimp.portfolio.markets.bar_market import BarMarket
from kimp.portfolio.markets.boards import Boards
from kimp.portfolio.markets.mirrored import MirrorMarket
from kimp.portfolio.markets.replayed import ReplayMarket, shift
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Side, default_pair
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND, Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.shared.settings import Settings
from kimp.storage.archive import read_market
from kimp.storage.feeds.captures import read_items
from kimp.storage.feeds.events import FeedEvent
from kimp.storage.feeds.reader import FeedReader
from kimp.storage.feeds.upbit import UpbitDecoder, UpbitSubscription

D = Decimal


class JumpingClock:
    """Time that is where the last sleeper wanted it."""

    def __init__(self, at: Nanos) -> None:
        self.at = at

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.at = max(self.at, at)


def recorded(part: str) -> Path:
    found = os.environ.get("KIMP_TEST_DATA")
    if found is None or not (Path(found) / part).exists():
        pytest.skip("KIMP_TEST_DATA names no directory with recorded market data")
    return Path(found) / part


def book(bid: int, ask: int, at: Nanos = 0) -> Book:
    return Book("upbit:KRW-BTC", (Level(D(bid), D("0.5")),), (Level(D(ask), D("0.25")),), at, at)


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_recorded_frames_are_played_on_the_clock_with_nothing_stale(speed: float) -> None:
    items = list(read_items(recorded("frames/cryptofeed_UPBIT.ws.62.0.txt.gz")))
    began = 20_000 * DAY
    market = ReplayMarket(
        items, {"upbit": FeedReader(UpbitDecoder(UpbitSubscription()))}, JumpingClock(began), speed=speed
    )

    async def play() -> list[MarketMoved]:
        return [moved async for moved in market.stream() if isinstance(moved, MarketMoved)]

    events = asyncio.run(play())
    assert len(events) == 145
    assert began <= events[0].at <= events[-1].at
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert all(0 <= event.at - shown.received_at <= SECOND for event in events for shown in event.books)
    assert all(abs(shown.venue_at - shown.received_at) < 5 * SECOND for event in events for shown in event.books)
    shown = [leg for leg in market.boards.instruments() if market.boards.trades(leg, 1)]
    assert shown
    for leg in shown:
        candles, last = market.boards.candles(leg, 10), market.boards.last(leg)
        assert candles[-1].close == last
        traded = market.boards.trades(leg, 1_000)
        assert sum(candle.volume for candle in candles) == sum(trade.quantity for trade in traded)


def test_recorded_bars_are_a_market_too() -> None:
    start = 1_757_000_000 * SECOND // MINUTE * MINUTE
    data = read_market(recorded("market"), start=start // HOUR * HOUR, end=start // HOUR * HOUR + 2 * HOUR)
    market = BarMarket(data, default_pair("BTC"), JumpingClock(data.start), every=10 * SECOND)

    async def play() -> list[MarketMoved]:
        return [moved async for moved in market.stream()]

    events = asyncio.run(play())
    assert len(events) == 2 * HOUR // (10 * SECOND)
    assert all(book.fault() is None for event in events for book in event.books)
    assert market.boards.last(default_pair("BTC").abroad.id) is not None


def test_a_shift_moves_every_date() -> None:
    moved = MarketMoved(5, (book(1, 2, 4),), (FxQuote("USD", D(1_400), 1, 9, "x"),), (FundingRate("b", D(0), 2, 8, 4),))
    later = shift(moved, lambda at: at + 100)
    assert later == MarketMoved(
        105, (book(1, 2, 104),), (FxQuote("USD", D(1_400), 101, 109, "x"),), (FundingRate("b", D(0), 102, 108, 4),)
    )
    assert shift(FeedLost(5, "a", "silent"), lambda at: at + 1) == FeedLost(6, "a", "silent")
    assert shift(FeedBack(5, "a"), lambda at: at + 1) == FeedBack(6, "a")


class FakeFeed:
    """Tells what it is given, as a venue's connection would."""

    def __init__(self, events: list[FeedEvent]) -> None:
        self._events = events

    async def run(self, outbox: "asyncio.Queue[FeedEvent]") -> None:
        for event in self._events:
            await outbox.put(event)


def test_a_mirror_shows_what_the_feeds_tell_and_their_losses() -> None:
    trade = PublicTrade("upbit:KRW-BTC", 7, Side.SELL, D(99), D("0.1"), 3, 3)
    told: list[FeedEvent] = [book(99, 101, 1), trade, FeedLost(4, "upbit:KRW-BTC", "silent"), book(98, 100, 5)]

    async def play() -> tuple[list[object], Boards]:
        events: list[object] = []
        mirror = MirrorMarket(Settings(), ["BTC"], clock=JumpingClock(0), dice=Random(1), feeds=[FakeFeed(told)])
        async with mirror as market:
            async for moved in market.stream():
                events.append(moved)
                if len(events) == 3:
                    break
        return events, market.boards

    events, boards = asyncio.run(play())
    assert [type(event) for event in events] == [MarketMoved, FeedLost, MarketMoved]
    assert boards.trades("upbit:KRW-BTC", 5)[-1] == trade
    assert boards.book("upbit:KRW-BTC") == told[-1]


def test_where_nobody_tells_trades_they_follow_the_touch() -> None:
    boards = Boards()
    for at, (bid, ask) in enumerate([(99, 101), (99, 101), (100, 102), (97, 98)]):
        boards.note(MarketMoved(at * SECOND * 20, (book(bid, ask, at * SECOND * 20),)))
    trades = boards.trades("upbit:KRW-BTC", 10)
    assert [(trade.side, trade.price) for trade in trades] == [(Side.BUY, 101), (Side.BUY, 102), (Side.SELL, 97)]
    first, second = boards.candles("upbit:KRW-BTC", 10)
    assert (first.open, first.high, first.low, first.close, first.is_closed) == (101, 102, 101, 102, True)
    assert (second.open, second.high, second.low, second.close, second.is_closed) == (97, 97, 97, 97, False)
    assert (second.opened_at, second.volume, second.turnover) == (MINUTE, D("0.5"), D("48.5"))
    assert boards.mark("upbit:KRW-BTC") == D("97.5")
    assert boards.candles("upbit:KRW-BTC", 1, MINUTE) == (first,)


def test_boards_keep_the_last_mark_and_tell_nothing_of_what_they_never_saw() -> None:
    boards = Boards()
    boards.note(MarketMoved(0, (book(99, 101),), (FxQuote("USD", D(1_400), 0, 9, "x"),)))
    boards.note(MarketMoved(1, (Book("upbit:KRW-BTC", (), (Level(D(105), D(1)),), 1, 1),)))
    assert boards.mark("upbit:KRW-BTC") == 100
    assert boards.last("upbit:KRW-BTC") == 101
    assert boards.rates["USD"].value == 1_400
    assert (boards.book("x"), boards.mark("x"), boards.last("x"), boards.funding("x")) == (None, None, None, None)
    assert (boards.trades("x", 5), boards.candles("x", 5), boards.trades("upbit:KRW-BTC", 0)) == ((), (), ())
