from dataclasses import replace
from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.research.attribution import attribution_of
from kimp.research.backtest.result import BacktestResult, Curves, Trade

amounts = st.decimals(min_value=-(10**12), max_value=10**12, places=12, allow_nan=False)


def a_pair(premium: Decimal, fx: Decimal, funding: Decimal, fees: Decimal, slippage: Decimal) -> Trade:
    with localcontext(Context(prec=100)):
        net = premium + fx + funding + fees + slippage
    some, none = Decimal(1), None
    return Trade("s", "LONG_PREMIUM", 0, none, some, some, none, some, premium, fx, funding, fees, slippage, net, "")


def a_result(trades: tuple[Trade, ...], open_position: Trade | None = None) -> BacktestResult:
    nothing = Curves(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.bool_))
    empty_at, empty = np.empty(0, np.int64), np.empty(0)
    return BacktestResult(
        "roadmap", "LONG_PREMIUM", 0, 1, 0, Decimal(1_000_000), nothing, trades, open_position,
        empty_at, empty, {}, 0, {}, "0", 0.0, 0.0, {},
    )  # fmt: skip


def test_the_open_position_counts_like_a_closed_pair() -> None:
    closed = a_pair(Decimal(900), Decimal(-100), Decimal(50), Decimal(-40), Decimal(-10))
    still = a_pair(Decimal(-3000), Decimal(200), Decimal(70), Decimal(-20), Decimal(-5))
    found = attribution_of(a_result((closed,), still))
    assert found.as_dict() == {
        "premium": Decimal(-2100),
        "fx": Decimal(100),
        "funding": Decimal(120),
        "fees": Decimal(-60),
        "slippage": Decimal(-15),
        "net": Decimal(-1955),
    }
    assert found.of_capital(Decimal(1_000_000))["net"] == -0.001955


def test_a_run_without_trades_earned_nothing() -> None:
    assert set(attribution_of(a_result(())).as_dict().values()) == {Decimal(0)}


@given(st.lists(st.builds(a_pair, amounts, amounts, amounts, amounts, amounts), max_size=20))
def test_parts_add_up_to_the_net_without_a_remainder(pairs: list[Trade]) -> None:
    found = attribution_of(a_result(tuple(pairs)))
    with localcontext(Context(prec=100)):
        assert found.net == found.premium + found.fx + found.funding + found.fees + found.slippage
        assert found.net == sum((pair.net for pair in pairs), Decimal(0))


def test_books_that_do_not_add_up_are_refused() -> None:
    wrong = replace(a_pair(*[Decimal(1)] * 5), net=Decimal(6))
    with pytest.raises(ValueError, match="parts sum to 5 KRW but its net says 6"):
        attribution_of(a_result((wrong,)))


def test_rounding_of_a_quotient_is_not_an_error() -> None:
    third = a_pair(Decimal(10_000) / 3, Decimal(1) / 7, Decimal(0), Decimal(0), Decimal(0))
    assert attribution_of(a_result((replace(third, net=+third.net),))).net == third.net
