import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import empyrical  # type: ignore[import-untyped]  # ships no types; a test oracle only
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kimp.research import metrics
from kimp.research.backtest.result import BacktestResult, Curves, Trade
from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos, from_datetime

START = from_datetime(datetime(2024, 1, 1, tzinfo=UTC))
CAPITAL = Decimal(1_000_000)

curves = st.lists(st.floats(min_value=1.0, max_value=1e9, allow_nan=False), min_size=1, max_size=60)


def days(count: int) -> NDArray[np.int64]:
    return START + np.arange(count, dtype=np.int64) * DAY + DAY - MINUTE


def a_trade(net: Decimal, *, opened_at: Nanos = START, closed_at: Nanos | None = START + DAY) -> Trade:
    """A pair whose profit is all premium, less one hundred won of fees."""
    return Trade(
        signal_id="s1",
        direction="LONG_PREMIUM",
        opened_at=opened_at,
        closed_at=closed_at,
        quantity=Decimal("0.01"),
        entry_premium=Decimal("0.01"),
        exit_premium=None if closed_at is None else Decimal("0.02"),
        notional=Decimal(500_000),
        premium=net + 100,
        fx=Decimal(0),
        funding=Decimal(0),
        fees=Decimal(-100),
        slippage=Decimal(0),
        net=net,
        exit_reason="" if closed_at is None else "net_positive",
    )


def a_result(
    equity: Sequence[float],
    *,
    at: NDArray[np.int64] | None = None,
    trades: tuple[Trade, ...] = (),
    open_position: Trade | None = None,
    is_open: Sequence[bool] | None = None,
) -> BacktestResult:
    marks = np.asarray(equity, dtype=np.float64)
    times = days(len(marks)) if at is None else at
    held = np.zeros(len(marks), np.bool_) if is_open is None else np.asarray(is_open, dtype=np.bool_)
    return BacktestResult(
        preset="low_entry",
        direction="LONG_PREMIUM",
        start=START,
        end=START + len(marks) * DAY,
        bars=len(marks),
        capital=CAPITAL,
        curves=Curves(at=times, equity=marks, premium=np.zeros(len(marks)), is_open=held),
        trades=trades,
        open_position=open_position,
        funding_at=np.empty(0, np.int64),
        funding_received=np.empty(0),
        refusals={},
        repairs=0,
        assumptions={},
        decision_hash="0",
        elapsed_tape_s=0.0,
        elapsed_engine_s=0.0,
        meta={},
    )


def test_four_days_worked_by_hand() -> None:
    found = metrics.metrics_of(a_result([1_100_000, 1_045_000, 1_149_500, 1_149_500]))
    # Daily returns +10 %, -5 %, +10 %, 0 %: mean 0.0375, sum of squared deviations 0.016875, three degrees of freedom.
    assert found.total_return == pytest.approx(0.1495)
    assert found.cagr == pytest.approx(1.1495 ** (365 / 4) - 1)
    assert found.sharpe == pytest.approx(0.0375 / math.sqrt(0.016875 / 3) * math.sqrt(365))
    assert found.volatility == pytest.approx(math.sqrt(0.016875 / 3 * 365))
    # Only the 5 % day is downside: sqrt(0.0025 / 4) = 0.025.
    assert found.sortino == pytest.approx(0.0375 / 0.025 * math.sqrt(365))
    assert found.max_drawdown == pytest.approx(0.05)
    assert found.calmar == pytest.approx((1.1495 ** (365 / 4) - 1) / 0.05)
    assert found.profit_factor == pytest.approx((100_000 + 104_500) / 55_000)


def test_a_year_has_365_days() -> None:
    assert metrics.cagr(1.5, 365) == pytest.approx(0.5)
    assert metrics.cagr(1.21, 730) == pytest.approx(0.1)
    assert metrics.cagr(0.0, 30) == -1.0


def test_a_day_is_sampled_at_its_last_bar_not_at_its_best() -> None:
    at = START + np.array([0, 5 * HOUR, DAY - MINUTE, DAY, 2 * DAY - MINUTE], dtype=np.int64)
    daily = metrics.daily_of(at, np.array([1.0, 9.0, 2.0, 7.0, 3.0]), 1.0)
    assert daily.equity.tolist() == [1.0, 2.0, 3.0]
    assert daily.returns.tolist() == pytest.approx([1.0, 0.5])


