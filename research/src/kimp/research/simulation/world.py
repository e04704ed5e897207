"""Runs an engine against simulated venues on one heap of time: synchronous, ordered by (time, sequence), repeatable.

Everything that costs time in reality costs it here: a request travels, executes at what the book is on arrival, and
its answer travels back. ``Faults`` may lose, delay or double any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from heapq import heappop, heappush
from typing import assert_never

from kimp.order.engine.engine import TradingEngine
from kimp.research.simulation.faults import Fault, Faults, NoFaults
from kimp.research.simulation.latency import FixedLatency, LatencyModel
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import ClientId, Fill, Order, OrderReport, OrderStatus, Unknown
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.effects import Append, CancelOrder, Effect, Notify, PlaceOrders, QueryOrder, SetTimer
from kimp.shared.messages.events import (
    Event,
    FundingPaid,
    FundsMoved,
    MarketMoved,
    OrderAnswered,
    OrderFilled,
    OrderReported,
    TimerFired,
)
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import Record

STEPS_MAX = 1_000_000
"""Heap events between two market events; more means that something asks itself in a circle."""


@dataclass(frozen=True, slots=True)
class Told:
    """A notice and when it was given."""

    at: Nanos
    notice: Notice


class World:
    """One engine, its venues, and the time between them.

    ``records`` is the journal (in memory), ``notices`` what the owner was told. ``now`` is virtual time.
    """

    def __init__(
        self,
        engine: TradingEngine,
        venues: Iterable[SimulatedVenue],
        *,
        latency: LatencyModel | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.engine = engine
        self.venues: dict[Venue, SimulatedVenue] = {venue.venue: venue for venue in venues}
        self.records: list[Record] = []
        self.notices: list[Told] = []
        self.now: Nanos = 0
        self.on_step: Callable[[World], None] | None = None
        self._latency = latency or FixedLatency()
        self._faults = faults or NoFaults()
        self._heap: list[tuple[Nanos, int, Callable[[], None]]] = []
        self._sequence = 0
        self._venue_of = {id_: venue for venue in self.venues.values() for id_ in venue.instruments}

    # -- time ------------------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way: a request, an answer, a timer."""
        return bool(self._heap)

    def run_until(self, at: Nanos) -> None:
        """Let everything due before ``at`` happen."""
        heap, steps = self._heap, 0
        while heap and heap[0][0] < at:
            self.now, _, happen = heappop(heap)
            happen()
            if self.on_step is not None:
                self.on_step(self)
            steps += 1
            assert steps < STEPS_MAX, f"more than {STEPS_MAX:,} events before {at}: something asks itself in a circle"

    def show(self, books: Sequence[Book], at: Nanos) -> None:
        """Let the venues (not the engine) see new books: this is the market that orders under way will meet."""
        self.now = max(self.now, at)
        for venue in self.venues.values():
            fills = venue.see(books, at)
            if fills:
                self._push_fills(fills)

    def move(self, event: MarketMoved) -> None:
        """The market moved: first what was due, then the venues, then the engine."""
        if self._heap:
            self.run_until(event.at)
        self.show(event.books, event.at)
        self.feed(event)

    def feed(self, event: Event) -> None:
        """Give the engine one event and carry out what it wants."""
        self.now = max(self.now, event.at)
        effects = self.engine.handle(event)
        if effects:
            self.carry_out(effects)
        if self.on_step is not None:
            self.on_step(self)

    def settle_at(self, instrument_id: InstrumentId, rate: Decimal, at: Nanos) -> None:
        """Settle funding at the venue; its income record reaches the engine a moment later."""
        payment = self._venue_of[instrument_id].settle_funding(instrument_id, rate, at)
        if payment is not None:
            self._later(self._latency.delay(), lambda: self._deliver(FundingPaid(self.now, payment)))

    def move_funds(self, transfer_id: str, venue: Venue, amount: Amount) -> None:
        """The owner moves money in or out, and the engine is told."""
        if amount.value != ZERO:
            self.venues[venue].move_funds(amount)
            self.feed(FundsMoved(self.now, transfer_id, venue, amount))

    # -- effects ---------------------------------------------------------------------------------------------------

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Do what the engine wants, in the order it wants it."""
        for effect in effects:
            match effect:
                case Append(record=record):
                    self.records.append(record)
                case PlaceOrders(orders=orders):
                    for order in orders:
                        self._send(order)
                case QueryOrder(client_id=client_id, instrument_id=instrument_id):
                    self._query(client_id, instrument_id)
                case CancelOrder(client_id=client_id, instrument_id=instrument_id):
                    self._cancel(client_id, instrument_id)
                case SetTimer(timer=timer, at=at):
                    self._at(at, self._timer(timer))
                case Notify(notice=notice):
                    self.notices.append(Told(self.now, notice))
                case _:
                    assert_never(effect)

    def _send(self, order: Order) -> None:
        fault = self._faults.draw(order)
        self._later(self._latency.delay() + fault.delay, lambda: self._arrive(order, fault))

    def _arrive(self, order: Order, fault: Fault) -> None:
        if not fault.executes:
            outcome = fault.answer
        else:
            placed = self._venue_of[order.instrument_id].place(order, self.now)
            outcome = fault.answer or placed
        back = self._latency.delay()
        answer = outcome or Unknown("timeout")
        self._later(back, lambda: self._deliver(OrderAnswered(self.now, order.client_id, answer)))
        if fault.executes and not fault.is_silent:
            self._push(order.client_id, order.instrument_id, back, fault.copies)

    def _push(self, client_id: ClientId, instrument_id: InstrumentId, delay: Nanos, copies: int) -> None:
        """The private stream: every fill (perhaps more than once), then the final report without its fills."""
        report = self._venue_of[instrument_id].query(client_id)
        if report.status is OrderStatus.ABSENT:
            return
        bare = OrderReport(client_id, report.status, report.executed)
        for _ in range(copies):
            for fill in report.fills:
                self._later(delay, self._filled(fill))
            self._later(delay, lambda: self._deliver(OrderReported(self.now, bare)))

    def _filled(self, fill: Fill) -> Callable[[], None]:
        return lambda: self._deliver(OrderFilled(self.now, fill))

    def _push_fills(self, fills: Iterable[Fill]) -> None:
        for fill in fills:
            self._later(self._latency.delay(), self._filled(fill))

    def _query(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        if self._faults.loses_query(client_id):
            return
        self._later(self._latency.delay(), lambda: self._answer_query(client_id, instrument_id))

    def _answer_query(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        report = self._venue_of[instrument_id].query(client_id)
        if self._faults.denies(client_id):
            report = OrderReport(client_id, OrderStatus.ABSENT, ZERO)
        self._later(self._latency.delay(), lambda: self._deliver(OrderReported(self.now, report)))

    def _cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        self._later(self._latency.delay(), lambda: self._cancelled(client_id, instrument_id))

    def _cancelled(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        self._venue_of[instrument_id].cancel(client_id)
        self._push(client_id, instrument_id, self._latency.delay(), 1)

    def _timer(self, timer: str) -> Callable[[], None]:
        return lambda: self._deliver(TimerFired(self.now, timer))

    def _deliver(self, event: Event) -> None:
        effects = self.engine.handle(event)
        if effects:
            self.carry_out(effects)

    def _later(self, delay: Nanos, happen: Callable[[], None]) -> None:
        self._at(self.now + delay, happen)

    def _at(self, at: Nanos, happen: Callable[[], None]) -> None:
        self._sequence += 1
        heappush(self._heap, (max(at, self.now), self._sequence, happen))
