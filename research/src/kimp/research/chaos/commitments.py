"""Whether entries could have tied up more than their share of what really lay on a venue when they were decided."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from kimp.research.simulation.margin import Contract
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import Action, Plan

if TYPE_CHECKING:
    from kimp.research.chaos.oracle import Case

COMMITMENT_SLACK = Decimal("0.001")
"""Of the capital: funding that the venue has settled and that is still on its way to us."""


def overcommitments(case: Case) -> Iterator[str]:
    """Every entry that might have taken more than the share, with its figures."""
    for plan in case.plans:
        if plan.action is Action.ENTER:
            yield from _in_korea(case, plan)
            yield from _abroad(case, plan)


def _in_korea(case: Case, plan: Plan) -> Iterator[str]:
    """Cost of what the pair holds and may take, out of the money there and that cost (coins when it sells them)."""
    leg, order = case.pair.korea, plan.legs[0]
    buys = order.side is Side.BUY
    asset = leg.quote if buys else leg.base
    wallet, held = case.deposits.get((leg.venue, asset), ZERO), ZERO
    for fill in case.world.venues[leg.venue].trades:
        if fill.at < plan.decided_at:
            signed = fill.quantity * fill.side.sign
            moved = -signed * fill.price - fill.fee.value if buys else signed
            wallet += moved
            intent = case.intents.get(fill.client_id)
            is_held = intent is not None and intent.signal_id == case.pair_of.get(plan.signal_id)
            held -= moved if is_held else ZERO
    planned = order.quantity * (order.limit * (ONE + leg.fee_rate) if buys else ONE)
    if planned + held > (case.capital_share + COMMITMENT_SLACK) * (wallet + held):
        yield f"{plan.signal_id} may take {planned + held:.8f} of {wallet + held:.8f} {asset} at {leg.venue.value}"


def _abroad(case: Case, plan: Plan) -> Iterator[str]:
    """Initial margin of what is held and planned, out of the wallet without unrealised profit."""
    leg, order = case.pair.abroad, plan.legs[-1]
    venue = case.world.venues[leg.venue]
    wallet, contract = case.deposits[leg.venue, leg.quote], Contract()
    for fill in venue.trades:
        if fill.at < plan.decided_at:
            signed = fill.quantity * fill.side.sign
            wallet += contract.trade(signed, -signed * fill.price) - fill.fee.value
    wallet += sum((paid.amount.value for paid in venue.income if paid.at < plan.decided_at), ZERO)
    used = abs(contract.cash) / case.leverage + order.quantity * order.limit * (ONE / case.leverage + leg.fee_rate)
    if used > (case.capital_share + COMMITMENT_SLACK) * wallet:
        yield f"{plan.signal_id} may take {used:.8f} of {wallet:.8f} {leg.quote} at {leg.venue.value}"
