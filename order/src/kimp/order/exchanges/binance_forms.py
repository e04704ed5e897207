"""Binance's payloads and our own types: orders out; fills, reports, accounts, funding and rules in.

Shapes are those of "Trade" and "Account" in Binance's USDT-M documentation
(https://developers.binance.com/docs/derivatives/usds-margined-futures). Numbers come as text and stay exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from kimp.shared.domain.accounts import Account, Balance, ContractPosition
from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.instruments import Instrument, InstrumentId, Kind, Side, TickBand, TradingRules, Venue
from kimp.shared.domain.money import ZERO, Amount
from kimp.shared.domain.orders import ClientId, Fill, Order, OrderReport, OrderStatus, TimeInForce
from kimp.shared.domain.time import MILLISECOND

PREFIX = f"{Venue.BINANCE.value}:"

WORKING = frozenset({"NEW", "PARTIALLY_FILLED"})
DONE = frozenset({"FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH", "REJECTED"})
"""Binance, "Common Definition", order status. Any other word is not understood, and the order stays in doubt."""

_TIME_IN_FORCE: Mapping[TimeInForce, str] = {
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
    TimeInForce.GTC: "GTC",
    TimeInForce.POST_ONLY: "GTX",
}


def symbol_of(instrument_id: InstrumentId) -> str:
    """``BTCUSDT`` of ``binance:BTCUSDT``."""
    return instrument_id.removeprefix(PREFIX)


def instrument_id_of(symbol: str) -> InstrumentId:
    """``binance:BTCUSDT`` of ``BTCUSDT``."""
    return PREFIX + symbol


def new_order(order: Order) -> dict[str, str | int]:
    """The parameters of "New Order".

    ``ACK`` because the answer comes as soon as the venue has the order; ``RESULT`` waits for the match and still names
    no trades, which come by the stream and by asking.
    """
    form: dict[str, str | int] = {
        "symbol": symbol_of(order.instrument_id),
        "side": "BUY" if order.side is Side.BUY else "SELL",
        "type": "LIMIT",
        "timeInForce": _TIME_IN_FORCE[order.time_in_force],
        "quantity": f"{order.quantity:f}",
        "price": f"{order.limit:f}",
        "newClientOrderId": order.client_id,
        "newOrderRespType": "ACK",
    }
    if order.reduce_only:
        form["reduceOnly"] = "true"
    return form


class OrderForm(msgspec.Struct, rename="camel"):
    """``{"orderId": 1, "clientOrderId": "kimp-…", "status": "EXPIRED", "executedQty": "0.070", …}``"""

    order_id: int
    client_order_id: str
    symbol: str
    status: str = ""
    executed_qty: Decimal = ZERO
    time: int = 0

    def report(self, fills: tuple[Fill, ...]) -> OrderReport | None:
        """The venue's word on the order, ``None`` when its status is not one we know."""
        if self.status in WORKING:
            status = OrderStatus.WORKING
        elif self.status in DONE:
            status = OrderStatus.DONE
        else:
            return None
        return OrderReport(self.client_order_id, status, self.executed_qty, fills)


class TradeForm(msgspec.Struct, rename="camel"):
    """``{"id": 698759, "orderId": 25851813, "side": "SELL", "price": "7819.01", "qty": "0.002", …}``

    A positive ``commission`` is what the venue took.
    """

    id: int
    order_id: int
    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    time: int

    def fill(self, client_id: ClientId) -> Fill:
        """The trade as ours."""
        return Fill(
            trade_id=str(self.id),
            client_id=client_id,
            instrument_id=instrument_id_of(self.symbol),
            side=Side(self.side.lower()),
            quantity=self.qty,
            price=self.price,
            fee=Amount(self.commission, self.commission_asset),
            at=self.time * MILLISECOND,
        )


class IncomeForm(msgspec.Struct, rename="camel"):
    """``{"symbol": "BTCUSDT", "incomeType": "FUNDING_FEE", "income": "-0.0123", "asset": "USDT", "tranId": 96, …}``

    ``tranId`` is unique within one type of income ("Get Income History").
    """

    symbol: str
    income_type: str
    income: Decimal
    asset: str
    tran_id: int
    time: int

    def payment(self) -> FundingPayment:
        """What was received (positive) or paid (negative)."""
        return FundingPayment(
            payment_id=str(self.tran_id),
            instrument_id=instrument_id_of(self.symbol),
            amount=Amount(self.income, self.asset),
            at=self.time * MILLISECOND,
        )


