"""Columns of past market data, as files and databases hold them and backtests read them.

Floats are right here: this is what venues recorded, on its way to becoming ``Decimal`` quotes. Times are int64
nanoseconds.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.time import Nanos

Times = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candles:
    """One instrument's bars: ``opened`` strictly increasing, prices in the quote asset, volume in the base coin.

    A missing bar is simply not there; nothing is forward-filled.
    """

    opened: Times
    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values

    def __len__(self) -> int:
        return len(self.opened)


@dataclass(frozen=True, slots=True)
class Observations:
    """A value known from ``at`` on: an FX fixing from its publication, a funding rate at its settlement."""

    at: Times
    value: Values

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, slots=True)
class MarketData:
    """Everything a pair's backtest reads, over ``[start, end)``.

    ``usdkrw`` values are KRW per USD and usable from their ``at`` until the next one, at the longest
    ``usdkrw_valid_for`` nanoseconds (a business-day fixing must last over a long weekend; a live quote two minutes).
    ``usdtkrw`` is Upbit's KRW-USDT price, ``None`` where it was not recorded. ``funding`` rates are fractions per
    settlement: positive means longs pay shorts. ``sources`` says, per series, where it came from, for the assumptions
    box.
    """

    base: str
    interval: Nanos
    start: Nanos
    end: Nanos
    korea: Candles
    abroad: Candles
    usdkrw: Observations
    usdkrw_valid_for: Nanos
    usdtkrw: Observations | None
    funding: Observations
    sources: dict[str, str] = field(default_factory=dict)
