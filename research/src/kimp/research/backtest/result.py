"""What a backtest found: plain data that tables, files and charts are made from."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kimp.shared.domain.time import Nanos


@dataclass(frozen=True, slots=True)
class Trade:
    """One pair from its first entry fill to its last exit fill; all money in KRW.

    ``net = premium + fx + funding + fees + slippage`` exactly; costs are negative numbers.
    """

    signal_id: str
    direction: str
    opened_at: Nanos
    closed_at: Nanos | None
    quantity: Decimal
    entry_premium: Decimal
    exit_premium: Decimal | None
    notional: Decimal
    premium: Decimal
    fx: Decimal
    funding: Decimal
    fees: Decimal
    slippage: Decimal
    net: Decimal
    exit_reason: str


@dataclass(frozen=True, slots=True)
class Curves:
    """Per-bar columns of one run, all of equal length; NaN where a value did not exist (no FX, no book).

    ``at`` is the bar's open, as candles are labelled everywhere; the values are those of its close.
    """

    at: NDArray[np.int64]
    equity: NDArray[np.float64]
    premium: NDArray[np.float64]
    is_open: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """One run, whole. ``capital`` is the KRW the curve starts from; ``trades`` are closed pairs in order of opening.

    ``funding_received`` is in KRW per settlement of ``funding_at``; what was paid is negative.
    """

    preset: str
    direction: str
    start: Nanos
    end: Nanos
    bars: int
    capital: Decimal
    curves: Curves
    trades: tuple[Trade, ...]
    open_position: Trade | None
    funding_at: NDArray[np.int64]
    funding_received: NDArray[np.float64]
    refusals: dict[str, int]
    repairs: int
    assumptions: dict[str, str]
    decision_hash: str
    elapsed_tape_s: float
    elapsed_engine_s: float
    meta: dict[str, Any]
    liquidations: int = 0
