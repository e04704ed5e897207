"""What a market looks like in numbers: measured the same way on recorded and on simulated data.

Everything is measured by the hour and against a daily fixing taken at 15:00 UTC on weekdays, whatever finer quotes
the data
holds: that is how the recorded years are known, so a simulation with live quotes has to be looked at through the same
    glass.
*Changes* of the premium keep the exchange rate of the hour before, since a new fixing is not trading.

Three regimes are told apart by what can be seen at the time:

- **panic**: the premium's hourly changes over the last 24 h are more than 2.5 times as large as the data's median;
- **hot**: no panic, and the premium averaged more than 3.5 % over the last 7 days;
- **calm**: all other hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.history import Candles, MarketData, Observations, Times, Values
from kimp.shared.domain.time import DAY, HOUR

REGIMES = ("calm", "hot", "panic")
BASELINE_FUNDING = 1e-4
"""The rate Binance charges while the perpetual trades close to its index."""

_FIXED_AT = 15 * HOUR
_PANIC_RATIO = 2.5
_HOT_PREMIUM = 0.035
_JUMP_SIGMAS = 4.0


@dataclass(frozen=True, slots=True)
class RegimeStatistics:
    """The premium within one regime: share of hours, level and spread (fractions), half-life in hours."""

    share: float
    mean: float
    std: float
    change_std: float
    half_life: float


@dataclass(frozen=True, slots=True)
class MarketStatistics:
    """The figures a simulated market must share with the real one; fractions, per hour unless the name says otherwise.

    ``premium_ar1`` is the hourly autocorrelation; ``premium_after_day`` and ``premium_after_week`` are those of 24
    and 168 hours. ``jumps_per_day`` counts hourly changes of the premium beyond four standard deviations.
    """

    hours: int
    premium_mean: float
    premium_std: float
    premium_ar1: float
    premium_after_day: float
    premium_after_week: float
    change_std: float
    change_999: float
    change_autocorrelation: float
    jumps_per_day: float
    return_std: float
    return_kurtosis: float
    return_clustering: float
    return_clustering_day: float
    return_against_change: float
    fx_daily_std: float
    funding_mean: float
    funding_std: float
    funding_positive: float
    funding_baseline: float
    funding_ar1: float
    funding_against_premium: float
    regimes: Mapping[str, RegimeStatistics]

    def figures(self) -> dict[str, float]:
        """Every figure under one flat name: ``premium_std``, ``hot.half_life``."""
        whole = {
            item.name: float(getattr(self, item.name)) for item in fields(self) if item.name not in ("hours", "regimes")
        }
        parts = {
            f"{name}.{item.name}": float(getattr(regime, item.name))
            for name, regime in self.regimes.items()
            for item in fields(regime)
        }
        return whole | parts


@dataclass(frozen=True, slots=True)
class Hours:
    """Each hour both legs traded in: close, fixing, premium, and its change at an unchanged rate (NaN after gaps)."""

    opened: Times
    abroad: Values
    fixing: Values
    premium: Values
    change: Values


def hourly(market: MarketData) -> Hours:
    """The market by the hour against the daily fixing; the input of every figure here."""
    korea, abroad = _hourly_closes(market.korea), _hourly_closes(market.abroad)
    opened, left, right = np.intersect1d(korea[0], abroad[0], assume_unique=True, return_indices=True)
    fixings = _fixings(market.usdkrw, int(opened[0]), int(opened[-1]))
    fixing = fixings.value[np.maximum(np.searchsorted(fixings.at, opened, side="right") - 1, 0)]
    in_usd = korea[1][left] / abroad[1][right]
    change = np.full(len(opened), np.nan)
    is_next = np.diff(opened) == HOUR
    change[1:][is_next] = (np.diff(in_usd) / fixing[:-1])[is_next]
    return Hours(opened, abroad[1][right], fixing, in_usd / fixing - 1, change)


def regime_of(hours: Hours) -> NDArray[np.int64]:
    """The index into ``REGIMES`` of every hour; shape (hours,)."""
    squares = np.nan_to_num(hours.change) ** 2
    restless = np.sqrt(_trailing_mean(squares, 24))
    is_panic = restless > _PANIC_RATIO * np.median(restless)
    is_hot = _trailing_mean(hours.premium, 168) > _HOT_PREMIUM
    return np.where(is_panic, 2, np.where(is_hot, 1, 0)).astype(np.int64)


def measure(market: MarketData) -> MarketStatistics:
    """The figures of a market of at least some weeks; longer is better, since hot spells last for weeks."""
    hours = hourly(market)
    premium, change = hours.premium, hours.change[np.isfinite(hours.change)]
    returns = np.where(np.isfinite(hours.change[1:]), np.diff(np.log(hours.abroad)), np.nan)
    returns = returns[np.isfinite(returns)]
    rates, at_funding = market.funding.value, np.interp(market.funding.at, hours.opened, premium)
    regime = regime_of(hours)
    daily = hours.fixing[np.append(True, np.diff(hours.fixing) != 0)]
    return MarketStatistics(
        hours=len(premium),
        premium_mean=float(premium.mean()),
        premium_std=float(premium.std()),
        premium_ar1=_lagged(premium, 1),
        premium_after_day=_lagged(premium, 24),
        premium_after_week=_lagged(premium, 168),
        change_std=float(change.std()),
        change_999=float(np.quantile(np.abs(change), 0.999)),
        change_autocorrelation=_lagged(change, 1),
        jumps_per_day=float(24 * np.mean(np.abs(change) > _JUMP_SIGMAS * change.std())),
        return_std=float(returns.std()),
        return_kurtosis=float(np.mean((returns - returns.mean()) ** 4) / returns.var() ** 2 - 3),
        return_clustering=_lagged(np.abs(returns), 1),
        return_clustering_day=_lagged(np.abs(returns), 24),
        return_against_change=_correlation(returns, change),
        fx_daily_std=float(np.diff(np.log(daily)).std()),
        funding_mean=float(rates.mean()),
        funding_std=float(rates.std()),
        funding_positive=float(np.mean(rates > 0)),
        funding_baseline=float(np.mean(np.abs(rates - BASELINE_FUNDING) < 1e-9)),
        funding_ar1=_lagged(rates, 1),
        funding_against_premium=_correlation(rates, at_funding),
        regimes={name: _within(hours, regime == index) for index, name in enumerate(REGIMES)},
    )


def comparison(recorded: MarketStatistics, simulated: Sequence[MarketStatistics]) -> str:
    """A table of every figure: recorded, and the simulations' median, lowest and highest; one line each."""
    runs = [run.figures() for run in simulated]
    lines = [f"{'figure':24}{'recorded':>10}{'simulated':>11}{'lowest':>10}{'highest':>10}"]
    for name, value in recorded.figures().items():
        column = [run[name] for run in runs]
        spread = (np.nanmedian(column), np.nanmin(column), np.nanmax(column))
        lines.append(f"{name:24}{value:>10.3g}{spread[0]:>11.3g}{spread[1]:>10.3g}{spread[2]:>10.3g}")
    return "\n".join(lines)


