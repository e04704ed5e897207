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
from kimp.research.simulation.arrivals import EventAt, answered, filled, paid, reported, woken
from kimp.research.simulation.faults import FINE, Fault, Faults, NoFaults
from kimp.research.simulation.latency import FixedLatency, LatencyModel
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book
from kimp.shared.domain.instruments import InstrumentId, Venue
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import ClientId, Order, OrderReport, OrderStatus, Rejected, Unknown
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.messages.effects import Append, CancelOrder, Effect, Notify, PlaceOrders, QueryOrder, SetTimer
from kimp.shared.messages.events import (
    Event,
    FundsMoved,
    MarketMoved,
    PositionSeen,
    VenueChanged,
)
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import Record

STEPS_MAX = 1_000_000
"""Heap events between two market events; more means that something asks itself in a circle."""


RECV_WINDOW: Nanos = 5 * SECOND
"""A request under way for longer is refused: Binance's default recvWindow (−1021); at Upbit the line is cut by then."""

QUESTION_TIMEOUT: Nanos = 5 * SECOND
"""An answer to a question that comes later than this finds nobody waiting for it any more."""


class EngineDied(Exception):
    """The engine's process ended between two effects; what was journaled before is all that is left of it."""


TOO_LATE = Rejected("-1021", "Timestamp for this request is outside of the recvWindow.")


@dataclass(frozen=True, slots=True)
class Told:
    """A notice and when it was given."""

    at: Nanos
    notice: Notice


