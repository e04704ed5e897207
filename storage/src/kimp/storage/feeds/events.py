"""What feeds tell, beyond the domain's own types."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.ticks import MarkPrice, PublicTrade
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import FeedBack, FeedLost


class StreamKind(StrEnum):
    """What a stream carries."""

    BOOK = "book"
    TOUCH = "touch"
    TRADES = "trades"
    TICKER = "ticker"
    MARK = "mark"
    CANDLES = "candles"
    RATE = "rate"


class Touch(msgspec.Struct, frozen=True, gc=False):
    """The best bid and ask alone, pushed faster than the book; ``update_id`` is the venue's, the same as the book's."""

    instrument_id: InstrumentId
    bid: Level
    ask: Level
    update_id: int
    venue_at: Nanos
    received_at: Nanos


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """The last price, what was traded in 24 hours (base coins, quote asset), and whether the market trades at all."""

    instrument_id: InstrumentId
    last: Decimal
    volume: Decimal
    turnover: Decimal
    is_halted: bool
    venue_at: Nanos
    received_at: Nanos


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The venue answered a subscription with an error: nothing will come over that channel."""

    channel: str
    at: Nanos
    name: str
    message: str


Data = Book | Touch | PublicTrade | Ticker | MarkPrice | Candle | FxQuote
FeedEvent = Data | FeedLost | FeedBack | Refused

KINDS: dict[type, StreamKind] = {
    Book: StreamKind.BOOK,
    Touch: StreamKind.TOUCH,
    PublicTrade: StreamKind.TRADES,
    Ticker: StreamKind.TICKER,
    MarkPrice: StreamKind.MARK,
    Candle: StreamKind.CANDLES,
    FxQuote: StreamKind.RATE,
}
"""Which stream an event proves alive."""
