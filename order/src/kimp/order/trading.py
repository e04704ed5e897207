"""Puts a trader together and lets it trade: everything `kimp trade` does that is not words on a screen.

Order matters: the lock before the journal (two traders would hedge each other), the journal before any venue is asked,
rules and fees from the venues before the engine is built on them, the past before the first quote.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from random import Random

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import engine_settings
from kimp.order.engine.state import EngineState, Slot
from kimp.order.modes import MODES, Surroundings, Wire, Wiring
from kimp.order.operators.mailbox import Mailbox, Postman
from kimp.order.operators.notifier import LogNotifier
from kimp.order.runtime.decisions import DecisionLog
from kimp.order.runtime.flight import FlightRecorder
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.place import TradePlace, trade_place
from kimp.order.runtime.preflight import Grounds, preflight
from kimp.order.runtime.rhythm import LIVE, Rhythm
from kimp.order.runtime.runner import Observer, Runner
from kimp.order.runtime.supervisor import Copy, TradeParts, Trader
from kimp.order.runtime.switch import FileSwitch
from kimp.order.runtime.trade_lock import TradeLock
from kimp.order.runtime.warming import Load, warm_up
from kimp.shared.domain.history import MarketData
from kimp.shared.domain.instruments import Instrument, Pair, Venue
from kimp.shared.domain.time import Nanos
from kimp.shared.errors import ConfigurationError, ValidationFailed
from kimp.shared.logs import get
from kimp.shared.pairs import traded_pairs
from kimp.shared.plugins import strategy_of
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.ports.notifier import Notifier
from kimp.shared.ports.strategy import Strategy
from kimp.shared.settings import Settings
from kimp.storage.client import AsyncStorageClient
from kimp.storage.collectors.supervisor import Unit
from kimp.storage.database.pool import Database


@dataclass(frozen=True, slots=True)
class TradeRequest:
    """What is to be traded: a mode, the resolved settings of it, and whether the recorded past is looked at first.

    ``is_strict`` refuses to start while any check of preflight fails, unless something is held or in flight that needs
    watching: live trading is. ``wire`` replaces the mode's own wiring, ``strategy`` how the configured strategy is made
    (tests, the demo) and ``rhythm`` the pauses of a real clock; the rest is the same.
    """

    mode: str
    settings: Settings
    clock: Clock
    dice: Random
    warms_up: bool = True
    is_strict: bool = False
    wire: Wire | None = None
    notifier: Notifier | None = None
    rhythm: Rhythm = LIVE
    strategy: Callable[[Settings], Strategy] = strategy_of

    @property
    def place(self) -> TradePlace:
        """Where this mode keeps its files."""
        return trade_place(self.settings, self.mode)


@asynccontextmanager
async def trading(request: TradeRequest) -> AsyncIterator[Trader]:
    """A trader ready to :meth:`~kimp.order.runtime.supervisor.Trader.run`; leaving the block closes everything it opened.

    Raises:
        ValidationFailed: a check of preflight failed, where all of them are insisted on.
        ConfigurationError: unknown mode, strategy or coin; a directory that cannot be written to.
        DataError: the journal or a virtual venue's diary is damaged.
        KimpError: another trader runs in this mode.
    """
    place, settings = request.place, request.settings
    _make(place)
    async with AsyncExitStack() as stack:
        stack.enter_context(TradeLock(place.lock))
        journal = stack.enter_context(SqliteJournal(place.journal, clock=request.clock))
        switch = FileSwitch(place.switch, request.clock, poll=request.rhythm.switch)
        switch.ensure_first_start(journal.length)
        configured = traded_pairs(settings)
        around = Surroundings(settings, configured, place, request.clock, Random(request.dice.getrandbits(64)))
        wiring = await stack.enter_async_context((request.wire or _wire(request.mode))(around))
        pairs = await ruled(configured, wiring.exchanges)
        recorder = _recorder(request, journal, stack)
        engine = await _engine(request, pairs, recorder)
        if request.is_strict and not _is_holding(engine, journal):
            await _insist(request, wiring, pairs, switch)
        observers = _observers(request, recorder, stack)
        mailbox = Mailbox(place.orders)

        def beside(runner: Runner) -> Sequence[Unit]:
            every = request.rhythm.mailbox
            return [Postman(mailbox, engine.state.commands, runner.put, request.clock, every=every)]

        yield Trader(
            TradeParts(
                mode=request.mode,
                engine=engine,
                exchanges=wiring.exchanges,
                market=wiring.market,
                journal=journal,
                switch=switch,
                notifier=request.notifier or LogNotifier(request.mode),
                clock=request.clock,
                dice=request.dice,
                settings=settings,
                place=place,
                copy=_copy(request, journal),
                observers=observers,
                beside=beside,
                beat=request.rhythm.pulse,
            )
        )


def _settle(stack: AsyncExitStack) -> None:
    """Take everything made so far out of the garbage collector's sight: a full collection over the venues' libraries
    halts a trader for 0.1 to 0.2 seconds, and may come between a decision and its orders.
    """
    gc.collect()
    gc.freeze()
    stack.callback(gc.unfreeze)


def _is_holding(engine: TradingEngine, journal: SqliteJournal) -> bool:
    """Whether something is held or in flight: such a trader has to start whatever is wrong, to watch and repair it."""
    slots = [Slot(slot.key, slot.strategy, slot.symbol, slot.legs) for slot in engine.state.slots.values()]
    state = EngineState(slots)
    for record in journal.read():
        state.apply(record)
    return bool(state.unsettled) or any(slot.position is not None for slot in slots)


async def _insist(request: TradeRequest, wiring: Wiring, pairs: Sequence[Pair], switch: FileSwitch) -> None:
    checks = await preflight(
        Grounds(
            mode=request.mode,
            settings=request.settings,
            exchanges=wiring.exchanges,
            pairs=pairs,
            place=request.place,
            switch=switch,
            clock=request.clock,
            market=wiring.market,
            holds_lock=True,
        )
    )
    failed = [f"{check.name} ({check.detail})" for check in checks if not check.ok]
    if failed:
        raise ValidationFailed(f"not started, {len(failed)} of {len(checks)} checks failed: {'; '.join(failed)}")


async def ruled(pairs: Sequence[Pair], exchanges: Mapping[Venue, Exchange]) -> tuple[Pair, ...]:
    """The pairs with tick, lot, minimums and fees as the venues have them today; what a venue does not say stays as
    configured, and is told.
    """
    known: dict[str, Instrument] = {}
    for venue, exchange in exchanges.items():
        symbols = [leg.symbol for pair in pairs for leg in (pair.korea, pair.abroad) if leg.venue is venue]
        answer = await exchange.instruments(symbols)
        if answer is None:
            get("kimp.order.trading").warning("venue does not tell its rules, documented ones stand", venue=venue.value)
        known |= {leg.id: leg for leg in answer or ()}
    return tuple(
        Pair(pair.symbol, known.get(pair.korea.id, pair.korea), known.get(pair.abroad.id, pair.abroad))
        for pair in pairs
    )


async def _engine(request: TradeRequest, pairs: Sequence[Pair], recorder: FlightRecorder | None) -> TradingEngine:
    """One strategy per coin, each with windows of its own, shown what was recorded."""
    assignments = []
    seen = None if recorder is None else recorder.shown
    for pair in pairs:
        strategy = request.strategy(request.settings)
        if request.warms_up and strategy.warm_up:
            await warm_up(strategy, pair, _load(request.settings), request.clock.now(), seen)
        assignments.append(Assignment(strategy, pair))
    return TradingEngine(assignments, engine_settings(request.settings))


def _recorder(request: TradeRequest, journal: SqliteJournal, stack: AsyncExitStack) -> FlightRecorder | None:
    settings = request.settings
    if not settings.trade.flight_days:
        return None
    recorder = FlightRecorder(
        request.place.flight,
        journal=journal.id,
        version=version("kimp-order"),
        strategy=settings.strategy,
        keep_days=settings.trade.flight_days,
    )
    stack.callback(recorder.close)
    return recorder


def _observers(request: TradeRequest, recorder: FlightRecorder | None, stack: AsyncExitStack) -> list[Observer]:
    """What looks on: the log of decisions, and the flight recorder where one is wanted."""
    decisions = DecisionLog(request.place.journal)
    stack.callback(decisions.close)
    return [decisions] if recorder is None else [decisions, recorder]


def _copy(request: TradeRequest, journal: SqliteJournal) -> Copy | None:
    if not request.settings.trade.mirror:
        return None
    return Copy(Database.of(request.settings), journal, f"{request.mode}:{journal.id}")


def _load(settings: Settings) -> Load:
    async def load(base: str, start: Nanos, end: Nanos) -> MarketData:
        async with AsyncStorageClient.of(settings) as client:
            return await client.load(base, start, end)

    return load


def _wire(mode: str) -> Wire:
    if mode not in MODES:
        raise ConfigurationError(f'there is no mode "{mode}"; known are: {", ".join(MODES)}')
    return MODES[mode]


def _make(place: TradePlace) -> None:
    try:
        place.directory.mkdir(parents=True, exist_ok=True)
        place.orders.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{place.directory} cannot be made: {error.strerror}; choose another data.directory"
        ) from error
