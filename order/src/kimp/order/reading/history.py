"""The journal read as a story: every pair from its first fill to its end, every plan with what came of it.

Built beside the engine's own fold (:class:`~kimp.order.engine.state.EngineState`), so that what a pair earned here is
what the engine itself counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from kimp.order.engine.state import ClosedPair, EngineState, Slot
from kimp.shared.domain.instruments import InstrumentId, Pair
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.orders import ClientId
from kimp.shared.domain.positions import Plan, Position
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.records import (
    CloseTaken,
    FillBooked,
    FundingBooked,
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

PairOf = Callable[[str], Pair]
"""The pair of a coin, with the fees in force."""


@dataclass(slots=True)
class Flow:
    """Trades of one leg in one direction, added up: base coins, quote asset, and KRW at two rates.

    ``krw`` is at the rate each fill was booked at (usdt basis), ``signal_krw`` at the one its plan compared (fx basis).
    """

    quantity: Decimal = ZERO
    quote: Decimal = ZERO
    krw: Decimal = ZERO
    signal_krw: Decimal = ZERO

    def add(self, record: FillBooked, signal_rate: Decimal) -> None:
        """Count one more fill."""
        quote = record.fill.quantity * record.fill.price
        self.quantity += record.fill.quantity
        self.quote += quote
        self.krw += quote * record.krw_rate
        self.signal_krw += quote * signal_rate

    @property
    def price(self) -> Decimal | None:
        """The average price (quote asset), ``None`` when nothing traded."""
        return self.quote / self.quantity if self.quantity else None


@dataclass(slots=True)
class PairStory:
    """One pair: what put it on, what took it off, what it was paid. ``end`` is ``None`` while it is open."""

    slot: str
    signal_id: str
    symbol: str
    direction: Direction
    legs: tuple[InstrumentId, ...]
    opened_at: Nanos
    reason: str
    fills: list[FillBooked] = field(default_factory=list)
    fundings: list[FundingBooked] = field(default_factory=list)
    opening: dict[InstrumentId, Flow] = field(default_factory=dict)
    closing: dict[InstrumentId, Flow] = field(default_factory=dict)
    end: ClosedPair | None = None

    def count(self, record: FillBooked, signal_rate: Decimal) -> None:
        """Take in a fill: it opens when it goes the way the pair is held, and closes when it goes the other."""
        self.fills.append(record)
        leg = record.fill.instrument_id
        side = self.direction.korea_side if leg == self.legs[0] else self.direction.korea_side.opposite
        flows = self.opening if record.fill.side is side else self.closing
        flows.setdefault(leg, Flow()).add(record, signal_rate)

    @property
    def quantity(self) -> Decimal:
        """Coins that were put on, on the Korean leg."""
        flow = self.opening.get(self.legs[0])
        return flow.quantity if flow else ZERO

    def premiums(self, *, entry: bool) -> tuple[Decimal | None, Decimal | None]:
        """What the fills of the entry, or of the exit, amount to as a premium on the fx and on the usdt basis."""
        flows = self.opening if entry else self.closing
        if len(self.legs) != 2:
            return None, None
        korea, abroad = flows.get(self.legs[0]), flows.get(self.legs[1])
        if korea is None or abroad is None:
            return None, None
        ours = korea.quote / korea.quantity
        fx, usdt = (krw / abroad.quantity for krw in (abroad.signal_krw, abroad.krw))
        return (ours / fx - ONE if fx else None), (ours / usdt - ONE if usdt else None)


@dataclass(slots=True)
class Act:
    """One plan and what came of it: the orders sent, the venues' answers, the fills, and the phases after it."""

    slot: str
    plan: Plan
    intents: list[OrderIntended] = field(default_factory=list)
    answers: dict[ClientId, OrderOutcome | OrderClosed | OrderLost] = field(default_factory=dict)
    fills: list[FillBooked] = field(default_factory=list)
    phases: list[PhaseEntered] = field(default_factory=list)
    end: ClosedPair | None = None

    @property
    def is_over(self) -> bool:
        """Whether the slot has come to rest again."""
        return bool(self.phases) and self.phases[-1].phase in (Phase.OPEN, Phase.FLAT)


