"""Copies the journal into the database, off the order path, for reports and dashboards.

The journal stays the truth and nothing is ever read from the copy to decide. How far the copy is stands in the database
and moves in the same transaction as the rows, so that it survives whoever dies, and a new database begins again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import islice
from random import Random
from typing import Protocol

import msgspec

from kimp.order.engine.state import EngineState
from kimp.order.runtime.mirrored_rows import TABLES, Fold, Page
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.errors import DataError
from kimp.shared.logs import get
from kimp.shared.messages.records import Record
from kimp.shared.ports.clock import Clock
from kimp.storage.database.migrate import migrate
from kimp.storage.database.pool import Connection, Database, DatabaseAway
from kimp.storage.feeds.pace import Backoff

PAGE = 100
"""Records per transaction: some milliseconds of work, so that the engine beside it never waits long."""

POLL: Nanos = SECOND
"""How often the journal is looked at; nobody reads the copy faster."""

AWAY_PAUSE_MAX: Nanos = MINUTE
"""A database that stays away is tried again at least so often."""

_PROGRESS = """
INSERT INTO mirror_progress (journal, sequence) VALUES ($1, 0) ON CONFLICT (journal) DO UPDATE SET journal = $1
RETURNING sequence
"""
"""The row is locked by this until the transaction ends: of two mirrors of one journal the second waits."""

_MOVE_ON = "UPDATE mirror_progress SET sequence = $2, updated_at = now() WHERE journal = $1"

_AUDIT = """
INSERT INTO audit (id, at, actor, action, detail) SELECT 0, $1, $2, $3, $4::jsonb
WHERE NOT EXISTS (SELECT FROM audit WHERE detail ->> 'journal' = $5 AND (detail ->> 'sequence')::bigint = $6)
"""


class TailedJournal(Protocol):
    """What the mirror reads."""

    def tail(self, sequence: int) -> Iterator[tuple[int, Record]]:
        """The records after that number, with their numbers; the first is number 1."""
        ...

    @property
    def length(self) -> int:
        """How many records there are now."""
        ...


class Mirror:
    """Keeps one journal's copy up to date. ``copied`` is the last record in the database, ``state`` how it is doing.

    Args:
        database: opened by :meth:`run`, and again when that is run again after a failure.
        name: what the journal is called in the database: its mode and its own id.
        like: a state with the slots the journal is about; only their legs and names are taken.
    """

    name = "mirror"

    def __init__(
        self,
        database: AbstractAsyncContextManager[Database],
        journal: TailedJournal,
        *,
        name: str,
        like: EngineState,
        clock: Clock,
        dice: Random,
        page: int = PAGE,
    ) -> None:
        self._database = database
        self._journal = journal
        self._journal_name = name
        self._slots = tuple(like.slots.values())
        self._clock = clock
        self._dice = dice
        self._page_size = page
        self._fold = Fold(self._slots)
        self._page: Page | None = None
        self._log = get("kimp.order.mirror")
        self.copied = 0
        self.state = "starting"

    @property
    def lag(self) -> int:
        """How many records are not in the database yet, as far as is known."""
        return max(0, self._journal.length - self.copied)

    async def run(self) -> None:
        """Copy for ever. A database that is away is waited for; whatever else goes wrong is raised."""
        async with self._database as database:
            backoff = Backoff(Random(self._dice.getrandbits(64)), cap=AWAY_PAUSE_MAX)
            is_migrated = False
            while True:
                try:
                    if not is_migrated:
                        await migrate(database)
                        is_migrated = True
                    while await self.once(database):
                        await asyncio.sleep(0)
                except DatabaseAway as error:
                    if self.state != "away":
                        self._log.warning("database away, mirror waits", reason=str(error))
                    self.state = "away"
                    is_migrated = False  # what comes back may be a new one
                    await self._clock.sleep_until(self._clock.now() + backoff.pause())
                    continue
                self.state = "running"
                backoff.reset()
                await self._clock.sleep_until(self._clock.now() + POLL)

    async def once(self, database: Database) -> int:
        """Copy the next page; how many records it had, zero when the copy is complete.

        Raises:
            DatabaseAway: nobody knows whether it happened; the next call finds out.
            DataError: the database holds more of this journal than there is: the journal was replaced by an older one.
        """
        async with database.transaction() as connection:
            position = await connection.fetchval(_PROGRESS, self._journal_name)
            page = await self._next(position)
            if page.end > page.start:
                await self._write(connection, page)
                await connection.execute(_MOVE_ON, self._journal_name, page.end)
        self.copied, self._page = page.end, None
        return page.end - page.start

    async def _next(self, position: int) -> Page:
        """The page after that record. Usually the fold stands there; otherwise it is brought there first."""
        if self._page is not None and self._page.start == position:
            return self._page  # the transaction before did not happen
        if position > self._journal.length:
            raise DataError(
                f"the database has {position} records of journal {self._journal_name}, which holds {self._journal.length}:"
                " the journal was replaced by an older one; restore it, or move it away to begin a new one"
            )
        if position < self._fold.sequence:
            self._fold = Fold(self._slots)  # another database, or one restored from a backup
        while self._fold.sequence < position:
            self._fold.take(self._records(min(self._page_size, position - self._fold.sequence)))
            await asyncio.sleep(0)
        self._page = self._fold.take(self._records(self._page_size))
        return self._page

    def _records(self, number: int) -> list[tuple[int, Record]]:
        return list(islice(self._journal.tail(self._fold.sequence), number))

    async def _write(self, connection: Connection, page: Page) -> None:
        for table in TABLES:
            rows: Iterable[tuple[object, ...]] = page.rows[table.name].values()
            if rows:
                await connection.executemany(table.upsert, [(self._journal_name, *row) for row in rows])
        for sequence, at, actor, action, detail in page.audit:
            where = {"journal": self._journal_name, "sequence": sequence}
            text = msgspec.json.encode(where | detail).decode().replace("\\u0000", "")
            await connection.execute(_AUDIT, at, actor, action, text, self._journal_name, sequence)
