"""Order books and what it costs to trade a real size through them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from enum import StrEnum

import msgspec

from kimp.shared.domain.instruments import InstrumentId, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.time import Nanos

INFINITY = Decimal("Infinity")

# Looking up an enum's member costs three times a comparison of decimals, and these are asked several times per quote.
_BUY = Side.BUY


class Level(msgspec.Struct, frozen=True, gc=False):
    """``size`` base coins offered at ``price`` (quote asset)."""

    price: Decimal
    size: Decimal


class BookFault(StrEnum):
    """Why a book must not be traded on."""

    EMPTY = "book_empty"
    NOT_POSITIVE = "book_not_positive"
    CROSSED = "book_crossed"
    NOT_FINITE = "book_not_finite"
    UNSORTED = "book_unsorted"


class Book(msgspec.Struct, frozen=True, gc=False):
    """One instrument's book, best level first; ``venue_at`` is the venue's own time, ``received_at`` ours.

    Prices are in the instrument's quote asset, sizes in its base coin.
    """

    instrument_id: InstrumentId
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    venue_at: Nanos
    received_at: Nanos

    def fault(self) -> BookFault | None:
        """What is wrong with this book, if anything; a locked book (bid = ask) counts as crossed."""
        bids, asks = self.bids, self.asks
        if not bids or not asks:
            return BookFault.EMPTY
        bid, ask = bids[0], asks[0]
        if len(bids) == 1 and len(asks) == 1:
            # As few comparisons as possible: a backtest asks this of two books per bar. A NaN does not compare.
            try:
                if (
                    ZERO < bid.price < ask.price < INFINITY
                    and ZERO < bid.size < INFINITY
                    and ZERO < ask.size < INFINITY
                ):
                    return None
            except InvalidOperation:
                return BookFault.NOT_FINITE
        levels = self.bids + self.asks
        if not all(level.price.is_finite() and level.size.is_finite() for level in levels):
            return BookFault.NOT_FINITE
        if any(level.price <= ZERO or level.size <= ZERO for level in levels):
            return BookFault.NOT_POSITIVE
        if bid.price >= ask.price:
            return BookFault.CROSSED
        falling = all(a.price > b.price for a, b in zip(self.bids, self.bids[1:], strict=False))
        rising = all(a.price < b.price for a, b in zip(self.asks, self.asks[1:], strict=False))
        return None if falling and rising else BookFault.UNSORTED

    def eats(self, side: Side) -> tuple[Level, ...]:
        """The levels an order of that side would trade against."""
        return self.asks if side is _BUY else self.bids

    def touch(self, side: Side) -> Decimal:
        """The best price an order of that side gets for a tiny size."""
        return self.eats(side)[0].price

    def mid(self) -> Decimal:
        """Halfway between the touches: a price for charts and for measuring slippage, never for deciding."""
        return (self.bids[0].price + self.asks[0].price) / 2

    def vwap(self, side: Side, quantity: Decimal) -> Decimal | None:
        """The average price to fill ``quantity`` base coins at once, or ``None`` when the book is too thin for it."""
        levels = self.asks if side is _BUY else self.bids
        if levels[0].size >= quantity:
            return levels[0].price
        left, cost = quantity, ZERO
        for level in levels:
            taken = min(left, level.size)
            cost += taken * level.price
            left -= taken
            if left == ZERO:
                return cost / quantity
        return None

    def reach(self, side: Side, quantity: Decimal) -> Decimal | None:
        """The worst price that filling ``quantity`` base coins touches, or ``None`` when the book is too thin for it.

        A limit this side of it cannot fill the whole size, however good the average is.
        """
        left = quantity
        for level in self.eats(side):
            left -= level.size
            if left <= ZERO:
                return level.price
        return None

    def sweep(self, side: Side, quantity: Decimal, limit: Decimal) -> list[Level]:
        """What an order would get, level by level, without ever passing its ``limit``."""
        fills, left = [], quantity
        for level in self.eats(side):
            if left <= ZERO or (level.price > limit if side is Side.BUY else level.price < limit):
                break
            taken = min(left, level.size)
            fills.append(Level(level.price, taken))
            left -= taken
        return fills
