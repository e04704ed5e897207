"""The flight recorder: everything the engine was told, so that what it did can be done again and compared.

A run is a directory's files ``<start>-<part>-<begin of the part>.flight.gz``, each readable by itself.
Recording is a convenience: trouble with the disk ends it with a warning, and never the trading.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec

from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.flight_format import GZIP, LEVEL, SUFFIX, Frames, RunStart, event_of, fingerprint, framed
from kimp.order.runtime.flight_views import KIND, NOT_NOTED, ShownViews, ViewShown, views_in
from kimp.shared import logs
from kimp.shared.domain.time import DAY, SECOND, Nanos
from kimp.shared.errors import DataError
from kimp.shared.messages.effects import Effect
from kimp.shared.messages.events import Event
from kimp.shared.ports.strategy import MarketView
from kimp.shared.settings import Strategy

PART_BYTES_MAX = 32 * 1024 * 1024
"""Of one file, compressed: some hours of a live market, so that what is too old can go piece by piece."""

BYTES_MAX = 4 * 1024**3
"""Of all recordings together: a pair's full books at twenty a second are up to a gigabyte a day."""

FLUSH_EVERY: Nanos = SECOND
"""What a kill may cost the recording."""

log = logs.get(__name__)


class FlightRecorder:
    """Writes every event the engine is given; an observer of the runner that also notes what the run began from.

    ``strategy`` is what the run's strategies are built from, so that a replay can build the same. ``keep_days`` is how
    long parts are kept, counted from the newest event, ``bytes_max`` how much of them. Close it when the run has ended.
    """

    def __init__(
        self,
        directory: Path,
        *,
        journal: str = "",
        version: str = "",
        strategy: Strategy | None = None,
        keep_days: int = 14,
        bytes_max: int = BYTES_MAX,
        part_bytes_max: int = PART_BYTES_MAX,
    ) -> None:
        self.is_recording = True
        self._directory = directory
        self._journal, self._version, self._strategy = journal, version, strategy
        self._shown = ShownViews()
        self._keep = keep_days * DAY
        self._bytes_max, self._part_bytes_max = bytes_max, part_bytes_max
        self._run: RunStart | None = None
        self._file: BinaryIO | None = None
        self._squeeze = zlib.compressobj(LEVEL, wbits=GZIP)
        self._flushed_at: Nanos = 0
        self._written = 0

    # -- observing -------------------------------------------------------------------------------------------------

    def shown(self, coin: str, view: MarketView) -> None:
        """The coin's strategy was shown this before the run begins."""
        self._shown.note(coin, view)

    def started(self, at: Nanos, length: int, effects: Sequence[Effect], engine: TradingEngine) -> None:  # noqa: ARG002
        """Begin a run; what the engine wanted on being restored follows from the journal and is not written."""
        pairs = tuple(desk.pair for desk in engine.desks)
        run = RunStart(
            at, length, fingerprint(engine), self._journal, self._version,
            pairs=pairs, strategy=self._strategy, engine=engine.settings, views=self._shown.count,
        )  # fmt: skip
        self._guarded(lambda: self._begin(run))

    def after(self, event: Event, effects: Sequence[Effect], engine: TradingEngine) -> None:  # noqa: ARG002
        """Write one event."""
        if self.is_recording:
            self._guarded(lambda: self._record(event))

    def close(self) -> None:
        """Write what is left and let go of the file."""
        if self._file is not None:
            self._guarded(self._end_part)

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, ValueError, TypeError, zlib.error) as error:
            self.is_recording = False
            log.warning("flight recording ended, trading goes on", directory=str(self._directory), error=str(error))
            self._let_go()

    # -- writing ---------------------------------------------------------------------------------------------------

    def _begin(self, run: RunStart) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._forget(run.at)
        self._open(run, run.at)

    def _open(self, run: RunStart, at: Nanos) -> None:
        path = self._directory / f"{run.at:020d}-{run.part:06d}-{at:020d}{SUFFIX}"
        self._run, self._written = run, 0
        self._squeeze = zlib.compressobj(LEVEL, wbits=GZIP)
        self._file = path.open("xb")
        self._put("RunStart", run)
        if not run.part and (views := self._shown.packed()):
            self._write(self._squeeze.flush(zlib.Z_FINISH))
            self._write(views)
            self._squeeze = zlib.compressobj(LEVEL, wbits=GZIP)
        self._flush()

    def _record(self, event: Event) -> None:
        if self._file is None or self._run is None:
            raise ValueError("an event came before the start of its run")
        self._put(type(event).__name__, event)
        if event.at - self._flushed_at >= FLUSH_EVERY:
            self._flushed_at = event.at
            self._flush()
            if self._written >= self._part_bytes_max:
                self._end_part()
                self._forget(event.at)
                self._open(msgspec.structs.replace(self._run, part=self._run.part + 1), event.at)

    def _put(self, kind: str, body: object) -> None:
        self._write(self._squeeze.compress(framed(kind, body)))

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        if data:
            self._file.write(data)
            self._written += len(data)

    def _flush(self) -> None:
        assert self._file is not None
        self._write(self._squeeze.flush(zlib.Z_SYNC_FLUSH))
        self._file.flush()

    def _end_part(self) -> None:
        assert self._file is not None
        self._write(self._squeeze.flush(zlib.Z_FINISH))
        self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                log.warning("flight file not closed", error=str(error))

    def _forget(self, now: Nanos) -> None:
        """Delete parts that ended before what is to be kept, and the oldest ones when all of them take too much room; a
        run that lasts longer loses its beginning.
        """
        paths = _parts(self._directory)
        room = self._bytes_max - sum(path.stat().st_size for path in paths)
        for path, following in pairwise(paths):
            ended_at = int(following.name.removesuffix(SUFFIX).split("-")[2])
            if ended_at < now - self._keep or room < 0:
                room += path.stat().st_size
                path.unlink()


