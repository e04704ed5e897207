"""Books around a price that was traded: their spread and depth are made up, from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from random import Random

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Instrument, Side, Venue
from kimp.shared.domain.time import Nanos

LEVELS = 15
"""What Upbit's WebSocket shows of a book by default is up to 30 a side, Binance's partial streams 20; enough for both."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How a venue's book usually looks.

    Args:
        notional: of a typical level (quote asset).
        spread: typical distance of the touches, as a fraction of the price; one tick at least.
        gap: the most ticks between two levels.
    """

    notional: Decimal
    spread: Decimal
    gap: int


_BITS = 10
_DRAWS = 1 << _BITS
_THINNEST = 35_000
_TYPICAL = _THINNEST * 10

DEPTHS = {
    Venue.UPBIT: Depth(Decimal(20_000_000), Decimal("0.0001"), 5),
    Venue.BINANCE: Depth(Decimal(60_000), Decimal("0.000001"), 3),
}
"""Of the size the recorded books of BTC have: tens of millions of won, and tens of thousands of dollars, a level."""


def book_around(instrument: Instrument, price: Decimal, side: Side, at: Nanos, dice: Random) -> Book:
    """A book whose last trade was at ``price``: a purchase took that ask, or a sale that bid."""
    rules, depth = instrument.rules, DEPTHS[instrument.venue]
    tick = rules.tick_at(price)
    spread = max(tick, rules.bound(price * depth.spread * dice.randrange(50, 150) / 100, Side.BUY) // tick * tick)
    bid, ask = (price - spread, price) if side is Side.BUY else (price, price + spread)
    bids = _levels(instrument, rules.bound(bid, Side.BUY), Side.BUY, depth, dice)
    asks = _levels(instrument, rules.bound(ask, Side.SELL), Side.SELL, depth, dice)
    return Book(instrument.id, bids, asks, at, at)


def _levels(instrument: Instrument, best: Decimal, side: Side, depth: Depth, dice: Random) -> tuple[Level, ...]:
    rules, levels, price = instrument.rules, [], best
    tick = rules.tick_at(price)
    # One throw for a whole side: a lively market throws for thirty levels several times a second.
    luck = dice.getrandbits(LEVELS * _BITS)
    for _ in range(LEVELS):
        draw, luck = luck % _DRAWS, luck >> _BITS
        # Squared, so that most levels are thin and a few are thick, between a tenth and three times the typical one.
        size = depth.notional * (_THINNEST + draw * draw) / (price * _TYPICAL)
        levels.append(Level(price, max(rules.floor(size), rules.lot)))
        price -= side.sign * tick * (1 + draw % depth.gap)
        if price <= 0:
            break
        if rules.tick_at(price) != tick:
            price = rules.bound(price, side)
            tick = rules.tick_at(price)
    return tuple(levels)
