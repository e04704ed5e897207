"""A made-up year with the shape of a real one: a premium that wanders, pairs that close in profit, one that cannot."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from kimp.research.backtest.result import BacktestResult, Curves, Trade
from kimp.shared.domain.time import HOUR, MINUTE, Nanos, from_datetime

START = from_datetime(datetime(2024, 1, 1, tzinfo=UTC))
CAPITAL = Decimal(20_000_000)
NOTIONAL = Decimal(9_500_000)


@pytest.fixture
def make_result() -> Callable[..., BacktestResult]:
    return made_up_result


def made_up_result(
    *, bars: int = 525_600, step: Nanos = MINUTE, pairs: int = 12, exit_reason: str = "net_positive", seed: int = 7
) -> BacktestResult:
    """``pairs`` closed in profit, one open at a loss, over ``bars`` bars of ``step``."""
    dice = np.random.default_rng(seed)
    at = START + np.arange(bars, dtype=np.int64) * step
    premium = 0.02 + 0.015 * np.sin(np.linspace(0, 9, bars)) + np.cumsum(dice.normal(0, 0.02 / bars**0.5, bars))
    spans = [(bars * n // (pairs + 1), bars * n // (pairs + 1) + bars // (2 * pairs + 2)) for n in range(pairs)]
    trades = tuple(
        _pair(n, int(at[a]), int(at[b]), float(premium[a]), float(premium[b]), exit_reason)
        for n, (a, b) in enumerate(spans)
    )
    last = bars * pairs // (pairs + 1)
    still = _pair(pairs, int(at[last]), None, float(premium[last]), float(premium[-1]), "")
    return BacktestResult(
        preset="low_entry",
        direction="LONG_PREMIUM",
        start=START,
        end=START + bars * step,
        bars=bars,
        capital=CAPITAL,
        curves=_curves(at, premium, spans, last, trades, still, dice),
        trades=trades,
        open_position=still,
        funding_at=at[:: 8 * HOUR // step],
        funding_received=dice.normal(300, 900, len(at[:: 8 * HOUR // step])),
        refusals={"funding_not_positive": 12_873, "premium_below_threshold": 401_220, "fx_invalid": 311},
        repairs=2,
        assumptions={
            "fees": "Upbit 0.05 %, Binance 0.05 % per fill",
            "slippage_model": "0.05 % per fill",
            "fill_rule": "signal at bar t fills at the open of bar t+1",
            "fx_source": "Upbit KRW-USDT",
            "funding_source": "Binance fundingRate history",
        },
        decision_hash="9f2c4e6a1b",
        elapsed_tape_s=0.41,
        elapsed_engine_s=1.37,
        meta={"config_hash": "c0ffee", "data_hash": "dada", "seed": seed, "command": "kimp backtest --preset low_entry",
              "entry_threshold": 0.03},
    )  # fmt: skip


def _pair(n: int, opened: Nanos, closed: Nanos | None, entered: float, left: float, reason: str) -> Trade:
    premium = NOTIONAL * (Decimal("0.006") if closed else Decimal("-0.031"))
    fx, funding = Decimal(n * 700 - 3_000), Decimal(4_300 + 211 * n)
    fees, slippage = NOTIONAL * Decimal("-0.002"), NOTIONAL * Decimal("-0.0005")
    return Trade(
        signal_id=f"signal-{n}",
        direction="LONG_PREMIUM",
        opened_at=opened,
        closed_at=closed,
        quantity=Decimal("0.069"),
        entry_premium=Decimal(str(round(entered, 6))),
        exit_premium=Decimal(str(round(left, 6))),
        notional=NOTIONAL,
        premium=premium,
        fx=fx,
        funding=funding,
        fees=fees,
        slippage=slippage,
        net=premium + fx + funding + fees + slippage,
        exit_reason=reason,
    )


def _curves(
    at: NDArray[np.int64],
    premium: NDArray[np.float64],
    spans: list[tuple[int, int]],
    last: int,
    trades: tuple[Trade, ...],
    still: Trade,
    dice: np.random.Generator,
) -> Curves:
    """Equity bridges from one realised net to the next and wobbles while a position is open."""
    equity = np.full(len(at), float(CAPITAL))
    is_open = np.zeros(len(at), np.bool_)
    for (first, end), trade in zip([*spans, (last, len(at) - 1)], [*trades, still], strict=True):
        length = end - first + 1
        walk = np.cumsum(dice.normal(0, 1, length))
        bridge = (walk - walk[0]) - (walk[-1] - walk[0]) * np.linspace(0, 1, length)
        equity[first : end + 1] += bridge * 60_000 / max(1.0, float(np.abs(bridge).max()))
        equity[first : end + 1] += float(trade.net) * np.linspace(0, 1, length)
        equity[end + 1 :] += float(trade.net)
        is_open[first : end + 1] = True
    shown = premium.copy()
    shown[len(at) // 3 : len(at) // 3 + len(at) // 200] = np.nan  # no FX for a while
    return Curves(at=at, equity=equity, premium=shown, is_open=is_open)
