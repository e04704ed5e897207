"""Sends a plan's legs together, learns what became of them, and repairs what does not match.

``FLAT → ENTERING → OPEN → EXITING → FLAT``, with ``REPAIRING`` wherever one leg filled and the other did not, and
``HALTED`` when repair did not work quickly. A plan has any number of legs; only balancing needs two.
"""

from __future__ import annotations

from decimal import Decimal

from kimp.order.engine.announcements import opened
from kimp.order.engine.foreign import takes_from
from kimp.order.engine.market import MarketState
from kimp.order.engine.outbox import Outbox
from kimp.order.engine.repair import choose_repair, imbalance, is_over, repair_plan, why_over
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import FOREIGN_SIGNAL, EngineState, Slot
from kimp.order.engine.tracker import TrackedOrder
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId
from kimp.shared.domain.ledger import funding_id
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.orders import (
    Accepted,
    ClientId,
    Fill,
    Order,
    OrderReport,
    OrderStatus,
    Outcome,
    Rejected,
    Unknown,
    fee_in_quote,
)
from kimp.shared.domain.positions import Action, LegPlan, Mark, Plan, Purpose
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.notices import (
    ForcedLoss,
    ForeignFill,
    LegNaked,
    LegRepaired,
    OrderUnresolved,
    PairClosed,
    RepairFailing,
)
from kimp.shared.messages.records import (
    FillBooked,
    FundingBooked,
    OrderClosed,
    OrderIntended,
    OrderLost,
    OrderOutcome,
    Phase,
    PhaseEntered,
    PlanMade,
)

ORDER_TIMER = "order:"
REPAIR_TIMER = "repair:"


