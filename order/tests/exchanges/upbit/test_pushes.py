"""Messages of the private stream, as Upbit's pages show them."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.order.exchanges.upbit_pushes import Unreadable, events_of
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import OrderStatus
from kimp.shared.messages.events import OrderFilled, OrderReported

TRADE = b"""{"type":"myOrder","code":"KRW-BTC","uuid":"ac2dc2a3-fce9-40a2-a4f6-5987c25c438f","ask_bid":"BID",
"order_type":"limit","state":"trade","trade_uuid":"68315169-fba4-4175-ade3-aff14a616657","price":150123000.0,
"avg_price":150123000.0,"volume":1.5E-7,"remaining_volume":0.00000001,"executed_volume":0.00000015,"trades_count":1,
"reserved_fee":44.23943970238218,"remaining_fee":21.77177967409916,"paid_fee":22.467660028283017,
"locked":43565.33112787242,"executed_funds":44935.32005656603,"time_in_force":null,"trade_fee":22.467660028283017,
"is_maker":true,"identifier":"kimp-1","smp_type":"cancel_maker","prevented_volume":1.174291929,
"prevented_locked":0.001706246173,"trade_timestamp":1710751590421,"order_timestamp":1710751590000,
"timestamp":1710751597500,"stream_type":"REALTIME"}"""
"""The documented example with a Korean market, numbers in the spellings that occur."""

ASSET = b"""{"type":"myAsset","asset_uuid":"e635f223-1609-4969-8fb6-4376937baad6","assets":[{"currency":"KRW",
"balance":1386929.37231066771348207123,"locked":10329.670127489597585685}],"asset_timestamp":1710146517259,
"timestamp":1710146517267,"stream_type":"REALTIME"}"""


def changed(**more: Any) -> bytes:
    return json.dumps({**json.loads(TRADE), **more}).encode()


def test_a_trade_becomes_a_fill_to_the_digit() -> None:
    (event,) = events_of(TRADE, 7)
    assert isinstance(event, OrderFilled)
    fill = event.fill
    assert (event.at, fill.trade_id, fill.client_id) == (7, "68315169-fba4-4175-ade3-aff14a616657", "kimp-1")
    assert (fill.instrument_id, fill.side) == ("upbit:KRW-BTC", Side.BUY)
    assert (fill.price, fill.quantity) == (Decimal(150_123_000), Decimal("0.00000015"))
    assert fill.fee == Amount(Decimal("22.467660028283017"), "KRW")
    assert fill.at == 1_710_751_590_421_000_000


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("wait", OrderStatus.WORKING),
        ("watch", OrderStatus.WORKING),
        ("prevented", OrderStatus.WORKING),
        ("done", OrderStatus.DONE),
        ("cancel", OrderStatus.DONE),
    ],
)
def test_other_states_report_what_was_executed(state: str, status: OrderStatus) -> None:
    payload = changed(state=state, trade_uuid=None, trade_fee=None, trade_timestamp=None, executed_volume=0.05)
    (event,) = events_of(payload, 7)
    assert isinstance(event, OrderReported)
    assert (event.report.client_id, event.report.status) == ("kimp-1", status)
    assert event.report.executed == Decimal("0.05")


def test_an_order_of_another_hand_has_the_venues_id() -> None:
    (event,) = events_of(changed(identifier=None), 7)
    assert isinstance(event, OrderFilled)
    assert event.fill.client_id == "ac2dc2a3-fce9-40a2-a4f6-5987c25c438f"


def test_a_sale_is_a_sale() -> None:
    (event,) = events_of(changed(ask_bid="ASK"), 7)
    assert isinstance(event, OrderFilled)
    assert event.fill.side is Side.SELL


def test_a_trade_without_its_fee_is_charged_by_the_rate() -> None:
    (event,) = events_of(changed(trade_fee=None, price=1000, volume=2), 7, Decimal("0.001"))
    assert isinstance(event, OrderFilled)
    assert event.fill.fee.value == Decimal(2)


@pytest.mark.parametrize("payload", [ASSET, b'{"status":"UP"}', b'{"type":"announcement","title":"..."}'])
def test_what_is_no_news_of_orders_is_no_event(payload: bytes) -> None:
    assert events_of(payload, 7) == ()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b'{"error":{"name":"INVALID_AUTH","message":"..."}}',
        b'{"error":{"name":400,"message":"..."}}',
        b'{"type":"myOrder"}',
        changed(ask_bid="BOTH"),
        changed(trade_uuid=None),
        changed(volume=None),
        changed(volume=0),
        changed(price=-1),
        changed(trade_timestamp=None),
        changed(executed_volume="many"),
    ],
)
def test_what_cannot_be_read_is_never_skipped(payload: bytes) -> None:
    with pytest.raises(Unreadable):
        events_of(payload, 7)


@given(payload=st.binary(max_size=200))
def test_no_message_breaks_the_decoder(payload: bytes) -> None:
    with suppress(Unreadable):
        assert events_of(payload, 7) == ()


@given(cut=st.integers(0, len(TRADE) - 1))
def test_a_cut_message_is_never_an_event(cut: int) -> None:
    with pytest.raises(Unreadable):
        events_of(TRADE[:cut], 7)
