"""Orders between Upbit's words and ours: what a request asks for, and how an order is shown.

Upbit, "주문 생성", "개별 주문 조회"::

    {"market":"KRW-BTC","uuid":"…","side":"bid","ord_type":"limit","price":"100000000","state":"wait",
     "created_at":"2025-04-01T15:30:47+09:00","volume":"0.00008","remaining_volume":"0.00008","executed_volume":"0",
     "reserved_fee":"4","remaining_fee":"4","paid_fee":"0","locked":"8004","trades_count":0,"identifier":"21", …}

``price`` purchases and ``best`` purchases name an amount in ``price`` and have no ``volume``; they end ``cancel`` although
everything was bought, because the rest that pays for no whole step comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kimp.portfolio.exchange.tickets import OrderKind, OrderState, Ticket, VirtualOrder
from kimp.portfolio.exchange.upbit_wire.errors import SIDE_NAMES, UpbitError, invalid, known
from kimp.portfolio.exchange.upbit_wire.figures import kst_micro, kst_second, number, order_uuid, text, trade_uuid
from kimp.shared.domain.instruments import Instrument, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Fill, TimeInForce

STATES = {
    OrderState.WORKING: "wait",
    OrderState.FILLED: "done",
    OrderState.CANCELLED: "cancel",
    OrderState.EXPIRED: "cancel",
}
SIDES = {"bid": Side.BUY, "ask": Side.SELL}
KINDS = {"limit": OrderKind.LIMIT, "price": OrderKind.PRICE, "market": OrderKind.MARKET, "best": OrderKind.BEST}
WAITS = {"ioc": TimeInForce.IOC, "fok": TimeInForce.FOK, "post_only": TimeInForce.POST_ONLY}
_ALLOWED_WAITS = {
    OrderKind.LIMIT: frozenset(WAITS),
    OrderKind.BEST: frozenset({"ioc", "fok"}),
    OrderKind.PRICE: frozenset[str](),
    OrderKind.MARKET: frozenset[str](),
}
SELF_MATCH_TYPES = frozenset({"cancel_maker", "cancel_taker", "reduce", "none"})


def ticket_of(fields: Mapping[str, Any], instruments: Mapping[str, Instrument]) -> Ticket:
    """What a POST to /v1/orders asks for.

    Args:
        fields: the body's fields.
        instruments: Upbit's market codes and what they are.

    Raises:
        UpbitError: fields are missing, unknown or do not go together.
    """
    market, side, kind = (_word(fields, name) for name in ("market", "side", "ord_type"))
    if side not in SIDES:
        raise invalid("side is missing, side does not have a valid value")
    if kind not in KINDS:
        raise invalid("ord_type is missing, ord_type does not have a valid value")
    if not market:
        raise invalid("market is missing")
    if market not in instruments:
        raise known("notfoundmarket")
    wanted = KINDS[kind]
    wait = _wait(fields, wanted)
    return _ticket(fields, instruments[market], SIDES[side], wanted, wait)


def _ticket(
    fields: Mapping[str, Any], instrument: Instrument, side: Side, kind: OrderKind, wait: TimeInForce
) -> Ticket:
    by_amount = kind is OrderKind.PRICE or (kind is OrderKind.BEST and side is Side.BUY)
    wants_price = by_amount or kind is OrderKind.LIMIT
    price, volume = _figure(fields, "price"), _figure(fields, "volume")
    impossible = (kind is OrderKind.PRICE and side is Side.SELL) or (kind is OrderKind.MARKET and side is Side.BUY)
    if impossible or (price is not None) != wants_price or (volume is not None) == by_amount:
        # a price where none belongs is the commonest mistake (Upbit, "API 주요 에러 코드 목록": create_bid_error)
        raise UpbitError(400, f"create_{SIDE_NAMES[side]}_error", "주문 요청 정보가 올바르지 않습니다.")
    return Ticket(
        client_id=identifier_of(fields),
        instrument_id=instrument.id,
        side=side,
        kind=kind,
        quantity=volume,
        price=price if kind is OrderKind.LIMIT else None,
        funds=price if by_amount else None,
        time_in_force=wait,
    )


def identifier_of(fields: Mapping[str, Any]) -> str | None:
    """The client's own id of the order, if it gave one.

    Raises:
        UpbitError: it is no text.
    """
    return _word(fields, "identifier") or None


def _wait(fields: Mapping[str, Any], kind: OrderKind) -> TimeInForce:
    word = _word(fields, "time_in_force")
    self_match = _word(fields, "smp_type")
    if self_match and self_match not in SELF_MATCH_TYPES:
        raise invalid("smp_type does not have a valid value")
    if not word:
        if kind is OrderKind.BEST:
            raise invalid("time_in_force is missing")
        return TimeInForce.IOC if kind in (OrderKind.PRICE, OrderKind.MARKET) else TimeInForce.GTC
    if word not in _ALLOWED_WAITS[kind]:
        raise invalid("time_in_force does not have a valid value")
    if word == "post_only" and self_match not in ("", "none"):
        raise invalid("post_only cannot be combined with smp_type")
    return WAITS[word]


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"{name} does not have a valid value")
    return value


def _figure(fields: Mapping[str, Any], name: str) -> Decimal | None:
    written = fields.get(name)
    if written is None or written == "":
        return None
    value = number(written)
    if value is None:
        raise invalid(f"{name} does not have a valid value")
    return value


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stood after some of its fills: the figures both the answers and the stream show."""

    executed: Decimal
    remaining: Decimal | None
    funds: Decimal
    reserved_fee: Decimal
    remaining_fee: Decimal
    paid_fee: Decimal
    locked: Decimal

    @property
    def average(self) -> Decimal:
        """What a coin cost on average (quote asset); zero before the first fill."""
        return (self.funds / self.executed).quantize(Decimal("1e-8")) if self.executed else ZERO


