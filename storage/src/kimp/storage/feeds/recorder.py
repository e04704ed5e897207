"""Keeps every message as it arrived, so that whatever happens live can be run again through the same parsers.

One line each, gzipped: ``<receive time in ns> <channel> <text>``. Openings and losses of connections are lines too,
their channel ending in ``!``. What is not one line of text is written as base64 behind ``=``.
"""

from __future__ import annotations

import gzip
import os
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from kimp.shared.domain.time import HOUR, MINUTE, SECOND, Nanos, to_datetime
from kimp.storage.feeds.frames import ChannelLost, ChannelOpened, Frame, Item, happened_at

ROTATED_EVERY: Nanos = HOUR
BYTES_MAX = 256 * 1024 * 1024
"""Of text per file, before compression to about a tenth."""

FLUSHED_EVERY: Nanos = SECOND
"""What a crash may cost. Each flush costs some compression."""

RETRIED_EVERY: Nanos = MINUTE
"""After the disk refused something."""

SUFFIX = ".frames.gz"
LEVEL = 6
_OPENED = b"opened"


class FrameRecorder:
    """Writes items into files of an hour each; call it with every item, and close it.

    A file is never appended to after a crash: the next run begins another. What was flushed can be read even though the
    file ends in the middle.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rotated_every: Nanos = ROTATED_EVERY,
        bytes_max: int = BYTES_MAX,
        prefix: str = "feeds",
    ) -> None:
        self._directory = directory
        self._rotated_every = rotated_every
        self._bytes_max = bytes_max
        self._prefix = prefix
        self._raw: BinaryIO | None = None
        self._file: gzip.GzipFile | None = None
        self._began_at: Nanos = 0
        self._flushed_at: Nanos = 0
        self._bytes = 0
        self._resting_until: Nanos = 0
        self.lost = 0
        """Items that could not be written, for example because the disk is full."""

    def __call__(self, item: Item) -> None:
        """Write one item. A disk that refuses it costs the item and a pause, never the feed that brought it."""
        at = happened_at(item)
        if at < self._resting_until:
            self.lost += 1
            return
        try:
            self._write(item, at)
        except OSError:
            self.lost += 1
            self._resting_until = at + RETRIED_EVERY
            self._abandon()

    def _write(self, item: Item, at: Nanos) -> None:
        if self._file is None or at - self._began_at >= self._rotated_every or self._bytes >= self._bytes_max:
            self._rotate(at)
        assert self._file is not None
        line = to_line(item)
        self._file.write(line)
        self._bytes += len(line)
        if at - self._flushed_at >= FLUSHED_EVERY:
            self._flushed_at = at
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system: a crash of ours loses nothing before this."""
        if self._file is not None and self._raw is not None:
            self._file.flush()
            self._raw.flush()

    def close(self) -> None:
        """End the present file, safe against loss of power as well."""
        if self._file is not None and self._raw is not None:
            self._file.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self._raw.close()
        self._file = self._raw = None

    def _abandon(self) -> None:
        """Leave a file that cannot be written as it is; the next attempt begins another."""
        raw, self._file, self._raw = self._raw, None, None
        if raw is not None:
            with suppress(OSError):
                raw.close()

    def _rotate(self, at: Nanos) -> None:
        self.close()
        self._directory.mkdir(parents=True, exist_ok=True)
        stamp = to_datetime(at).strftime("%Y%m%dT%H%M%S")
        for number in range(1_000):
            path = self._directory / f"{self._prefix}-{stamp}-{number:03d}{SUFFIX}"
            if not path.exists():
                break
        self._raw = path.open("xb")
        self._file = gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=self._raw, mtime=0)
        self._began_at, self._flushed_at, self._bytes = at, at, 0


def to_line(item: Item) -> bytes:
    """An item as one line."""
    match item:
        case Frame(channel=channel, received_at=at, payload=payload):
            if b"\n" in payload or payload.startswith(b"=") or b"\r" in payload:
                payload = b"=" + b64encode(payload)
            return b"%d %s %s\n" % (at, channel.encode(), payload)
        case ChannelOpened(channel=channel, at=at):
            return b"%d %s! %s\n" % (at, channel.encode(), _OPENED)
        case ChannelLost(channel=channel, at=at, reason=reason):
            return b"%d %s! lost %s\n" % (at, channel.encode(), " ".join(reason.split()).encode())


def from_line(line: bytes) -> Item:
    """The item of a line.

    Raises:
        ValueError: it is no such line.
    """
    stamp, name, payload = line.rstrip(b"\n").split(b" ", 2)
    at, channel = int(stamp), name.decode()
    if channel.endswith("!"):
        channel = channel[:-1]
        if payload == _OPENED:
            return ChannelOpened(channel, at)
        return ChannelLost(channel, at, payload.decode().removeprefix("lost "))
    return Frame(channel, at, b64decode(payload[1:]) if payload.startswith(b"=") else payload)