def test_a_day_without_marks_counts_as_a_day_of_zero_return() -> None:
    at = START + np.array([0, 3 * DAY], dtype=np.int64)
    assert metrics.daily_of(at, np.array([2.0, 3.0]), 2.0).returns.tolist() == [0.0, 0.0, 0.0, 0.5]


def test_bars_that_could_not_be_marked_are_skipped() -> None:
    with_holes = metrics.metrics_of(a_result([1_100_000, math.nan, 1_045_000, math.nan]))
    assert with_holes.total_return == pytest.approx(0.045)
    assert with_holes.max_drawdown == pytest.approx(0.05)


def test_drawdown_is_timed_from_its_high_to_its_recovery() -> None:
    found = metrics.metrics_of(a_result([1_200_000, 900_000, 1_000_000, 1_200_000, 1_300_000, 1_290_000])).drawdown
    assert found is not None
    assert found.depth == pytest.approx(0.25)
    assert (found.peak_at, found.trough_at, found.recovered_at) == (days(6)[0], days(6)[1], days(6)[3])
    assert found.duration == 3 * DAY
    assert found.longest_under_water == 3 * DAY
    assert found.is_under_water


def test_a_fall_that_lasts_has_no_recovery_and_is_timed_to_the_end() -> None:
    found = metrics.metrics_of(a_result([1_200_000, 900_000, 1_000_000])).drawdown
    assert found is not None
    assert found.recovered_at is None
    assert found.duration == found.longest_under_water == 2 * DAY
    assert found.is_under_water


def test_a_fall_below_the_starting_capital_on_the_first_bar_is_a_drawdown() -> None:
    assert metrics.metrics_of(a_result([900_000, 1_000_000])).max_drawdown == pytest.approx(0.1)


def test_undefined_is_none_and_never_a_number() -> None:
    empty = metrics.metrics_of(a_result([]))
    assert empty.total_return is empty.cagr is empty.sharpe is empty.max_drawdown is empty.exposure is None
    flat = metrics.metrics_of(a_result([1_000_000] * 100))
    assert flat.total_return == 0.0
    assert flat.sharpe is flat.sortino is flat.calmar is flat.profit_factor is flat.win_rate is None
    assert flat.max_drawdown == 0.0
    assert all(value is None for _, value in flat.rolling_sharpe)


def test_steady_growth_has_no_deviation_and_so_no_sharpe() -> None:
    steady = a_result([1_000_000 * 1.001**day for day in range(1, 200)])
    assert metrics.metrics_of(steady).sharpe is None


def test_losing_everything_is_minus_one_and_leaves_no_ratio() -> None:
    found = metrics.metrics_of(a_result([1_000_000, 0.0, 0.0]))
    assert found.total_return == found.cagr == -1.0
    assert found.max_drawdown == 1.0
    assert found.sharpe is found.sortino is None


def test_growth_too_large_to_express_is_undefined() -> None:
    assert metrics.cagr(1e300, 1.0) is None
    assert metrics.cagr(1.01, 0.5) is None


def test_months_begin_with_the_equity_the_last_one_ended_with() -> None:
    equity = [1_000_000 + 10_000 * day for day in range(1, 61)]
    january, february = metrics.metrics_of(a_result(equity)).monthly
    assert (january.year, january.month, february.month) == (2024, 1, 2)
    assert january.value == pytest.approx(0.31)
    assert february.value == pytest.approx(1_600_000 / 1_310_000 - 1)


def test_rolling_sharpe_is_the_sharpe_of_the_last_ninety_days() -> None:
    returns = np.random.default_rng(7).normal(0.001, 0.01, 200)
    rolled = metrics.rolling_sharpe(returns)
    assert np.isnan(rolled[:89]).all()
    assert rolled[89] == pytest.approx(metrics.sharpe(returns[:90]))
    assert rolled[199] == pytest.approx(metrics.sharpe(returns[110:]))


def test_exposure_is_the_share_of_bars_with_a_position() -> None:
    assert metrics.metrics_of(a_result([1e6] * 4, is_open=[False, True, True, True])).exposure == 0.75


def test_holding_times_leave_the_open_pair_apart() -> None:
    closed = tuple(a_trade(Decimal(1), closed_at=START + hours * HOUR) for hours in (1, 2, 9))
    still = a_trade(Decimal(-1), opened_at=START + DAY, closed_at=None)
    found = metrics.metrics_of(a_result([1e6] * 5, trades=closed, open_position=still)).holding
    assert (found.median, found.mean, found.max, found.open_for) == (2 * HOUR, 4 * HOUR, 9 * HOUR, 4 * DAY)


