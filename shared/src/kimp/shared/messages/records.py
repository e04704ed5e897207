"""What the journal keeps. The engine's durable state is the fold of these and of nothing else, so a restart is a
replay.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import ClientId, Fill, Order, Outcome
from kimp.shared.domain.positions import Mark, Plan, Purpose
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import SwitchState


class Phase(StrEnum):
    """Where a pair stands. ``HALTED`` blocks entries until the owner resumes; repairs go on in it."""

    FLAT = "flat"
    ENTERING = "entering"
    OPEN = "open"
    EXITING = "exiting"
    REPAIRING = "repairing"
    HALTED = "halted"


class PlanMade(msgspec.Struct, frozen=True, tag=True):
    """A decision, journaled before any of its orders leave."""

    at: Nanos
    plan: Plan


class OrderIntended(msgspec.Struct, frozen=True, tag=True):
    """An order is about to leave. From here on it exists until the venue proves otherwise."""

    at: Nanos
    order: Order
    slot: str
    signal_id: str
    purpose: Purpose
    reference: Decimal


class OrderOutcome(msgspec.Struct, frozen=True, tag=True):
    """What the venue answered."""

    at: Nanos
    client_id: ClientId
    outcome: Outcome


class OrderClosed(msgspec.Struct, frozen=True, tag=True):
    """The venue proved that the order is over and that ``executed`` base coins of it filled."""

    at: Nanos
    client_id: ClientId
    executed: Decimal


class OrderLost(msgspec.Struct, frozen=True, tag=True):
    """The venue denied the order often and long enough: it never arrived."""

    at: Nanos
    client_id: ClientId


class FillBooked(msgspec.Struct, frozen=True, tag=True):
    """A fill entered the books, with the FX it was valued at (KRW per quote asset) and the price it was decided on."""

    at: Nanos
    slot: str
    signal_id: str
    fill: Fill
    purpose: Purpose
    reference: Decimal
    krw_rate: Decimal


class FundingBooked(msgspec.Struct, frozen=True, tag=True):
    """A funding settlement entered the books at the FX of that moment."""

    at: Nanos
    slot: str
    signal_id: str
    payment: FundingPayment
    krw_rate: Decimal


class FundsBooked(msgspec.Struct, frozen=True, tag=True):
    """The owner's money came in or went out."""

    at: Nanos
    transfer_id: str
    venue: Venue
    amount: Amount


class PhaseEntered(msgspec.Struct, frozen=True, tag=True):
    """A pair's phase changed; ``marks`` value what was just closed, dust included."""

    at: Nanos
    slot: str
    phase: Phase
    reason: str
    marks: tuple[tuple[InstrumentId, Mark], ...] = ()


class SwitchSet(msgspec.Struct, frozen=True, tag=True):
    """The owner's switch changed, by whom and why (empty where nobody acted); ``is_resume`` also lifts halts."""

    at: Nanos
    state: SwitchState
    is_resume: bool = False
    actor: str = ""
    reason: str = ""


class CloseTaken(msgspec.Struct, frozen=True, tag=True):
    """The owner's order to close a pair whatever it costs, and why it could not be followed (empty when it was)."""

    at: Nanos
    command_id: str
    slot: str
    actor: str
    reason: str
    refusals: tuple[str, ...] = ()


Record = (
    PlanMade
    | OrderIntended
    | OrderOutcome
    | OrderClosed
    | OrderLost
    | FillBooked
    | FundingBooked
    | FundsBooked
    | PhaseEntered
    | SwitchSet
    | CloseTaken
)
