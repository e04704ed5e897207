"""What the demo plays: one seeded fortnight, one impatient hand and two mishaps, each of them put in on purpose.

Everything else is what a backtest runs: the same tape, engine, guards, venues and ledger.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kimp.research.backtest.engine import BacktestEngine, BacktestSettings
from kimp.research.simulation.faults import FINE, Fault, NoFaults
from kimp.research.simulation.market import simulate_market
from kimp.research.strategies.presets import build
from kimp.shared.domain.instruments import InstrumentId, Pair, Side, default_pair
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import ClientId, Order, Rejected, Unknown
from kimp.shared.domain.signals import Direction, Exit, Signal
from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos, from_datetime
from kimp.shared.ports.strategy import Condition, MarketView, PositionView, Strategy

CHOSEN_SEED = 7
"""Chosen by looking: three pairs close and the fourth is under water at the end, which is how the real thing feels."""

START = from_datetime(datetime(2026, 3, 2, tzinfo=UTC))
"""A Monday at 09:00 in Seoul; no market was ever like this one."""

DAYS = 14

CAPITAL = Decimal(20_000_000)

PRESET = "low_entry"
KNOBS: dict[str, Any] = {
    "threshold": None,
    "percentile": "0.2",
    "window_hours": 24,
    "step_minutes": 15,
    "target_net": "0.004",
}
"""The recommended preset shortened to a fortnight: the lowest fifth of a day, and 0.4 % of the capital. With its own
1 % and 1.5 % it waits for weeks, which nobody watches."""

ASKED_AT = 12 * HOUR
"""The impatient hand comes at 21:00 in Seoul, when the day's work is done and the account is looked at."""

IMPATIENT = "impatient_hand"


class ImpatientHand:
    """A strategy whose owner wants out on the first evening the pair is under water; the engine is to refuse that."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy

    @property
    def name(self) -> str:
        """The name of the strategy that is being interfered with."""
        return self._strategy.name

    def observe(self, view: MarketView) -> None:
        """Only the strategy takes note."""
        self._strategy.observe(view)

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        """The strategy's word, but for one minute of a losing pair's first evening."""
        if position is not None and position.net is not None and position.net < ZERO:
            is_evening = ASKED_AT <= view.at % DAY < ASKED_AT + MINUTE
            if is_evening and view.at - position.opened_at < DAY:
                return Exit(IMPATIENT)
        return self._strategy.decide(view, position)

    def explain(self, view: MarketView, position: PositionView | None) -> tuple[Condition, ...]:
        """The strategy's own comparisons."""
        return self._strategy.explain(view, position)

    @property
    def warm_up(self) -> Nanos:
        """As the strategy."""
        return self._strategy.warm_up


@dataclass(slots=True)
class ScriptedFaults(NoFaults):
    """The first short's answer is lost, and so is the first question about it; the second purchase is refused."""

    pair: Pair
    unanswered: ClientId | None = None
    refused: ClientId | None = None
    _sent: Counter[tuple[InstrumentId, Side]] = field(default_factory=Counter)
    _questions_lost: int = 0

    def draw(self, order: Order) -> Fault:
        """How this order fares: by what it is the how-manieth of."""
        kind = (order.instrument_id, order.side)
        self._sent[kind] += 1
        if kind == (self.pair.abroad.id, Side.SELL) and self._sent[kind] == 1:
            self.unanswered = order.client_id
            return Fault(answer=Unknown("timeout"), is_silent=True)
        if kind == (self.pair.korea.id, Side.BUY) and self._sent[kind] == 2:
            self.refused = order.client_id
            return Fault(executes=False, answer=Rejected("server_busy", "injected by the demo"))
        return FINE

    def loses_query(self, client_id: ClientId) -> bool:
        """The first question about the unanswered order is lost, too."""
        if client_id != self.unanswered or self._questions_lost:
            return False
        self._questions_lost += 1
        return True


@dataclass(frozen=True, slots=True)
class Scenario:
    """One showing: ``start`` and ``end`` in nanoseconds, ``capital`` in KRW."""

    seed: int = CHOSEN_SEED
    start: Nanos = START
    end: Nanos = START + DAYS * DAY
    capital: Decimal = CAPITAL

    @property
    def is_chosen(self) -> bool:
        """Whether this is the seed that was picked for showing."""
        return self.seed == CHOSEN_SEED

    @property
    def days(self) -> int:
        """How long it lasts."""
        return (self.end - self.start) // DAY


@dataclass(frozen=True, slots=True)
class Stage:
    """A scenario ready to be played: the backtest, and what will go wrong in it."""

    scenario: Scenario
    backtest: BacktestEngine
    faults: ScriptedFaults


def staged(scenario: Scenario) -> Stage:
    """Make the market and everything that trades on it.

    Raises:
        ConfigurationError: the seed is negative.
    """
    data = simulate_market(seed=scenario.seed, start=scenario.start, end=scenario.end)
    pair = default_pair(data.base)
    faults = ScriptedFaults(pair)
    settings = BacktestSettings(capital=scenario.capital, faults=faults)
    strategy = ImpatientHand(build(PRESET, **KNOBS))
    return Stage(scenario, BacktestEngine(data, strategy, Direction.LONG_PREMIUM, settings, pair), faults)
