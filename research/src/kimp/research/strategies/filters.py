"""The conditions of the strategy one by one, each a pure function of numbers.

Every comparison is strict: a premium exactly at its level, funding of exactly zero or a net of exactly the target is
not enough. Fractions throughout (0.03 is three percent), money in KRW.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from kimp.shared.domain.money import ONE
from kimp.shared.domain.signals import Direction


class Zone(StrEnum):
    """On which side of its level the premium has to be: ``ABOVE`` wants it dear, ``BELOW`` wants it cheap."""

    ABOVE = "above"
    BELOW = "below"


# Python 3.11 needs 60 ns to look a member up, three times the comparison itself, and these run every minute of years.
_ABOVE = Zone.ABOVE
_LONG_PREMIUM = Direction.LONG_PREMIUM


def is_beyond(premium: Decimal, level: Decimal, zone: Zone) -> bool:
    """Whether the premium has passed its level; standing exactly on it has not."""
    return premium > level if zone is _ABOVE else premium < level


def distant_level(mean: Decimal, deviation: Decimal, distance: Decimal, zone: Zone) -> Decimal:
    """The premium that lies ``distance`` deviations from its mean: a Z-score or a Bollinger band as a price level."""
    return mean + distance * deviation if zone is _ABOVE else mean - distance * deviation


def pays_funding(rate: Decimal, direction: Direction, minimum: Decimal) -> bool:
    """Whether holding the perpetual earns more than ``minimum`` per settlement (fraction of notional).

    A positive rate is paid by longs to shorts: income for ``LONG_PREMIUM``, which is short the perpetual, a cost for
    ``SHORT_PREMIUM``.
    """
    return (rate if direction is _LONG_PREMIUM else -rate) > minimum


def is_surging(usdkrw: Decimal, mean: Decimal, factor: Decimal) -> bool:
    """Whether the dollar stands above its recent mean × ``factor``.

    A jump of USD/KRW pushes the premium down on paper before Korean prices have followed, and a long premium entered
    then owns dollars bought at the top: it loses their way back even if the premium does not move.
    """
    return usdkrw > mean * factor


def is_enough(net: Decimal, capital: Decimal, minimum: Decimal) -> bool:
    """Whether closing now would earn more than ``minimum`` (fraction) of the whole capital; both amounts in KRW."""
    return net > capital * minimum


def is_breakout(
    net: Decimal, capital: Decimal, minimum: Decimal, premium: Decimal, band: Decimal, zone: Zone = Zone.ABOVE
) -> bool:
    """Whether a spike may be sold into: enough is earned and the premium has left its Bollinger band in our favour."""
    return is_enough(net, capital, minimum) and is_beyond(premium, band, zone)


def second_tranche(filled_share: Decimal, first_share: Decimal) -> Decimal | None:
    """How much of a full position to add, or ``None`` when the second tranche is already on.

    It counts as on once more than half of it is, because lots and thin books leave fills short of the share asked
    for; and it is never more than what is missing, so the position cannot exceed its full size.
    """
    second = ONE - first_share
    missing = ONE - filled_share
    return min(second, missing) if missing + missing > second else None
