"""What the virtual exchange says we hold, in the words of the port."""

from __future__ import annotations

from decimal import Decimal

from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.accounts import Account, Balance, ContractPosition
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.money import ZERO


def account_of(simulated: SimulatedVenue, *, is_priced: bool) -> Account:
    """Balances and contracts, zeros left out. Free and locked always add up to what is owned.

    Args:
        simulated: the venue.
        is_priced: whether everything on margin has a price; without one, orders on margin count as nothing locked.
    """
    balances = []
    for asset, total in simulated.balances.items():
        locked = locked_of(simulated, asset, is_priced=is_priced)
        if total or locked:
            balances.append(Balance(asset, total - locked, locked))
    held = tuple(position_of(simulated, id_) for id_, contract in simulated.contracts.items() if contract.quantity)
    return Account(tuple(balances), held)


def locked_of(simulated: SimulatedVenue, asset: str, *, is_priced: bool) -> Decimal:
    """What orders hold back and contracts tie up as initial margin; never more than there is."""
    locked = simulated.locked(asset) if is_priced or not simulated.contracts else ZERO
    for id_, contract in simulated.contracts.items():
        if simulated.instruments[id_].quote == asset:
            locked += abs(contract.cash) / simulated.margins[id_].leverage
    return min(locked, max(simulated.balances.get(asset, ZERO), ZERO))


def position_of(simulated: SimulatedVenue, instrument_id: InstrumentId) -> ContractPosition:
    """An open contract: entry is the average price, liquidation ``None`` where no price can liquidate it."""
    contract = simulated.contracts[instrument_id]
    try:
        mark = simulated.mark(instrument_id)
    except KeyError:
        mark = None
    edge = simulated.margins[instrument_id].edge(contract, simulated.behind(instrument_id))
    entry = -contract.cash / contract.quantity
    return ContractPosition(instrument_id, contract.quantity, entry, mark, edge if edge > ZERO else None)
