"""``TradingEngine.handle(event) -> effects``: the whole engine as one pure state machine.

No awaits, no clock, no I/O: time arrives in ``event.at``, everything wanted leaves as effects and comes back as events.
What is checked at the top of a decision therefore still holds at its bottom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kimp.order.engine.desk import PairDesk
from kimp.order.engine.executor import ORDER_TIMER, REPAIR_TIMER, OrderExecutor
from kimp.order.engine.market import MarketState
from kimp.order.engine.outbox import Outbox
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.instruments import Pair
from kimp.shared.messages.effects import Effect
from kimp.shared.messages.events import (
    ClockMeasured,
    CloseOrdered,
    Event,
    FeedBack,
    FeedLost,
    FundingPaid,
    FundsMoved,
    MarketMoved,
    OrderAnswered,
    OrderFilled,
    OrderReported,
    PositionSeen,
    SwitchChanged,
    TimerFired,
    VenueChanged,
)
from kimp.shared.messages.records import FundsBooked, Record, SwitchSet
from kimp.shared.ports.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Assignment:
    """One strategy put to work on one pair."""

    strategy: Strategy
    pair: Pair


class TradingEngine:
    """Runs any number of strategies on one capital. Slots are keyed ``strategy:coin``; no two may trade the same
    instrument.
    """

    def __init__(self, assignments: Iterable[Assignment], settings: EngineSettings) -> None:
        assignments = tuple(assignments)
        traded = [leg.id for work in assignments for leg in (work.pair.korea, work.pair.abroad)]
        if len(set(traded)) != len(traded):
            raise ValueError("two strategies on one instrument would fight over its fills; give each its own coin")
        slots = [
            Slot(
                f"{work.strategy.name}:{work.pair.symbol}",
                work.strategy.name,
                work.pair.symbol,
                (work.pair.korea, work.pair.abroad),
            )
            for work in assignments
        ]
        self.settings = settings
        self.state = EngineState(slots)
        self.market = MarketState(settings)
        self._out = Outbox(self.state)
        self.executor = OrderExecutor(self.state, self.market, self._out, settings)
        self.desks = tuple(
            PairDesk(slot, work.strategy, work.pair, self.state, self.market, self.executor, settings)
            for slot, work in zip(slots, assignments, strict=True)
        )
        self._handlers: dict[type, Callable[[Any], None]] = {
            OrderAnswered: lambda event: self.executor.on_answer(event.client_id, event.outcome, event.at),
            OrderReported: lambda event: self.executor.on_report(event.report, event.at),
            OrderFilled: lambda event: self.executor.on_fill(event.fill, event.at),
            FundingPaid: lambda event: self.executor.on_funding(event.payment, event.at),
            FundsMoved: self._on_funds,
            PositionSeen: self._on_position_seen,
            FeedLost: self.market.note,
            FeedBack: self.market.note,
            VenueChanged: self.market.note,
            ClockMeasured: self.market.note,
            SwitchChanged: self._on_switch,
            CloseOrdered: self._on_close_ordered,
            TimerFired: self._on_timer,
        }

    def handle(self, event: Event) -> list[Effect]:
        """Take in one event; the effects must be carried out in order, and records made durable before what follows
        them.
        """
        if type(event) is MarketMoved:  # nearly all of them are
            self.market.see(event)
            for desk in self.desks:
                desk.consider(event.at)
        else:
            self._handlers[type(event)](event)
        return self._out.drain()

    def restore(self, records: Iterable[Record], at: int) -> list[Effect]:
        """Become what these records made of an engine before, then ask about every order whose end is not proven."""
        for record in records:
            self.state.apply(record)
        for slot in self.state.slots.values():
            self.executor.resume(slot, at)
        return self._out.drain()

    @property
    def refusals(self) -> Counter[str]:
        """How often each reason kept something from being done, all slots together."""
        return sum((desk.refusals for desk in self.desks), Counter())

    def _on_funds(self, event: FundsMoved) -> None:
        if self.state.ledger.has(f"transfer:{event.transfer_id}"):
            return
        self._out.record(FundsBooked(event.at, event.transfer_id, event.venue, event.amount))

    def _on_switch(self, event: SwitchChanged) -> None:
        if event.is_resume or event.state is not self.state.switch:
            self._out.record(SwitchSet(event.at, event.state, event.is_resume, event.actor, event.reason))

    def _on_close_ordered(self, event: CloseOrdered) -> None:
        if event.command_id in self.state.commands:
            return
        desk = next((desk for desk in self.desks if desk.slot.key == event.slot), None)
        if desk is not None:
            desk.close_anyway(event, self._out)

    def _on_position_seen(self, event: PositionSeen) -> None:
        for desk in self.desks:
            desk.compare(event, self._out)

    def _on_timer(self, event: TimerFired) -> None:
        if event.timer.startswith(ORDER_TIMER):
            self.executor.on_timer(event.timer.removeprefix(ORDER_TIMER), event.at)
        elif event.timer.startswith(REPAIR_TIMER):
            self.executor.on_repair_timer(self.state.slots[event.timer.removeprefix(REPAIR_TIMER)], event.at)
        else:
            raise AssertionError(f"nobody set the timer {event.timer!r}")
