"""What waits for the engine: quotes may be overtaken by newer ones, everything about orders and money never is.

Two lanes. The order lane is a bounded queue that makes its senders wait when it is full and drops nothing. The market
lane never makes anybody wait: of the quotes that pile up only the newest of each instrument is kept, and losses of a
feed stay where they came, because what was quoted before a loss must not be believed after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from kimp.shared.domain.books import Book
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event, FeedBack, FeedLost, MarketMoved

Moved = MarketMoved | FeedLost | FeedBack

ORDER_LANE_MAX = 10_000
"""Events about orders that may wait; a pair makes some ten, so this is a venue gone mad, and then it has to wait."""

PIECES_MAX = 1_000
"""Losses and the quotes between them that may wait; more means feeds that flap while the engine stands still, and then
only the last loss and the last return of each feed are kept.
"""


@dataclass(slots=True)
class _Quotes:
    """Quotes that will be told together: the newest of each source, those dated in the future apart.

    The engine ignores what is dated in the future, so it must not have pushed a true quote out of the lane before.
    """

    ahead_max: Nanos
    at: Nanos = 0
    moves: int = 0
    books: dict[tuple[bool, InstrumentId], Book] = field(default_factory=dict)
    rates: dict[tuple[bool, str], FxQuote] = field(default_factory=dict)
    funding: dict[tuple[bool, InstrumentId], FundingRate] = field(default_factory=dict)

    def take(self, event: MarketMoved) -> None:
        """Let newer quotes overtake older ones, by the venue's time as the engine does it: feeds deliver out of order."""
        self.at = max(self.at, event.at)
        self.moves += 1
        latest = event.at + self.ahead_max
        for book in event.books:
            key = (book.venue_at <= latest, book.instrument_id)
            known = self.books.get(key)
            if known is None or book.venue_at >= known.venue_at:
                self.books[key] = book
        for rate in event.rates:
            name = (rate.at <= latest, rate.base)
            known_rate = self.rates.get(name)
            if known_rate is None or rate.at >= known_rate.at:
                self.rates[name] = rate
        for funding in event.funding:
            of = (funding.at <= latest, funding.instrument_id)
            known_funding = self.funding.get(of)
            if known_funding is None or funding.at >= known_funding.at:
                self.funding[of] = funding

    def forget(self, instrument_id: InstrumentId) -> None:
        """Its feed was lost: what it said before counts no more."""
        for key in ((True, instrument_id), (False, instrument_id)):
            self.books.pop(key, None)

    def told(self) -> MarketMoved:
        """All of them as one event, what is dated in the future first (``False`` sorts before ``True``)."""
        return MarketMoved(
            self.at,
            tuple(book for key, book in self.books.items() if not key[0])
            + tuple(book for key, book in self.books.items() if key[0]),
            tuple(rate for _, rate in sorted(self.rates.items(), key=lambda item: item[0][0])),
            tuple(rate for _, rate in sorted(self.funding.items(), key=lambda item: item[0][0])),
        )


class Inbox:
    """Both lanes of one runner. ``coalesced`` counts market events overtaken, ``high_water`` the longest order queue."""

    def __init__(self, *, ahead_max: Nanos, order_lane_max: int = ORDER_LANE_MAX) -> None:
        self.coalesced = 0
        self.high_water = 0
        self._ahead_max = ahead_max
        self._order_lane_max = order_lane_max
        self._orders: deque[Event] = deque()
        self._pieces: deque[_Quotes | FeedLost | FeedBack] = deque()
        self._filled = asyncio.Event()
        self._has_room = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits in either lane."""
        return not self._orders and not self._pieces

    # -- in --------------------------------------------------------------------------------------------------------

    async def put(self, event: Event) -> None:
        """The order lane: waits while it is full, loses nothing, keeps the order of arrival."""
        while len(self._orders) >= self._order_lane_max:
            self._has_room.clear()
            await self._has_room.wait()
        self._orders.append(event)
        self.high_water = max(self.high_water, len(self._orders))
        self._filled.set()

    def move(self, moved: Moved) -> None:
        """The market lane: never waits; newer quotes overtake older ones, losses keep their place among them."""
        last = self._pieces[-1] if self._pieces else None
        if not isinstance(moved, MarketMoved):
            self._pieces.append(moved)
        elif isinstance(last, _Quotes):
            last.take(moved)
            self.coalesced += 1
        else:
            quotes = _Quotes(self._ahead_max)
            quotes.take(moved)
            self._pieces.append(quotes)
        if len(self._pieces) > PIECES_MAX:
            self._thin_out()
        self._filled.set()

    def _thin_out(self) -> None:
        """Keep of each feed its last loss, its last return and what was quoted since."""
        last: dict[tuple[type, InstrumentId], FeedLost | FeedBack] = {}
        merged = _Quotes(self._ahead_max)
        for piece in self._pieces:
            if isinstance(piece, _Quotes):
                merged.take(piece.told())
                self.coalesced += 1
            else:
                if isinstance(piece, FeedLost):
                    merged.forget(piece.instrument_id)
                key = (type(piece), piece.instrument_id)
                last.pop(key, None)  # so that the dictionary is in the order of the last ones
                last[key] = piece
        self._pieces = deque([*last.values(), merged])

    # -- out -------------------------------------------------------------------------------------------------------

    async def next(self) -> Event:
        """The next event, waiting for one: the order lane first, each lane in the order of arrival."""
        while self.is_empty:
            self._filled.clear()
            await self._filled.wait()
        order = self.next_order()
        if order is not None:
            return order
        piece = self._pieces.popleft()
        return piece.told() if isinstance(piece, _Quotes) else piece

    def next_order(self) -> Event | None:
        """The next event of the order lane if there is one."""
        if not self._orders:
            return None
        self._has_room.set()
        return self._orders.popleft()
