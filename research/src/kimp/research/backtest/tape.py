"""A recording as the engine will live it: one market event per bar's close, and the open that orders then meet.

No look-ahead by construction: a bar is told only when it has closed, an FX fixing only from its publication, a
funding rate only once settled, and what was decided at a close fills at the earliest at the next bar's open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from time import perf_counter
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from kimp.research.simulation.slippage import SlippageModel
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import USD, USDT, FxQuote
from kimp.shared.domain.history import Candles, MarketData, Observations, Times, Values
from kimp.shared.domain.instruments import Instrument, InstrumentId, Pair
from kimp.shared.domain.money import ZERO, exact
from kimp.shared.domain.time import HOUR, Nanos
from kimp.shared.messages.events import MarketMoved

CHUNK = 128
"""Bars turned into events at once: enough to make numpy pay, few enough to be still in the cache when they are used."""

FUNDING_INTERVAL = 8 * HOUR
"""Between BTCUSDT's settlements; only tells when the next is due, amounts come from the recorded rates."""

USDT_VALID_BARS = 3
"""A KRW-USDT price is usable for this many bars without a new one."""

FOREVER: Nanos = 2**63 - 1

Known = TypeVar("Known", FxQuote, FundingRate)


@dataclass(frozen=True, slots=True)
class Settlement:
    """A recorded funding settlement."""

    instrument_id: InstrumentId
    rate: Decimal
    at: Nanos


@dataclass(frozen=True, slots=True)
class Quotes:
    """One leg's touches, per bar of the tape; ``has`` is false where the leg has no bar."""

    has: NDArray[np.bool_]
    close_bid: Values
    close_ask: Values
    close_depth: Values
    open_bid: Values
    open_ask: Values
    open_depth: Values

    @property
    def opening(self) -> tuple[Values, Values, Values]:
        """Bid, ask and depth at the open."""
        return self.open_bid, self.open_ask, self.open_depth

    def last_at(self, index: int) -> int | None:
        """The latest bar of this leg up to that bar of the tape, ``None`` before its first."""
        known = np.flatnonzero(self.has[: index + 1])
        return int(known[-1]) if len(known) else None

    @property
    def mid(self) -> Values:
        """Halfway between the closing touches, carried forward over missing bars: for curves only, never for decisions."""
        return carried((self.close_bid + self.close_ask) / 2)


