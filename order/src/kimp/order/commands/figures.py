"""Numbers as a trader reads them: won without decimals, premiums signed, spans of time in words."""

from __future__ import annotations

from decimal import Decimal

from kimp.shared.domain.time import KST, SECOND, Nanos, to_datetime

UNKNOWN = "-"

LIVE_S_MAX = 130
"""A running trader writes its figures at least once a minute; twice that and a little is the past."""


def won(value: Decimal | None, *, signed: bool = True) -> str:
    """KRW with separators and no decimals."""
    if value is None:
        return UNKNOWN
    return f"{value:+z,.0f}" if signed else f"{value:z,.0f}"


def percent(value: Decimal | None, digits: int = 2) -> str:
    """A fraction as a signed percentage."""
    return UNKNOWN if value is None else f"{value * 100:+z.{digits}f} %"


def number(value: Decimal | None, digits: int = 8) -> str:
    """At most so many decimals, without trailing zeros."""
    if value is None:
        return UNKNOWN
    text = f"{value:z,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: Decimal, asset: str) -> str:
    """Coins: eight decimals at most, and their name."""
    return f"{number(value)} {asset}"


def money(value: Decimal | None, asset: str) -> str:
    """An amount of a quote asset: won whole, dollars with cents."""
    if value is None:
        return UNKNOWN
    return f"{value:z,.0f}" if asset == "KRW" else f"{value:z,.2f}"


def digits_for(missing: Decimal | None) -> int:
    """Decimals of a percentage that show a difference as what it is, and never as zero."""
    if not missing:
        return 2
    for digits in (2, 4, 6):
        if round(abs(missing) * 100, digits):
            return digits
    return 8


def ago(span: Nanos) -> tuple[str, str]:
    """A span of time, Korean and English."""
    seconds = max(0, span) // SECOND
    for size, korean, english in ((86_400, "일", "d"), (3_600, "시간", "h"), (60, "분", "min")):
        if seconds >= size:
            rest, (inner, ko, en) = seconds % size, _INNER[size]
            tail = (f" {rest // inner}{ko}", f" {rest // inner} {en}") if rest // inner else ("", "")
            return f"{seconds // size}{korean}{tail[0]}", f"{seconds // size} {english}{tail[1]}"
    return f"{seconds}초", f"{seconds} s"


_INNER = {86_400: (3_600, "시간", "h"), 3_600: (60, "분", "min"), 60: (1, "초", "s")}


def clock(at: Nanos) -> str:
    """Korean time without the offset, where the column's head says it."""
    return to_datetime(at).astimezone(KST).strftime("%Y-%m-%d %H:%M:%S")


def iso(at: Nanos | None) -> str | None:
    """A moment for ``--json``: ISO 8601 with Korea's offset."""
    return None if at is None else to_datetime(at).astimezone(KST).isoformat()


def harmless(text: str) -> str:
    """A venue's words for a terminal: nothing in them is taken for a control character or for markup."""
    from rich.markup import escape

    return escape("".join(letter if letter.isprintable() else " " for letter in text))
