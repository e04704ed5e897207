"""Brings a virtual exchange back to where its diary ends."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import assert_never

from kimp.portfolio.exchange.diary import Diary
from kimp.portfolio.exchange.facts import (
    Fact,
    FundingBooked,
    FundsMoved,
    IdentifierBurnt,
    LeverageSet,
    ModeSet,
    OrderEnded,
    OrderTaken,
    OrderTraded,
    RateNoted,
    VenueOpened,
)
from kimp.portfolio.exchange.floor import Floor
from kimp.shared.errors import DataError


def restore(floor: Floor, diary: Diary) -> None:
    """Fold the diary's facts into a floor that has done nothing yet; begin the diary where it is empty.

    Raises:
        DataError: the diary is damaged, or another venue's.
    """
    simulated = floor.simulated
    facts = diary.read()
    first = next(facts, None)
    if first is None:
        diary.append([VenueOpened(simulated.venue, dict(simulated.balances))])
        return
    if not isinstance(first, VenueOpened) or first.venue is not simulated.venue:
        raise DataError(f"{diary.path} is not the diary of {simulated.venue.value}; name another file.")
    try:
        for fact in chain([first], facts):
            _fold(floor, fact)
    except (KeyError, IndexError) as error:
        raise DataError(
            f"{diary.path} tells of {error}, which {simulated.venue.value} does not trade; start it with the same coins."
        ) from error


def _fold(floor: Floor, fact: Fact) -> None:
    simulated = floor.simulated
    match fact:
        case VenueOpened(balances=balances):
            simulated.balances.clear()
            simulated.balances.update(balances)
        case OrderTaken():
            floor.blotter.remember_taken(fact)
        case OrderTraded():
            floor.blotter.remember_traded(fact)
        case OrderEnded():
            floor.blotter.remember_ended(fact)
        case IdentifierBurnt(client_id=client_id):
            simulated.burnt_ids.add(client_id)
        case FundingBooked(payment=payment):
            floor.fundings.remember(payment)
        case RateNoted(rate=rate):
            floor.fundings.remember_rate(rate)
        case FundsMoved(transfer_id=transfer_id, amount=amount):
            floor.transfers.add(transfer_id)
            simulated.move_funds(amount)
        case LeverageSet(symbol=symbol, leverage=leverage):
            ids = {instrument.symbol: id_ for id_, instrument in simulated.instruments.items()}
            margins = simulated.margins
            margins[ids[symbol]] = replace(margins[ids[symbol]], leverage=leverage)
        case ModeSet(is_hedge_mode=is_hedge_mode):
            floor.is_hedge_mode = is_hedge_mode
        case _:
            assert_never(fact)
