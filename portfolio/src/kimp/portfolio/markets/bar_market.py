"""Bars as a live market: books several times a second around a path through every bar, exchange rates, funding rates."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from random import Random

from kimp.portfolio.markets.boards import Boards
from kimp.portfolio.markets.depths import book_around
from kimp.portfolio.markets.paths import TICKS_MIN, Bar, path_of
from kimp.portfolio.markets.pulses import Pulses
from kimp.shared.domain.books import Book
from kimp.shared.domain.history import Candles, MarketData
from kimp.shared.domain.instruments import Instrument, Pair, Side
from kimp.shared.domain.money import exact
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import DAY, MILLISECOND, SECOND, Nanos
from kimp.shared.errors import ConfigurationError
from kimp.shared.messages.events import MarketMoved
from kimp.shared.ports.clock import Clock

EVERY: Nanos = 250 * MILLISECOND
"""Four books a second, as often as Upbit pushes a lively one."""

BEHIND_MAX: Nanos = 5 * SECOND
"""A stream that is later than this leaves ticks out: a market must not lag behind its clock for ever."""


class BarMarket:
    """Recorded or simulated bars, told on the clock as if they happened now; a ``MarketDataSource``.

    The same data and seed tell the same story from wherever they are entered. A minute without a bar has no books, as
    nobody traded. ``boards`` shows trades and candles: those of a whole minute are the bar itself.

    Args:
        data: the bars; their times are shifted to the clock's.
        pair: both legs' instruments.
        clock: a faster clock makes a faster market.
        seed: of paths and depths.
        start: where in the data to begin (nanoseconds); ``None`` is the first day at the clock's time of day, so that
            minutes, settlements and bank hours stay where they are.
        every: between two books of a leg (nanoseconds).

    Raises:
        ConfigurationError: ``start`` lies outside the data, or ``every`` leaves a bar less than four ticks.
    """

    def __init__(
        self,
        data: MarketData,
        pair: Pair,
        clock: Clock,
        *,
        seed: int = 0,
        start: Nanos | None = None,
        every: Nanos = EVERY,
    ) -> None:
        if start is not None and not data.start <= start < data.end:
            raise ConfigurationError(f"The market starts at {start}, outside its data ({data.start} to {data.end}).")
        if every <= 0 or data.interval % every or data.interval // every < TICKS_MIN:
            raise ConfigurationError(f"Bars of {data.interval} ns do not divide into ticks of {every} ns.")
        self.data = data
        self.boards = Boards()
        self._clock = clock
        self._start = start
        self._every = every
        self._pulses = Pulses(data, pair)
        self._legs = (
            _Leg(data.korea, pair.korea, data, seed, every),
            _Leg(data.abroad, pair.abroad, data, seed, every),
        )

    async def stream(self) -> AsyncIterator[MarketMoved]:
        """Every tick of both legs in one event, with the rates that are known then; ends with the data."""
        start, shift = self._entry()
        tick = start - (start - self.data.start) % self._every
        while tick < self.data.end:
            await self._clock.sleep_until(tick + shift)
            late = self._clock.now() - (tick + shift)
            if late > BEHIND_MAX:
                tick += late // self._every * self._every
                continue
            moved = self._at(tick, shift)
            self.boards.note(moved)
            yield moved
            tick += self._every

    def _entry(self) -> tuple[Nanos, Nanos]:
        now = self._clock.now()
        if self._start is not None:
            return self._start, now - self._start
        shift = (now - self.data.start) // DAY * DAY
        start = now - shift
        return (start, shift) if start < self.data.end else (self.data.start, now - self.data.start)

    def _at(self, tick: Nanos, shift: Nanos) -> MarketMoved:
        books: list[Book] = []
        for leg in self._legs:
            shown = leg.at(tick, shift)
            if shown is not None:
                book, trade = shown
                books.append(book)
                self.boards.trade(trade)
        return MarketMoved(tick + shift, tuple(books), *self._pulses.at(tick, shift))


class _Leg:
    """One leg's bars as ticks; a bar's path is made when its first tick is asked for."""

    def __init__(self, candles: Candles, instrument: Instrument, data: MarketData, seed: int, every: Nanos) -> None:
        self._candles = candles
        self._instrument = instrument
        self._data = data
        self._seed = seed
        self._every = every
        self._opened: Nanos | None = None
        self._path: list[Decimal] = []
        self._sizes: Iterator[Decimal] | None = None
        self._size = Decimal(0)

    def at(self, tick: Nanos, shift: Nanos) -> tuple[Book, PublicTrade] | None:
        """The book and the trade of that tick; ``None`` in a minute nobody traded in."""
        ticks = self._data.interval // self._every
        number, step = divmod((tick - self._data.start) // self._every, ticks)
        opened = self._data.start + number * self._data.interval
        if opened != self._opened:
            self._open(opened, ticks)
        if not self._path:
            return None
        price, before = self._path[step], self._path[max(step - 1, 0)]
        # Dice of their own for each tick: a market entered in the middle of a bar shows the same books.
        dice = Random(f"{self._seed}:{self._instrument.id}:{tick}")
        side = dice.choice((Side.BUY, Side.SELL)) if price == before else Side.BUY if price > before else Side.SELL
        at = tick + shift
        trade = PublicTrade(self._instrument.id, number * ticks + step + 1, side, price, self._size, at, at)
        return book_around(self._instrument, price, side, at, dice), trade

    def _open(self, opened: Nanos, ticks: int) -> None:
        self._opened, self._path = opened, []
        row = bisect_right(self._candles.opened, opened) - 1
        if row < 0 or int(self._candles.opened[row]) != opened:
            return
        rules = self._instrument.rules
        columns = (self._candles.open, self._candles.high, self._candles.low, self._candles.close)
        first, high, low, last = (rules.bound(exact(float(column[row])), Side.BUY) for column in columns)
        bar = Bar(first, high, low, last, exact(float(self._candles.volume[row])))
        self._path = path_of(bar, ticks, rules, Random(f"{self._seed}:{self._instrument.id}:{opened}"))
        self._size = max(rules.floor(bar.volume / ticks), rules.lot)
