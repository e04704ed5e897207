"""What to ask Upbit for."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from kimp.shared.domain.instruments import Venue
from kimp.storage.feeds.events import StreamKind
from kimp.storage.feeds.frames import UPBIT
from kimp.storage.feeds.watchdog import SILENCE_MAX, Stream


class Form(StrEnum):
    """The spelling of the answers."""

    DEFAULT = "DEFAULT"
    SIMPLE = "SIMPLE"


class UpbitSubscription(msgspec.Struct, frozen=True):
    """Markets (``KRW-BTC``) per type, always sent as one message.

    A second request on the same connection replaces the first, so everything wanted stands in one. Unknown codes are
    ignored without a word and there is no acknowledgement: only the first data shows that a subscription stands, which
    is the watchdog's business. ``busy`` are the markets whose books must not fall silent; a quiet market's may.
    """

    books: tuple[str, ...] = ()
    trades: tuple[str, ...] = ()
    tickers: tuple[str, ...] = ()
    busy: frozenset[str] | None = None
    units: int = 15
    """Rows per book: 1, 5, 15 or 30; anything else gives 30 ("호가 수신 단위 지원 범위 변경", 2025-07-02)."""
    form: Form = Form.SIMPLE

    def message(self) -> str:
        """The request: ticket, types, format."""
        wanted = {
            "trade": self.trades,
            "orderbook": tuple(f"{code}.{self.units}" for code in self.books),
            "ticker": self.tickers,
        }
        types = [{"type": name, "codes": codes} for name, codes in wanted.items() if codes]
        return msgspec.json.encode([{"ticket": "kimp"}, *types, {"format": self.form}]).decode()

    def streams(self) -> tuple[Stream, ...]:
        """What has to come, and how long each may be silent. Trades and tickers may, without anything being wrong."""
        books = [(code, StreamKind.BOOK, SILENCE_MAX if self._is_busy(code) else None) for code in self.books]
        rest = [(code, StreamKind.TRADES, None) for code in self.trades]
        rest += [(code, StreamKind.TICKER, None) for code in self.tickers]
        return tuple(Stream(UPBIT, instrument(code), kind, limit) for code, kind, limit in books + rest)

    def _is_busy(self, code: str) -> bool:
        return self.busy is None or code in self.busy


def instrument(code: str) -> str:
    """Our id of a market; the number of rows asked for (``KRW-BTC.15``) is no part of it."""
    return f"{Venue.UPBIT.value}:{code.partition('.')[0]}"
