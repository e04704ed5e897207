"""Fees are shared out to the last digit, and nothing is guessed."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.exchanges.upbit_forms import Trade, UpbitOrder, moment, shared_fee, side
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import OrderStatus

DOCUMENTED = b"""{"market":"KRW-USDT","uuid":"3b67e543-8ad3-48d0-8451-0dad315cae73","side":"ask","ord_type":"market",
"state":"done","created_at":"2025-08-09T16:44:00+09:00","volume":"5.377594","remaining_volume":"0",
"executed_volume":"5.377594","reserved_fee":"0","remaining_fee":"0","paid_fee":"3.697095875","locked":"0",
"prevented_volume":"0","prevented_locked":"0","trades_count":1,"trades":[{"market":"KRW-USDT",
"uuid":"795dff29-bba6-49b2-baab-63473ab7931c","price":"1375","volume":"5.377594","funds":"7394.19175","trend":"down",
"created_at":"2025-08-09T16:44:00.597751+09:00","side":"ask"}]}"""


def trade(name: str, price: str, volume: str, at: str = "2026-08-09T16:44:00+09:00") -> Trade:
    return Trade(name, Decimal(price), Decimal(volume), at)


def test_a_documented_order_is_read_to_the_digit() -> None:
    order = msgspec.json.decode(DOCUMENTED, type=UpbitOrder)
    report = order.report()
    assert report is not None
    assert (report.status, report.executed) == (OrderStatus.DONE, Decimal("5.377594"))
    (fill,) = report.fills
    assert (fill.side, fill.price, fill.quantity) == (Side.SELL, Decimal(1375), Decimal("5.377594"))
    assert fill.fee == Amount(Decimal("3.697095875"), "KRW")
    assert fill.client_id == order.uuid  # no identifier: an order of another hand
    assert fill.instrument_id == "upbit:KRW-USDT"
    assert fill.at == 1_754_725_440_597_751_000
    assert order.is_brief


def test_fills_come_oldest_first() -> None:
    late, early = trade("late", "2", "1", "2026-08-09T16:44:02+09:00"), trade("early", "1", "1")
    order = UpbitOrder("u", "KRW-BTC", "bid", "cancel", "2026-08-09T16:44:00+09:00", Decimal(2), trades=(late, early))
    assert [fill.trade_id for fill in order.fills()] == ["early", "late"]


def test_shares_of_a_fee_are_what_each_trade_was_charged() -> None:
    trades = [
        trade("a", "150123000", "0.01234567"),
        trade("b", "150124000", "0.00000001"),
        trade("c", "150125000", "0.05"),
    ]
    rate = Decimal("0.0005")
    paid = sum((deal.value * rate for deal in trades), ZERO)
    assert shared_fee(trades, paid) == [deal.value * rate for deal in trades]


def test_the_share_of_a_trade_does_not_depend_on_how_many_came_before_it() -> None:
    trades = [trade("a", "150123000", "0.01234567"), trade("b", "150124000", "0.05")]
    rate = Decimal("0.0005")
    early = shared_fee(trades[:1], trades[0].value * rate)
    assert shared_fee(trades, sum((deal.value * rate for deal in trades), ZERO))[0] == early[0]


money = st.decimals(min_value=Decimal("0.00000001"), max_value=Decimal(10**9), places=8)


@given(deals=st.lists(st.tuples(money, money), min_size=1, max_size=30), paid=money)
def test_the_shares_of_any_fee_make_up_exactly_the_fee(deals: list[tuple[Decimal, Decimal]], paid: Decimal) -> None:
    trades = [trade(str(number), str(price), str(volume)) for number, (price, volume) in enumerate(deals)]
    assert sum(shared_fee(trades, paid), ZERO) == paid


def test_a_venue_that_rounds_each_fee_is_believed_fee_by_fee() -> None:
    trades = [trade("a", "139995000", "1.93841255"), trade("b", "139994000", "1.65429504")]
    rounded = [Decimal("135684.03246862"), Decimal("115795.68991488")]
    assert shared_fee(trades, sum(rounded, ZERO)) == rounded


def test_while_trades_are_missing_each_is_charged_by_the_rate() -> None:
    order = UpbitOrder(
        "u", "KRW-BTC", "bid", "cancel", "2026-08-09T16:44:00+09:00", Decimal(2), Decimal(1_000),
        trades=(trade("a", "1000", "1"),),
    )  # fmt: skip
    assert [fill.fee.value for fill in order.fills(Decimal("0.0005"))] == [Decimal("0.5000")]
    report = order.report()
    assert report is not None
    assert report.executed == Decimal(2)


def test_no_trades_no_shares() -> None:
    assert shared_fee([], Decimal(0)) == []


def test_a_state_nobody_knows_is_no_report() -> None:
    assert UpbitOrder("u", "KRW-BTC", "bid", "limbo", "2026-08-09T16:44:00+09:00", ZERO).report() is None


def test_a_side_is_never_guessed() -> None:
    assert (side("BID"), side("ask")) == (Side.BUY, Side.SELL)
    with pytest.raises(ValueError, match="no side"):
        side("both")


def test_a_moment_needs_its_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        moment("2026-08-09T16:44:00")
