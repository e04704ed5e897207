"""The run as JSON with stable keys: fractions instead of percent, null where a number is undefined."""

import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from kimp.research.backtest.report.findings import Findings, findings_of
from kimp.research.backtest.result import BacktestResult, Trade
from kimp.research.metrics import Metrics
from kimp.shared.domain.time import SECOND, Nanos, to_datetime


def as_json(result: BacktestResult, findings: Findings | None = None) -> dict[str, Any]:
    """What ``kimp backtest --json`` prints.

    Rates are fractions of the starting capital, lengths are seconds, instants ISO 8601 in UTC. Amounts in KRW are
    strings, because they are exact: ``attribution_krw`` adds up to the last digit. Keys are only ever added.
    """
    found = findings or findings_of(result)
    return {
        "preset": result.preset,
        "direction": result.direction,
        "from": instant(result.start),
        "to": instant(result.end),
        "bars": result.bars,
        "capital_krw": str(result.capital),
        "metrics": _metrics(found.metrics),
        "attribution": found.attribution.of_capital(result.capital),
        "attribution_krw": {name: str(value) for name, value in found.attribution.as_dict().items()},
        "unattributed": found.unattributed,
        "open_position": _open_position(result),
        "decision_hash": result.decision_hash,
        "elapsed_s": {"tape": result.elapsed_tape_s, "engine": result.elapsed_engine_s},
        "drawdown": _drawdown(found.metrics),
        "holding_times": _holding(found.metrics),
        "monthly": [
            {"month": f"{month.year:04d}-{month.month:02d}", "return": month.value} for month in found.metrics.monthly
        ],
        "exit_reasons": {
            group.reason: {
                "trades": group.trades,
                "net": float(group.net / result.capital),
                "held_median_s": seconds(group.held_median),
            }
            for group in found.exit_reasons
        },
        "entries_above_median": {
            "judged": found.entries.judged,
            "above": found.entries.above,
            "share": found.entries.share,
        },
        "refusals": dict(result.refusals),
        "repairs": result.repairs,
        "liquidations": result.liquidations,
        "assumptions": dict(found.assumptions),
        "warnings": [{"code": warned.code, "message": warned.text.en} for warned in found.warnings],
    }


def instant(at: Nanos | None) -> str | None:
    """ISO 8601 in UTC, for programs."""
    return None if at is None else to_datetime(at).isoformat().replace("+00:00", "Z")


def seconds(length: Nanos | None) -> float | None:
    """A length of time for programs."""
    return None if length is None else length / SECOND


def jsonable(value: Any) -> Any:
    """Whatever a run's meta holds as plain JSON: no NaN, no numpy, no Decimal; anything else as its text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [jsonable(inner) for inner in value]
    return str(value)


def _metrics(metrics: Metrics) -> dict[str, Any]:
    return {
        "total_return": metrics.total_return,
        "cagr": metrics.cagr,
        "sharpe": metrics.sharpe,
        "sortino": metrics.sortino,
        "calmar": metrics.calmar,
        "max_drawdown": metrics.max_drawdown,
        "profit_factor": metrics.profit_factor,
        "trades": metrics.trades,
        "win_rate": metrics.win_rate,
        "exposure": metrics.exposure,
        "volatility": metrics.volatility,
        "win_rate_realised": metrics.win_rate_realised,
    }


def _open_position(result: BacktestResult) -> dict[str, Any] | None:
    pair = result.open_position
    if pair is None:
        return None
    return {
        "signal_id": pair.signal_id,
        "direction": pair.direction,
        "opened_at": instant(pair.opened_at),
        "held_s": seconds(result.end - pair.opened_at),
        "quantity": str(pair.quantity),
        "notional_krw": str(pair.notional),
        "entry_premium": float(pair.entry_premium),
        "premium_now": None if pair.exit_premium is None else float(pair.exit_premium),
        "net": float(pair.net / result.capital),
        "attribution_krw": _parts(pair),
    }


def _parts(pair: Trade) -> dict[str, str]:
    return {name: str(getattr(pair, name)) for name in ("premium", "fx", "funding", "fees", "slippage", "net")}


def _drawdown(metrics: Metrics) -> dict[str, Any] | None:
    deepest = metrics.drawdown
    if deepest is None:
        return None
    return {
        "depth": deepest.depth,
        "peak_at": instant(deepest.peak_at),
        "trough_at": instant(deepest.trough_at),
        "recovered_at": instant(deepest.recovered_at),
        "duration_s": seconds(deepest.duration),
        "longest_under_water_s": seconds(deepest.longest_under_water),
        "is_under_water": deepest.is_under_water,
    }


def _holding(metrics: Metrics) -> dict[str, float | None]:
    held = metrics.holding
    return {
        "median_s": seconds(held.median),
        "mean_s": seconds(held.mean),
        "max_s": seconds(held.max),
        "open_s": seconds(held.open_for),
    }
