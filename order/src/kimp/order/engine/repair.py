"""How to make two legs match again: finish the missing one within the plan's bound, else unwind the filled excess."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.order.engine.allocator import affordable
from kimp.order.engine.exit_validator import worst_limit
from kimp.order.engine.market import MarketState
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.instruments import Instrument, Kind, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.positions import Action, LegPlan, Plan, Position
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import Nanos


class RepairChoice(msgspec.Struct, frozen=True):
    """The next repair order; or none, because only untradable dust is left, or because no book can be trusted yet."""

    leg: LegPlan | None
    is_dust: bool = False


def imbalance(slot: Slot) -> Decimal:
    """Coins to be repaired, positive when too long; 0 when the legs match to one lot.

    One lot of difference is allowed only while every leg holds something: a lone fraction of a lot is not a hedge.
    """
    position = slot.position
    if position is None:
        return ZERO
    exposure = position.exposure
    lot = max(leg.rules.lot for leg in slot.legs)
    if abs(exposure) < lot and all(leg.quantity != ZERO for leg in position.legs):
        return ZERO
    return exposure


def choose_repair(
    state: EngineState, slot: Slot, exposure: Decimal, market: MarketState, settings: EngineSettings
) -> RepairChoice:
    """The order that reduces the exposure, by the ladder of ``settings``.

    The first tries finish the plan's missing leg within its own bound. Then the excess is unwound at growing slippage,
    and when even that keeps failing, unwinding and finishing take turns: being hedged comes before the price. What
    would open more is cut to what the budget still carries; unwinding needs none.
    """
    assert slot.position is not None
    side = Side.SELL if exposure > ZERO else Side.BUY
    known = [leg for leg in slot.legs if leg.id in market.books]
    finishing = [leg for leg in known if _finishes(slot, leg, side)]
    unwinding = [leg for leg in known if not _finishes(slot, leg, side)]
    step = slot.repairs - settings.complete_tries_max
    ladder = settings.repair_slippages
    takes_turns = step >= len(ladder) // 2 and step % 2
    slippage = ladder[max(0, min(step, len(ladder) - 1))]
    offers = [_within_bound(slot, leg, side, exposure, market) for leg in finishing] if step < 0 else []
    turns = finishing + unwinding if takes_turns else unwinding + finishing
    offers += [_at_any_price(slot.position, leg, side, exposure, market, slippage) for leg in turns]
    tradable = [offer for offer in offers if offer is not None]
    for offer in tradable:
        if order := _within_budget(state, slot, offer, settings):
            return RepairChoice(order)
    return RepairChoice(None, is_dust=not tradable and len(known) == len(slot.legs))


def _finishes(slot: Slot, leg: Instrument, side: Side) -> bool:
    """Whether an order of that side on that leg carries on the plan (rather than taking part of it back)."""
    planned = {planned.instrument_id: planned.side for planned in slot.plan.legs} if slot.plan else {}
    if leg.id in planned:
        return planned[leg.id] is side
    position = slot.position
    return position is not None and position.leg(leg.id).quantity * side.sign >= ZERO


def _within_bound(slot: Slot, leg: Instrument, side: Side, exposure: Decimal, market: MarketState) -> LegPlan | None:
    """The rest of a planned leg at its planned limit, if the market still meets it."""
    assert slot.position is not None
    planned = [planned for planned in slot.plan.legs if planned.instrument_id == leg.id] if slot.plan else []
    if not planned:
        return None
    touch, limit = market.books[leg.id].touch(side), planned[0].limit
    if touch > limit if side is Side.BUY else touch < limit:
        return None
    return _order(slot.position, leg, side, exposure, limit, planned[0].reference)


def _at_any_price(
    position: Position, leg: Instrument, side: Side, exposure: Decimal, market: MarketState, slippage: Decimal
) -> LegPlan | None:
    book = market.books[leg.id]
    limit = worst_limit(leg, book.touch(side), side, slippage)
    return _order(position, leg, side, exposure, limit, book.mid())


def _order(
    position: Position, leg: Instrument, side: Side, exposure: Decimal, limit: Decimal, reference: Decimal
) -> LegPlan | None:
    held = position.leg(leg.id).quantity
    quantity = leg.rules.floor(abs(exposure))
    is_reducing = held * side.sign < ZERO
    if is_reducing:
        # Never through zero: what lies beyond is the other leg's business.
        quantity = min(quantity, leg.rules.floor(abs(held)))
    elif leg.kind is Kind.SPOT and side is Side.SELL and position.direction is Direction.LONG_PREMIUM:
        return None  # coins that are not this position's: Upbit cannot be shorted, and the owner's are not ours to sell
    reduce_only = leg.kind is Kind.PERPETUAL and is_reducing
    if not is_tradable(leg, quantity, limit, reduce_only=reduce_only):
        return None
    return LegPlan(leg.id, side, quantity, limit, reference, reduce_only)


def _within_budget(state: EngineState, slot: Slot, order: LegPlan, settings: EngineSettings) -> LegPlan | None:
    """The order, cut to what may still be committed where it opens more than is held."""
    assert slot.position is not None
    leg = slot.leg(order.instrument_id)
    if slot.position.leg(leg.id).quantity * order.side.sign < ZERO:
        return order
    coins = affordable(state, leg, order.side, order.limit, order.reference, settings)
    free = leg.rules.floor(coins)
    if order.quantity <= free:
        return order
    return msgspec.structs.replace(order, quantity=free) if leg.rules.permits(free, order.limit) else None


def is_tradable(leg: Instrument, quantity: Decimal, price: Decimal, *, reduce_only: bool) -> bool:
    """Whether the venue would take the order. Binance asks no minimum notional of a reduce-only one (its error −4164:
    "Order's notional must be no smaller than 100 (unless you choose reduce only)").
    """
    if reduce_only:
        return quantity > ZERO and quantity >= leg.rules.minimum_quantity
    return leg.rules.permits(quantity, price)


def is_over(slot: Slot, market: MarketState) -> bool:
    """Whether nothing is left that either venue would let us trade: what remains then is dust, carried in the ledger."""
    assert slot.position is not None
    for leg in slot.legs:
        held = abs(slot.position.leg(leg.id).quantity)
        if held == ZERO:
            continue
        book = market.books.get(leg.id)
        is_contract = leg.kind is Kind.PERPETUAL
        if book is None or is_tradable(leg, leg.rules.floor(held), book.mid(), reduce_only=is_contract):
            return False
    return True


def why_over(slot: Slot) -> str:
    """Why a pair is over: the plan's own reason, or what came between."""
    match slot.plan:
        case None:
            return "closed_by_others"
        case Plan(action=Action.ENTER):
            return "entry_unwound"
        case Plan(action=Action.EXIT) if slot.repairs:
            return "exit_repaired"
        case plan:
            return plan.reason


def repair_plan(slot: Slot, position: Position, krw_rate: Decimal, booked: int, at: Nanos) -> Plan:
    """A decision of its own for what nobody planned; the number of entries booked tells two of one moment apart."""
    return Plan(
        signal_id=f"{slot.key}:repair:{at}:{booked}",
        strategy=slot.strategy,
        symbol=slot.symbol,
        action=Action.REPAIR,
        direction=position.direction,
        legs=(),
        decided_at=at,
        krw_rate=krw_rate,
        signal_rate=krw_rate,
        reason="foreign_fill",
    )
