"""The volatile half of the engine's state: the latest quotes, rebuilt from feeds after a restart, never journaled."""

from __future__ import annotations

from decimal import Decimal

from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.books import Book, BookFault
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import KRW, FxQuote
from kimp.shared.domain.instruments import Instrument, InstrumentId, Pair, Venue
from kimp.shared.domain.money import ONE
from kimp.shared.domain.positions import Mark
from kimp.shared.domain.premium import Basis
from kimp.shared.domain.signals import Refusal
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.messages.events import ClockMeasured, FeedBack, FeedLost, MarketMoved, VenueChanged

NO_REFUSALS: tuple[Refusal, ...] = ()

QUOTE_AHEAD_MAX: Nanos = 5 * SECOND
"""A quote dated further ahead of us than this (and than the clock skew allowed) is a mistake of its source. Kept as the
newest it would silence every true one until a restart. Five seconds: no clock that trades is further off.
"""


class MarketState:
    """Latest book, rate and health per source. A faulty book drops the good one before it: nothing is known then."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._asset_of = {basis: basis.asset for basis in Basis}
        bases = (settings.valuation_basis, settings.signal_basis)
        self._needed = tuple(dict.fromkeys(self._asset_of[basis] for basis in bases))
        self.books: dict[InstrumentId, Book] = {}
        self.rates: dict[str, FxQuote] = {}
        self.funding: dict[InstrumentId, FundingRate] = {}
        self.faults: dict[InstrumentId, BookFault] = {}
        self._dropped_at: dict[InstrumentId, Nanos] = {}
        self._lost: set[InstrumentId] = set()
        self._trusted_from: dict[InstrumentId, Nanos] = {}
        self._down: set[Venue] = set()
        self._skewed: set[Venue] = set()
        self.ahead_max = max(settings.clock_skew_max, QUOTE_AHEAD_MAX)
        self._ahead: set[str] = set()

    def see(self, event: MarketMoved) -> None:
        """Take in new quotes. Older ones than those known are ignored: feeds may deliver out of order. Those dated far in
        the future are too, and while a source sends such nothing is entered on it.
        """
        latest, ahead = event.at + self.ahead_max, self._ahead
        for quote in event.rates:
            base, at = quote.base, quote.at
            known_rate = self.rates.get(base)
            if (known_rate is None or at >= known_rate.at) and at <= latest:
                if ahead:
                    ahead.discard(base)
                if quote.is_usable:
                    self.rates[base] = quote
                else:
                    # One that is no number drops the good one before it, like a faulty book.
                    self.rates.pop(base, None)
            elif at > latest:
                ahead.add(base)
        for funding in event.funding:
            known_funding = self.funding.get(funding.instrument_id)
            if (known_funding is None or funding.at >= known_funding.at) and funding.at <= latest:
                self.funding[funding.instrument_id] = funding
        books = self.books
        for book in event.books:
            instrument_id, at = book.instrument_id, book.venue_at
            known = books.get(instrument_id)
            newest = known.venue_at if known is not None else self._dropped_at.get(instrument_id, 0)
            if newest <= at <= latest:
                if ahead:
                    ahead.discard(instrument_id)
                fault = book.fault()
                if fault is None:
                    books[instrument_id] = book
                    if self.faults:
                        self.faults.pop(instrument_id, None)
                else:
                    self._drop(instrument_id, at, fault)
            elif at > latest:
                ahead.add(instrument_id)

    def _drop(self, instrument_id: InstrumentId, at: Nanos, fault: BookFault | None = None) -> None:
        """Forget a book, but not how new it was: an older one must not come back in its place."""
        self.books.pop(instrument_id, None)
        self._dropped_at[instrument_id] = at
        if fault is not None:
            self.faults[instrument_id] = fault

    def note(self, event: FeedLost | FeedBack | VenueChanged | ClockMeasured) -> None:
        """Take in a change of a source's health."""
        match event:
            case FeedLost(instrument_id=lost):
                self._lost.add(lost)
                if lost in self.books:
                    self._drop(lost, self.books[lost].venue_at)
            case FeedBack(at=at, instrument_id=back):
                self._lost.discard(back)
                self._trusted_from[back] = at + self._settings.quarantine
            case VenueChanged(venue=venue, is_available=is_available):
                (self._down.discard if is_available else self._down.add)(venue)
            case ClockMeasured(venue=venue, skew=skew):
                too_far = abs(skew) > self._settings.clock_skew_max
                (self._skewed.add if too_far else self._skewed.discard)(venue)

    def undecidable(self, pair: Pair, now: Nanos) -> tuple[Refusal, ...]:
        """Why no decision of any kind may be made on these quotes; empty when all is well."""
        korea = self.books.get(pair.korea.id)
        abroad = self.books.get(pair.abroad.id)
        if korea is None or abroad is None:
            return tuple(self._absent(leg.id) for leg in (pair.korea, pair.abroad) if leg.id not in self.books)
        return self.doubts(korea, abroad, now)

    def doubts(self, korea: Book, abroad: Book, now: Nanos) -> tuple[Refusal, ...]:
        """Why these two books, though sound, are not to be decided on now: their age, their distance, or the rates."""
        settings, ours, theirs = self._settings, korea.venue_at, abroad.venue_at
        if now - (ours if ours < theirs else theirs) > settings.book_age_max:
            is_ahead = korea.instrument_id in self._ahead or abroad.instrument_id in self._ahead
            return (Refusal.BOOK_STALE, Refusal.QUOTE_AHEAD) if is_ahead else (Refusal.BOOK_STALE,)
        if ours != theirs and abs(ours - theirs) > settings.leg_skew_max:
            return (Refusal.LEGS_SKEWED,)
        for asset in self._needed:
            quote = self.rates.get(asset)
            if quote is None or not quote.at <= now <= quote.valid_until:
                return (Refusal.FX_MISSING if quote is None else Refusal.FX_EXPIRED,)
        return NO_REFUSALS

    def entry_refusals(self, pair: Pair, now: Nanos) -> tuple[Refusal, ...]:
        """Further reasons not to open anything on these sources, though what is held may still be watched and closed."""
        refusals: list[Refusal] = []
        for leg in (pair.korea, pair.abroad):
            if leg.id in self._lost:
                refusals.append(Refusal.FEED_LOST)
            if now < self._trusted_from.get(leg.id, 0):
                refusals.append(Refusal.FEED_QUARANTINED)
            if leg.venue in self._down:
                refusals.append(Refusal.VENUE_UNAVAILABLE)
            if leg.venue in self._skewed:
                refusals.append(Refusal.CLOCK_SKEWED)
            if leg.id in self._ahead:
                refusals.append(Refusal.QUOTE_AHEAD)
        if not self._ahead.isdisjoint(self._needed):
            refusals.append(Refusal.QUOTE_AHEAD)
        return tuple(dict.fromkeys(refusals))

    def trusted_from(self, instrument_id: InstrumentId) -> Nanos:
        """When the quarantine of a feed that came back ends; 0 if it never was away."""
        return self._trusted_from.get(instrument_id, 0)

    def is_down(self, pair: Pair) -> bool:
        """Whether either venue is known to be in maintenance: an order to it alone would leave the other leg naked."""
        return bool(self._down) and (pair.korea.venue in self._down or pair.abroad.venue in self._down)

    def rate(self, basis: Basis) -> Decimal | None:
        """KRW per USDT on that basis as last heard, valid or not; ``None`` if never heard."""
        quote = self.rates.get(self._asset_of[basis])
        return None if quote is None else quote.value

    def krw_rate(self, instrument: Instrument) -> Decimal | None:
        """KRW per unit of an instrument's quote asset at the valuation basis; for booking what has already happened."""
        return ONE if instrument.quote == KRW else self.rate(self._settings.valuation_basis)

    def mark(self, instrument: Instrument) -> Mark | None:
        """The instrument's mid and the worth of its quote asset, ``None`` without a good book or rate."""
        book, krw_rate = self.books.get(instrument.id), self.krw_rate(instrument)
        return None if book is None or krw_rate is None else Mark(book.mid(), krw_rate)

    def _absent(self, instrument_id: InstrumentId) -> Refusal:
        if instrument_id in self._lost:
            return Refusal.FEED_LOST
        if instrument_id in self._ahead:
            return Refusal.QUOTE_AHEAD
        return Refusal.BOOK_INVALID if instrument_id in self.faults else Refusal.NO_BOOK
