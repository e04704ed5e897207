"""What a look at the venues found, and what it was taken for: the facts behind ``kimp reconcile``."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.orders import ClientId, Fill, OrderStatus
from kimp.shared.domain.time import Nanos


class Verdict(StrEnum):
    """What a comparison was taken for.

    ``ROUNDING`` is too small to be anything else; ``WAITING`` means that something was under way, so that nothing can
    be said; ``SEEN_ONCE`` is looked at again before it counts; ``MISMATCH`` blocks entries and wants a person.
    """

    EQUAL = "equal"
    ROUNDING = "rounding"
    WAITING = "waiting"
    SEEN_ONCE = "seen_once"
    FIRST_START = "first_start"
    TRANSFER = "transfer"
    MISMATCH = "mismatch"


class Compared(msgspec.Struct, frozen=True):
    """One number of ours beside the venue's: money of an asset, or coins and contracts of an instrument."""

    name: str
    ours: Decimal
    theirs: Decimal
    verdict: Verdict

    @property
    def difference(self) -> Decimal:
        """How much more the venue says there is."""
        return self.theirs - self.ours


class SeenOrder(msgspec.Struct, frozen=True):
    """An order that was asked about or found resting. ``status`` is ``None`` when the venue could not say."""

    instrument_id: InstrumentId
    client_id: ClientId
    is_ours: bool
    is_settled: bool
    status: OrderStatus | None
    is_cancelled: bool = False


class VenueReconciliation(msgspec.Struct, frozen=True):
    """One venue's word against our books at ``at``. ``is_quiet`` says whether nothing was under way, so that numbers
    could be compared; ``reason`` why the venue could not be asked.
    """

    venue: Venue
    at: Nanos
    is_reachable: bool
    reason: str = ""
    is_quiet: bool = False
    clock_skew: Nanos | None = None
    missed_fills: tuple[Fill, ...] = ()
    missed_funding: tuple[FundingPayment, ...] = ()
    orders: tuple[SeenOrder, ...] = ()
    wallets: tuple[Compared, ...] = ()
    positions: tuple[Compared, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether the venue was asked and says what our books say."""
        compared = (*self.wallets, *self.positions)
        return (
            self.is_reachable
            and self.is_quiet
            and not (self.missed_fills or self.missed_funding or self.strays)
            and all(found.verdict in (Verdict.EQUAL, Verdict.ROUNDING) for found in compared)
        )

    @property
    def strays(self) -> tuple[SeenOrder, ...]:
        """Orders that rest there although our books do not know them, or know them to be over."""
        return tuple(seen for seen in self.orders if seen.status is OrderStatus.WORKING and seen.is_settled)

    @property
    def wants_more(self) -> bool:
        """Whether looking again soon could tell more: the venue was away, something was missed or differs."""
        doubted = any(found.verdict is Verdict.SEEN_ONCE for found in self.positions)
        return not self.is_reachable or bool(self.missed_fills or self.missed_funding) or doubted


class Reconciliation(msgspec.Struct, frozen=True):
    """One look at every venue."""

    at: Nanos
    venues: tuple[VenueReconciliation, ...]

    @property
    def is_clean(self) -> bool:
        """Whether everything is as our books have it."""
        return all(venue.is_clean for venue in self.venues)
