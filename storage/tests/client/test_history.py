"""What a live record adds to the rules: rates that hold for two minutes, frozen weekends, and real holes."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from kimp.shared.domain.history import Candles, MarketData
from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos
from kimp.shared.errors import DataError
from kimp.storage.history import load_market

START: Nanos = 1_772_409_600_000_000_000
Quote = tuple[Nanos, float, Nanos, str]


class Recorded:
    """A record in memory: hours of both legs, and the rates a test wants."""

    def __init__(self, quotes: list[Quote], hours: int = 72, tether: list[Quote] | None = None) -> None:
        self._quotes = {"USD": quotes, "USDT": tether or []}
        self._opened = START + np.arange(hours, dtype=np.int64) * HOUR

    async def candles(self, instrument_id: str, interval: Nanos, start: Nanos, end: Nanos) -> Candles:
        is_known = interval == HOUR and instrument_id != "upbit:KRW-USDT"
        opened = self._opened[(self._opened >= start) & (self._opened < end) & is_known]
        ones = np.ones(len(opened))
        return Candles(opened, ones, ones, ones, ones, ones)

    async def funding(self, instrument_id: str, start: Nanos, end: Nanos) -> Mapping[str, Any]:  # noqa: ARG002
        return {"settles_at": np.empty(0, np.int64), "rate": np.empty(0)}

    async def fx(self, base: str, start: Nanos, end: Nanos, source: str | None) -> Mapping[str, Any]:
        rows = [row for row in self._quotes[base] if start <= row[0] < end and source in (None, row[3])]
        at, value, until, name = zip(*rows, strict=True) if rows else ((), (), (), ())
        return {
            "at": np.array(at, dtype=np.int64),
            "value": np.array(value),
            "valid_until": np.array(until, dtype=np.int64),
            "source": np.array(name, dtype=np.str_),
        }


def loaded(record: Recorded, fx: str | None = None) -> MarketData:
    return asyncio.run(load_market(record, "BTC", None, None, fx=fx))


def in_force(data: MarketData, at: Nanos) -> float | None:
    """The rate a backtest would use at that moment."""
    place = int(np.searchsorted(data.usdkrw.at, at, side="right")) - 1
    is_good = place >= 0 and at < int(data.usdkrw.at[place]) + data.usdkrw_valid_for
    return float(data.usdkrw.value[place]) if is_good else None


def test_a_frozen_rate_holds_until_it_said_and_a_live_one_for_its_minutes() -> None:
    live = [(START + i * MINUTE, 1_390.0 + i, START + (i + 2) * MINUTE, "bank") for i in range(60)]
    frozen = (START + HOUR, 1_500.0, START + 50 * HOUR, "bank")
    late = (START + 52 * HOUR, 1_501.0, START + 52 * HOUR + 2 * MINUTE, "bank")
    data = loaded(Recorded([*live, frozen, late]))
    assert data.usdkrw_valid_for == 2 * MINUTE
    assert in_force(data, START + 30 * MINUTE) == 1_420.0
    assert in_force(data, START + 49 * HOUR) == 1_500.0  # a weekend is known, not stale
    assert in_force(data, START + 51 * HOUR) is None  # nobody knew
    assert in_force(data, START + 52 * HOUR + MINUTE) == 1_501.0
    assert in_force(data, START + 53 * HOUR) is None
    assert (np.diff(data.usdkrw.at) > 0).all()


def test_a_day_without_a_rate_is_refused() -> None:
    quotes = [(START, 1_390.0, START + HOUR, "bank"), (START + 30 * HOUR, 1_390.0, START + 70 * HOUR, "bank")]
    with pytest.raises(DataError, match="no rate of bank"):
        loaded(Recorded(quotes))


def test_the_source_with_the_most_quotes_is_taken_unless_there_are_fixings() -> None:
    bank = [(START + i * HOUR, 1_390.0, START + (i + 2) * HOUR, "bank") for i in range(72)]
    market = [(START + i * HOUR, 1_400.0, START + (i + 2) * HOUR, "market") for i in range(71)]
    fixings = [(START - 9 * HOUR + day * DAY, 1_410.0, START + (day + 5) * DAY, "ecb") for day in range(3)]
    assert set(loaded(Recorded(bank + market)).usdkrw.value) == {1_390.0}
    assert set(loaded(Recorded(bank + market), fx="market").usdkrw.value) == {1_400.0}
    assert set(loaded(Recorded(bank + market + fixings)).usdkrw.value) == {1_410.0}


def test_collected_usdt_rates_serve_where_no_candles_of_it_are() -> None:
    bank = [(START - HOUR, 1_390.0, START + 5 * DAY, "bank")]
    tether = [(START + i * HOUR, 1_405.0 + i, START + (i + 1) * HOUR, "upbit") for i in range(-3, 72)]
    found = loaded(Recorded(bank, tether=tether))
    assert found.usdtkrw is not None
    assert int(found.usdtkrw.at[0]) == START
    assert found.sources["usdtkrw"] == "stored rates of USDT"
    assert loaded(Recorded(bank)).usdtkrw is None
