"""Takes rows from the collectors and does not lose one: in batches to the database, or to the disk until it is back.

A row is acknowledged once the database has committed it or the spool file has it on the disk; :meth:`Writer.flush`
waits for that. The queue is bounded: when both are too slow, the collectors wait. While anything is in the spool, newer
rows go behind it, so that everything arrives in the order it was collected.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import msgspec

from kimp.shared.domain.candles import Candle
from kimp.shared.errors import DataError, KimpError, TimedOut
from kimp.shared.logs import get
from kimp.storage.database.pool import Database
from kimp.storage.database.rows import Row
from kimp.storage.database.spool import Spool, SpoolFull
from kimp.storage.database.tables import BY_NAME
from kimp.storage.database.upsert import ROW_FAULTS, Upserter, by_table

SPOOL_FILE = "rows.spool"
REJECTED_FILE = "rejected.jsonl"
MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How much is taken at once, and how long anything waits."""

    queue_rows: int = 50_000
    """Some hundred megabytes of books at most; at live rates, minutes."""
    batch_rows: int = 10_000
    flush_s: float = 0.5
    """A row waits this long for company before it is written."""
    retry_s: float = 0.1
    retry_s_max: float = 5.0
    close_s: float = 8.0
    """Of the ten seconds in which a collector has to end."""


@dataclass(slots=True)
class WriterCounters:
    """What happened to the rows so far, for metrics."""

    received: int = 0
    acknowledged: int = 0
    written: int = 0
    """New, or saying something new; the rest of the acknowledged had been there already, or are in the spool."""
    spooled: int = 0
    replayed: int = 0
    rejected: int = 0
    batches: int = 0
    failures: int = 0
    waits: int = 0
    """How often a collector had to wait for room."""


