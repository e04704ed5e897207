"""The ledger of missing minutes: which are missing, why, and how that changes once some of them are found.

A minute is either there, or it is explained by exactly one open gap: nobody traded, the market stood still, or we did
not look. Nothing here asks anybody or writes anything; it only works out what the ledger has to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.storage.database.rows import Gap, GapReason

PRESENT = 0
REASONS = (GapReason.NO_TRADE, GapReason.HALTED, GapReason.NOT_COLLECTED)
CODES = {reason: number for number, reason in enumerate(REASONS, 1)}
"""A reason as a small number, so that a year of minutes is one array."""
NOT_COLLECTED = CODES[GapReason.NOT_COLLECTED]

CANDLES, PREMIUMS = "candles", "kimp_rates"


def candle_series(instrument_id: InstrumentId, interval: Nanos = MINUTE) -> str:
    """The ledger's name of a market's bars: ``candles:upbit:KRW-BTC:60``."""
    return f"{CANDLES}:{instrument_id}:{interval // SECOND}"


def premium_series(symbol: str, period: Nanos = MINUTE) -> str:
    """The ledger's name of a coin's premiums: ``kimp_rates:BTC:60``."""
    return f"{PREMIUMS}:{symbol}:{period // SECOND}"


class Stretch(msgspec.Struct, frozen=True):
    """Missing data ``[start, end)`` with one reason."""

    start: Nanos
    end: Nanos
    reason: GapReason


class Ledger:
    """What is known of every minute of one series over ``[start, end)``.

    Args:
        series: its name in the ledger.
        start, end: whole multiples of ``step``.
        step: a minute, or whatever the series' rhythm is.
        known: the gaps that the database holds and that were not repaired.
    """

    def __init__(
        self, series: str, start: Nanos, end: Nanos, known: Iterable[Gap] = (), *, step: Nanos = MINUTE
    ) -> None:
        self.series = series
        self.step = step
        self._open = {gap.start: gap for gap in known if gap.repaired_at is None and gap.reason in CODES}
        # a gap that reaches beyond the range is judged whole, or its other part would lose its explanation
        self.start = min([start, *(gap.start // step * step for gap in self._open.values())])
        self.end = max([end, *(-(-gap.end // step) * step for gap in self._open.values())])
        self._codes: NDArray[np.int8] = np.full((self.end - self.start) // step, NOT_COLLECTED, np.int8)
        for gap in sorted(self._open.values(), key=lambda gap: gap.reason is GapReason.HALTED):
            if gap.reason is not GapReason.NOT_COLLECTED:
                self._codes[self._slice(gap.start, gap.end)] = CODES[gap.reason]

    @property
    def expected(self) -> int:
        """How many minutes there could be."""
        return len(self._codes)

    @property
    def present(self) -> int:
        """How many are there."""
        return int(np.count_nonzero(self._codes == PRESENT))

    def counts_within(self, start: Nanos, end: Nanos) -> dict[str, int]:
        """Missing minutes of ``[start, end)`` by reason."""
        part = self._codes[self._slice(start, end)]
        return {reason.value: int(np.count_nonzero(part == code)) for reason, code in CODES.items()}

    def found(self, times: Iterable[Nanos] | NDArray[np.int64]) -> int:
        """These are there; how many of them were missing before."""
        at = np.asarray(times if isinstance(times, np.ndarray) else list(times), np.int64)
        places = np.unique((at[(at >= self.start) & (at < self.end)] - self.start) // self.step)
        news = int(np.count_nonzero(self._codes[places] != PRESENT))
        self._codes[places] = PRESENT
        return news

    def explain(self, start: Nanos, end: Nanos, reason: GapReason) -> None:
        """Whatever is not there in ``[start, end)`` and had no explanation has this one."""
        part = self._codes[self._slice(start, end)]
        part[part == NOT_COLLECTED] = CODES[reason]

    def unknown(self, start: Nanos | None = None) -> NDArray[np.int64]:
        """The minutes that are missing without an explanation, from ``start`` on, in order."""
        times = self.start + np.flatnonzero(self._codes == NOT_COLLECTED).astype(np.int64) * self.step
        return times if start is None else times[times >= start]

    def missing(self) -> list[Stretch]:
        """All that is missing, as the longest stretches of one reason, in order."""
        return list(self._runs(()))

    def changes(self, now: Nanos) -> list[Gap]:
        """What has to be written so that the ledger says what is known; empty when it already does."""
        wanted = {run.start: run for run in self._runs(self._open)}
        changed = [
            msgspec.structs.replace(gap, end=self._repaired_until(gap, wanted), repaired_at=now)
            for start, gap in self._open.items()
            if start not in wanted
        ]
        for start, run in wanted.items():
            gap = self._open.get(start)
            if gap is None or (gap.end, gap.reason) != (run.end, run.reason):
                changed.append(self._entry(run, now))
        self._open = {start: self._entry(run, now) for start, run in wanted.items()}
        return sorted(changed, key=lambda gap: gap.start)

    def _entry(self, run: Stretch, now: Nanos) -> Gap:
        """A stretch as the ledger has it; when it was first noticed stays."""
        known = self._open.get(run.start)
        return Gap(self.series, run.start, run.end, run.reason, known.noticed_at if known else now)

    def _repaired_until(self, gap: Gap, wanted: dict[Nanos, Stretch]) -> Nanos:
        """A gap that is closed ends where the first minute begins that is still missing."""
        return min([run.start for run in wanted.values() if gap.start < run.start < gap.end], default=gap.end)

    def _slice(self, start: Nanos, end: Nanos) -> slice:
        first = max((start - self.start) // self.step, 0)
        return slice(first, max(first, -((self.start - end) // self.step)))

    def _runs(self, borders: Iterable[Nanos]) -> Iterator[Stretch]:
        """Stretches of one reason. They also end at ``borders``: a gap that is open keeps its own entry, because an
        entry that was once closed is never opened again.
        """
        codes = self._codes
        if not len(codes):
            return
        edges = set(np.flatnonzero(np.diff(codes)) + 1) | {0}
        edges |= {place for at in borders if 0 < (place := (at - self.start) // self.step) < len(codes)}
        ordered = [*sorted(int(edge) for edge in edges), len(codes)]
        for first, last in pairwise(ordered):
            if codes[first] != PRESENT:
                begins, ends = (self.start + place * self.step for place in (first, last))
                yield Stretch(begins, ends, REASONS[codes[first] - 1])
