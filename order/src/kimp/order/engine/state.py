"""The durable half of the engine's state: the fold of the journal's records, and of nothing else.

``EngineState.apply`` is the only place that changes it, so a restart (apply every record again) and a running engine
cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import assert_never

from kimp.order.engine.tracker import TrackedOrder
from kimp.shared.domain.instruments import Instrument, InstrumentId, Side
from kimp.shared.domain.ledger import Ledger, fill_id, funding_entry, transfer_entry
from kimp.shared.domain.orders import ClientId, Fill, client_order_id
from kimp.shared.domain.positions import Action, Breakdown, LegPosition, Plan, Position, Purpose
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import SwitchState
from kimp.shared.messages.records import (
    CloseTaken,
    FillBooked,
    FundingBooked,
    FundsBooked,
    OrderClosed,
    OrderIntended,
    OrderLost,
    OrderOutcome,
    Phase,
    PhaseEntered,
    PlanMade,
    Record,
    SwitchSet,
)

FOREIGN_SIGNAL = "foreign"
"""Fills that belong to no position of ours are booked under this name and left alone."""


ENTRIES_KEPT = 64
"""Moments of past entries remembered for the cap per minute, which may be configured up to 60."""

PHASE_OF = {Action.ENTER: Phase.ENTERING, Action.EXIT: Phase.EXITING, Action.REPAIR: Phase.REPAIRING}


@dataclass(slots=True)
class ClosedPair:
    """A pair that is over: what it was, when it ended and what it earned."""

    position: Position
    closed_at: Nanos
    reason: str
    breakdown: Breakdown


@dataclass(slots=True)
class Slot:
    """One strategy on one coin: its legs, where it stands and what it holds."""

    key: str
    strategy: str
    symbol: str
    legs: tuple[Instrument, ...]
    phase: Phase = Phase.FLAT
    plan: Plan | None = None
    position: Position | None = None
    unsettled: dict[ClientId, None] = field(default_factory=dict)
    attempts: dict[InstrumentId, int] = field(default_factory=dict)
    repairs: int = 0
    repaired_at: Nanos = 0
    has_filled: bool = False
    is_halted: bool = False
    entered_at: Nanos | None = None
    cooling_from: Nanos | None = None
    exit_failed_at: Nanos | None = None
    krw_rate: Decimal | None = None
    closed: list[ClosedPair] = field(default_factory=list)

    def leg(self, instrument_id: InstrumentId) -> Instrument:
        """The instrument of that id.

        Raises:
            KeyError: the slot does not trade it.
        """
        for leg in self.legs:
            if leg.id == instrument_id:
                return leg
        raise KeyError(f"{self.key} does not trade {instrument_id}")

    def next_client_id(self, instrument_id: InstrumentId) -> ClientId:
        """The id of this leg's next order: a pure function of signal, leg and attempt."""
        assert self.plan is not None, f"{self.key} has no plan to send orders for"
        leg = [instrument.id for instrument in self.legs].index(instrument_id)
        return client_order_id(self.plan.signal_id, leg, self.attempts.get(instrument_id, 0))


