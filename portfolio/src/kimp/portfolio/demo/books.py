"""Compares what the venues say we own with what our own ledger says, to the last digit."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kimp.research.backtest.engine import BacktestEngine
from kimp.shared.domain.instruments import Kind


@dataclass(frozen=True, slots=True)
class Account:
    """One balance, told by both sides."""

    venue: str
    asset: str
    venue_says: Decimal
    ledger_says: Decimal

    @property
    def agrees(self) -> bool:
        """Whether both say exactly the same."""
        return self.venue_says == self.ledger_says


def accounts_of(backtest: BacktestEngine) -> tuple[Account, ...]:
    """Every wallet and every contract of the two simulated venues beside the ledger.

    ``<symbol> unsettled`` is a perpetual's cash flow that closing has not yet turned into wallet balance.
    """
    ledger = backtest.trading.state.ledger
    accounts = []
    for venue in backtest.world.venues.values():
        name = venue.venue.value
        for asset, balance in sorted(venue.balances.items()):
            accounts.append(Account(name, asset, balance, ledger.wallet(venue.venue, asset)))
        for leg in venue.instruments.values():
            if leg.kind is not Kind.PERPETUAL:
                continue
            contract, unsettled = venue.contracts[leg.id], f"{name}:unsettled:{leg.symbol}"
            held = ledger.balance(f"{name}:contracts", leg.symbol)
            accounts.append(Account(name, leg.symbol, contract.quantity, held))
            owed = ledger.balance(unsettled, leg.quote)
            accounts.append(Account(name, f"{leg.symbol} unsettled", contract.cash, owed))
    return tuple(accounts)
