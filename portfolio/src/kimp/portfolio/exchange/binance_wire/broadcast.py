"""Turns what happens on the virtual exchange into messages of the streams, in the order in which it happened."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from decimal import Decimal

import msgspec

from kimp.portfolio.exchange.binance_wire import market_shapes, user_data
from kimp.portfolio.exchange.binance_wire.account_shapes import Account
from kimp.portfolio.exchange.binance_wire.depth import Change, DepthTape
from kimp.portfolio.exchange.binance_wire.records import Records, is_unrecorded
from kimp.portfolio.exchange.binance_wire.sockets import Sockets
from kimp.portfolio.exchange.binance_wire.user_data import ListenKeys
from kimp.portfolio.exchange.diary import DiaryFailed
from kimp.portfolio.exchange.happenings import (
    AvailabilityMoved,
    BalancesMoved,
    BooksShown,
    Dropped,
    FundingSettled,
    Happening,
    OrderMoved,
)
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.markets.boards import Boards
from kimp.shared.domain.books import Book
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Instrument, InstrumentId
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.ports.clock import Clock

SPEEDS = ("", "@0ms", "@100ms", "@250ms", "@500ms")
"""Update speeds a client may ask for; every change is told at once, whatever was asked."""

PARTIAL_LEVELS = (5, 10, 20)
FRESH_TRADES_MAX = 100
MICROSECOND: Nanos = 1_000
RATES_MAX = 1_000


class SettledRate(msgspec.Struct, frozen=True):
    """A funding rate that was settled, and the mark price it was settled at."""

    rate: Decimal
    at: Nanos
    mark: Decimal


class Broadcast:
    """Keeps the numbered books, pushes public and private streams, and remembers settled funding rates."""

    def __init__(
        self,
        exchange: VirtualExchange,
        boards: Boards,
        clock: Clock,
        sockets: Sockets,
        records: Records,
        keys: ListenKeys,
    ) -> None:
        self._exchange = exchange
        self._boards = boards
        self._clock = clock
        self._sockets = sockets
        self._records = records
        self._keys = keys
        self._instruments = exchange.simulated.instruments
        # From the clock, so that ids go on rising when the venue is started again under clients that keep running.
        first = clock.now() // MICROSECOND
        self.tapes = {id_: DepthTape(leg.symbol, first) for id_, leg in self._instruments.items()}
        self.settled: dict[InstrumentId, deque[SettledRate]] = {id_: deque(maxlen=RATES_MAX) for id_ in self.tapes}
        self._expected: dict[InstrumentId, FundingRate] = {}
        self._told_trade: dict[InstrumentId, int] = {}
        self._booked: dict[str, Decimal] = {}
        for book in exchange.simulated.books.values():
            self.tapes[book.instrument_id].show(book)
        for asset in exchange.simulated.balances:
            self._moved_since(asset)

    async def run(self) -> None:
        """Push until cancelled."""
        while True:
            async with self._exchange.listen() as happenings, asyncio.TaskGroup() as group:
                ticking = group.create_task(self._tick())
                with suppress(DiaryFailed):
                    while not isinstance(happening := await happenings.get(), Dropped):
                        self.tell(happening)
                ticking.cancel()
            # Something is missing: whoever listened has to begin anew, as after any broken connection.
            self._sockets.close_all(reason="behind")

    def tell(self, happening: Happening) -> None:
        """Push one happening."""
        match happening:
            case BooksShown(books=books):
                for book in books:
                    self._tell_book(book)
            case OrderMoved():
                self._tell_order(happening)
            case FundingSettled(payment=payment, at=at):
                self._tell_account("FUNDING_FEE", {payment.amount.asset: payment.amount.value}, at)
            case BalancesMoved(assets=assets, at=at, why="transfer"):
                self._tell_transfer(assets, at)
            case AvailabilityMoved(is_available=False, reason=reason):
                self._sockets.close_all(reason=reason)

    # -- public ----------------------------------------------------------------------------------------------------

    def _tell_book(self, book: Book) -> None:
        tape, instrument = self.tapes[book.instrument_id], self._instruments[book.instrument_id]
        change = tape.show(book)
        if change is not None:
            self._tell_change(tape, change)
        self._tell_trades(instrument)
        self._note_rate(instrument.id)

    def _tell_change(self, tape: DepthTape, change: Change) -> None:
        symbol, now = tape.symbol.lower(), self._clock.now()
        difference = change.message(tape.symbol, now)
        for speed in SPEEDS:
            self._sockets.publish(f"{symbol}@depth{speed}", difference)
            for levels in PARTIAL_LEVELS:
                name = f"{symbol}@depth{levels}{speed}"
                if self._sockets.has_listeners(name):
                    self._sockets.publish(name, tape.partial(levels, change, now))
        if (ticker := tape.ticker(now)) is not None:
            self._sockets.publish(f"{symbol}@bookTicker", ticker)

    def _tell_trades(self, instrument: Instrument) -> None:
        symbol, now = instrument.symbol, self._clock.now()
        known = self._told_trade.get(instrument.id, 0)
        fresh = [trade for trade in self._boards.trades(instrument.id, FRESH_TRADES_MAX) if trade.trade_id > known]
        for trade in fresh:
            aggregate, single = market_shapes.trade_events(symbol, trade, now)
            self._sockets.publish(f"{symbol.lower()}@aggTrade", aggregate)
            self._sockets.publish(f"{symbol.lower()}@trade", single)
        if fresh:
            self._told_trade[instrument.id] = fresh[-1].trade_id
            self._tell_candles(instrument)

    def _tell_candles(self, instrument: Instrument) -> None:
        for name, interval in market_shapes.INTERVALS.items():
            stream = f"{instrument.symbol.lower()}@kline_{name}"
            if not self._sockets.has_listeners(stream):
                continue
            minutes = market_shapes.gapless(self._boards.candles(instrument.id, 2 * interval // (60 * SECOND)))
            for bar in market_shapes.gathered(minutes, interval)[-2:]:
                self._sockets.publish(
                    stream, market_shapes.kline_event(instrument.symbol, name, bar, self._clock.now())
                )

    def _note_rate(self, instrument_id: InstrumentId) -> None:
        """A rate whose moment has passed was settled."""
        rate, known = self._boards.funding(instrument_id), self._expected.get(instrument_id)
        if known is not None and self._clock.now() >= known.settles_at and (rate is None or rate != known):
            mark = self._boards.mark(instrument_id) or ZERO
            self.settled[instrument_id].append(SettledRate(known.rate, known.settles_at, mark))
            del self._expected[instrument_id]
        if rate is not None and rate.settles_at > self._clock.now():
            self._expected[instrument_id] = rate

    async def _tick(self) -> None:
        """Every second: mark prices, settled rates and listen keys that ran out."""
        while True:
            now = self._clock.now()
            with suppress(DiaryFailed):  # whoever asks is told; time goes on
                self._exchange.catch_up()
            for instrument in self._instruments.values():
                self._note_rate(instrument.id)
                if (mark := self._exchange.mark(instrument.id)) is not None:
                    message = market_shapes.mark_event(
                        instrument.symbol, mark, self._boards.funding(instrument.id), now
                    )
                    for speed in ("", "@1s"):
                        self._sockets.publish(f"{instrument.symbol.lower()}@markPrice{speed}", message)
            for listen_key in self._keys.expired(now):
                self._sockets.publish(listen_key, user_data.expired_event(listen_key, now))
                self._sockets.drop_stream(listen_key)
            await self._clock.sleep_until(now - now % SECOND + SECOND)

    # -- private ---------------------------------------------------------------------------------------------------

    def _tell_order(self, moved: OrderMoved) -> None:
        order = moved.order
        latest = self._exchange.find(number=order.number)
        if latest is not None and is_unrecorded(latest):
            return
        trade = None if moved.fill is None else self._records.trade(moved.fill.trade_id)
        if trade is not None:
            self._tell_account("ORDER", {trade.fill.fee.asset: ZERO}, moved.at, order.order.instrument_id)
        instrument, now = self._instruments[order.order.instrument_id], self._clock.now()
        self._tell_owner(user_data.order_event(order, instrument, trade, moved.at, now))

    def _tell_transfer(self, assets: tuple[str, ...], at: Nanos) -> None:
        for asset in assets:
            if amount := self._moved_since(asset):
                self._records.note_transfer(Amount(amount, asset), at)
                self._tell_account("DEPOSIT" if amount > ZERO else "WITHDRAW", {asset: amount}, at)

    def _moved_since(self, asset: str) -> Decimal:
        """What came into the wallet from outside since this was asked last: what trading does not explain."""
        explained = sum(
            (
                income.amount.value
                for income in self._records.income()
                if income.amount.asset == asset and income.symbol
            ),
            ZERO,
        )
        outside = self._exchange.simulated.balances.get(asset, ZERO) - explained
        moved = outside - self._booked.get(asset, ZERO)
        self._booked[asset] = outside
        return moved

    def _tell_account(
        self, reason: str, changes: dict[str, Decimal], at: Nanos, instrument_id: InstrumentId | None = None
    ) -> None:
        account = Account(self._exchange)
        positions = [
            (position, self._records.realised(id_))
            for id_, position in account.positions.items()
            if id_ == instrument_id
        ]
        self._tell_owner(user_data.account_event(account, reason, changes, positions, at, self._clock.now()))

    def _tell_owner(self, message: dict[str, object]) -> None:
        for listen_key in self._keys.living(self._clock.now()):
            self._sockets.publish(listen_key, message)
