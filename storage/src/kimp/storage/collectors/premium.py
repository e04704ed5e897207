"""The premium, written down in an even rhythm: both bases, at mid, touch and for a real size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import USD, USDT, FxQuote
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.premium import KimpCalculator, PremiumRates
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.shared.settings import Guards
from kimp.storage.collectors.board import Board
from kimp.storage.collectors.markets import Desk
from kimp.storage.database.rows import Row

SETTLED: Nanos = 250 * MILLISECOND
"""How long after a period's end its last quotes may still be on their way through our own queues."""


class Reading(msgspec.Struct, frozen=True):
    """One moment's premium, what it was made of, and why it must not be traded on, if so."""

    rates: PremiumRates | None
    korea: Book | None
    abroad: Book | None
    usdkrw: FxQuote | None
    usdtkrw: FxQuote | None
    reasons: tuple[str, ...]


def size_of(pair: Pair, korea: Book, size_krw: Decimal) -> Decimal:
    """How many coins the configured size buys in Korea, in tradable lots."""
    return pair.korea.rules.floor(size_krw / korea.mid() // pair.lot * pair.lot)


def read_premium(pair: Pair, board: Board, at: Nanos, guards: Guards, size_krw: Decimal) -> Reading:
    """The premium at a moment and its faults; the same gates as a decision to enter has."""
    korea, abroad = board.book(pair.korea.id, at), board.book(pair.abroad.id, at)
    usdkrw, usdtkrw = board.rate(USD, at), board.rate(USDT, at)
    reasons = [
        *_faults("upbit", korea, at, guards),
        *_faults("binance", abroad, at, guards),
        *([] if usdkrw is not None and usdkrw.is_valid(at) else ["usdkrw_invalid"]),
        *([] if usdtkrw is not None and usdtkrw.is_valid(at) else ["usdtkrw_invalid"]),
    ]
    if korea is None or abroad is None or korea.fault() or abroad.fault():
        return Reading(None, korea, abroad, usdkrw, usdtkrw, tuple(reasons))
    if abs(korea.venue_at - abroad.venue_at) > guards.leg_skew_max_ms * MILLISECOND:
        reasons.append("leg_skew")
    quantity = size_of(pair, korea, size_krw)
    rates = KimpCalculator(pair).rates(
        korea, abroad, now=at, usdkrw=usdkrw, usdtkrw=usdtkrw, quantity=quantity if quantity > 0 else None
    )
    return Reading(rates, korea, abroad, usdkrw, usdtkrw, tuple(reasons))


def _faults(leg: str, book: Book | None, at: Nanos, guards: Guards) -> list[str]:
    if book is None:
        return [f"{leg}_missing"]
    if (fault := book.fault()) is not None:
        return [f"{leg}_{fault.value}"]
    return [f"{leg}_stale"] if at - book.venue_at > guards.book_age_max_ms * MILLISECOND else []


RATES_ONLY = frozenset({"usdkrw_invalid", "usdtkrw_invalid", "leg_skew"})
"""Faults that leave something worth keeping: one basis may be missing, and quiet books differ in age."""


class PremiumCollector:
    """Writes one row for each coin and period, with the two books it was made of, so that it can be worked out again."""

    name = "premium"

    def __init__(self, pairs: Mapping[str, Pair], desk: Desk, guards: Guards) -> None:
        self._pairs = pairs
        self._desk = desk
        self._guards = guards
        self._period = desk.settings.premium_s * SECOND
        self.refused: Counter[str] = Counter()
        for coin in pairs:
            desk.pulses.expect(f"{coin} premium", 2 * self._period + SECOND)

    async def run(self) -> None:
        """Compute at every whole period, for ever."""
        clock = self._desk.clock
        while True:
            at = (clock.now() // self._period + 1) * self._period
            await clock.sleep_until(at + SETTLED)
            rows = [row for pair in self._pairs.values() for row in self._rows(pair, at)]
            if rows:
                await self._desk.sink.put(rows)

    def _rows(self, pair: Pair, at: Nanos) -> Sequence[Row]:
        reading = read_premium(pair, self._desk.board, at, self._guards, self._desk.settings.size_krw)
        self.refused.update(reading.reasons)
        rates = reading.rates
        if rates is None or not RATES_ONLY.issuperset(reading.reasons) or (rates.fx is None and rates.usdt is None):
            return ()
        assert reading.korea is not None
        assert reading.abroad is not None
        self._desk.pulses.beat(f"{pair.symbol} premium", at)
        return (reading.korea, reading.abroad, rates)
