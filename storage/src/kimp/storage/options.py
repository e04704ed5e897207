"""Reads what people type: spans of time and moments."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import typer

from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND, Nanos, from_datetime

UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
SPAN_MAX: Nanos = 3_660 * DAY
FIRST_YEAR, LAST_YEAR = 2009, 2099


def span_of(text: str, option: str) -> Nanos:
    """Nanoseconds of ``30s``, ``10m``, ``1h`` or ``2d``.

    Raises:
        typer.BadParameter: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,7})([smhd])", text.strip().lower())
    span = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < span <= SPAN_MAX:
        raise typer.BadParameter(f"{text!r} is no span of time; write 30s, 10m, 1h or 2d", param_hint=option)
    return span


def seconds_of(text: str, option: str) -> float:
    """The same in seconds."""
    return span_of(text, option) / SECOND


def moment_of(text: str | None, option: str, now: Nanos) -> Nanos | None:
    """Nanoseconds UTC of a date (its midnight UTC), of a time with its zone, of ``now``, or of a span ago (``7d``).

    Raises:
        typer.BadParameter: it is none of these, or lies outside of any market's history.
    """
    if text is None:
        return None
    word = text.strip()
    if word.lower() == "now":
        return now
    if re.fullmatch(r"\d{1,7}[smhdSMHD]", word):
        return now - span_of(word, option)
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a date like 2026-01-31, a time like 2026-01-31T09:00+09:00, nor a span ago like 7d",
            param_hint=option,
        ) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise typer.BadParameter(f"{text!r} is not between {FIRST_YEAR} and {LAST_YEAR}", param_hint=option)
    if moment.tzinfo is None:
        if re.fullmatch(r"[\d-]+", word) is None:
            raise typer.BadParameter(f"{text!r} has no time zone; append Z or +09:00", param_hint=option)
        moment = moment.replace(tzinfo=UTC)
    return from_datetime(moment)
