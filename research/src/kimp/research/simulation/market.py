"""A market that never was: both legs, exchange rates, funding and gaps from one seed, as long as anybody likes.

How much it resembles the recorded years, and where it does not: ``kimp.research.simulation.parameters``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kimp.research.simulation.parameters import CALIBRATED, MarketParameters
from kimp.research.simulation.processes import extremes, jumps, mean_reverting, regimes, stationary
from kimp.shared.domain.history import Candles, MarketData, Observations, Times, Values
from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos, to_datetime
from kimp.shared.errors import ConfigurationError
from kimp.storage.archive import resample

_MINUTES_PER_HOUR = 60
_MINUTES_PER_DAY = 1_440
_MINUTES_PER_YEAR = 525_960
_FUNDING_EVERY: Nanos = 8 * HOUR
_QUOTED_EVERY = 10 * MINUTE
_QUOTED_UNTIL = 17 * HOUR
"""The won is quoted from 09:00 to 02:00 in Seoul, which is 00:00 to 17:00 UTC of the same weekday."""
_FROZEN_MAX: Nanos = 3 * DAY
"""Longer than the longest night, Friday 17:00 to Monday 00:00 UTC: a frozen rate is known, not stale."""

_STREAMS = (
    "regimes", "price", "price_jumps", "volatility_fast", "volatility_slow", "restless", "wander", "swing",
    "flutter", "noise", "premium_jumps", "tether", "fx", "fx_restless", "funding_fast", "funding_slow",
    "korea_shape", "abroad_shape", "korea_volume", "abroad_volume", "quiet", "halts", "halt_lengths",
)  # fmt: skip
"""One stream of dice per cause, so that one cause's parameters never disturb another's draws.

