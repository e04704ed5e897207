"""The recorded history shows the premiums everybody remembers; a wrong join, zone or fixing would not.

The well-known figures (22.7, 11.9, 13.4, -11.5, mean 12.3) are against Binance *spot*. Against the perpetual, which is
what we trade, they are 22.76, 11.75, 13.36, -11.57 and 12.14. All of them take both closes of the hour and the fixing
known at its open.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from kimp.shared.domain.history import Candles, Observations, Times, Values
from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos, from_datetime
from kimp.storage.archive import gaps, read_candles, read_market

EPISODES = [
    ("2021-04-01", "2021-05-01", "max", 22.757, 22.68),
    ("2021-04-01", "2021-05-01", "mean", 12.140, 12.25),
    ("2024-03-01", "2024-04-01", "max", 11.754, 11.87),
    ("2024-04-13", "2024-04-14", "max", 13.361, 13.38),
    ("2024-12-03T13:00", "2024-12-03T14:00", "min", -11.573, -11.52),
]


def at(text: str) -> Nanos:
    return from_datetime(datetime.fromisoformat(f"{text}T00:00+00:00" if "T" not in text else f"{text}+00:00"))


def premium(korea: Candles, abroad: Candles, usdkrw: Observations) -> tuple[Times, Values]:
    """Percent per bar that both legs traded in, at the closes, with the fixing known at the open."""
    opened, left, right = np.intersect1d(korea.opened, abroad.opened, assume_unique=True, return_indices=True)
    rate = usdkrw.value[np.searchsorted(usdkrw.at, opened, side="right") - 1]
    return opened, 100 * (korea.close[left] / (abroad.close[right] * rate) - 1)


@pytest.mark.parametrize(("start", "end", "figure", "perpetual", "spot"), EPISODES)
def test_a_remembered_premium_is_reproduced(
    recorded_market: Path, start: str, end: str, figure: str, perpetual: float, spot: float
) -> None:
    market = read_market(recorded_market, start=at(start), end=at(end))
    assert market.interval == HOUR
    assert len(gaps(market.abroad, HOUR)) == 0
    _, against_perpetual = premium(market.korea, market.abroad, market.usdkrw)
    assert getattr(against_perpetual, figure)() == pytest.approx(perpetual, abs=0.005)
    coins = read_candles([recorded_market / "binance_spot_BTCUSDT_1h.parquet"])
    opened, against_spot = premium(market.korea, coins, market.usdkrw)
    in_range = (opened >= market.start) & (opened < market.end)
    assert getattr(against_spot[in_range], figure)() == pytest.approx(spot, abs=0.01)


def test_martial_law_printed_88_266_000_won(recorded_market: Path) -> None:
    market = read_market(recorded_market, start=at("2024-12-03T13:00"), end=at("2024-12-03T15:00"))
    assert market.korea.low.min() == 88_266_000


def test_the_whole_history_reads_with_its_real_gaps(recorded_market: Path) -> None:
    market = read_market(recorded_market, start=None, end=None)
    assert (market.interval, len(market.abroad), len(market.korea)) == (HOUR, 46_591, 46_523)
    missing = gaps(market.korea, HOUR)
    assert sum(until - since for since, until in missing) == (46_591 - 46_523) * HOUR
    assert "none before 2021-08-28 16:00 UTC" in market.sources["funding"]


def test_upbit_minutes_of_2025_pair_with_five_minutes_of_binance(recorded_market: Path) -> None:
    market = read_market(recorded_market, start=at("2025-09-01"), end=at("2025-10-04"))
    assert (market.interval, len(market.korea), len(market.abroad)) == (5 * MINUTE, 9_504, 9_504)
    assert market.sources["korea"].endswith("(resampled to 5m)")
    _, percent = premium(market.korea, market.abroad, market.usdkrw)
    assert -1 < percent.min() < percent.max() < 5


def test_no_holiday_is_longer_than_a_fixing_stays_valid(recorded_market: Path) -> None:
    for fx, end, longest in (("ecb", "2025-01-01", 5), ("investing", "2024-05-01", 3)):
        market = read_market(recorded_market, start=at("2020-01-01"), end=at(end), fx=fx)
        assert market.usdkrw_valid_for == longest * DAY
        assert np.diff(market.usdkrw.at).max() == longest * DAY
