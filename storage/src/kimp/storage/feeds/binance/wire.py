"""Binance's messages as they stand on the wire, wrapped by the combined streams.

Binance, "Websocket Market Streams": "Combined stream events are wrapped as follows:
{"stream":"<streamName>","data":<rawPayload>}". Prices and quantities are text, times milliseconds. ``E`` is when the
message was made, ``T`` when the matching engine acted. Fields not named here are skipped unread.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

Row = tuple[str, str]
"""Price and quantity as text; a quantity of zero removes the price."""


class DepthUpdate(msgspec.Struct, gc=False, tag_field="e", tag="depthUpdate"):
    """Changed rows of a book ("Diff. Book Depth Streams"), or its best rows ("Partial Book Depth Streams"): the two
    look alike and differ by the name of their stream.

    ``U`` and ``u`` are the first and last update in it, ``pu`` the last update of the message before.
    """

    symbol: str = msgspec.field(name="s")
    acted_at: int = msgspec.field(name="T")
    first: int = msgspec.field(name="U")
    last: int = msgspec.field(name="u")
    previous: int = msgspec.field(name="pu")
    bids: list[Row] = msgspec.field(name="b")
    asks: list[Row] = msgspec.field(name="a")


class BookTicker(msgspec.Struct, gc=False, tag_field="e", tag="bookTicker"):
    """The best bid and ask after update ``u`` ("Individual Symbol Book Ticker Streams")."""

    symbol: str = msgspec.field(name="s")
    update: int = msgspec.field(name="u")
    acted_at: int = msgspec.field(name="T")
    bid: Decimal = msgspec.field(name="b")
    bid_size: Decimal = msgspec.field(name="B")
    ask: Decimal = msgspec.field(name="a")
    ask_size: Decimal = msgspec.field(name="A")


class AggTrade(msgspec.Struct, gc=False, tag_field="e", tag="aggTrade"):
    """One taker order's trades at one price ("Aggregate Trade Streams"); ``m``: the buyer was the maker."""

    symbol: str = msgspec.field(name="s")
    id: int = msgspec.field(name="a")
    acted_at: int = msgspec.field(name="T")
    price: Decimal = msgspec.field(name="p")
    quantity: Decimal = msgspec.field(name="q")
    is_buyer_maker: bool = msgspec.field(name="m")


class Trade(msgspec.Struct, gc=False, tag_field="e", tag="trade"):
    """One trade; ``X`` is ``MARKET`` for one through the book, other words for insurance fund and deleveraging."""

    symbol: str = msgspec.field(name="s")
    id: int = msgspec.field(name="t")
    acted_at: int = msgspec.field(name="T")
    price: Decimal = msgspec.field(name="p")
    quantity: Decimal = msgspec.field(name="q")
    is_buyer_maker: bool = msgspec.field(name="m")
    kind: str = msgspec.field(name="X", default="MARKET")


class MarkPriceUpdate(msgspec.Struct, gc=False, tag_field="e", tag="markPriceUpdate"):
    """Mark price, index price and expected funding ("Mark Price Stream"); ``r`` is empty where nothing is funded."""

    symbol: str = msgspec.field(name="s")
    made_at: int = msgspec.field(name="E")
    mark: Decimal = msgspec.field(name="p")
    index: Decimal | None = msgspec.field(name="i", default=None)
    rate: str = msgspec.field(name="r", default="")
    settles_at: int = msgspec.field(name="T", default=0)


class KlineBody(msgspec.Struct, gc=False):
    """The bar itself; ``x``: it is closed and final."""

    opened_at: int = msgspec.field(name="t")
    interval: str = msgspec.field(name="i")
    open: Decimal = msgspec.field(name="o")
    high: Decimal = msgspec.field(name="h")
    low: Decimal = msgspec.field(name="l")
    close: Decimal = msgspec.field(name="c")
    volume: Decimal = msgspec.field(name="v")
    turnover: Decimal = msgspec.field(name="q")
    is_closed: bool = msgspec.field(name="x")


class Kline(msgspec.Struct, gc=False, tag_field="e", tag="kline"):
    """A bar, pushed again and again until it is closed ("Kline/Candlestick Streams")."""

    symbol: str = msgspec.field(name="s")
    bar: KlineBody = msgspec.field(name="k")


class Combined(msgspec.Struct, gc=False):
    """A message of a combined stream."""

    stream: str
    data: DepthUpdate | BookTicker | AggTrade | Trade | MarkPriceUpdate | Kline


class Aside(msgspec.Struct):
    """What is not data: ``{"result":null,"id":1}`` acknowledges, ``{"code":2,"msg":"Invalid request: …"}`` and
    ``{"error":{"code":2,"msg":"…"}}`` refuse, and a known wrapper may hold an event nobody asked for.
    """

    stream: str | None = None
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: Error | None = None


class Error(msgspec.Struct):
    """Why a request was refused."""

    code: int
    msg: str = ""


class Snapshot(msgspec.Struct, gc=False):
    """A REST answer of /fapi/v1/depth ("Order Book"); its text does not name the symbol."""

    last: int = msgspec.field(name="lastUpdateId")
    acted_at: int = msgspec.field(name="T")
    bids: list[Row]
    asks: list[Row]
