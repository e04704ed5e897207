"""Upbit's messages as they stand on the wire, in both spellings.

Upbit, "호가 (Orderbook)", "체결 (Trade)", "현재가 (Ticker)": DEFAULT spells field names out, SIMPLE abbreviates them::

    {"type":"orderbook","code":"KRW-BTC","timestamp":1618678262640,"orderbook_units":[{"ask_price":127.0, …}], …}
    {"ty":"orderbook","cd":"KRW-BTC","tms":1618678262640,"obu":[{"ap":127.0,"bp":126.0,"as":280460.37,"bs":688682.4}], …}

Frames are binary but hold JSON text. Numbers are JSON numbers, large and small ones in exponent form (``2.5E-7``);
they become ``Decimal`` from their digits, never through a float. Fields not named here are skipped unread.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec


class Unit(msgspec.Struct, gc=False):
    """One row of the book: an ask and a bid. Thin books are filled up with rows of price 0 and size 0."""

    ask_price: Decimal
    bid_price: Decimal
    ask_size: Decimal
    bid_size: Decimal


class SimpleUnit(msgspec.Struct, gc=False):
    """The same, abbreviated."""

    ask_price: Decimal = msgspec.field(name="ap")
    bid_price: Decimal = msgspec.field(name="bp")
    ask_size: Decimal = msgspec.field(name="as")
    bid_size: Decimal = msgspec.field(name="bs")


class Orderbook(msgspec.Struct, gc=False, tag_field="type", tag="orderbook"):
    """A whole book; every message replaces the one before."""

    code: str
    timestamp: int
    orderbook_units: list[Unit]


class SimpleOrderbook(msgspec.Struct, gc=False, tag_field="ty", tag="orderbook"):
    """The same, abbreviated."""

    code: str = msgspec.field(name="cd")
    timestamp: int = msgspec.field(name="tms")
    orderbook_units: list[SimpleUnit] = msgspec.field(name="obu")


class Trade(msgspec.Struct, gc=False, tag_field="type", tag="trade"):
    """One trade; ``ask_bid`` is the taker's side, ``sequential_id`` unique but not always increasing on arrival."""

    code: str
    trade_price: Decimal
    trade_volume: Decimal
    ask_bid: str
    trade_timestamp: int
    timestamp: int
    sequential_id: int


class SimpleTrade(msgspec.Struct, gc=False, tag_field="ty", tag="trade"):
    """The same, abbreviated."""

    code: str = msgspec.field(name="cd")
    trade_price: Decimal = msgspec.field(name="tp")
    trade_volume: Decimal = msgspec.field(name="tv")
    ask_bid: str = msgspec.field(name="ab")
    trade_timestamp: int = msgspec.field(name="ttms")
    timestamp: int = msgspec.field(name="tms")
    sequential_id: int = msgspec.field(name="sid")


class Ticker(msgspec.Struct, gc=False, tag_field="type", tag="ticker"):
    """The last price and the market's state: ``ACTIVE``, ``PREVIEW`` (not open yet) or ``DELISTED``."""

    code: str
    trade_price: Decimal
    acc_trade_volume_24h: Decimal
    acc_trade_price_24h: Decimal
    timestamp: int
    market_state: str = "ACTIVE"
    is_trading_suspended: bool = False


class SimpleTicker(msgspec.Struct, gc=False, tag_field="ty", tag="ticker"):
    """The same, abbreviated."""

    code: str = msgspec.field(name="cd")
    trade_price: Decimal = msgspec.field(name="tp")
    acc_trade_volume_24h: Decimal = msgspec.field(name="atv24h")
    acc_trade_price_24h: Decimal = msgspec.field(name="atp24h")
    timestamp: int = msgspec.field(name="tms")
    market_state: str = msgspec.field(name="ms", default="ACTIVE")
    is_trading_suspended: bool = msgspec.field(name="its", default=False)


class Error(msgspec.Struct):
    """Why a request was refused; the name is a word or, for some errors, a number."""

    name: str | int
    message: str = ""


class Aside(msgspec.Struct):
    """What is not data: ``{"error":{"name":"WRONG_FORMAT","message":"…"}}`` or the answer to a PING text,
    ``{"status":"UP"}``.
    """

    error: Error | None = None
    status: str | None = None


Message = Orderbook | Trade | Ticker
SimpleMessage = SimpleOrderbook | SimpleTrade | SimpleTicker
