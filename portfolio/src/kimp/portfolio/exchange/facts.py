"""What a venue must never forget, as facts in the past tense: its whole state is the fold of these and of nothing else.

Books and rates are not among them; they are new after a restart anyway.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.portfolio.exchange.tickets import OrderState, Ticket
from kimp.shared.domain.funding import FundingPayment, FundingRate
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import ClientId, Fill, Order
from kimp.shared.domain.time import Nanos


class VenueOpened(msgspec.Struct, frozen=True, tag=True):
    """The account was opened with these balances."""

    venue: Venue
    balances: dict[str, Decimal]


class OrderTaken(msgspec.Struct, frozen=True, tag=True):
    """An order was taken, with what it filled at once and the state that left it in.

    ``is_ours`` is false of a liquidation: the venue's own order, which it never was asked for.
    """

    number: int
    at: Nanos
    ticket: Ticket
    order: Order
    state: OrderState
    fills: tuple[Fill, ...] = ()
    venue_order_id: str = ""
    is_ours: bool = True


class OrderTraded(msgspec.Struct, frozen=True, tag=True):
    """A resting order was met."""

    number: int
    at: Nanos
    fill: Fill


class OrderEnded(msgspec.Struct, frozen=True, tag=True):
    """A resting order ended with something unfilled, or with its last fill."""

    number: int
    at: Nanos
    state: OrderState


class IdentifierBurnt(msgspec.Struct, frozen=True, tag=True):
    """Upbit refused an order and will never take its identifier again."""

    client_id: ClientId


class FundingBooked(msgspec.Struct, frozen=True, tag=True):
    """Funding was settled."""

    payment: FundingPayment


class RateNoted(msgspec.Struct, frozen=True, tag=True):
    """A contract's next settlement was heard of: so that one is not forgotten that comes due while the venue is down."""

    rate: FundingRate


class FundsMoved(msgspec.Struct, frozen=True, tag=True):
    """The owner's money came in or went out."""

    transfer_id: str
    amount: Amount
    at: Nanos


class LeverageSet(msgspec.Struct, frozen=True, tag=True):
    """The leverage of a contract was changed."""

    symbol: str
    leverage: Decimal


class ModeSet(msgspec.Struct, frozen=True, tag=True):
    """The position mode was changed: hedge mode, or one-way."""

    is_hedge_mode: bool


Fact = (
    VenueOpened
    | OrderTaken
    | OrderTraded
    | OrderEnded
    | IdentifierBurnt
    | FundingBooked
    | RateNoted
    | FundsMoved
    | LeverageSet
    | ModeSet
)
