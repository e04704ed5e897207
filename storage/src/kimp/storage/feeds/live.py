"""A venue's streams, live: sockets and snapshots into a reader, events out, losses answered with new connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

from kimp.shared.domain.time import Nanos
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.events import FeedEvent
from kimp.storage.feeds.frames import Frame, Item, happened_at
from kimp.storage.feeds.reader import CHECK_EVERY, FeedReader
from kimp.storage.feeds.rest import Fetcher
from kimp.storage.feeds.socket import FeedSocket
from kimp.storage.feeds.watchdog import StreamHealth

INBOX_MAX = 10_000
"""Frames waiting to be read, some seconds of the wildest market; when it is full the sockets stop reading."""

Tap = Callable[[Item], None]
"""Sees everything that arrives, before it is read: the recorder."""


class Feed(Protocol):
    """Something that puts events into an outbox for ever."""

    async def run(self, outbox: asyncio.Queue[FeedEvent]) -> None:
        """Run until cancelled; trouble with the network is told as events and never raised."""
        ...


class LiveFeed:
    """One venue's sockets under one reader.

    Args:
        reader: the venue's decoder and its watchdog.
        sockets: one per channel.
        snapshots: channel of a REST answer → where to ask for it.
        clock, dice: time and chance.
        tap: sees every arrival first.
    """

    def __init__(
        self,
        reader: FeedReader,
        sockets: list[FeedSocket],
        *,
        clock: Clock,
        dice: Random,
        snapshots: Mapping[str, str] | None = None,
        tap: Tap | None = None,
    ) -> None:
        self._reader = reader
        self._sockets = {socket.plan.channel: socket for socket in sockets}
        self._clock = clock
        self._dice = dice
        self._snapshots = snapshots or {}
        self._tap = tap
        self._read_up_to: Nanos = 0
        self._on_their_way: set[str] = set()

    async def run(self, outbox: asyncio.Queue[FeedEvent]) -> None:
        """Connect everything and tell what comes."""
        inbox: asyncio.Queue[Item] = asyncio.Queue(INBOX_MAX)
        async with Fetcher(clock=self._clock, dice=self._dice) as fetcher, asyncio.TaskGroup() as group:
            for socket in self._sockets.values():
                group.create_task(socket.run(inbox))
            group.create_task(self._check(outbox, inbox, group, fetcher))
            while True:
                item = await inbox.get()
                if self._tap is not None:
                    self._tap(item)
                self._read_up_to = happened_at(item)
                for event in self._reader.read(item):
                    await outbox.put(event)

    def health(self) -> list[StreamHealth]:
        """How old each stream's newest data is now, and whether it is lost."""
        return self._reader.health(self._clock.now())

    @property
    def counts(self) -> Mapping[str, int]:
        """What was withheld or could not be read, by reason."""
        return self._reader.decoder.counts

    async def _check(
        self, outbox: asyncio.Queue[FeedEvent], inbox: asyncio.Queue[Item], group: asyncio.TaskGroup, fetcher: Fetcher
    ) -> None:
        """Look for silence, renew what is silent, fetch what is missing."""
        while True:
            now = self._clock.now()
            # what has arrived but is unread must not count as silence
            for event in self._reader.check(now if inbox.empty() else self._read_up_to):
                await outbox.put(event)
            for channel in self._reader.renewals(now):
                self._sockets[channel].renew()
            for channel in self._reader.decoder.wanted(now):
                if channel not in self._on_their_way:  # a ban may hold an answer up for minutes
                    self._on_their_way.add(channel)
                    group.create_task(self._fetch(channel, inbox, fetcher))
            await self._clock.sleep_until(now + CHECK_EVERY)

    async def _fetch(self, channel: str, inbox: asyncio.Queue[Item], fetcher: Fetcher) -> None:
        answer = await fetcher.get_patiently(self._snapshots[channel])
        self._on_their_way.discard(channel)
        await inbox.put(Frame(channel, answer.received_at, answer.body))
