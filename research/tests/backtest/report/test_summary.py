import json
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from kimp.research.backtest.report import as_json
from kimp.research.backtest.report.findings import entries_above_median, exit_reasons, findings_of
from kimp.research.backtest.report.summary import jsonable
from kimp.research.backtest.result import BacktestResult
from kimp.shared.domain.time import DAY, HOUR

Make = Callable[..., BacktestResult]


@pytest.fixture
def run(make_result: Make) -> BacktestResult:
    return make_result(bars=8_760, step=HOUR)


def test_the_promised_keys_are_there(run: BacktestResult) -> None:
    found = as_json(run)
    assert {
        "preset", "direction", "from", "to", "bars", "metrics", "attribution", "open_position",
        "decision_hash", "elapsed_s",
    } <= found.keys()  # fmt: skip
    assert {
        "total_return", "cagr", "sharpe", "sortino", "calmar", "max_drawdown", "profit_factor", "trades", "win_rate",
        "exposure",
    } <= found["metrics"].keys()  # fmt: skip
    assert list(found["attribution"]) == ["premium", "fx", "funding", "fees", "slippage", "net"]
    assert found["elapsed_s"] == {"tape": 0.41, "engine": 1.37}
    assert (found["from"], found["to"]) == ("2024-01-01T00:00:00Z", "2024-12-31T00:00:00Z")


def test_attribution_adds_up_exactly_in_won_and_matches_the_curve(run: BacktestResult) -> None:
    found = as_json(run)
    *parts, net = (Decimal(amount) for amount in found["attribution_krw"].values())
    assert sum(parts) == net
    assert math.fsum(list(found["attribution"].values())[:-1]) == pytest.approx(found["attribution"]["net"], abs=1e-12)
    assert found["metrics"]["total_return"] == pytest.approx(found["attribution"]["net"], abs=1e-9)
    assert found["unattributed"] == pytest.approx(0, abs=1e-9)


def test_a_run_without_bars_or_trades_is_nulls_not_nan(run: BacktestResult) -> None:
    nothing = replace(
        run,
        bars=0,
        curves=replace(
            run.curves, at=run.curves.at[:0], equity=np.empty(0), premium=np.empty(0), is_open=run.curves.is_open[:0]
        ),
        trades=(),
        open_position=None,
    )
    found = json.loads(json.dumps(as_json(nothing), allow_nan=False))
    assert found["metrics"]["sharpe"] is None
    assert found["metrics"]["trades"] == 0
    assert found["open_position"] is None
    assert found["drawdown"] is None
    assert found["entries_above_median"] == {"judged": 0, "above": 0, "share": None}


def test_a_curve_full_of_holes_is_still_json(run: BacktestResult) -> None:
    equity = run.curves.equity.copy()
    equity[::3] = math.nan
    json.dumps(as_json(replace(run, curves=replace(run.curves, equity=equity))), allow_nan=False)


def test_the_open_position_is_told_with_its_mark(run: BacktestResult) -> None:
    held = as_json(run)["open_position"]
    assert held["signal_id"] == "signal-12"
    assert held["net"] < 0
    assert held["held_s"] > 0
    assert run.open_position is not None
    assert Decimal(held["attribution_krw"]["net"]) == run.open_position.net


def test_long_entries_above_the_rolling_median_are_warned_of(run: BacktestResult) -> None:
    steady = replace(run.curves, premium=np.full(len(run.curves.at), 0.01))
    late = [trade for trade in run.trades if trade.opened_at - run.start >= DAY]
    high = tuple(replace(trade, entry_premium=Decimal("0.02")) for trade in late[:3])
    low = tuple(replace(trade, entry_premium=Decimal("0.01")) for trade in late[3:4])
    mixed = replace(run, curves=steady, trades=(*high, *low), open_position=None)
    judged = entries_above_median(mixed)
    assert (judged.judged, judged.above, judged.share) == (4, 3, 0.75)
    assert as_json(mixed)["warnings"][0]["code"] == "long_entries_above_median"
    assert "75.00%" in findings_of(mixed).warnings[0].text.ko


def test_short_entries_and_entries_without_history_are_not_judged(run: BacktestResult) -> None:
    first = replace(run.trades[0], opened_at=run.start + HOUR)
    short = replace(run.trades[5], direction="SHORT_PREMIUM")
    assert entries_above_median(replace(run, trades=(first, short), open_position=None)).judged == 0


def test_a_median_never_looks_at_the_entry_bar_or_later(run: BacktestResult) -> None:
    entered = run.trades[6]
    later = run.curves.premium.copy()
    later[run.curves.at >= entered.opened_at] = 9.0
    alone = replace(run, trades=(entered,), open_position=None)
    changed = replace(alone, curves=replace(run.curves, premium=later))
    assert entries_above_median(alone) == entries_above_median(changed)


def test_equity_the_books_do_not_explain_is_warned_of(run: BacktestResult) -> None:
    raised = replace(run.curves, equity=run.curves.equity + 50_000)
    found = as_json(replace(run, curves=raised))
    assert "equity_not_attributed" in {warned["code"] for warned in found["warnings"]}
    assert found["unattributed"] == pytest.approx(50_000 / 20_000_000)


def test_exit_reasons_are_grouped_and_ranked(run: BacktestResult) -> None:
    odd = replace(run.trades[0], exit_reason="breakout", net=Decimal(-5))
    ranked = exit_reasons((odd, *run.trades[1:4]))
    assert [(group.reason, group.trades) for group in ranked] == [("net_positive", 3), ("breakout", 1)]
    assert ranked[1].net_share == Decimal(-5) / odd.notional


def test_anything_a_run_noted_becomes_json() -> None:
    noted = {
        "seed": np.int64(3),
        "rate": np.float64("nan"),
        "fee": Decimal("0.0005"),
        "path": Path("tape.parquet"),
        "grid": np.array([1.0, math.inf]),
        "nested": {"ok": True, "names": ("a", None)},
    }
    assert jsonable(noted) == {
        "seed": 3,
        "rate": None,
        "fee": "0.0005",
        "path": "tape.parquet",
        "grid": [1.0, None],
        "nested": {"ok": True, "names": ["a", None]},
    }
