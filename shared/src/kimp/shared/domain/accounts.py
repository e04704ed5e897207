"""What a venue says we have: balances and contracts, and what was found when it was looked at."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.money import ZERO


class Balance(msgspec.Struct, frozen=True):
    """One asset: ``free`` may be used, ``locked`` is held back by resting orders (Upbit) or tied up as margin (Binance).

    On Binance the sum is the wallet balance, without unrealised profit or loss.
    """

    asset: str
    free: Decimal
    locked: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """What we own of it."""
        return self.free + self.locked


class ContractPosition(msgspec.Struct, frozen=True):
    """A perpetual position in one-way mode: signed ``quantity`` in base coins, prices in the quote asset."""

    instrument_id: InstrumentId
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal | None = None
    liquidation_price: Decimal | None = None


class Account(msgspec.Struct, frozen=True):
    """One venue's word on all we have there, zeros left out."""

    balances: tuple[Balance, ...] = ()
    contracts: tuple[ContractPosition, ...] = ()

    def total(self, asset: str) -> Decimal:
        """What we own of an asset; zero when the venue does not name it."""
        return next((balance.total for balance in self.balances if balance.asset == asset), ZERO)

    def contract(self, instrument_id: InstrumentId) -> Decimal:
        """The signed position of an instrument; zero when the venue does not name it."""
        return next((held.quantity for held in self.contracts if held.instrument_id == instrument_id), ZERO)


class Check(msgspec.Struct, frozen=True):
    """One thing that was examined before trading: what, whether it may be traded on, and the figure or what to do."""

    name: str
    ok: bool
    detail: str
