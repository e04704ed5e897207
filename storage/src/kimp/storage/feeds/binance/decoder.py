"""Binance's messages turned into books, touches, trades, mark prices and candles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.instruments import InstrumentId, Side
from kimp.shared.domain.ticks import MarkPrice, PublicTrade
from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, MINUTE, Nanos
from kimp.storage.feeds.binance import wire
from kimp.storage.feeds.binance.depth import DepthBook, Link
from kimp.storage.feeds.binance.subscription import BinanceSubscription, instrument
from kimp.storage.feeds.events import FeedEvent, Refused, StreamKind, Touch
from kimp.storage.feeds.frames import Frame, depth_channel, depth_symbol
from kimp.storage.feeds.reader import Gap
from kimp.storage.feeds.seen import RecentIds
from kimp.storage.feeds.soundness import fault_of
from kimp.storage.feeds.watchdog import Stream

Found = list[FeedEvent | Gap]

UNREADABLE = "unreadable"
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
THROUGH_THE_BOOK = "MARKET"
UNITS: dict[str, Nanos] = {"m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


class BinanceDecoder:
    """Reads both routes and the depth snapshots; ``counts`` tells what was withheld and why."""

    def __init__(self, subscription: BinanceSubscription) -> None:
        self._streams = subscription.streams()
        self._partial = frozenset(f"{symbol.lower()}@depth20@{subscription.speed}" for symbol in subscription.partial)
        self._ids: dict[str, InstrumentId] = {}
        self._books: dict[str, DepthBook] = {}
        self._seen: dict[str, RecentIds] = {}
        self._combined = msgspec.json.Decoder(wire.Combined)
        self._aside = msgspec.json.Decoder(wire.Aside)
        self._snapshot = msgspec.json.Decoder(wire.Snapshot)
        self._read: dict[type, Callable[[Any, Nanos], Found]] = {
            wire.DepthUpdate: self._difference,
            wire.BookTicker: self._touch,
            wire.AggTrade: self._trade,
            wire.Trade: self._trade,
            wire.MarkPriceUpdate: self._mark,
            wire.Kline: self._candle,
        }
        self.counts: Counter[str] = Counter()

    @property
    def streams(self) -> Sequence[Stream]:
        """What was subscribed to."""
        return self._streams

    def read(self, frame: Frame) -> Found:
        """The meaning of one message or snapshot."""
        try:
            message = self._combined.decode(frame.payload)
        except UNDECODABLE:
            return self._otherwise(frame)
        data = message.data
        try:
            if self._partial and message.stream in self._partial and isinstance(data, wire.DepthUpdate):
                return self._whole(data, frame.received_at)
            return self._read[type(data)](data, frame.received_at)
        except (ValueError, ArithmeticError):  # text that should be a number and is none
            self.counts[UNREADABLE] += 1
            return []

    def tick(self, now: Nanos) -> Found:
        """Report the books whose missing link is not just late."""
        broken = (book for book in self._books.values() if book.is_broken(now))
        return [Gap(book.instrument_id, StreamKind.BOOK, now, "has a hole") for book in broken]

    def wanted(self, now: Nanos) -> list[str]:
        """The snapshots needed now."""
        return [depth_channel(symbol) for symbol, book in self._books.items() if book.wants_snapshot(now)]

    def _otherwise(self, frame: Frame) -> Found:
        if (symbol := depth_symbol(frame.channel)) is not None:
            return self._join(symbol, frame)
        try:
            aside = self._aside.decode(frame.payload)
        except UNDECODABLE:
            self.counts[UNREADABLE] += 1
            return []
        error = aside.error or (wire.Error(aside.code, aside.msg) if aside.code is not None else None)
        if error is not None:
            self.counts[f"refused {error.code}"] += 1
            return [Refused(frame.channel, frame.received_at, str(error.code), error.msg)]
        if aside.id is None:
            self.counts[UNREADABLE] += 1
        return []

    def _id(self, symbol: str) -> InstrumentId:
        known = self._ids.get(symbol)
        if known is None:
            known = self._ids[symbol] = instrument(symbol)
        return known

    # --- books ------------------------------------------------------------------------------------------------------

    def _book_of(self, symbol: str) -> DepthBook:
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = DepthBook(self._id(symbol))
        return book

    def _difference(self, update: wire.DepthUpdate, at: Nanos) -> Found:
        book = self._book_of(update.symbol)
        try:
            link = book.read(update, at)
        except (ValueError, ArithmeticError) as error:
            return self._distrust(book, at, str(error))
        if link is Link.JOINED and book.is_whole:
            return self._tell(book, at)
        self.counts[f"difference {link.name.lower()}"] += 1
        return []

    def _join(self, symbol: str, frame: Frame) -> Found:
        book = self._book_of(symbol)
        try:
            link = book.join(self._snapshot.decode(frame.payload), frame.received_at)
        except (*UNDECODABLE, ValueError, ArithmeticError) as error:
            return self._distrust(book, frame.received_at, f"snapshot: {error}")
        self.counts[f"snapshot {link.name.lower()}"] += 1
        return self._tell(book, frame.received_at) if link is Link.JOINED else []

    def _tell(self, book: DepthBook, at: Nanos) -> Found:
        """The book, if it passes its own checks; one that does not is begun anew."""
        told = book.book(at)
        if not told.bids or not told.asks:
            self.counts["book_empty"] += 1
            return []
        if told.bids[0].price >= told.asks[0].price:
            return self._distrust(book, at, "is crossed")
        if not book.keeps_its_word():
            return self._distrust(book, at, "disagrees with bookTicker")
        return [told]

    def _distrust(self, book: DepthBook, at: Nanos, reason: str) -> Found:
        book.drop()
        self.counts[f"distrusted: {reason}"] += 1
        return [Gap(book.instrument_id, StreamKind.BOOK, at, reason)]

    def _whole(self, update: wire.DepthUpdate, at: Nanos) -> Found:
        """A partial depth message: the best rows, whole, and best first."""
        bids = tuple([Level(Decimal(price), Decimal(size)) for price, size in update.bids])
        asks = tuple([Level(Decimal(price), Decimal(size)) for price, size in update.asks])
        book = Book(self._id(update.symbol), bids, asks, update.acted_at * MILLISECOND, at)
        if (fault := fault_of(book)) is not None:
            self.counts[fault] += 1
            return []
        return [book]

    def _touch(self, ticker: wire.BookTicker, at: Nanos) -> Found:
        """The touch; where a book is kept as well, the two have to agree at the same update."""
        bid, ask = Level(ticker.bid, ticker.bid_size), Level(ticker.ask, ticker.ask_size)
        touch = Touch(self._id(ticker.symbol), bid, ask, ticker.update, ticker.acted_at * MILLISECOND, at)
        book = self._books.get(ticker.symbol)
        if book is not None and not book.agrees(ticker.update, bid, ask):
            return [touch, *self._distrust(book, at, "disagrees with bookTicker")]
        return [touch]

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _trade(self, trade: wire.AggTrade | wire.Trade, at: Nanos) -> Found:
        if isinstance(trade, wire.Trade) and trade.kind != THROUGH_THE_BOOK:
            self.counts["trade outside the book"] += 1
            return []
        seen = self._seen.get(trade.symbol)
        if seen is None:
            seen = self._seen[trade.symbol] = RecentIds()
        if not seen.is_new(trade.id):
            self.counts["trade told twice"] += 1
            return []
        side = Side.SELL if trade.is_buyer_maker else Side.BUY
        venue_at = trade.acted_at * MILLISECOND
        return [PublicTrade(self._id(trade.symbol), trade.id, side, trade.price, trade.quantity, venue_at, at)]

    def _mark(self, update: wire.MarkPriceUpdate, at: Nanos) -> Found:
        rate = Decimal(update.rate) if update.rate else None
        settles_at = update.settles_at * MILLISECOND if rate is not None else None
        venue_at = update.made_at * MILLISECOND
        return [MarkPrice(self._id(update.symbol), update.mark, update.index, rate, settles_at, venue_at, at)]

    def _candle(self, kline: wire.Kline, at: Nanos) -> Found:
        bar = kline.bar
        unit = UNITS.get(bar.interval[-1:])
        if unit is None:  # months have no length
            self.counts[UNREADABLE] += 1
            return []
        interval = int(bar.interval[:-1]) * unit
        opened_at = bar.opened_at * MILLISECOND
        prices = (bar.open, bar.high, bar.low, bar.close)
        instrument_id = self._id(kline.symbol)
        return [Candle(instrument_id, interval, opened_at, *prices, bar.volume, bar.turnover, bar.is_closed, at)]
