"""Fills in missing minutes from the venues, and writes down why the rest is missing.

It can be stopped at any moment: what was stored stays, and the next run asks only for what is still unknown. A second
run over the same range adds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import MINUTE, Nanos
from kimp.shared.ports.clock import Clock
from kimp.storage.collectors.history import CandleHistory
from kimp.storage.database.reader import Reader
from kimp.storage.database.rows import Row
from kimp.storage.feeds.rest import Unanswered
from kimp.storage.gaps import Ledger, candle_series

CHUNKS_PER_NOTE = 50
"""How many answers come before the ledger is brought up to date in between; it is worked out anew as a whole."""

Store = Callable[[Sequence[Row]], Awaitable[int]]
"""Writes rows, all or none, and returns once they are in the database."""
Progress = Callable[[int, int], None]
"""Is told minutes settled and minutes that were unknown at first."""


class Filled(msgspec.Struct, frozen=True):
    """What a back-fill found: minutes expected, there, and newly there; the missing ones by reason."""

    series: str
    start: Nanos
    end: Nanos
    expected: int
    present: int
    added: int
    missing: dict[str, int]
    trouble: str | None = None


class BackFill:
    """Back-fills minute bars.

    Args:
        reader, store: the database, directly: the ledger must not say that a minute is there before it is.
        histories: where to ask, by venue.
        clock: for the times of the ledger's entries.
    """

    def __init__(self, reader: Reader, store: Store, histories: Mapping[str, CandleHistory], clock: Clock) -> None:
        self._reader = reader
        self.store = store
        self._histories = histories
        self._clock = clock
        self.counts: Counter[str] = Counter()

    async def candles(
        self,
        instrument_id: InstrumentId,
        start: Nanos,
        end: Nanos,
        *,
        ask_from: Nanos = 0,
        again_from: Nanos | None = None,
        progress: Progress | None = None,
    ) -> Filled:
        """Bring the bars of ``[start, end)`` and their ledger up to date; trouble with the venue is told, not raised.

        Args:
            instrument_id: the market.
            start, end: whole minutes, all of them over.
            ask_from: what is missing before is only written down.
            again_from: from here on the venue is asked for what is there as well, since late trades change bars.
            progress: is told how far it is.

        Raises:
            DatabaseAway: the database went away.
        """
        series = candle_series(instrument_id)
        known = await self._reader.gaps(series, start, end, open_only=True)
        ledger = Ledger(series, start, end, known)
        stored = await self._reader.candles(instrument_id, MINUTE, ledger.start, ledger.end)
        ledger.found(stored.opened)
        history = self._histories[instrument_id.partition(":")[0]]
        wanted = _wanted(ledger, max(start, ask_from), end, again_from)
        added, settled, trouble = 0, 0, None
        for number, (low, high, minutes) in enumerate(_chunks(wanted, history.bars_max), 1):
            try:
                found = await history.candles(instrument_id, low, high)
            except Unanswered as error:
                trouble = error.reason
                break
            await self.store(found)
            added += ledger.found([candle.opened_at for candle in found])
            ledger.explain(low, high, history.absence)
            settled += minutes
            if progress is not None:
                progress(settled, len(wanted))
            if number % CHUNKS_PER_NOTE == 0:
                await self._note(ledger)
        await self._note(ledger)
        self.counts["added"] += added
        return _filled(ledger, start, end, added, trouble)

    async def _note(self, ledger: Ledger) -> None:
        if changes := ledger.changes(self._clock.now()):
            await self.store(changes)


def _wanted(ledger: Ledger, start: Nanos, end: Nanos, again_from: Nanos | None) -> NDArray[np.int64]:
    """The minutes to ask for, in order: unknown ones, and the newest again."""
    unknown = ledger.unknown()
    unknown = unknown[(unknown >= start) & (unknown < end)]
    if again_from is None:
        return unknown
    return np.union1d(unknown, np.arange(max(again_from, start), end, MINUTE, dtype=np.int64))


def _chunks(minutes: NDArray[np.int64], bars_max: int) -> Iterator[tuple[Nanos, Nanos, int]]:
    """Ranges of at most ``bars_max`` minutes that hold all of these, newest first, and how many each holds."""
    right = len(minutes)
    while right:
        high = int(minutes[right - 1]) + MINUTE
        left = int(np.searchsorted(minutes, high - bars_max * MINUTE))
        yield int(minutes[left]), high, right - left
        right = left


def _filled(ledger: Ledger, start: Nanos, end: Nanos, added: int, trouble: str | None) -> Filled:
    expected = (end - start) // MINUTE
    missing = ledger.counts_within(start, end)
    present = expected - sum(missing.values())
    return Filled(ledger.series, start, end, expected, present, added, missing, trouble)
