"""The same rows wherever they lie: each question goes to the database first, then to the files, and comes back as one.

First the database, because retention moves rows the other way: what leaves it in between is found in a file, never
nowhere. Of a row that both have, the database's stands for candles, rates and funding (it may have been corrected there)
and the archive's for trades and books (which never change).
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
import numpy as np

from kimp.shared.domain.history import Candles
from kimp.shared.domain.time import Nanos
from kimp.shared.errors import ConfigurationError
from kimp.storage.client.files import Files
from kimp.storage.client.frames import Arrays
from kimp.storage.client.moments import edge
from kimp.storage.client.seams import joined
from kimp.storage.database.columns import Column, copy_columns
from kimp.storage.database.pool import Database
from kimp.storage.database.reader import Reader
from kimp.storage.database.tables import BY_NAME

Answer = TypeVar("Answer")
CANDLES = ("open", "high", "low", "close", "volume")
COUNT_S_MAX = 600.0
"""Counting a quarter of books is reading a quarter of books."""

Counted = tuple[str, str, str, int, int, Nanos, Nanos]
"""Where it lies, kind, series, interval in seconds (0: none), rows, first, last."""


class Sources:
    """Database and files behind one set of questions; answers are arrays in order of time.

    Args:
        database: open; ``None`` reads files only.
        files: what lies on the disk.
    """

    def __init__(self, database: Database | None, files: Files) -> None:
        self._database = database
        self._files = files

    @property
    def reader(self) -> Reader:
        """The database's own reader.

        Raises:
            ConfigurationError: this client was made without a database.
        """
        if self._database is None:
            raise ConfigurationError("this is only known to a database, and the client has none; pass it one")
        return Reader(self._database)

    async def candles(self, instrument_id: str, interval: Nanos, start: Nanos, end: Nanos) -> Candles:
        """Bars of exactly this length that open in ``[start, end)``."""
        collected: Candles | None = None
        if self._database is not None:
            collected = await _said_plainly(self.reader.candles(instrument_id, interval, start, end))
        recorded = await asyncio.to_thread(self._files.candles, instrument_id, interval, start, end)
        if collected is None or recorded is None:
            return collected or recorded or _no_candles()
        return _candles(joined(bars(collected), bars(recorded), ("opened_at",)))

    async def funding(self, instrument_id: str, start: Nanos, end: Nanos) -> Arrays:
        """Settled rates: ``settles_at``, ``rate``."""
        recorded = await asyncio.to_thread(self._files.funding, instrument_id, start, end)
        if self._database is None:
            return recorded
        found = await _said_plainly(self.reader.funding(instrument_id, start, end))
        return joined({"settles_at": found.at, "rate": found.value}, recorded, ("settles_at",))

    async def fx(self, base: str, start: Nanos, end: Nanos, source: str | None) -> Arrays:
        """KRW per ``base``: ``at``, ``value``, ``valid_until``, ``source``."""
        edges = (start, end) if base == "USD" else (0, 0)  # the files know the dollar only
        recorded = await asyncio.to_thread(self._files.fixings, *edges, source)
        if self._database is None:
            return recorded
        return joined(await _said_plainly(self._quotes(base, start, end, source)), recorded, ("at", "source"))

    async def _quotes(self, base: str, start: Nanos, end: Nanos, source: str | None) -> Arrays:
        assert self._database is not None
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT DISTINCT source FROM fx_rates WHERE base = $1 ORDER BY 1", base)
            names = [row["source"] for row in rows]
            # A name has no fixed length; its place in a list has.
            place = Column("array_position($5::text[], source)", "integer", nullable=True)
            columns = (Column("at", "time"), Column("value", "number"), Column("valid_until", "time"), place)
            found = await copy_columns(
                connection,
                columns,
                "FROM fx_rates WHERE base = $1 AND at >= $2 AND at < $3 AND ($4::text IS NULL OR source = $4) "
                "ORDER BY at, source",
                base,
                *(edge(start), edge(end)),
                *(source, names),
            )
        spelled = np.array(names or [""], dtype=np.str_)[np.maximum(found.pop(place.name), 1) - 1]
        return {**found, "source": spelled}

    async def premiums(self, symbol: str, start: Nanos, end: Nanos) -> Arrays:
        """Both bases' premiums as fractions, by column name; NaN while a rate was missing."""
        return await _said_plainly(self.reader.premiums(symbol, start, end))

    async def trades(self, instrument_id: str, start: Nanos, end: Nanos) -> Arrays:
        """Trades by the venue's time; ``sign`` is +1 when the taker bought."""
        database, collected = self._database, None
        if database is not None:
            collected = await _said_plainly(self.reader.trades(instrument_id, start, end))
        archived = await asyncio.to_thread(self._files.trades, instrument_id, start, end)
        empty = dict.fromkeys(("venue_at", "trade_id", "price", "quantity", "sign"), np.empty(0, np.int64))
        return _either(archived, collected, ("venue_at", "trade_id")) or empty

    async def books(self, instrument_id: str, start: Nanos, end: Nanos, depth: int) -> Arrays:
        """Books by the venue's time, a column for each price and size: ``bid_price_1`` is the best bid."""
        levels = [
            (f"{side}_{what}_{row}", f"{side}_{what}s[{row}]")
            for row in range(1, depth + 1)
            for side in ("bid", "ask")
            for what in ("price", "size")
        ]
        collected: Arrays | None = None
        if self._database is not None:
            collected = await _said_plainly(self._snapshots(levels, instrument_id, start, end))
        archived = await asyncio.to_thread(self._files.books, levels, instrument_id, start, end)
        empty = {"venue_at": np.empty(0, np.int64), "received_at": np.empty(0, np.int64)}
        return _either(archived, collected, ("venue_at",)) or empty | {name: np.empty(0) for name, _ in levels}

    async def _snapshots(self, levels: list[tuple[str, str]], instrument_id: str, start: Nanos, end: Nanos) -> Arrays:
        assert self._database is not None
        cells = [Column(element, "number", nullable=True) for _, element in levels]
        columns = (Column("venue_at", "time"), Column("received_at", "time"), *cells)
        source = (
            "FROM orderbook_snapshots WHERE instrument_id = $1 AND venue_at >= $2 AND venue_at < $3 ORDER BY venue_at"
        )
        async with self._database.connection() as connection:
            found = await copy_columns(connection, columns, source, instrument_id, edge(start), edge(end))
        spelled = {element: name for name, element in levels}
        return {spelled.get(name, name): values for name, values in found.items()}

    async def coverage(self) -> list[Counted]:
        """Every series there is, and from when to when."""
        counted: list[Counted] = []
        if self._database is not None:
            counted += await _said_plainly(self._counted(self._database))
        on_disk = await asyncio.to_thread(self._files.coverage)
        return counted + [("files", kind, name, 0, rows, first, last) for kind, name, rows, first, last in on_disk]

    async def _counted(self, database: Database) -> list[Counted]:
        found: list[Counted] = []
        for table in BY_NAME.values():
            if not table.is_partitioned:
                continue
            interval = "interval_s" if table.name == "candles" else "0"
            query = (
                f"SELECT {table.series}, {interval} AS interval_s, count(*), "
                f"(extract(epoch FROM min({table.time})) * 1000000)::bigint * 1000, "
                f"(extract(epoch FROM max({table.time})) * 1000000)::bigint * 1000 "
                f"FROM {table.name} GROUP BY 1, 2 ORDER BY 1, 2"
            )
            async with database.connection() as connection:
                rows = await connection.fetch(query, timeout=COUNT_S_MAX)
            found += [("database", table.name, *row) for row in rows]
        return found


def bars(candles: Candles) -> Arrays:
    """Candles by column name, the open time first."""
    return {"opened_at": candles.opened, **{name: getattr(candles, name) for name in CANDLES}}


def _candles(rows: Arrays) -> Candles:
    return Candles(rows["opened_at"], *(rows[name] for name in CANDLES))


def _no_candles() -> Candles:
    nothing = np.empty(0)
    return Candles(np.empty(0, np.int64), nothing, nothing, nothing, nothing, nothing)


def _either(first: Arrays | None, second: Arrays | None, key: tuple[str, ...]) -> Arrays | None:
    if first is None or second is None:
        return first or second
    return joined(first, second, key)


async def _said_plainly(question: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer; a missing table, or an error that a group of readers wrapped, becomes one sentence.

    Raises:
        ConfigurationError: the database has no tables yet.
        KimpError: what the reader said.
    """
    try:
        return await question
    except (ExceptionGroup, asyncpg.UndefinedTableError) as error:
        said = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        if isinstance(said, asyncpg.UndefinedTableError):
            raise ConfigurationError(f"the database is not set up ({said}); run: kimp db migrate") from error
        raise said from error
