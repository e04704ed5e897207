"""What venues stream besides books: other people's trades, and the perpetual's mark price."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.shared.domain.instruments import InstrumentId, Side
from kimp.shared.domain.time import Nanos


class PublicTrade(msgspec.Struct, frozen=True, gc=False):
    """Somebody's trade: ``side`` is the taker's, ``trade_id`` the venue's and increasing; Upbit may deliver late ones."""

    instrument_id: InstrumentId
    trade_id: int
    side: Side
    price: Decimal
    quantity: Decimal
    venue_at: Nanos
    received_at: Nanos


class MarkPrice(msgspec.Struct, frozen=True, gc=False):
    """A perpetual's mark and index price (quote asset); ``funding_rate`` is expected, as a fraction, at ``settles_at``."""

    instrument_id: InstrumentId
    mark: Decimal
    index: Decimal | None
    funding_rate: Decimal | None
    settles_at: Nanos | None
    venue_at: Nanos
    received_at: Nanos
