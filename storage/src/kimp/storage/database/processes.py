"""Whether a PostgreSQL server really is running in a directory, and how it is ended.

Its own ``postmaster.pid`` stays behind after kill −9, and the number in it may belong to another program by now; so the
process is asked, not the file.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

POLL_S = 0.01
FAST_STOP_S_MAX = 30.0
"""A fast shutdown only waits for the last checkpoint; a slow disk may need this long for it."""
HARD_STOP_S_MAX = 5.0
READY = "ready"


def postmaster(data: Path) -> int | None:
    """The process id of the server that runs in this data directory, or ``None``."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if is_postmaster(pid, data) else None


def is_postmaster(pid: int, data: Path) -> bool:
    """Whether that process is a PostgreSQL server on that directory, and not somebody who inherited its number."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = process.cmdline()
    except psutil.Error:
        return False
    return bool(words) and str(data) in words and "postgres" in Path(words[0]).name


def clear_stale(lock: Path, data: Path) -> None:
    """Remove a lock file whose process id belongs to another program by now; PostgreSQL would take it for its own.

    One whose process is dead, or still dying, is left to PostgreSQL, which also looks whether its children are gone.
    """
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        is_foreign = process.status() != psutil.STATUS_ZOMBIE and bool(process.cmdline())
    except (OSError, ValueError, psutil.Error):
        return
    if is_foreign and not is_postmaster(pid, data):
        lock.unlink(missing_ok=True)


def is_ready(data: Path, pid: int) -> bool:
    """Whether that server has finished starting or recovering; what a killed one left in the file does not count."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == READY


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Look again and again, at most ``seconds`` long; whether it came true."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def stop(pid: int, data: Path) -> None:
    """End a server: cleanly, and only if it does not listen, at once (which its next start repairs)."""
    for sign, seconds in ((signal.SIGINT, FAST_STOP_S_MAX), (signal.SIGQUIT, HARD_STOP_S_MAX)):
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return
        if wait_until(lambda: not is_postmaster(pid, data), seconds):
            return