class _Asset(msgspec.Struct, rename="camel"):
    asset: str
    wallet_balance: Decimal
    initial_margin: Decimal = ZERO
    available_balance: Decimal | None = None

    def balance(self) -> Balance:
        """``walletBalance`` split: what margins or losses tie up is not free, whichever of the two is more."""
        free = self.wallet_balance - self.initial_margin
        if self.available_balance is not None:
            free = min(free, self.available_balance)
        free = max(ZERO, free)
        return Balance(self.asset, free, self.wallet_balance - free)


class _Held(msgspec.Struct, rename="camel"):
    symbol: str
    position_amt: Decimal
    position_side: str = "BOTH"


class AccountForm(msgspec.Struct):
    """ "Account Information V3": wallets and positions of one moment, but without prices."""

    assets: list[_Asset]
    positions: list[_Held]

    @property
    def held(self) -> list[_Held]:
        """The positions that are not zero."""
        return [position for position in self.positions if position.position_amt != ZERO]


class RiskForm(msgspec.Struct, rename="camel"):
    """ "Position Information V3": the prices of a position; a liquidation price of zero means there is none."""

    symbol: str
    entry_price: Decimal
    mark_price: Decimal
    liquidation_price: Decimal = ZERO


def account(form: AccountForm, risks: Sequence[RiskForm]) -> Account | None:
    """The account; ``None`` while a position has no prices yet, or in hedge mode, where one sign would lie."""
    prices = {risk.symbol: risk for risk in risks}
    if any(held.symbol not in prices or held.position_side != "BOTH" for held in form.held):
        return None
    return Account(
        balances=tuple(asset.balance() for asset in form.assets if asset.wallet_balance != ZERO),
        contracts=tuple(
            ContractPosition(
                instrument_id=instrument_id_of(held.symbol),
                quantity=held.position_amt,
                entry_price=prices[held.symbol].entry_price,
                mark_price=prices[held.symbol].mark_price,
                liquidation_price=prices[held.symbol].liquidation_price or None,
            )
            for held in form.held
        ),
    )


class _Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    base_asset: str = ""
    quote_asset: str = ""
    contract_type: str = ""
    status: str = ""
    filters: list[dict[str, Any]] = []

    @property
    def is_traded(self) -> bool:
        return self.status == "TRADING" and self.contract_type == "PERPETUAL" and self.quote_asset == "USDT"


class ExchangeInfo(msgspec.Struct):
    """ "Exchange Information": every contract with its filters."""

    symbols: list[_Symbol]

    def instruments(self, fee_rates: Mapping[str, Decimal]) -> tuple[Instrument, ...]:
        """The perpetuals that are traded now and whose fee is known.

        Raises:
            KeyError: a filter is missing.
        """
        traded = [symbol for symbol in self.symbols if symbol.is_traded and symbol.symbol in fee_rates]
        return tuple(_instrument(symbol, fee_rates[symbol.symbol]) for symbol in traded)

    def traded(self, symbols: Sequence[str]) -> list[str]:
        """Those of the symbols, spelt ``BTCUSDT`` or ``BTC``, that are perpetuals in USDT and trade now."""
        found = [symbol for symbol in self.symbols if symbol.is_traded]
        spelt = {symbol.base_asset: symbol.symbol for symbol in found} | {
            symbol.symbol: symbol.symbol for symbol in found
        }
        return list(dict.fromkeys(spelt[symbol] for symbol in symbols if symbol in spelt))


def _instrument(form: _Symbol, fee_rate: Decimal) -> Instrument:
    """``{"filterType": "LOT_SIZE", "minQty": "0.001", "stepSize": "0.001"}`` and its like.

    ``MARKET_LOT_SIZE`` binds market orders; the coarser of the two grids and the larger minimum satisfy both.
    """
    by_type = {rule["filterType"]: rule for rule in form.filters}
    lots = [by_type[name] for name in ("LOT_SIZE", "MARKET_LOT_SIZE") if name in by_type]
    rules = TradingRules(
        bands=(TickBand(ZERO, Decimal(by_type["PRICE_FILTER"]["tickSize"])),),
        lot=max(Decimal(lot["stepSize"]) for lot in lots),
        minimum_quantity=max(Decimal(lot["minQty"]) for lot in lots),
        minimum_notional=Decimal(by_type["MIN_NOTIONAL"]["notional"]),
    )
    return Instrument(Venue.BINANCE, form.symbol, form.base_asset, form.quote_asset, Kind.PERPETUAL, rules, fee_rate)


class FeeForm(msgspec.Struct, rename="camel"):
    """ "User Commission Rate"."""

    symbol: str
    taker_commission_rate: Decimal
