"""What is remembered of one venue between two looks at it: since when to ask, and what was told."""

from __future__ import annotations

from dataclasses import dataclass, field

from kimp.order.engine.state import EngineState
from kimp.order.runtime.comparing import Comparer
from kimp.shared.domain.instruments import Instrument, Venue
from kimp.shared.domain.ledger import EntryKind
from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos
from kimp.shared.ports.exchange import Exchange

MARGIN: Nanos = 5 * MINUTE
"""Each look overlaps the one before by this: trades are listed late, and clocks differ."""

START_MARGIN: Nanos = HOUR
"""The first look of a run overlaps the last fill in the journal by this: fills may have been missed before it."""

DEEP_LOOK: Nanos = 7 * DAY - HOUR
"""How far back a difference that nothing explains is searched for. Both venues list seven days at once (Upbit "종료
주문 목록 조회"; Binance "Account Trade List"), less an hour for clocks.
"""

DEEP_AGAIN: Nanos = 10 * MINUTE
"""A difference that stays is not searched for that far on every look: it costs request budget."""

FUNDING_MARGIN: Nanos = DAY
"""Income records may come hours late; a day of them is three rows."""


@dataclass(slots=True)
class Watch:
    """One venue: its legs, since when to ask, and how it stands. A venue that ``is_held`` is told to be unavailable."""

    exchange: Exchange
    instruments: tuple[Instrument, ...]
    comparer: Comparer
    fills_from: Nanos
    funding_from: Nanos
    failures: int = 0
    is_held: bool = False
    is_alerted: bool = False
    is_suspect: bool = False
    deep_at: Nanos = 0
    told: set[str] = field(default_factory=set)

    def ask_from(self, now: Nanos) -> Nanos:
        """Since when fills are asked for; far back while something differs that nothing explains."""
        if self.is_suspect and now >= self.deep_at + DEEP_AGAIN:
            self.deep_at = now
            return min(self.fills_from, now - DEEP_LOOK)
        return self.fills_from

    def asked(self, at: Nanos) -> None:
        """Everything up to ``at`` was answered."""
        self.fills_from, self.funding_from = at - MARGIN, at - FUNDING_MARGIN


def watch(state: EngineState, venue: Venue, exchange: Exchange, now: Nanos) -> Watch:
    """Begin to watch a venue: since the last of its fills in the books, or since the first start."""
    legs = tuple(dict.fromkeys(leg for slot in state.slots.values() for leg in slot.legs if leg.venue is venue))
    comparer = Comparer(state, venue, legs)
    fills = tuple(f"fill:{leg.id}:" for leg in legs)
    funding = tuple(f"funding:{leg.id}:" for leg in legs)
    filled_at = funded_at = comparer.started_at or now
    for entry in state.ledger.entries:
        if entry.kind is EntryKind.FILL and entry.entry_id.startswith(fills):
            filled_at = max(filled_at, entry.at)
        elif entry.kind is EntryKind.FUNDING and entry.entry_id.startswith(funding):
            funded_at = max(funded_at, entry.at)
    return Watch(exchange, legs, comparer, filled_at - START_MARGIN, funded_at - FUNDING_MARGIN)
