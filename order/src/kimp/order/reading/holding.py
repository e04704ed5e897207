"""An open pair and what waiting costs: what closing would leave, what breaks even, what it is paid, how far it is from
liquidation.

Without quotes (no trader has looked) only what the journal knows is told; nothing is guessed.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.order.reading.decision import Decision
from kimp.order.reading.history import Flow, History, PairStory
from kimp.order.reading.profit import Parts, parts_of
from kimp.shared.domain.instruments import Instrument, Side, Venue
from kimp.shared.domain.ledger import wallet_of
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import LegPosition, Position
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import DAY, Nanos
from kimp.shared.messages.records import Phase

MAINTENANCE = Decimal("0.004")
"""Maintenance margin of BTCUSDT's first bracket (Binance, "Leverage and Margin of USD-M Futures"): larger positions
need more, so the real price is a little nearer than the one told here.
"""


class HeldLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One leg: signed ``quantity`` in base coins, average entry price and value in the quote asset, fees in KRW."""

    venue: Venue
    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal | None
    price_now: Decimal | None
    quote: str
    fees_krw: Decimal


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """What closing would bring at the prices of ``as_of`` (KRW, fractions); ``premium_`` is that of leaving."""

    as_of: Nanos
    age: Nanos
    premium_fx: Decimal | None
    premium_usdt: Decimal | None
    parts: Parts | None
    worst_net: Decimal | None
    is_exit_allowed: bool
    refusals: tuple[str, ...]
    break_even_premium: Decimal | None
    carry_per_day: Decimal | None
    days_to_break_even: Decimal | None


class Liquidation(msgspec.Struct, frozen=True, kw_only=True):
    """When the perpetual would be closed by force: ``price`` (USDT), its multiple of the entry, and how far the price
    may still move against us (fraction of the price now, or of the entry while no price is known).

    ``margin_runway`` is the same distance in USDT for the whole leg.
    """

    price: Decimal
    multiple: Decimal
    distance: Decimal
    margin_runway: Decimal


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """One open pair. ``market`` is ``None`` while nothing is known of prices, ``liquidation`` where there is none."""

    slot: str
    coin: str
    direction: Direction
    phase: Phase
    opened_at: Nanos
    days_held: Decimal
    quantity: Decimal
    entry_fx: Decimal | None
    entry_usdt: Decimal | None
    entry_reason: str
    funding_received: Decimal
    funding_per_day: Decimal | None
    fees_paid: Decimal
    legs: tuple[HeldLeg, ...]
    market: Market | None
    liquidation: Liquidation | None


def holdings(history: History, decisions: dict[str, Decision], now: Nanos, leverage: Decimal) -> list[Holding]:
    """Every open pair, with the last decision on its slot for prices."""
    found = []
    for key in history.state.slots:
        held = history.open_pair(key)
        if held is not None:
            found.append(_holding(history, *held, decisions.get(key), now, leverage))
    return found


def _holding(
    history: History, pair: PairStory, position: Position, seen: Decision | None, now: Nanos, leverage: Decimal
) -> Holding:
    slot = history.state.slots[pair.slot]
    if seen is not None and (seen.at < pair.opened_at or seen.at > now):
        seen = None  # of an earlier pair, or a clock that went backwards
    days = Decimal(max(0, now - pair.opened_at)) / DAY
    entry = pair.premiums(entry=True)
    korea, abroad = slot.legs
    return Holding(
        slot=pair.slot,
        coin=pair.symbol,
        direction=pair.direction,
        phase=slot.phase,
        opened_at=pair.opened_at,
        days_held=days,
        quantity=abs(position.leg(korea.id).quantity),
        entry_fx=entry[0],
        entry_usdt=entry[1],
        entry_reason=pair.reason,
        funding_received=position.funding_krw,
        funding_per_day=position.funding_krw / days if days >= ONE else None,
        fees_paid=-sum((leg.fees_krw for leg in position.legs), ZERO),
        legs=tuple(_leg(leg, pair, position.leg(leg.id), seen) for leg in slot.legs),
        market=None if seen is None else _market(seen, pair, now),
        liquidation=_liquidation(history, abroad, pair, position.leg(abroad.id), seen, leverage),
    )


def _leg(leg: Instrument, pair: PairStory, held: LegPosition, seen: Decision | None) -> HeldLeg:
    entry = pair.opening.get(leg.id, Flow())
    return HeldLeg(
        venue=leg.venue,
        symbol=leg.symbol,
        side=Side.BUY if held.quantity > ZERO else Side.SELL,
        quantity=held.quantity,
        entry_price=entry.price,
        price_now=_price_now(leg, held, seen),
        quote=leg.quote,
        fees_krw=held.fees_krw,
    )


def _price_now(leg: Instrument, held: LegPosition, seen: Decision | None) -> Decimal | None:
    """The touch at which the leg would be closed."""
    if seen is None:
        return None
    figures, is_long = seen.figures, held.quantity > ZERO
    if leg.venue is Venue.UPBIT:
        return figures.korea_bid if is_long else figures.korea_ask
    return figures.abroad_bid if is_long else figures.abroad_ask


def _market(seen: Decision, pair: PairStory, now: Nanos) -> Market:
    figures, verdict = seen.figures, seen.verdict
    is_long = pair.direction is Direction.LONG_PREMIUM
    return Market(
        as_of=seen.at,
        age=now - seen.at,
        premium_fx=figures.fx_leave if is_long else figures.fx_enter,
        premium_usdt=figures.usdt_leave if is_long else figures.usdt_enter,
        parts=None if verdict is None or verdict.breakdown is None else parts_of(verdict.breakdown),
        worst_net=None if verdict is None else verdict.worst_net,
        is_exit_allowed=verdict is not None and verdict.is_allowed,
        refusals=seen.refusals if verdict is None else verdict.refusals,
        break_even_premium=None if verdict is None else verdict.break_even_premium,
        carry_per_day=None if verdict is None else verdict.carry_per_day,
        days_to_break_even=None if verdict is None else verdict.days_to_break_even,
    )


def _liquidation(
    history: History, leg: Instrument, pair: PairStory, held: LegPosition, seen: Decision | None, leverage: Decimal
) -> Liquidation | None:
    """The margin counted is what the leverage asks for, or the wallet where that is less: never more than is there."""
    entry = pair.opening.get(leg.id, Flow()).price
    if entry is None or not held.quantity:
        return None
    quantity, is_short = abs(held.quantity), held.quantity < ZERO
    wallet = history.state.ledger.balance(wallet_of(leg.venue), leg.quote)
    margin = min(entry / leverage, wallet / quantity)
    price = (entry + margin) / (ONE + MAINTENANCE) if is_short else (entry - margin) / (ONE - MAINTENANCE)
    if price <= ZERO:
        return None  # bought in full: no price can take it away
    now = _price_now(leg, held, seen) or entry
    distance = abs(price - now) / now if (price > now) == is_short else ZERO
    return Liquidation(price=price, multiple=price / entry, distance=distance, margin_runway=distance * now * quantity)
