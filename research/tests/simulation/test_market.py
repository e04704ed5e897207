"""A simulated market is one that venues could have shown, and the same one every time."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from kimp.research.simulation.market import simulate_market
from kimp.research.simulation.parameters import CALIBRATED
from kimp.shared.domain.history import MarketData, Observations, Values
from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos, from_datetime
from kimp.shared.errors import ConfigurationError
from kimp.storage.archive import gaps

START = from_datetime(datetime(2024, 3, 4, tzinfo=UTC))  # a Monday
COLUMNS = ("opened", "open", "high", "low", "close", "volume")


def in_force(observed: Observations, at: np.ndarray) -> Values:
    values: Values = observed.value[np.searchsorted(observed.at, at, side="right") - 1]
    return values


def assert_begins_like(longer: MarketData, shorter: MarketData) -> None:
    for leg in ("korea", "abroad"):
        bars, prefix = getattr(longer, leg), getattr(shorter, leg)
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(bars, name)[: len(prefix)], getattr(prefix, name))
    for series in ("usdkrw", "usdtkrw", "funding"):
        observed, prefix = getattr(longer, series), getattr(shorter, series)
        np.testing.assert_array_equal(observed.at[: len(prefix)], prefix.at)
        np.testing.assert_array_equal(observed.value[: len(prefix)], prefix.value)


@pytest.fixture(scope="module")
def month() -> MarketData:
    return simulate_market(seed=11, start=START, end=START + 30 * DAY)


def test_the_same_seed_tells_the_same_story(month: MarketData) -> None:
    assert_begins_like(month, simulate_market(seed=11, start=START, end=START + 30 * DAY))


def test_another_seed_tells_another(month: MarketData) -> None:
    other = simulate_market(seed=12, start=START, end=START + 30 * DAY)
    assert not np.array_equal(other.abroad.close, month.abroad.close)


@pytest.mark.parametrize("length", [MINUTE, 7 * HOUR + 13 * MINUTE, 29 * DAY])
def test_a_shorter_run_is_the_beginning_of_a_longer_one(month: MarketData, length: Nanos) -> None:
    assert_begins_like(month, simulate_market(seed=11, start=START, end=START + length))


def test_hours_show_the_same_market_as_minutes(month: MarketData) -> None:
    hours = simulate_market(seed=11, start=START, end=START + 30 * DAY, interval=HOUR)
    minutes = month.abroad
    np.testing.assert_array_equal(hours.abroad.close, minutes.close[59::60])
    np.testing.assert_array_equal(hours.abroad.high, minutes.high.reshape(-1, 60).max(axis=1))
    np.testing.assert_array_equal(hours.funding.value, month.funding.value)
    assert hours.usdtkrw is not None
    assert month.usdtkrw is not None
    np.testing.assert_array_equal(hours.usdtkrw.value, month.usdtkrw.value[::60])


def test_bars_lie_on_the_grid_within_the_range(month: MarketData) -> None:
    np.testing.assert_array_equal(month.abroad.opened, START + MINUTE * np.arange(30 * 1_440))
    assert (np.diff(month.korea.opened) > 0).all()
    assert (month.korea.opened % MINUTE == 0).all()
    assert (month.start, month.end, month.interval) == (START, START + 30 * DAY, MINUTE)


@pytest.mark.parametrize(("leg", "tick"), [("korea", 1_000), ("abroad", 0.1)])
def test_candles_are_ones_the_venue_could_have_shown(month: MarketData, leg: str, tick: float) -> None:
    bars = getattr(month, leg)
    for name in ("open", "high", "low", "close"):
        prices = getattr(bars, name)
        assert (prices > 0).all()
        np.testing.assert_array_equal(np.round(np.round(prices / tick) * tick, 8), prices)
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.volume >= 0).all()
    assert all(len(str(price)) < 12 for price in bars.close[:1_000]), "no binary dust in a price"


def test_each_perpetual_bar_opens_where_the_last_one_closed(month: MarketData) -> None:
    np.testing.assert_array_equal(month.abroad.open[1:], month.abroad.close[:-1])


def test_the_bank_rate_sleeps_at_night_and_on_weekends_and_stays_known(month: MarketData) -> None:
    quotes = month.usdkrw
    hour, weekday = quotes.at // HOUR % 24, (quotes.at // DAY + 3) % 7
    assert quotes.at[0] == START
    assert weekday.max() == 4
    assert ((hour < 17) | (quotes.at % DAY == 17 * HOUR)).all()
    assert 55 * HOUR == np.diff(quotes.at).max() <= month.usdkrw_valid_for
    assert quotes.at[-1] + month.usdkrw_valid_for >= month.end


def test_a_market_that_begins_on_a_weekend_knows_its_bank_rate() -> None:
    saturday = START - 2 * DAY
    market = simulate_market(seed=1, start=saturday, end=saturday + DAY)
    np.testing.assert_array_equal(market.usdkrw.at, [saturday])


def test_funding_settles_every_eight_hours_and_one_rate_is_in_force_at_the_start() -> None:
    start = START + 3 * HOUR
    funding = simulate_market(seed=3, start=start, end=start + 2 * DAY).funding
    np.testing.assert_array_equal(funding.at, START + 8 * HOUR * np.arange(7))
    assert (np.abs(funding.value) < 0.003).all()


def test_only_upbit_has_minutes_without_a_candle() -> None:
    year = simulate_market(seed=5, start=START, end=START + 365 * DAY)
    missing = gaps(year.korea, MINUTE)
    halts = [until - since for since, until in missing if until - since > 5 * MINUTE]
    assert gaps(year.abroad, MINUTE) == []
    assert 5 <= len(missing) - len(halts) <= 45
    assert 1 <= len(halts) <= 14
    assert max(halts) < DAY


def test_gaps_can_be_switched_off() -> None:
    whole = replace(CALIBRATED, quiet_minutes_per_day=0.0, halts_per_year=0.0)
    market = simulate_market(seed=5, start=START, end=START + 60 * DAY, parameters=whole)
    assert len(market.korea) == len(market.abroad) == 60 * 1_440


def test_switching_gaps_off_leaves_the_rest_of_the_story_alone() -> None:
    whole = replace(CALIBRATED, quiet_minutes_per_day=0.0, halts_per_year=0.0)
    with_gaps, without = (
        simulate_market(seed=5, start=START, end=START + 60 * DAY, parameters=p) for p in (CALIBRATED, whole)
    )
    kept = np.isin(without.korea.opened, with_gaps.korea.opened)
    np.testing.assert_array_equal(without.korea.close[kept], with_gaps.korea.close)


def test_the_tether_carries_most_of_the_premium_so_its_basis_is_calm() -> None:
    market = simulate_market(seed=8, start=START, end=START + 365 * DAY, interval=HOUR)
    opened, left, right = np.intersect1d(market.korea.opened, market.abroad.opened, return_indices=True)
    in_usd, closed = market.korea.close[left] / market.abroad.close[right], opened + HOUR
    assert market.usdtkrw is not None
    won, tether = in_force(market.usdkrw, closed), in_force(market.usdtkrw, closed - 1)
    fx_basis, usdt_basis, tether_basis = in_usd / won - 1, in_usd / tether - 1, tether / won - 1
    assert np.corrcoef(fx_basis, tether_basis)[0, 1] > 0.9
    assert usdt_basis.std() < fx_basis.std() / 2
    assert abs(usdt_basis.mean()) < 0.001
    assert (np.sign(usdt_basis) != np.sign(fx_basis)).mean() > 0.05, "the two differ, sometimes in sign"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"seed": -1}, "The seed -1 is negative"),
        ({"interval": MINUTE // 2}, "not whole minutes"),
        ({"interval": 7 * MINUTE}, "not whole minutes that divide a day"),
        ({"start": START + 1}, "within a bar; start it where a bar begins"),
        ({"end": START}, "before its first bar does; end it later"),
    ],
)
def test_an_impossible_request_is_refused(asked: dict[str, int], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        simulate_market(**({"seed": 1, "start": START, "end": START + DAY} | asked))
