"""How good a run was: every number is taken from mark-to-market equity, the open position included.

The strategy refuses to leave at a loss, so its *realised* trades win 100 % of the time whatever happens; only
the marked curve shows what was risked while waiting. Conventions, the same everywhere below:

- *Marks* are the finite values of the curve; a bar without a mark (no FX, no book) is skipped, never filled.
- *Daily* means the last mark of each UTC day, which is 09:00 KST, where Upbit's own daily candle turns. A calendar
  day without any mark repeats the one before (return zero), so that a year always counts 365 days. The first
  return is measured from the starting capital; first and last day may be partial.
- A year has 365 days, since both venues never close; the risk-free rate is zero. Fractions, not percent.
- What is undefined is ``None``: one day has no Sharpe ratio, a curve that never fell has no Calmar ratio.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from kimp.research.attribution import Attribution as Attribution  # one import for whoever reads a result
from kimp.research.attribution import attribution_of as attribution_of
from kimp.research.backtest.result import BacktestResult, Trade
from kimp.shared.domain.time import DAY, Nanos

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAYS_PER_YEAR = 365
ROLLING_DAYS = 90
RETURN_NOISE = 1e-12
"""Daily deviations below this are rounding of float64 money (about 1e-16), not risk; a ratio over them says nothing."""

RUIN = 1e-9
"""Equity below this share of the capital is nothing: no order is that small, and no growth is counted from it."""


@dataclass(frozen=True, slots=True)
class Daily:
    """Equity once a day. ``equity[0]`` is the starting capital, so it is one longer than ``days`` and ``returns``."""

    days: Ints
    equity: Floats
    returns: Floats


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The deepest fall from a high: ``depth`` 0.1 is ten percent; ``recovered_at`` is None while it still lasts."""

    depth: float
    peak_at: Nanos
    trough_at: Nanos
    recovered_at: Nanos | None
    duration: Nanos
    longest_under_water: Nanos
    is_under_water: bool


@dataclass(frozen=True, slots=True)
class HoldingTimes:
    """How long closed pairs were held, and how long the open one has been: the slow ones are still open."""

    median: Nanos | None
    mean: Nanos | None
    max: Nanos | None
    open_for: Nanos | None


@dataclass(frozen=True, slots=True)
class MonthlyReturn:
    """What one UTC calendar month earned on the equity it began with."""

    year: int
    month: int
    value: float | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """The headline of a run; ``trades`` counts closed pairs, ``win_rate`` also the open pair at its mark."""

    total_return: float | None
    cagr: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float | None
    drawdown: Drawdown | None
    profit_factor: float | None
    trades: int
    win_rate: float | None
    win_rate_realised: float | None
    exposure: float | None
    holding: HoldingTimes
    monthly: tuple[MonthlyReturn, ...]
    rolling_sharpe: tuple[tuple[Nanos, float | None], ...]


def metrics_of(result: BacktestResult) -> Metrics:
    """Everything the report's headline says about a run, computed from its curves and pairs."""
    capital = float(result.capital)
    at, equity = marks_of(result)
    daily = daily_of(at, equity, capital)
    drawdown = worst_drawdown(at, equity, capital, result.start)
    growth = float(equity[-1]) / capital if len(equity) else None
    yearly = None if growth is None else cagr(growth, (result.end - result.start) / DAY)
    skipped = ROLLING_DAYS - 1  # days before the first full window
    pairs = (*result.trades, *([result.open_position] if result.open_position else []))
    return Metrics(
        total_return=None if growth is None else growth - 1,
        cagr=yearly,
        volatility=volatility(daily.returns),
        sharpe=sharpe(daily.returns),
        sortino=sortino(daily.returns),
        calmar=calmar(yearly, drawdown.depth if drawdown else None),
        max_drawdown=drawdown.depth if drawdown else None,
        drawdown=drawdown,
        profit_factor=profit_factor(np.diff(daily.equity)),
        trades=len(result.trades),
        win_rate=win_rate(pairs),
        win_rate_realised=win_rate(result.trades),
        exposure=float(np.mean(result.curves.is_open)) if len(result.curves.is_open) else None,
        holding=holding_times(result),
        monthly=monthly_returns(daily),
        rolling_sharpe=tuple(
            (int(day) * DAY, finite(value))
            for day, value in zip(daily.days[skipped:], rolling_sharpe(daily.returns)[skipped:], strict=True)
        ),
    )


