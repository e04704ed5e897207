"""One trader per mode: two on one account would both hedge what the other did."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from kimp.shared.errors import KimpError

TRIES_MAX = 20
TRY_PAUSE_S = 0.01
"""A fifth of a second in all: who only looks for the holder holds the lock for some microseconds himself."""


class TradeLock:
    """Held for the length of a ``with`` block by the one trader of a mode; the system lets go of it even on kill −9.

    Raises:
        KimpError: another trader holds it; says which process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> TradeLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not is_taken(file, TRY_PAUSE_S):
            holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise KimpError(
                f"another trader (process {holder}) runs in this mode: it holds {self._path}; stop it first"
            )
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def is_taken(file: int, pause_s: float) -> bool:
    """Whether an open file could be locked for us alone, now or within a few tries ``pause_s`` apart."""
    for _ in range(TRIES_MAX):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(pause_s)
        else:
            return True
    return False


def holder_of(path: Path) -> int | None:
    """The process that holds the lock now, ``None`` if nobody does (or it cannot be told)."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        said = os.pread(file, 32, 0).decode("ascii", "replace").strip()
        return int(said) if said.isdigit() else None
    finally:
        os.close(file)
    return None
