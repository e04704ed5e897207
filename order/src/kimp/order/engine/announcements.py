"""What the owner is told of a pair, computed from what really filled."""

from __future__ import annotations

from decimal import Decimal

from kimp.order.engine.state import Slot
from kimp.shared.domain.money import ONE
from kimp.shared.domain.positions import Plan, Position
from kimp.shared.messages.notices import PairOpened


def opened(slot: Slot, position: Position, plan: Plan) -> PairOpened:
    """The notice of an entry, with the premium on both bases: people compare the one, money moves at the other."""
    return PairOpened(
        slot.key,
        position.signal_id,
        plan.direction,
        abs(position.legs[0].quantity),
        _premium(position, plan.signal_rate),
        _premium(position, plan.krw_rate),
    )


def _premium(position: Position, krw_rate: Decimal) -> Decimal | None:
    """What the fills so far amount to as a premium at that KRW per USDT; ``None`` where there is no pair to compare."""
    if len(position.legs) != 2:
        return None
    korea, abroad = position.legs
    if not (korea.quantity and abroad.quantity):
        return None
    return (korea.cash / korea.quantity) / (abroad.cash / abroad.quantity * krw_rate) - ONE
