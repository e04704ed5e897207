"""What the server says when it does not start, in words for the person who has to mend it."""

from pathlib import Path

READ_BYTES_MAX = 64_000

_EXPLANATIONS = (
    ("No space left on device", "the disk is full; free some space and start again"),
    ("Disk quota exceeded", "the disk quota is used up; free some space and start again"),
    ("could not resize shared memory", "shared memory is full; give /dev/shm more room"),
    ("was initialized by PostgreSQL version", "the data belong to another version of PostgreSQL; install that one"),
    ("incompatible with server", "the data belong to another version of PostgreSQL; install that one"),
    ("ermission denied", "a file is not ours to use; check who owns the directory"),
    ("invalid permissions", "the data directory is open to other users; make it private (chmod 700)"),
    ("Read-only file system", "the file system is read-only; choose another directory"),
)


def words_since(log: Path, begin: int) -> str:
    """What was written to a log since it was that long."""
    with log.open("rb") as file:
        file.seek(begin)
        return file.read(READ_BYTES_MAX).decode(errors="replace")


def explain(said: str) -> str:
    """What is the matter, in our words if we know it, else in the server's own."""
    for words, meaning in _EXPLANATIONS:
        if words in said:
            return meaning
    lines = [line for line in said.splitlines() if any(mark in line for mark in ("FATAL", "PANIC", "ERROR", "error"))]
    return (lines or said.splitlines() or ["it says nothing"])[-1].strip()
