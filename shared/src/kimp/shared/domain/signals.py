"""What a strategy may say, and every reason the engine may have for not doing it."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.instruments import Side
from kimp.shared.domain.money import ONE


class Direction(StrEnum):
    """Which way the pair is held.

    ``LONG_PREMIUM`` holds Korean coins against a short perpetual and earns when the premium rises;
    ``SHORT_PREMIUM`` has sold Korean coins it owned against a long perpetual and earns when it falls.
    """

    LONG_PREMIUM = "LONG_PREMIUM"
    SHORT_PREMIUM = "SHORT_PREMIUM"

    @property
    def korea_side(self) -> Side:
        """The side of the Korean order that enters; the perpetual takes the opposite."""
        return Side.BUY if self is Direction.LONG_PREMIUM else Side.SELL


class Enter(msgspec.Struct, frozen=True, tag="enter"):
    """Open (or add to) the pair; ``share`` is the part of the full size, for entries in tranches."""

    direction: Direction
    reason: str
    share: Decimal = ONE


class Exit(msgspec.Struct, frozen=True, tag="exit"):
    """Close the pair if, and only if, that makes money."""

    reason: str


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Do nothing; ``reason`` says which condition was missing."""

    reason: str


Signal = Enter | Exit | Hold


class Refusal(StrEnum):
    """Why something wanted was not done. Every refusal is counted and shown under this code."""

    NO_BOOK = "no_book"
    BOOK_INVALID = "book_invalid"
    BOOK_STALE = "book_stale"
    LEGS_SKEWED = "legs_skewed"
    FX_MISSING = "fx_missing"
    FX_EXPIRED = "fx_expired"
    FEED_LOST = "feed_lost"
    FEED_QUARANTINED = "feed_quarantined"
    VENUE_UNAVAILABLE = "venue_unavailable"
    CLOCK_SKEWED = "clock_skewed"
    QUOTE_AHEAD = "quote_ahead"
    STOPPED = "stopped"
    HALTED = "halted"
    COOLING_DOWN = "cooling_down"
    RATE_CAPPED = "rate_capped"
    POSITION_MISMATCH = "position_mismatch"
    ORDER_UNKNOWN = "order_unknown"
    TOO_SMALL = "too_small"
    BOOK_TOO_THIN = "book_too_thin"
    NOT_AT_SIZE = "not_at_size"
    SIGNAL_CONSUMED = "signal_consumed"
    NET_NOT_POSITIVE = "net_not_positive"
    NOT_HELD = "not_held"
    HELD_THE_OTHER_WAY = "held_the_other_way"
    CANNOT_AFFORD = "cannot_afford"
