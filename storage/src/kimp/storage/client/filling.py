"""Fills missing bars when asked to, on reading and never in storage, and marks each one it made up.

A gap is a fact: nobody traded, the market stood still, or nobody looked. Some methods need a value on every minute all
the same; they get one, and ``is_filled`` says which rows nobody observed.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.time import Nanos
from kimp.storage.client.frames import Arrays

Fill = Literal["previous"]
"""``previous`` repeats what was known last."""

IS_FILLED = "is_filled"
_PRICES = ("open", "high", "low")


def filled_bars(bars: Arrays, interval: Nanos) -> Arrays:
    """One bar per interval from the first to the last: a filled one is flat at the close before it, without volume."""
    rows, is_filled = _places(bars["opened_at"], interval)
    filled = {name: values[rows] for name, values in bars.items()}
    for name in _PRICES:
        filled[name] = np.where(is_filled, filled["close"], filled[name])
    filled["volume"] = np.where(is_filled, 0.0, filled["volume"])
    return {**filled, "opened_at": _grid(bars["opened_at"], interval), IS_FILLED: is_filled}


def filled_rows(rows: Arrays, time: str, interval: Nanos) -> Arrays:
    """One row per whole interval from the first to the last: the newest of that interval, or of one before it."""
    places, is_filled = _places(rows[time], interval)
    filled = {name: values[places] for name, values in rows.items()}
    return {**filled, time: _grid(rows[time], interval), IS_FILLED: is_filled}


def _grid(times: NDArray[np.int64], interval: Nanos) -> NDArray[np.int64]:
    if not len(times):
        return times
    first, last = (-(-int(at) // interval) * interval for at in (times[0], times[-1]))
    return np.arange(first, last + 1, interval, dtype=np.int64)


def _places(times: NDArray[np.int64], interval: Nanos) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For each moment of the grid the row in force, and whether that row is an older one."""
    grid = _grid(times, interval)
    rows = np.searchsorted(times, grid, side="right") - 1
    return rows, grid - times[rows] >= interval
