"""How complete the collected data are: what there is of each series, and an explanation for every missing minute."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from kimp.shared.domain.candles import Candle
from kimp.shared.domain.premium import PremiumRates
from kimp.shared.domain.time import DAY, MINUTE, SECOND, Nanos, from_datetime, to_datetime
from kimp.shared.errors import ConfigurationError
from kimp.storage.database.pool import Database
from kimp.storage.database.reader import Reader
from kimp.storage.gaps import CANDLES, PREMIUMS, Ledger, Stretch

COUNT_S_MAX = 600.0
"""Counting reads every row; three months of books are a hundred million."""

_SERIES = {
    "candles": "instrument_id || ':' || interval_s",
    "orderbook_snapshots": "instrument_id",
    "trades": "instrument_id",
    "funding_rates": "instrument_id",
    "fx_rates": "base || ':' || source",
    "kimp_rates": "symbol",
}
_TIMES = {"candles": "opened_at", "orderbook_snapshots": "venue_at", "trades": "venue_at"}


class SeriesStatus(msgspec.Struct, frozen=True):
    """What there is of one series; ``age_s`` is how long ago its newest row was true."""

    series: str
    rows: int
    first: str
    last: str
    age_s: float


class Coverage(msgspec.Struct, frozen=True):
    """A series over ``[start, end)``: rows expected, there, and missing, and the missing stretches."""

    series: str
    start: Nanos
    end: Nanos
    step: Nanos
    expected: int
    present: int
    missing: tuple[Stretch, ...]


async def status(database: Database, now: Nanos) -> list[SeriesStatus]:
    """Every series of every table, in order of name. Counts exactly, which takes minutes for months of books."""
    found: list[SeriesStatus] = []
    for table, name in _SERIES.items():
        time = _TIMES.get(table, "at")
        query = f"SELECT {name} AS name, count(*) AS rows, min({time}) AS first, max({time}) AS last FROM {table}"
        async with database.connection() as connection:
            records = await connection.fetch(f"{query} GROUP BY 1 ORDER BY 1", timeout=COUNT_S_MAX)
        for record in records:
            age = max(now - from_datetime(record["last"]), 0) / SECOND
            first, last = iso(record["first"]), iso(record["last"])
            found.append(SeriesStatus(f"{table}:{record['name']}", record["rows"], first, last, round(age, 3)))
    return found


async def coverage(reader: Reader, series: str, start: Nanos | None, end: Nanos, now: Nanos) -> Coverage:
    """What is there and what is missing of one series; what the ledger does not explain was not collected.

    Args:
        reader: the database.
        series: a name of the ledger, ``candles:upbit:KRW-BTC:60`` or ``kimp_rates:BTC:60``.
        start: ``None`` is where the series begins.
        end, now: the range ends there, and never in the future.

    Raises:
        ConfigurationError: there is no such series, or the range is crossed.
    """
    kind, _, rest = series.partition(":")
    name, _, length = rest.rpartition(":")
    step = int(length) * SECOND if length.isdecimal() else 0
    if kind not in (CANDLES, PREMIUMS) or not name or not 0 < step <= DAY:
        raise ConfigurationError(
            f"{series} is no series; names are like candles:upbit:KRW-BTC:60 and kimp_rates:BTC:60"
        )
    end = min(end, now) // step * step
    if start is None:
        first = (await reader.coverage(Candle if kind == CANDLES else PremiumRates, name)).first
        start = end if first is None else -(-first // step) * step
        if start >= end:
            return Coverage(series, end, end, step, 0, 0, ())
    start = start // step * step
    if start >= end:
        raise ConfigurationError(f"the range of {series} ends before it begins; choose an earlier --from")
    ledger = Ledger(series, start, end, await reader.gaps(series, start, end, open_only=True), step=step)
    if kind == CANDLES:
        ledger.found((await reader.candles(name, step, start, end)).opened)
    else:
        ledger.found((await reader.premiums(name, start, end))["at"])
    missing = tuple(cut for run in ledger.missing() if (cut := _cut(run, start, end)) is not None)
    absent = sum((run.end - run.start) // step for run in missing)
    expected = (end - start) // step
    return Coverage(series, start, end, step, expected, expected - absent, missing)


def gap_facts(found: list[Coverage]) -> dict[str, Any]:
    """What ``kimp data gaps --json`` promises: totals, and every missing stretch with its reason."""
    gaps = [
        {
            "series": part.series,
            "from": iso(to_datetime(run.start)),
            "to": iso(to_datetime(run.end)),
            "minutes": _number((run.end - run.start) / MINUTE),
            "reason": run.reason.value,
        }
        for part in found
        for run in part.missing
    ]
    expected, present = (sum(getattr(part, name) for part in found) for name in ("expected", "present"))
    return {"expected": expected, "present": present, "missing": expected - present, "gaps": gaps}


def _number(minutes: float) -> float:
    return int(minutes) if minutes == int(minutes) else round(minutes, 3)


def iso(moment: datetime) -> str:
    """A time as JSON has it: UTC with its ``Z``, to the millisecond where that says something."""
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{moment.microsecond // 1_000:03}Z" if moment.microsecond else f"{text}Z"


def _cut(run: Stretch, start: Nanos, end: Nanos) -> Stretch | None:
    first, last = max(run.start, start), min(run.end, end)
    return Stretch(first, last, run.reason) if first < last else None
