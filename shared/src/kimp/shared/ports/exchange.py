"""A venue as the engine's drivers see it: orders in, outcomes and reports out. Exceptions never cross this port.

An exchange is also an async context manager: inside the block its connections are open and warm.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Protocol, Self

from kimp.shared.domain.accounts import Account, Check
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Venue
from kimp.shared.domain.orders import ClientId, Fill, Order, OrderReport, Outcome
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event


class Exchange(Protocol):
    """One venue's trading side. ``None`` as an answer always means: the venue could not be asked now."""

    @property
    def venue(self) -> Venue:
        """Which venue this is."""
        ...

    async def __aenter__(self) -> Self:
        """Open and warm the connections; does not fail because the venue is away."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections. Orders that rest at the venue stay there."""
        ...

    # -- orders ----------------------------------------------------------------------------------------------------

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:
        """Send one order, once. A timeout or anything unclear is ``Unknown``, never ``Rejected``.

        Urgent orders (exits, repairs) may use the request budget that is reserved for them.
        """
        ...

    async def cancel(self, client_id: ClientId, instrument_id: InstrumentId) -> Outcome:
        """Ask for cancellation of what is left. ``Accepted`` also when the order was over already."""
        ...

    async def query(self, client_id: ClientId, instrument_id: InstrumentId) -> OrderReport | None:
        """The venue's word on an order, with all its fills."""
        ...

    # -- the truth -------------------------------------------------------------------------------------------------

    async def account(self) -> Account | None:
        """Balances (free and locked) and contracts."""
        ...

    async def open_orders(self, instrument_id: InstrumentId) -> tuple[ClientId, ...] | None:
        """Client ids of orders that still rest, ours or not; of one without a client id the venue's own id."""
        ...

    async def fills_since(self, instrument_id: InstrumentId, since: Nanos) -> tuple[Fill, ...] | None:
        """Every trade on our account from that moment on, oldest first, liquidations and hand-made ones included."""
        ...

    async def funding_since(self, since: Nanos) -> tuple[FundingPayment, ...] | None:
        """Every funding settlement in the income records from that moment on, oldest first."""
        ...

    # -- the venue itself ------------------------------------------------------------------------------------------

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...] | None:
        """Tick, lot, minimums and our fee as the venue has them today, for those of the symbols it trades."""
        ...

    async def clock_skew(self) -> Nanos | None:
        """The venue's clock minus ours, measured halfway through a round trip; ``None`` if it tells no time."""
        ...

    async def examine(self, instruments: Sequence[Instrument], leverage: Decimal) -> tuple[Check, ...]:
        """What has to be right before trading: keys and their permissions, account mode, leverage, discounts."""
        ...

    async def keep_alive(self, instruments: Iterable[Instrument], countdown: Nanos) -> None:
        """Tell the venue to cancel whatever rests in ``countdown`` unless told again; nothing where there is no such
        thing.
        """
        ...

    def reports(self) -> AsyncIterator[Event]:
        """What the venue pushes, for as long as it is iterated: ``OrderReported``, ``OrderFilled``, ``FundingPaid``, and
        ``VenueChanged`` and ``ClockMeasured`` about itself.

        A broken stream is reconnected, and what was missed meanwhile is fetched over REST and told, perhaps twice.
        """
        ...