# -- reading -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FlightRun:
    """One run of a trader: what it began from and, read from disk while iterated, every event in order.

    ``warnings`` says in plain words what is missing; it is complete once the events have been read.
    """

    start: RunStart
    files: list[Path]
    warnings: list[str] = field(default_factory=list)

    def views(self) -> Iterator[ViewShown]:
        """What the strategies were shown before the run, in order.

        Raises:
            DataError: some of it is missing or damaged.
        """
        count = 0
        for view in views_in(Frames(self.files[0]), self.files[0]):
            count += 1
            yield view
        if self.start.views not in (count, NOT_NOTED):
            raise DataError(f"{self.files[0].name} holds {count} of the {self.start.views} views shown before the run")

    def events(self) -> Iterator[Event]:
        """Every event that can be read, up to the first that cannot.

        Raises:
            DataError: a frame is not what it should be, though it is whole.
        """
        for number, path in enumerate(self.files):
            frames = Frames(path)
            _, start = next(frames, ("", b""))
            part = msgspec.msgpack.decode(start, type=RunStart).part if start else number
            if part != number:
                self.warnings.append(f"part {number} of the run is missing, the next there is: {path.name}")
                return
            yield from (event_of(kind, body, path) for kind, body in frames if kind != KIND)
            if not frames.is_whole:
                is_last = path == self.files[-1]
                what = "the trader was killed while writing it" if is_last else "what follows cannot be replayed"
                self.warnings.append(f"{path.name} ends in the middle: {what}")
                if not is_last:
                    return


def _parts(directory: Path) -> list[Path]:
    """The files of all runs in the order they were written: their names begin with fixed-width numbers."""
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if path.name.count("-") == 2)


def read_flight(directory: Path) -> Iterator[FlightRun]:
    """Every run recorded there, oldest first.

    Raises:
        DataError: a file is no flight recording.
    """
    runs: dict[str, list[Path]] = {}
    for path in _parts(directory):
        runs.setdefault(path.name.partition("-")[0], []).append(path)
    for files in runs.values():
        kind, body = next(Frames(files[0]), ("", b""))
        if kind != "RunStart":
            raise DataError(f"{files[0]} does not begin like a flight recording; delete it or restore it")
        start = msgspec.msgpack.decode(body, type=RunStart)
        run = FlightRun(start, files)
        if start.part:
            run.warnings.append(f"the beginning of the run is kept no more: the oldest part there is {files[0].name}")
        yield run
