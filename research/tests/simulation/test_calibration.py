"""The figures measure what they say, the stated ones are those of the record, and the simulator keeps to them."""

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from kimp.research.simulation import parameters
from kimp.research.simulation.calibration import MarketStatistics, comparison, hourly, measure, regime_of
from kimp.research.simulation.market import simulate_market
from kimp.shared.domain.history import Candles, MarketData, Observations, Values
from kimp.shared.domain.time import DAY, HOUR, MINUTE, from_datetime
from kimp.storage.archive import read_market

START, END = (from_datetime(datetime(year, month, 1, tzinfo=UTC)) for year, month in ((2021, 9), (2025, 1)))


def stated() -> dict[str, tuple[float, float, float, float]]:
    """The table of the parameters' description: recorded, simulated, lowest, highest."""
    lines = (parameters.__doc__ or "").split("highest\n")[1].split("\n\n")[0].splitlines()
    rows = (line.split() for line in lines)
    return {name: (float(a), float(b), float(c), float(d)) for name, a, b, c, d in rows}


def made(premium: Values, price: Values, funding: Values | None = None, rate: float = 1_000.0) -> MarketData:
    """Hours of a market with exactly this premium and price."""
    opened = START + HOUR * np.arange(len(premium))
    korea = price * rate * (1 + premium)
    rates = np.full(len(premium) // 8, 1e-4) if funding is None else funding
    return MarketData(
        base="BTC",
        interval=HOUR,
        start=START,
        end=START + HOUR * len(premium),
        korea=Candles(opened, korea, korea, korea, korea, korea),
        abroad=Candles(opened, price, price, price, price, price),
        usdkrw=Observations(
            START + DAY * np.arange(-1, len(premium) // 24), rate + np.arange(len(premium) // 24 + 1) % 2
        ),
        usdkrw_valid_for=DAY,
        usdtkrw=None,
        funding=Observations(START + 8 * HOUR * np.arange(len(rates)), rates),
    )


@pytest.fixture(scope="module")
def runs() -> list[MarketStatistics]:
    """Seeds that the fit never saw."""
    return [measure(simulate_market(seed=seed, start=START, end=END, interval=HOUR)) for seed in (101, 102, 103, 104)]


def test_a_new_fixing_is_no_change_of_the_premium() -> None:
    calm = made(np.full(480, 0.02), np.full(480, 50_000.0))
    hours = hourly(calm)
    assert np.ptp(hours.premium) > 0
    np.testing.assert_allclose(hours.change[1:], 0, atol=1e-12)


def test_a_change_over_a_gap_is_not_counted() -> None:
    market = made(np.linspace(0, 0.01, 480), np.full(480, 50_000.0))
    kept = np.arange(480) != 100
    bars = Candles(
        *(getattr(market.korea, name)[kept] for name in ("opened", "open", "high", "low", "close", "volume"))
    )
    spoilt = MarketData(**{name: getattr(market, name) for name in MarketData.__slots__} | {"korea": bars})
    assert np.flatnonzero(np.isnan(hourly(spoilt).change)).tolist() == [0, 100]


def test_regimes_are_told_apart_by_level_and_by_restlessness() -> None:
    dice = np.random.Generator(np.random.PCG64(3))
    premium = np.concatenate((np.full(1_000, 0.01), np.full(1_000, 0.06))) + 0.001 * dice.standard_normal(2_000)
    premium[500:524] += 0.02 * dice.standard_normal(24)
    regime = regime_of(hourly(made(premium, np.full(2_000, 50_000.0))))
    assert (regime[100:500] == 0).all()
    assert (regime[505:524] == 2).all()
    assert (regime[1_200:] == 1).all()


def test_measured_figures_are_the_ones_put_in() -> None:
    dice = np.random.Generator(np.random.PCG64(5))
    count = 24 * 365
    returns = 0.004 * dice.standard_normal(count)
    funding = np.where(dice.random(count // 8) < 0.25, -5e-5, 1e-4)
    found = measure(made(np.full(count, 0.02), 50_000 * np.exp(np.cumsum(returns)), funding))
    assert found.return_std == pytest.approx(0.004, rel=0.02)
    assert abs(found.return_kurtosis) < 0.2
    assert found.premium_mean == pytest.approx(0.02, abs=0.001)
    assert found.funding_positive == found.funding_baseline == pytest.approx(0.75, abs=0.04)
    assert found.regimes["hot"].share == 0


def test_the_stated_figures_are_those_of_the_record() -> None:
    folder = os.environ.get("KIMP_TEST_DATA")
    if folder is None:
        pytest.skip("needs recorded market data: set KIMP_TEST_DATA to the folder that holds market/ and frames/")
    recorded = measure(read_market(Path(folder) / "market", start=START, end=END)).figures()
    table = stated()
    assert table.keys() == recorded.keys()
    for name, value in recorded.items():
        assert table[name][0] == pytest.approx(value, rel=0.006), name


def test_every_recorded_figure_lies_between_the_lowest_and_the_highest_simulated_one() -> None:
    for name, (recorded, simulated, lowest, highest) in stated().items():
        assert lowest <= recorded <= highest, name
        assert lowest <= simulated <= highest, name


def test_new_seeds_keep_to_the_stated_bands(runs: list[MarketStatistics]) -> None:
    for name, (_, _, lowest, highest) in stated().items():
        assert lowest <= np.nanmedian([run.figures()[name] for run in runs]) <= highest, name


def test_a_comparison_names_every_figure_once(runs: list[MarketStatistics]) -> None:
    lines = comparison(runs[0], runs).splitlines()
    assert [line.split()[0] for line in lines] == ["figure", *runs[0].figures()]
    assert all(len(line.split()) == 5 for line in lines)


def test_minutes_and_hours_of_one_market_measure_alike() -> None:
    hours, minutes = (
        measure(simulate_market(seed=4, start=START, end=START + 120 * DAY, interval=interval))
        for interval in (HOUR, MINUTE)
    )
    assert hours.premium_std == pytest.approx(minutes.premium_std, rel=1e-9)
    assert hours.return_std == pytest.approx(minutes.return_std, rel=1e-9)
