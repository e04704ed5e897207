"""Orders, what a venue answers to them, and the fills that are the only truth about money."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from hashlib import blake2b

import msgspec

from kimp.shared.domain.instruments import Instrument, InstrumentId, Side
from kimp.shared.domain.money import Amount
from kimp.shared.domain.time import Nanos

ClientId = str
"""Our own order id, at most 36 characters: the longest both venues take."""

CLIENT_ID_LENGTH_MAX = 36


class TimeInForce(StrEnum):
    """How long an order may wait: IOC fills what it can at once and cancels the rest."""

    IOC = "ioc"
    FOK = "fok"
    GTC = "gtc"
    POST_ONLY = "post_only"


class Order(msgspec.Struct, frozen=True):
    """A limit order: ``quantity`` base coins at ``limit`` (quote asset) or better."""

    client_id: ClientId
    instrument_id: InstrumentId
    side: Side
    quantity: Decimal
    limit: Decimal
    time_in_force: TimeInForce = TimeInForce.IOC
    reduce_only: bool = False


class Fill(msgspec.Struct, frozen=True):
    """One trade of ours: ``quantity`` base coins at ``price`` (quote asset), and the fee the venue took.

    ``trade_id`` is the venue's and unique per instrument; the same fill may arrive twice or late.
    ``client_id`` of a liquidation or a hand-made trade is the venue's own, not one of ours.
    """

    trade_id: str
    client_id: ClientId
    instrument_id: InstrumentId
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Amount
    at: Nanos


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """The venue has the order; how much of it filled comes in reports and fills."""

    venue_order_id: str


class Rejected(msgspec.Struct, frozen=True, tag="rejected"):
    """The venue refused and has proven that nothing executed."""

    code: str
    reason: str


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """We cannot know: the order may rest, may have filled, or may never have arrived. Ask; never resend, never assume
    zero.
    """

    reason: str


Outcome = Accepted | Rejected | Unknown


class OrderStatus(StrEnum):
    """What the venue says of an order when asked."""

    WORKING = "working"
    DONE = "done"
    ABSENT = "absent"


class OrderReport(msgspec.Struct, frozen=True):
    """The venue's word on one order: ``executed`` is its cumulative filled quantity, ``fills`` those it could name.

    ``DONE`` says nothing about how much filled: an Upbit market buy ends "cancel" when fully executed.
    ``ABSENT`` (no such order) right after placing may only be read lag.
    """

    client_id: ClientId
    status: OrderStatus
    executed: Decimal
    fills: tuple[Fill, ...] = ()


def fee_in_quote(fill: Fill, instrument: Instrument) -> Fill:
    """The fill with its fee in the quote asset, as positions count it.

    A fee taken in a discount coin (BNB) has no price here, so our own rate stands in: more than the venue took, never
    less. The venue's wallet then differs from the ledger by it; preflight asks to switch such discounts off.
    """
    if fill.fee.asset == instrument.quote:
        return fill
    fee = Amount(fill.price * fill.quantity * instrument.fee_rate, instrument.quote)
    return msgspec.structs.replace(fill, fee=fee)


def client_order_id(signal_id: str, leg: int, attempt: int) -> ClientId:
    """The same signal, leg and attempt always give the same id, so that a crash cannot make a second order.

    The signal is hashed because it may be longer than the 36 characters a venue takes.
    """
    digest = blake2b(signal_id.encode(), digest_size=10).hexdigest()
    client_id = f"kimp-{digest}-{leg}-{attempt}"
    assert len(client_id) <= CLIENT_ID_LENGTH_MAX, client_id
    return client_id