def standing(order: VirtualOrder, instrument: Instrument, fills: Sequence[Fill]) -> Standing:
    """The figures of an order after ``fills``, the first of its fills.

    A purchase holds back what it may still cost and the fee on that; a sale its coins, and its fee comes out of what it
    earns.
    """
    ticket, rate = order.ticket, instrument.fee_rate
    executed = sum((fill.quantity for fill in fills), ZERO)
    funds = sum((fill.price * fill.quantity for fill in fills), ZERO)
    paid = sum((fill.fee.value for fill in fills), ZERO)
    remaining = None if ticket.funds is not None else (ticket.quantity or ZERO) - executed
    if ticket.side is Side.SELL:
        return Standing(executed, remaining, funds, ZERO, ZERO, paid, remaining or ZERO)
    if ticket.funds is not None:
        reserved, left = ticket.funds * rate, ticket.funds - funds
        remaining_fee = max(ZERO, reserved - paid)
    else:
        limit = ticket.price or order.order.limit
        reserved, left = (ticket.quantity or ZERO) * limit * rate, (remaining or ZERO) * limit
        remaining_fee = left * rate
    return Standing(executed, remaining, funds, reserved, remaining_fee, paid, left + remaining_fee)


def state_of(order: VirtualOrder) -> str:
    """Upbit's word for where the order stands."""
    if order.is_done and order.ticket.is_by_funds:
        return "cancel"
    return STATES[order.state]


def shown_price(ticket: Ticket) -> Decimal | None:
    """What stands in ``price``: a limit, or the amount of a purchase by amount."""
    return ticket.funds if ticket.price is None else ticket.price


def order_json(
    order: VirtualOrder, instrument: Instrument, *, with_trades: bool = False, with_funds: bool = False
) -> dict[str, Any]:
    """An order as it is answered.

    Args:
        order: the order.
        instrument: its market.
        with_trades: as the single query shows it.
        with_funds: with ``executed_funds``, as lists show it.
    """
    ticket, now = order.ticket, standing(order, instrument, order.fills)
    price = shown_price(ticket)
    shown: dict[str, Any] = {
        "market": instrument.symbol,
        "uuid": order_uuid(order.number),
        "side": SIDE_NAMES[ticket.side],
        "ord_type": ticket.kind.value,
        "price": None if price is None else text(price),
        "state": state_of(order),
        "created_at": kst_second(order.created_at),
        "volume": None if ticket.quantity is None else text(ticket.quantity),
        "remaining_volume": None if now.remaining is None else text(now.remaining),
        "executed_volume": text(now.executed),
        "reserved_fee": text(now.reserved_fee),
        "remaining_fee": text(now.remaining_fee),
        "paid_fee": text(now.paid_fee),
        "locked": text(now.locked),
        "prevented_volume": "0",
        "prevented_locked": "0",
        "trades_count": len(order.fills),
    }
    if with_funds:
        shown["executed_funds"] = text(now.funds)
    if (word := wait_word(ticket)) is not None:
        shown["time_in_force"] = word
    if ticket.client_id is not None:
        shown["identifier"] = ticket.client_id
    if with_trades:
        shown["trades"] = [_trade_json(order, instrument, fill) for fill in order.fills]
    return shown


def wait_word(ticket: Ticket) -> str | None:
    """What stands in ``time_in_force``; nothing for orders that simply wait and for market orders."""
    if ticket.time_in_force is TimeInForce.GTC or ticket.kind in (OrderKind.PRICE, OrderKind.MARKET):
        return None
    return ticket.time_in_force.value


def is_maker(order: VirtualOrder, fill: Fill) -> bool:
    """Whether the order was there first. What trades at once trades at the very moment the order is taken."""
    return fill.at > order.created_at


def _trade_json(order: VirtualOrder, instrument: Instrument, fill: Fill) -> dict[str, Any]:
    taker = fill.side.opposite if is_maker(order, fill) else fill.side
    return {
        "market": instrument.symbol,
        "uuid": trade_uuid(fill.trade_id),
        "price": text(fill.price),
        "volume": text(fill.quantity),
        "funds": text(fill.price * fill.quantity),
        "trend": "up" if taker is Side.BUY else "down",
        "created_at": kst_micro(fill.at),
        "side": SIDE_NAMES[fill.side],
    }