class Writer:
    """Batches rows into a database; use :func:`writing`, which runs it.

    Args:
        directory: where the spool, and a file of rows the database refuses, are kept.
    """

    def __init__(self, database: Database, directory: Path, limits: WriterLimits | None = None) -> None:
        self._limits = limits or WriterLimits()
        self._upserter = Upserter(database)
        self._database = database
        self._spool = Spool(directory / SPOOL_FILE, database.settings.spool_max_mb * MEGABYTE)
        self._replayed: tuple[str, int] | None = None  # the spool, and how far of it the database has
        self._rejected = directory / REJECTED_FILE
        self._queue: deque[Row] = deque()
        self._changed = asyncio.Condition()
        self._wanted = 0  # acknowledge at least so many without waiting for company
        self._is_closing = False
        self._is_done = asyncio.Event()
        self._attempt: asyncio.Timeout | None = None
        self._pause = self._limits.retry_s
        self._retry_at = 0.0
        self._log = get("kimp.storage.writer")
        self.counters = WriterCounters()

    @property
    def backlog(self) -> int:
        """Rows taken and not yet acknowledged."""
        return self.counters.received - self.counters.acknowledged

    @property
    def spool_bytes(self) -> int:
        """What is on the disk and not yet in the database."""
        return 0 if self._spool.is_empty else self._spool.size

    async def put(self, rows: Sequence[Row]) -> None:
        """Take rows for writing; waits while the queue is full.

        Raises:
            DataError: a candle is not closed: it would change after it was stored.
        """
        for row in rows:
            if isinstance(row, Candle) and not row.is_closed:
                raise DataError(f"a candle of {row.instrument_id} is still open; store it when it is closed")
        for start in range(0, len(rows), self._limits.batch_rows):
            await self._enqueue(rows[start : start + self._limits.batch_rows])

    async def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every row put so far is in the database or in the spool.

        Raises:
            TimedOut: neither took them in time; they are still queued.
        """
        wanted = self.counters.received
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                self._wanted = max(self._wanted, wanted)
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self.counters.acknowledged >= wanted)
        except TimeoutError as error:
            raise TimedOut(f"{self.backlog} rows are not stored after {timeout_s:g} s; see: kimp db status") from error

    async def run(self) -> None:
        """Write until :meth:`close`; then write what is left."""
        try:
            while (batch := await self._next_batch()) is not None:
                await self._settle(batch)
        finally:
            self._is_done.set()
            self._spool.close()

    async def close(self) -> None:
        """Take no more, and wait until what was taken is safe.

        Raises:
            TimedOut: neither database nor disk took it.
        """
        async with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._attempt is not None:
            self._attempt.reschedule(self._latest_end())
        try:
            async with asyncio.timeout(self._limits.close_s):
                await self._is_done.wait()
        except TimeoutError as error:
            raise TimedOut(f"{self.backlog} rows could neither be written nor spooled; free some disk space") from error

    async def _enqueue(self, rows: Sequence[Row]) -> None:
        async with self._changed:
            if self.backlog and self.backlog + len(rows) > self._limits.queue_rows:
                self.counters.waits += 1
                await self._changed.wait_for(lambda: self.backlog + len(rows) <= self._limits.queue_rows)
            self._queue.extend(rows)
            self.counters.received += len(rows)
            self._changed.notify_all()

    async def _next_batch(self) -> list[Row] | None:
        """The next rows; empty when only the spool is to be looked after, ``None`` when all is done."""

        def is_urgent() -> bool:
            enough = len(self._queue) >= self._limits.batch_rows
            return enough or self._is_closing or self._wanted > self.counters.acknowledged

        async with self._changed:
            patience = None if self._spool.is_empty else self._pause
            await self._wait(lambda: bool(self._queue) or self._is_closing, patience)
            if self._queue:
                await self._wait(is_urgent, self._limits.flush_s)
            if self._is_closing and not self._queue:
                return None
            return [self._queue.popleft() for _ in range(min(len(self._queue), self._limits.batch_rows))]

    async def _wait(self, is_so: Any, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait_for(is_so)
        except TimeoutError:
            return

    async def _settle(self, batch: Sequence[Row]) -> None:
        """Put a batch where it is safe, however long that takes."""
        while not await self._deliver(batch) and not await self._keep(batch):
            await asyncio.sleep(self._limits.retry_s)  # neither database nor disk: the queue fills, the collectors wait
        self.counters.batches += 1
        async with self._changed:
            self.counters.acknowledged += len(batch)
            self._changed.notify_all()

    async def _deliver(self, batch: Sequence[Row]) -> bool:
        if asyncio.get_running_loop().time() < self._retry_at:
            return False
        try:
            async with asyncio.timeout_at(self._latest_end() if self._is_closing else None) as self._attempt:
                await self._replay()
                await self._store(batch)
        except (KimpError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self.counters.failures += 1
            self._retry_at = asyncio.get_running_loop().time() + self._pause
            self._pause = min(2 * self._pause, self._limits.retry_s_max)
            reason = str(error) or type(error).__name__
            self._log.warning("rows not written, keeping them", rows=len(batch), reason=reason)
            return False
        finally:
            self._attempt = None
        self._pause = self._limits.retry_s
        return True

    def _latest_end(self) -> float:
        """When to give up on the database while closing: early enough to reach the disk within the time allowed."""
        return asyncio.get_running_loop().time() + self._limits.close_s / 2

    async def _store(self, rows: Sequence[Row]) -> None:
        """Write rows; a row the database refuses is put aside, so that it does not hold up the others."""
        if not rows:
            return
        try:
            self.counters.written += await self._upserter.store(rows)
        except ROW_FAULTS as error:
            if len(rows) == 1:
                await asyncio.to_thread(self._put_aside, rows[0], error)
                return
            half = len(rows) // 2
            await self._store(rows[:half])
            await self._store(rows[half:])

    def _put_aside(self, row: Row, error: Exception) -> None:
        fact = {"table": by_table([row])[0][0].name, "error": f"{type(error).__name__}: {error}", "row": row}
        with self._rejected.open("ab") as file:
            file.write(msgspec.json.encode(fact) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.counters.rejected += 1
        self._log.error("row refused by the database", table=fact["table"], reason=fact["error"])

    async def _keep(self, batch: Sequence[Row]) -> bool:
        if not batch:
            return True
        payload = msgspec.msgpack.encode([(table.name, rows) for table, rows in by_table(batch)])
        try:
            await asyncio.to_thread(self._spool.append, payload)
        except (OSError, SpoolFull) as error:
            self._log.error("rows not spooled, collectors wait", rows=len(batch), reason=str(error))
            return False
        self.counters.spooled += len(batch)
        return True

    async def _replay(self) -> None:
        """Write what the spool holds, oldest first; each record's end is committed with its rows."""
        if self._spool.is_empty:
            return
        spool_id = self._spool.id
        position = self._replayed[1] if self._replayed and self._replayed[0] == spool_id else await self._progress()
        while (found := await asyncio.to_thread(self._spool.read, position)) is not None:
            payload, position = found
            rows = _decode(payload)
            try:
                self.counters.written += await self._upserter.store(rows, (spool_id, position))
            except ROW_FAULTS:
                await self._store(rows)
                await self._upserter.store([], (spool_id, position))
            self._replayed = (spool_id, position)
            self.counters.replayed += len(rows)
        if await asyncio.to_thread(self._spool.clear, spool_id, position):
            async with self._database.connection() as connection:
                await connection.execute("DELETE FROM spool_progress WHERE spool_id = $1", spool_id)

    async def _progress(self) -> int:
        async with self._database.connection() as connection:
            found = await connection.fetchval("SELECT position FROM spool_progress WHERE spool_id = $1", self._spool.id)
            return int(found or 0)


def _decode(payload: bytes) -> list[Row]:
    groups = msgspec.msgpack.decode(payload, type=list[tuple[str, msgspec.Raw]])
    rows: list[Row] = []
    for name, raw in groups:
        kind: Any = BY_NAME[name].kind
        rows += msgspec.msgpack.decode(raw, type=list[kind])
    return rows


@asynccontextmanager
async def writing(database: Database, directory: Path, limits: WriterLimits | None = None) -> AsyncIterator[Writer]:
    """A running writer for the length of the block; leaving it stores what is left.

    Raises:
        ConfigurationError: another process writes with the same directory.
    """
    writer = Writer(database, directory, limits)
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.run())
        try:
            yield writer
        finally:
            await writer.close()
