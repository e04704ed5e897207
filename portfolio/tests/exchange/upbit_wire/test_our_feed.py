"""The feed that reads the real Upbit reads the virtual one without noticing."""

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.messages.events import FeedLost
from kimp.shared.settings import Upbit
from kimp.storage.feeds.clocks import SystemClock
from kimp.storage.feeds.events import FeedEvent, Refused, Ticker
from kimp.storage.feeds.upbit import Form, UpbitSubscription
from kimp.storage.feeds.wiring import upbit_feed

QUOTES = 40


@pytest.mark.parametrize("form", [Form.SIMPLE, Form.DEFAULT])
def test_our_own_feed_reads_the_public_stream_without_a_fault(kit: SimpleNamespace, form: Form) -> None:
    clock = SystemClock()
    market = kit.Market(clock, {"trader": kit.api_key()}, kit.balances())
    market.quote()
    market.show(kit.book(kit.USDT, "1400", "1401", clock.now()))
    wanted = UpbitSubscription(
        books=("KRW-BTC", "KRW-USDT"), trades=("KRW-BTC",), tickers=("KRW-BTC",), busy=frozenset(), form=form
    )

    async def story() -> None:
        async with market.open():
            settings = Upbit(ws_url=f"{market.served.ws_url}/websocket/v1")
            feed = upbit_feed(settings, wanted, clock=clock, dice=Random(1))
            told: asyncio.Queue[FeedEvent] = asyncio.Queue()
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(feed.run(told))
                await market.until_wanted("orderbook", "trade", "ticker")
                seen = await _follow(market, kit, told)
                reading.cancel()
            assert not feed.counts, feed.counts
            assert not [event for event in seen if isinstance(event, FeedLost | Refused)]
            books = [event for event in seen if isinstance(event, Book) and event.instrument_id == kit.BTC.id]
            assert books[-1].bids == market.boards.book(kit.BTC.id).bids
            assert books[-1].asks == market.boards.book(kit.BTC.id).asks
            trades = [event for event in seen if isinstance(event, PublicTrade)]
            shown = market.boards.trades(kit.BTC.id, 1000)
            assert [trade.trade_id for trade in trades] == [trade.trade_id for trade in shown]
            assert [trade.price for trade in trades] == [trade.price for trade in shown]
            assert any(isinstance(event, Ticker) for event in seen)
            assert any(isinstance(event, FxQuote) for event in seen)

    kit.run(story())


async def _follow(market: Any, kit: SimpleNamespace, told: "asyncio.Queue[FeedEvent]") -> list[FeedEvent]:
    """Let the market move until its last book has been read."""
    seen, dice, price = [], Random(7), 100_000_000
    for _ in range(QUOTES):
        price += 1000 * dice.choice([-2, -1, 1, 2])
        market.quote(str(price), str(price + 1000), rows=15)
        await asyncio.sleep(0)
    last = market.boards.book(kit.BTC.id).bids
    while True:
        seen.append(await told.get())
        if isinstance(seen[-1], Ticker) and seen[-1].last == market.boards.last(kit.BTC.id):
            books = [event for event in seen if isinstance(event, Book) and event.instrument_id == kit.BTC.id]
            if books and books[-1].bids == last and told.empty():
                return seen
