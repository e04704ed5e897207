"""A venue as the engine's drivers see it: orders in, outcomes and reports out. Exceptions never cross this port."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Protocol

from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.orders import ClientId, Order, OrderReport, Outcome
from kimp.shared.messages.events import Event


class Exchange(Protocol):
    """One venue's trading side."""

    async def place(self, order: Order) -> Outcome:
        """Send one order, once. A timeout or anything unclear is ``Unknown``, never ``Rejected``."""
        ...

    async def cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> Outcome:
        """Ask for cancellation of what is left."""
        ...

    async def query(self, client_id: ClientId, instrument_id: InstrumentId) -> OrderReport | None:
        """The venue's word on an order, with its fills; ``None`` when the venue cannot be asked now."""
        ...

    async def holdings(self) -> dict[str, Decimal]:
        """Per asset or contract symbol what we own, free and locked together."""
        ...

    def reports(self) -> AsyncIterator[Event]:
        """Fills, order reports and funding as the venue pushes them."""
        ...
