"""A paper trader left alone for days on virtual time: the whole live shell, watched from outside.

Everything is what ``kimp trade`` runs (runner, reconciler, switch, mailbox, pulse, log of decisions, flight recorder,
journal and diaries on disk), on a simulated market and a loop whose time is virtual. What is said of it afterwards comes
from the venues' own books, the files and the process, not from what the trader believes.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, cast

from kimp.order.engine.state import Slot
from kimp.order.modes import ShownToVenues, Surroundings, Wiring
from kimp.order.runtime.rhythm import Rhythm
from kimp.order.runtime.supervisor import Trader
from kimp.order.runtime.switch import FileSwitch
from kimp.order.runtime.virtual_loop import VirtualClock, run_virtual
from kimp.order.trading import TradeRequest, trading
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.markets.simulated import SimulatedMarket
from kimp.portfolio.naked import Nakedness, nakedness
from kimp.portfolio.paper import PaperVenues, open_virtual_venues
from kimp.research.backtest.treasury import TRANSFER_STEP
from kimp.research.simulation.market import simulate_market
from kimp.shared.domain.history import MarketData
from kimp.shared.domain.instruments import Kind, Pair, Venue
from kimp.shared.domain.money import ZERO, exact
from kimp.shared.domain.orders import Fill, Order, Outcome, Rejected
from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND, Nanos
from kimp.shared.messages.events import SwitchState
from kimp.shared.messages.notices import Notice
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.settings import Data, Paper, Settings, Strategy, Trade

BEGINS: Nanos = 19_723 * DAY
"""2024-01-01, a Monday: two people who type the same command see the same week."""

RHYTHM = Rhythm(switch=2 * SECOND, mailbox=10 * SECOND, pulse=MINUTE)
"""Looking at small files forty times a second for a week is most of what a virtual week would cost."""

CAPITAL = Decimal(20_000_000)
"""KRW on both venues together, half on each."""

EAGER = Strategy(preset="low_entry", parameters="threshold=0.5, target_net=0.0002")
"""Enters whenever it may and leaves with a five-thousandth of the capital: several pairs a day."""

QUIET_S_MAX = 120
"""How long (virtual seconds) the last orders get to be over before the books are compared."""

REFUSED_SHARE = 0.3
"""Of the orders to one venue: as often as in the stress scenario of refused orders."""

NAKED_MAX: Nanos = 30 * SECOND
NAKED_AFTER: Nanos = 10 * SECOND
"""The bounds of docs/reliability.md."""

FULL_AFTER: Nanos = 26 * HOUR
"""The market's boards keep a day and an hour of candles; until then memory grows by those."""

HOURS_MIN = 10
"""Fewer hours say nothing of growth."""

AWAY_FOR: Nanos = 4 * MINUTE
STOPPED_FOR: Nanos = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class Stay:
    """How long, on which market, with what: ``every`` between two books of a leg (nanoseconds, a divisor of a minute).

    Where ``is_disturbed``, every day each venue is in maintenance once and the owner stops and resumes once, and Binance
    refuses one order in three or four.
    """

    hours: int = 7 * 24
    seed: int = 6
    every: Nanos = 5 * SECOND
    strategy: Strategy = EAGER
    is_disturbed: bool = True
    warms_up: bool = False

    @property
    def days(self) -> int:
        """Days it touches, and one more."""
        return self.hours // 24 + 2

    @property
    def data(self) -> MarketData:
        """The minutes behind the ticks of its market."""
        return simulate_market(seed=self.seed, start=BEGINS, end=BEGINS + self.hours * HOUR)


@dataclass(frozen=True, slots=True)
class Sample:
    """The process once an hour: blocks allocated by Python, objects its collector tracks, and what lies on disk (bytes)."""

    at: Nanos
    blocks: int
    objects: int
    disk: dict[str, int]


@dataclass(slots=True)
class Aftermath:
    """What was found afterwards. ``differences`` are amounts by which venues and books differ, of any digit.

    ``slot`` and ``fills`` are the trader's last state and the venues' own trades, for whoever wants to know more.
    """

    events: int = 0
    records: int = 0
    net: Decimal = ZERO
    pairs: int = 0
    is_open: bool = False
    restarts: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    notices: Counter[str] = field(default_factory=Counter)
    differences: dict[str, Decimal] = field(default_factory=dict)
    naked: Nakedness = field(default_factory=Nakedness)
    is_clean: bool = False
    samples: list[Sample] = field(default_factory=list)
    outages: list[tuple[Nanos, Nanos]] = field(default_factory=list)
    slot: Slot | None = None
    pair: Pair | None = None
    fills: tuple[Fill, ...] = ()


