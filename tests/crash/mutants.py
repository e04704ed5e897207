"""Planted faults of the trader itself, put into a forked process: the oracle has to catch each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kimp.order.engine.engine import TradingEngine
from kimp.order.runtime.journal import SqliteJournal
from kimp.order.runtime.requests import Requests
from kimp.order.runtime.switch import FileSwitch
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.effects import Effect, PlaceOrders
from kimp.shared.messages.events import SwitchChanged, SwitchState
from kimp.shared.messages.records import OrderIntended, OrderLost, Record


def journals_intents_late() -> None:
    """An intent reaches the disk with whatever is written next, after its order has left."""
    append, kept = SqliteJournal.append, []

    def late(self: SqliteJournal, records: Sequence[Record]) -> None:
        if any(isinstance(record, OrderIntended) for record in records):
            kept.extend(records)
            return
        append(self, [*kept, *records])
        kept.clear()

    SqliteJournal.append = late  # type: ignore[method-assign]


def resends_on_restart() -> None:
    """Orders whose end is not proven are simply sent again after a restart."""
    restore = TradingEngine.restore

    def resend(self: TradingEngine, records: Any, at: int) -> list[Effect]:
        effects = restore(self, records, at)
        orders = tuple(self.state.orders[client_id].order for client_id in self.state.unsettled)
        return [*effects, PlaceOrders(orders)] if orders else effects

    TradingEngine.restore = resend  # type: ignore[method-assign]


def asks_about_nothing() -> None:
    """Nobody asks what became of an order: neither after a restart nor when the venue is looked at."""
    from kimp.order.runtime import inquiry

    async def nothing(*_: Any) -> tuple[list[Any], list[Any]]:
        return [], []

    inquiry._unsettled = nothing
    Requests.query = lambda *_: None  # type: ignore[method-assign, assignment]


def gives_up_on_restart() -> None:
    """After a restart every order whose end is not proven is taken not to have happened."""
    restore = TradingEngine.restore

    def give_up(self: TradingEngine, records: Any, at: int) -> list[Effect]:
        effects = restore(self, records, at)
        for client_id in tuple(self.state.unsettled):
            self._out.record(OrderLost(at, client_id))
        return [*effects, *self._out.drain()]

    TradingEngine.restore = give_up  # type: ignore[method-assign]


def hears_no_stop() -> None:
    """Whatever stands in the switch's file, it is read as a go."""
    FileSwitch.state = lambda _: SwitchState.ACTIVE  # type: ignore[method-assign]

    async def events(self: FileSwitch) -> Any:
        yield SwitchChanged(self._clock.now(), SwitchState.ACTIVE)
        while True:
            await self._clock.sleep_until(_tomorrow(self._clock.now()))

    FileSwitch.events = events  # type: ignore[method-assign]


def _tomorrow(now: Nanos) -> Nanos:
    return now + 86_400 * 10**9


MUTANTS: dict[str, Callable[[], None]] = {
    "late-intent": journals_intents_late,
    "resend": resends_on_restart,
    "no-questions": asks_about_nothing,
    "give-up": gives_up_on_restart,
    "no-stop": hears_no_stop,
}
