"""Candles from files: checked, joined, resampled, and their gaps named.

A minute without a trade has no candle, on the venue and here alike: a gap is a fact to be shown, never a hole to be
filled.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kimp.shared.domain.history import Candles, Times, Values
from kimp.shared.domain.time import Nanos
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.archive.layout import named_series
from kimp.storage.archive.tables import moment, read_columns, refuse, refuse_values

# Files carry prices through binary floats; a close this little outside of its range is the same price.
_FLOAT_NOISE_MAX = 1e-9

_FIELDS = ("open", "high", "low", "close", "volume")


def read_candles(paths: Sequence[Path]) -> Candles:
    """The candles of one series from all of its files; rows that several files hold equally count once.

    Raises:
        ConfigurationError: a file is missing or its name does not say that it holds candles.
        DataError: a row cannot be true, or two files contradict each other.
    """
    joined: Candles | None = None
    for path in paths:
        series = named_series(path)
        if not series.is_candles:
            raise ConfigurationError(
                f"{path.name} does not hold candles; name a file such as upbit_KRW-BTC_1h.parquet."
            )
        part = check_candles(*read_columns(path, series), path)
        joined = part if joined is None else _join(joined, part, path)
    if joined is None:
        raise ConfigurationError("No candle file was named; name at least one.")
    return joined


def resample(candles: Candles, interval: Nanos) -> Candles:
    """The same trading in bars of ``interval`` nanoseconds: first open, last close, summed volume.

    A bar appears where at least one finer bar lies in it; none is invented. The caller cuts the finer bars at whole
    intervals, since a bar begun before the first of them would show a part as the whole.
    """
    if len(candles) == 0:
        return candles
    bucket = candles.opened - candles.opened % interval
    first = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    last = np.append(first[1:], len(bucket)) - 1
    return Candles(
        opened=bucket[first],
        open=candles.open[first],
        high=np.maximum.reduceat(candles.high, first),
        low=np.minimum.reduceat(candles.low, first),
        close=candles.close[last],
        volume=np.add.reduceat(candles.volume, first),
    )


def cut(candles: Candles, start: Nanos, end: Nanos, interval: Nanos) -> Candles:
    """The bars that lie wholly in ``[start, end)``."""
    first = int(np.searchsorted(candles.opened, start))
    last = int(np.searchsorted(candles.opened, end - interval, side="right"))
    span = slice(first, max(first, last))
    return Candles(candles.opened[span], *(getattr(candles, name)[span] for name in _FIELDS))


def gaps(candles: Candles, interval: Nanos) -> list[tuple[Nanos, Nanos]]:
    """Where bars are missing between the first and the last: ``[from, to)`` in nanoseconds, in order of time."""
    jumps = np.flatnonzero(np.diff(candles.opened) > interval)
    return [(int(candles.opened[i]) + interval, int(candles.opened[i + 1])) for i in jumps]


def check_candles(times: Times, columns: dict[str, Values], path: Path) -> Candles:
    """The columns of a file as candles, once no row contradicts itself.

    Raises:
        DataError: a price is not above zero, high is below low, open or close outside of them, or volume below zero.
    """
    for name in ("open", "high", "low", "close"):
        prices = columns[name]
        refuse_values(prices <= 0, name, prices, times, path, "and a price is above zero")
    candles = Candles(times, *(columns[name] for name in _FIELDS))
    _check_shape(candles, path)
    return candles


def _check_shape(bars: Candles, path: Path) -> None:
    high, low, noise = bars.high, bars.low, _FLOAT_NOISE_MAX * bars.high
    refuse(high < low, bars.opened, path, lambda row: f"high {high[row]:.10g} is below low {low[row]:.10g}")
    for name, prices in (("open", bars.open), ("close", bars.close)):
        refuse_values(prices > high + noise, name, prices, bars.opened, path, "above the bar's high")
        refuse_values(prices < low - noise, name, prices, bars.opened, path, "below the bar's low")
    refuse_values(bars.volume < 0, "volume", bars.volume, bars.opened, path, "and none is below zero")


def _join(known: Candles, part: Candles, path: Path) -> Candles:
    _, left, right = np.intersect1d(known.opened, part.opened, assume_unique=True, return_indices=True)
    for name in _FIELDS:
        differs = getattr(known, name)[left] != getattr(part, name)[right]
        if differs.any():
            raise _conflict(path, part.opened, int(right[np.argmax(differs)]), name)
    is_new = np.ones(len(part), dtype=np.bool_)
    is_new[right] = False
    order = np.argsort(np.concatenate((known.opened, part.opened[is_new])), kind="stable")

    def merged(name: str) -> Values:
        values: Values = np.concatenate((getattr(known, name), getattr(part, name)[is_new]))[order]
        return values

    opened: Times = np.concatenate((known.opened, part.opened[is_new]))[order]
    return Candles(opened, *(merged(name) for name in _FIELDS))


def _conflict(path: Path, times: Times, row: int, name: str) -> DataError:
    return DataError(
        f"{path.name}, row {row + 1} ({moment(times[row])}): {name} contradicts another file of the same series; "
        "find out which file is right and remove the other row."
    )
