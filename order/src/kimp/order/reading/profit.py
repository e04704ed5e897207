"""What pairs earned, in parts that add up to the last digit, per pair and per Korean day."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal, localcontext

import msgspec

from kimp.order.reading.decision import Decision
from kimp.order.reading.history import History, PairStory
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.positions import Breakdown
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import KST, Nanos, to_datetime

EXACT = Context(prec=100)
"""Wide enough that no sum of KRW amounts is rounded: 28 digits, the default, can drop the tail of a quotient."""


class Parts(msgspec.Struct, frozen=True):
    """KRW; costs are negative and ``net`` is exactly the sum of the other five."""

    premium: Decimal = ZERO
    fx: Decimal = ZERO
    funding: Decimal = ZERO
    fees: Decimal = ZERO
    slippage: Decimal = ZERO
    net: Decimal = ZERO


class PairProfit(msgspec.Struct, frozen=True, kw_only=True):
    """One pair: when, how much, at which premiums (fractions, both bases), and what it earned (KRW).

    ``parts`` is ``None`` for an open pair that no quotes are known for. ``cause`` is there when a loss was realised.
    """

    slot: str
    signal_id: str
    coin: str
    direction: Direction
    quantity: Decimal
    opened_at: Nanos
    closed_at: Nanos | None
    entry_fx: Decimal | None
    entry_usdt: Decimal | None
    exit_fx: Decimal | None
    exit_usdt: Decimal | None
    parts: Parts | None
    entry_reason: str
    exit_reason: str | None
    cause: str | None


class DayProfit(msgspec.Struct, frozen=True):
    """All pairs that ended on one Korean day."""

    day: str
    pairs: int
    parts: Parts


def parts_of(breakdown: Breakdown) -> Parts:
    """A breakdown with its exact sum."""
    with localcontext(EXACT):
        return Parts(
            breakdown.premium,
            breakdown.fx,
            breakdown.funding,
            breakdown.fees,
            breakdown.slippage,
            breakdown.premium + breakdown.fx + breakdown.funding + breakdown.fees + breakdown.slippage,
        )


def total(parts: Iterable[Parts]) -> Parts:
    """The sum, part by part, without rounding."""
    with localcontext(EXACT):
        sums = dict.fromkeys(Parts.__struct_fields__, ZERO)
        for one in parts:
            for name in sums:
                sums[name] += getattr(one, name)
        return Parts(**sums)


def profit_of(pair: PairStory, now: Decision | None = None) -> PairProfit:
    """What one pair earned; an open one at the prices of ``now``, the last decision on its slot."""
    entry, leave = pair.premiums(entry=True), pair.premiums(entry=False)
    end = pair.end
    if end is not None:
        parts: Parts | None = parts_of(end.breakdown)
    else:
        valued = now.verdict.breakdown if now is not None and now.verdict is not None else None
        parts = None if valued is None else parts_of(valued)
    is_loss = end is not None and parts is not None and parts.net < ZERO
    return PairProfit(
        slot=pair.slot,
        signal_id=pair.signal_id,
        coin=pair.symbol,
        direction=pair.direction,
        quantity=pair.quantity,
        opened_at=pair.opened_at,
        closed_at=None if end is None else end.closed_at,
        entry_fx=entry[0],
        entry_usdt=entry[1],
        exit_fx=leave[0] if end else None,
        exit_usdt=leave[1] if end else None,
        parts=parts,
        entry_reason=pair.reason,
        exit_reason=None if end is None else end.reason,
        cause=end.reason if end is not None and is_loss else None,
    )


def closed_profits(history: History, start: Nanos | None = None, end: Nanos | None = None) -> list[PairProfit]:
    """Every pair that ended in ``[start, end)``, oldest first."""
    return [
        profit_of(pair)
        for pair in history.pairs
        if pair.end is not None
        and (start is None or pair.end.closed_at >= start)
        and (end is None or pair.end.closed_at < end)
    ]


def by_day(profits: Iterable[PairProfit]) -> list[DayProfit]:
    """Closed pairs by the Korean day they ended on, oldest first."""
    days: dict[str, list[Parts]] = {}
    for profit in profits:
        if profit.closed_at is not None and profit.parts is not None:
            days.setdefault(kst_day(profit.closed_at), []).append(profit.parts)
    return [DayProfit(day, len(parts), total(parts)) for day, parts in sorted(days.items())]


def kst_day(at: Nanos) -> str:
    """The Korean date of a moment."""
    return to_datetime(at).astimezone(KST).date().isoformat()
