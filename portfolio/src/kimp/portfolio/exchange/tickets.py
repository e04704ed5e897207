"""Orders as clients ask for them and as the virtual exchange keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.instruments import InstrumentId, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import ClientId, Fill, Order, TimeInForce
from kimp.shared.domain.time import Nanos


class OrderKind(StrEnum):
    """How an order names its price: a limit, none (by quantity), an amount to spend, or the best price there is."""

    LIMIT = "limit"
    MARKET = "market"
    """By quantity: both sides on Binance, only sales on Upbit."""
    PRICE = "price"
    """Upbit's purchase for an amount of KRW."""
    BEST = "best"
    """Upbit's order at the best opposite price, ``ioc`` or ``fok``: a purchase by amount, a sale by quantity."""


class Ticket(msgspec.Struct, frozen=True):
    """What a client asked for.

    ``quantity`` is in base coins, ``price`` in the quote asset; ``funds`` (quote asset, without the fee) is what a
    ``PRICE`` or ``BEST`` purchase may spend. Without a ``client_id`` the venue makes one.
    """

    client_id: ClientId | None
    instrument_id: InstrumentId
    side: Side
    kind: OrderKind = OrderKind.LIMIT
    quantity: Decimal | None = None
    price: Decimal | None = None
    funds: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False

    @property
    def is_by_funds(self) -> bool:
        """Whether it says how much to spend instead of how much to buy."""
        return self.funds is not None


class OrderState(StrEnum):
    """Where an order stands: ``CANCELLED`` and ``EXPIRED`` ended with something unfilled.

    On Upbit a market order that leaves dust ends ``CANCELLED`` however much of it traded. On Binance what IOC, FOK and
    reduce-only leave over is ``EXPIRED``.
    """

    WORKING = "working"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(slots=True)
class VirtualOrder:
    """An order the virtual exchange took.

    ``number`` counts 1, 2, 3 … per venue and is unique for ever, ``client_id`` is the client's or made by the venue.
    ``order`` is what was matched: for orders without a limit, the bound they were matched with.
    """

    ticket: Ticket
    number: int
    client_id: ClientId
    order: Order
    created_at: Nanos
    updated_at: Nanos
    fills: list[Fill] = field(default_factory=list)
    state: OrderState = OrderState.WORKING
    venue_order_id: str = ""

    @property
    def executed(self) -> Decimal:
        """Base coins filled so far."""
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def left(self) -> Decimal:
        """Base coins still wanted."""
        return self.order.quantity - self.executed

    @property
    def is_done(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.state is not OrderState.WORKING

    @property
    def cash(self) -> Decimal:
        """What was paid or received so far without fees (quote asset)."""
        return sum((fill.price * fill.quantity for fill in self.fills), ZERO)

    @property
    def fees(self) -> Decimal:
        """Fees taken so far (quote asset)."""
        return sum((fill.fee.value for fill in self.fills), ZERO)

    @property
    def funds_left(self) -> Decimal | None:
        """What a purchase by amount has not spent (quote asset); ``None`` for orders by quantity."""
        return None if self.ticket.funds is None else self.ticket.funds - self.cash

    def snapshot(self) -> VirtualOrder:
        """As it stands now; later fills do not reach the copy."""
        return replace(self, fills=list(self.fills))
