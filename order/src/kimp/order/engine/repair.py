"""How to make two legs match again: finish the missing one within the plan's bound, else unwind the filled excess."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.order.engine.exit_validator import worst_limit
from kimp.order.engine.market import MarketState
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import Slot
from kimp.shared.domain.instruments import Instrument, Kind, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.positions import LegPlan, Position


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


def choose_repair(slot: Slot, exposure: Decimal, market: MarketState, settings: EngineSettings) -> RepairChoice:
    """The order that reduces the exposure, by the ladder of ``settings``.

    The first tries finish the plan's missing leg within its own bound. Then the excess is unwound at growing slippage,
    and when even that keeps failing, unwinding and finishing take turns: being hedged comes before the price.
    """
    assert slot.position is not None
    side = Side.SELL if exposure > ZERO else Side.BUY
    known = [leg for leg in slot.legs if leg.id in market.books]
    finishing = [leg for leg in known if _finishes(slot, leg, side)]
    unwinding = [leg for leg in known if not _finishes(slot, leg, side)]
    step = slot.repairs - settings.complete_tries_max
    if step < 0:
        for leg in finishing:
            if order := _within_bound(slot, leg, side, exposure, market):
                return RepairChoice(order)
    ladder = settings.repair_slippages
    takes_turns = step >= len(ladder) // 2 and step % 2
    slippage = ladder[max(0, min(step, len(ladder) - 1))]
    for leg in finishing + unwinding if takes_turns else unwinding + finishing:
        if order := _at_any_price(slot.position, leg, side, exposure, market, slippage):
            return RepairChoice(order)
    return RepairChoice(None, is_dust=len(known) == len(slot.legs))


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
    reduce_only = leg.kind is Kind.PERPETUAL and is_reducing
    if reduce_only:
        quantity = min(quantity, abs(held))
    if not leg.rules.permits(quantity, limit):
        return None
    return LegPlan(leg.id, side, quantity, limit, reference, reduce_only)
