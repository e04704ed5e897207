"""Several feeds as one market, in the order of arrival: what the engine and the collectors listen to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from types import TracebackType

from kimp.shared.domain.books import Book
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.ticks import MarkPrice
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.storage.feeds.events import FeedEvent
from kimp.storage.feeds.live import Feed

OUTBOX_MAX = 10_000
"""Events waiting to be used, some seconds of both venues; when it is full the feeds wait and nothing is lost."""

Moved = MarketMoved | FeedLost | FeedBack


def moves(events: Iterable[FeedEvent]) -> list[Moved]:
    """What an engine needs of some events that were waiting together: of each quote the newest, losses in their place."""
    told: list[Moved] = []
    quotes = _Quotes()
    for event in events:
        match event:
            case Book() as book:
                quotes.books[book.instrument_id] = book
                quotes.at = max(quotes.at, book.received_at)
            case FxQuote() as rate:
                quotes.rates[rate.base] = rate
                quotes.at = max(quotes.at, rate.at)
            case MarkPrice(funding_rate=rate, settles_at=due) as mark if rate is not None and due is not None:
                quotes.funding[mark.instrument_id] = FundingRate(mark.instrument_id, rate, mark.received_at, due)
                quotes.at = max(quotes.at, mark.received_at)
            case FeedLost() | FeedBack():
                told += [*quotes.told(), event]
                quotes = _Quotes()
            case _:
                pass  # trades, tickers, touches and candles are the collectors'
    return told + quotes.told()


class _Quotes:
    """Quotes that are told together."""

    def __init__(self) -> None:
        self.at: Nanos = 0
        self.books: dict[InstrumentId, Book] = {}
        self.rates: dict[str, FxQuote] = {}
        self.funding: dict[InstrumentId, FundingRate] = {}

    def told(self) -> list[Moved]:
        """The quotes as one event, if there are any."""
        if not (self.books or self.rates or self.funding):
            return []
        parts = tuple(self.books.values()), tuple(self.rates.values()), tuple(self.funding.values())
        return [MarketMoved(self.at, *parts)]


class LiveMarket:
    """Runs feeds for as long as its context lasts; a ``MarketDataSource``.

    ``async with LiveMarket(feeds) as market:`` and then either :meth:`stream` or :meth:`events`, once. A bug in a feed
    ends the context with its exception; trouble with a venue does not.
    """

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds
        self._outbox: asyncio.Queue[FeedEvent] = asyncio.Queue(OUTBOX_MAX)
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> LiveMarket:
        self._group = await asyncio.TaskGroup().__aenter__()
        self._tasks = [self._group.create_task(feed.run(self._outbox)) for feed in self._feeds]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._group is not None
        for task in self._tasks:
            task.cancel()
        if kind is GeneratorExit:
            # A generator around us is being closed: no error of any feed's, and not one to be put into a group.
            await self._group.__aexit__(None, None, None)
        else:
            await self._group.__aexit__(kind, error, trace)

    async def events(self) -> AsyncIterator[FeedEvent]:
        """Every event of every feed."""
        while True:
            yield await self._outbox.get()

    async def stream(self) -> AsyncGenerator[Moved, None]:
        """What an engine needs; quotes that pile up while it thinks reach it as one event, the newest of each."""
        outbox = self._outbox
        while True:
            waiting = [await outbox.get()]
            while not outbox.empty():
                waiting.append(outbox.get_nowait())
            for moved in moves(waiting):
                yield moved
