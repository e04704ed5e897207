"""Hand-made markets and strategies of a few lines, so that every number of a test can be checked on paper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from kimp.research.backtest.engine import BacktestEngine, BacktestSettings
from kimp.research.simulation.slippage import FixedSlippage
from kimp.shared.domain.history import Candles, MarketData, Observations
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import DAY, HOUR, Nanos, from_datetime
from kimp.shared.ports.strategy import MarketView, PositionView

START = from_datetime(datetime(2024, 3, 4, 1, tzinfo=UTC))
"""An hour after a funding settlement."""

Bars = dict[int, tuple[float, float]]
"""Open and close by number of the bar; a number that is left out is a bar without a trade."""


def closes(*prices: float) -> Bars:
    """Bars that each open where the one before closed, the first at its own close."""
    opens = (prices[0], *prices[:-1])
    return dict(enumerate(zip(opens, prices, strict=True)))


def candles(bars: Bars, interval: Nanos = HOUR) -> Candles:
    numbers = np.array(sorted(bars), dtype=np.int64)
    first, last = (np.array([bars[int(n)][side] for n in numbers], dtype=np.float64) for side in (0, 1))
    return Candles(
        START + numbers * interval, first, np.maximum(first, last), np.minimum(first, last), last, np.ones(len(bars))
    )


def market(
    korea: Bars,
    abroad: Bars,
    *,
    usdkrw: Sequence[tuple[int, float]] = ((-1, 1_400.0),),
    usdtkrw: Sequence[tuple[int, float]] | None = None,
    funding: Sequence[tuple[int, float]] = (),
    interval: Nanos = HOUR,
) -> MarketData:
    """A market of hand-made bars; rates and funding by the number of the bar at whose open they become known."""

    def known(values: Sequence[tuple[int, float]]) -> Observations:
        at = np.array([START + number * interval for number, _ in values], dtype=np.int64)
        return Observations(at, np.array([value for _, value in values], dtype=np.float64))

    return MarketData(
        base="BTC",
        interval=interval,
        start=START,
        end=START + (max(*korea, *abroad) + 1) * interval,
        korea=candles(korea, interval),
        abroad=candles(abroad, interval),
        usdkrw=known(usdkrw),
        usdkrw_valid_for=5 * DAY,
        usdtkrw=None if usdtkrw is None else known(usdtkrw),
        funding=known(funding),
        sources={},
    )


@dataclass
class Scripted:
    """Enters at the closes named and wants to leave at every close from ``leave_from`` on (numbers of bars)."""

    direction: Direction = Direction.LONG_PREMIUM
    enter: tuple[int, ...] = (0,)
    leave_from: int = 1
    interval: Nanos = HOUR
    name: str = "scripted"
    seen: list[MarketView] = field(default_factory=list)

    def observe(self, view: MarketView) -> None:
        self.seen.append(view)

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        bar = (view.at - START) // self.interval - 1
        if position is None and bar in self.enter:
            return Enter(self.direction, "scripted")
        return Exit("scripted") if position is not None and bar >= self.leave_from else Hold("scripted")


@pytest.fixture
def make_market() -> Callable[..., MarketData]:
    return market


@pytest.fixture
def bars() -> Callable[..., Bars]:
    return closes


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def start() -> Nanos:
    return START


@pytest.fixture
def backtest() -> Callable[..., BacktestEngine]:
    """An engine over a market, without slippage unless asked for."""

    def make(
        data: MarketData, strategy: Scripted, *, capital: str = "21500000", slippage: float = 0.0
    ) -> BacktestEngine:
        settings = BacktestSettings(capital=Decimal(capital), slippage=FixedSlippage(slippage))
        return BacktestEngine(data, strategy, strategy.direction, settings)

    return make
