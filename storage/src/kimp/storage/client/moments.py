"""When: what people write for a moment or a bar length, as nanoseconds UTC.

A time without a zone is refused rather than guessed: Seoul and London are nine hours apart.
"""

from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np

from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND, Nanos, from_datetime, to_datetime
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.database.upsert import EARLIEST, LATEST

Moment = datetime | date | str | int
"""A datetime with a zone, an ISO string with a zone, a date (its midnight UTC), or nanoseconds since 1970 UTC."""

Interval = str | int
"""A bar length: ``1m``, ``5m``, ``1h``, ``1d``, or nanoseconds."""

_UNITS: dict[str, Nanos] = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_MICROSECOND = 1_000
# An int below this (1973) counts in seconds, milliseconds or microseconds.
_NANOS_MIN = 10**17


def nanos(moment: Moment) -> Nanos:
    """A moment in nanoseconds UTC.

    Raises:
        ConfigurationError: no zone, an integer in another unit, or no time at all.
    """
    match moment:
        case bool():
            raise ConfigurationError(f"{moment} is not a time; write 2025-09-01 or 2025-09-01T09:00+09:00.")
        case int() | np.integer():
            return _checked(int(moment))
        case str():
            return _of_text(moment)
        case datetime():
            return _of_datetime(moment)
        case date():
            return from_datetime(datetime.combine(moment, time(), UTC))
        case _:
            raise ConfigurationError(
                f"{moment!r} is not a time; pass a datetime with a zone, an ISO string, a date or nanoseconds."
            )


def span(start: Moment | None, end: Moment | None) -> tuple[Nanos, Nanos]:
    """``[start, end)`` in nanoseconds; ``None`` is as far as any market reaches.

    Raises:
        ConfigurationError: see :func:`nanos`.
        DataError: the start does not come before the end.
    """
    since = EARLIEST if start is None else nanos(start)
    until = LATEST if end is None else nanos(end)
    if since >= until:
        raise DataError(
            f"The range starts at {to_datetime(since):%Y-%m-%d %H:%M} UTC and ends at "
            f"{to_datetime(until):%Y-%m-%d %H:%M} UTC; the start must come before the end."
        )
    return since, until


def length(interval: Interval) -> Nanos:
    """A bar length in nanoseconds.

    Raises:
        ConfigurationError: not a length above zero in whole seconds.
    """
    if isinstance(interval, str):
        count, unit = interval[:-1], interval[-1:]
        found = int(count) * _UNITS[unit] if count.isdecimal() and unit in _UNITS else 0
    else:
        found = int(interval)
    if found <= 0 or found % SECOND:
        raise ConfigurationError(f"{interval!r} is not a bar length; write 1m, 5m, 1h, 1d or nanoseconds.")
    return found


def edge(at: Nanos) -> datetime:
    """An edge of a range as stored times compare to it: rounded up, because they were cut to the microsecond."""
    return to_datetime(-(-at // _MICROSECOND) * _MICROSECOND)


def _of_text(text: str) -> Nanos:
    try:
        if len(text) == len("2025-09-01"):
            return nanos(date.fromisoformat(text))
        return _of_datetime(datetime.fromisoformat(text))
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is not a time; write 2025-09-01 (midnight UTC) or 2025-09-01T09:00+09:00."
        ) from error


def _of_datetime(moment: datetime) -> Nanos:
    if moment.tzinfo is None:
        raise ConfigurationError(
            f"{moment.isoformat()} has no time zone; write for example {moment.isoformat()}+09:00."
        )
    stamp: Any = moment
    # A pandas Timestamp is a datetime that knows nanoseconds too.
    return int(stamp.as_unit("ns").value) if hasattr(stamp, "as_unit") else from_datetime(moment)


def _checked(at: Nanos) -> Nanos:
    if at < _NANOS_MIN:
        raise ConfigurationError(f"{at} is no time in nanoseconds since 1970; multiply seconds by 10**9.")
    return at
