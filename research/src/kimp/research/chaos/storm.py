"""One storm: some hours of a market, an eager strategy, everything the seed lets go wrong, then calm, then judgement.

Two phases. *Safety*: faults and incidents. *Heal*: the owner has stopped entries, faults are off, and within two
minutes everything must be known, hedged and booked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from random import Random

import msgspec

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.research.chaos.branches import branches_of
from kimp.research.chaos.eager import EagerStrategy
from kimp.research.chaos.market import StormMarket
from kimp.research.chaos.monkey import ChaosMonkey
from kimp.research.chaos.oracle import Case, Violation, believed, violations
from kimp.research.chaos.pairs import naked_times
from kimp.research.chaos.scenarios import MAINTAINED, Episode, Incident, weather
from kimp.research.simulation.latency import RandomLatency
from kimp.research.simulation.margin import MarginRules
from kimp.research.simulation.venue import SimulatedVenue
from kimp.research.simulation.world import EngineDied, World
from kimp.shared.domain.fx import USDT, FxQuote
from kimp.shared.domain.instruments import Pair, Venue, default_pair
from kimp.shared.domain.money import ONE, Amount
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import HOUR, MILLISECOND, SECOND, Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved, SwitchChanged, SwitchState, VenueChanged
from kimp.shared.messages.records import Phase
from kimp.shared.ports.strategy import Strategy

EngineFactory = Callable[[Strategy, Pair, EngineSettings], TradingEngine]

START: Nanos = 1_700_000_000 * SECOND
HEAL: Nanos = 120 * SECOND
"""The longest any order may need to be proven: three denials at the slowest backoff, a slow repair, and a margin."""

QUIET: Nanos = 8 * SECOND
BUSY: Nanos = SECOND
LOOK_EVERY: Nanos = 30 * SECOND
CALM_LATENCY: Nanos = 20 * MILLISECOND
SPIKE_LATENCY: Nanos = 2 * SECOND


def real_engine(strategy: Strategy, pair: Pair, settings: EngineSettings) -> TradingEngine:
    """The engine that trades."""
    return TradingEngine([Assignment(strategy, pair)], settings)


@dataclass(frozen=True, slots=True)
class StormReport:
    """What one seed did. ``naked`` are nanoseconds by the venues' books; ``believed`` is what a belief-side oracle
    finds; ``steps`` are the effects carried out before the calm, each a point to crash at.
    """

    seed: int
    violations: list[Violation]
    believed: list[Violation]
    virtual: Nanos
    faults: Counter[str]
    branches: Counter[str]
    naked: list[Nanos]
    repairs: int
    steps: int
    trace_hash: str


class Storm:
    """Plays one seed. Every dice it throws comes from the seed."""

    def __init__(
        self,
        seed: int,
        *,
        engine_factory: EngineFactory = real_engine,
        preset: str | None = None,
        lasts: Nanos = HOUR,
        dies_at: int | None = None,
    ) -> None:
        self.seed = seed
        self._random = Random(f"storm {seed}")
        self._factory = engine_factory
        self.pair = default_pair()
        self.calm_from = START + lasts
        self.weather = weather(seed, START, self.calm_from, preset)
        self.direction = Direction.LONG_PREMIUM if self._random.random() < 0.75 else Direction.SHORT_PREMIUM
        self.settings = EngineSettings(leverage=Decimal(self._random.choice((1, 1, 2, 3))))
        share = ONE if self._random.random() < 0.7 else Decimal("0.5")
        self.strategy = EagerStrategy(self.direction, share, self.calm_from)
        self.market = StormMarket(seed, self.pair, self.weather, START)
        self.monkey = ChaosMonkey(seed, self.weather.dials)
        self._lines = {
            median: RandomLatency(Random(f"latency {seed} {median}"), median)
            for median in (CALM_LATENCY, SPIKE_LATENCY)
        }
        margin = MarginRules(leverage=self.settings.leverage)
        self.world = World(
            self._factory(self.strategy, self.pair, self.settings),
            [
                SimulatedVenue(Venue.UPBIT, [self.pair.korea], {}),
                SimulatedVenue(Venue.BINANCE, [self.pair.abroad], {}, margin),
            ],
            latency=self._lines[CALM_LATENCY],
            faults=self.monkey,
        )
        self.world.now = START
        self._dies_at = dies_at
        self._steps = 0
        self.happened: Counter[str] = Counter()
        self.rates: list[tuple[Nanos, Decimal]] = []
        self.deposits: dict[tuple[Venue, str], Decimal] = {}
        self._on: set[Episode] = set()
        self._dead_until: Nanos | None = None
        self._next_look = START

    def run(self) -> StormReport:
        """Both phases, then the verdict. An assertion of the engine's own is a violation like any other."""
        try:
            self._play()
        except AssertionError as broken:
            return self._report([Violation(self.seed, "assertion", f"{broken}")])
        return self._report([])

    def _play(self) -> None:
        self._deposit()
        deposited = self.world.steps
        self.world.dies_at = None if self._dies_at is None else deposited + self._dies_at
        while self.world.now < self.calm_from:
            self._tick(BUSY if self._is_busy else QUIET)
        self._steps = self.world.steps - deposited
        self._heal()
        while self.world.now < self.calm_from + HEAL:
            self._tick(BUSY if self._is_busy else QUIET)
        # What the last tick caused is still on its way.
        self.world.run_until(self.world.now + SECOND)

    # -- one step --------------------------------------------------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        slots = self.world.engine.state.slots.values()
        return any(slot.unsettled or slot.phase not in (Phase.FLAT, Phase.OPEN) for slot in slots)

    def _tick(self, step: Nanos) -> None:
        at = self.world.now + step
        self.market.advance(at)
        self._begin_and_end(at)
        event = MarketMoved(at, self.market.books(), self._rates(), (self.market.funding_now(),))
        try:
            if self._dead_until is None:
                self._move(event)
            else:
                self._wait_dead(event)
            self._settle_funding(at)
            self._shift_books()
        except EngineDied:
            self._bury(at)

    def _move(self, event: MarketMoved) -> None:
        is_dark = self.weather.on(Incident.FEED_LOST, event.at)
        if is_dark and event.at < self.calm_from:
            self.world.run_until(event.at)
            self.world.show(event.books, event.at)
            self.world.feed(msgspec.structs.replace(event, books=event.books[1:]))
        else:
            self.world.move(event)
        if event.at >= self._next_look:
            self._next_look = event.at + LOOK_EVERY
            for leg in (self.pair.korea, self.pair.abroad):
                self.world.look_at(leg.id)

    def _rates(self) -> tuple[FxQuote, ...]:
        quotes = self.market.rates()
        self.rates += [(quote.at, quote.value) for quote in quotes if quote.base == USDT]
        return quotes

    def _settle_funding(self, at: Nanos) -> None:
        if at >= self.market.next_funding:
            self.world.settle_at(self.pair.abroad.id, self.market.funding_rate, at)
            self.market.funding_settled()

    def _shift_books(self) -> None:
        """While orders travel, the books they will meet change: thinner, and a little elsewhere."""
        if self._is_busy and self._random.random() < self.weather.book_shift:
            self.world.run_until(self.world.now + self._random.randrange(MILLISECOND, 40 * MILLISECOND))
            self.market.advance(self.world.now)
            self.world.show(self.market.books(scale=self._random.random()), self.world.now)

    # -- incidents -------------------------------------------------------------------------------------------------

    def _begin_and_end(self, at: Nanos) -> None:
        for episode in self.weather.episodes:
            is_on = episode.start <= at < episode.end
            if is_on and episode not in self._on:
                self._on.add(episode)
                self.happened[episode.incident.value] += 1
                self._turn(episode, begins=True)
            elif not is_on and episode in self._on:
                self._on.discard(episode)
                self._turn(episode, begins=False)

    def _turn(self, episode: Episode, *, begins: bool) -> None:
        incident, world = episode.incident, self.world
        if incident in MAINTAINED:
            world.maintain(MAINTAINED[incident], is_available=not begins, reason="storm")
        elif incident is Incident.LATENCY_SPIKE:
            world.latency = self._lines[SPIKE_LATENCY if begins else CALM_LATENCY]
        elif incident is Incident.CRASH and begins:
            world.dies_at = world.steps + self._random.randrange(40)
        elif incident is Incident.FEED_LOST and self._dead_until is None:
            korea = self.pair.korea.id
            world.feed(FeedLost(world.now, korea, "storm") if begins else FeedBack(world.now, korea))

    def _bury(self, at: Nanos) -> None:
        """The engine died; what it sent goes on without it, and a new process will start in a while."""
        self.happened["engine_died"] += 1
        self.world.bury()
        self.world.run_until(at)
        self._dead_until = at + self._random.randrange(SECOND, 20 * SECOND)

    def _wait_dead(self, event: MarketMoved) -> None:
        self.world.run_until(event.at)
        self.world.show(event.books, event.at)
        if self._dead_until is not None and event.at >= self._dead_until:
            self._dead_until = None
            self._revive(event)

    def _revive(self, event: MarketMoved) -> None:
        """A new process: it has the journal, and learns prices, rates and the venues' state anew."""
        self.world.restart(self._factory(self.strategy, self.pair, self.settings))
        for venue in self.world.venues.values():
            if not venue.is_available:
                self.world.feed(VenueChanged(self.world.now, venue.venue, is_available=False, reason="storm"))
        self.world.feed(msgspec.structs.replace(event, rates=self.market.rates_again()))

    # -- beginning and end -----------------------------------------------------------------------------------------

    def _deposit(self) -> None:
        is_long = self.direction is Direction.LONG_PREMIUM
        money = [
            (Venue.UPBIT, Amount(Decimal(20_000_000), "KRW")),
            (Venue.BINANCE, Amount(Decimal(14_000), "USDT")),
        ]
        if not is_long:
            money.append((Venue.UPBIT, Amount(Decimal("0.15"), "BTC")))
        for number, (venue, amount) in enumerate(money):
            self.world.move_funds(f"{number}", venue, amount)
            self.deposits[venue, amount.asset] = amount.value

    def _heal(self) -> None:
        self.monkey.heal()
        self.world.dies_at = None
        self.world.latency = self._lines[CALM_LATENCY]
        if self._dead_until is not None:
            self._dead_until = self.world.now
            self._tick(BUSY)
        self.world.feed(SwitchChanged(self.world.now, SwitchState.REDUCING))

    def case(self) -> Case:
        """What the oracle may look at."""
        return Case(
            self.seed,
            self.world,
            self.pair,
            self.settings.leverage,
            self.settings.capital_share,
            self.deposits,
            self.rates,
        )

    def _report(self, broken: list[Violation]) -> StormReport:
        world, case = self.world, self.case()
        branches = branches_of(world)
        return StormReport(
            seed=self.seed,
            violations=broken + violations(case),
            believed=believed(self.seed, world.engine),
            virtual=world.now - START,
            faults=self.monkey.fired + self.happened,
            branches=branches,
            naked=naked_times(case),
            repairs=branches["repair"],
            steps=self._steps,
            trace_hash=trace_hash(world),
        )


def run_storm(
    seed: int, *, engine_factory: EngineFactory = real_engine, preset: str | None = None, lasts: Nanos = HOUR
) -> StormReport:
    """Play one seed: a swarm of everything, or one of the named weathers."""
    return Storm(seed, engine_factory=engine_factory, preset=preset, lasts=lasts).run()


def trace_hash(world: World) -> str:
    """One hash over the journal, the notices and the venues' trades: equal for equal seeds, whatever the hash seed."""
    encoder, digest = msgspec.msgpack.Encoder(), blake2b(digest_size=16)
    for record in world.records:
        digest.update(encoder.encode(record))
    for told in world.notices:
        digest.update(encoder.encode((told.at, told.notice)))
    for venue in world.venues.values():
        digest.update(encoder.encode(venue.trades))
    return digest.hexdigest()
