"""Orders and trades as JSON: "Query Order", "New Order" and "Account Trade List"."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kimp.portfolio.exchange.binance_wire.filters import text
from kimp.portfolio.exchange.binance_wire.order_forms import WIRE_TIMES_IN_FORCE
from kimp.portfolio.exchange.binance_wire.records import Trade, is_liquidation
from kimp.portfolio.exchange.tickets import OrderKind, OrderState, VirtualOrder
from kimp.shared.domain.instruments import Instrument, Side
from kimp.shared.domain.ledger import SETTLEMENT_STEP
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.time import MILLISECOND

ENDED = {
    OrderState.FILLED: "FILLED",
    OrderState.CANCELLED: "CANCELED",
    OrderState.EXPIRED: "EXPIRED",
}


def status(order: VirtualOrder, executed: Decimal | None = None) -> str:
    """``status``, or as it was when ``executed`` coins had filled."""
    filled = order.executed if executed is None else executed
    if order.is_done and filled == order.executed:
        return ENDED[order.state]
    return "PARTIALLY_FILLED" if filled else "NEW"


def kind(order: VirtualOrder) -> str:
    """``type``."""
    if is_liquidation(order):
        return "LIQUIDATION"
    return "MARKET" if order.ticket.kind is OrderKind.MARKET else "LIMIT"


def time_in_force(order: VirtualOrder) -> str:
    """``timeInForce``; a market order is reported as GTC, a liquidation as IOC."""
    if is_liquidation(order):
        return "IOC"
    if order.ticket.kind is OrderKind.MARKET:
        return "GTC"
    return WIRE_TIMES_IN_FORCE[order.ticket.time_in_force.value]


def limit(order: VirtualOrder) -> Decimal:
    """``price``: zero of an order without one."""
    return ZERO if order.ticket.kind is OrderKind.MARKET else order.order.limit


def average(cash: Decimal, executed: Decimal) -> str:
    """``avgPrice``: zero before the first fill."""
    return text((cash / executed).quantize(SETTLEMENT_STEP)) if executed else "0.00"


def order_json(order: VirtualOrder, instrument: Instrument) -> dict[str, Any]:
    """An order as it stands."""
    return {
        "orderId": order.number,
        "symbol": instrument.symbol,
        "status": status(order),
        "clientOrderId": order.client_id,
        "price": text(limit(order)),
        "avgPrice": average(order.cash, order.executed),
        "origQty": text(order.order.quantity),
        "executedQty": text(order.executed),
        "cumQuote": text(order.cash),
        "timeInForce": time_in_force(order),
        "type": kind(order),
        "reduceOnly": order.order.reduce_only,
        "closePosition": False,
        "side": order.order.side.value.upper(),
        "positionSide": "BOTH",
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": kind(order),
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
        "time": order.created_at // MILLISECOND,
        "updateTime": order.updated_at // MILLISECOND,
    }


def answered_json(order: VirtualOrder, instrument: Instrument, *, is_result: bool) -> dict[str, Any]:
    """The answer to a new order or a cancellation; a bare acknowledgement is as of before any fill."""
    told = order_json(order, instrument)
    del told["time"]
    told["cumQty"] = told["executedQty"]
    if not is_result:
        told |= {"status": "NEW", "executedQty": "0", "cumQty": "0", "cumQuote": "0", "avgPrice": "0.00"}
        told["updateTime"] = order.created_at // MILLISECOND
    return told


def trade_json(trade: Trade, instrument: Instrument) -> dict[str, Any]:
    """One of the account's trades."""
    fill = trade.fill
    return {
        "symbol": instrument.symbol,
        "id": trade.number,
        "orderId": trade.order.number,
        "side": fill.side.value.upper(),
        "price": text(fill.price),
        "qty": text(fill.quantity),
        "realizedPnl": text(trade.realised),
        "quoteQty": text(fill.price * fill.quantity),
        "commission": text(fill.fee.value),
        "commissionAsset": fill.fee.asset,
        "time": fill.at // MILLISECOND,
        "buyer": fill.side is Side.BUY,
        "maker": trade.is_maker,
        "positionSide": "BOTH",
    }
