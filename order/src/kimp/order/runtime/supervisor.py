"""Everything that runs beside the engine while it trades, and who may die without ending it.

The runner and its journal are the trader: when they end, it ends. Everything else (quotes, reconciliation, the switch's
watcher, the venues' countdowns, mirror, pulse) is started again with growing pauses, and the owner is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.mirror import Mirror, TailedJournal
from kimp.order.runtime.place import TradePlace
from kimp.order.runtime.pulse import BEAT, Pulse, Witnesses
from kimp.order.runtime.pulse_report import MirrorPulse
from kimp.order.runtime.reconcile import Reconciler
from kimp.order.runtime.runner import Observer, Runner
from kimp.order.runtime.units import Countdown, MarketPump, SwitchWatch, TurnedSwitch
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.errors import KimpError
from kimp.shared.logs import get
from kimp.shared.messages.events import Event
from kimp.shared.messages.notices import PartFailed
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.ports.journal import Journal
from kimp.shared.ports.market import MarketDataSource
from kimp.shared.ports.notifier import Notifier
from kimp.shared.settings import Settings
from kimp.storage.collectors.supervisor import STEADY, Unit, UnitState, described, first_of
from kimp.storage.database.pool import Database
from kimp.storage.feeds.pace import Backoff

RESTART_PAUSE: Nanos = SECOND // 2
RESTART_PAUSE_MAX: Nanos = 30 * SECOND
"""Quotes that stay away longer than this for no reason of the venue's cost entries and exits."""

ALERT_AGAIN: Nanos = 10 * MINUTE
"""A part that keeps dying is not told of more often: the owner knows, and other alarms must not drown in it."""


def _nothing_more(_: Runner) -> Sequence[Unit]:
    return ()


@dataclass(frozen=True, slots=True)
class Copy:
    """Where the journal is copied to, and what it is called there (its mode and its own id)."""

    database: AbstractAsyncContextManager[Database]
    journal: TailedJournal
    name: str


@dataclass(frozen=True, slots=True)
class TradeParts:
    """What a trader is made of; a mode wires it. Exchanges and journal are open, and are closed by who opened them.

    Without ``copy`` nothing is mirrored. ``beside`` makes further units that need the runner, such as the one that
    brings the owner's orders.
    """

    mode: str
    engine: TradingEngine
    exchanges: Mapping[Venue, Exchange]
    market: MarketDataSource
    journal: Journal
    switch: TurnedSwitch
    notifier: Notifier
    clock: Clock
    dice: Random
    settings: Settings
    place: TradePlace
    copy: Copy | None = None
    observers: Sequence[Observer] = ()
    beside: Callable[[Runner], Sequence[Unit]] = _nothing_more
    beat: Nanos = BEAT


class Trader:
    """One mode's trader, put together; :meth:`run` trades until cancelled. ``states`` is how each part is doing."""

    def __init__(self, parts: TradeParts) -> None:
        self._parts = parts
        self.states: dict[str, UnitState] = {}
        self._told: dict[str, Nanos] = {}
        self._log = get("kimp.order.supervisor")
        self.mirror = self._mirror()
        self.reconciler = Reconciler(
            parts.engine,
            parts.exchanges,
            put=self._put,
            clock=parts.clock,
            notifier=parts.notifier,
            every=parts.settings.trade.reconcile_s * SECOND,
        )
        witnesses = Witnesses(self.reconciler, parts=self._said)
        self.pulse = Pulse(
            parts.engine,
            parts.place.pulse,
            mode=parts.mode,
            clock=parts.clock,
            witnesses=witnesses,
            beat=parts.beat,
        )
        self.runner = Runner(
            parts.engine,
            parts.exchanges,
            journal=parts.journal,
            clock=parts.clock,
            notifier=parts.notifier,
            observers=(self.reconciler, self.pulse, *parts.observers),
        )
        witnesses.counters = self.runner.counters
        if self.mirror is not None:
            witnesses.mirror = self._mirrored
        self.switch = SwitchWatch(parts.switch, self._put, parts.clock)

    async def run(self) -> None:
        """Trade until cancelled.

        Nothing is entered before the switch was read and both venues were reconciled; repairs go on from the start.

        Raises:
            KimpError: the runner or its journal ended; says why.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._trade())
                await self.runner.is_restored.wait()
                await self.switch.first()
                await self.reconciler.hold()
                for unit in self._units():
                    self.states[unit.name] = UnitState()
                    group.create_task(self._keep(unit))
        except BaseExceptionGroup as trouble:
            raise first_of(trouble) from None
        finally:
            self.pulse.clear()

    async def _trade(self) -> None:
        await self.runner.run()
        raise KimpError("the engine's runner ended by itself; start again, and report it as a bug")

    # -- parts -----------------------------------------------------------------------------------------------------

    def _units(self) -> list[Unit]:
        parts = self._parts
        legs = [leg for slot in parts.engine.state.slots.values() for leg in slot.legs]
        units: list[Unit] = [
            self.switch,
            self.reconciler,
            MarketPump(parts.market, self.runner.move, [leg.id for leg in legs], parts.clock),
            self.pulse,
        ]
        countdown = parts.settings.trade.countdown_s * SECOND
        if countdown:
            for venue, exchange in parts.exchanges.items():
                here = [leg for leg in legs if leg.venue is venue]
                units.append(Countdown(exchange, here, countdown, parts.clock))
        if self.mirror is not None:
            units.append(self.mirror)
        return [*units, *parts.beside(self.runner)]

    async def _keep(self, unit: Unit) -> None:
        """Run a unit for ever: one that ends or dies is started again, and the others never notice."""
        state, clock = self.states[unit.name], self._parts.clock
        backoff = Backoff(Random(self._parts.dice.getrandbits(64)), first=RESTART_PAUSE, cap=RESTART_PAUSE_MAX)
        while True:
            began_at = clock.now()
            state.state = "running"
            try:
                await unit.run()
                state.reason = "ended by itself"
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                state.reason = "cancelled from within"
            except Exception as error:  # whatever it is, trading goes on
                state.reason = described(error)
                self._log.exception("part died, starting it again", part=unit.name)
            if clock.now() - began_at > STEADY:
                backoff.reset()
            state.restarts += 1
            state.state = "restarting"
            self._alert(unit.name, state)
            await clock.sleep_until(clock.now() + backoff.pause())

    def _alert(self, part: str, state: UnitState) -> None:
        now = self._parts.clock.now()
        if part not in self._told or now >= self._told[part] + ALERT_AGAIN:
            self._told[part] = now
            self._parts.notifier.send(PartFailed(part, state.reason, state.restarts), now)

    async def _put(self, event: Event) -> None:
        await self.runner.put(event)

    def _mirror(self) -> Mirror | None:
        parts = self._parts
        if parts.copy is None or not parts.settings.trade.mirror:
            return None
        return Mirror(
            parts.copy.database,
            parts.copy.journal,
            name=parts.copy.name,
            like=parts.engine.state,
            clock=parts.clock,
            dice=Random(parts.dice.getrandbits(64)),
        )

    def _mirrored(self) -> MirrorPulse:
        assert self.mirror is not None, "asked only where there is one"
        return MirrorPulse(self.mirror.state, self.mirror.lag)

    def _said(self) -> dict[str, str]:
        return {name: state.state for name, state in self.states.items()}
