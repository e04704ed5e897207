"""Exchange rates and funding: values that are known from a moment on, and not a second earlier.

Each source has a publication rule, because a daily figure stamped with its date is a look into the future for most of
that day:

- ``ecb``: the fixing of a date is published about 16:00 Frankfurt, which is 15:00 UTC in winter and 14:00 in summer:
  usable from 15:00 UTC. The longest pause between two fixings is 5 days (Maundy Thursday to Easter Tuesday; 11 times
  in 2017-2025), which is how long one stays valid.
- ``investing``: the daily close is known when the date is over: usable from 00:00 UTC of the next date. Quoted on
  every weekday, so the longest pause, and the validity, is 3 days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kimp.shared.domain.history import Observations, Times, Values
from kimp.shared.domain.time import DAY, HOUR, Nanos
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.archive.bars import read_candles
from kimp.storage.archive.layout import INTERVALS, named_series
from kimp.storage.archive.tables import moment, read_columns, refuse, refuse_values


@dataclass(frozen=True, slots=True)
class Fixing:
    """When a day's USD/KRW may be used: ``known_after`` its date's midnight, for ``valid_for`` at the longest."""

    column: str
    known_after: Nanos
    valid_for: Nanos
    described: str


FIXINGS: dict[str, Fixing] = {
    "ecb": Fixing("usdkrw", 15 * HOUR, 5 * DAY, "ECB fixing, used from 15:00 UTC of its date"),
    "investing": Fixing("close", DAY, 3 * DAY, "daily close, used from 00:00 UTC of the next date"),
}


def read_fixing(files: dict[str, list[Path]], name: str, start: Nanos, end: Nanos) -> tuple[Observations, Nanos, str]:
    """KRW per USD over ``[start, end)``, from the fixing in force at ``start`` on; its longest validity; its source.

    Raises:
        ConfigurationError: no such source, or no file of it.
        DataError: a bad row, or a moment of the range without a fixing in force.
    """
    if name not in FIXINGS:
        raise ConfigurationError(f"There is no exchange-rate source {name!r}; choose {' or '.join(FIXINGS)}.")
    rule, paths = FIXINGS[name], files.get(f"usdkrw_{name}_1d", [])
    if not paths:
        raise ConfigurationError(
            f"The data directory holds no usdkrw_{name}_1d file; without an exchange rate there is no premium: add one."
        )
    dates, values = _joined(paths, rule.column)
    fixing = _in_force(Observations(dates + rule.known_after, values), start, end)
    _check_without_hole(fixing, rule.valid_for, f"usdkrw_{name}_1d", start, end)
    return fixing, rule.valid_for, f"{_names(paths)} ({rule.described})"


def read_funding(files: dict[str, list[Path]], base: str, start: Nanos, end: Nanos) -> tuple[Observations, str]:
    """Funding rates (fractions) over ``[start, end)`` and the last one before; and their source.

    Rates were not recorded from the first day of the perpetual on, so a range without them is an answer, not an
    error: the source then says from when on there are any.
    """
    prefix = f"binance_um_{base}USDT_funding_"
    paths = [path for stem, found in files.items() if stem.startswith(prefix) for path in found]
    if not paths:
        return Observations(np.empty(0, np.int64), np.empty(0)), "none recorded"
    times, values = _joined(paths, "funding_rate")
    rates = _in_force(Observations(times, values), start, end)
    note = "" if times[0] <= start else f" (none before {moment(times[0])})"
    note += "" if times[-1] >= end - DAY else f" (none after {moment(times[-1])})"
    return rates, _names(paths) + note


def read_tether(files: dict[str, list[Path]], start: Nanos, end: Nanos) -> tuple[Observations, str] | None:
    """KRW per USDT on Upbit, each close from the end of its candle on; ``None`` where it was not recorded.

    The finest series that reaches into the range is taken.
    """
    for interval, step in INTERVALS.items():
        paths = files.get(f"upbit_KRW-USDT_{interval}", [])
        if not paths:
            continue
        candles = read_candles(paths)
        closes = _in_force(Observations(candles.opened + step, candles.close), start, end)
        if len(closes) and closes.at[-1] > start - DAY:
            return closes, _names(paths)
    return None


def _joined(paths: Sequence[Path], column: str) -> tuple[Times, Values]:
    """All files of a series as one; equal rows count once."""
    known: dict[int, float] = {}
    for path in paths:
        times, columns = read_columns(path, named_series(path))
        values = columns[column]
        if column != "funding_rate":
            refuse_values(values <= 0, column, values, times, path, "and an exchange rate is above zero")
        conflict = np.array([known.get(int(at), value) != value for at, value in zip(times, values, strict=True)])
        refuse(conflict, times, path, lambda _: f"{column} contradicts another file of the same series")
        known.update(zip(times.tolist(), values.tolist(), strict=True))
    ordered = sorted(known)
    return np.array(ordered, dtype=np.int64), np.array([known[at] for at in ordered])


def _in_force(observed: Observations, start: Nanos, end: Nanos) -> Observations:
    first = max(int(np.searchsorted(observed.at, start, side="right")) - 1, 0)
    span = slice(first, int(np.searchsorted(observed.at, end)))
    return Observations(observed.at[span], observed.value[span])


def _check_without_hole(fixing: Observations, valid_for: Nanos, stem: str, start: Nanos, end: Nanos) -> None:
    ends = np.append(start, fixing.at + valid_for)
    begins = np.append(fixing.at, end)
    holes = np.flatnonzero(np.minimum(begins, end) > np.maximum(ends, start))
    if len(holes):
        since, until = max(int(ends[holes[0]]), start), min(int(begins[holes[0]]), end)
        raise DataError(
            f"{stem} has no exchange rate in force from {moment(since)} to {moment(until)}; "
            "choose a range it covers, another source (fx), or add the missing days."
        )


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)
