"""What a strategy was shown before a run, kept with the run's recording: without it windows would replay empty.

The past cannot be asked for again: gaps are filled later, and old minutes are archived or deleted.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from kimp.order.runtime.flight_format import GZIP, LEVEL, framed
from kimp.shared import logs
from kimp.shared.errors import DataError
from kimp.shared.ports.strategy import MarketView

KIND = "ViewShown"

NOT_NOTED = -1
"""The number of views of a run whose views were not kept."""

SHOWN_BYTES_MAX = 64 * 1024 * 1024
"""Compressed, until the run begins. A month of minutes is under 2 MB, so this is two years of one coin and more."""

log = logs.get(__name__)


class ViewShown(msgspec.Struct, frozen=True, gc=False):
    """One view of the past, and the coin whose strategy saw it."""

    coin: str
    view: MarketView


class ShownViews:
    """Views on their way into a recording that is not begun yet; compressed at once, since a month has 43,200."""

    def __init__(self, bytes_max: int = SHOWN_BYTES_MAX) -> None:
        self.count = 0
        self._bytes_max = bytes_max
        self._squeeze = zlib.compressobj(LEVEL, wbits=GZIP)
        self._packed = bytearray()

    def note(self, coin: str, view: MarketView) -> None:
        """Keep one view; too many of them are given up together, and the recording will say so."""
        if self.count == NOT_NOTED:
            return
        self.count += 1
        self._packed += self._squeeze.compress(framed(KIND, ViewShown(coin, view)))
        if len(self._packed) > self._bytes_max:
            log.warning("too many views to note, this run cannot be replayed", views=self.count)
            self.count = NOT_NOTED
            self._packed.clear()

    def packed(self) -> bytes:
        """All of them as one whole gzip member, and forget them; empty where there is none."""
        if self.count <= 0:
            return b""
        packed = bytes(self._packed) + self._squeeze.flush(zlib.Z_FINISH)
        self._packed.clear()
        return packed


def views_in(frames: Iterable[tuple[str, bytes]], path: Path) -> Iterator[ViewShown]:
    """The views a file begins with, after its first frame.

    Raises:
        DataError: a frame is not what it should be.
    """
    for number, (kind, body) in enumerate(frames):
        if kind == KIND:
            try:
                yield msgspec.msgpack.decode(body, type=ViewShown)
            except msgspec.MsgspecError as error:
                raise DataError(f"{path} holds a view that this version cannot read ({error})") from error
        elif number:
            return
