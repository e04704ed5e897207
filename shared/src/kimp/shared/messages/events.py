"""What happened, in the past tense: the only way anything reaches the engine. ``at`` is when it reached us."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.books import Book
from kimp.shared.domain.funding import FundingPayment, FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import ClientId, Fill, OrderReport, Outcome
from kimp.shared.domain.time import Nanos


class SwitchState(StrEnum):
    """The owner's switch: only ``ACTIVE`` allows entries; exits and repairs go on in all three."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


class MarketMoved(msgspec.Struct, frozen=True, gc=False):
    """New quotes, all that arrived together: what the inbox coalesces live and one bar in a backtest."""

    at: Nanos
    books: tuple[Book, ...] = ()
    rates: tuple[FxQuote, ...] = ()
    funding: tuple[FundingRate, ...] = ()


class OrderAnswered(msgspec.Struct, frozen=True, tag=True):
    """A venue answered an order request, or failed to."""

    at: Nanos
    client_id: ClientId
    outcome: Outcome


class OrderReported(msgspec.Struct, frozen=True, tag=True):
    """A venue told the state of one order, unasked or on our query."""

    at: Nanos
    report: OrderReport


class OrderFilled(msgspec.Struct, frozen=True, tag=True):
    """A trade of ours; may come twice, late, or before its order's answer. Foreign when its client id is not ours."""

    at: Nanos
    fill: Fill


class FundingPaid(msgspec.Struct, frozen=True, tag=True):
    """A funding settlement appeared in the venue's income."""

    at: Nanos
    payment: FundingPayment


class FundsMoved(msgspec.Struct, frozen=True, tag=True):
    """The owner's money came in or went out, or was found there at the first start."""

    at: Nanos
    transfer_id: str
    venue: Venue
    amount: Amount


class PositionSeen(msgspec.Struct, frozen=True, tag=True):
    """What a venue says we hold of an instrument: signed base coins or contracts."""

    at: Nanos
    instrument_id: InstrumentId
    quantity: Decimal


class FeedLost(msgspec.Struct, frozen=True, tag=True):
    """A stream of market data went silent or broke."""

    at: Nanos
    instrument_id: InstrumentId
    reason: str


class FeedBack(msgspec.Struct, frozen=True, tag=True):
    """A lost stream delivers again; it stays in quarantine for a while."""

    at: Nanos
    instrument_id: InstrumentId


class VenueChanged(msgspec.Struct, frozen=True, tag=True):
    """A venue went into or came out of maintenance."""

    at: Nanos
    venue: Venue
    is_available: bool
    reason: str


class ClockMeasured(msgspec.Struct, frozen=True, tag=True):
    """The offset of a venue's clock to ours was measured (nanoseconds, either sign)."""

    at: Nanos
    venue: Venue
    skew: Nanos


class SwitchChanged(msgspec.Struct, frozen=True, tag=True):
    """The owner's switch was turned, or could not be read (which counts as ``REDUCING``).

    ``is_resume`` marks an explicit, authorised act of the owner: only that lifts a halt, not ``ACTIVE`` read again.
    ``actor`` and ``reason`` are empty where nobody acted.
    """

    at: Nanos
    state: SwitchState
    is_resume: bool = False
    actor: str = ""
    reason: str = ""


class CloseOrdered(msgspec.Struct, frozen=True, tag=True):
    """The owner wants a pair closed at the market, at a loss if need be: the typed, audited override of "never at a loss".

    ``command_id`` is made by whoever took the order, so that one that arrives twice counts once.
    """

    at: Nanos
    command_id: str
    slot: str
    actor: str
    reason: str


class TimerFired(msgspec.Struct, frozen=True, tag=True):
    """A moment the engine asked to be woken at has come."""

    at: Nanos
    timer: str


Event = (
    MarketMoved
    | OrderAnswered
    | OrderReported
    | OrderFilled
    | FundingPaid
    | FundsMoved
    | PositionSeen
    | FeedLost
    | FeedBack
    | VenueChanged
    | ClockMeasured
    | SwitchChanged
    | CloseOrdered
    | TimerFired
)
