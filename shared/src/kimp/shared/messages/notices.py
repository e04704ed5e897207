"""What the owner should be told. Texts are made from these at the surface; the engine only states facts."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import ClientId
from kimp.shared.domain.positions import Breakdown
from kimp.shared.domain.signals import Direction


class PairOpened(msgspec.Struct, frozen=True, tag=True):
    """Both legs are on (진입): ``premium`` on the basis the strategy compares (김프), ``usdt_premium`` on the one money is
    valued at (테더 기준). ``None`` for a position that is no pair.
    """

    slot: str
    signal_id: str
    direction: Direction
    quantity: Decimal
    premium: Decimal | None
    usdt_premium: Decimal | None


class PairClosed(msgspec.Struct, frozen=True, tag=True):
    """Both legs are off (청산), with what it earned in KRW."""

    slot: str
    signal_id: str
    breakdown: Breakdown
    is_loss: bool


class LegNaked(msgspec.Struct, frozen=True, tag=True):
    """One leg filled and the other did not (한쪽 체결): ``exposure`` coins are unhedged and being repaired."""

    slot: str
    signal_id: str
    exposure: Decimal


class LegRepaired(msgspec.Struct, frozen=True, tag=True):
    """The legs match again."""

    slot: str
    signal_id: str


class RepairFailing(msgspec.Struct, frozen=True, tag=True):
    """Repair did not succeed in its quick attempts; entries are halted, repair goes on slowly. A person is needed."""

    slot: str
    signal_id: str
    exposure: Decimal
    attempts: int


class OrderUnresolved(msgspec.Struct, frozen=True, tag=True):
    """A venue has not said for too long what became of an order. Entries are blocked until it does."""

    slot: str
    client_id: ClientId


class ForeignFill(msgspec.Struct, frozen=True, tag=True):
    """Something we did not order traded on our account: a liquidation, an auto-deleveraging or a hand."""

    slot: str
    instrument_id: InstrumentId
    client_id: ClientId
    quantity: Decimal


class PositionMismatch(msgspec.Struct, frozen=True, tag=True):
    """The venue holds something else for us than our books say."""

    slot: str
    instrument_id: InstrumentId
    ours: Decimal
    theirs: Decimal


class ForcedLoss(msgspec.Struct, frozen=True, tag=True):
    """A pair ended below zero through one of the three labelled causes."""

    slot: str
    signal_id: str
    net: Decimal
    cause: str


class CloseRefused(msgspec.Struct, frozen=True, tag=True):
    """The owner's order to close could not be followed now, and why."""

    slot: str
    command_id: str
    refusals: tuple[str, ...]


class StrayOrder(msgspec.Struct, frozen=True, tag=True):
    """An order rests at a venue that our books know nothing of, or know to be over. Ours are cancelled."""

    instrument_id: InstrumentId
    client_id: ClientId
    is_ours: bool


class FundsFound(msgspec.Struct, frozen=True, tag=True):
    """The owner's money came in or went out: a balance changed by this, and no trade or funding explains it."""

    venue: Venue
    amount: Amount


class VenueTurned(msgspec.Struct, frozen=True, tag=True):
    """A venue cannot be asked any more, or answers again."""

    venue: Venue
    is_available: bool
    reason: str


class PartFailed(msgspec.Struct, frozen=True, tag=True):
    """Something beside trading (quotes, mirror, pulse) broke and is started again; ``restarts`` is how often so far."""

    part: str
    reason: str
    restarts: int


Notice = (
    PairOpened
    | PairClosed
    | LegNaked
    | LegRepaired
    | RepairFailing
    | OrderUnresolved
    | ForeignFill
    | PositionMismatch
    | ForcedLoss
    | CloseRefused
    | StrayOrder
    | FundsFound
    | VenueTurned
    | PartFailed
)
