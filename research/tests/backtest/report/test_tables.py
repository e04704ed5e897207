import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from kimp.research.backtest.report import print_tables
from kimp.research.backtest.result import BacktestResult
from kimp.shared.domain.time import DAY, HOUR

Make = Callable[..., BacktestResult]


def printed(run: BacktestResult, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    print_tables(run, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def run(make_result: Make) -> BacktestResult:
    return make_result(bars=8_760, step=HOUR)


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_or_wider_than_the_terminal(run: BacktestResult, width: int) -> None:
    text = printed(run, width)
    assert "…" not in text
    assert max(cell_len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_years_of_waiting_and_large_accounts_fit_too(run: BacktestResult, width: int) -> None:
    slow = tuple(replace(trade, closed_at=trade.opened_at + 1_204 * DAY + 13 * HOUR) for trade in run.trades)
    curves = replace(run.curves, at=run.start + (run.curves.at - run.start) * 8, equity=run.curves.equity * 1_000)
    text = printed(
        replace(run, trades=slow, curves=curves, capital=run.capital * 1_000, end=run.start + 8_760 * 8 * HOUR), width
    )
    assert "1,204일 13시간" in text
    assert "…" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_wild_months_are_rounded_rather_than_cut(run: BacktestResult, width: int) -> None:
    wild = replace(run.curves, equity=run.curves.equity * (1.3 + 0.3 * np.sin(np.linspace(0, 40, 8_760))))
    text = printed(replace(run, curves=wild), width)
    assert "…" not in text
    assert "2024" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_answers_what_a_trader_asks_first(run: BacktestResult, width: int) -> None:
    text = printed(run, width)
    for words in (
        "2024-01-01 09:00 – 2024-12-31 09:00 KST",
        "샤프 · Sharpe",
        "손익 분해 · Attribution",
        "종료 시점 보유 포지션 · Open position at the end",
        "net_positive",
        "premium_below_threshold",
        "401,220",
        "signal at bar t fills at the open of bar t+1",
        "365 d",
        "구조적으로 100%",
        "12월",
        "betting on a",
    ):
        assert words in text


def test_markup_and_terminal_codes_from_outside_are_shown_not_obeyed(run: BacktestResult) -> None:
    text = printed(replace(run, preset="[red]\x1b[2Jx", refusals={"[bold]a\x07": 1}), 80)
    assert "[red]·[2Jx" in text
    assert "[bold]a·" in text
    assert "\x1b" not in text


def test_many_guards_are_summed_in_the_last_line(run: BacktestResult) -> None:
    text = printed(replace(run, refusals={f"guard_{n:02d}": 100 - n for n in range(20)}), 80)
    assert "guard_11" in text
    assert "guard_12" not in text
    assert "그 외 · others" in text


def test_a_run_that_did_nothing_can_be_printed(run: BacktestResult) -> None:
    nothing = replace(
        run.curves, at=run.curves.at[:0], equity=np.empty(0), premium=np.empty(0), is_open=run.curves.is_open[:0]
    )
    text = printed(replace(run, curves=nothing, trades=(), open_position=None, refusals={}, assumptions={}), 80)
    assert "청산된 거래 없음" in text
    assert "No open position at the end" in text
