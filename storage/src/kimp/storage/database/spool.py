"""A file that keeps rows safe while the database is away: appended to, synced to the disk, replayed in order.

Each record is a length, a checksum and a payload. A record is acknowledged only after the disk has it, so whatever a
crash cuts off at the end was never promised to anybody.
"""

import fcntl
import os
import secrets
import struct
import threading
import zlib
from io import FileIO
from pathlib import Path

from kimp.shared.errors import ConfigurationError

MAGIC = b"kimpspl1"
ID_BYTES = 8
HEADER_BYTES = len(MAGIC) + ID_BYTES
RECORD_BYTES_MAX = 256 * 1024 * 1024
"""A length beyond this is not one of ours but a torn write."""

_PREFIX = struct.Struct(">II")  # length, CRC-32


class SpoolFull(Exception):
    """The spool has grown to its limit; the rows must wait in memory."""


class Spool:
    """One spool file of one process.

    Args:
        path: the file; its directory is made.
        bytes_max: it never grows beyond this.

    Raises:
        ConfigurationError: another process uses the file, it is no spool, or the directory cannot be written.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._busy = threading.Lock()  # a call whose caller gave up waiting goes on in its thread
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written ({error.strerror}); check the disk") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise ConfigurationError(f"another process writes to {path}; stop it or use another directory") from error
        if not path.is_file():
            self._begin()
        self._file = self._unbuffered()
        self._open()

    @property
    def id(self) -> str:
        """A new one whenever the file begins anew, so that a position is never taken for another file's."""
        return self._id

    @property
    def size(self) -> int:
        """Bytes with whole records, the header included."""
        return self._end

    @property
    def is_empty(self) -> bool:
        return self._end == HEADER_BYTES

    def append(self, payload: bytes) -> None:
        """Keep one record; it is on the disk when this returns.

        Raises:
            SpoolFull: the limit is reached.
            OSError: the disk did not take it; the file is as before.
        """
        record = _PREFIX.pack(len(payload), zlib.crc32(payload)) + payload
        with self._busy:
            if self._end + len(record) > self._bytes_max:
                raise SpoolFull(f"{self._path} has reached {self._bytes_max} bytes")
            try:
                self._file.seek(self._end)
                written = 0
                while written < len(record):
                    written += self._file.write(record[written:])
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self._end)  # nobody was promised what is half there
                raise
            self._end += len(record)

    def read(self, position: int) -> tuple[bytes, int] | None:
        """The record at a position and the position after it; ``None`` at the end."""
        position = max(position, HEADER_BYTES)
        with self._busy:
            return self._record(position) if position < self._end else None

    def clear(self, spool_id: str, position: int) -> bool:
        """Begin anew once everything up to ``position`` is in the database; not if it holds more, or began anew before."""
        with self._busy:
            if (spool_id, max(position, HEADER_BYTES)) != (self._id, self._end):
                return False
            self._file.close()
            self._begin()
            self._file = self._unbuffered()
            self._open()
            return True

    def close(self) -> None:
        self._file.close()
        os.close(self._lock)

    def _unbuffered(self) -> FileIO:
        return FileIO(self._path, "r+")  # a buffer would write again what a full disk has refused

    def _begin(self) -> None:
        """A fresh file in place of the old one, which stays whole until the new one is."""
        fresh = self._path.with_suffix(".unfinished")
        with fresh.open("wb") as file:
            file.write(MAGIC + secrets.token_bytes(ID_BYTES))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _open(self) -> None:
        """Find where the whole records end, and cut off what a crash left after them."""
        header = self._file.read(HEADER_BYTES)
        if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
            self.close()
            raise ConfigurationError(f"{self._path} is not a spool of kimp; move it away")
        self._id = header[len(MAGIC) :].hex()
        self._end = os.fstat(self._file.fileno()).st_size
        position = HEADER_BYTES
        while (found := self._record(position)) is not None:
            position = found[1]
        self._end = position
        self._file.truncate(position)

    def _record(self, position: int) -> tuple[bytes, int] | None:
        self._file.seek(position)
        prefix = self._file.read(_PREFIX.size)
        if len(prefix) < _PREFIX.size:
            return None
        length, checksum = _PREFIX.unpack(prefix)
        end = position + _PREFIX.size + length
        if length > RECORD_BYTES_MAX or end > self._end:
            return None
        payload = self._file.read(length)
        return (payload, end) if len(payload) == length and zlib.crc32(payload) == checksum else None
