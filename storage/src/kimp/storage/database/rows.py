"""What the database keeps, one type for each kind of row: the domain's own types, and the gaps between them.

A gap is a fact like any other. Whether nobody traded, the market stood still or we did not look decides what a backtest
may do there, so every missing stretch is written down with its reason.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from kimp.shared.domain.books import Book
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.premium import PremiumRates
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import Nanos


class GapReason(StrEnum):
    """Why data is missing. Only what was not collected can be repaired."""

    NO_TRADE = "no_trade"
    HALTED = "halted"
    NOT_COLLECTED = "not_collected"


class Gap(msgspec.Struct, frozen=True):
    """A stretch ``[start, end)`` of a series without data; ``series`` reads like ``candles:upbit:KRW-BTC:60``.

    The same series and start again is the same gap: its newer end and reason count, and once repaired it stays so.
    """

    series: str
    start: Nanos
    end: Nanos
    reason: GapReason
    noticed_at: Nanos
    repaired_at: Nanos | None = None


Row = Instrument | Candle | Book | PublicTrade | FundingRate | FxQuote | PremiumRates | Gap
"""Everything the writer takes."""
