"""Doing a recorded run again: a fresh engine, the same events, and the same journal or a bug."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.flight import FlightRun
from kimp.order.runtime.flight_format import fingerprint
from kimp.order.runtime.journal import encoded
from kimp.shared.errors import DataError
from kimp.shared.messages.effects import Append, Effect
from kimp.shared.messages.records import Record


def replay(run: FlightRun, records: Iterable[Record], engine: TradingEngine) -> Iterator[Record]:
    """What a fresh engine of the same settings journals when it lives through that run.

    ``records`` is the journal the run began from (its first ``run.start.length`` records). What comes out should equal
    the journal from there on, byte by byte.

    Raises:
        DataError: this engine is set up differently, or the beginning of the run, or what its strategies had been shown
            before, is not there.
    """
    if run.start.part:
        raise DataError(f"{run.warnings[0]}; a replay has to begin at the beginning")
    if fingerprint(engine) != run.start.fingerprint:
        raise DataError("the run was traded with other settings, strategies or instruments than these; use the same")
    strategy_of = {desk.pair.symbol: desk.strategy for desk in engine.desks}
    for shown in run.views():
        strategy_of[shown.coin].observe(shown.view)
    yield from _kept(engine.restore(records, run.start.at))
    for event in run.events():
        yield from _kept(engine.handle(event))


def first_difference(ours: Iterable[Record], theirs: Iterable[Record]) -> int | None:
    """The first place (counted from 0) where two journals differ in any byte or one ends; ``None`` when equal.

    At the end of a run one may merely end earlier: a kill takes up to a second of the recording, and a trader that was
    ended does not journal what it would have sent for the last answers.
    """
    left, right = iter(ours), iter(theirs)
    place = 0
    while True:
        one, other = next(left, None), next(right, None)
        if one is None and other is None:
            return None
        if one is None or other is None or encoded(one) != encoded(other):
            return place
        place += 1


def _kept(effects: Iterable[Effect]) -> Iterator[Record]:
    return (effect.record for effect in effects if isinstance(effect, Append))
