"""A backtest straight from the database: the same market, rule for rule, as a directory of files would give.

Which bars answer is decided as :mod:`kimp.storage.archive.selection` describes; here the record is asked for the stretches
it covers instead of the files.
"""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.history import Candles, MarketData, Observations
from kimp.shared.domain.time import DAY, MINUTE, Nanos
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.archive.bars import cut, resample
from kimp.storage.archive.layout import INTERVALS
from kimp.storage.archive.selection import HOLE_MAX, Span
from kimp.storage.archive.tables import moment
from kimp.storage.client.frames import Arrays
from kimp.storage.database.upsert import EARLIEST, LATEST

FX_LOOKBACK = 10 * DAY
"""Longer than any fixing stays valid, so that the one in force at the start is found."""
FUNDING_LOOKBACK = 30 * DAY
FX_PREFERRED = "ecb"


class Record(Protocol):
    """What is asked for; every answer is in order of time."""

    async def candles(self, instrument_id: str, interval: Nanos, start: Nanos, end: Nanos) -> Candles: ...
    async def funding(self, instrument_id: str, start: Nanos, end: Nanos) -> Arrays: ...
    async def fx(self, base: str, start: Nanos, end: Nanos, source: str | None) -> Arrays: ...


@dataclass(frozen=True, slots=True)
class _Leg:
    """One series around the asked range, and the stretches it covers without a long hole."""

    bars: Candles
    step: Nanos
    stretches: tuple[Span, ...]

    def within(self, span: Span, interval: Nanos) -> Candles:
        start, end = -(-span[0] // interval) * interval, span[1] // interval * interval
        found = cut(self.bars, start, end, self.step)
        return found if interval == self.step else resample(found, interval)


@dataclass(frozen=True, slots=True)
class _Choice:
    korea: _Leg
    abroad: _Leg
    interval: Nanos
    span: Span

    @property
    def length(self) -> Nanos:
        return self.span[1] - self.span[0]


async def load_market(
    record: Record,
    base: str,
    start: Nanos | None,
    end: Nanos | None,
    *,
    interval: Nanos | None = None,
    fx: str | None = None,
) -> MarketData:
    """Both legs of the pair, exchange rate and funding over ``[start, end)``.

    Raises:
        ConfigurationError: bars that do not divide a day, or an exchange-rate source that is not there.
        DataError: crossed dates, a range that is not covered, or no exchange rate for more than a day.
    """
    _check(start, end, interval)
    choice = await _choose(record, base, interval, start, end)
    korea, abroad = (leg.within(choice.span, choice.interval) for leg in (choice.korea, choice.abroad))
    if not len(korea) or not len(abroad):
        raise DataError(f"There is no whole bar of both legs of {base} in the asked range; ask for a longer one.")
    usdkrw, valid_for, fx_source = await _dollar(record, fx, choice.span)
    tether = await _tether(record, choice.span)
    rates = await record.funding(f"binance:{base}USDT", choice.span[0] - FUNDING_LOOKBACK, choice.span[1])
    funding = _in_force(rates["settles_at"], rates["rate"], choice.span)
    return MarketData(
        base=base,
        interval=choice.interval,
        start=choice.span[0],
        end=choice.span[1],
        korea=korea,
        abroad=abroad,
        usdkrw=usdkrw,
        usdkrw_valid_for=valid_for,
        usdtkrw=None if tether is None else tether[0],
        funding=funding,
        sources={
            "korea": _described(f"upbit:KRW-{base}", choice.korea.step),
            "abroad": _described(f"binance:{base}USDT", choice.abroad.step),
            "usdkrw": fx_source,
            "usdtkrw": "not recorded" if tether is None else tether[1],
            "funding": f"stored settlements of binance:{base}USDT" if len(funding) else "none recorded",
        },
    )


async def _choose(record: Record, base: str, interval: Nanos | None, start: Nanos | None, end: Nanos | None) -> _Choice:
    korea = await _legs(record, f"upbit:KRW-{base}", start, end)
    abroad = await _legs(record, f"binance:{base}USDT", start, end)
    intervals = tuple(INTERVALS.values()) if interval is None else (interval,)
    pairs = [
        _Choice(left, right, step, span)
        for step, left, right in product(intervals, korea, abroad)
        if step % left.step == 0 and step % right.step == 0
        for span in _both(_whole_bars(left, step), _whole_bars(right, step))
    ]
    asked = [
        _Choice(pair.korea, pair.abroad, pair.interval, _cut_to(pair.span, start, end))
        for pair in pairs
        if (start is None or pair.span[0] <= start < pair.span[1])
        and (end is None or pair.span[0] < end <= pair.span[1])
    ]
    if not asked:
        raise _uncovered(pairs, base)
    longest = max(pair.length for pair in asked)
    return min(
        (pair for pair in asked if pair.length >= longest - DAY),
        key=lambda pair: (pair.interval, -pair.korea.step - pair.abroad.step, -pair.length),
    )


async def _legs(record: Record, instrument_id: str, start: Nanos | None, end: Nanos | None) -> list[_Leg]:
    legs = []
    for step in INTERVALS.values():
        # As far outside as a hole may be long: a bar before the range shows that the range's beginning is covered.
        around = HOLE_MAX + step
        since = EARLIEST if start is None else start - around
        until = LATEST if end is None else end + around
        bars = await record.candles(instrument_id, step, since, until)
        if len(bars):
            legs += [_Leg(bars, step, _stretches(bars, step))]
    if not legs:
        raise DataError(
            f"There are no stored bars of {instrument_id} in or near the asked range; collect or fetch them."
        )
    return legs


def _stretches(bars: Candles, step: Nanos) -> tuple[Span, ...]:
    times = bars.opened
    breaks = np.flatnonzero(np.diff(times) - step > HOLE_MAX) + 1
    edges = [0, *(int(i) for i in breaks), len(times)]
    return tuple((int(times[first]), int(times[after - 1]) + step) for first, after in pairwise(edges))


def _whole_bars(leg: _Leg, interval: Nanos) -> list[Span]:
    return [(-(-since // interval) * interval, until // interval * interval) for since, until in leg.stretches]


def _both(left: list[Span], right: list[Span]) -> list[Span]:
    spans = [(max(a[0], b[0]), min(a[1], b[1])) for a, b in product(left, right)]
    return [span for span in spans if span[0] < span[1]]


def _cut_to(span: Span, start: Nanos | None, end: Nanos | None) -> Span:
    return span[0] if start is None else start, span[1] if end is None else end


async def _dollar(record: Record, fx: str | None, span: Span) -> tuple[Observations, Nanos, str]:
    """KRW per USD from the rate in force at the start on, how long one is good, and whose it is."""
    quotes = await record.fx("USD", span[0] - FX_LOOKBACK, span[1], fx)
    names, counts = np.unique(quotes["source"], return_counts=True)
    if not len(names):
        of = f" of {fx}" if fx else ""
        raise ConfigurationError(f"There is no stored exchange rate USD/KRW{of} in the asked range; name another (fx).")
    source = FX_PREFERRED if FX_PREFERRED in names else str(names[np.argmax(counts)])
    chosen = quotes["source"] == source
    at, value, until = (quotes[name][chosen] for name in ("at", "value", "valid_until"))
    first = max(int(np.searchsorted(at, span[0], side="right")) - 1, 0)
    at, value, until = at[first:], value[first:], until[first:]
    _check_without_hole(at, until, source, span)
    valid_for = max(int((until - at).min()), MINUTE)
    return _repeated(at, value, until, valid_for), valid_for, f"stored rates of {source}"


def _repeated(
    at: NDArray[np.int64], value: NDArray[np.float64], until: NDArray[np.int64], valid_for: Nanos
) -> Observations:
    """The same rates, each told again as often as its own validity is longer than the common one.

    A live rate is good for two minutes, the last one of a Friday until Monday; one number has to do for all.
    """
    next_at = np.append(at[1:], until[-1])
    times = np.maximum(-(-(np.minimum(until, next_at) - at) // valid_for), 1)
    place = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return Observations(np.repeat(at, times) + place * valid_for, np.repeat(value, times))


def _check_without_hole(at: NDArray[np.int64], until: NDArray[np.int64], source: str, span: Span) -> None:
    ends = np.append(span[0], np.maximum.accumulate(until))
    begins = np.append(at, span[1])
    holes = np.flatnonzero(begins - np.maximum(ends, span[0]) > HOLE_MAX)
    if len(holes):
        raise DataError(
            f"There is no rate of {source} in force from {moment(int(ends[holes[0]]))} to {moment(int(begins[holes[0]]))}; "
            "choose a range it covers, or another source (fx)."
        )


async def _tether(record: Record, span: Span) -> tuple[Observations, str] | None:
    """KRW per USDT, each close from the end of its candle on; the finest series that reaches into the range."""
    for step in INTERVALS.values():
        bars = await record.candles("upbit:KRW-USDT", step, span[0] - FX_LOOKBACK, span[1])
        closes = _in_force(bars.opened + step, bars.close, span)
        if len(closes) and closes.at[-1] > span[0] - DAY:
            return closes, _described("upbit:KRW-USDT", step)
    quotes = await record.fx("USDT", span[0] - FX_LOOKBACK, span[1], None)
    found = _in_force(quotes["at"], quotes["value"], span)
    return (found, "stored rates of USDT") if len(found) and found.at[-1] > span[0] - DAY else None


def _in_force(at: NDArray[np.int64], value: NDArray[np.float64], span: Span) -> Observations:
    first = max(int(np.searchsorted(at, span[0], side="right")) - 1, 0)
    inside = slice(first, int(np.searchsorted(at, span[1])))
    return Observations(at[inside], value[inside])


def _described(instrument_id: str, step: Nanos) -> str:
    return f"stored candles of {instrument_id}, {step // MINUTE}m"


def _check(start: Nanos | None, end: Nanos | None, interval: Nanos | None) -> None:
    if start is not None and end is not None and start >= end:
        raise DataError(f"The range starts at {moment(start)} and ends at {moment(end)}; bring them in order.")
    if interval is not None and (interval < MINUTE or interval % MINUTE or DAY % interval):
        raise ConfigurationError(f"Bars of {interval / MINUTE:g} minutes do not divide a day; choose 1, 5 or 60.")


def _uncovered(pairs: list[_Choice], base: str) -> DataError:
    if not pairs:
        return DataError(f"The two legs of {base} have no time in common; collect or fetch both.")
    longest = max(pairs, key=lambda pair: pair.length)
    since, until = (moment(at) for at in longest.span)
    return DataError(
        f"The stored data of {base} does not cover the asked range; near it both legs cover {since} to {until}."
    )
