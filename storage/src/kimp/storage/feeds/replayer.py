"""Runs a recording through the very parsers that run live, at any speed, and tells the same events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.events import FeedEvent
from kimp.storage.feeds.frames import Item, happened_at
from kimp.storage.feeds.merge import moves
from kimp.storage.feeds.reader import CHECK_EVERY, FeedReader


def replay(
    items: Iterable[Item], readers: Mapping[str, FeedReader], wanted: Callable[[str, Nanos], None] | None = None
) -> Iterator[FeedEvent]:
    """The events of a recording, in order.

    Args:
        items: what arrived, in the order of arrival (:mod:`kimp.storage.feeds.captures`).
        readers: by venue, the first part of a channel: ``upbit``, ``binance``, ``fx``. Others are passed over.
        wanted: told which snapshots would have been asked for, and when; a recording has the answers in it.
    """
    check_at: Nanos | None = None
    for item in items:
        at = happened_at(item)
        check_at = at if check_at is None else check_at
        while at >= check_at:
            for reader in readers.values():
                yield from reader.check(check_at)
                reader.renewals(check_at)
                for channel in reader.decoder.wanted(check_at):
                    if wanted is not None:
                        wanted(channel, check_at)
            check_at += CHECK_EVERY
        reader_of = readers.get(item.channel.partition("/")[0])
        if reader_of is not None:
            yield from reader_of.read(item)


class ReplayedMarket:
    """A recording as a live market: a ``MarketDataSource``.

    Args:
        items: what arrived.
        readers: by venue.
        clock: where given, events come in their original rhythm, ``speed`` times as fast.
        speed: 2.0 is twice as fast as it happened.
    """

    def __init__(
        self,
        items: Iterable[Item],
        readers: Mapping[str, FeedReader],
        *,
        clock: Clock | None = None,
        speed: float = 1.0,
    ) -> None:
        self._items = items
        self._readers = readers
        self._clock = clock
        self._speed = speed

    async def stream(self) -> AsyncIterator[MarketMoved | FeedLost | FeedBack]:
        """Quotes, losses and returns, one arrival at a time."""
        first_at: Nanos | None = None
        began_at = self._clock.now() if self._clock is not None else 0
        for event in replay(self._items, self._readers):
            for moved in moves([event]):
                first_at = moved.at if first_at is None else first_at
                if self._clock is not None:
                    await self._clock.sleep_until(began_at + round((moved.at - first_at) / self._speed))
                yield moved
