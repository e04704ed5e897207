"""The journal's records as rows of the database: what was decided, ordered, filled and booked, one fold of its own.

Every row is a function of the journal up to some record, so writing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never

import msgspec

from kimp.order.engine.state import ClosedPair, EngineState, Slot
from kimp.order.engine.tracker import TrackedOrder
from kimp.shared.domain.orders import Accepted, ClientId, Outcome, Rejected, Unknown
from kimp.shared.domain.positions import Position
from kimp.shared.domain.time import Nanos, to_datetime
from kimp.shared.messages.records import (
    CloseTaken,
    FillBooked,
    OrderClosed,
    OrderIntended,
    OrderLost,
    OrderOutcome,
    Phase,
    PlanMade,
    Record,
    SwitchSet,
)

Row = tuple[Any, ...]
OWNER = "owner"


@dataclass(frozen=True, slots=True)
class MirrorTable:
    """A mirrored table: its columns after ``journal``, the first ``keys`` of which are the key."""

    name: str
    columns: tuple[str, ...]
    keys: int

    @property
    def upsert(self) -> str:
        """Write a row, or what is newer in it; the journal's name is the first parameter."""
        names = ("journal", *self.columns)
        places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
        rest = self.columns[self.keys :]
        return (
            f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({places}) "
            f"ON CONFLICT ({', '.join(names[: self.keys + 1])}) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in rest)
        )


def _table(name: str, keys: int, columns: str) -> MirrorTable:
    return MirrorTable(name, tuple(columns.split()), keys)


SIGNALS = _table("signals", 3, "signal_id action decided_at strategy symbol direction krw_rate reason legs")
ORDERS = _table(
    "orders",
    1,
    "client_id instrument_id slot signal_id purpose side quantity limit_price time_in_force reduce_only reference"
    " intended_at outcome outcome_at outcome_reason venue_order_id executed closed_at lost_at",
)
FILLS = _table(
    "fills",
    2,
    "instrument_id trade_id client_id slot signal_id purpose side quantity price fee fee_asset reference krw_rate at",
)
POSITIONS = _table(
    "positions",
    1,
    "signal_id slot strategy symbol direction phase legs funding_krw opened_at closed_at updated_at",
)
LEDGER = _table("ledger", 2, "entry_id line kind purpose at account asset amount")
TABLES = (SIGNALS, ORDERS, FILLS, POSITIONS, LEDGER)


@dataclass(slots=True)
class Page:
    """The rows that the records after ``start`` up to ``end`` make; ``audit`` are (sequence, at, actor, action, detail)."""

    start: int
    end: int
    rows: dict[str, dict[Row, Row]] = field(default_factory=lambda: {table.name: {} for table in TABLES})
    audit: list[Row] = field(default_factory=list)

    def put(self, table: MirrorTable, row: Row) -> None:
        """Write this row; of several with one key the last counts."""
        self.rows[table.name][row[: table.keys]] = row


@dataclass(slots=True)
class _Known:
    """What was last known of an order, and since when."""

    outcome: Outcome | None = None
    outcome_at: Nanos | None = None
    executed: Decimal | None = None
    closed_at: Nanos | None = None
    lost_at: Nanos | None = None

    def note(self, tracked: TrackedOrder, at: Nanos) -> None:
        """Take in what a record at that moment made of the order."""
        if tracked.outcome != self.outcome:
            self.outcome, self.outcome_at = tracked.outcome, at
        if tracked.executed != self.executed:
            self.executed, self.closed_at = tracked.executed, None if tracked.executed is None else at
        self.lost_at = (self.lost_at or at) if tracked.is_lost else None