class Tape:
    """Iterates ``MarketMoved`` per bar close; ``opened(i)`` gives the books at the open of bar ``i``.

    ``build_s`` is the time spent making events out of columns, so that the engine's own time can be told apart.
    """

    def __init__(self, data: MarketData, pair: Pair, slippage: SlippageModel) -> None:
        self._data = data
        self._pair = pair
        opened = np.union1d(data.korea.opened, data.abroad.opened).astype(np.int64)
        self.opened_at: Times = opened
        self.closed_at: Times = opened + data.interval
        self.korea = _quotes(data.korea, opened, pair.korea, slippage)
        self.abroad = _quotes(data.abroad, opened, pair.abroad, slippage)
        self.build_s = 0.0

    def __len__(self) -> int:
        return len(self.closed_at)

    def __iter__(self) -> Iterator[MarketMoved]:
        rates = _Pending(self._rate_quotes())
        funding = _Pending(self._funding_rates())
        for start in range(0, len(self), CHUNK):
            began = perf_counter()
            events = self._chunk(start, min(start + CHUNK, len(self)), rates, funding)
            self.build_s += perf_counter() - began
            yield from events

    def opened(self, index: int) -> tuple[Book, ...]:
        """Both legs' books at the open of that bar; a leg without the bar offers nothing, least of all its old price."""
        at = int(self.closed_at[index]) - self._data.interval
        known = {}
        for leg, quotes in self._legs():
            if quotes.has[index]:
                bid, ask, depth = (exact(float(column[index])) for column in quotes.opening)
                known[leg.id] = _book(leg.id, bid, ask, depth, at)
        if len(known) < len(self._legs()):
            return tuple(known.get(book.instrument_id, book) for book in self.empty(index))
        return tuple(known.values())

    def empty(self, index: int) -> tuple[Book, ...]:
        """Both legs at the close of that bar with nothing on offer: what an order meets while nobody trades."""
        at = int(self.closed_at[index])
        return tuple(
            _book(leg.id, exact(float(quotes.close_bid[last])), exact(float(quotes.close_ask[last])), ZERO, at)
            for leg, quotes in self._legs()
            if (last := quotes.last_at(index)) is not None
        )

    def settlements(self) -> list[Settlement]:
        """Every recorded funding settlement, oldest first."""
        funding = self._data.funding
        return [
            Settlement(self._pair.abroad.id, exact(rate), at)
            for at, rate in zip(funding.at.tolist(), funding.value.tolist(), strict=True)
            if self._data.start <= at < self._data.end
        ]

    def krw_rates(self, asset: str) -> Values:
        """KRW per unit of ``asset`` (USD or USDT) at every bar, carried forward; NaN before the first; for curves only.

        The official rate stands in for a KRW-USDT that was not recorded.
        """
        observed = self._observed(asset)
        index = np.searchsorted(observed.at, self.closed_at, side="right") - 1
        return np.where(index >= 0, observed.value[np.maximum(index, 0)], np.nan)

    def krw_rate_at(self, asset: str, at: Nanos) -> Decimal:
        """KRW per unit of ``asset`` as last heard at that moment; the official rate where the other was not recorded."""
        observed = self._observed(asset)
        return exact(float(observed.value[max(int(np.searchsorted(observed.at, at, side="right")) - 1, 0)]))

    def _observed(self, asset: str) -> Observations:
        tether = self._data.usdtkrw
        return self._data.usdkrw if asset == USD or tether is None else tether

    def _legs(self) -> tuple[tuple[Instrument, Quotes], tuple[Instrument, Quotes]]:
        return (self._pair.korea, self.korea), (self._pair.abroad, self.abroad)

    def _chunk(
        self, start: int, stop: int, rates: _Pending[FxQuote], funding: _Pending[FundingRate]
    ) -> list[MarketMoved]:
        times = self.closed_at[start:stop].tolist()
        korea = _books(self._pair.korea.id, self.korea, times, start, stop)
        abroad = _books(self._pair.abroad.id, self.abroad, times, start, stop)
        events = []
        for at, ours, theirs in zip(times, korea, abroad, strict=True):
            books = (ours, theirs) if ours and theirs else tuple(book for book in (ours, theirs) if book)
            events.append(MarketMoved(at, books, rates.until(at), funding.until(at)))
        return events

    def _rate_quotes(self) -> list[FxQuote]:
        data = self._data
        quotes = _fx_quotes(data.usdkrw, USD, data.usdkrw_valid_for, data.sources.get("usdkrw", "recorded"))
        if data.usdtkrw is not None:
            valid_for = USDT_VALID_BARS * data.interval
            quotes += _fx_quotes(data.usdtkrw, USDT, valid_for, data.sources.get("usdtkrw", "recorded"))
        else:
            # No KRW-USDT was recorded: the official rate stands in for it, which the assumptions box must say.
            quotes += [FxQuote(USDT, quote.value, quote.at, quote.valid_until, quote.source) for quote in quotes]
        return sorted(quotes, key=lambda quote: quote.at)

    def _funding_rates(self) -> list[FundingRate]:
        funding = self._data.funding
        return [
            FundingRate(self._pair.abroad.id, exact(rate), at, at + FUNDING_INTERVAL, FUNDING_INTERVAL)
            for at, rate in zip(funding.at.tolist(), funding.value.tolist(), strict=True)
        ]


class _Pending(Generic[Known]):
    """Things that become known at their own ``at``, handed out once, bar by bar."""

    def __init__(self, items: list[Known]) -> None:
        self._items: list[Known] = items
        self._next = 0
        self._next_at = items[0].at if items else FOREVER

    def until(self, at: Nanos) -> tuple[Known, ...]:
        """What became known since the last call, up to and including ``at``."""
        if at < self._next_at:
            return ()
        start = self._next
        while self._next < len(self._items) and self._items[self._next].at <= at:
            self._next += 1
        self._next_at = self._items[self._next].at if self._next < len(self._items) else FOREVER
        return tuple(self._items[start : self._next])


