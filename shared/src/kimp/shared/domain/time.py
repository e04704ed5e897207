"""Time is an integer count of nanoseconds since 1970 UTC; the user reads KST.

Integers compare exactly, survive every encoder and cannot carry a forgotten time zone.
"""

from datetime import UTC, datetime, timedelta, timezone

Nanos = int
"""Nanoseconds since the Unix epoch, UTC. Durations are plain ``int`` nanoseconds too."""

MILLISECOND: Nanos = 1_000_000
SECOND: Nanos = 1_000_000_000
MINUTE: Nanos = 60 * SECOND
HOUR: Nanos = 60 * MINUTE
DAY: Nanos = 24 * HOUR

KST = timezone(timedelta(hours=9), "KST")
"""Korea keeps no daylight saving time, so a fixed offset is exact for every date since 1988."""


def from_datetime(moment: datetime) -> Nanos:
    """Nanoseconds of an aware datetime, exact to the microsecond.

    Raises:
        ValueError: the datetime carries no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; say which one is meant")
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * SECOND + elapsed.microseconds * 1_000


def to_datetime(at: Nanos) -> datetime:
    """The UTC datetime of ``at``, cut (not rounded) to microseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at // 1_000)


def show(at: Nanos) -> str:
    """What an operator reads: ``2026-11-20 16:18:00 +09:00``, always Korean time with its offset."""
    return to_datetime(at).astimezone(KST).strftime("%Y-%m-%d %H:%M:%S +09:00")
