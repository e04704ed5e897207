"""A market that keeps a trader busy: the premium swings through zero every few seconds, and books are thin at times."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import USD, USDT, FxQuote
from kimp.shared.domain.instruments import Instrument, Pair, Side
from kimp.shared.domain.time import HOUR, MILLISECOND, MINUTE, SECOND, Nanos
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.shared.ports.clock import Clock

RATE = Decimal(1_400)
MIDDLE = 100_000.0
EVERY: Nanos = 100 * MILLISECOND
PERIOD: Nanos = 3 * SECOND
"""Of the premium: one pair is opened and closed at a profit in each, when nothing goes wrong."""

AMPLITUDE = 0.009
"""More than four fees and both bounds' slippage, so that leaving is allowed near the top."""

CALM = -0.006
"""The premium while it is calm: nothing that was entered on the way down may leave at a profit here."""

ROWS = 8
THIN = 0.25
"""Of the books are too thin for a whole leg, so that orders fill in part."""

FUNDED_EVERY: Nanos = 20 * SECOND


@dataclass(slots=True)
class Weather:
    """What the market and the wire do now; changed from outside while they run. ``trouble`` is a share of requests."""

    is_calm: bool = False
    trouble: float = 0.0


class SwingingMarket:
    """A function of the clock and a seed, so that it goes on where it was after its process was killed."""

    def __init__(self, pair: Pair, clock: Clock, weather: Weather, seed: int) -> None:
        self._pair = pair
        self._clock = clock
        self._weather = weather
        self._dice = Random(seed)
        self._funded_at: Nanos = 0

    async def stream(self) -> AsyncIterator[MarketMoved | FeedLost | FeedBack]:
        """Both books ten times a second, with both rates."""
        while True:
            at = self._clock.now()
            yield self._at(at)
            await self._clock.sleep_until(at - at % EVERY + EVERY)

    def _at(self, at: Nanos) -> MarketMoved:
        abroad = MIDDLE * (1 + 0.004 * math.sin(at / (97 * SECOND)) + 0.0002 * self._dice.uniform(-1, 1))
        premium = CALM if self._weather.is_calm else AMPLITUDE * math.sin(2 * math.pi * at / PERIOD)
        korea = abroad * float(RATE) * (1 + premium)
        books = (self._book(self._pair.korea, korea, at), self._book(self._pair.abroad, abroad, at))
        rates = tuple(FxQuote(base, RATE, at, at + 2 * MINUTE, "swinging") for base in (USD, USDT))
        return MarketMoved(at, books, rates, self._funding(at))

    def _book(self, instrument: Instrument, price: float, at: Nanos) -> Book:
        rules = instrument.rules
        bid = rules.bound(Decimal(round(price, 1)).quantize(Decimal("0.1")), Side.BUY)
        tick = rules.tick_at(bid)
        gap = max(tick, (bid * Decimal("0.0001")) // tick * tick)
        scale = 0.1 if self._dice.random() < THIN else 1.0
        bids = tuple(Level(bid - gap * row, self._size(scale)) for row in range(ROWS))
        asks = tuple(Level(bid + tick + gap * row, self._size(scale)) for row in range(ROWS))
        return Book(instrument.id, bids, asks, at, at)

    def _size(self, scale: float) -> Decimal:
        return Decimal(round(scale * self._dice.uniform(20, 90))).scaleb(-3)

    def _funding(self, at: Nanos) -> tuple[FundingRate, ...]:
        """Settled every twenty seconds, of either sign; none falls due while it is calm."""
        due = at - at % FUNDED_EVERY + (HOUR if self._weather.is_calm else FUNDED_EVERY)
        rate = Decimal(self._dice.choice((-1, 1, 2))).scaleb(-4)
        return (FundingRate(self._pair.abroad.id, rate, at, due, 8 * HOUR),)
