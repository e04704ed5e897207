"""One recorded run held against the journal: set up as it was, lived through again, compared record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings, engine_settings
from kimp.order.runtime.flight import FlightRun
from kimp.order.runtime.flight_format import RunStart
from kimp.order.runtime.flight_views import NOT_NOTED
from kimp.order.runtime.journal import SqliteJournal, digest, encoded
from kimp.order.runtime.replay import replay
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.errors import DataError
from kimp.shared.messages.effects import Effect
from kimp.shared.messages.events import Event
from kimp.shared.messages.records import Record
from kimp.shared.plugins import strategy_of
from kimp.shared.settings import Settings

ENDING: Nanos = 10 * SECOND
"""Around the end of a run the two may differ in length: a kill takes a second of the recording, and a trader that was
ended no longer journals what it would have sent."""

Watch = Callable[[Event, Sequence[Effect]], None]


@dataclass(frozen=True, slots=True)
class Rerun:
    """What came of it. ``difference`` counts the run's records from 1; ``ours`` and ``theirs`` are the first that differ
    (``None`` where one of the two had ended). Hashes are over the records compared.
    """

    events: int
    records: int
    ours_hash: str
    theirs_hash: str
    difference: int | None
    ours: Record | None
    theirs: Record | None
    warnings: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the same events made the same journal."""
        return self.difference is None


class WatchedEngine(TradingEngine):
    """The engine, telling what it was given: how far a recording goes is known only once it was read."""

    def __init__(self, assignments: Iterable[Assignment], settings: EngineSettings, watch: Watch | None = None) -> None:
        super().__init__(assignments, settings)
        self._watch = watch
        self.events = 0
        self.last_at: Nanos = 0

    def handle(self, event: Event) -> list[Effect]:
        """Handle the event, then show it with its effects."""
        effects = super().handle(event)
        self.events += 1
        self.last_at = max(self.last_at, event.at)
        if self._watch is not None:
            self._watch(event, effects)
        return effects


def rerun(
    settings: Settings, path: Path, run: FlightRun, next_length: int | None = None, watch: Watch | None = None
) -> Rerun:
    """Live through a run again. ``next_length`` is how long the journal was when the run after it began.

    Strategy and limits are those the run was started with, whatever is configured today; ``settings`` stand in where an
    older version did not note them.

    Raises:
        DataError: the recording, the journal or the settings are not those of the run.
        ConfigurationError: the strategy is not installed any more.
    """
    if not run.start.pairs:
        raise DataError("the run was recorded by a version that did not note its instruments; it cannot be replayed")
    if run.start.strategy is not None:
        settings = replace(settings, strategy=run.start.strategy)
    work = [Assignment(strategy_of(settings), pair) for pair in run.start.pairs]
    engine = WatchedEngine(work, run.start.engine or engine_settings(settings), watch)
    with SqliteJournal(path, read_only=True) as journal:
        if run.start.journal and run.start.journal != journal.id:
            raise DataError(f"the run was journaled elsewhere (journal {run.start.journal}), not in {path}")
        if journal.length < run.start.length:
            raise DataError(
                f"{path} holds {journal.length} records, fewer than the {run.start.length} the run began from"
            )
        before = islice(journal.read(), run.start.length)
        ours = list(replay(run, before, engine))
        theirs = [
            record for number, record in journal.tail(run.start.length) if next_length is None or number <= next_length
        ]
    return _compared(ours, theirs, engine, run.start)


def _compared(ours: list[Record], theirs: list[Record], engine: WatchedEngine, start: RunStart) -> Rerun:
    end = max(engine.last_at, start.at)
    warnings: list[str] = []
    if start.views == NOT_NOTED and any(work.strategy.warm_up for work in engine.desks):
        warnings.append(
            "what the strategy was shown before this run was not noted; the replay began with empty windows"
        )
    place = next(
        (number for number, pair in enumerate(zip(ours, theirs, strict=False)) if encoded(pair[0]) != encoded(pair[1])),
        None,
    )
    common = min(len(ours), len(theirs))
    if place is None and len(ours) != len(theirs):
        longer = (ours if len(ours) > common else theirs)[common:]
        if _is_of_the_ending(longer, end, is_ours=len(ours) > common):
            whose = "the replay" if len(ours) > common else "the journal"
            warnings.append(
                f"{whose} has {len(longer)} more records of the moment the run ended; the others are compared"
            )
            ours, theirs = ours[:common], theirs[:common]
        else:
            place = common
    return Rerun(
        events=engine.events,
        records=len(ours),
        ours_hash=digest(ours),
        theirs_hash=digest(theirs),
        difference=None if place is None else place + 1,
        ours=None if place is None or place >= len(ours) else ours[place],
        theirs=None if place is None or place >= len(theirs) else theirs[place],
        warnings=tuple(warnings),
    )


def _is_of_the_ending(more: list[Record], end: Nanos, *, is_ours: bool) -> bool:
    """Records the recording does not reach any more (theirs), or that a trader being ended did not journal (ours)."""
    return all(record.at > end - ENDING for record in more) if is_ours else all(record.at > end for record in more)
