"""What the venue's books say of the account's past: trades with their realised profit, and income.

Everything is derived from what the simulated venue keeps (its trades, orders and funding), so that a restart changes
nothing. Binance, "Account Trade List" and "Get Income History".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from kimp.portfolio.exchange.tickets import OrderKind, OrderState, VirtualOrder
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.research.simulation.margin import Contract
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import Fill, TimeInForce
from kimp.shared.domain.time import Nanos

FUNDING_BASE = 9_000_000_000_000
TRANSFER_BASE = 8_000_000_000_000
"""Transaction ids are unique per kind of income at the venue; these keep them unique altogether."""

LIQUIDATION_PREFIX = "autoclose-"
DELEVERAGING_ID = "adl_autoclose"


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of ours as the venue lists it, and what the position was after it."""

    fill: Fill
    order: VirtualOrder
    number: int
    executed: Decimal
    """Of its order, up to and with this fill."""
    realised: Decimal
    is_maker: bool
    contract: Decimal
    entry_price: Decimal


@dataclass(frozen=True, slots=True)
class Income:
    """One change of the wallet."""

    kind: str
    amount: Amount
    at: Nanos
    transaction: int
    symbol: str = ""
    trade: str = ""
    note: str = ""


def is_liquidation(order: VirtualOrder) -> bool:
    """Whether the venue itself sent this order."""
    return order.client_id.startswith(LIQUIDATION_PREFIX) or order.client_id == DELEVERAGING_ID


def is_unrecorded(order: VirtualOrder) -> bool:
    """A fill-or-kill order that could not fill is refused with −5021 and "will not be recorded in the order history"."""
    is_killed = order.ticket.kind is OrderKind.LIMIT and order.ticket.time_in_force is TimeInForce.FOK
    return is_killed and order.is_done and order.state is not OrderState.FILLED and not order.fills


class Records:
    """The account's past, folded as far as it has come; asking folds the rest."""

    def __init__(self, exchange: VirtualExchange) -> None:
        self._exchange = exchange
        self._trades: list[Trade] = []
        self._by_id: dict[str, Trade] = {}
        self._contracts: dict[InstrumentId, Contract] = {}
        self._transfers: list[Income] = []
        self._orders: dict[str, VirtualOrder] = {}
        self._orders_seen = 0
        self._unfinished: dict[int, VirtualOrder] = {}

    def trades(self) -> list[Trade]:
        """Every trade, oldest first."""
        fills = self._exchange.simulated.trades
        if len(self._trades) < len(fills):
            self._note_orders()
            for fill in fills[len(self._trades) :]:
                self._fold(fill)
        return self._trades

    def trade(self, trade_id: str) -> Trade:
        """One of them.

        Raises:
            KeyError: there is none of that id.
        """
        self.trades()
        return self._by_id[trade_id]

    def realised(self, instrument_id: InstrumentId) -> Decimal:
        """What a contract has turned into wallet balance so far, before fees."""
        return sum((trade.realised for trade in self.trades() if trade.fill.instrument_id == instrument_id), ZERO)

    def orders(self) -> Iterator[VirtualOrder]:
        """Every order the venue has a record of, oldest first."""
        return (order for order in self._exchange.orders() if not is_unrecorded(order))

    def note_transfer(self, amount: Amount, at: Nanos) -> None:
        """Money came in or went out."""
        number = TRANSFER_BASE + len(self._transfers) + 1
        self._transfers.append(Income("TRANSFER", amount, at, number, note="TRANSFER"))

    def income(self) -> list[Income]:
        """Every change of the wallet, oldest first."""
        found = [income for trade in self.trades() for income in self._of_trade(trade)]
        found += [self._of_funding(index, paid) for index, paid in enumerate(self._exchange.simulated.income, 1)]
        found += self._transfers
        return sorted(found, key=lambda income: income.at)

    def _of_trade(self, trade: Trade) -> Iterable[Income]:
        fill = trade.fill
        symbol = self._exchange.simulated.instruments[fill.instrument_id].symbol
        if trade.realised:
            amount = Amount(trade.realised, fill.fee.asset)
            yield Income(
                "REALIZED_PNL", amount, fill.at, trade.number * 2, symbol, str(trade.number), str(trade.number)
            )
        if fill.fee.value:
            amount = Amount(-fill.fee.value, fill.fee.asset)
            yield Income(
                "COMMISSION", amount, fill.at, trade.number * 2 + 1, symbol, str(trade.number), str(trade.number)
            )

    def _of_funding(self, index: int, paid: FundingPayment) -> Income:
        symbol = self._exchange.simulated.instruments[paid.instrument_id].symbol
        return Income("FUNDING_FEE", paid.amount, paid.at, FUNDING_BASE + index, symbol, note="FUNDING_FEE")

    def _note_orders(self) -> None:
        """Learn whose fills are whose; a finished order is looked at once only."""
        orders = self._exchange.orders()
        for order in orders[self._orders_seen :]:
            self._unfinished[order.number] = order
        self._orders_seen = len(orders)
        for order in list(self._unfinished.values()):
            for fill in order.fills:
                self._orders[fill.trade_id] = order
            if order.is_done:
                del self._unfinished[order.number]

    def _fold(self, fill: Fill) -> None:
        order = self._orders[fill.trade_id]
        contract = self._contracts.setdefault(fill.instrument_id, Contract())
        signed = fill.quantity * fill.side.sign
        realised = contract.trade(signed, -signed * fill.price)
        entry = abs(contract.cash / contract.quantity) if contract.quantity else ZERO
        executed = ZERO
        for earlier in order.fills:
            executed += earlier.quantity
            if earlier.trade_id == fill.trade_id:
                break
        is_maker = fill.at != order.created_at and not is_liquidation(order)
        trade = Trade(fill, order, int(fill.trade_id), executed, realised, is_maker, contract.quantity, entry)
        self._trades.append(trade)
        self._by_id[fill.trade_id] = trade
