"""Funding of a perpetual: a positive rate means longs pay shorts."""

from decimal import Decimal

import msgspec

from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.money import Amount
from kimp.shared.domain.time import HOUR, Nanos


class FundingRate(msgspec.Struct, frozen=True, gc=False):
    """The rate known at ``at``: a fraction of the notional per settlement, due at ``settles_at`` and every ``interval``.

    Intervals differ by symbol and change (Binance's fundingInfo): eight hours is only what BTCUSDT has.
    """

    instrument_id: InstrumentId
    rate: Decimal
    at: Nanos
    settles_at: Nanos
    interval: Nanos = 8 * HOUR


class FundingPayment(msgspec.Struct, frozen=True):
    """What the venue really booked for us, from its income records: positive was received, negative paid.

    ``payment_id`` is the venue's own transaction id, so that the same record arriving twice counts once.
    """

    payment_id: str
    instrument_id: InstrumentId
    amount: Amount
    at: Nanos
