"""What a running trader says of itself once a second; ``kimp status --json`` prints it as it stands."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.order.runtime.reconciliation import Reconciliation
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import Nanos


class FeedPulse(msgspec.Struct, frozen=True):
    """One source: its age in milliseconds (``None`` while nothing was heard) and ``ok``, ``stale``, ``expired``,
    ``missing``, ``invalid``, ``lost`` or ``quarantined``.
    """

    age_ms: int | None
    state: str


class VenuePulse(msgspec.Struct, frozen=True):
    """One venue: whether it may be traded on, how far its clock is off, and when it was last reconciled."""

    available: bool
    reason: str
    skew_ms: float | None
    reconciled_at: Nanos | None
    is_clean: bool | None


class LegPulse(msgspec.Struct, frozen=True):
    """What is held of one instrument: signed base coins, and the cash its trades moved (quote asset)."""

    instrument_id: InstrumentId
    quantity: Decimal
    cash: Decimal


class PositionPulse(msgspec.Struct, frozen=True):
    """An open pair; ``net`` is what closing it now would earn after everything (KRW), ``None`` without good quotes."""

    signal_id: str
    direction: Direction
    opened_at: Nanos
    legs: tuple[LegPulse, ...]
    exposure: Decimal
    funding_krw: Decimal
    net: Decimal | None
    break_even_premium: Decimal | None


class SlotPulse(msgspec.Struct, frozen=True):
    """One strategy on one coin: what it said last and why nothing came of it."""

    slot: str
    strategy: str
    symbol: str
    phase: str
    is_halted: bool
    unsettled: int
    signal: str | None
    signal_reason: str | None
    refusals: tuple[str, ...]
    refusal_counts: dict[str, int]
    position: PositionPulse | None


class OrdersPulse(msgspec.Struct, frozen=True):
    """How quickly orders leave and are answered (milliseconds, ``None`` before the first): from the decision to the last
    request, between the legs, and from request to answer.
    """

    start_ms_p50: float | None
    start_ms_p99: float | None
    skew_ms_p50: float | None
    skew_ms_p99: float | None
    answer_ms_p50: float | None
    answer_ms_p99: float | None


class QueuesPulse(msgspec.Struct, frozen=True):
    """Since the start: events handled, market events overtaken by newer ones, and the longest the order lane has been."""

    events: int
    coalesced: int
    order_lane_max: int


class MirrorPulse(msgspec.Struct, frozen=True):
    """How far the database's copy of the journal is behind, in records."""

    state: str
    lag: int


class PnlPulse(msgspec.Struct, frozen=True):
    """KRW: earned by closed pairs, by those closed today (KST), and by the open ones if they were closed now."""

    closed: Decimal
    today: Decimal
    open: Decimal | None


class PulseReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it at ``at``. ``age_ms`` is set when it is read. ``state`` is the phase of the slot that is busiest,
    ``position`` the first open pair; ``slots`` has all of them.
    """

    at: Nanos
    pid: int
    mode: str
    strategy: str
    state: str
    switch: str
    position: PositionPulse | None
    slots: tuple[SlotPulse, ...]
    feeds: dict[str, FeedPulse]
    venues: dict[str, VenuePulse]
    pnl: PnlPulse
    orders: OrdersPulse
    queues: QueuesPulse
    mirror: MirrorPulse | None
    parts: dict[str, str]
    reconciliation: Reconciliation | None = None
    age_ms: int = 0
