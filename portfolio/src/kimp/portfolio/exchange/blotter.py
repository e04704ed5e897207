"""The virtual exchange's list of orders: every one it ever took, in order, with what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kimp.portfolio.exchange.batch import Batch
from kimp.portfolio.exchange.facts import OrderEnded, OrderTaken, OrderTraded
from kimp.portfolio.exchange.happenings import OrderMoved
from kimp.portfolio.exchange.tickets import OrderKind, OrderState, Ticket, VirtualOrder
from kimp.research.simulation.arrivals import EventAt, filled, reported
from kimp.research.simulation.venue import SimulatedVenue
from kimp.research.simulation.venue_order import VenueOrder
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import ClientId, Fill, Order, OrderReport, OrderStatus, TimeInForce
from kimp.shared.domain.time import Nanos


@dataclass(slots=True)
class Working:
    """An order that rests, as clients see it and as it is matched."""

    order: VirtualOrder
    placed: VenueOrder


class Blotter:
    """Numbers orders, follows their fills and ends, and puts all of it into the batch of the moment."""

    def __init__(self, simulated: SimulatedVenue) -> None:
        self.simulated = simulated
        self.orders: list[VirtualOrder] = []
        self.latest: dict[ClientId, VirtualOrder] = {}
        self.working: dict[int, Working] = {}

    def take(self, ticket: Ticket, placed: VenueOrder, batch: Batch) -> None:
        """Write down an order the venue has just taken, and what it did at once."""
        order = self._enter(ticket, placed.order, batch.at, placed.venue_order_id)
        batch.happenings.append(OrderMoved(order.snapshot(), None, batch.at))
        for fill in placed.fills:
            self._fill(order, fill, batch)
            batch.news.append(filled(fill))
        if not placed.is_done:
            self.working[order.number] = Working(order, placed)
        elif not order.is_done:
            self._end(order, self._ended(order), batch)
        batch.news.append(self._report(order))
        batch.facts.append(self._taken(order))
        batch.traded(self.simulated.instruments[order.order.instrument_id])

    def _enter(self, ticket: Ticket, order: Order, at: Nanos, venue_order_id: str = "") -> VirtualOrder:
        entered = VirtualOrder(
            ticket, len(self.orders) + 1, order.client_id, order, at, at, venue_order_id=venue_order_id
        )
        self.orders.append(entered)
        self.latest[order.client_id] = entered
        return entered

    @staticmethod
    def _taken(order: VirtualOrder, *, is_ours: bool = True) -> OrderTaken:
        return OrderTaken(
            order.number, order.created_at, order.ticket, order.order, order.state, tuple(order.fills),
            order.venue_order_id, is_ours,
        )  # fmt: skip

    @staticmethod
    def _report(order: VirtualOrder) -> EventAt:
        status = OrderStatus.DONE if order.is_done else OrderStatus.WORKING
        return reported(OrderReport(order.client_id, status, order.executed))

    def _fill(self, order: VirtualOrder, fill: Fill, batch: Batch) -> None:
        order.fills.append(fill)
        order.updated_at = batch.at
        if order.left == ZERO and not order.funds_left:
            order.state = OrderState.FILLED
        batch.happenings.append(OrderMoved(order.snapshot(), fill, batch.at))

    def _end(self, order: VirtualOrder, state: OrderState, batch: Batch) -> None:
        order.state, order.updated_at = state, batch.at
        batch.happenings.append(OrderMoved(order.snapshot(), None, batch.at))

    def _ended(self, order: VirtualOrder) -> OrderState:
        """How an order ends that nobody cancelled and that did not fill."""
        waits = order.order.time_in_force in (TimeInForce.GTC, TimeInForce.POST_ONLY)
        if self.simulated.venue is Venue.UPBIT or (waits and not order.order.reduce_only):
            return OrderState.CANCELLED
        return OrderState.EXPIRED

    def note(self, fills: Iterable[Fill], batch: Batch) -> None:
        """Write down what new books did: resting orders met, orders cancelled by it, and then liquidations."""
        liquidations = []
        ids = {working.order.client_id: working.order for working in self.working.values()} if self.working else {}
        for fill in fills:
            batch.news.append(filled(fill))
            order = ids.get(fill.client_id)
            if order is None:
                liquidations.append(fill)
                continue
            self._fill(order, fill, batch)
            batch.facts.append(OrderTraded(order.number, batch.at, fill))
            batch.traded(self.simulated.instruments[fill.instrument_id])
        for number, working in list(self.working.items()):
            if working.placed.is_done:
                del self.working[number]
                if not working.order.is_done:
                    self._end(working.order, self._ended(working.order), batch)
                    batch.traded(self.simulated.instruments[working.order.order.instrument_id])
                batch.news.append(self._report(working.order))
                batch.facts.append(OrderEnded(number, batch.at, working.order.state))
        for fill in liquidations:
            self._liquidated(fill, batch)

    def _liquidated(self, fill: Fill, batch: Batch) -> None:
        order = Order(fill.client_id, fill.instrument_id, fill.side, fill.quantity, fill.price)
        ticket = Ticket(
            fill.client_id, fill.instrument_id, fill.side, OrderKind.LIMIT, fill.quantity, fill.price,
            time_in_force=TimeInForce.IOC,
        )  # fmt: skip
        entered = self._enter(ticket, order, batch.at)
        batch.happenings.append(OrderMoved(entered.snapshot(), None, batch.at))
        self._fill(entered, fill, batch)
        batch.facts.append(self._taken(entered, is_ours=False))
        batch.traded(self.simulated.instruments[fill.instrument_id])

    def withdraw(self, order: VirtualOrder, batch: Batch) -> None:
        """Cancel what is left of a resting order."""
        self.simulated.cancel(order.client_id)
        del self.working[order.number]
        self._end(order, OrderState.CANCELLED, batch)
        batch.news.append(self._report(order))
        batch.facts.append(OrderEnded(order.number, batch.at, order.state))
        batch.traded(self.simulated.instruments[order.order.instrument_id])

    # -- after a restart -------------------------------------------------------------------------------------------

    def remember_taken(self, fact: OrderTaken) -> None:
        """An order from before a restart, with what it did at once."""
        order = self._enter(fact.ticket, fact.order, fact.at, fact.venue_order_id)
        order.fills, order.state = list(fact.fills), fact.state
        for fill in fact.fills:
            self.simulated.book(fill)
        if not fact.is_ours:
            return
        if self.simulated.venue is Venue.UPBIT:
            self.simulated.burnt_ids.add(order.client_id)
        placed = VenueOrder(fact.order, fact.venue_order_id, list(fact.fills), order.is_done)
        self.simulated.adopt(placed)
        if not order.is_done:
            self.working[order.number] = Working(order, placed)

    def remember_traded(self, fact: OrderTraded) -> None:
        """A fill from before a restart of an order that rested."""
        working = self.working[fact.number]
        working.order.fills.append(fact.fill)
        working.order.updated_at = fact.at
        working.placed.fills.append(fact.fill)
        self.simulated.book(fact.fill)

    def remember_ended(self, fact: OrderEnded) -> None:
        """The end, before a restart, of an order that rested."""
        working = self.working.pop(fact.number)
        working.order.state, working.order.updated_at = fact.state, fact.at
        self.simulated.cancel(working.order.client_id)
