"""The newest quotes of all collectors, and how long ago each feed last said something."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import msgspec

from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.storage.database.rows import Row


class Sink(Protocol):
    """Where rows go: the database's writer, or a list in a test."""

    async def put(self, rows: list[Row]) -> None:
        """Take rows for writing; waits while there is no room."""
        ...


class Board:
    """Quotes as they stand now, and as they stood when the present period began.

    A premium labelled 09:00 is made of what was known at 09:00. Events of that minute's first milliseconds may arrive
    before it is computed, so the last quote of the period before is kept beside the newest.
    """

    def __init__(self, period: Nanos) -> None:
        self._period = period
        self._latest: dict[str, Book | FxQuote] = {}
        self._before: dict[str, Book | FxQuote] = {}

    def tell(self, quote: Book | FxQuote) -> None:
        """A newer quote."""
        key = quote.instrument_id if isinstance(quote, Book) else quote.base
        last = self._latest.get(key)
        if last is not None and known_at(last) // self._period < known_at(quote) // self._period:
            self._before[key] = last
        self._latest[key] = quote

    def forget(self, instrument_id: InstrumentId) -> None:
        """Its feed is lost: what it said last is no longer a price."""
        self._latest.pop(instrument_id, None)
        self._before.pop(instrument_id, None)

    def book(self, instrument_id: InstrumentId, at: Nanos) -> Book | None:
        """The newest book known at ``at``."""
        quote = self._known(instrument_id, at)
        return quote if isinstance(quote, Book) else None

    def rate(self, base: str, at: Nanos) -> FxQuote | None:
        """The newest won rate of ``base`` known at ``at``."""
        quote = self._known(base, at)
        return quote if isinstance(quote, FxQuote) else None

    def _known(self, key: str, at: Nanos) -> Book | FxQuote | None:
        for quotes in (self._latest, self._before):
            if (quote := quotes.get(key)) is not None and known_at(quote) <= at:
                return quote
        return None


def known_at(quote: Book | FxQuote) -> Nanos:
    """When a quote reached us."""
    return quote.received_at if isinstance(quote, Book) else quote.at


class FeedHealth(msgspec.Struct, frozen=True):
    """One stream: how old its newest data are, how old they may be, and the verdict.

    ``waiting`` has not said anything yet, ``quiet`` may rightly be silent.
    """

    age_ms: int | None
    limit_ms: int | None
    messages: int
    state: str


class Pulses:
    """Counts what each stream delivers, and tells which have fallen silent."""

    def __init__(self) -> None:
        self._limits: dict[str, Nanos | None] = {}
        self._last: dict[str, Nanos] = {}
        self._counts: Counter[str] = Counter()

    def expect(self, name: str, limit: Nanos | None) -> None:
        """A stream that has to deliver within ``limit``; ``None`` where silence proves nothing."""
        self._limits[name] = limit

    def beat(self, name: str, at: Nanos) -> None:
        """The stream delivered something that was true at ``at``."""
        self._last[name] = max(at, self._last.get(name, 0))
        self._counts[name] += 1

    def facts(self, now: Nanos) -> dict[str, FeedHealth]:
        """Every stream that is expected or was heard, by name."""
        names = dict.fromkeys([*self._limits, *self._last])
        return {name: self._health(name, now) for name in names}

    def _health(self, name: str, now: Nanos) -> FeedHealth:
        limit, last = self._limits.get(name), self._last.get(name)
        age = None if last is None else max(now - last, 0)
        if age is None:
            state = "waiting" if limit is not None else "quiet"
        else:
            state = "quiet" if limit is None else "fresh" if age <= limit else "stale"
        return FeedHealth(_ms(age), _ms(limit), self._counts[name], state)


def _ms(span: Nanos | None) -> int | None:
    return None if span is None else span // MILLISECOND


RATE_LIMIT: Nanos = 120 * SECOND
"""As long as a rate may be used after we heard it."""


def shape(row: Any) -> str:
    """A row's kind in one word, for counting."""
    return type(row).__name__.lower()
