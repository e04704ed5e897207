"""Reads what was collected: whole columns for research, exact rows in a stream for everything else.

Columns are floats and int64 nanoseconds, as :mod:`kimp.shared.domain.history` defines them; a stream gives the domain's
own types, decimals unchanged. Ranges are ``[start, end)``; nothing is filled in.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.history import Candles, Observations
from kimp.shared.domain.instruments import Instrument, InstrumentId
from kimp.shared.domain.time import SECOND, Nanos, from_datetime, to_datetime
from kimp.storage.database.columns import Column, copy_columns
from kimp.storage.database.pool import Database
from kimp.storage.database.rows import Gap, Row
from kimp.storage.database.tables import BASES, BY_KIND, RATES, Table

RowT = TypeVar("RowT", bound=Row)
Arrays = dict[str, NDArray[Any]]

PIECES_MAX = 3
"""Connections one long read is spread over: the server's side of a COPY is what takes the time."""
PIECE_ROWS_MIN = 50_000
STREAM_ROWS = 5_000
STREAM_S_MAX = 600.0

_AT = Column("at", "time")
_VALUE = Column("value", "number")
_PRICES = ("open", "high", "low", "close", "volume")
_CANDLE_COLUMNS = (Column("opened_at", "time"), *(Column(name, "number") for name in _PRICES))
_PREMIUM_COLUMNS = (_AT, *(Column(f"{basis}_{name}", "number", nullable=True) for basis in BASES for name in RATES))
_TRADE_COLUMNS = (
    Column("venue_at", "time"),
    Column("trade_id", "integer"),
    Column("price", "number"),
    Column("quantity", "number"),
    Column("sign", "integer"),
)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a series there is; times are ``None`` while there is nothing."""

    rows: int
    first: Nanos | None
    last: Nanos | None


class Reader:
    """Reads from one database; any number of reads may run at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def candles(self, instrument_id: InstrumentId, interval: Nanos, start: Nanos, end: Nanos) -> Candles:
        """One instrument's closed bars that open in the range; a year of minutes in a few tenths of a second."""
        pieces = min(PIECES_MAX, max(1, (end - start) // interval // PIECE_ROWS_MIN))
        edges = [start + (end - start) * i // pieces for i in range(pieces + 1)]
        source = "FROM candles WHERE instrument_id = $1 AND interval_s = $2 AND opened_at >= $3 AND opened_at < $4"
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    self._columns(
                        _CANDLE_COLUMNS,
                        f"{source} ORDER BY opened_at",
                        instrument_id,
                        interval // SECOND,
                        *_moments(*edge),
                    )
                )
                for edge in pairwise(edges)
            ]
        parts = [task.result() for task in tasks]
        joined = {column.name: np.concatenate([part[column.name] for part in parts]) for column in _CANDLE_COLUMNS}
        return Candles(joined["opened_at"], *(joined[name] for name in _PRICES))

    async def funding(self, instrument_id: InstrumentId, start: Nanos, end: Nanos) -> Observations:
        """The rates of the settlements in the range, each as it was last known when it settled."""
        found = await self._columns(
            (Column("settles_at", "time"), Column("rate", "number")),
            "FROM (SELECT DISTINCT ON (settles_at) settles_at, rate FROM funding_rates "
            "WHERE instrument_id = $1 AND settles_at >= $2 AND settles_at < $3 AND at <= settles_at "
            "ORDER BY settles_at, at DESC) AS settled ORDER BY settles_at",
            instrument_id,
            *_moments(start, end),
        )
        return Observations(found["settles_at"], found["rate"])

    async def fx(self, base: str, start: Nanos, end: Nanos, source: str | None = None) -> Observations:
        """KRW per ``base`` (USD, USDT) from the moment each quote was known; of one source, or of all in turn."""
        found = await self._columns(
            (_AT, _VALUE),
            "FROM fx_rates WHERE base = $1 AND at >= $2 AND at < $3 AND ($4::text IS NULL OR source = $4) "
            "ORDER BY at, source",
            base,
            *_moments(start, end),
            source,
        )
        return Observations(found["at"], found["value"])

    async def premiums(self, symbol: str, start: Nanos, end: Nanos) -> Arrays:
        """Both bases' premiums as fractions, by column name (``fx_mid``, ``usdt_touch_buy_korea``); NaN where unknown."""
        source = "FROM kimp_rates WHERE symbol = $1 AND at >= $2 AND at < $3 ORDER BY at"
        return await self._columns(_PREMIUM_COLUMNS, source, symbol, *_moments(start, end))

    async def trades(self, instrument_id: InstrumentId, start: Nanos, end: Nanos) -> Arrays:
        """Other people's trades in the order of the venue's time; ``sign`` is +1 when the taker bought."""
        return await self._columns(
            _TRADE_COLUMNS,
            "FROM (SELECT *, CASE side WHEN 'buy' THEN 1 ELSE -1 END AS sign FROM trades "
            "WHERE instrument_id = $1 AND venue_at >= $2 AND venue_at < $3) AS found ORDER BY venue_at, trade_id",
            instrument_id,
            *_moments(start, end),
        )

    async def stream(
        self, kind: type[RowT], start: Nanos, end: Nanos, series: str | None = None
    ) -> AsyncIterator[list[RowT]]:
        """Exact rows in order of time, some thousands at once, however long the range; memory stays flat.

        ``series`` picks one instrument, symbol or currency. All of it is one moment's picture of the table. Wrap it in
        ``contextlib.aclosing`` where the loop may be left early: it holds a connection.
        """
        table = BY_KIND[kind]
        assert table.time is not None, "instruments have no time; use instruments()"
        order = dict.fromkeys((table.time, *table.key))
        query = (
            f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {table.time} >= $1 AND {table.time} < $2 "
            f"AND ($3::text IS NULL OR {table.series} = $3) ORDER BY {', '.join(order)}"
        )
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as connection:
            cursor = await connection.cursor(query, *_moments(start, end), series, timeout=STREAM_S_MAX)
            while records := await cursor.fetch(STREAM_ROWS, timeout=STREAM_S_MAX):
                yield [table.decode(record) for record in records]

    async def latest(self, kind: type[RowT], series: str) -> RowT | None:
        """The newest row of one series."""
        table = BY_KIND[kind]
        query = (
            f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {table.series} = $1 "
            f"ORDER BY {table.time} DESC LIMIT 1"
        )
        async with self._database.connection() as connection:
            record = await connection.fetchrow(query, series)
        return None if record is None else table.decode(record)

    async def coverage(self, kind: type[Row], series: str) -> Coverage:
        """How many rows of one series there are, from when to when."""
        table = BY_KIND[kind]
        query = (
            f"SELECT count(*) AS rows, min({table.time}) AS first, max({table.time}) AS last "
            f"FROM {table.name} WHERE {table.series} = $1"
        )
        async with self._database.connection() as connection:
            found = await connection.fetchrow(query, series)
        return Coverage(found["rows"], _nanos(found["first"]), _nanos(found["last"]))

    async def series(self, kind: type[Row]) -> list[str]:
        """The names of all series of a kind, in order."""
        table: Table = BY_KIND[kind]
        async with self._database.connection() as connection:
            found = await connection.fetch(f"SELECT DISTINCT {table.series} FROM {table.name} ORDER BY 1")
        return [record[0] for record in found]

    async def gaps(self, series: str, start: Nanos, end: Nanos, *, open_only: bool = False) -> list[Gap]:
        """The gaps of a series that touch the range, in order; ``open_only`` leaves out what was repaired."""
        table = BY_KIND[Gap]
        async with self._database.connection() as connection:
            found = await connection.fetch(
                f"SELECT {', '.join(table.columns)} FROM gaps WHERE series = $1 AND to_at > $2 AND from_at < $3 "
                "AND NOT ($4 AND repaired_at IS NOT NULL) ORDER BY from_at",
                series,
                *_moments(start, end),
                open_only,
            )
        return [table.decode(record) for record in found]

    async def instruments(self) -> list[Instrument]:
        """Everything ever collected, with the venue's rules as last seen."""
        table = BY_KIND[Instrument]
        async with self._database.connection() as connection:
            found = await connection.fetch(f"SELECT {', '.join(table.columns)} FROM instruments ORDER BY id")
        return [table.decode(record) for record in found]

    async def _columns(self, columns: tuple[Column, ...], source: str, *arguments: Any) -> Arrays:
        async with self._database.connection() as connection:
            return await copy_columns(connection, columns, source, *arguments)


def _moments(*times: Nanos) -> tuple[Any, ...]:
    """Edges as the database compares them: rounded up, because what is stored was cut to the microsecond."""
    return tuple(to_datetime(-(-at // 1_000) * 1_000) for at in times)


def _nanos(moment: Any) -> Nanos | None:
    return None if moment is None else from_datetime(moment)
