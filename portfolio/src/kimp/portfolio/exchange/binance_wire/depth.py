"""The venue's side of a book kept from differences: update ids, the chain between messages, and the snapshot that joins.

Binance, "Diff. Book Depth Streams": ``U`` and ``u`` are the first and last update id of a message, ``pu`` the last one of
the message before; "Order Book": ``lastUpdateId`` of the REST answer counts the same updates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.time import MILLISECOND, Nanos

Row = tuple[str, str]


def row(price: Decimal, size: Decimal) -> Row:
    """A level as text, always spelt the same: clients keep books by the text of the price."""
    return format(price.normalize(), "f"), format(size.normalize(), "f")


def rows(levels: Iterable[Level]) -> list[Row]:
    """Levels as the venue writes them: price and size as text."""
    return [row(level.price, level.size) for level in levels]


@dataclass(frozen=True, slots=True)
class Change:
    """What one new book changed: rows with their new size, zero where a price is gone."""

    first: int
    last: int
    previous: int
    bids: list[Row]
    asks: list[Row]
    at: Nanos

    def message(self, symbol: str, now: Nanos) -> dict[str, object]:
        """``depthUpdate`` of the diff stream."""
        return {
            "e": "depthUpdate",
            "E": now // MILLISECOND,
            "T": self.at // MILLISECOND,
            "s": symbol,
            "U": self.first,
            "u": self.last,
            "pu": self.previous,
            "b": self.bids,
            "a": self.asks,
        }


class DepthTape:
    """One symbol's books in a row, numbered from ``first`` on."""

    def __init__(self, symbol: str, first: int) -> None:
        self.symbol = symbol
        self.book: Book | None = None
        self.last = first
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}

    def show(self, book: Book) -> Change | None:
        """Take in the next book; nothing when it is the same as before."""
        bids = {level.price: level.size for level in book.bids}
        asks = {level.price: level.size for level in book.asks}
        changed_bids, changed_asks = _changed(self._bids, bids), _changed(self._asks, asks)
        self.book, self._bids, self._asks = book, bids, asks
        if not changed_bids and not changed_asks:
            return None
        first = self.last + 1
        previous, self.last = self.last, self.last + len(changed_bids) + len(changed_asks)
        return Change(first, self.last, previous, changed_bids, changed_asks, book.venue_at)

    def snapshot(self, limit: int, now: Nanos) -> dict[str, object]:
        """``/fapi/v1/depth``: the best rows of each side and the update they stand at."""
        book = self.book
        return {
            "lastUpdateId": self.last,
            "E": now // MILLISECOND,
            "T": (book.venue_at if book else now) // MILLISECOND,
            "bids": rows(book.bids[:limit]) if book else [],
            "asks": rows(book.asks[:limit]) if book else [],
        }

    def partial(self, levels: int, change: Change, now: Nanos) -> dict[str, object]:
        """``depthUpdate`` of a partial stream: the best rows, whole."""
        assert self.book is not None
        bids, asks = rows(self.book.bids[:levels]), rows(self.book.asks[:levels])
        return change.message(self.symbol, now) | {"b": bids, "a": asks}

    def ticker(self, now: Nanos) -> dict[str, object] | None:
        """``bookTicker``: the touch and the update it stands at; nothing while a side is empty."""
        book = self.book
        if book is None or not book.bids or not book.asks:
            return None
        (bid, bid_size), (ask, ask_size) = rows((book.bids[0], book.asks[0]))
        return {
            "e": "bookTicker",
            "u": self.last,
            "s": self.symbol,
            "b": bid,
            "B": bid_size,
            "a": ask,
            "A": ask_size,
            "T": book.venue_at // MILLISECOND,
            "E": now // MILLISECOND,
        }


def _changed(before: Mapping[Decimal, Decimal], after: Mapping[Decimal, Decimal]) -> list[Row]:
    changes = [(price, ZERO) for price in before if price not in after]
    changes += [(price, size) for price, size in after.items() if before.get(price) != size]
    return [row(price, size) for price, size in changes]
