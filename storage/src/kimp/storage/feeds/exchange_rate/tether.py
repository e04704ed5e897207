"""What a tether costs on Upbit: the rate at which capital really moves."""

from __future__ import annotations

from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import USDT, FxQuote
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.storage.feeds.exchange_rate.spikes import SpikeFilter

TETHER_MARKET = "KRW-USDT"
TETHER: InstrumentId = f"upbit:{TETHER_MARKET}"
VALID_FOR: Nanos = 2 * MINUTE
RESTATED_EVERY: Nanos = SECOND
"""An unchanged rate is told again this often, to extend its validity, and not with each of several books a second."""


class TetherRate:
    """KRW per USDT from the middle of Upbit's KRW-USDT book, which never closes."""

    def __init__(self) -> None:
        self._spikes = SpikeFilter()
        self._last: FxQuote | None = None

    def read(self, book: Book) -> FxQuote | None:
        """The rate a book means: ``None`` for other books, spikes, old books and what was just told."""
        if book.instrument_id != TETHER or book.received_at - book.venue_at > VALID_FOR:
            return None
        middle, at, last = book.mid(), book.received_at, self._last
        if last is not None and last.value == middle and at - last.at < RESTATED_EVERY:
            return None
        if not self._spikes.passes(middle):
            return None
        self._last = FxQuote(USDT, middle, at, at + VALID_FOR, TETHER)
        return self._last
