"""A whole trader on virtual time: what may die without ending it, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog

from kimp.order.runtime.journal import JournalFailed, MemoryJournal
from kimp.order.runtime.place import TradePlace
from kimp.order.runtime.pulse import read_pulse
from kimp.order.runtime.supervisor import ALERT_AGAIN, TradeParts, Trader
from kimp.order.runtime.virtual_loop import VirtualClock, run_virtual
from kimp.shared.domain.signals import Direction, Enter
from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, SECOND
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved, SwitchChanged, SwitchState
from kimp.shared.messages.notices import PartFailed, VenueTurned
from kimp.shared.messages.records import FundsBooked, Phase, Record, SwitchSet
from kimp.shared.settings import Settings, Trade


@dataclass
class FakeMarket:
    """Quotes ten times a second; breaks as often as it was told to."""

    story: Any
    clock: VirtualClock
    deaths: list[Exception | None] = field(default_factory=list)
    lives: int = 0

    async def stream(self) -> AsyncIterator[MarketMoved | FeedLost | FeedBack]:
        self.lives += 1
        for _ in range(20):
            self.story.now = self.clock.now()
            yield MarketMoved(self.clock.now(), self.story._books(0), self.story._rates())
            await self.clock.sleep_until(self.clock.now() + 100 * MILLISECOND)
        if self.deaths:
            death = self.deaths.pop(0)
            if death is None:
                return
            raise death
        while True:
            self.story.now = self.clock.now()
            yield MarketMoved(self.clock.now(), self.story._books(0), self.story._rates())
            await self.clock.sleep_until(self.clock.now() + 100 * MILLISECOND)


@dataclass
class FakeSwitch:
    """Says what it stands at, then every turn; breaks when told to."""

    clock: VirtualClock
    state: SwitchState = SwitchState.ACTIVE
    bug: Exception | None = None
    lag: float = 0

    async def read(self) -> SwitchState:
        if self.bug is not None:
            raise self.bug
        return self.state

    async def changes(self) -> AsyncIterator[SwitchState]:
        async for event in self.events():
            yield event.state

    async def events(self) -> AsyncIterator[SwitchChanged]:
        said: SwitchState | None = None
        await self.clock.sleep_until(self.clock.now() + int(self.lag * SECOND))
        while True:
            if self.bug is not None:
                raise self.bug
            if self.state is not said:
                said = self.state
                yield SwitchChanged(self.clock.now(), said)
            await self.clock.sleep_until(self.clock.now() + 20 * MILLISECOND)


@dataclass
class Heard:
    """An observer that keeps every event but quotes."""

    events: list[Any] = field(default_factory=list)

    def after(self, event: Any, effects: Sequence[Any], engine: Any) -> None:  # noqa: ARG002
        if not isinstance(event, MarketMoved):
            self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Setting:
    """Everything a trader needs, on virtual time."""

    story: Any
    upbit: Any
    binance: Any
    notifier: Any
    directory: Path
    settings: Settings = field(default_factory=lambda: Settings(trade=Trade(reconcile_s=30, countdown_s=120)))
    journal: Any = field(default_factory=MemoryJournal)
    beside: Any = None

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.market = FakeMarket(self.story, self.clock)
        self.switch = FakeSwitch(self.clock)
        self.heard = Heard()
        self.upbit.clock = self.binance.clock = self.clock
        self.story.prices[0], self.story.prices[1] = Decimal(139_700_000), Decimal(139_701_000)
        fresh = type(self.story)()
        self.engine = type(fresh.engine)((type(self)._assignment(fresh, self.story),), fresh.settings)
        self.trader: Any = None

    @staticmethod
    def _assignment(fresh: Any, story: Any) -> Any:
        from kimp.order.engine.engine import Assignment

        return Assignment(story.strategy, fresh.pair)

    def run(self, script: Callable[[Setting], Any]) -> None:
        """Run the trader while the script lasts."""

        async def scenario() -> None:
            place = TradePlace(self.directory)
            parts = TradeParts(
                "paper",
                self.engine,
                {exchange.venue: exchange for exchange in (self.upbit, self.binance)},
                self.market,
                self.journal,
                self.switch,
                self.notifier,
                self.clock,
                Random(7),
                self.settings,
                place,
                observers=(self.heard,),
                **({"beside": self.beside} if self.beside else {}),
            )
            self.trader = Trader(parts)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(self.trader.run())
                await script(self)
                running.cancel()

        run_virtual(scenario(), self.story.now)

    async def wait(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + int(seconds * SECOND))

    def of(self, kind: type) -> list[Record]:
        return [record for record in self.journal.records if isinstance(record, kind)]

    @property
    def phase(self) -> Phase:
        return self.engine.desks[0].slot.phase


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Rendering the traceback of every death is most of what dying costs."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def setting(make_story: Any, upbit: Any, binance: Any, notifier: Any, tmp_path: Path) -> Setting:
    return Setting(make_story(), upbit, binance, notifier, tmp_path)


WANTS_IN = Enter(Direction.LONG_PREMIUM, "told_to")


def test_a_trader_starts_reconciles_and_trades(setting: Setting) -> None:
    async def script(here: Setting) -> None:
        here.story.strategy.says = WANTS_IN
        await here.wait(10)
        assert here.phase is Phase.OPEN
        assert here.trader.reconciler.first_done.is_set()
        await here.wait(120)
        assert here.trader.reconciler.last.is_clean
        report = read_pulse(TradePlace(here.directory).pulse, here.clock)
        assert (report.state, report.switch, report.venues["upbit"].available) == ("open", "active", True)
        assert set(report.parts.values()) == {"running"}
        assert report.orders.skew_ms_p99 == 0

    setting.run(script)
    assert len(setting.of(FundsBooked)) == 2
    assert len(setting.upbit.placed) == len(setting.binance.placed) == 1
    assert not setting.notifier.of(PartFailed)
    assert not TradePlace(setting.directory).pulse.exists()


def test_nothing_is_entered_while_a_venue_has_not_been_reconciled(setting: Setting) -> None:
    setting.binance.is_away = True

    async def script(here: Setting) -> None:
        here.story.strategy.says = WANTS_IN
        await here.wait(60)
        assert here.upbit.placed == here.binance.placed == []
        assert here.engine.refusals["venue_unavailable"] > 100
        assert [notice.is_available for notice in here.notifier.of(VenueTurned)] == [False]
        here.binance.is_away = False
        await here.wait(60)
        assert here.phase is Phase.OPEN

    setting.run(script)


def again(setting: Setting, make_story: Any, make_fakes: Any) -> Setting:
    """The same journal and the same venues after a restart."""
    story = make_story()
    story.now = setting.story.now + MINUTE
    after = Setting(story, *make_fakes(), setting.directory, journal=setting.journal)
    after.story.strategy.says = WANTS_IN
    return after


async def three_seconds(here: Setting) -> None:
    await here.wait(3)


def test_after_a_restart_nothing_is_entered_on_books_nobody_has_looked_at(
    setting: Setting, make_story: Any, make_fakes: Any
) -> None:
    setting.run(three_seconds)
    after = again(setting, make_story, make_fakes)
    after.upbit.is_away = True

    async def script(here: Setting) -> None:
        await here.wait(1)  # not yet told to be away: that takes two looks
        assert here.engine.market.books
        assert here.upbit.placed == here.binance.placed == []

    after.run(script)


def test_after_a_restart_the_switch_counts_before_the_first_quote(
    setting: Setting, make_story: Any, make_fakes: Any
) -> None:
    setting.run(three_seconds)
    after = again(setting, make_story, make_fakes)
    after.switch.state, after.switch.lag = SwitchState.HALTED, 60
    after.run(three_seconds)
    assert after.upbit.placed == after.binance.placed == []


@pytest.mark.parametrize("death", [ValueError("a bug"), None], ids=["raises", "ends"])
def test_quotes_that_break_are_lost_and_come_back(setting: Setting, death: Exception | None) -> None:
    setting.market.deaths = [death]

    async def script(here: Setting) -> None:
        await here.wait(2.2)
        assert {event.instrument_id for event in here.heard.of(FeedLost)} == {"upbit:KRW-BTC", "binance:BTCUSDT"}
        assert here.engine.market.books == {}
        await here.wait(10)
        assert {event.instrument_id for event in here.heard.of(FeedBack)} == {"upbit:KRW-BTC", "binance:BTCUSDT"}
        here.story.strategy.says = WANTS_IN
        await here.wait(10)
        assert here.phase is Phase.OPEN

    setting.run(script)
    assert [(failed.part, failed.restarts) for failed in setting.notifier.of(PartFailed)] == [("market", 1)]


def test_a_part_that_keeps_dying_is_told_of_seldom_and_started_ever_more_slowly(setting: Setting) -> None:
    setting.market.deaths = [ValueError("a bug")] * 1000

    async def script(here: Setting) -> None:
        await here.wait(HOUR // SECOND)

    setting.run(script)
    assert 3600 / 32 - 1 <= setting.market.lives <= 3600 / 17 + 10
    failed = setting.notifier.of(PartFailed)
    assert HOUR // ALERT_AGAIN <= len(failed) <= HOUR // ALERT_AGAIN + 1


def test_a_failing_journal_ends_the_trader_with_its_reason(setting: Setting) -> None:
    class Full(MemoryJournal):
        def append(self, records: Sequence[Record]) -> None:
            if self.length > 1:
                raise JournalFailed("the disk is full")
            super().append(records)

    setting.journal = Full()

    async def script(here: Setting) -> None:
        here.story.strategy.says = WANTS_IN
        await here.wait(60)

    with pytest.raises(ExceptionGroup) as ended:
        setting.run(script)
    assert ended.group_contains(JournalFailed, match="the disk is full", depth=1)
    assert setting.upbit.placed == setting.binance.placed == []
    assert not TradePlace(setting.directory).pulse.exists()


def test_a_switch_that_cannot_be_read_lets_nothing_in(setting: Setting) -> None:
    setting.switch.bug = OSError("gone")

    async def script(here: Setting) -> None:
        here.story.strategy.says = WANTS_IN
        await here.wait(20)
        assert here.upbit.placed == []
        assert here.engine.state.switch is SwitchState.REDUCING
        here.switch.bug = None
        await here.wait(60)
        assert here.phase is Phase.OPEN

    setting.run(script)


def test_a_watcher_that_dies_while_trading_stops_entries(setting: Setting) -> None:
    async def script(here: Setting) -> None:
        await here.wait(5)
        assert here.engine.state.switch is SwitchState.ACTIVE
        here.switch.bug = OSError("gone")
        await here.wait(0.1)
        assert here.engine.state.switch is SwitchState.REDUCING

    setting.run(script)


def test_a_turn_of_the_switch_reaches_the_engine_within_a_tenth_of_a_second(setting: Setting) -> None:
    async def script(here: Setting) -> None:
        await here.wait(10)
        here.switch.state = SwitchState.HALTED
        here.story.strategy.says = WANTS_IN
        await here.wait(0.1)
        placed = len(here.upbit.placed)
        await here.wait(10)
        assert len(here.upbit.placed) == placed

    setting.run(script)
    assert setting.of(SwitchSet)


def test_the_countdown_is_renewed_three_times_as_often_as_it_runs_out(setting: Setting) -> None:
    async def script(here: Setting) -> None:
        await here.wait(10 * MINUTE // SECOND)

    setting.run(script)
    for venue in (setting.upbit, setting.binance):
        assert set(venue.countdowns) == {120 * SECOND}
        assert 14 <= len(venue.countdowns) <= 16


def test_without_a_countdown_nobody_asks_for_one(setting: Setting) -> None:
    setting.settings = Settings(trade=Trade(countdown_s=0))

    async def script(here: Setting) -> None:
        await here.wait(300)

    setting.run(script)
    assert setting.binance.countdowns == []


def test_further_units_run_beside_with_the_runner_at_hand(setting: Setting) -> None:
    class Turner:
        name = "turner"

        def __init__(self, runner: Any) -> None:
            self.runner = runner

        async def run(self) -> None:
            await self.runner.put(SwitchChanged(setting.clock.now(), SwitchState.HALTED))
            await asyncio.Event().wait()

    setting.beside = lambda runner: (Turner(runner),)

    async def script(here: Setting) -> None:
        await here.wait(1)
        assert here.trader.states["turner"].state == "running"
        assert here.engine.state.switch is SwitchState.HALTED

    setting.run(script)
