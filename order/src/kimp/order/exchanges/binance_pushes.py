"""What Binance pushes about our own account, one message at a time, and what follows from it.

Shapes: "User Data Streams" (https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.order.exchanges.binance_forms import DONE, TradeForm
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import ClientId, OrderReport, OrderStatus
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event, OrderFilled, OrderReported

EVENTS = ("ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "listenKeyExpired")
"""What the stream is asked for. Since 2026-04-23 the routed address delivers nothing that is not named in it."""


class Push(msgspec.Struct, frozen=True):
    """What one message means.

    ``order`` is the order it speaks of. ``has_nameless_trade`` says that a trade was told without its number, as of a
    liquidation through the insurance fund: only the trade list can name it. ``has_funding`` says that funding was
    settled: the balance update has no transaction number, only the income records have. ``has_key_expired`` ends the
    stream. ``is_readable`` is false for what cannot be understood.
    """

    events: tuple[Event, ...] = ()
    order: ClientId | None = None
    has_nameless_trade: bool = False
    has_funding: bool = False
    has_key_expired: bool = False
    is_readable: bool = True


class _Order(msgspec.Struct):
    """The part ``o`` of ORDER_TRADE_UPDATE: x execution, X status, z filled in all, l and L size and price of this
    trade, n and N its fee ("will not push if no commission"), t its number, T its time.
    """

    s: str
    c: str
    S: str
    x: str
    X: str
    i: int
    z: Decimal
    l: Decimal = ZERO  # noqa: E741  # the venue's own names
    L: Decimal = ZERO
    n: Decimal = ZERO
    N: str = "USDT"
    t: int = 0
    T: int = 0


class _Account(msgspec.Struct):
    """The part ``a`` of ACCOUNT_UPDATE; m says why."""

    m: str = ""


_ABSENT = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    e: str = ""
    o: msgspec.Raw = _ABSENT
    a: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


_MESSAGE = msgspec.json.Decoder(_Message)
_ORDER = msgspec.json.Decoder(_Order)
_ACCOUNT = msgspec.json.Decoder(_Account)
_NOTHING = Push()
_UNREADABLE = Push(is_readable=False)


def decode(payload: bytes | str, at: Nanos) -> Push:
    """What a message means; never raises. ``at`` is when it reached us."""
    try:
        return _decode(_MESSAGE.decode(payload), at)
    except (msgspec.MsgspecError, ValueError, ArithmeticError):
        return _UNREADABLE


def _decode(message: _Message, at: Nanos) -> Push:
    if message.data is not _ABSENT:  # of a combined stream: {"stream": "…", "data": {…}}
        return _decode(_MESSAGE.decode(message.data), at)
    match message.e:
        case "ORDER_TRADE_UPDATE" if message.o is not _ABSENT:
            return _order(_ORDER.decode(message.o), at)
        case "ACCOUNT_UPDATE" if message.a is not _ABSENT:
            return Push(has_funding=_ACCOUNT.decode(message.a).m == "FUNDING_FEE")
        case "listenKeyExpired":
            return Push(has_key_expired=True)
        case "ORDER_TRADE_UPDATE" | "ACCOUNT_UPDATE":
            return _UNREADABLE
    return _NOTHING


def _order(order: _Order, at: Nanos) -> Push:
    events: list[Event] = []
    has_traded = order.x in ("TRADE", "CALCULATED") and order.l > ZERO
    if has_traded and order.t > 0:
        events.append(OrderFilled(at, _trade(order).fill(order.c)))
    if order.X in DONE:
        events.append(OrderReported(at, OrderReport(order.c, OrderStatus.DONE, order.z)))
    return Push(tuple(events), order.c, has_nameless_trade=has_traded and order.t <= 0)


def _trade(order: _Order) -> TradeForm:
    return TradeForm(
        id=order.t,
        order_id=order.i,
        symbol=order.s,
        side=order.S,
        price=order.L,
        qty=order.l,
        commission=order.n,
        commission_asset=order.N,
        time=order.T,
    )