def naked_too_long(found: Aftermath) -> list[tuple[Nanos, Nanos]]:
    """Spans in which one leg stood alone for longer than it may: half a minute, or an outage and ten seconds."""
    return [
        (begin, end)
        for begin, end in found.naked.spans
        if end - begin > NAKED_MAX
        and not any(begin < back and gone < end and end <= back + NAKED_AFTER for gone, back in found.outages)
    ]


def blocks_per_hour(found: Aftermath) -> float | None:
    """How fast memory grows once everything that is kept for a day is full; ``None`` in less than a day and a half."""
    full = [sample for sample in found.samples if sample.at >= BEGINS + FULL_AFTER]
    if len(full) < HOURS_MIN:
        return None
    return (full[-1].blocks - full[0].blocks) / (len(full) - 1)


def settings_of(stay: Stay, directory: Path) -> Settings:
    """The settings of a stay: both venues begin with the same worth, and all of the flight is kept for a replay."""
    tether = stay.data.usdtkrw
    assert tether is not None, "a simulated market has one"
    usdt = (CAPITAL / 2 / exact(float(tether.value[0]))).quantize(TRANSFER_STEP)
    return Settings(
        data=Data(directory=directory),
        strategy=stay.strategy,
        paper=Paper(krw=CAPITAL / 2, usdt=usdt),
        trade=Trade(mirror=False, flight_days=stay.days),
    )


def stay_alone(stay: Stay, directory: Path) -> Aftermath:
    """Trade for so many virtual days and say what was found.

    Raises:
        KimpError: the trader ended.
    """
    return run_virtual(_Alone(stay, directory).trade(), BEGINS)


class Moody:
    """A venue that is too busy for some orders: one leg without the other, again and again."""

    def __init__(self, exchange: VirtualExchange, clock: Clock, dice: Random) -> None:
        self._exchange = exchange
        self._clock = clock
        self._dice = dice

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        """Refuse at the door, or pass on."""
        if self._dice.random() >= REFUSED_SHARE:
            return await self._exchange.place(order, is_urgent=is_urgent)
        await self._clock.sleep_until(self._clock.now() + 2 * self._exchange.one_way)
        return Rejected("busy", "the venue is too busy for this order")