def _within(hours: Hours, is_in: NDArray[np.bool_]) -> RegimeStatistics:
    """One regime's figures; NaN where the data holds fewer than two days of it."""
    if is_in.sum() < 48:
        return RegimeStatistics(float(is_in.mean()), np.nan, np.nan, np.nan, np.nan)
    premium = hours.premium[is_in]
    deviation = hours.premium - premium.mean()
    both = is_in[24:] & is_in[:-24]
    kept = float(
        np.dot(deviation[24:][both], deviation[:-24][both]) / np.dot(deviation[:-24][both], deviation[:-24][both])
    )
    half_life = 24 * np.log(0.5) / np.log(kept) if 0 < kept < 1 else np.nan
    return RegimeStatistics(
        share=float(is_in.mean()),
        mean=float(premium.mean()),
        std=float(premium.std()),
        change_std=float(np.nanstd(hours.change[is_in])),
        half_life=float(half_life),
    )


def _hourly_closes(candles: Candles) -> tuple[Times, Values]:
    hour = candles.opened - candles.opened % HOUR
    last = np.flatnonzero(np.append(np.diff(hour) != 0, True))
    return hour[last], candles.close[last]


def _fixings(quotes: Observations, first: int, last: int) -> Observations:
    """The quote in force at 15:00 UTC of each weekday, and the one at the beginning."""
    days = np.arange(first - first % DAY, last + DAY, DAY)
    is_weekday = (days // DAY + 3) % 7 < 5  # 1970-01-01 was a Thursday
    at = np.append(first, days[is_weekday] + _FIXED_AT)
    at = np.unique(at[at >= first])
    return Observations(at, quotes.value[np.maximum(np.searchsorted(quotes.at, at, side="right") - 1, 0)])


def _trailing_mean(values: Values, count: int) -> Values:
    """The mean of the last ``count`` values, of those there are at the beginning."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    until = np.arange(1, len(values) + 1)
    since = np.maximum(until - count, 0)
    mean: Values = (total[until] - total[since]) / (until - since)
    return mean


def _lagged(values: Values, lag: int) -> float:
    return _correlation(values[:-lag], values[lag:])


def _correlation(left: Values, right: Values) -> float:
    return float(np.corrcoef(left, right)[0, 1])
