"""How Upbit writes numbers, moments and ids."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec

from kimp.shared.domain.time import DAY, KST, MILLISECOND, Nanos, from_datetime, to_datetime

NUMBER_LENGTH_MAX = 40
"""Characters of a number in a request: prices and volumes need fewer than 30."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_FIGURES = frozenset("0123456789.+-eE")  # Decimal itself would also read "1_000" and other scripts' digits
_ORDER_MARK = "5e1f"
"""The third group of our order ids: tells them from anything else a client may send."""


def encode(value: Any) -> bytes:
    """JSON with decimals as numbers, digit by digit as we hold them; never through a float."""
    return _ENCODER.encode(value)


def text(value: Decimal) -> str:
    """A number as the exchange API writes it: in quotes, plain, without trailing zeros."""
    plain = f"{value:f}"
    return plain.rstrip("0").rstrip(".") or "0" if "." in plain else plain


def number(written: Any) -> Decimal | None:
    """A finite number out of a request, or ``None`` if it is not one."""
    if not isinstance(written, str) or len(written) > NUMBER_LENGTH_MAX or not _FIGURES.issuperset(written):
        return None
    try:
        value = Decimal(written)
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value.adjusted()) < NUMBER_LENGTH_MAX else None


def millis(at: Nanos) -> int:
    """Milliseconds since 1970 UTC."""
    return at // MILLISECOND


def kst_second(at: Nanos) -> str:
    """``2025-08-09T16:44:00+09:00``."""
    return to_datetime(at).astimezone(KST).replace(microsecond=0).isoformat()


def kst_micro(at: Nanos) -> str:
    """``2025-08-09T16:44:00.597751+09:00``."""
    return to_datetime(at).astimezone(KST).isoformat(timespec="microseconds")


def utc_label(at: Nanos) -> str:
    """``2025-08-09T07:44:00``, as candles are labelled."""
    return to_datetime(at).strftime("%Y-%m-%dT%H:%M:%S")


def kst_label(at: Nanos) -> str:
    """``2025-08-09T16:44:00``."""
    return to_datetime(at).astimezone(KST).strftime("%Y-%m-%dT%H:%M:%S")


def moment(written: str) -> Nanos | None:
    """A moment out of a request, ISO 8601 (UTC unless it says otherwise) or milliseconds; ``None`` if neither."""
    if written.isascii() and written.isdigit():
        value = int(written) if len(written) <= 13 else None
        return None if value is None else value * MILLISECOND
    try:
        parsed = datetime.fromisoformat(written)
        return from_datetime(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None


def day_start(at: Nanos) -> Nanos:
    """When the day's statistics began: 00:00 UTC, 09:00 in Korea."""
    return at // DAY * DAY


def order_uuid(number_: int) -> str:
    """The id of a venue's n-th order: the same for ever, and the number can be read back from it."""
    digest = blake2b(f"upbit order {number_}".encode(), digest_size=8).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{_ORDER_MARK}-{digest[12:]}-{number_:012x}"


def order_number(uuid: str) -> int | None:
    """Which order an id belongs to, or ``None`` if it is not one of ours."""
    number_ = uuid.rpartition("-")[2]
    try:
        value = int(number_, 16)
    except ValueError:
        return None
    return value if order_uuid(value) == uuid.lower() else None


def trade_uuid(trade_id: str) -> str:
    """The id of a trade; a function of the venue's own trade number."""
    return str(UUID(bytes=blake2b(f"upbit trade {trade_id}".encode(), digest_size=16).digest()))
