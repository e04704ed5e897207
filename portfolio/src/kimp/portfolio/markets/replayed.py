"""What once happened, live again: recorded frames through the very decoders that run live, or recorded bars as ticks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

import msgspec

from kimp.portfolio.markets.bar_market import BarMarket
from kimp.portfolio.markets.boards import Boards
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.frames import Item, happened_at
from kimp.storage.feeds.merge import Moved, moves
from kimp.storage.feeds.reader import FeedReader
from kimp.storage.feeds.replayer import replay

ReplayedBars = BarMarket
"""Recorded bars (``kimp.storage.archive.read_market``) as a live market."""

When = Callable[[Nanos], Nanos]


class ReplayMarket:
    """Recorded frames as a live market on the clock handed in; a ``MarketDataSource``.

    Every time in it is moved to the clock's, as if the recording began when it is played, so that nothing in it is stale.

    Args:
        items: what arrived (``kimp.storage.feeds.captures``).
        readers: by venue.
        clock: what it is played on.
        speed: 2.0 is twice as fast as it happened.
    """

    def __init__(
        self, items: Iterable[Item], readers: Mapping[str, FeedReader], clock: Clock, *, speed: float = 1.0
    ) -> None:
        self.boards = Boards()
        self._items = items
        self._readers = readers
        self._clock = clock
        self._speed = speed

    async def stream(self) -> AsyncIterator[Moved]:
        """Quotes, losses and returns in their rhythm; ends with the recording."""
        began, first = self._clock.now(), _First(self._items)
        for event in replay(first, self._readers):
            for moved in moves([event]):
                shifted = shift(moved, lambda at: began + round((at - first.at) / self._speed))
                await self._clock.sleep_until(shifted.at)
                if isinstance(shifted, MarketMoved):
                    self.boards.note(shifted)
                yield shifted
            if isinstance(event, PublicTrade):
                at = began + round((event.received_at - first.at) / self._speed)
                self.boards.trade(msgspec.structs.replace(event, venue_at=at, received_at=at))


class _First:
    """Passes items on and remembers when the first one arrived."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self.at: Nanos = 0

    def __iter__(self) -> Iterator[Item]:
        for number, item in enumerate(self._items):
            if number == 0:
                self.at = happened_at(item)
            yield item


def shift(moved: Moved, when: When) -> Moved:
    """The same event at another time, with everything in it that is dated."""
    replace = msgspec.structs.replace
    match moved:
        case MarketMoved(at=at, books=books, rates=rates, funding=funding):
            return MarketMoved(
                when(at),
                tuple(
                    replace(book, venue_at=when(book.venue_at), received_at=when(book.received_at)) for book in books
                ),
                tuple(replace(rate, at=when(rate.at), valid_until=when(rate.valid_until)) for rate in rates),
                tuple(replace(rate, at=when(rate.at), settles_at=when(rate.settles_at)) for rate in funding),
            )
        case FeedLost(at=at) | FeedBack(at=at):
            return replace(moved, at=when(at))