class Fold:
    """An engine's state of its own, for the rows; ``sequence`` is the last record it has taken in."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self.sequence = 0
        self.state = EngineState(Slot(slot.key, slot.strategy, slot.symbol, slot.legs) for slot in slots)
        self._known: dict[ClientId, _Known] = {}

    def take(self, records: Sequence[tuple[int, Record]]) -> Page:
        """Take in the next records, numbered without a gap; the rows they make."""
        page = Page(self.sequence, self.sequence)
        for sequence, record in records:
            assert sequence == self.sequence + 1, f"record {sequence} does not follow {self.sequence}"
            self._one(sequence, record, page)
            self.sequence = page.end = sequence
        return page

    def _one(self, sequence: int, record: Record, page: Page) -> None:
        entries = len(self.state.ledger.entries)
        closed = {key: len(slot.closed) for key, slot in self.state.slots.items()}
        self.state.apply(record)
        is_new = len(self.state.ledger.entries) > entries
        match record:
            case PlanMade():
                page.put(SIGNALS, _signal(record))
            case FillBooked() if is_new:
                page.put(FILLS, _fill(record))
            case OrderIntended(order=order):
                self._known[order.client_id] = _Known()
                self._order(order.client_id, record.at, page)
            case OrderOutcome(client_id=client_id) | OrderClosed(client_id=client_id) | OrderLost(client_id=client_id):
                self._order(client_id, record.at, page)
            case SwitchSet(state=state, is_resume=is_resume):
                detail = {"state": state.value, "is_resume": is_resume, "reason": _text(record.reason)}
                page.audit.append((sequence, _moment(record.at), _text(record.actor) or OWNER, "switch", detail))
            case CloseTaken():
                detail = {name: getattr(record, name) for name in ("command_id", "slot", "reason", "refusals")}
                page.audit.append((sequence, _moment(record.at), _text(record.actor), "close", detail))
            case _:
                pass
        self._booked(entries, page)
        for slot in self.state.slots.values():
            for pair in slot.closed[closed[slot.key] :]:
                page.put(POSITIONS, _closed(slot, pair))
            if slot.position is not None and _touches(record, slot):
                page.put(POSITIONS, _position(slot, slot.position, slot.phase, None, record.at))

    def _booked(self, before: int, page: Page) -> None:
        for entry in self.state.ledger.entries[before:]:
            for line, posting in enumerate(entry.postings):
                purpose = entry.purpose.value if entry.purpose else None
                amount = (posting.account, posting.amount.asset, posting.amount.value)
                page.put(LEDGER, (entry.entry_id, line, entry.kind.value, purpose, _moment(entry.at), *amount))

    def _order(self, client_id: ClientId, at: Nanos, page: Page) -> None:
        tracked, known = self.state.orders[client_id], self._known[client_id]
        known.note(tracked, at)
        page.put(ORDERS, _order(tracked, known))


def _touches(record: Record, slot: Slot) -> bool:
    """Whether a record may have changed the slot's position or phase."""
    if isinstance(record, PlanMade):
        return slot.key == f"{record.plan.strategy}:{record.plan.symbol}"
    return getattr(record, "slot", None) == slot.key and not isinstance(record, OrderIntended | CloseTaken)


def _signal(record: PlanMade) -> Row:
    plan = record.plan
    key = (plan.signal_id, plan.action.value, _moment(plan.decided_at))
    legs = msgspec.json.encode(plan.legs).decode()
    return (*key, plan.strategy, plan.symbol, plan.direction.value, plan.krw_rate, _text(plan.reason), legs)


def _order(tracked: TrackedOrder, known: _Known) -> Row:
    order = tracked.order
    return (
        order.client_id,
        order.instrument_id,
        tracked.slot,
        tracked.signal_id,
        tracked.purpose.value,
        order.side.value,
        order.quantity,
        order.limit,
        order.time_in_force.value,
        order.reduce_only,
        tracked.reference,
        _moment(tracked.intended_at),
        *_outcome(known),
        tracked.executed,
        _moment_or_none(known.closed_at),
        _moment_or_none(known.lost_at),
    )


def _outcome(known: _Known) -> Row:
    """Outcome, when it was learnt, why, and the venue's id."""
    at = _moment_or_none(known.outcome_at)
    match known.outcome:
        case None:
            return None, None, None, None
        case Accepted(venue_order_id=venue_order_id):
            return "accepted", at, None, _text(venue_order_id)
        case Rejected(code=code, reason=reason):
            return "rejected", at, _text(f"{code}: {reason}"), None
        case Unknown(reason=reason):
            return "unknown", at, _text(reason), None
        case _:
            assert_never(known.outcome)


def _fill(record: FillBooked) -> Row:
    fill = record.fill
    return (
        fill.instrument_id,
        _text(fill.trade_id),
        _text(fill.client_id),
        record.slot,
        record.signal_id,
        record.purpose.value,
        fill.side.value,
        fill.quantity,
        fill.price,
        fill.fee.value,
        fill.fee.asset,
        record.reference,
        record.krw_rate,
        _moment(fill.at),
    )


def _closed(slot: Slot, pair: ClosedPair) -> Row:
    return _position(slot, pair.position, Phase.FLAT, pair.closed_at, pair.closed_at)


def _position(slot: Slot, position: Position, phase: Phase, closed_at: Nanos | None, at: Nanos) -> Row:
    return (
        position.signal_id,
        slot.key,
        position.strategy,
        position.symbol,
        position.direction.value,
        phase.value,
        msgspec.json.encode(position.legs).decode(),
        position.funding_krw,
        _moment(position.opened_at),
        _moment_or_none(closed_at),
        _moment(at),
    )


def _moment(at: Nanos) -> datetime:
    return to_datetime(at)


def _moment_or_none(at: Nanos | None) -> datetime | None:
    return None if at is None else to_datetime(at)


def _text(text: str) -> str:
    """A venue's words as PostgreSQL takes them: it knows no zero characters."""
    return text.replace("\x00", "")
