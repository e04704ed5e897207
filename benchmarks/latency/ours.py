"""kimp's own way from a quote to both venues, with everything a live trader has on it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from time import perf_counter_ns
from typing import Any

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.order.exchanges.binance import BinanceExchange
from kimp.order.exchanges.upbit import UpbitExchange
from kimp.order.runtime.decisions import DecisionLog
from kimp.order.runtime.flight import FlightRecorder
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.runner import Runner
from kimp.shared.domain.instruments import Venue, default_pair
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Order, Outcome
from kimp.shared.domain.signals import Direction, Enter, Hold, Signal
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import FundsMoved, SwitchChanged, SwitchState
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import Phase, Record
from kimp.shared.ports.exchange import Exchange
from kimp.shared.ports.strategy import Condition, MarketView, PositionView
from kimp.storage.feeds.clocks import SystemClock
from latency.shots import Contender, Shot, Wire
from latency.venues import MONEY, quotes, settings_of

OURS, LOOSE = "kimp", "kimp without fsync"
SHARE = Decimal("5e-7")
"""Of all that money: 0.003 BTC, so that a run of any length stays a small part of it."""
LOOK_EVERY_S = 0.002


@dataclass
class OnDemand:
    """Enters when it is told to."""

    wants: bool = False
    name: str = "benchmark"
    warm_up: Nanos = 0

    def observe(self, view: MarketView) -> None: ...

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:  # noqa: ARG002
        return Enter(Direction.LONG_PREMIUM, "on_demand", SHARE) if self.wants else Hold("not_now")

    def explain(self, view: MarketView, position: PositionView | None) -> tuple[Condition, ...]:  # noqa: ARG002
        return ()


class Timed:
    """An exchange whose orders are noted; everything else is the real one's."""

    def __init__(self, real: Any, wire: Wire) -> None:
        self._real, self._wire = real, wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        shot, venue = self._wire.shot, self._real.venue
        shot.steps[f"{venue.value}_asked"] = perf_counter_ns()
        outcome: Outcome = await self._real.place(order, is_urgent=is_urgent)
        shot.answered[venue] = perf_counter_ns()
        assert type(outcome).__name__ == "Accepted", outcome
        return outcome


class TwoJournals:
    """The intents go to whichever of two is asked for: one waits for the disk, the other does not."""

    def __init__(self, durable: SqliteJournal, loose: SqliteJournal, wire: Wire) -> None:
        self.durable, self.loose, self.used, self._wire = durable, loose, durable, wire
        loose._connection.execute("PRAGMA synchronous = OFF")  # no trader does without the disk, so there is no knob

    def append(self, records: Sequence[Record]) -> None:
        shot, begun = self._wire.shot, perf_counter_ns()
        self.used.append(records)
        if "append_began" not in shot.steps:
            shot.steps |= {"append_began": begun, "append_ended": perf_counter_ns()}

    def read(self) -> Iterable[Record]:
        return self.durable.read()


class Silence:
    """Nobody is told anything."""

    def send(self, notice: Notice, at: Nanos) -> None: ...


@dataclass
class Ours:
    """The runner with its engine, journal and adapters; ``is_durable`` is whether the disk is waited for."""

    runner: Runner
    strategy: OnDemand
    journals: TwoJournals
    is_durable: bool

    async def shoot(self, shot: Shot) -> None:
        slot = self.runner.engine.desks[0].slot
        self.journals.used = self.journals.durable if self.is_durable else self.journals.loose
        moved = quotes(default_pair(), SystemClock().now())
        self.strategy.wants = True
        shot.begin()
        self.runner.move(moved)
        while not (shot.is_whole and self.runner.is_idle and slot.phase is Phase.OPEN and not slot.unsettled):
            await asyncio.sleep(LOOK_EVERY_S)
            self.strategy.wants = self.strategy.wants and not shot.written


@asynccontextmanager
async def ours(told: Mapping[str, str], folder: Path, wire: Wire) -> AsyncIterator[dict[str, Contender]]:
    """A trader that runs, with money and an entry switch that is on."""
    upbit, binance = settings_of(told)
    pair, clock, strategy = default_pair(), SystemClock(), OnDemand()
    limits = EngineSettings(cooldown=0, entries_per_minute_max=10**6)
    async with AsyncExitStack() as stack:
        journals = TwoJournals(
            stack.enter_context(SqliteJournal(folder / "journal.db", clock=clock)),
            stack.enter_context(SqliteJournal(folder / "loose.db", clock=clock)),
            wire,
        )
        exchanges: dict[Venue, Exchange] = {}
        for exchange in (
            UpbitExchange(upbit, [pair.korea], clock, Random(1)),
            BinanceExchange(binance, [pair.abroad], clock, Random(2)),
        ):
            await stack.enter_async_context(exchange)
            exchanges[exchange.venue] = Timed(exchange, wire)  # type: ignore[assignment]
        decisions = DecisionLog(folder / "journal.db")
        stack.callback(decisions.close)
        recorder = FlightRecorder(folder / "flight")
        stack.callback(recorder.close)
        engine = TradingEngine([Assignment(strategy, pair)], limits)
        runner = Runner(
            engine,
            exchanges,
            journal=journals,
            clock=clock,
            notifier=Silence(),
            observers=(decisions, recorder),
        )
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(runner.run())
        stack.callback(running.cancel)
        await runner.is_restored.wait()
        await runner.put(SwitchChanged(clock.now(), SwitchState.ACTIVE))
        for venue, assets in MONEY.items():
            for asset, value in assets.items():
                await runner.put(FundsMoved(clock.now(), f"{venue}-{asset}", venue, Amount(value, asset)))
        while not runner.is_idle:
            await asyncio.sleep(LOOK_EVERY_S)
        gc.collect()
        gc.freeze()  # as a trader does when it starts
        yield {
            OURS: Ours(runner, strategy, journals, is_durable=True),
            LOOSE: Ours(runner, strategy, journals, is_durable=False),
        }
