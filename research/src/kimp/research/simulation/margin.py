"""Margin of simulated perpetuals: what a contract ties up, what it has gained, and when the venue takes it away."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from kimp.shared.domain.ledger import SETTLEMENT_STEP, realised
from kimp.shared.domain.money import ONE, ZERO


@dataclass(slots=True)
class Contract:
    """A one-way position: signed contracts and the cash flow of opening them (quote asset)."""

    quantity: Decimal = ZERO
    cash: Decimal = ZERO

    def trade(self, signed: Decimal, cash: Decimal) -> Decimal:
        """Take in a fill; returns what it turned into wallet balance (average-cost profit of the part closed)."""
        settled = realised(self.quantity, self.cash, signed, cash)
        self.quantity += signed
        self.cash += cash - settled
        return settled

    def unrealised(self, mark: Decimal) -> Decimal:
        """Profit not yet in the wallet at that mark price."""
        return self.cash + self.quantity * mark

    def bankrupt_at(self, wallet: Decimal) -> Decimal:
        """The price at which closing would use up exactly this wallet."""
        return (wallet + self.cash) / -self.quantity


@dataclass(frozen=True, slots=True)
class MarginRules:
    """Cross margin of one account: the fractions Binance publishes for BTCUSDT's first bracket (leverageBracket).

    ``liquidation_fee`` is the clearance fee on the notional taken over.
    """

    leverage: Decimal = ONE
    maintenance: Decimal = Decimal("0.004")
    liquidation_fee: Decimal = Decimal("0.0125")

    def equity_change(self, contract: Contract, mark: Decimal) -> Decimal:
        """How a contract changes what is free: its profit or loss, less its initial margin."""
        return contract.unrealised(mark) - abs(contract.cash) / self.leverage

    def cushion(self, contract: Contract, mark: Decimal) -> Decimal:
        """What a contract adds to (or takes from) the wallet behind the others: its profit less its maintenance."""
        return contract.unrealised(mark) - abs(contract.quantity) * mark * self.maintenance

    def is_liquidated(self, contract: Contract, wallet: Decimal, mark: Decimal) -> bool:
        """Whether wallet and profit no longer cover the maintenance margin: a 1x short dies near 1.99 times its entry."""
        return wallet + contract.unrealised(mark) <= abs(contract.quantity) * mark * self.maintenance

    def edge(self, contract: Contract, wallet: Decimal) -> Decimal:
        """The mark price at which ``is_liquidated`` turns true: above it for a short, below it for a long."""
        side = ONE if contract.quantity < ZERO else -ONE
        return (wallet + contract.cash) / (-contract.quantity * (ONE + side * self.maintenance))

    def takeover(self, contract: Contract, wallet: Decimal, touch: Decimal, tick: Decimal) -> tuple[Decimal, Decimal]:
        """Price and fee of a liquidation: the touch, but the insurance fund takes over at the bankruptcy price at worst
        and the fee takes only what is left, so that the wallet never ends below zero.
        """
        steps, is_long = contract.bankrupt_at(wallet) / tick, contract.quantity > ZERO
        broke = steps.quantize(ONE, ROUND_CEILING if is_long else ROUND_FLOOR) * tick
        price = max(touch, broke) if is_long else min(touch, broke)
        fee = abs(contract.quantity) * price * self.liquidation_fee
        return price, min(fee, wallet + contract.unrealised(price)).quantize(SETTLEMENT_STEP, ROUND_FLOOR)
