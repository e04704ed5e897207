"""The virtual exchange's memory: an append-only file of facts that survives a crash at any moment.

One transaction per request, on disk before its answer is given; market data writes nothing. The file is SQLite in
write-ahead mode with ``synchronous=FULL`` and belongs to one venue and one process. Every fact carries the hash of
itself and of all before it, because SQLite would not notice a digit that changed on the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from kimp.portfolio.exchange.facts import Fact
from kimp.shared.errors import DataError, KimpError

APPLICATION_ID = 0x6B696D70
"""Marks the file as ours in its header (``kimp`` in ASCII), so that another program's database is not written into."""

VERSION = 1
"""Of the facts' layout; a file of another version is refused, never guessed at."""

_SCHEMA = "CREATE TABLE facts (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, chain BLOB NOT NULL) STRICT"

_ROOT = b""
"""What the first link of the chain hangs on."""


class DiaryFailed(KimpError):
    """The diary could not be written: what happened since is not durable, so the venue takes nothing more."""


class Diary:
    """Facts of one venue, oldest first.

    Raises:
        DataError: the file is not a diary, is damaged, is of another version, or another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder()
        try:
            self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        except sqlite3.Error as error:
            raise DataError(f"{path} cannot be opened as the venue's diary ({error}); check the directory.") from error
        try:
            self._open()
        except sqlite3.Error as error:
            self._file.close()
            raise DataError(_unreadable(path, error)) from error
        except DataError:
            self._file.close()
            raise

    def _open(self) -> None:
        is_new = self._pragma("schema_version") == 0
        if not is_new and (self._pragma("application_id"), self._pragma("user_version")) != (APPLICATION_ID, VERSION):
            raise DataError(f"{self.path} is not a venue's diary of version {VERSION}; name another file.")
        # One writer for the life of the process: a second one would tell another story in the same file.
        self._file.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = FULL")
        if is_new:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.execute(_SCHEMA)
            self._file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._file.execute(f"PRAGMA user_version = {VERSION}")
            self._file.execute("COMMIT")
        elif (found := self._pragma("quick_check")) != "ok":
            raise DataError(_unreadable(self.path, found))
        last = self._file.execute("SELECT chain FROM facts ORDER BY seq DESC LIMIT 1").fetchone()
        self._chain: bytes = _ROOT if last is None else last[0]

    def _pragma(self, name: str) -> object:
        return self._file.execute(f"PRAGMA {name}").fetchone()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; everything appended is in it already."""
        self._file.close()

    def append(self, facts: Sequence[Fact]) -> None:
        """All of them or none; durable when it returns.

        Raises:
            DiaryFailed: they could not be written.
        """
        rows, chain = [], self._chain
        for fact in facts:
            body = self._encoder.encode(fact)
            chain = _link(chain, body)
            rows.append((body, chain))
        try:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany("INSERT INTO facts (body, chain) VALUES (?, ?)", rows)
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise DiaryFailed(f"{self.path} cannot be written ({error}); free the disk and restart.") from error
        self._chain = chain

    def read(self) -> Iterator[Fact]:
        """Everything ever appended, oldest first.

        Raises:
            DataError: a fact is missing, was changed, or cannot be read.
        """
        decoder, chain = msgspec.json.Decoder(Fact), _ROOT
        try:
            rows = self._file.execute("SELECT seq, body, chain FROM facts ORDER BY seq")
            for expected, (seq, body, link) in enumerate(rows, 1):
                chain = _link(chain, body)
                if seq != expected or link != chain:
                    raise DataError(_unreadable(self.path, f"fact {expected} is missing or was changed"))
                yield decoder.decode(body)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise DataError(_unreadable(self.path, error)) from error


def _link(chain: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=16, key=chain).digest()


def _unreadable(path: Path, why: object) -> str:
    return f"{path} cannot be read as a venue's diary ({why}); restore it from a backup or start with a new file."