class World:
    """One engine, its venues, and the time between them.

    ``records`` is the journal (in memory), ``notices`` what the owner was told. ``now`` is virtual time. ``steps``
    counts the effects carried out so far; the engine dies just before step ``dies_at``.
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
        self.steps = 0
        self.dies_at: int | None = None
        self.on_step: Callable[[World], None] | None = None
        self.latency = latency or FixedLatency()
        self._faults = faults or NoFaults()
        self._heap: list[tuple[Nanos, int, Callable[[], None]]] = []
        self._sequence = 0
        self._life = 0
        self._is_alive = True
        self._venue_of = {id_: venue for venue in self.venues.values() for id_ in venue.instruments}

    # -- time ------------------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way: a request, an answer, a timer."""
        return bool(self._heap)

    def run_until(self, at: Nanos) -> None:
        """Let everything due before ``at`` happen; then it is ``at``."""
        heap, steps = self._heap, 0
        while heap and heap[0][0] < at:
            self.now, _, happen = heappop(heap)
            happen()
            if self.on_step is not None:
                self.on_step(self)
            steps += 1
            assert steps < STEPS_MAX, f"more than {STEPS_MAX:,} events before {at}: something asks itself in a circle"
        self.now = max(self.now, at)

    def show(self, books: Sequence[Book], at: Nanos) -> None:
        """Let the venues (not the engine) see new books: this is the market that orders under way will meet."""
        if at > self.now:
            self.now = at
        for book in books:
            venue = self._venue_of.get(book.instrument_id)
            if venue is not None:
                for fill in venue.show(book, at):
                    self._tell_news(filled(fill))

    def move(self, event: MarketMoved) -> None:
        """The market moved: first what was due, then the venues, then the engine."""
        if self._heap:
            self.run_until(event.at)
        self.show(event.books, event.at)
        self.feed(event)

    def feed(self, event: Event) -> None:
        """Give the engine one event and carry out what it wants."""
        if event.at > self.now:
            self.now = event.at
        effects = self.engine.handle(event)
        if effects:
            self.carry_out(effects)
        if self.on_step is not None:
            self.on_step(self)

    # -- what happens to venues and money --------------------------------------------------------------------------

    def settle_at(self, instrument_id: InstrumentId, rate: Decimal, at: Nanos) -> None:
        """Settle funding at the venue; its income record reaches the engine a moment later."""
        payment = self._venue_of[instrument_id].settle_funding(instrument_id, rate, at)
        if payment is not None:
            self._tell_news(paid(payment))

    def move_funds(self, transfer_id: str, venue: Venue, amount: Amount) -> None:
        """The owner moves money in or out, and the engine is told."""
        if amount.value != ZERO:
            self.venues[venue].move_funds(amount)
            self.feed(FundsMoved(self.now, transfer_id, venue, amount))

    def maintain(self, venue: Venue, *, is_available: bool, reason: str) -> None:
        """Take a venue into or out of maintenance: orders are refused and questions stay unanswered meanwhile."""
        self.venues[venue].is_available = is_available
        self._tell(lambda at: VenueChanged(at, venue, is_available, reason))

    def look_at(self, instrument_id: InstrumentId) -> None:
        """The periodic question what a venue holds for us: coins of a spot market, contracts of a perpetual."""
        venue, life = self._venue_of[instrument_id], self._life
        coin = venue.instruments[instrument_id].base

        def answer() -> None:
            if venue.is_available:
                contract = venue.contracts.get(instrument_id)
                held = venue.balances.get(coin, ZERO) if contract is None else contract.quantity
                self._tell(lambda at: PositionSeen(at, instrument_id, held), life=life)

        self._later(self.latency.delay(), answer)

    # -- death and restart -----------------------------------------------------------------------------------------

    def bury(self) -> None:
        """The engine's process is gone: timers and answers meant for it reach nobody, what has left goes on."""
        self._life += 1
        self._is_alive = False
        self.dies_at = None

    def restart(self, engine: TradingEngine) -> None:
        """Start a new engine from the journal, and tell it the income and the foreign trades that it may have missed.

        Its own orders are not told again: it must ask about them.
        """
        self.bury()
        self.engine, self._is_alive = engine, True
        self.carry_out(engine.restore(self.records, self.now))
        self.tell_missed()

    def tell_missed(self) -> None:
        """What a venue's history of income and of trades nobody ordered would show."""
        for venue in self.venues.values():
            ordered = {placed.order.client_id for placed in venue.history}
            for fill in venue.trades:
                if fill.client_id not in ordered:
                    self._tell(filled(fill))
            for payment in venue.income:
                self._tell(paid(payment))

    # -- effects ---------------------------------------------------------------------------------------------------

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Do what the engine wants, in the order it wants it.

        Raises:
            EngineDied: this was the step it was to die before.
        """
        for effect in effects:
            match effect:
                case Append(record=record):
                    self._step()
                    self.records.append(record)
                case PlaceOrders(orders=orders):
                    for order in orders:
                        self._step()
                        self._send(order)
                case QueryOrder(client_id=client_id, instrument_id=instrument_id):
                    self._step()
                    self._query(client_id, instrument_id)
                case CancelOrder(client_id=client_id, instrument_id=instrument_id):
                    self._step()
                    self._cancel(client_id, instrument_id)
                case SetTimer(timer=timer, at=at):
                    self._step()
                    self._tell(woken(timer), at - self.now)
                case Notify(notice=notice):
                    self.notices.append(Told(self.now, notice))
                case _:
                    assert_never(effect)

    def _step(self) -> None:
        if self.steps == self.dies_at:
            raise EngineDied(f"before step {self.steps}")
        self.steps += 1

    def _send(self, order: Order) -> None:
        fault, life = self._faults.draw(order), self._life
        if fault.gives_up:
            self._tell(answered(order.client_id, fault.answer or Unknown("timeout")), self.latency.delay())
        sent_at = self.now
        self._later(self.latency.delay() + fault.delay, lambda: self._arrive(order, fault, life, sent_at))

    def _arrive(self, order: Order, fault: Fault, life: int, sent_at: Nanos) -> None:
        outcome = fault.answer
        if fault.executes:
            is_late = self.now - sent_at > RECV_WINDOW
            placed = TOO_LATE if is_late else self._venue_of[order.instrument_id].place(order, self.now)
            outcome = fault.answer or placed
        back = self.latency.delay()
        if not fault.gives_up:
            self._tell(answered(order.client_id, outcome or Unknown("timeout")), back, life)
        if fault.executes and not fault.is_silent:
            self._push(order.client_id, order.instrument_id, back, fault)

    def _push(self, client_id: ClientId, instrument_id: InstrumentId, delay: Nanos, fault: Fault = FINE) -> None:
        """The private stream: every fill (perhaps more than once, perhaps late) and the final report without them."""
        report = self._venue_of[instrument_id].query(client_id)
        if report.status is OrderStatus.ABSENT:
            return
        bare = OrderReport(client_id, report.status, report.executed)
        for _ in range(fault.copies):
            for fill in report.fills:
                self._tell(filled(fill), delay + fault.fills_late)
            self._tell(reported(bare), delay)

    def _query(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        if not self._faults.loses_query(client_id):
            life, asked_at = self._life, self.now
            self._later(self.latency.delay(), lambda: self._answer_query(client_id, instrument_id, life, asked_at))

    def _answer_query(self, client_id: ClientId, instrument_id: InstrumentId, life: int, asked_at: Nanos) -> None:
        venue = self._venue_of[instrument_id]
        if not venue.is_available:
            return
        report = venue.query(client_id)
        if self._faults.denies(client_id, self.now):
            report = OrderReport(client_id, OrderStatus.ABSENT, ZERO)
        elif report.fills and self._faults.hides_fills(client_id):
            report = OrderReport(client_id, report.status, report.executed)
        back = self.latency.delay()
        if self.now + back - asked_at <= QUESTION_TIMEOUT:
            self._tell(reported(report), back, life)

    def _cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        self._later(self.latency.delay(), lambda: self._cancelled(client_id, instrument_id))

    def _cancelled(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        venue = self._venue_of[instrument_id]
        if venue.is_available:
            venue.cancel(client_id)
            self._push(client_id, instrument_id, self.latency.delay())

    # -- the way to the engine -------------------------------------------------------------------------------------

    def _tell_news(self, event_at: EventAt) -> None:
        lag = self._faults.news()
        for _ in range(lag.copies):
            self._tell(event_at, self.latency.delay() + lag.delay)

    def _tell(self, event_at: EventAt, delay: Nanos = 0, life: int | None = None) -> None:
        """Deliver an event later, unless the engine it is meant for has died by then."""
        meant_for = self._life if life is None else life

        def deliver() -> None:
            if self._is_alive and meant_for == self._life:
                self.carry_out(self.engine.handle(event_at(self.now)))

        self._later(delay, deliver)

    def _later(self, delay: Nanos, happen: Callable[[], None]) -> None:
        self._sequence += 1
        heappush(self._heap, (max(self.now + delay, self.now), self._sequence, happen))
