"""What the private stream tells of an account: every step of its orders, and its balances.

Upbit, "내 주문 및 체결 (MyOrder)": in state ``trade`` the fields ``price`` and ``volume`` are the fill's, everything else
is the order's after it; ``trade_fee`` and ``is_maker`` are null in every other state. "내 자산 (MyAsset)": the assets
that changed, with what they are now.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kimp.portfolio.exchange.happenings import OrderMoved
from kimp.portfolio.exchange.tickets import OrderState, VirtualOrder
from kimp.portfolio.exchange.upbit_wire.figures import millis, order_uuid, trade_uuid
from kimp.portfolio.exchange.upbit_wire.orders import is_maker, shown_price, standing, state_of, wait_word
from kimp.shared.domain.instruments import Instrument, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.time import Nanos

ASSET_ID = "5e1f0000-0000-4000-8000-000000000001"
"""Upbit's id of the account's assets: one account, one id."""

SIDE_WORDS = {Side.BUY: "BID", Side.SELL: "ASK"}


def order_messages(moved: OrderMoved, instrument: Instrument) -> list[dict[str, Any]]:
    """A step of an order as one or two messages: a trade that fills the order is followed by ``done``."""
    order, fill = moved.order, moved.fill
    if fill is None:
        state = state_of(order) if order.is_done else "wait"
        return [_message(order, instrument, order.fills, state, moved.at)]
    upto = _upto(order, fill)
    messages = [_message(order, instrument, upto, "trade", moved.at, fill)]
    if order.state is OrderState.FILLED and len(upto) == len(order.fills):
        messages.append(_message(order, instrument, upto, state_of(order), moved.at))
    return messages


def _upto(order: VirtualOrder, fill: Fill) -> list[Fill]:
    """The order's fills up to and with this one."""
    known = [known.trade_id for known in order.fills]
    return order.fills[: known.index(fill.trade_id) + 1] if fill.trade_id in known else [*order.fills, fill]


def _message(
    order: VirtualOrder, instrument: Instrument, fills: list[Fill], state: str, at: Nanos, fill: Fill | None = None
) -> dict[str, Any]:
    ticket, now = order.ticket, standing(order, instrument, fills)
    last = fill or (fills[-1] if fills else None)
    return {
        "type": "myOrder",
        "code": instrument.symbol,
        "uuid": order_uuid(order.number),
        "ask_bid": SIDE_WORDS[ticket.side],
        "order_type": ticket.kind.value,
        "state": state,
        "trade_uuid": None if fill is None else trade_uuid(fill.trade_id),
        "price": shown_price(ticket) if fill is None else fill.price,
        "avg_price": now.average,
        "volume": ticket.quantity if fill is None else fill.quantity,
        "remaining_volume": now.remaining,
        "executed_volume": now.executed,
        "trades_count": len(fills),
        "reserved_fee": now.reserved_fee,
        "remaining_fee": now.remaining_fee,
        "paid_fee": now.paid_fee,
        "locked": now.locked,
        "executed_funds": now.funds,
        "time_in_force": wait_word(ticket),
        "trade_fee": None if fill is None else fill.fee.value,
        "is_maker": None if fill is None else is_maker(order, fill),
        "identifier": ticket.client_id,
        "smp_type": None,
        "prevented_volume": ZERO,
        "prevented_locked": ZERO,
        "trade_timestamp": None if last is None else millis(last.at),
        "order_timestamp": millis(order.created_at),
        "timestamp": millis(at),
        "stream_type": "REALTIME",
    }


def asset_message(assets: list[tuple[str, Decimal, Decimal]], at: Nanos) -> dict[str, Any]:
    """What some assets are now: name, free and locked."""
    return {
        "type": "myAsset",
        "asset_uuid": ASSET_ID,
        "assets": [{"currency": name, "balance": free, "locked": locked} for name, free, locked in assets],
        "asset_timestamp": millis(at),
        "timestamp": millis(at),
        "stream_type": "REALTIME",
    }
