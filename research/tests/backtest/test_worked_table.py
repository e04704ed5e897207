"""The worked table of the strategy's page, each row on a market made for it: what is earned, and whether one may leave.

0.07 BTC at 100,000 USDT and 1,400 KRW, 0.05 % on each of four fills, net as percent of the Korean leg at entry.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from kimp.research.backtest.engine import BacktestEngine
from kimp.shared.domain.signals import Direction

QUANTITY = Decimal("0.07")
ONE_TICK = Decimal("0.00003")
"""The smallest spread of both venues, on four fills, as a share of the leg."""

ROWS = [
    # entry, exit (premium), perp price, KRW per USDT at exit, LONG net, SHORT net
    pytest.param(0.035, 0.010, 100_000, 1_400, "-0.02611", "0.02220", id="premium falls"),
    pytest.param(0.035, 0.045, 100_000, 1_400, "0.00769", "-0.01163", id="premium rises"),
    pytest.param(0.035, 0.010, 120_000, 1_400, "-0.02437", "0.02007", id="premium falls, coin rises"),
    pytest.param(0.035, 0.035, 120_000, 1_400, "0.00460", "-0.00893", id="coin rises alone"),
    pytest.param(0.005, 0.012, 100_000, 1_400, "0.00497", "-0.00896", id="low premium rises"),
    pytest.param(0.005, 0.012, 100_000, 1_393, "-0.00006", "-0.00392", id="the exchange rate ate it"),
]


def played(
    make: Callable[..., Any], backtest: Callable[..., BacktestEngine], strategy: Any, row: tuple[float, ...]
) -> tuple[BacktestEngine, Any]:
    entry, leave, perp, rate = row
    before, after = 100_000 * 1_400 * (1 + entry), perp * rate * (1 + leave)
    data = make(
        {0: (before, before), 1: (before, before), 2: (before, after), 3: (after, after)},
        {0: (100_000, 100_000), 1: (100_000, 100_000), 2: (100_000, perp), 3: (perp, perp)},
        usdkrw=((-1, 1_400.0), (3, float(rate))),
    )
    engine = backtest(data, strategy, capital="21500000" if entry > 0.02 else "20900000")
    return engine, engine.run()


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize(("entry", "leave", "perp", "rate", "long_net", "short_net"), ROWS)
def test_each_row_earns_what_the_table_says_and_leaves_only_in_profit(
    make_market: Callable[..., Any],
    backtest: Callable[..., BacktestEngine],
    scripted: Any,
    direction: Direction,
    entry: float,
    leave: float,
    perp: float,
    rate: float,
    long_net: str,
    short_net: str,
) -> None:
    engine, result = played(make_market, backtest, scripted(direction), (entry, leave, perp, rate))
    expected = Decimal(long_net if direction is Direction.LONG_PREMIUM else short_net)
    if expected > 0:
        (trade,) = result.trades
        assert result.open_position is None
        net, quantity, notional = trade.net, trade.quantity, trade.notional
        assert float(trade.exit_premium) == pytest.approx(leave, abs=5e-5)
    else:
        assert result.trades == ()
        held = result.open_position
        assert held is not None
        assert result.refusals["net_not_positive"] >= 1
        verdict = engine.trading.desks[0].verdict(engine.data.end)
        assert verdict is not None
        assert verdict.net is not None
        assert not verdict.is_allowed
        net, quantity, notional = verdict.net, held.quantity, held.notional
    assert quantity == QUANTITY
    assert abs(net / notional - expected) < ONE_TICK + Decimal("0.000005")
