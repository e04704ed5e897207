"""What the engine wants done, in the imperative. Drivers carry effects out strictly in the order given."""

from __future__ import annotations

import msgspec

from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.orders import ClientId, Order
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import Record


class Append(msgspec.Struct, frozen=True):
    """Make this durable before anything after it is carried out."""

    record: Record


class PlaceOrders(msgspec.Struct, frozen=True):
    """Send all of these at once; their answers come back one by one as ``OrderAnswered``.

    Urgent ones leave a position or repair one, and may use the request budget reserved for that.
    """

    orders: tuple[Order, ...]
    is_urgent: bool = False


class QueryOrder(msgspec.Struct, frozen=True):
    """Ask the venue for the order by our id; the answer comes back as ``OrderReported``."""

    client_id: ClientId
    instrument_id: InstrumentId


class CancelOrder(msgspec.Struct, frozen=True):
    """Ask the venue to cancel what is left of the order."""

    client_id: ClientId
    instrument_id: InstrumentId


class SetTimer(msgspec.Struct, frozen=True):
    """Wake the engine with ``TimerFired(timer)`` at that moment."""

    timer: str
    at: Nanos


class Notify(msgspec.Struct, frozen=True):
    """Tell the owner; never awaited, never allowed to delay what follows."""

    notice: Notice


Effect = Append | PlaceOrders | QueryOrder | CancelOrder | SetTimer | Notify
