"""How numbers are written for people: won without decimals, percent with sign, Korean time."""

from decimal import Decimal

from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos, show

Number = float | Decimal

NOTHING = "–"
"""Stands where a number is undefined, so that nobody reads a zero."""


def won(value: Number | None) -> str:
    """``1,234,567원``; a loss carries its minus."""
    return NOTHING if value is None else f"{value:z,.0f}원"


def signed_won(value: Number | None) -> str:
    """``+1,234,567원``, for amounts that were won or lost."""
    return NOTHING if value is None else f"{value:+z,.0f}원"


def percent(fraction: Number | None) -> str:
    """A share without sign: 0.25 is ``25.00%``."""
    return NOTHING if fraction is None else f"{fraction * 100:z,.2f}%"


def signed_percent(fraction: Number | None) -> str:
    """A premium or a return: 0.035 is ``+3.50%``."""
    return NOTHING if fraction is None else f"{fraction * 100:+z,.2f}%"


def ratio(value: Number | None) -> str:
    """A ratio with two decimals: ``1.53``."""
    return NOTHING if value is None else f"{value:z,.2f}"


def coins(value: Decimal) -> str:
    """A quantity with eight decimals, as both venues show it."""
    return f"{value:,.8f}"


def moment(at: Nanos | None) -> str:
    """Korean time to the minute; the heading above it says KST."""
    return NOTHING if at is None else show(at)[:16]


def span(length: Nanos | None) -> str:
    """How long, in its two largest units: ``12일 3시간``, ``3시간 20분``, ``5분``."""
    if length is None:
        return NOTHING
    days, hours, minutes = length // DAY, length % DAY // HOUR, length % HOUR // MINUTE
    if days:
        return f"{days:,}일 {hours}시간"
    return f"{hours}시간 {minutes}분" if hours else f"{minutes}분"


def plain(text: str) -> str:
    """Text from outside without control characters, which could repaint a terminal or break a page."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)
