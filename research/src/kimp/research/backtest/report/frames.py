"""The run's columns as Parquet tables, for anyone's own analysis."""

from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # pyarrow ships neither types nor stubs

from kimp.research.backtest.report.findings import pairs_of
from kimp.research.backtest.result import BacktestResult

INSTANT = pa.timestamp("ns", tz="UTC")
EXACT = pa.decimal128(38, 18)
"""Twenty digits before the point hold any sum of won, eighteen after it lose nothing a venue can pay out."""

_CELL = Decimal(1).scaleb(-18)
_WIDE = Context(prec=60)
_MONEY = (
    "quantity",
    "entry_premium",
    "exit_premium",
    "notional",
    "premium",
    "fx",
    "funding",
    "fees",
    "slippage",
    "net",
)


def equity_table(result: BacktestResult) -> Any:
    """One row a bar: ``at equity premium is_open``; null where a value did not exist."""
    curves = result.curves
    return pa.table(
        {
            "at": pa.array(curves.at, type=pa.int64()).cast(INSTANT),
            "equity": pa.array(curves.equity, from_pandas=True),  # NaN becomes null
            "premium": pa.array(curves.premium, from_pandas=True),
            "is_open": pa.array(curves.is_open),
        }
    )


def trades_table(result: BacktestResult) -> Any:
    """One row a pair, the open one last with ``closed_at`` null; money rounded to eighteen decimals."""
    pairs = pairs_of(result)
    columns = {
        "signal_id": pa.array([pair.signal_id for pair in pairs], pa.string()),
        "direction": pa.array([pair.direction for pair in pairs], pa.string()),
        "opened_at": pa.array([pair.opened_at for pair in pairs], pa.int64()).cast(INSTANT),
        "closed_at": pa.array([pair.closed_at for pair in pairs], pa.int64()).cast(INSTANT),
        **{name: _money([getattr(pair, name) for pair in pairs]) for name in _MONEY},
        "exit_reason": pa.array([pair.exit_reason for pair in pairs], pa.string()),
    }
    return pa.table(columns)


def _money(values: Sequence[Decimal | None]) -> Any:
    cells = [None if value is None else value.quantize(_CELL, context=_WIDE) for value in values]
    return pa.array(cells, EXACT)
