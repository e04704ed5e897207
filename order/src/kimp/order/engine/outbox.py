"""Collects the effects of one event in order; a record is folded into the state the moment it is added."""

from __future__ import annotations

from kimp.order.engine.state import EngineState
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.orders import ClientId, Order
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.effects import Append, CancelOrder, Effect, Notify, PlaceOrders, QueryOrder, SetTimer
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import Record


class Outbox:
    """What the engine wants done because of the event in hand."""

    def __init__(self, state: EngineState) -> None:
        self._state = state
        self._effects: list[Effect] = []

    def record(self, record: Record) -> None:
        """Journal a fact and let the state follow it: there is no other way to change the state."""
        self._state.apply(record)
        self._effects.append(Append(record))

    def place(self, orders: tuple[Order, ...], *, is_urgent: bool) -> None:
        """Send these orders at once."""
        self._effects.append(PlaceOrders(orders, is_urgent))

    def query(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        """Ask the venue what became of an order."""
        self._effects.append(QueryOrder(client_id, instrument_id))

    def cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> None:
        """Ask the venue to cancel what is left of an order."""
        self._effects.append(CancelOrder(client_id, instrument_id))

    def timer(self, timer: str, at: Nanos) -> None:
        """Wake the engine then."""
        self._effects.append(SetTimer(timer, at))

    def notify(self, notice: Notice) -> None:
        """Tell the owner."""
        self._effects.append(Notify(notice))

    def drain(self) -> list[Effect]:
        """Everything collected, oldest first; the outbox is empty afterwards."""
        if not self._effects:
            return []
        effects, self._effects = self._effects, []
        return effects
