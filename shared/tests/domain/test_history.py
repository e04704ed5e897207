"""Columns of history know how many rows they have."""

import numpy as np

from kimp.shared.domain.history import Candles, MarketData, Observations


def test_columns_are_as_long_as_their_times() -> None:
    times, values = np.array([0, 60, 180], dtype=np.int64), np.ones(3)
    candles, rates = Candles(times, values, values, values, values, values), Observations(times, values)
    assert (len(candles), len(rates)) == (3, 3)


def test_sources_of_one_record_are_not_shared_with_the_next() -> None:
    none = Observations(np.array([], dtype=np.int64), np.array([]))
    empty = Candles(none.at, none.value, none.value, none.value, none.value, none.value)
    first, second = (MarketData("BTC", 60, 0, 0, empty, empty, none, 0, None, none) for _ in range(2))
    first.sources["korea"] = "upbit"
    assert second.sources == {}