Append only: the place in this order is part of the seed.
"""

Dice = dict[str, np.random.Generator]


def simulate_market(
    *, seed: int, start: Nanos, end: Nanos, interval: Nanos = MINUTE, parameters: MarketParameters = CALIBRATED
) -> MarketData:
    """A market over ``[start, end)``, made in minutes and shown in bars of ``interval`` nanoseconds.

    The same seed, start and parameters tell the same story, whatever the end (a shorter run is a prefix of a longer
    one) and whatever the interval (hours are the resampled minutes). A year of minutes takes about half a second.

    Raises:
        ConfigurationError: a negative seed, a range that is empty or does not begin on a bar, or bars that are not
            whole minutes.
    """
    _check(seed, start, end, interval)
    count = (end - start) // interval * (interval // MINUTE)
    children = np.random.SeedSequence(seed).spawn(len(_STREAMS))
    dice = {name: np.random.Generator(np.random.PCG64(child)) for name, child in zip(_STREAMS, children, strict=True)}
    opened = start + MINUTE * np.arange(count, dtype=np.int64)
    mood = _moods(dice, count, parameters)
    price = _price(dice, mood, parameters)
    fx = _exchange_rate(dice, opened, parameters)
    premium = _premium(dice, mood, price, parameters)
    korea, abroad = _legs(dice, opened, price, fx, premium, parameters)
    return MarketData(
        base="BTC",
        interval=interval,
        start=start,
        end=start + count * MINUTE,
        korea=_shown(korea, interval),
        abroad=_shown(abroad, interval),
        usdkrw=_quotes(opened, fx, parameters),
        usdkrw_valid_for=_FROZEN_MAX,
        usdtkrw=_tether(dice, opened, fx, premium, interval, parameters),
        funding=_funding(dice, opened, premium, parameters),
        sources=dict.fromkeys(("korea", "abroad", "usdkrw", "usdtkrw", "funding"), f"simulated, seed {seed}"),
    )


@dataclass(frozen=True, slots=True)
class _Mood:
    """What the regime asks for, per minute; each shape (n,)."""

    premium: Values
    restless: Values
    turbulent: Values
    jumpy: Values


@dataclass(frozen=True, slots=True)
class _Price:
    """The perpetual: log of the price before the first minute and after each (n + 1,), deviation per minute (n,)."""

    log: Values
    std: Values


@dataclass(frozen=True, slots=True)
class _Premium:
    """Parts of the premium over the true exchange rate: before the first minute and after each; each (n + 1,)."""

    slow: Values
    swing: Values
    total: Values


def _check(seed: int, start: Nanos, end: Nanos, interval: Nanos) -> None:
    if seed < 0:
        raise ConfigurationError(f"The seed {seed} is negative; choose a whole number from 0 on.")
    if interval < MINUTE or interval % MINUTE or DAY % interval:
        raise ConfigurationError(
            f"Bars of {interval} ns are not whole minutes that divide a day; choose for example 1 or 60 minutes in ns."
        )
    if start % interval:
        raise ConfigurationError(
            f"The simulation starts at {to_datetime(start)}, within a bar; start it where a bar begins."
        )
    if end - start < interval:
        raise ConfigurationError(f"The simulation ends at {to_datetime(end)}, before its first bar does; end it later.")


def _moods(dice: Dice, count: int, parameters: MarketParameters) -> _Mood:
    kinds = parameters.regimes
    hours = -(-count // _MINUTES_PER_HOUR)
    path = regimes(dice["regimes"], hours, [1 / (24 * kind.days) for kind in kinds], [kind.moves for kind in kinds])
    minutes = np.repeat(path, _MINUTES_PER_HOUR)[:count]
    columns = ([getattr(kind, name) for kind in kinds] for name in ("premium", "restless", "turbulent", "jumpy"))
    return _Mood(*(np.array(column)[minutes] for column in columns))


def _price(dice: Dice, mood: _Mood, p: MarketParameters) -> _Price:
    """A random walk whose volatility strays by the hour and by the week, with rare jumps."""
    count = len(mood.premium)
    fast = stationary(
        dice["volatility_fast"], count, p.volatility_fast_hours * _MINUTES_PER_HOUR, p.volatility_fast_std
    )
    slow = stationary(dice["volatility_slow"], count, p.volatility_slow_days * _MINUTES_PER_DAY, p.volatility_slow_std)
    std = p.price_std * mood.turbulent * np.exp(fast + slow)
    often = np.full(count, p.price_jumps_per_day / _MINUTES_PER_DAY)
    returns = std * dice["price"].standard_normal(count)
    returns += jumps(dice["price_jumps"], count, often, p.price_jump_std) * mood.turbulent
    # No drift, and no way of the simulator to know better than the market: half the variance keeps the price a fair
    # game.
    returns -= std**2 / 2
    return _Price(np.concatenate(([0.0], np.cumsum(returns))) + np.log(p.price), std)


def _exchange_rate(dice: Dice, opened: Times, p: MarketParameters) -> Values:
    """KRW per USD as banks trade it, quoted or not, around the clock on weekdays (UTC); shape (n + 1,)."""
    days = (opened // DAY - opened[0] // DAY).astype(np.int64)
    strays = np.exp(p.fx_restless * dice["fx_restless"].standard_normal(int(days[-1]) + 1) - p.fx_restless**2)
    std = p.fx_daily_std / np.sqrt(_MINUTES_PER_DAY) * strays[days] * _is_weekday(opened)
    moves = std * dice["fx"].standard_normal(len(opened))
    log = mean_reverting(moves, p.fx_home_days * _MINUTES_PER_DAY)
    return p.fx * np.exp(np.concatenate(([0.0], log)))


def _premium(dice: Dice, mood: _Mood, price: _Price, p: MarketParameters) -> _Premium:
    count = len(price.std)
    restless = stationary(dice["restless"], count, p.restless_hours * _MINUTES_PER_HOUR, p.restless_std)
    lively = mood.restless * np.exp(restless) * (price.std / p.price_std / mood.turbulent) ** p.restless_with_price
    returns = np.diff(price.log)
    level_steps = p.level_days * _MINUTES_PER_DAY
    calm = p.regimes[0].premium
    level = mean_reverting(mood.premium * -np.expm1(-1 / level_steps), level_steps, calm)
    wander = stationary(dice["wander"], count, p.wander_days * _MINUTES_PER_DAY, p.wander_std)
    swing = _follower(dice["swing"], returns, lively, p.swing_hours, p.swing_std, p.swing_lag)
    often = p.premium_jumps_per_day / _MINUTES_PER_DAY * mood.jumpy
    leaps = jumps(dice["premium_jumps"], count, often, p.premium_jump_std)
    flutter = _follower(dice["flutter"], returns, lively, p.flutter_hours, p.flutter_std, p.flutter_lag, leaps)
    noise = p.noise_std * lively * dice["noise"].standard_normal(count)
    slow = level + wander
    return _Premium(*(np.concatenate((part[:1], part)) for part in (slow, swing, slow + swing + flutter + noise)))


def _follower(
    dice: np.random.Generator,
    returns: Values,
    lively: Values,
    hours: float,
    std: float,
    lag: float,
    leaps: Values | float = 0.0,
) -> Values:
    """A fading part of the premium, fed by its own shocks and by what Korea does not follow of the price."""
    steps = hours * _MINUTES_PER_HOUR
    own = std * np.sqrt(-np.expm1(-2 / steps)) * lively * dice.standard_normal(len(returns))
    return mean_reverting(own - lag * returns + leaps, steps)


def _legs(
    dice: Dice, opened: Times, price: _Price, fx: Values, premium: _Premium, p: MarketParameters
) -> tuple[Candles, Candles]:
    lively = np.log(price.std / p.price_std)
    korea_log = price.log + np.log(fx) + np.log1p(premium.total)
    abroad = _candles(dice, "abroad", opened, price.log, price.std, p.abroad_tick, p.abroad_volume * np.exp(lively), p)
    korea = _candles(dice, "korea", opened, korea_log, price.std, p.korea_tick, p.korea_volume * np.exp(lively), p)
    traded = np.flatnonzero(~_without_trade(dice, len(opened), p))
    return _at(korea, traded), abroad


def _candles(
    dice: Dice,
    leg: str,
    opened: Times,
    log: Values,
    std: Values,
    tick: float,
    volume: Values,
    p: MarketParameters,
) -> Candles:
    highest, lowest = extremes(dice[f"{leg}_shape"], log[:-1], log[1:], std)
    first, high, low, last = (_on_tick(np.exp(part), tick) for part in (log[:-1], highest, lowest, log[1:]))
    traded = volume * np.exp(p.volume_std * dice[f"{leg}_volume"].standard_normal(len(opened)) - p.volume_std**2 / 2)
    return Candles(opened, first, high, low, last, np.round(traded, 6))


def _without_trade(dice: Dice, count: int, p: MarketParameters) -> NDArray[np.bool_]:
    """The minutes Upbit has no candle of: quiet ones here and there, and halts."""
    quiet: NDArray[np.bool_] = dice["quiet"].random(count) < p.quiet_minutes_per_day / _MINUTES_PER_DAY
    begins = np.flatnonzero(dice["halts"].random(count) < p.halts_per_year / _MINUTES_PER_YEAR)
    lengths = dice["halt_lengths"].exponential(p.halt_hours * _MINUTES_PER_HOUR, len(begins))
    for begin, length in zip(begins.tolist(), lengths.tolist(), strict=True):
        quiet[begin : begin + 1 + int(length)] = True
    return quiet


def _quotes(opened: Times, fx: Values, p: MarketParameters) -> Observations:
    """The bank rate, every ten minutes of market hours; the first is the one in force at the start."""
    is_quoted = _is_weekday(opened) & (opened % DAY <= _QUOTED_UNTIL) & (opened % _QUOTED_EVERY == 0)
    is_quoted[0] = True
    return Observations(opened[is_quoted], _on_tick(fx[:-1][is_quoted], p.fx_tick))


def _tether(
    dice: Dice, opened: Times, fx: Values, premium: _Premium, interval: Nanos, p: MarketParameters
) -> Observations:
    """KRW per USDT: the exchange rate with most of the premium on top, known at the end of each bar."""
    own = stationary(dice["tether"], len(opened) + 1, p.tether_hours * _MINUTES_PER_HOUR, p.tether_std)
    won = fx * (1 + premium.slow + p.tether_share * premium.swing + own)
    step = interval // MINUTE
    at = opened[0] + interval * np.arange(len(opened) // step, dtype=np.int64)
    return Observations(at, _on_tick(won[:-1:step], p.tether_tick))


def _funding(dice: Dice, opened: Times, premium: _Premium, p: MarketParameters) -> Observations:
    """Rates at 00, 08 and 16 UTC, from the settlement in force at the start on.

    A persistent normal, leaning with the premium, is read off the recorded distribution: hence the pile at the
    baseline rate.
    """
    begin, end = int(opened[0]), int(opened[-1]) + MINUTE
    at = np.arange(begin - begin % _FUNDING_EVERY, end, _FUNDING_EVERY, dtype=np.int64)
    per_day = DAY // _FUNDING_EVERY
    fast = stationary(dice["funding_fast"], len(at), p.funding_fast_days * per_day, np.sqrt(1 - p.funding_slow_share))
    slow = stationary(dice["funding_slow"], len(at), p.funding_slow_days * per_day, np.sqrt(p.funding_slow_share))
    hot, calm = p.regimes[1].premium, p.regimes[0].premium
    lean = 2 * (premium.slow[np.maximum(at - begin, 0) // MINUTE] - calm) / (hot - calm)
    heat = np.sqrt(1 - p.funding_with_premium**2) * (fast + slow) + p.funding_with_premium * lean
    quantiles, rates = np.array(p.funding_curve).T
    return Observations(at, np.round(np.interp(heat, quantiles, rates), 8))


def _shown(minutes: Candles, interval: Nanos) -> Candles:
    return minutes if interval == MINUTE else resample(minutes, interval)


def _at(candles: Candles, rows: NDArray[np.intp]) -> Candles:
    return Candles(*(getattr(candles, name)[rows] for name in ("opened", "open", "high", "low", "close", "volume")))


def _is_weekday(at: Times) -> NDArray[np.bool_]:
    is_weekday: NDArray[np.bool_] = (at // DAY + 3) % 7 < 5  # 1970-01-01 was a Thursday
    return is_weekday


def _on_tick(prices: Values, tick: float) -> Values:
    """The nearest price that may be traded, free of binary dust such as 0.30000000000000004."""
    return np.round(np.round(prices / tick) * tick, 8)
