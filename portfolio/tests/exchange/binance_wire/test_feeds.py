"""kimp's own Binance feed reads the virtual venue as it reads the real one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from kimp.portfolio.exchange.binance_wire.broadcast import Broadcast
from kimp.shared.domain.books import Book
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.ticks import MarkPrice, PublicTrade
from kimp.shared.domain.time import HOUR, MILLISECOND
from kimp.shared.messages.events import FeedLost
from kimp.shared.settings import Binance
from kimp.storage.feeds.binance import BinanceSubscription
from kimp.storage.feeds.events import Refused, Touch
from kimp.storage.feeds.wiring import binance_feed

PATIENCE_S = 15.0
DETAILED = BinanceSubscription(
    depth=("BTCUSDT",),
    touches=("BTCUSDT",),
    trades=("BTCUSDT",),
    marks=("BTCUSDT",),
    candles=("BTCUSDT",),
)


@asynccontextmanager
async def feeding(rig: Any, subscription: BinanceSubscription) -> AsyncIterator[tuple[Any, asyncio.Queue[Any]]]:
    settings = Binance(
        rest_url=rig.served.http_url,
        ws_public_url=f"{rig.served.ws_url}/public",
        ws_market_url=f"{rig.served.ws_url}/market",
    )
    feed = binance_feed(settings, subscription, clock=rig.clock, dice=Random(1))
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(feed.run(outbox)), group.create_task(keep_moving(rig))]
        yield feed, outbox
        for task in tasks:
            task.cancel()


async def keep_moving(rig: Any) -> None:
    dice = Random(7)
    while True:
        rig.show(f"{dice.randint(99_900, 100_100)}", size=f"{dice.randint(1, 9)}", levels=dice.randint(5, 30))
        await rig.clock.sleep_until(rig.clock.now() + 5 * MILLISECOND)


def test_every_kind_arrives_and_the_book_joins_without_a_fault(tell_live: Any) -> None:
    async def story(rig: Any) -> None:
        rig.fund("0.0001", settles_at=rig.clock.now() + HOUR)
        seen: dict[type, int] = {}
        async with asyncio.timeout(PATIENCE_S), feeding(rig, DETAILED) as (feed, outbox):
            while seen.get(Book, 0) < 200 or not {Touch, PublicTrade, MarkPrice, Candle} <= seen.keys():
                event = await outbox.get()
                assert not isinstance(event, Refused)
                seen[type(event)] = seen.get(type(event), 0) + 1
                if isinstance(event, Book):
                    assert event.fault() is None
            doubts = {name for name in feed.counts if "distrusted" in name or name == "unreadable"}
            assert not doubts, feed.counts
            assert feed.counts["snapshot joined"] >= 1, feed.counts

    tell_live(story)


def test_the_feeds_book_equals_the_venues(tell_live: Any) -> None:
    async def story(rig: Any) -> None:
        async with asyncio.timeout(PATIENCE_S), feeding(rig, BinanceSubscription(depth=("BTCUSDT",))) as (_, outbox):
            compared = 0
            shown: dict[int, Book] = {}
            instrument_id = "binance:BTCUSDT"
            while compared < 50:
                event = await outbox.get()
                book = rig.boards.book(instrument_id)
                shown[book.venue_at // MILLISECOND] = book
                if isinstance(event, Book) and (true := shown.get(event.venue_at // MILLISECOND)) is not None:
                    assert event.bids[:5] == true.bids[:5]
                    assert event.asks[:5] == true.asks[:5]
                    compared += 1

    tell_live(story)


def test_a_lost_difference_is_noticed_and_mended(tell_live: Any, monkeypatch: Any) -> None:
    told = Broadcast._tell_change
    to_lose = 0

    def forgetful(self: Broadcast, tape: Any, change: Any) -> None:
        nonlocal to_lose
        if to_lose:
            to_lose -= 1
            return
        told(self, tape, change)

    monkeypatch.setattr(Broadcast, "_tell_change", forgetful)

    async def story(rig: Any) -> None:
        nonlocal to_lose
        async with asyncio.timeout(PATIENCE_S), feeding(rig, BinanceSubscription(depth=("BTCUSDT",))) as (feed, outbox):
            while not isinstance(await outbox.get(), Book):
                pass
            to_lose = 1
            while not isinstance(event := await outbox.get(), FeedLost) or to_lose:
                assert not isinstance(event, Book) or event.fault() is None
            while not isinstance(await outbox.get(), Book):
                pass
            assert feed.counts["snapshot joined"] >= 2

    tell_live(story)