def finite(value: float) -> float | None:
    """The number, or None where it is not one: JSON knows neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None


def marks_of(result: BacktestResult) -> tuple[Ints, Floats]:
    """Times and equity of the bars that could be marked to market."""
    known = np.isfinite(result.curves.equity)
    return result.curves.at[known], result.curves.equity[known]


def daily_of(at: Ints, equity: Floats, capital: float) -> Daily:
    """Samples equity at the last mark of each UTC day; ``at`` is bar opening time, so 23:59 closes the day.

    The return after a day of ruin is NaN: what is lost altogether cannot grow.
    """
    if not len(at):
        return Daily(np.empty(0, np.int64), np.array([capital]), np.empty(0))
    day_of_mark = at // DAY
    days = np.arange(day_of_mark[0], day_of_mark[-1] + 1)
    last = np.searchsorted(day_of_mark, days, side="right") - 1
    sampled = np.concatenate(([capital], equity[last]))
    before = np.where(sampled[:-1] > RUIN * capital, sampled[:-1], np.nan)
    return Daily(days, sampled, sampled[1:] / before - 1)


def cagr(growth: float, days: float) -> float | None:
    """Yearly growth that leads to the same end: ``growth ** (365 / days) - 1`` (GIPS, with a crypto year).

    ``growth`` is last equity over capital. Undefined below one day, where the exponent only magnifies noise.
    """
    if days < 1:
        return None
    if growth <= RUIN:
        return -1.0
    try:
        return finite(growth ** (DAYS_PER_YEAR / days) - 1)
    except OverflowError:
        return None


def volatility(returns: Floats) -> float | None:
    """Yearly standard deviation of daily returns: ``std(r, ddof=1) * sqrt(365)``."""
    if len(returns) < 2:
        return None
    return finite(float(np.std(returns, ddof=1)) * math.sqrt(DAYS_PER_YEAR))


def sharpe(returns: Floats) -> float | None:
    """Mean over deviation of daily returns, a year of it: ``mean(r) / std(r, ddof=1) * sqrt(365)`` (Sharpe 1994)."""
    if len(returns) < 2:
        return None
    deviation = float(np.std(returns, ddof=1))
    if not deviation > RETURN_NOISE:
        return None
    return finite(float(np.mean(returns)) / deviation * math.sqrt(DAYS_PER_YEAR))


def sortino(returns: Floats) -> float | None:
    """As Sharpe, but only falls count as risk: ``mean(r) / sqrt(mean(min(r, 0)²)) * sqrt(365)`` (Sortino, Price 1994).

    The mean under the root runs over *all* days, rising ones as zero.
    """
    if len(returns) < 2:
        return None
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    if not downside > RETURN_NOISE:
        return None
    return finite(float(np.mean(returns)) / downside * math.sqrt(DAYS_PER_YEAR))


def calmar(yearly: float | None, depth: float | None) -> float | None:
    """Yearly growth per unit of deepest fall: ``cagr / max_drawdown``, whole run (Young 1991 took 36 months)."""
    if yearly is None or not depth:
        return None
    return finite(yearly / depth)


def drawdowns(equity: Floats, capital: float) -> Floats:
    """How far below its highest point so far each mark lies: ``1 - E / max(capital, E so far)``; 0 at a new high."""
    peak = np.maximum(np.maximum.accumulate(equity), capital) if len(equity) else equity
    return np.asarray(1 - equity / peak, dtype=np.float64)


def worst_drawdown(at: Ints, equity: Floats, capital: float, start: Nanos) -> Drawdown | None:
    """The deepest fall on every bar (not only day ends), timed from its high to the bar that reaches it again.

    The capital at ``start`` is the first high. A fall that has not recovered is timed to the last mark. Depth is
    within [0, 1] as long as equity is not negative, and above 1 when more than everything was lost.
    """
    if not len(at):
        return None
    times = np.concatenate(([min(start, int(at[0]))], at))
    depths = np.concatenate(([0.0], drawdowns(equity, capital)))
    highs = np.flatnonzero(depths <= 0)
    trough = int(np.argmax(depths))
    following = int(np.searchsorted(highs, trough))
    peak = int(highs[following]) if depths[trough] <= 0 else int(highs[following - 1])
    recovered = int(times[highs[following]]) if following < len(highs) else None
    is_under_water = bool(depths[-1] > 0)
    at_high = times[highs]
    # From each high to the next one, where bars below lie between, and from the last high if it was not reached again.
    spells = [0, *np.diff(at_high)[np.diff(highs) > 1], times[-1] - at_high[-1] if is_under_water else 0]
    return Drawdown(
        depth=float(depths[trough]),
        peak_at=int(times[peak]),
        trough_at=int(times[trough]),
        recovered_at=recovered,
        duration=(int(times[-1]) if recovered is None else recovered) - int(times[peak]),
        longest_under_water=int(max(spells)),
        is_under_water=is_under_water,
    )


def profit_factor(changes: Floats) -> float | None:
    """Won on good days over lost on bad days: ``sum(max(Δ, 0)) / -sum(min(Δ, 0))`` of daily equity changes in KRW.

    Days and not trades, because closed trades never lose here and would make it infinite by construction.
    """
    lost = -float(np.minimum(changes, 0.0).sum())
    if not lost > 0:
        return None
    return finite(float(np.maximum(changes, 0.0).sum()) / lost)


def win_rate(pairs: Sequence[Trade]) -> float | None:
    """Share of pairs whose net is above zero: ``count(net > 0) / count``."""
    return sum(pair.net > 0 for pair in pairs) / len(pairs) if pairs else None


def holding_times(result: BacktestResult) -> HoldingTimes:
    """Median, mean and longest time from entry to exit, and the age of the pair that is still open."""
    held = [trade.closed_at - trade.opened_at for trade in result.trades if trade.closed_at is not None]
    still = result.open_position
    return HoldingTimes(
        median=int(median(held)) if held else None,
        mean=sum(held) // len(held) if held else None,
        max=max(held, default=None),
        open_for=result.end - still.opened_at if still else None,
    )


def monthly_returns(daily: Daily) -> tuple[MonthlyReturn, ...]:
    """Per UTC calendar month: ``E(last day) / E(last day of the month before) - 1``; compounded they give the total."""
    months = daily.days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    ends = np.flatnonzero(np.append(months[1:] != months[:-1], True)) if len(months) else np.empty(0, np.int64)
    levels = daily.equity[np.concatenate(([0], ends + 1))]
    found = []
    for month, before, after in zip(months[ends], levels[:-1], levels[1:], strict=True):
        value = finite(after / before - 1) if before > RUIN * levels[0] else None
        found.append(MonthlyReturn(1970 + int(month) // 12, int(month) % 12 + 1, value))
    return tuple(found)


def rolling_sharpe(returns: Floats, window: int = ROLLING_DAYS) -> Floats:
    """Sharpe of the last ``window`` days at each day; NaN until that many exist and where it is undefined."""
    found = np.full(len(returns), np.nan)
    if len(returns) >= window:
        rows = np.lib.stride_tricks.sliding_window_view(returns, window)
        deviation = rows.std(axis=1, ddof=1)
        usable = deviation > RETURN_NOISE
        scores = np.full(len(rows), np.nan)
        scores[usable] = rows.mean(axis=1)[usable] / deviation[usable] * math.sqrt(DAYS_PER_YEAR)
        found[window - 1 :] = scores
    return found
