"""One tape, two drivers: the backtest's heap and the live shell's event loop write the same journal, byte by byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog

from kimp.order.runtime.journal import encoded
from kimp.portfolio.parity import LiveStory, live_story
from kimp.research.backtest.engine import BacktestEngine
from kimp.research.backtest.result import BacktestResult
from kimp.research.simulation.market import simulate_market
from kimp.research.strategies.presets import build
from kimp.shared.domain.history import MarketData
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, MINUTE
from kimp.shared.messages.events import MarketMoved
from kimp.shared.messages.records import PlanMade, Record
from kimp.storage.archive import read_market

START = 1_704_067_200 * 1_000_000_000
LATENCY = 25 * MILLISECOND
EAGER = {"threshold": Decimal("0.005"), "target_net": Decimal("0.002")}
WINDOWED = {
    "threshold": None,
    "percentile": Decimal("0.2"),
    "window_hours": 24,
    "step_minutes": 10,
    "target_net": Decimal("0.01"),
    "breakout_net": Decimal("0.001"),
    "fx_surge": Decimal("1.001"),
}
Plan = dict[int, list[tuple[Venue, bool]]]
"""By the number of the next bar: who goes into maintenance (``False``) or comes out of it, right after a decision."""


@dataclass
class Case:
    """A strategy and the market it meets."""

    preset: str
    direction: Direction
    seed: int = 7
    days: int = 14
    knobs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.preset}{len(self.knobs) or ''}-{self.direction.value.lower()}"

    def engine(self, data: MarketData) -> BacktestEngine:
        return BacktestEngine(data, build(self.preset, direction=self.direction, **self.knobs), self.direction)

    @property
    def data(self) -> MarketData:
        return simulate_market(seed=self.seed, start=START, end=START + self.days * DAY)


LONG, SHORT = Direction.LONG_PREMIUM, Direction.SHORT_PREMIUM
CASES = [
    Case("roadmap", LONG),
    Case("roadmap", SHORT),
    Case("low_entry", LONG, seed=3, knobs=EAGER),
    Case("low_entry", SHORT, seed=3, knobs=EAGER),
]


class Interrupted:
    """A backtest's tape on which venues go into maintenance between bars."""

    def __init__(self, engine: BacktestEngine, plan: Plan) -> None:
        self._tape, self._world, self._plan = engine.tape, engine.world, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tape, name)

    def __len__(self) -> int:
        return len(self._tape)

    def __iter__(self) -> Iterator[MarketMoved]:
        for index, event in enumerate(self._tape):
            for venue, is_available in self._plan.get(index, ()):
                self._world.maintain(venue, is_available=is_available, reason="maintenance")
            yield event


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def backtested(case: Case, data: MarketData, plan: Plan) -> tuple[BacktestResult, list[Record]]:
    engine = case.engine(data)
    engine.tape = Interrupted(engine, plan)  # type: ignore[assignment]
    return engine.run(), engine.world.records


def lived(case: Case, data: MarketData, plan: Plan, latency: int = LATENCY) -> LiveStory:
    def between(index: int, exchanges: Any) -> None:
        for venue, is_available in plan.get(index, ()):
            exchanges[venue].maintain(is_available=is_available, reason="maintenance")

    return live_story(case.engine(data), latency, between)


def assert_same(result: BacktestResult, records: list[Record], story: LiveStory) -> None:
    theirs = [encoded(record) for record in story.records]
    for number, ours in enumerate(map(encoded, records)):
        assert number < len(theirs), f"the live shell ends before record {number + 1}: {ours!r}"
        assert theirs[number] == ours, f"record {number + 1} differs"
    assert len(theirs) == len(records), f"the live shell goes on with {story.records[len(records)]}"
    assert story.decision_hash == result.decision_hash


def interruptions(records: list[Record], data: MarketData) -> Plan:
    """Each venue in turn away for seven minutes from the very moment orders leave: one leg fills, the other cannot."""
    plan: Plan = {}
    bars = sorted({(record.at - data.start) // MINUTE for record in records if isinstance(record, PlanMade)})
    for number, bar in enumerate(bars):
        venue = list(Venue)[number % 2]
        plan.setdefault(bar, []).append((venue, False))
        plan.setdefault(bar + 7, []).append((venue, True))
    return plan


@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_weeks_of_minutes_are_journaled_alike_with_and_without_maintenance(case: Case) -> None:
    data = case.data
    result, records = backtested(case, data, {})
    assert len(result.trades) >= 2
    assert_same(result, records, lived(case, data, {}))
    data = simulate_market(seed=case.seed, start=START, end=START + 7 * DAY)  # the same story, half as long
    plan = interruptions(records, data)
    disturbed, repaired = backtested(case, data, plan)
    assert disturbed.repairs >= 3
    assert disturbed.refusals["venue_unavailable"] >= 1
    assert_same(disturbed, repaired, lived(case, data, plan))


def test_a_strategy_with_windows_sees_the_same_in_both() -> None:
    case = Case("low_entry", LONG, knobs=WINDOWED)
    data = case.data
    result, records = backtested(case, data, {})
    assert result.trades
    assert_same(result, records, lived(case, data, {}))


RECORDED = [
    Case("roadmap", SHORT),
    Case("low_entry", LONG, knobs={"threshold": Decimal("0.015")}),
]


@pytest.fixture(scope="module")
def hours_of_2024() -> MarketData:
    folder = os.environ.get("KIMP_TEST_DATA")
    if not folder:
        pytest.skip("needs recorded market data: set KIMP_TEST_DATA to the folder that holds market/ and frames/")
    return read_market(Path(folder) / "market", start=START, end=START + 366 * DAY, interval=HOUR)


@pytest.mark.parametrize("case", RECORDED, ids=str)
def test_the_recorded_hours_of_2024_are_journaled_alike(case: Case, hours_of_2024: MarketData) -> None:
    result, records = backtested(case, hours_of_2024, {})
    assert result.trades or result.open_position
    assert len(result.funding_at) > 100
    assert_same(result, records, lived(case, hours_of_2024, {}))


@pytest.mark.parametrize(
    "change",
    [
        lambda case, data: lived(case, data, {}, latency=LATENCY + 1),
        lambda case, data: lived(case, data, {900: [(Venue.UPBIT, False)]}),
    ],
    ids=["a nanosecond more on the way", "a venue away"],
)
def test_another_story_is_told_apart(change: Callable[[Case, MarketData], LiveStory]) -> None:
    case = Case("low_entry", LONG, seed=3, days=2, knobs=EAGER)
    data = case.data
    result, records = backtested(case, data, {})
    assert result.open_position or result.trades
    assert_same(result, records, lived(case, data, {}))
    with pytest.raises(AssertionError, match=r"differs|ends before|goes on"):
        assert_same(result, records, change(case, data))
