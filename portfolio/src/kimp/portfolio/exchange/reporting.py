"""The virtual exchange's private stream as the port has it: events that travel one way and arrive in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from kimp.research.simulation.arrivals import EventAt
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event
from kimp.shared.ports.clock import Clock

UNREAD_MAX = 10_000
"""Events a reader may leave unread; what does not fit is told from the venue's records once it has caught up."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """An event under way: when it arrives, and the answer it must not overtake."""

    due: Nanos
    event_at: EventAt
    after: asyncio.Event | None


class Reports:
    """Hands every event to every reader of the stream, each at its time.

    Args:
        clock: waited on for the way.
        missed: what happened from that moment on, for readers that fell behind.
    """

    def __init__(self, clock: Clock, missed: Callable[[Nanos], Iterable[EventAt]], limit: int = UNREAD_MAX) -> None:
        self._clock = clock
        self._missed = missed
        self._limit = limit
        self._readers: list[_Reader] = []

    def tell(self, event_at: EventAt, due: Nanos, after: asyncio.Event | None = None) -> None:
        """Let an event arrive at ``due``, and not before the answer that ``after`` stands for was given."""
        letter = _Letter(due, event_at, after)
        for reader in self._readers:
            reader.take(letter, self._limit)

    def stream(self) -> AsyncIterator[Event]:
        """What is told from this call on."""
        # Registered here and not at the first step, so that nothing is lost between the call and its loop.
        reader = _Reader()
        self._readers.append(reader)
        return self._read(reader)

    async def _read(self, reader: _Reader) -> AsyncIterator[Event]:
        try:
            while True:
                letter = await reader.next()
                if letter is None:
                    for event_at in self._missed(reader.caught_up()):
                        yield event_at(self._clock.now())
                    continue
                await self._clock.sleep_until(letter.due)
                if letter.after is not None:
                    await letter.after.wait()
                yield letter.event_at(self._clock.now())
        finally:
            self._readers.remove(reader)


class _Reader:
    def __init__(self) -> None:
        self._unread: deque[_Letter] = deque()
        self._missed_since: Nanos | None = None
        self._some = asyncio.Event()

    def take(self, letter: _Letter, limit: int) -> None:
        if self._missed_since is None and len(self._unread) < limit:
            self._unread.append(letter)
        elif self._missed_since is None:
            self._missed_since = letter.due
        self._some.set()

    async def next(self) -> _Letter | None:
        """The next letter; ``None`` when all are read that were kept, and some were not."""
        while not self._unread and self._missed_since is None:
            self._some.clear()
            await self._some.wait()
        return self._unread.popleft() if self._unread else None

    def caught_up(self) -> Nanos:
        """Since when letters were not kept; from now on they are again."""
        assert self._missed_since is not None
        since, self._missed_since = self._missed_since, None
        return since
