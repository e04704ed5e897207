"""The journal on disk: one SQLite file of which every record has reached the platter before an order leaves.

Write-ahead log with ``synchronous=FULL``: a commit returns after its fsync (https://www.sqlite.org/pragma.html
#pragma_synchronous), so what was appended survives a kill and a power cut, and others may read while the trader writes.
Bodies are JSON, so that a person with ``sqlite3`` can read what happened.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b, sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from kimp.shared.domain.time import Nanos
from kimp.shared.errors import ConfigurationError, DataError, KimpError, NotRunning
from kimp.shared.messages.records import Record
from kimp.shared.ports.clock import Clock

APPLICATION_ID = 0x6B696D70
"""``kimp`` in the file's header: SQLite's own field for whose file this is."""

SCHEMA_VERSION = 1

BUSY_S_MAX = 5.0
"""How long an append waits for another writer of the same file; they write single rows."""

READ_AHEAD = 1_000
"""Records fetched at once while the journal is read: a few hundred kilobytes."""

SCHEMA = """
CREATE TABLE records (sequence INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class JournalFailed(KimpError):
    """The journal could not be written, so nothing may be sent any more: says why and which file."""


def encoded(record: Record) -> bytes:
    """The record as it stands in a journal; equal records are equal bytes."""
    return _encoder.encode(record)


def decoded(body: bytes) -> Record:
    """The record of these bytes.

    Raises:
        DataError: this is no record of this version.
    """
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise DataError(f"a journal record cannot be read ({error}): {body[:80]!r}") from error


def digest(records: Iterable[Record]) -> str:
    """One hash over many records in their order: equal only if every byte of every record is."""
    whole = sha256()
    for record in records:
        body = encoded(record)
        whole.update(len(body).to_bytes(8, "big") + body)
    return whole.hexdigest()


class MemoryJournal:
    """A journal that lasts as long as the process: for tests and simulations."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: list[Record] = list(records)

    def append(self, records: Sequence[Record]) -> None:
        """As durable as memory is."""
        self.records.extend(records)

    def read(self) -> Iterator[Record]:
        """Everything ever appended, oldest first."""
        yield from tuple(self.records)

    @property
    def length(self) -> int:
        """How many records there are."""
        return len(self.records)


class SqliteJournal:
    """The journal of one mode; a context manager that closes the file.

    One process writes it (see :class:`~kimp.order.runtime.trade_lock.TradeLock`); others open it with ``read_only`` at
    any time, also while it is written. Use it from one thread. ``clock`` dates a new file.

    Raises:
        DataError: the file is damaged.
        ConfigurationError: it is another program's, or a newer version's.
        NotRunning: it is not there (``read_only``).
    """

    def __init__(self, path: Path, *, clock: Clock | None = None, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        if read_only and not path.exists():
            raise NotRunning(f"there is no journal at {path}: no trader has run in this mode yet")
        with self._explained("opened"):
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
                # Made before SQLite does, because its companions inherit who may read it.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
                uri=True,
                timeout=BUSY_S_MAX,
                isolation_level=None,
            )
        try:
            with self._explained("opened"):
                self._open(clock)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, clock: Clock | None) -> None:
        one = self._one
        tables = one("SELECT count(*) FROM sqlite_schema")
        owner, version = one("PRAGMA application_id"), int(one("PRAGMA user_version"))
        if not tables and not owner and not self._read_only:
            self._create(clock)
        elif owner != APPLICATION_ID:
            raise ConfigurationError(f"{self.path} is not a journal of kimp; move it away or name another directory")
        elif version > SCHEMA_VERSION:
            raise ConfigurationError(
                f"{self.path} was written by a newer version of kimp (journal {version}, known is {SCHEMA_VERSION});"
                " update before trading with it"
            )
        if not self._read_only:
            self._prepare()
        self._length = self._check()
        self.id = str(one("SELECT value FROM meta WHERE name = 'id'"))

    def _create(self, clock: Clock | None) -> None:
        found = self.path.stat()
        created_at = found.st_mtime_ns if clock is None else clock.now()
        cause = f"{created_at}:{found.st_dev}:{found.st_ino}:{self.path.name}"
        id_ = blake2b(cause.encode(), digest_size=10).hexdigest()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; {SCHEMA}"
            f"INSERT INTO meta VALUES ('created_at', '{created_at}'), ('id', '{id_}'); COMMIT;"
        )
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # or a power cut could take the file's name away
        finally:
            os.close(directory)

    def _prepare(self) -> None:
        if self._one("PRAGMA journal_mode = WAL") != "wal":
            raise ConfigurationError(f"{self.path} lies where SQLite keeps no write-ahead log; use a local disk")
        self._connection.execute("PRAGMA synchronous = FULL")

    def _check(self) -> int:
        """How many records there are, all in their places."""
        if not self._read_only and (said := self._one("PRAGMA quick_check(1)")) != "ok":
            raise DataError(f"the journal {self.path} is damaged ({said}); restore it from the mirror or a backup")
        length, last = self._connection.execute("SELECT count(*), coalesce(max(sequence), 0) FROM records").fetchone()
        if length != last:
            raise DataError(f"the journal {self.path} has {length} records up to number {last}: some are missing")
        return int(length)

    # -- writing ---------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Record]) -> None:
        """All of them or none, on the platter when it returns.

        Raises:
            JournalFailed: the disk is full or broken, or somebody keeps the file locked.
        """
        rows = [
            (sequence, record.at, type(record).__name__, encoded(record))
            for sequence, record in enumerate(records, self._length + 1)
        ]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_back()
            raise JournalFailed(
                f"{len(rows)} records could not be written to {self.path} ({error}): trading ends, because nothing is"
                " sent that is not journaled; make room or repair the disk, then start again"
            ) from error
        self._length += len(rows)

    def _give_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself, or will when the file is opened next

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self) -> Iterator[Record]:
        """Everything ever appended, oldest first.

        Raises:
            DataError: a record cannot be read.
        """
        for _, record in self.tail(0):
            yield record

    def tail(self, sequence: int) -> Iterator[tuple[int, Record]]:
        """The records after that number with their numbers, up to those there are now; the first is number 1.

        Raises:
            DataError: a record cannot be read.
        """
        last = sequence
        while True:
            with self._explained("read"), closing(self._connection.cursor()) as cursor:
                # Fetched whole: a cursor kept open across the caller's work would hold back the write-ahead log.
                rows = cursor.execute(
                    "SELECT sequence, body FROM records WHERE sequence > ? ORDER BY sequence LIMIT ?",
                    (last, READ_AHEAD),
                ).fetchall()
            for last, body in rows:
                yield last, decoded(body)
            if len(rows) < READ_AHEAD:
                return

    @property
    def length(self) -> int:
        """How many records there are now."""
        if self._read_only:
            with self._explained("read"):
                self._length = int(self._one("SELECT coalesce(max(sequence), 0) FROM records"))
        return self._length

    @property
    def created_at(self) -> Nanos:
        """When the file was made."""
        with self._explained("read"):
            return int(self._one("SELECT value FROM meta WHERE name = 'created_at'"))

    # -- both ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the file; more than once does no harm."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _one(self, sql: str) -> int | str:
        row = self._connection.execute(sql).fetchone()
        if row is None:
            raise DataError(f"the journal {self.path} lacks what every journal has ({sql}); restore it from a backup")
        value: int | str = row[0]
        return value

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise DataError(f"the journal {self.path} could not be {what}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is damaged or not a journal ({error}); restore it from a backup") from error
