"""How a price got from a bar's open to its close: a path through its high and its low, in ticks, from a seed."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import NamedTuple

from kimp.shared.domain.instruments import Side, TradingRules

TICKS_MIN = 4
"""Open, high, low and close are four prices, and each needs its tick."""

WIGGLE = 0.15
"""How far a price strays from the straight way between two of them, as a fraction of the bar's range."""


class Bar(NamedTuple):
    """Open, high, low and close of one bar (quote asset), and what was traded in it (base coins)."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


def path_of(bar: Bar, ticks: int, rules: TradingRules, dice: Random) -> list[Decimal]:
    """``ticks`` prices on the tick grid: the first is the open, the last the close, high and low are both touched.

    A rising bar touches its low first and a falling one its high, as most do.
    """
    assert ticks >= TICKS_MIN
    extremes = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    first = dice.randrange(1, ticks - 2)
    second = dice.randrange(first + 1, ticks - 1)
    corners = [(0, bar.open), (first, extremes[0]), (second, extremes[1]), (ticks - 1, bar.close)]
    path = [bar.open]
    for (begin, start), (end, goal) in pairwise(corners):
        path += [
            _between(bar, start, goal, (step - begin) / (end - begin), rules, dice) for step in range(begin + 1, end)
        ]
        path.append(goal)
    return path


def _between(bar: Bar, start: Decimal, goal: Decimal, share: float, rules: TradingRules, dice: Random) -> Decimal:
    stray = (dice.random() - 0.5) * 2 * WIGGLE * min(share, 1 - share)
    price = start + (goal - start) * _short(share) + (bar.high - bar.low) * _short(stray)
    return min(max(rules.bound(price, Side.BUY), bar.low), bar.high)


def _short(number: float) -> Decimal:
    """A made-up fraction, with no more digits than a price can show."""
    return Decimal(round(number * 1_000_000)).scaleb(-6)