class _Alone:
    def __init__(self, stay: Stay, directory: Path) -> None:
        self._stay = stay
        self._settings = settings_of(stay, directory)
        self._clock = VirtualClock()
        self._found = Aftermath()
        self._venues: PaperVenues | None = None

    async def trade(self) -> Aftermath:
        request = TradeRequest(
            "paper",
            self._settings,
            self._clock,
            Random(self._stay.seed),
            warms_up=self._stay.warms_up,
            wire=self._wire,
            notifier=self,
            rhythm=RHYTHM,
        )
        async with trading(request) as trader, asyncio.TaskGroup() as group:
            running = group.create_task(trader.run())
            disturbing = group.create_task(self._disturb(FileSwitch(request.place.switch, self._clock)))
            await self._watch(request.place.directory)
            disturbing.cancel()
            await self._come_to_rest(trader, FileSwitch(request.place.switch, self._clock))
            self._look_at(trader)
            running.cancel()
        return self._found

    def send(self, notice: Notice, at: Nanos) -> None:  # noqa: ARG002
        """Count what the owner is told: the trader's notifier."""
        self._found.notices[type(notice).__name__] += 1

    @asynccontextmanager
    async def _wire(self, around: Surroundings) -> AsyncIterator[Wiring]:
        (pair,) = around.pairs
        async with open_virtual_venues(self._settings, [pair], around.place, self._clock) as venues:
            assert isinstance(venues, PaperVenues)
            self._venues = venues
            stay = self._stay
            market = SimulatedMarket(pair, self._clock, seed=stay.seed, days=stay.days, every=stay.every)
            exchanges: dict[Venue, Exchange] = dict(venues.exchanges)
            if stay.is_disturbed:
                moody = Moody(venues.exchanges[Venue.BINANCE], self._clock, Random(stay.seed))
                exchanges[Venue.BINANCE] = cast(Exchange, moody)
            yield Wiring(exchanges, ShownToVenues(market, venues))

    # -- what happens to it ----------------------------------------------------------------------------------------

    async def _disturb(self, switch: FileSwitch) -> None:
        """Every day: each venue once in maintenance, and the owner once changing his mind."""
        if not self._stay.is_disturbed:
            return
        assert self._venues is not None
        for day in range(self._stay.days - 1):
            for number, venue in enumerate(Venue):
                await self._clock.sleep_until(BEGINS + day * DAY + (5 + 6 * number) * HOUR + 17 * SECOND)
                exchange = self._venues.exchanges[venue]
                exchange.maintain(is_available=False, reason="maintenance")
                self._found.outages.append((self._clock.now(), self._clock.now() + AWAY_FOR))
                await self._clock.sleep_until(self._clock.now() + AWAY_FOR)
                exchange.maintain(is_available=True, reason="back")
            await self._clock.sleep_until(BEGINS + day * DAY + 18 * HOUR)
            switch.set(SwitchState.HALTED, "owner", "daily")
            await self._clock.sleep_until(self._clock.now() + STOPPED_FOR)
            switch.set(SwitchState.ACTIVE, "owner", "daily")

    async def _watch(self, directory: Path) -> None:
        """Look at the process once a virtual hour."""
        for hour in range(1, self._stay.hours + 1):
            await self._clock.sleep_until(BEGINS + hour * HOUR)
            gc.collect()
            disk = Counter[str]()
            for path in directory.rglob("*"):
                if path.is_file():
                    disk[path.parent.name if path.parent != directory else path.name] += path.stat().st_size
            sample = Sample(self._clock.now(), sys.getallocatedblocks(), len(gc.get_objects()), dict(disk))
            self._found.samples.append(sample)

    async def _come_to_rest(self, trader: Trader, switch: FileSwitch) -> None:
        """No new pair, and what is under way ends; then one last look at both venues."""
        switch.set(SwitchState.REDUCING, "owner", "the end")
        for _ in range(QUIET_S_MAX):
            await self._clock.sleep_until(self._clock.now() + SECOND)
            if trader.runner.is_idle and not trader.runner.engine.state.unsettled:
                break
        await self._clock.sleep_until(self._clock.now() + 2 * SECOND)
        found = await trader.reconciler.once()
        self._found.is_clean = all(venue.is_clean for venue in found.venues)

    # -- what is found ---------------------------------------------------------------------------------------------

    def _look_at(self, trader: Trader) -> None:
        found, engine, venues = self._found, trader.runner.engine, self._venues
        assert venues is not None
        state = engine.state
        closed = [pair for slot in state.slots.values() for pair in slot.closed]
        found.events, found.records = trader.runner.counters.events, state.version
        found.pairs, found.net = len(closed), sum((pair.breakdown.net for pair in closed), ZERO)
        found.is_open = any(slot.position is not None for slot in state.slots.values())
        found.restarts = {name: part.restarts for name, part in trader.states.items() if part.restarts}
        found.refusals = dict(sorted(engine.refusals.items()))
        desk = engine.desks[0]
        pair = found.pair = desk.pair
        found.slot = desk.slot
        simulated = {venue: exchange.simulated for venue, exchange in venues.exchanges.items()}
        for leg in (pair.korea, pair.abroad):
            venue = simulated[leg.venue]
            for asset in (leg.quote,) if leg.kind is Kind.PERPETUAL else (leg.base, leg.quote):
                self._differ(
                    f"{leg.venue.value}:{asset}", venue.balances.get(asset, ZERO), state.ledger.wallet(leg.venue, asset)
                )
        held = sum((slot.position.leg(pair.abroad.id).quantity for slot in state.slots.values() if slot.position), ZERO)
        self._differ(pair.abroad.id, simulated[pair.abroad.venue].contracts[pair.abroad.id].quantity, held)
        found.fills = tuple(fill for venue in simulated.values() for fill in venue.trades)
        found.naked = nakedness(found.fills, pair.lot, self._clock.now())

    def _differ(self, what: str, theirs: Decimal, ours: Decimal) -> None:
        if theirs != ours:
            self._found.differences[what] = theirs - ours
