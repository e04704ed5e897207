"""How a flight recording lies on disk: gzip, in it frames of four bytes of length and a MessagePack pair of kind and body.

The first frame of every file is its run's :class:`RunStart`; in a run's first file the views its strategies were shown
before follow. Files are flushed at a frame's end, so one whose writer was
killed is whole up to its last flush.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import msgspec

from kimp.order.engine.engine import TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.time import Nanos
from kimp.shared.errors import DataError
from kimp.shared.messages import events as messages
from kimp.shared.messages.events import Event
from kimp.shared.settings import Strategy

FRAME_BYTES_MAX = 16 * 1024 * 1024
"""Of one event; a length beyond this is damage."""

GZIP = 16 + zlib.MAX_WBITS
"""zlib's code for gzip's own header, so that ``gunzip`` reads the files too."""

LEVEL = 1
"""zlib's quickest: an observer has to be quick, and books shrink to a fifth anyway."""

SUFFIX = ".flight.gz"

EVENT_KINDS: dict[str, type[Event]] = {
    kind.__name__: kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Event)
}

_encoder = msgspec.msgpack.Encoder()


class RunStart(msgspec.Struct, frozen=True):
    """What a run began from: a journal of so many records, restored at ``at`` into an engine of this fingerprint.

    ``version`` and ``journal`` are the program's version and the journal's id; ``part`` counts the files of the run.
    ``pairs`` are the instruments as the venues had them that day, which nobody can ask them for later. ``strategy`` and
    ``engine`` are what the owner had configured and typed; ``views`` counts what the strategies were shown before
    (−1: not noted, by older versions).
    """

    at: Nanos
    length: int
    fingerprint: str
    journal: str
    version: str
    part: int = 0
    pairs: tuple[Pair, ...] = ()
    strategy: Strategy | None = None
    engine: EngineSettings | None = None
    views: int = -1


def fingerprint(engine: TradingEngine) -> str:
    """One word for the engine's settings and assignments: a replay by another engine would tell another story."""
    parts = [
        msgspec.json.encode(engine.settings),
        *(msgspec.json.encode((desk.slot.key, desk.pair)) + _settings_of(desk.strategy) for desk in engine.desks),
    ]
    return blake2b(b"\0".join(parts), digest_size=16).hexdigest()


def _settings_of(strategy: object) -> bytes:
    """A strategy's settings as far as it shows them under that name."""
    settings = getattr(strategy, "settings", None)
    try:
        return msgspec.json.encode(settings)
    except (TypeError, ValueError):
        return repr(settings).encode()


def framed(kind: str, body: object) -> bytes:
    """One frame."""
    frame = _encoder.encode((kind, body))
    return len(frame).to_bytes(4, "big") + frame


class Frames:
    """The frames of one file, as far as they are whole; ``is_whole`` is known at the end."""

    def __init__(self, path: Path) -> None:
        self.is_whole = False
        self._path = path
        self._frames = self._read()

    def __iter__(self) -> Frames:
        return self

    def __next__(self) -> tuple[str, bytes]:
        return next(self._frames)

    def _read(self) -> Iterator[tuple[str, bytes]]:
        swell, waiting = zlib.decompressobj(wbits=GZIP), b""
        with self._path.open("rb") as file:
            while data := swell.unused_data or file.read(1 << 16):
                if swell.eof:  # gzip files may have several members, and what is shown before a run is one
                    swell = zlib.decompressobj(wbits=GZIP)
                try:
                    waiting += swell.decompress(data)
                except zlib.error as error:
                    raise DataError(f"{self._path} is damaged ({error})") from error
                begin = 0
                while (end := _end(waiting, begin)) <= len(waiting):
                    yield _pair(waiting[begin + 4 : end], self._path)
                    begin = end
                waiting = waiting[begin:]
                if len(waiting) > FRAME_BYTES_MAX:
                    raise DataError(f"{self._path} holds a frame of more than {FRAME_BYTES_MAX:,} bytes: it is damaged")
        self.is_whole = swell.eof and not waiting


def _end(data: bytes, begin: int) -> int:
    """Where the frame that begins there ends; beyond the data while its length is not known."""
    length = data[begin : begin + 4]
    return begin + 4 + (int.from_bytes(length, "big") if len(length) == 4 else len(data))


def _pair(frame: bytes, path: Path) -> tuple[str, bytes]:
    try:
        kind, body = msgspec.msgpack.decode(frame, type=tuple[str, msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise DataError(f"{path} holds something that is no frame ({error})") from error
    return kind, bytes(body)


def event_of(kind: str, body: bytes, path: Path) -> Event:
    """The event in a frame.

    Raises:
        DataError: this version knows no such event.
    """
    try:
        return msgspec.msgpack.decode(body, type=EVENT_KINDS[kind])
    except (KeyError, msgspec.MsgspecError) as error:
        raise DataError(f"{path} holds a {kind!r} that this version cannot read ({error})") from error