class History:
    """Everything up to some moment: the engine's state, the pairs and the acts, in the order they happened."""

    def __init__(self, records: Iterable[Record], pair_of: PairOf, until: Nanos | None = None) -> None:
        self.state = EngineState(())
        self.pairs: list[PairStory] = []
        self.acts: list[Act] = []
        self.fills: list[FillBooked] = []
        self.fundings: list[FundingBooked] = []
        self.orders_closed: list[CloseTaken] = []
        self.switched: SwitchSet | None = None
        self.last_at: Nanos | None = None
        self._pair_of = pair_of
        self._open: dict[str, PairStory] = {}
        self._act: dict[str, Act] = {}
        self._act_of: dict[ClientId, Act] = {}
        for record in records:
            if until is not None and record.at > until:
                break  # a prefix, never a selection: the fold of a record needs all before it
            self._take(record)

    def open_pair(self, slot: str) -> tuple[PairStory, Position] | None:
        """The pair a slot holds, with its position; ``None`` when it holds none."""
        position = self.state.slots[slot].position
        return None if position is None else (self._open[slot], position)

    def last_act(self, slot: str) -> Act | None:
        """The last plan of a slot."""
        return self._act.get(slot)

    def _take(self, record: Record) -> None:
        self.last_at = record.at
        if key := _slot_of(record):
            self._make_slot(key)
        self.state.apply(record)
        match record:
            case PlanMade(plan=plan):
                self._plan(plan)
            case OrderIntended(slot=slot, order=order):
                if act := self._act.get(slot):
                    act.intents.append(record)
                    self._act_of[order.client_id] = act
            case OrderOutcome() | OrderClosed() | OrderLost():
                if act := self._act_of.get(record.client_id):
                    _answer(act, record)
            case FillBooked():
                self._fill(record)
            case FundingBooked(slot=slot, signal_id=signal_id):
                self.fundings.append(record)
                if (pair := self._open.get(slot)) and pair.signal_id == signal_id:
                    pair.fundings.append(record)
            case PhaseEntered():
                self._phase(record)
            case SwitchSet():
                self.switched = record
            case CloseTaken():
                self.orders_closed.append(record)

    def _make_slot(self, key: str) -> None:
        if key not in self.state.slots:
            strategy, _, symbol = key.rpartition(":")
            pair = self._pair_of(symbol)
            self.state.slots[key] = Slot(key, strategy, symbol, (pair.korea, pair.abroad))

    def _plan(self, plan: Plan) -> None:
        slot = f"{plan.strategy}:{plan.symbol}"
        self._act[slot] = act = Act(slot, plan)
        self.acts.append(act)

    def _fill(self, record: FillBooked) -> None:
        self.fills.append(record)
        ordered = self._act_of.get(record.fill.client_id)  # a late fill belongs to the plan that ordered it
        act = ordered or self._act.get(record.slot)
        if act is not None and (ordered is not None or not act.is_over):
            act.fills.append(record)
        slot = self.state.slots[record.slot]
        position = slot.position
        if position is None or record.signal_id != position.signal_id:
            return
        pair = self._open.get(record.slot)
        if pair is None:
            legs = tuple(leg.id for leg in slot.legs)
            reason = act.plan.reason if act else record.purpose.value
            pair = PairStory(
                record.slot, position.signal_id, position.symbol, position.direction, legs, position.opened_at, reason
            )
            self._open[record.slot] = pair
            self.pairs.append(pair)
        pair.count(record, self._signal_rate(record, act))

    def _signal_rate(self, record: FillBooked, act: Act | None) -> Decimal:
        korea = self.state.slots[record.slot].legs[0].id
        return record.krw_rate if act is None or record.fill.instrument_id == korea else act.plan.signal_rate

    def _phase(self, record: PhaseEntered) -> None:
        act = self._act.get(record.slot)
        if act is not None:
            act.phases.append(record)
        if record.phase is Phase.FLAT and (pair := self._open.pop(record.slot, None)):
            pair.end = self.state.slots[record.slot].closed[-1]
            if act is not None:
                act.end = pair.end


def _answer(act: Act, record: OrderOutcome | OrderClosed | OrderLost) -> None:
    """Keep the word that says most: an end says more than an acknowledgement."""
    before = act.answers.get(record.client_id)
    if not isinstance(record, OrderOutcome) or before is None or isinstance(before, OrderOutcome):
        act.answers[record.client_id] = record


def _slot_of(record: Record) -> str | None:
    if isinstance(record, PlanMade):
        return f"{record.plan.strategy}:{record.plan.symbol}"
    return getattr(record, "slot", None)
