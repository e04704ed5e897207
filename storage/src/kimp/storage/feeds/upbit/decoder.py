"""Upbit's messages turned into books, trades and tickers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kimp.shared.domain.books import Book, BookFault, Level
from kimp.shared.domain.instruments import InstrumentId, Side
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import MILLISECOND, Nanos
from kimp.storage.feeds.events import FeedEvent, Refused, Ticker
from kimp.storage.feeds.exchange_rate.tether import TetherRate
from kimp.storage.feeds.frames import Frame
from kimp.storage.feeds.reader import Gap
from kimp.storage.feeds.seen import RecentIds
from kimp.storage.feeds.soundness import fault_of
from kimp.storage.feeds.upbit import wire
from kimp.storage.feeds.upbit.subscription import UpbitSubscription, instrument
from kimp.storage.feeds.watchdog import Stream

Found = list[FeedEvent | Gap]

SIDES = {"ASK": Side.SELL, "BID": Side.BUY}
TRADED = "ACTIVE"
UNREADABLE = "unreadable"
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class UpbitDecoder:
    """Reads both spellings, whichever comes; ``counts`` tells what was withheld and why.

    Args:
        subscription: what was asked for.
        tether: makes the USDT rate from Upbit's own KRW-USDT book, where that is subscribed to.
    """

    def __init__(self, subscription: UpbitSubscription, tether: TetherRate | None = None) -> None:
        self._streams = subscription.streams()
        self._tether = tether
        self._ids: dict[str, InstrumentId] = {}
        self._seen: dict[str, RecentIds] = {}
        self._decoders: list[msgspec.json.Decoder[Any]] = [
            msgspec.json.Decoder(wire.SimpleMessage),
            msgspec.json.Decoder(wire.Message),
        ]
        self._aside = msgspec.json.Decoder(wire.Aside)
        self._read: dict[type, Callable[[Any, Nanos], Found]] = {
            wire.Orderbook: self._book,
            wire.SimpleOrderbook: self._book,
            wire.Trade: self._trade,
            wire.SimpleTrade: self._trade,
            wire.Ticker: self._ticker,
            wire.SimpleTicker: self._ticker,
        }
        self.counts: Counter[str] = Counter()

    @property
    def streams(self) -> Sequence[Stream]:
        """What was subscribed to."""
        return self._streams

    def read(self, frame: Frame) -> Found:
        """The meaning of one message."""
        try:
            message = self._decoders[0].decode(frame.payload)
        except UNDECODABLE:
            return self._otherwise(frame)
        return self._understand(message, frame)

    def tick(self, now: Nanos) -> Found:  # noqa: ARG002 - nothing of Upbit's depends on time alone
        """Nothing: every message stands for itself."""
        return []

    def wanted(self, now: Nanos) -> list[str]:  # noqa: ARG002 - nothing is ever needed
        """Nothing: books come whole."""
        return []

    def _otherwise(self, frame: Frame) -> Found:
        """The other spelling, an error, a sign of life, or nothing that can be read."""
        try:
            message = self._decoders[1].decode(frame.payload)
        except UNDECODABLE:
            return self._read_aside(frame)
        self._decoders.reverse()
        return self._understand(message, frame)

    def _understand(self, message: Any, frame: Frame) -> Found:
        try:
            return self._read[type(message)](message, frame.received_at)
        except ArithmeticError:  # a number no calculation can hold
            self.counts[UNREADABLE] += 1
            return []

    def _read_aside(self, frame: Frame) -> Found:
        try:
            aside = self._aside.decode(frame.payload)
        except UNDECODABLE:
            self.counts[UNREADABLE] += 1
            return []
        if aside.error is not None:
            name = str(aside.error.name)
            self.counts[f"refused {name}"] += 1
            return [Refused(frame.channel, frame.received_at, name, aside.error.message)]
        if aside.status is None:
            self.counts[UNREADABLE] += 1
        return []

    def _id(self, code: str) -> InstrumentId:
        known = self._ids.get(code)
        if known is None:
            known = self._ids[code] = instrument(code)
        return known

    def _book(self, message: wire.Orderbook, at: Nanos) -> Found:
        """The book without its padding; one that cannot be traded on is withheld and counted."""
        units = message.orderbook_units
        # thin books are padded: {"ap":0.0,"bp":0.00000035,"as":0.0,"bs":9124.5}
        bids = tuple([Level(unit.bid_price, unit.bid_size) for unit in units if unit.bid_price and unit.bid_size])
        asks = tuple([Level(unit.ask_price, unit.ask_size) for unit in units if unit.ask_price and unit.ask_size])
        book = Book(self._id(message.code), bids, asks, message.timestamp * MILLISECOND, at)
        if (fault := fault_of(book)) is not None:
            return self._withhold(fault)
        if self._tether is not None and (quote := self._tether.read(book)) is not None:
            return [book, quote]
        return [book]

    def _withhold(self, fault: BookFault) -> Found:
        self.counts[fault] += 1
        return []

    def _trade(self, message: wire.Trade, at: Nanos) -> Found:
        """The trade, however late: only the very same trade told twice is dropped."""
        seen = self._seen.get(message.code)
        if seen is None:
            seen = self._seen[message.code] = RecentIds()
        if not seen.is_new(message.sequential_id):
            self.counts["trade told twice"] += 1
            return []
        side = SIDES.get(message.ask_bid)
        if side is None:
            self.counts[UNREADABLE] += 1
            return []
        venue_at = message.trade_timestamp * MILLISECOND
        price, volume = message.trade_price, message.trade_volume
        return [PublicTrade(self._id(message.code), message.sequential_id, side, price, volume, venue_at, at)]

    def _ticker(self, message: wire.Ticker, at: Nanos) -> Found:
        return [
            Ticker(
                self._id(message.code),
                message.trade_price,
                message.acc_trade_volume_24h,
                message.acc_trade_price_24h,
                message.is_trading_suspended or message.market_state != TRADED,
                message.timestamp * MILLISECOND,
                at,
            )
        ]
