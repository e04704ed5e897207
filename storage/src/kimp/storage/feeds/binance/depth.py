"""A book joined from a REST snapshot and a chain of differences, which is never shown while a link is missing.

Binance, "How to manage a local order book correctly": buffer the differences, take a snapshot, drop every difference
with ``u < lastUpdateId``, begin with the one where ``U <= lastUpdateId`` and ``u >= lastUpdateId``; from then on each
``pu`` must equal the previous ``u``, else begin again::

    {"lastUpdateId":600859605926, "bids":[["7.6110","6"], …], "asks":[…]}
    {"e":"depthUpdate","U":600859601193,"u":600859606861,"pu":600859600917,"b":[["7.5980","1433"], …],"a":[…]}
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.storage.feeds.binance.levels import TOLD_MAX, Side
from kimp.storage.feeds.binance.wire import DepthUpdate, Snapshot

BUFFERED_MAX = 1_000
"""Differences kept while a snapshot is on its way: a hundred seconds of the usual stream; then the oldest go."""

PATIENCE: Nanos = 300 * MILLISECOND
"""How long a missing link may still arrive out of order, as when one connection takes over from another."""

ANSWER_WITHIN: Nanos = 15 * SECOND
"""After this long without a snapshot it is asked for again."""

ASK_EVERY: Nanos = SECOND
"""A snapshot that was too old to connect is not asked for again at once: each costs 20 of 2,400 weights a minute."""

SNAPSHOT_ROWS = 1_000
EXPECTED_MAX = 64
RECENT_MAX = 256
"""Differences remembered after they were applied, so that a snapshot taken meanwhile can be brought up to date."""


class Link(Enum):
    """What a difference or a snapshot did to the book."""

    JOINED = auto()
    WAITING = auto()
    STALE = auto()


class DepthBook:
    """One symbol's book. :meth:`book` may be told only while :attr:`is_whole`."""

    def __init__(self, instrument_id: InstrumentId, shown: int = TOLD_MAX) -> None:
        self.instrument_id = instrument_id
        self.last: int | None = None
        """The update the rows stand at; ``None`` before the first snapshot."""
        self.acted_at: Nanos = 0
        self._shown = shown
        self._bids, self._asks = Side(+1), Side(-1)
        self._floats = False  # on a snapshot that no difference has joined yet
        self._early: dict[int, DepthUpdate] = {}  # by pu, so that the next link is found at once
        self._recent: deque[DepthUpdate] = deque(maxlen=RECENT_MAX)
        self._broken_at: Nanos = 0
        self._asked_at: Nanos | None = None
        self._ask_from: Nanos = 0
        self._expected: dict[int, tuple[Level, Level]] = {}

    @property
    def is_whole(self) -> bool:
        """Whether every link up to now is there."""
        return self.last is not None and not self._early

    def read(self, update: DepthUpdate, at: Nanos) -> Link:
        """Take in a difference: the next link is applied, an early one kept, an old or repeated one dropped."""
        if self.last is not None:
            if update.previous == self.last or (self._floats and update.previous < self.last <= update.last):
                # The page asks for U <= lastUpdateId; pu is the sharper bound. Nothing happens between pu and U, so a
                # snapshot from between is the same book, and a quiet symbol need not wait for a luckier one.
                self._apply(update)
                return Link.JOINED
            if update.last <= self.last:
                return Link.STALE
        if not self._early:
            self._broken_at = at
        elif len(self._early) >= BUFFERED_MAX:
            del self._early[next(iter(self._early))]
        self._early[update.previous] = update
        return Link.WAITING

    def join(self, snapshot: Snapshot, at: Nanos) -> Link:
        """Begin anew from a snapshot and whatever differences follow it; one that does not connect is dropped."""
        self._asked_at = None
        self._ask_from = at + ASK_EVERY
        known = {update.previous: update for update in [*self._recent, *self._early.values()]}
        fresh = sorted((update for update in known.values() if update.last >= snapshot.last), key=_by_last)
        reached = fresh[-1].last if fresh else snapshot.last
        if (fresh and fresh[0].previous > snapshot.last) or reached < (self.last or 0):
            return Link.STALE
        is_cut = max(len(snapshot.bids), len(snapshot.asks)) >= SNAPSHOT_ROWS
        self._bids.replace(snapshot.bids, is_whole=not is_cut)
        self._asks.replace(snapshot.asks, is_whole=not is_cut)
        self.last, self.acted_at = snapshot.last, snapshot.acted_at * MILLISECOND
        self._floats = True
        self._early.clear()
        self._recent.clear()
        for update in fresh:
            self.read(update, at)
        return Link.JOINED if self.is_whole else Link.WAITING

    def drop(self) -> None:
        """Trust nothing of this book any more; only a new snapshot helps."""
        self.last = None
        self._early.clear()
        self._recent.clear()

    def agrees(self, update_id: int, bid: Level, ask: Level) -> bool:
        """Compare with the touch the venue names for an update; one still to come is kept until the book is there."""
        if self.last is not None and update_id > self.last:
            if len(self._expected) >= EXPECTED_MAX:
                del self._expected[next(iter(self._expected))]
            self._expected[update_id] = (bid, ask)
            return True
        return update_id != self.last or not self.is_whole or self._is_touch(bid, ask)

    def keeps_its_word(self) -> bool:
        """Whether the book, now at an update whose touch was told before, has that touch."""
        expected = self._expected
        if not expected:
            return True
        due = expected.pop(self.last or 0, None)
        while expected and (first := next(iter(expected))) <= (self.last or 0):
            del expected[first]
        return due is None or self._is_touch(*due)

    def wants_snapshot(self, now: Nanos) -> bool:
        """Whether to ask for a snapshot now; said once per need, and again when no answer comes."""
        if now < self._ask_from or (self._asked_at is not None and now - self._asked_at < ANSWER_WITHIN):
            return False
        if self.is_whole and self._bids.knows(self._shown) and self._asks.knows(self._shown):
            return False
        if self.last is None and not self._early:
            return False  # the stream comes first, then the snapshot
        if self.last is not None and self._early and not self.is_broken(now):
            return False
        self._asked_at = now
        return True

    def is_broken(self, now: Nanos) -> bool:
        """Whether a link is missing for longer than disorder explains."""
        return bool(self._early) and now - self._broken_at >= PATIENCE

    def book(self, at: Nanos) -> Book:
        """The best rows as a book, received at ``at``."""
        return Book(self.instrument_id, self._bids.best(self._shown), self._asks.best(self._shown), self.acted_at, at)

    def _apply(self, update: DepthUpdate) -> None:
        """Take in the next link and those that were waiting for it."""
        self._floats = False
        following: DepthUpdate | None = update
        while following is not None:
            self._bids.change(following.bids)
            self._asks.change(following.asks)
            self.last, self.acted_at = following.last, following.acted_at * MILLISECOND
            self._recent.append(following)
            following = self._early.pop(following.last, None) if self._early else None
        if self._early:
            self._early = {previous: early for previous, early in self._early.items() if early.last > update.last}

    def _is_touch(self, bid: Level, ask: Level) -> bool:
        bids, asks = self._bids.best(1), self._asks.best(1)
        return not bids or not asks or (bids[0] == bid and asks[0] == ask)  # a side nothing is known of says nothing


def _by_last(update: DepthUpdate) -> int:
    return update.last
