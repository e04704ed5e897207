"""A strategy sees the recorded past before it trades: each minute once, with what was known then."""

import asyncio
from decimal import Decimal
from typing import Any

import numpy as np

from kimp.order.runtime.warming import views_of, warm_up
from kimp.shared.domain.history import Candles, MarketData, Observations
from kimp.shared.domain.instruments import default_pair
from kimp.shared.domain.signals import Hold, Signal
from kimp.shared.domain.time import HOUR, MINUTE
from kimp.shared.errors import DataError
from kimp.shared.ports.strategy import Condition, MarketView

PAIR = default_pair()
START = 1_700_000_040_000_000_000 // MINUTE * MINUTE


def bars(prices: dict[int, float]) -> Candles:
    close = np.array(list(prices.values()))
    return Candles(
        np.array([START + minute * MINUTE for minute in prices], dtype=np.int64), close, close, close, close, close
    )


def observed(values: dict[int, float]) -> Observations:
    return Observations(
        np.array([START + minute * MINUTE for minute in values], dtype=np.int64), np.array(list(values.values()))
    )


def market(korea: dict[int, float], abroad: dict[int, float], usdkrw: dict[int, float]) -> MarketData:
    return MarketData(
        base="BTC",
        interval=MINUTE,
        start=START,
        end=START + 10 * MINUTE,
        korea=bars(korea),
        abroad=bars(abroad),
        usdkrw=observed(usdkrw),
        usdkrw_valid_for=5 * MINUTE,
        usdtkrw=None,
        funding=observed({2: 0.0001}),
    )


class Watching:
    """A strategy that only looks."""

    name = "watching"
    warm_up = 10 * MINUTE

    def __init__(self) -> None:
        self.seen: list[MarketView] = []

    def observe(self, view: MarketView) -> None:
        self.seen.append(view)

    def decide(self, *_: Any) -> Signal:
        return Hold("looking")

    def explain(self, *_: Any) -> tuple[Condition, ...]:
        return ()


def test_a_minute_is_seen_at_its_close_with_what_was_known_then() -> None:
    data = market({0: 144_200_000, 1: 145_600_000}, {0: 100_000, 1: 100_000}, {0: 1_400, 2: 1_300})
    first, second = views_of(data, PAIR)
    assert (first.at, first.premium, first.usdkrw) == (START + MINUTE, Decimal("0.03"), Decimal(1400))
    assert first.funding_rate is None, "published a minute later"
    assert (second.at, second.usdkrw) == (START + 2 * MINUTE, Decimal(1300)), "the newer rate is known at the close"
    assert second.funding_rate == Decimal("0.0001")


def test_minutes_without_both_legs_or_a_valid_rate_are_left_out() -> None:
    data = market({0: 1.4e8, 1: 1.4e8, 9: 1.4e8}, {0: 1e5, 2: 1e5, 9: 1e5}, {0: 1_400})
    assert [view.at for view in views_of(data, PAIR)] == [START + MINUTE]


def test_the_past_asked_for_is_as_long_as_the_windows_and_ends_now() -> None:
    strategy, asked = Watching(), []

    async def load(base: str, start: int, end: int) -> MarketData:
        asked.append((base, start, end))
        return market({0: 1.4e8}, {0: 1e5}, {0: 1_400})

    assert asyncio.run(warm_up(strategy, PAIR, load, START + HOUR + 1)) == 1
    assert asked == [("BTC", START + HOUR - 10 * MINUTE, START + HOUR)]
    assert len(strategy.seen) == 1


def test_without_a_record_it_waits_for_live_quotes() -> None:
    strategy = Watching()

    async def load(*_: Any) -> MarketData:
        raise DataError("nothing was collected yet")

    assert asyncio.run(warm_up(strategy, PAIR, load, START)) == 0
    assert strategy.seen == []
