"""What Upbit's private stream says, as events.

Upbit, "내 주문 및 체결 (MyOrder)": ``state`` is ``wait``, ``watch``, ``trade``, ``done``, ``cancel`` or ``prevented``;
with ``trade`` the price, volume and fee are those of one trade. Frames are binary but hold JSON text.
https://docs.upbit.com/kr/reference/websocket-myorder
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.order.exchanges.upbit_forms import KRW_FEE_RATE, ErrorWords, MyOrder, instrument_id, quote_of, side
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Fill, OrderReport, OrderStatus
from kimp.shared.domain.time import MILLISECOND, Nanos
from kimp.shared.messages.events import Event, OrderFilled, OrderReported

TRADE = "trade"
ENDED = frozenset({"done", "cancel"})


class Unreadable(Exception):
    """A message about our money that cannot be understood: the whole truth has to be asked for."""


class _Kind(msgspec.Struct):
    """Which message this is: data, an error, or the answer to a PING text, ``{"status":"UP"}``."""

    type: str | None = None
    error: ErrorWords | None = None


_KIND = msgspec.json.Decoder(_Kind)
_MY_ORDER = msgspec.json.Decoder(MyOrder)


def events_of(payload: bytes, at: Nanos, fee_rate: Decimal = KRW_FEE_RATE) -> tuple[Event, ...]:
    """The events of one message, received at ``at``; none for what is no news of orders.

    A trade becomes ``OrderFilled``, every other state ``OrderReported``. The message that an order is over may come
    before that of its last trade; its executed volume says what is still missing.

    Raises:
        Unreadable: the message is an error, or of ours and not as documented.
    """
    try:
        kind = _KIND.decode(payload)
        if kind.error is not None:
            raise Unreadable(f"{kind.error.name} {kind.error.message}".rstrip())
        if kind.type != "myOrder":
            return ()
        order = _MY_ORDER.decode(payload)
        if order.state == TRADE:
            return (OrderFilled(at, _fill(order, fee_rate)),)
        return (OrderReported(at, _report(order)),)
    except (msgspec.MsgspecError, ValueError, ArithmeticError) as error:
        raise Unreadable(str(error)) from error


def _fill(order: MyOrder, fee_rate: Decimal) -> Fill:
    if order.trade_uuid is None or order.price is None or order.volume is None or order.trade_timestamp is None:
        raise ValueError(f"a trade of order {order.uuid} without its id, price, volume or time")
    if not (order.price > 0 and order.volume > 0):
        raise ValueError(f"a trade of {order.volume} at {order.price}")
    fee = order.price * order.volume * fee_rate if order.trade_fee is None else order.trade_fee
    return Fill(
        trade_id=order.trade_uuid,
        client_id=order.client_id,
        instrument_id=instrument_id(order.code),
        side=side(order.ask_bid),
        quantity=order.volume,
        price=order.price,
        fee=Amount(fee, quote_of(order.code)),
        at=order.trade_timestamp * MILLISECOND,
    )


def _report(order: MyOrder) -> OrderReport:
    """``prevented`` (a trade with ourselves was stopped) may leave the order in the book, so it proves no end."""
    status = OrderStatus.DONE if order.state in ENDED else OrderStatus.WORKING
    return OrderReport(order.client_id, status, order.executed_volume)
