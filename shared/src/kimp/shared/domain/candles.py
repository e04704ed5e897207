"""Bars as venues publish them."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.time import Nanos


class Candle(msgspec.Struct, frozen=True, gc=False):
    """One bar, labelled by its open time; prices in the quote asset, ``volume`` in base coins, ``turnover`` in the quote.

    A bar that is not closed yet (``is_closed`` false) will change and must not be stored as final. Upbit has no bar at all
    for a minute without a trade.
    """

    instrument_id: InstrumentId
    interval: Nanos
    opened_at: Nanos
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal
    is_closed: bool
    received_at: Nanos