class EngineState:
    """Slots, orders, ledger, switch. ``version`` grows with every record, for caches; ``commands`` are the owner's
    orders to close, by id, with why they could not be followed.
    """

    def __init__(self, slots: Iterable[Slot]) -> None:
        self.slots: dict[str, Slot] = {slot.key: slot for slot in slots}
        self.orders: dict[ClientId, TrackedOrder] = {}
        self.unsettled: dict[ClientId, None] = {}
        self.ledger = Ledger()
        self.switch = SwitchState.ACTIVE
        self.consumed: set[str] = set()
        self.commands: dict[str, tuple[str, ...]] = {}
        self.entry_times: list[Nanos] = []
        self.version = 0

    def apply(self, record: Record) -> None:
        """Fold in one record."""
        self.version += 1
        match record:
            case PlanMade():
                self._plan(record)
            case OrderIntended():
                self._intend(record)
            case OrderOutcome(client_id=client_id, outcome=outcome):
                self.orders[client_id].take_outcome(outcome)
                self._release(client_id)
            case OrderClosed(client_id=client_id, executed=executed):
                self.orders[client_id].executed = executed
                self._release(client_id)
            case OrderLost(client_id=client_id):
                self.orders[client_id].lose()
                self._release(client_id)
            case FillBooked():
                self._fill(record)
            case FundingBooked():
                self._fund(record)
            case FundsBooked(at=at, transfer_id=transfer_id, venue=venue, amount=amount):
                self.ledger.post(transfer_entry(transfer_id, venue, amount, at))
            case PhaseEntered():
                self._phase(record)
            case SwitchSet(state=state, is_resume=is_resume):
                self._turn(state, is_resume=is_resume)
            case CloseTaken(command_id=command_id, refusals=refusals):
                self.commands[command_id] = refusals
            case _:
                assert_never(record)

    def has_fill(self, fill: Fill) -> bool:
        """Whether this trade is in the books already."""
        return self.ledger.has(fill_id(fill))

    def _plan(self, record: PlanMade) -> None:
        plan = record.plan
        slot = self.slots[f"{plan.strategy}:{plan.symbol}"]
        slot.plan, slot.attempts, slot.repairs, slot.has_filled = plan, {}, 0, False
        slot.phase, slot.krw_rate = PHASE_OF[plan.action], plan.krw_rate
        self.consumed.add(plan.signal_id)
        if plan.action is Action.ENTER:
            slot.entered_at = record.at
            self.entry_times.append(record.at)
            del self.entry_times[:-ENTRIES_KEPT]

    def _intend(self, record: OrderIntended) -> None:
        slot, order = self.slots[record.slot], record.order
        assert order.client_id not in self.orders, f"order {order.client_id} was intended twice"
        self.orders[order.client_id] = TrackedOrder(
            order, record.slot, record.signal_id, record.purpose, record.reference, record.at
        )
        self.unsettled[order.client_id] = None
        slot.unsettled[order.client_id] = None
        slot.attempts[order.instrument_id] = slot.attempts.get(order.instrument_id, 0) + 1
        if record.purpose is Purpose.REPAIR:
            slot.repairs += 1
            slot.repaired_at = record.at

    def _release(self, client_id: ClientId) -> None:
        order = self.orders[client_id]
        if order.is_settled:
            self.unsettled.pop(client_id, None)
            self.slots[order.slot].unsettled.pop(client_id, None)
        else:
            self.unsettled[client_id] = self.slots[order.slot].unsettled[client_id] = None

    def _fill(self, record: FillBooked) -> None:
        slot, fill = self.slots[record.slot], record.fill
        instrument = slot.leg(fill.instrument_id)
        if not self.ledger.post(self.ledger.fill_entry(fill, instrument, record.signal_id, record.purpose)):
            return
        if fill.client_id in self.orders:
            self.orders[fill.client_id].filled += fill.quantity
            self._release(fill.client_id)
        if record.signal_id == FOREIGN_SIGNAL:
            return
        if slot.position is None:
            slot.position = self._opened(slot, record)
        slot.position = slot.position.with_fill(fill, record.reference, record.krw_rate)
        slot.has_filled = True

    @staticmethod
    def _opened(slot: Slot, record: FillBooked) -> Position:
        legs = tuple(LegPosition(leg.id) for leg in slot.legs)
        direction = slot.plan.direction if slot.plan else direction_of(slot, record.fill)
        return Position(record.signal_id, slot.strategy, slot.symbol, direction, legs, record.fill.at)

    def _fund(self, record: FundingBooked) -> None:
        slot = self.slots[record.slot]
        instrument = slot.leg(record.payment.instrument_id)
        if not self.ledger.post(funding_entry(record.payment, instrument, record.signal_id)):
            return
        if slot.position is not None and record.signal_id == slot.position.signal_id:
            worth = record.payment.amount.value * record.krw_rate
            slot.position = slot.position.with_funding(worth, record.payment.at)

    def _phase(self, record: PhaseEntered) -> None:
        slot = self.slots[record.slot]
        slot.phase = record.phase
        if record.phase is Phase.HALTED:
            slot.is_halted = True
        if record.phase not in (Phase.OPEN, Phase.FLAT):
            return
        if slot.plan is not None and record.phase is Phase.OPEN:
            self._note_failure(slot, slot.plan, record.at)
        slot.plan, slot.attempts, slot.repairs = None, {}, 0
        if record.phase is Phase.FLAT:
            slot.cooling_from = record.at
            if slot.position is not None:
                earned = slot.position.breakdown(dict(record.marks))
                slot.closed.append(ClosedPair(slot.position, record.at, record.reason, earned))
                slot.position = None

    @staticmethod
    def _note_failure(slot: Slot, plan: Plan, at: Nanos) -> None:
        """A pair that is open again after an exit, or without its new tranche, failed at it and must not hurry."""
        if plan.action is Action.EXIT:
            slot.exit_failed_at = at
        elif plan.action is Action.ENTER and not slot.has_filled:
            slot.cooling_from = at

    def _turn(self, state: SwitchState, *, is_resume: bool) -> None:
        self.switch = state
        if is_resume and state is SwitchState.ACTIVE:
            for slot in self.slots.values():
                slot.is_halted = False


def direction_of(slot: Slot, fill: Fill) -> Direction:
    """The direction a fill would open: buying the first (Korean) leg or selling the other is long the premium."""
    is_first = fill.instrument_id == slot.legs[0].id
    return Direction.LONG_PREMIUM if is_first == (fill.side is Side.BUY) else Direction.SHORT_PREMIUM
