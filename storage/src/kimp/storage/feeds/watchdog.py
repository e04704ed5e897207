"""Whether every single stream still delivers, judged by the time of its data and not by its connection.

A connection says nothing: a route may acknowledge a subscription and stay silent for ever, one stream of many may die,
and a venue may go on sending an hour-old book at full rate. So each stream has to show data that is fresh by the
*venue's* clock.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.messages.events import FeedBack, FeedLost
from kimp.storage.feeds.events import StreamKind

SILENCE_MAX: Nanos = 4 * SECOND
"""A second less than the age at which a book must not be traded on (``guards.book_age_max_ms``)."""

RENEWAL_PAUSE_MAX: Nanos = 60 * SECOND
"""How rarely a stream that stays silent has its connection renewed; venues limit connections too."""


VITAL = frozenset({StreamKind.BOOK, StreamKind.MARK})
"""What an engine decides on: an instrument is lost while any of these is. Trades, tickers and candles do not count."""

FOREVER: Nanos = 100 * 365 * 24 * 3_600 * SECOND


class Stream(msgspec.Struct, frozen=True):
    """One subscription: ``silence_max`` is how old its newest data may get, ``None`` where silence is no sign of death.

    A quiet market's book may rightly be silent for minutes; it is lost with its connection all the same.
    """

    channel: str
    instrument_id: InstrumentId
    kind: StreamKind
    silence_max: Nanos | None = SILENCE_MAX


class StreamHealth(msgspec.Struct, frozen=True):
    """How a stream does: ``age`` of its newest data by the venue's clock, ``None`` if nothing ever came."""

    instrument_id: InstrumentId
    kind: StreamKind
    age: Nanos | None
    is_lost: bool


class _Watched:
    """What is known of one stream."""

    __slots__ = ("due_at", "fresh_at", "is_lost", "limit", "pause", "renew_at", "stream")

    def __init__(self, stream: Stream, limit: Nanos) -> None:
        self.stream = stream
        self.limit = limit
        self.due_at: Nanos | None = None  # not asked for yet
        self.fresh_at: Nanos | None = None
        self.is_lost = False
        self.pause = limit
        self.renew_at: Nanos = 0


class Watchdog:
    """Says once when an instrument's data can no longer be trusted, and once when all of it is back."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._watched = {
            (stream.instrument_id, stream.kind): _Watched(stream, stream.silence_max or FOREVER)
            for stream in streams
            if stream.kind in VITAL
        }
        self._lost: dict[InstrumentId, int] = {}

    def opened(self, channel: str, at: Nanos) -> None:
        """A subscription went out over this channel: its streams have to deliver from now on."""
        for watched in self._of(channel):
            if watched.due_at is None:
                watched.due_at = at + watched.limit

    def saw(
        self, instrument_id: InstrumentId, kind: StreamKind, venue_at: Nanos, at: Nanos
    ) -> FeedBack | FeedLost | None:
        """Data came: back if it was lost and this is fresh, lost if this is old."""
        watched = self._watched.get((instrument_id, kind))
        if watched is None:
            return None
        watched.fresh_at = venue_at if venue_at < at else at
        due_at = watched.fresh_at + watched.limit
        if due_at >= at:
            if watched.due_at is None or due_at > watched.due_at:
                watched.due_at = due_at
            return self._find(watched, at) if watched.is_lost else None
        return None if watched.is_lost else self._lose(watched, at, f"delayed by {(at - venue_at) / SECOND:.1f} s")

    def check(self, now: Nanos) -> list[FeedLost]:
        """What has fallen silent by now. Call it several times a second."""
        silent = [
            watched
            for watched in self._watched.values()
            if not watched.is_lost and watched.due_at is not None and now > watched.due_at
        ]
        losses = [self._lose(watched, now, f"silent for {watched.limit / SECOND:.1f} s") for watched in silent]
        return [loss for loss in losses if loss is not None]

    def lose(self, channel: str, at: Nanos, reason: str) -> list[FeedLost]:
        """A whole channel broke."""
        losses = [self._lose(watched, at, reason) for watched in self._of(channel) if not watched.is_lost]
        for watched in self._of(channel):
            watched.renew_at = at + watched.pause  # it is being reconnected anyway
        return [loss for loss in losses if loss is not None]

    def lose_one(self, instrument_id: InstrumentId, kind: StreamKind, at: Nanos, reason: str) -> FeedLost | None:
        """One stream delivers, but what it says cannot be used, such as a book with a hole in it."""
        watched = self._watched.get((instrument_id, kind))
        if watched is None or watched.is_lost:
            return None
        watched.renew_at = at + watched.limit
        return self._lose(watched, at, reason)

    def renewals(self, now: Nanos) -> list[str]:
        """The channels to renew, because a stream of theirs is lost; each is named again after a growing pause."""
        channels: dict[str, None] = {}
        for watched in self._watched.values():
            if watched.is_lost and now >= watched.renew_at:
                watched.renew_at = now + watched.pause
                watched.pause = min(watched.pause * 2, RENEWAL_PAUSE_MAX)
                channels[watched.stream.channel] = None
        return list(channels)

    def health(self, now: Nanos) -> list[StreamHealth]:
        """Every watched stream's state, for people and for health checks."""
        return [
            StreamHealth(*key, None if watched.fresh_at is None else now - watched.fresh_at, watched.is_lost)
            for key, watched in self._watched.items()
        ]

    def _of(self, channel: str) -> list[_Watched]:
        return [watched for watched in self._watched.values() if watched.stream.channel == channel]

    def _lose(self, watched: _Watched, at: Nanos, reason: str) -> FeedLost | None:
        watched.is_lost = True
        instrument_id = watched.stream.instrument_id
        already = self._lost.get(instrument_id, 0)
        self._lost[instrument_id] = already + 1
        return None if already else FeedLost(at, instrument_id, f"{watched.stream.kind} {reason}")

    def _find(self, watched: _Watched, at: Nanos) -> FeedBack | None:
        watched.is_lost = False
        watched.pause = watched.limit
        instrument_id = watched.stream.instrument_id
        left = self._lost[instrument_id] - 1
        self._lost[instrument_id] = left
        return None if left else FeedBack(at, instrument_id)
