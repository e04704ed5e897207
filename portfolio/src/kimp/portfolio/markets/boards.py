"""What a venue shows in public: the latest books, recent trades, minute candles, marks and rates.

Books are what arrives; trades and candles that nobody tells are derived from how the touch moves, and a candle is always
made of the very trades that are shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal

from kimp.portfolio.markets.bars import Bars
from kimp.shared.domain.books import Book
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import InstrumentId, Side
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import MarketMoved

TRADES_MAX = 1_000
"""Trades kept per instrument: Binance shows at most 1,000 in one answer, Upbit 500."""


class Boards:
    """Everything public of all instruments seen so far; shared by the venues of one market.

    Where real trades are told with ``trade``, none are derived for that instrument any more.
    """

    def __init__(self) -> None:
        self._books: dict[InstrumentId, Book] = {}
        self._trades: dict[InstrumentId, deque[PublicTrade]] = {}
        self._bars: dict[InstrumentId, Bars] = {}
        self._marked: dict[InstrumentId, Book] = {}
        self._funding: dict[InstrumentId, FundingRate] = {}
        self._rates: dict[str, FxQuote] = {}
        self._counts: dict[InstrumentId, int] = {}
        self._told: set[InstrumentId] = set()
        self.at: Nanos = 0

    def note(self, moved: MarketMoved) -> None:
        """Take in what moved."""
        self.at = max(self.at, moved.at)
        for book in moved.books:
            self._derive(book)
            self._books[book.instrument_id] = book
            if book.bids and book.asks:
                self._marked[book.instrument_id] = book
        for rate in moved.rates:
            self._rates[rate.base] = rate
        for funding in moved.funding:
            self._funding[funding.instrument_id] = funding

    def trade(self, trade: PublicTrade) -> None:
        """Take in a real trade; its id is the venue's own."""
        self._told.add(trade.instrument_id)
        self.at = max(self.at, trade.received_at)
        self._add(trade)

    # -- what is shown ---------------------------------------------------------------------------------------------

    def instruments(self) -> tuple[InstrumentId, ...]:
        """Everything that has a book."""
        return tuple(self._books)

    def book(self, instrument_id: InstrumentId) -> Book | None:
        """The latest book; ``None`` before the first."""
        return self._books.get(instrument_id)

    def last(self, instrument_id: InstrumentId) -> Decimal | None:
        """The price of the latest trade (quote asset)."""
        trades = self._trades.get(instrument_id)
        return trades[-1].price if trades else None

    def trades(self, instrument_id: InstrumentId, count: int) -> Sequence[PublicTrade]:
        """The latest trades, oldest first, at most ``count``."""
        known = self._trades.get(instrument_id, ())
        return tuple(known)[-count:] if count > 0 else ()

    def candles(self, instrument_id: InstrumentId, count: int, before: Nanos | None = None) -> Sequence[Candle]:
        """The latest minute candles, oldest first, at most ``count``, opened before ``before``.

        A minute without a trade has none. The last one is not closed while its minute goes on.
        """
        bars = self._bars.get(instrument_id)
        return bars.latest(count, before, self.at) if bars is not None else ()

    def mark(self, instrument_id: InstrumentId) -> Decimal | None:
        """The price positions are valued at: the mid of the last book with two sides, as the virtual exchange has it."""
        book = self._marked.get(instrument_id)
        return None if book is None else book.mid()

    def funding(self, instrument_id: InstrumentId) -> FundingRate | None:
        """The latest funding rate of a contract."""
        return self._funding.get(instrument_id)

    @property
    def rates(self) -> Mapping[str, FxQuote]:
        """KRW per ``USD`` and ``USDT``, by base."""
        return self._rates

    # -- derived ---------------------------------------------------------------------------------------------------

    def _derive(self, book: Book) -> None:
        """A trade wherever the touch moved: a rising market was bought at its ask, a falling one sold at its bid."""
        id_ = book.instrument_id
        if id_ in self._told or not (book.bids and book.asks):
            return
        known = self._marked.get(id_)
        if known is not None and known.mid() == book.mid():
            return
        is_bought = known is None or book.mid() > known.mid()
        side = Side.BUY if is_bought else Side.SELL
        level = book.eats(side)[0]
        number = self._counts[id_] = self._counts.get(id_, 0) + 1
        self._add(PublicTrade(id_, number, side, level.price, level.size, book.venue_at, book.received_at))

    def _add(self, trade: PublicTrade) -> None:
        id_ = trade.instrument_id
        self._trades.setdefault(id_, deque(maxlen=TRADES_MAX)).append(trade)
        self._bars.setdefault(id_, Bars(id_)).add(trade)