class OrderExecutor:
    """The two-leg state machine over one engine's state. Every method appends its effects to the outbox, in order."""

    def __init__(self, state: EngineState, market: MarketState, outbox: Outbox, settings: EngineSettings) -> None:
        self._state = state
        self._market = market
        self._out = outbox
        self._settings = settings
        self._waking: dict[str, Nanos] = {}

    # -- sending ---------------------------------------------------------------------------------------------------

    def begin(self, slot: Slot, plan: Plan, purpose: Purpose) -> None:
        """Journal the plan and every intent, then send all legs in one effect."""
        assert not slot.unsettled, f"{slot.key} still has orders in flight"
        assert plan.signal_id not in self._state.consumed, f"signal {plan.signal_id} was consumed before"
        self._out.record(PlanMade(plan.decided_at, plan))
        if plan.legs:
            self._send(slot, plan.legs, purpose, plan.decided_at)
        else:
            # Nothing left that a venue would take: what remains is dust, and leaves the position for the ledger.
            self._settle(slot, plan.decided_at)

    def _send(self, slot: Slot, legs: tuple[LegPlan, ...], purpose: Purpose, at: Nanos) -> None:
        assert slot.plan is not None
        signal_id = slot.position.signal_id if slot.position else slot.plan.signal_id
        orders = []
        for leg in legs:
            client_id = slot.next_client_id(leg.instrument_id)
            order = Order(client_id, leg.instrument_id, leg.side, leg.quantity, leg.limit, reduce_only=leg.reduce_only)
            self._out.record(OrderIntended(at, order, slot.key, signal_id, purpose, leg.reference))
            orders.append(order)
        self._out.place(tuple(orders), is_urgent=purpose is not Purpose.ENTER)
        for order in orders:
            self._out.timer(ORDER_TIMER + order.client_id, at + self._settings.answer_timeout)

    def resume(self, slot: Slot, at: Nanos) -> None:
        """After a restart: ask about every order whose end is not proven, or settle what already is."""
        for client_id, tracked in self._state.orders.items():
            if tracked.slot == slot.key and (not tracked.is_settled or tracked.is_watched(at)):
                self._ask(tracked)
                self._out.timer(ORDER_TIMER + client_id, at + self._settings.answer_timeout)
        if slot.phase not in (Phase.FLAT, Phase.OPEN) or slot.position is not None:
            self._settle(slot, at)

    # -- learning --------------------------------------------------------------------------------------------------

    def on_answer(self, client_id: ClientId, outcome: Outcome, at: Nanos) -> None:
        """A venue answered or failed to: an unknown outcome is asked about at once and never sent again."""
        tracked = self._state.orders.get(client_id)
        if tracked is None:
            return
        if tracked.is_settled:
            if isinstance(outcome, Accepted) and tracked.is_lost:
                self._exists(tracked, outcome, at)
            return
        if isinstance(outcome, Rejected) and tracked.is_proven_to_exist:
            outcome = Unknown(f"rejected ({outcome.code}) although it exists")
        self._out.record(OrderOutcome(at, client_id, outcome))
        if isinstance(outcome, Unknown):
            self._ask(tracked)
        elif isinstance(outcome, Rejected):
            if tracked.order.reduce_only:
                self.doubt(tracked.order.instrument_id)
            self._settle(self._state.slots[tracked.slot], at)

    def doubt(self, instrument_id: InstrumentId) -> None:
        """The venue holds something else than we think (it said so, or refused a reduce-only order, Binance −2022): an
        order given up as lost may have executed after all, so ask about those again.
        """
        for tracked in self._state.orders.values():
            if tracked.is_lost and tracked.order.instrument_id == instrument_id:
                self._ask(tracked)

    def on_report(self, report: OrderReport, at: Nanos) -> None:
        """The venue told of an order. Its fills count first; "done" is final only once they add up to what it executed."""
        tracked = self._state.orders.get(report.client_id)
        if tracked is None:
            return
        for fill in report.fills:
            self._book(fill, at)
        match report.status:
            case OrderStatus.ABSENT:
                self._on_absent(tracked, at)
            case OrderStatus.WORKING:
                self._exists(tracked, Accepted(""), at)
            case OrderStatus.DONE:
                self._on_done(tracked, report.executed, at)
        if tracked.is_settled:
            self._settle(self._state.slots[tracked.slot], at)

    def _exists(self, tracked: TrackedOrder, proof: Accepted, at: Nanos) -> None:
        """The venue has the order after all: from here on "no such order" is read lag, even if it was given up."""
        tracked.misses = 0
        if tracked.is_lost or not (tracked.is_settled or isinstance(tracked.outcome, Accepted)):
            was_settled = tracked.is_settled
            self._out.record(OrderOutcome(at, tracked.order.client_id, proof))
            self._reopen(tracked, was_settled, at)

    def _on_done(self, tracked: TrackedOrder, executed: Decimal, at: Nanos) -> None:
        """The order is over. A later word may only raise what it executed; one that lowers it was read too early."""
        tracked.misses = 0
        if tracked.executed is None or executed > tracked.executed:
            was_settled = tracked.is_settled
            self._out.record(OrderClosed(at, tracked.order.client_id, executed))
            self._reopen(tracked, was_settled, at)
            if not was_settled and not tracked.is_settled:
                self._ask(tracked)

    def _reopen(self, tracked: TrackedOrder, was_settled: bool, at: Nanos) -> None:
        """An order that was taken as over is not: its timer ran out long ago, so ask and start it again."""
        if was_settled and not tracked.is_settled:
            self._ask(tracked)
            self._out.timer(ORDER_TIMER + tracked.order.client_id, at + self._settings.answer_timeout)

    def _on_absent(self, tracked: TrackedOrder, at: Nanos) -> None:
        if tracked.is_settled or tracked.is_proven_to_exist:
            return
        tracked.misses += 1
        is_late = at >= tracked.intended_at + self._settings.lost_after
        if is_late and tracked.misses >= self._settings.lost_misses_min:
            self._out.record(OrderLost(at, tracked.order.client_id))

    def on_fill(self, fill: Fill, at: Nanos) -> None:
        """A trade of ours arrived by itself, perhaps late, perhaps again, perhaps not ordered by us."""
        slot = self._book(fill, at)
        if slot is not None:
            self._settle(slot, at)

    def on_timer(self, client_id: ClientId, at: Nanos) -> None:
        """An order's answer is overdue: ask, and ask again later, until the venue has proven what became of it."""
        tracked = self._state.orders.get(client_id)
        if tracked is None or (tracked.is_settled and not tracked.is_watched(at)):
            return
        if (
            not (tracked.is_settled or tracked.is_alerted)
            and at >= tracked.intended_at + self._settings.unresolved_after
        ):
            tracked.is_alerted = True
            self._out.notify(OrderUnresolved(tracked.slot, client_id))
        backoff = self._settings.query_backoff
        wait = backoff[min(tracked.asked, len(backoff) - 1)]
        if tracked.asked and tracked.is_proven_to_exist and tracked.executed is None:
            # An IOC order that still rests after being asked about is one the venue forgot to cancel.
            self._out.cancel(client_id, tracked.order.instrument_id)
        self._ask(tracked)
        self._out.timer(ORDER_TIMER + client_id, at + wait)

    def _ask(self, tracked: TrackedOrder) -> None:
        tracked.asked += 1
        self._out.query(tracked.order.client_id, tracked.order.instrument_id)

    # -- booking ---------------------------------------------------------------------------------------------------

    def _book(self, fill: Fill, at: Nanos) -> Slot | None:
        """Enter a fill into the books once; ``None`` when it was there already or concerns no slot."""
        tracked = self._state.orders.get(fill.client_id)
        slot = self._state.slots[tracked.slot] if tracked else self._owner(fill.instrument_id)
        if slot is None or self._state.has_fill(fill):
            return None
        instrument = slot.leg(fill.instrument_id)
        fill, krw_rate = fee_in_quote(fill, instrument), self._krw_rate(slot, instrument)
        if tracked is not None:
            signal_id = slot.position.signal_id if slot.position else tracked.signal_id
            purpose, reference = tracked.purpose, tracked.reference
        else:
            owner = slot.position or slot.plan
            signal_id = owner.signal_id if owner and takes_from(self._state, slot, fill) else FOREIGN_SIGNAL
            purpose, reference = Purpose.FOREIGN, fill.price
        self._out.record(FillBooked(at, slot.key, signal_id, fill, purpose, reference, krw_rate))
        if tracked is None:
            self._out.notify(ForeignFill(slot.key, fill.instrument_id, fill.client_id, fill.quantity))
        return slot

    def on_funding(self, payment: FundingPayment, at: Nanos) -> None:
        """Book a funding settlement on the position it was for."""
        slot = self._owner(payment.instrument_id)
        if slot is None or self._state.ledger.has(funding_id(payment)):
            return
        krw_rate = self._krw_rate(slot, slot.leg(payment.instrument_id))
        # Income records come late: a payment from before this position was for the one that is over.
        is_ours = slot.position is not None and payment.at >= slot.position.opened_at
        signal_id = slot.position.signal_id if is_ours and slot.position else FOREIGN_SIGNAL
        self._out.record(FundingBooked(at, slot.key, signal_id, payment, krw_rate))

    def _owner(self, instrument_id: InstrumentId) -> Slot | None:
        slots = self._state.slots.values()
        return next((slot for slot in slots if any(leg.id == instrument_id for leg in slot.legs)), None)

    def _krw_rate(self, slot: Slot, instrument: Instrument) -> Decimal:
        """KRW per quote asset to book at: what happened must be booked even before the first FX quote after a restart,
        and then at the rate the slot last decided on.
        """
        return self._market.krw_rate(instrument) or slot.krw_rate or ONE

    # -- settling --------------------------------------------------------------------------------------------------

    def _settle(self, slot: Slot, at: Nanos) -> None:
        """Once nothing is in flight: finish when the legs match, repair when they do not."""
        if slot.unsettled:
            return
        if slot.position is None:
            if slot.phase is not Phase.FLAT:
                self._out.record(PhaseEntered(at, slot.key, Phase.FLAT, "nothing_filled"))
            return
        self.repair(slot, at)

    def repair(self, slot: Slot, at: Nanos) -> None:
        """Send the next repair order if the legs do not match; finish the plan if they do (or only dust is left)."""
        if slot.position is None or slot.unsettled:
            return
        exposure = imbalance(slot)
        choice = choose_repair(self._state, slot, exposure, self._market, self._settings) if exposure else None
        if choice is None or choice.is_dust:
            self._finish(slot, at)
            return
        self._enter_repair(slot, exposure, at)
        due = self._repair_due(slot)
        if choice.leg is None or at < due:
            self._wake(slot, max(due, at + self._settings.repair_pause), at)
        else:
            self._send(slot, (choice.leg,), Purpose.REPAIR, at)

    def _wake(self, slot: Slot, due: Nanos, at: Nanos) -> None:
        """Look again then, unless that is going to happen anyway: one pending timer is enough for a slot."""
        if not at < self._waking.get(slot.key, 0) <= due:
            self._waking[slot.key] = due
            self._out.timer(REPAIR_TIMER + slot.key, due)

    def _repair_due(self, slot: Slot) -> Nanos:
        """When the next repair may leave: the first two at once, then ever later, and slowly once halted."""
        if slot.phase is Phase.HALTED:
            return slot.repaired_at + self._settings.halted_retry
        return slot.repaired_at + self._settings.repair_pause * max(0, slot.repairs - 1)

    def on_repair_timer(self, slot: Slot, at: Nanos) -> None:
        """Time to look at an unfinished repair again."""
        if slot.phase in (Phase.REPAIRING, Phase.HALTED):
            self.repair(slot, at)

    def _enter_repair(self, slot: Slot, exposure: Decimal, at: Nanos) -> None:
        assert slot.position is not None
        if slot.plan is None:
            # A foreign fill broke an open pair: its repair is a decision of its own, with ids of its own.
            krw_rate, booked = self._krw_rate(slot, slot.legs[-1]), len(self._state.ledger.entries)
            self._out.record(PlanMade(at, repair_plan(slot, slot.position, krw_rate, booked, at)))
            self._out.notify(LegNaked(slot.key, slot.position.signal_id, exposure))
        elif slot.phase not in (Phase.REPAIRING, Phase.HALTED):
            self._out.record(PhaseEntered(at, slot.key, Phase.REPAIRING, "legs_differ"))
            self._out.notify(LegNaked(slot.key, slot.position.signal_id, exposure))
        if slot.phase is Phase.REPAIRING and slot.repairs >= self._settings.quick_repairs_max:
            self._out.record(PhaseEntered(at, slot.key, Phase.HALTED, "repair_failing"))
            self._out.notify(RepairFailing(slot.key, slot.position.signal_id, exposure, slot.repairs))

    def _finish(self, slot: Slot, at: Nanos) -> None:
        position, plan = slot.position, slot.plan
        assert position is not None
        over = is_over(slot, self._market)
        if slot.phase is Phase.OPEN and not over:
            return
        if slot.phase in (Phase.REPAIRING, Phase.HALTED):
            self._out.notify(LegRepaired(slot.key, position.signal_id))
        if not over:
            self._out.record(PhaseEntered(at, slot.key, Phase.OPEN, "legs_match"))
            if plan is not None and plan.action is Action.ENTER and slot.has_filled:
                self._out.notify(opened(slot, position, plan))
            return
        reason = why_over(slot)
        self._out.record(PhaseEntered(at, slot.key, Phase.FLAT, reason, self._marks(slot)))
        closed = slot.closed[-1]
        is_loss = closed.breakdown.net < ZERO
        self._out.notify(PairClosed(slot.key, position.signal_id, closed.breakdown, is_loss))
        if is_loss:
            self._out.notify(ForcedLoss(slot.key, position.signal_id, closed.breakdown.net, reason))

    def _marks(self, slot: Slot) -> tuple[tuple[InstrumentId, Mark], ...]:
        books = self._market.books
        mids = {leg.id: books[leg.id].mid() if leg.id in books else ZERO for leg in slot.legs}
        return tuple((leg.id, Mark(mids[leg.id], self._krw_rate(slot, leg))) for leg in slot.legs)
