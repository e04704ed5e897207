"""Two public sources of the dollar's price in won. Neither is an official interface: both may change or end any day.

*bank*: Hana Bank's board as shown by Upbit's own chart, served by Dunamu. ``recurrenceCount`` numbers the day's boards,
some hundreds, so a new one comes every minute or two::

    [{"code":"FRX.KRWUSD","date":"2024-02-20","time":"15:31:14","recurrenceCount":419,"basePrice":1338.00,
      "provider":"하나은행","timestamp":1708410689000, …}]

*market*: the interbank price as charted by Yahoo Finance; the time is in seconds::

    {"chart":{"result":[{"meta":{"currency":"KRW","symbol":"KRW=X","regularMarketPrice":1338.2,
      "regularMarketTime":1708410689, …}, …}],"error":null}}
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos

BANK = "bank"
MARKET = "market"
CHANNEL = "fx/"


class Reading(msgspec.Struct, frozen=True):
    """KRW per USD as one source published it, and when it says it did."""

    source: str
    value: Decimal
    published_at: Nanos
    received_at: Nanos


class _Board(msgspec.Struct):
    code: str
    price: Decimal = msgspec.field(name="basePrice")
    published: int = msgspec.field(name="timestamp")


class _Meta(msgspec.Struct):
    currency: str
    symbol: str
    price: Decimal = msgspec.field(name="regularMarketPrice")
    published: int = msgspec.field(name="regularMarketTime")


class _Result(msgspec.Struct):
    meta: _Meta


class _Chart(msgspec.Struct):
    result: list[_Result]


class _Answer(msgspec.Struct):
    chart: _Chart


_BOARDS = msgspec.json.Decoder(list[_Board])
_ANSWER = msgspec.json.Decoder(_Answer)


def read_bank(payload: bytes, at: Nanos) -> Reading | None:
    """The bank's board, ``None`` if it holds no dollar."""
    board = next((board for board in _BOARDS.decode(payload) if board.code == "FRX.KRWUSD"), None)
    return None if board is None else Reading(BANK, board.price, board.published * MILLISECOND, at)


def read_market(payload: bytes, at: Nanos) -> Reading | None:
    """The chart's last price, ``None`` if it is of something else."""
    metas = [result.meta for result in _ANSWER.decode(payload).chart.result]
    meta = next((meta for meta in metas if meta.symbol == "KRW=X" and meta.currency == "KRW"), None)
    return None if meta is None else Reading(MARKET, meta.price, meta.published * SECOND, at)


READERS: dict[str, Callable[[bytes, Nanos], Reading | None]] = {
    CHANNEL + BANK: read_bank,
    CHANNEL + MARKET: read_market,
}
"""Channel → parser. What cannot be parsed raises ``msgspec.MsgspecError``."""