def test_realised_trades_always_win_while_marked_equity_falls() -> None:
    """Why nothing here is computed from closed trades alone: they hide the pair nobody wanted to close."""
    closed = tuple(a_trade(Decimal(5_000)) for _ in range(3))
    stuck = a_trade(Decimal(-80_000), closed_at=None)
    found = metrics.metrics_of(
        a_result([1_005_000, 1_010_000, 1_015_000, 960_000, 935_000], trades=closed, open_position=stuck)
    )
    assert found.win_rate_realised == 1.0
    assert found.win_rate == 0.75
    assert found.max_drawdown == pytest.approx(80_000 / 1_015_000)
    assert found.total_return is not None
    assert found.total_return < 0 < sum(trade.net for trade in closed)
    assert found.drawdown is not None
    assert found.drawdown.is_under_water


@given(curves)
def test_drawdown_of_positive_equity_lies_within_zero_and_one(equity: list[float]) -> None:
    depth = metrics.metrics_of(a_result(equity)).max_drawdown
    assert depth is not None
    assert 0 <= depth <= 1


@given(curves)
def test_equity_that_never_falls_has_no_drawdown(steps: list[float]) -> None:
    found = metrics.metrics_of(a_result(list(1e6 + np.cumsum(steps))))
    assert found.max_drawdown == 0.0
    assert found.calmar is None
    assert found.drawdown is not None
    assert not found.drawdown.is_under_water
    assert found.drawdown.longest_under_water == 0


@given(st.lists(st.integers(1, 10**9), max_size=60), st.sampled_from([0.001, 0.5, 3.0, 1e6]))
def test_ratios_do_not_depend_on_the_size_of_the_account(equity: list[int], scale: float) -> None:
    marks = np.array(equity, dtype=np.float64)
    small = metrics.daily_of(days(len(marks)), marks, 1e6)
    large = metrics.daily_of(days(len(marks)), marks * scale, 1e6 * scale)
    for ratio in (metrics.sharpe, metrics.sortino):
        of_large, of_small = ratio(large.returns), ratio(small.returns)
        assert (of_large is None) == (of_small is None)
        assert (of_large or 0.0) == pytest.approx(of_small or 0.0, rel=1e-6, abs=1e-6)
    assert metrics.drawdowns(marks * scale, 1e6 * scale) == pytest.approx(metrics.drawdowns(marks, 1e6), abs=1e-9)


@given(curves)
def test_months_compound_to_the_total(equity: list[float]) -> None:
    found = metrics.metrics_of(a_result(equity))
    assert found.total_return is not None
    grown = math.prod(1 + month.value for month in found.monthly if month.value is not None)
    assert grown == pytest.approx(1 + found.total_return)


@given(st.lists(st.one_of(st.just(math.nan), st.floats(-1e9, 1e9)), max_size=200))
def test_no_curve_however_broken_yields_nan_or_infinity(equity: list[float]) -> None:
    found = metrics.metrics_of(a_result(equity))
    numbers = [found.total_return, found.cagr, found.volatility, found.sharpe, found.sortino, found.calmar]
    numbers += [found.max_drawdown, found.profit_factor, *(value for _, value in found.rolling_sharpe)]
    numbers += [month.value for month in found.monthly]
    assert all(value is None or math.isfinite(value) for value in numbers)


@given(st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=120).filter(lambda found: float(np.ptp(found)) > 1e-6))
def test_ratios_agree_with_empyrical(returns: list[float]) -> None:
    """A second implementation, told that a year has 365 days (its own default is 252)."""
    series = np.array(returns)
    sharpe = metrics.sharpe(series)
    assert sharpe == pytest.approx(empyrical.sharpe_ratio(series, annualization=365), rel=1e-6, abs=1e-9)
    sortino = metrics.sortino(series)
    if sortino is not None:
        assert sortino == pytest.approx(empyrical.sortino_ratio(series, annualization=365), rel=1e-6, abs=1e-9)
    assert metrics.volatility(series) == pytest.approx(empyrical.annual_volatility(series, annualization=365))
    equity = np.cumprod(1 + series)
    assert float(metrics.drawdowns(equity, 1.0).max()) == pytest.approx(-empyrical.max_drawdown(series), abs=1e-9)
    assert metrics.cagr(float(equity[-1]), len(series)) == pytest.approx(empyrical.cagr(series, annualization=365))
