"""Whose trade it was that nobody here ordered: a liquidation takes from our pair, a hand may trade the owner's own."""

from __future__ import annotations

from decimal import Decimal

from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.instruments import Instrument, Kind
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Fill


def takes_from(state: EngineState, slot: Slot, fill: Fill) -> bool:
    """Whether a foreign trade reduces what the slot holds, or is just getting: fills may come in any order, so that a
    liquidation can be heard of before the sale it closes.

    What the venue holds beyond the slot's own (coins of the owner, contracts opened by hand) is met first.
    """
    instrument = slot.leg(fill.instrument_id)
    signed = fill.quantity * fill.side.sign
    held = slot.position.leg(fill.instrument_id).quantity if slot.position else ZERO
    others = booked(state, instrument) - held
    if others * signed < ZERO and abs(signed) <= abs(others):
        return False
    under_way = (state.orders[client_id].order for client_id in slot.unsettled)
    is_coming = any(order.instrument_id == instrument.id and order.side is not fill.side for order in under_way)
    return held * signed < ZERO or is_coming


def booked(state: EngineState, instrument: Instrument) -> Decimal:
    """What the ledger says the venue holds of an instrument: dust, the owner's own and foreign trades included."""
    if instrument.kind is Kind.SPOT:
        return state.ledger.wallet(instrument.venue, instrument.base)
    return state.ledger.balance(f"{instrument.venue.value}:contracts", instrument.symbol)
