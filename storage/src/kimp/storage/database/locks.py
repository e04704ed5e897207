"""One at a time, between processes: a lock that the system releases when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from kimp.shared.errors import NotRunning
from kimp.storage.database.processes import wait_until

LOCK_S_MAX = 90.0
"""Longer than a start after a crash may take."""


class FileLock:
    """Held for the length of a ``with`` block; waits for whoever holds it now.

    Raises:
        NotRunning: it was not given up in time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not wait_until(self._is_taken, LOCK_S_MAX):
            os.close(self._file)
            raise NotRunning(f"another process has been starting the database for {LOCK_S_MAX:.0f} s: {self._path}")

    def _is_taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
