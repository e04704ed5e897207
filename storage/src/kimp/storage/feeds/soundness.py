"""Whether a book may be told to anybody, found out in a fifth of the time that naming the fault takes."""

from __future__ import annotations

from decimal import InvalidOperation
from operator import gt, lt

from kimp.shared.domain.books import INFINITY, Book, BookFault
from kimp.shared.domain.money import ZERO


def fault_of(book: Book) -> BookFault | None:
    """The same verdict as :meth:`Book.fault`, which is asked only when the short checks do not already clear the book."""
    bids, asks = book.bids, book.asks
    if not bids or not asks:
        return BookFault.EMPTY
    bid_prices = [level.price for level in bids]
    ask_prices = [level.price for level in asks]
    sizes = [level.size for level in bids + asks]
    try:
        is_sound = (
            bid_prices[-1] > ZERO
            and bid_prices[0] < ask_prices[0]
            and all(map(gt, bid_prices, bid_prices[1:]))
            and all(map(lt, ask_prices, ask_prices[1:]))
            and ask_prices[-1] < INFINITY
            and min(sizes) > ZERO
            and max(sizes) < INFINITY
        )
    except InvalidOperation:  # a NaN does not compare
        is_sound = False
    return None if is_sound else book.fault()