def carried(values: Values) -> Values:
    """The last known value wherever one is missing; NaN before the first."""
    known = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(known)]


def _fx_quotes(observed: Observations, asset: str, valid_for: Nanos, source: str) -> list[FxQuote]:
    """One quote per run of equal observations, usable until the last of them expires: the same as hearing each of them,
    for a fraction of the work. A pause longer than the validity ends a run.
    """
    at, value = observed.at, observed.value
    starts = np.flatnonzero(np.r_[True, (value[1:] != value[:-1]) | (at[1:] - at[:-1] > valid_for)]) if len(at) else at
    lasts = np.r_[starts[1:] - 1, len(at) - 1] if len(at) else at
    runs = zip(at[starts].tolist(), value[starts].tolist(), at[lasts].tolist(), strict=True)
    return [FxQuote(asset, exact(number), first, last + valid_for, source) for first, number, last in runs]


def _quotes(candles: Candles, opened: Times, leg: Instrument, slippage: SlippageModel) -> Quotes:
    """One leg's touches on the tape's bars: its prices moved apart by the slippage model, rounded away from each other."""
    where = np.searchsorted(opened, candles.opened)
    has = np.zeros(len(opened), dtype=bool)
    has[where] = True

    def spread(column: Values) -> Values:
        on_tape = np.full(len(opened), np.nan)
        on_tape[where] = column
        return on_tape

    close_bid, close_ask = _touches(candles.close, slippage.half_spread(candles.close, candles.volume), leg)
    open_bid, open_ask = _touches(candles.open, slippage.half_spread(candles.open, candles.volume), leg)
    return Quotes(
        has=has,
        close_bid=spread(close_bid),
        close_ask=spread(close_ask),
        close_depth=spread(slippage.depth(candles.close, candles.volume)),
        open_bid=spread(open_bid),
        open_ask=spread(open_ask),
        open_depth=spread(slippage.depth(candles.open, candles.volume)),
    )


def _touches(price: Values, half_spread: Values, leg: Instrument) -> tuple[Values, Values]:
    """Bid and ask around a price, at least one tick apart: a venue never shows a locked book, and none may be traded."""
    bid, ask = _on_tick(price * (1 - half_spread), leg, np.floor), _on_tick(price * (1 + half_spread), leg, np.ceil)
    return bid, np.where(ask > bid, ask, np.round(bid + _ticks(bid, leg), 8))


def _on_tick(price: Values, leg: Instrument, rounding: Callable[[Any], Any]) -> Values:
    """Prices on the venue's grid; rounded to eight decimals at the end so that their shortest text is the exact price."""
    tick = _ticks(price, leg)
    # A price already on the grid must not move a tick because of the last binary digit.
    on_tick: Values = np.round(rounding(np.round(price / tick, 6)) * tick, 8)
    return on_tick


def _ticks(price: Values, leg: Instrument) -> Values:
    bands = leg.rules.bands
    return np.select(
        [price >= float(band.from_price) for band in bands], [float(band.tick) for band in bands], float(bands[-1].tick)
    )


def _books(instrument_id: InstrumentId, quotes: Quotes, times: list[Nanos], start: int, stop: int) -> list[Book | None]:
    bids = quotes.close_bid[start:stop].tolist()
    asks = quotes.close_ask[start:stop].tolist()
    depths = quotes.close_depth[start:stop].tolist()
    exact_depth = {depth: Decimal(repr(round(depth, 8))) for depth in set(depths)}
    return [
        _book(instrument_id, Decimal(repr(bid)), Decimal(repr(ask)), exact_depth[depth], at) if has else None
        for has, bid, ask, depth, at in zip(quotes.has[start:stop].tolist(), bids, asks, depths, times, strict=True)
    ]


def _book(instrument_id: InstrumentId, bid: Decimal, ask: Decimal, depth: Decimal, at: Nanos) -> Book:
    return Book(instrument_id, (Level(bid, depth),), (Level(ask, depth),), at, at)
