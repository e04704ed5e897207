"""One collector for each source: takes what its feed tells, writes it down, and shows the newest to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from kimp.shared.domain.books import Book
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import MILLISECOND, MINUTE, SECOND, Nanos
from kimp.shared.logs import get
from kimp.shared.messages.events import FeedBack, FeedLost
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Collect
from kimp.storage.collectors.board import RATE_LIMIT, Board, Pulses, Sink
from kimp.storage.collectors.minutes import MinuteBuilder
from kimp.storage.database.rows import Gap, GapReason, Row
from kimp.storage.feeds.events import FeedEvent, Refused, Ticker
from kimp.storage.feeds.live import Feed
from kimp.storage.gaps import candle_series

OUTBOX_MAX = 10_000
"""Events waiting for a collector; when it is full the feed waits."""
BOOK_LIMIT: Nanos = 5 * SECOND
"""As old as a book may be for an entry (``guards.book_age_max_ms``)."""

MakeFeed = Callable[[], Feed]


class Desk(msgspec.Struct, frozen=True):
    """What all collectors share."""

    sink: Sink
    board: Board
    pulses: Pulses
    clock: Clock
    settings: Collect


class Collector:
    """Runs one feed and keeps the newest of each book, written down in an even rhythm.

    A restart begins with a new feed; nothing of the old one is trusted.
    """

    name = "collector"

    def __init__(self, make_feed: MakeFeed, desk: Desk) -> None:
        self._make_feed = make_feed
        self._desk = desk
        self._pending: dict[InstrumentId, Book] = {}
        self._log = get("kimp.storage.collectors")

    async def run(self) -> None:
        """Collect until cancelled."""
        outbox: asyncio.Queue[FeedEvent] = asyncio.Queue(OUTBOX_MAX)
        self._begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._make_feed().run(outbox))
            group.create_task(self._sample())
            while True:
                events = [await outbox.get()]
                while not outbox.empty():
                    events.append(outbox.get_nowait())
                await self._put([row for event in events for row in self._rows(event)])

    async def _sample(self) -> None:
        """Hand over the books that changed since the last time, and whatever else is due."""
        clock, every = self._desk.clock, self._desk.settings.snapshot_ms * MILLISECOND
        while True:
            now = clock.now()
            await clock.sleep_until((now // every + 1) * every)
            books, self._pending = list(self._pending.values()), {}
            await self._put([*books, *self._due(clock.now())])

    async def _put(self, rows: Sequence[Row]) -> None:
        if rows:
            await self._desk.sink.put(list(rows))

    def _begin(self) -> None:
        self._pending.clear()

    def _due(self, now: Nanos) -> Sequence[Row]:  # noqa: ARG002 - only some collectors have something
        return ()

    def _rows(self, event: FeedEvent) -> Sequence[Row]:
        """What is to be written at once because of an event; books wait for their turn."""
        match event:
            case Book():
                self._book(event)
            case PublicTrade(instrument_id=instrument_id, received_at=at):
                self._desk.pulses.beat(f"{instrument_id} trades", at)
                return (event,)
            case Candle(instrument_id=instrument_id, received_at=at):
                self._desk.pulses.beat(f"{instrument_id} candles", at)
                return (event,) if event.is_closed else ()
            case FxQuote():
                return self._rate(event)
            case FeedLost(instrument_id=instrument_id, reason=reason):
                self._log.warning("feed lost", feed=instrument_id, reason=reason)
                self._lost(instrument_id)
            case FeedBack(instrument_id=instrument_id):
                self._log.info("feed back", feed=instrument_id)
            case Refused(channel=channel, name=name, message=message):
                self._log.error("subscription refused", channel=channel, reason=f"{name} {message}")
            case _:
                pass
        return ()

    def _book(self, book: Book) -> None:
        levels = self._desk.settings.levels
        if len(book.bids) > levels or len(book.asks) > levels:
            book = msgspec.structs.replace(book, bids=book.bids[:levels], asks=book.asks[:levels])
        self._pending[book.instrument_id] = book
        self._desk.board.tell(book)
        self._desk.pulses.beat(f"{book.instrument_id} book", book.venue_at)

    def _rate(self, quote: FxQuote) -> Sequence[Row]:
        self._desk.board.tell(quote)  # one that takes a rate back, too
        if not quote.is_usable:
            return ()
        self._desk.pulses.beat(f"{quote.base}/KRW", quote.at)
        return (quote,)

    def _lost(self, instrument_id: InstrumentId) -> None:
        self._desk.board.forget(instrument_id)
        self._pending.pop(instrument_id, None)


class UpbitCollector(Collector):
    """Books, trades, bars and halts of Upbit's won markets, and the won rate of the tether.

    Upbit's bars over the WebSocket are made here of the trades; its own replace them with the next repair.
    """

    name = "upbit"

    def __init__(self, make_feed: MakeFeed, desk: Desk, markets: Sequence[InstrumentId]) -> None:
        super().__init__(make_feed, desk)
        self._bars = {market: MinuteBuilder(market) for market in markets}
        self._halts: dict[InstrumentId, Gap] = {}
        self._due_at: Nanos = 0
        for market in markets:
            desk.pulses.expect(f"{market} book", BOOK_LIMIT)
            desk.pulses.expect(f"{market} trades", None)
        desk.pulses.expect("USDT/KRW", RATE_LIMIT)

    def _begin(self) -> None:
        super()._begin()
        for bars in self._bars.values():
            bars.lost()

    def _due(self, now: Nanos) -> Sequence[Row]:
        if now < self._due_at:
            return ()
        self._due_at = now + SECOND
        return [candle for bars in self._bars.values() for candle in bars.closed(now)]

    def _rows(self, event: FeedEvent) -> Sequence[Row]:
        rows = super()._rows(event)
        match event:
            case Book(instrument_id=instrument_id, received_at=at) if instrument_id in self._bars:
                self._bars[instrument_id].heard(at)
            case PublicTrade(instrument_id=instrument_id) if instrument_id in self._bars:
                self._bars[instrument_id].add(event)
            case Ticker():
                return self._halt(event)
            case _:
                pass
        return rows

    def _halt(self, ticker: Ticker) -> Sequence[Row]:
        """The minutes in which the venue says that the market stands still, so that nobody takes them for ours."""
        market, minute = ticker.instrument_id, ticker.received_at // MINUTE * MINUTE
        self._desk.pulses.beat(f"{market} ticker", ticker.received_at)
        if not ticker.is_halted:
            self._halts.pop(market, None)
            return ()
        known = self._halts.get(market)
        start = known.start if known else minute
        if known is not None and known.end == minute + MINUTE:
            return ()
        noticed = known.noticed_at if known else ticker.received_at
        halt = self._halts[market] = Gap(candle_series(market), start, minute + MINUTE, GapReason.HALTED, noticed)
        return (halt,)

    def _lost(self, instrument_id: InstrumentId) -> None:
        super()._lost(instrument_id)
        if bars := self._bars.get(instrument_id):
            bars.lost()


class BinanceCollector(Collector):
    """Books, trades and closed bars of the USDT-M perpetuals."""

    name = "binance"

    def __init__(self, make_feed: MakeFeed, desk: Desk, contracts: Sequence[InstrumentId]) -> None:
        super().__init__(make_feed, desk)
        for contract in contracts:
            desk.pulses.expect(f"{contract} book", BOOK_LIMIT)
            desk.pulses.expect(f"{contract} trades", None)
            desk.pulses.expect(f"{contract} candles", None)


class ExchangeRateCollector(Collector):
    """The official won rate of the dollar."""

    name = "exchange_rate"

    def __init__(self, make_feed: MakeFeed, desk: Desk) -> None:
        super().__init__(make_feed, desk)
        desk.pulses.expect("USD/KRW", RATE_LIMIT)
