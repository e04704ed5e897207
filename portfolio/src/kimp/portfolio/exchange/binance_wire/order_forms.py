"""From the parameters of "New Order" to a ticket, or the venue's complaint about them.

https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api/New-Order
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.errors import Refusal
from kimp.portfolio.exchange.binance_wire.filters import Filters
from kimp.portfolio.exchange.binance_wire.forms import Form
from kimp.portfolio.exchange.tickets import OrderKind, Ticket
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.orders import TimeInForce


class WireSide(StrEnum):
    """``side``."""

    BUY = "BUY"
    SELL = "SELL"


class WireKind(StrEnum):
    """``type``; the conditional ones live behind another endpoint."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    STOP = "STOP"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"


class WireTimeInForce(StrEnum):
    """``timeInForce``; GTX is post-only."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


class ResponseKind(StrEnum):
    """``newOrderRespType``: ACK tells that the order was taken, RESULT what came of it."""

    ACK = "ACK"
    RESULT = "RESULT"


class PositionSide(StrEnum):
    """``positionSide``: BOTH in one-way mode, the others in hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


TIMES_IN_FORCE = {
    WireTimeInForce.GTC: TimeInForce.GTC,
    WireTimeInForce.IOC: TimeInForce.IOC,
    WireTimeInForce.FOK: TimeInForce.FOK,
    WireTimeInForce.GTX: TimeInForce.POST_ONLY,
}
WIRE_TIMES_IN_FORCE = {ours.value: theirs.value for theirs, ours in TIMES_IN_FORCE.items()}
SIDES = {WireSide.BUY: Side.BUY, WireSide.SELL: Side.SELL}


class NewOrder(msgspec.Struct, frozen=True):
    """A checked order, and how it wants to be answered."""

    ticket: Ticket
    response: ResponseKind


def read_order(
    form: Form, find: Callable[[str], Filters | None], mark: Callable[[str], Decimal | None], *, is_hedged: bool
) -> NewOrder:
    """The order a request asks for.

    Args:
        form: its parameters.
        find: the filters of a symbol.
        mark: the mark price of an instrument id, if there is a market.
        is_hedged: the account is in hedge mode, which is there to be found and left, not to be traded in.

    Raises:
        Refusal: anything the venue would not take.
    """
    filters = find(form.text("symbol"))
    if filters is None:
        raise Refusal(errors.BAD_SYMBOL)
    side = SIDES[form.choice("side", WireSide, errors.BAD_SIDE)]
    kind = form.choice("type", WireKind, errors.BAD_ORDER_TYPE)
    if kind not in (WireKind.LIMIT, WireKind.MARKET):
        raise Refusal(errors.ALGO_ORDER)
    chosen = PositionSide.BOTH
    if form.maybe("positionSide") is not None:
        chosen = form.choice("positionSide", PositionSide, errors.NOT_VALID.about("positionSide"))
    if is_hedged or chosen is not PositionSide.BOTH:
        raise Refusal(errors.WRONG_POSITION_SIDE)
    response = ResponseKind.ACK
    if form.maybe("newOrderRespType") is not None:
        response = form.choice("newOrderRespType", ResponseKind, errors.BAD_RESPONSE_TYPE)
    draft = Ticket(
        form.maybe_client_id("newClientOrderId"),
        filters.instrument.id,
        side,
        quantity=form.decimal("quantity"),
        reduce_only=form.maybe_flag("reduceOnly") or False,
    )
    now = mark(filters.instrument.id)
    return NewOrder(
        _market(form, draft, filters, now) if kind is WireKind.MARKET else _limit(form, draft, filters, now), response
    )


def _limit(form: Form, draft: Ticket, filters: Filters, mark: Decimal | None) -> Ticket:
    wait = form.choice("timeInForce", WireTimeInForce, errors.BAD_TIME_IN_FORCE)
    price = form.decimal("price")
    assert draft.quantity is not None
    filters.check_price(price, draft.side, mark)
    filters.check_quantity(draft.quantity, is_market=False)
    if not draft.reduce_only:
        filters.check_notional(draft.quantity, price)
    return msgspec.structs.replace(draft, price=price, time_in_force=TIMES_IN_FORCE[wait])


def _market(form: Form, draft: Ticket, filters: Filters, mark: Decimal | None) -> Ticket:
    for name in ("price", "timeInForce"):
        if form.maybe(name) is not None:
            raise Refusal(errors.NOT_REQUIRED.about(name))
    assert draft.quantity is not None
    filters.check_quantity(draft.quantity, is_market=True)
    if mark is None:
        raise Refusal(errors.NO_BEST_PRICE)
    if not draft.reduce_only:
        filters.check_notional(draft.quantity, mark)
    return msgspec.structs.replace(draft, kind=OrderKind.MARKET)
