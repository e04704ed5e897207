"""Balances, margins and positions as JSON: "Account Information", "Futures Account Balance", "Position Information".

Margin is what the simulated venue reckons with: the cost of a position over its leverage, and what open orders hold back.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kimp.portfolio.exchange.binance_wire.filters import text
from kimp.portfolio.exchange.statement import position_of
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.shared.domain.instruments import Instrument, InstrumentId
from kimp.shared.domain.ledger import SETTLEMENT_STEP
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.time import MILLISECOND, Nanos

MARGIN_ASSET = "USDT"
ALIAS = "kimp"


def money(value: Decimal) -> str:
    """An amount with the eight decimals the venue shows."""
    return text(value.quantize(SETTLEMENT_STEP))


@dataclass(frozen=True, slots=True)
class PositionFigures:
    """One contract: signed quantity, prices and margins (quote asset)."""

    instrument: Instrument
    quantity: Decimal
    entry: Decimal
    mark: Decimal
    unrealised: Decimal
    initial: Decimal
    maintenance: Decimal
    liquidation: Decimal
    leverage: Decimal

    @property
    def notional(self) -> Decimal:
        """Signed value at the mark."""
        return self.quantity * self.mark


@dataclass(frozen=True, slots=True)
class AssetFigures:
    """One asset of the wallet."""

    asset: str
    wallet: Decimal
    unrealised: Decimal
    position_margin: Decimal
    order_margin: Decimal
    maintenance: Decimal

    @property
    def margin(self) -> Decimal:
        """The wallet after unrealised profit or loss."""
        return self.wallet + self.unrealised

    @property
    def initial(self) -> Decimal:
        """All that is tied up."""
        return self.position_margin + self.order_margin

    @property
    def available(self) -> Decimal:
        """What a new order may use, never less than nothing."""
        return max(ZERO, self.margin - self.initial)


class Account:
    """The account's figures of this moment."""

    def __init__(self, exchange: VirtualExchange) -> None:
        simulated = exchange.simulated
        self._leverage = exchange.leverage
        self.positions = {id_: self._position(exchange, id_) for id_ in simulated.contracts}
        assets = dict.fromkeys([MARGIN_ASSET, *simulated.balances])
        self.assets = {asset: self._asset(exchange, asset) for asset in assets}

    def held(self) -> list[PositionFigures]:
        """The contracts that are open."""
        return [position for position in self.positions.values() if position.quantity]

    def _position(self, exchange: VirtualExchange, instrument_id: InstrumentId) -> PositionFigures:
        simulated = exchange.simulated
        instrument, contract = simulated.instruments[instrument_id], simulated.contracts[instrument_id]
        mark = exchange.mark(instrument_id) or ZERO
        leverage = self._leverage[instrument.symbol]
        if not contract.quantity:
            return PositionFigures(instrument, ZERO, ZERO, mark, ZERO, ZERO, ZERO, ZERO, leverage)
        told = position_of(simulated, instrument_id)
        margins = simulated.margins[instrument_id]
        return PositionFigures(
            instrument,
            contract.quantity,
            told.entry_price,
            mark,
            contract.unrealised(mark) if mark else ZERO,
            abs(contract.cash) / margins.leverage,
            abs(contract.quantity) * mark * margins.maintenance,
            told.liquidation_price or ZERO,
            leverage,
        )

    def _asset(self, exchange: VirtualExchange, asset: str) -> AssetFigures:
        simulated = exchange.simulated
        mine = [position for position in self.held() if position.instrument.quote == asset]
        return AssetFigures(
            asset,
            simulated.balances.get(asset, ZERO),
            sum((position.unrealised for position in mine), ZERO),
            sum((position.initial for position in mine), ZERO),
            simulated.locked(asset) if exchange.is_priced else ZERO,
            sum((position.maintenance for position in mine), ZERO),
        )


def asset_json(asset: AssetFigures, now: Nanos) -> dict[str, Any]:
    """One entry of ``assets``."""
    return {
        "asset": asset.asset,
        "walletBalance": money(asset.wallet),
        "unrealizedProfit": money(asset.unrealised),
        "marginBalance": money(asset.margin),
        "maintMargin": money(asset.maintenance),
        "initialMargin": money(asset.initial),
        "positionInitialMargin": money(asset.position_margin),
        "openOrderInitialMargin": money(asset.order_margin),
        "crossWalletBalance": money(asset.wallet),
        "crossUnPnl": money(asset.unrealised),
        "availableBalance": money(asset.available),
        "maxWithdrawAmount": money(min(asset.available, max(ZERO, asset.wallet))),
        "updateTime": now // MILLISECOND,
    }


def account_json(account: Account, now: Nanos, *, version: int) -> dict[str, Any]:
    """``/fapi/v3/account``: open positions only; version 2 lists every symbol, and the account's settings."""
    usdt = account.assets[MARGIN_ASSET]
    told: dict[str, Any] = {
        "totalInitialMargin": money(usdt.initial),
        "totalMaintMargin": money(usdt.maintenance),
        "totalWalletBalance": money(usdt.wallet),
        "totalUnrealizedProfit": money(usdt.unrealised),
        "totalMarginBalance": money(usdt.margin),
        "totalPositionInitialMargin": money(usdt.position_margin),
        "totalOpenOrderInitialMargin": money(usdt.order_margin),
        "totalCrossWalletBalance": money(usdt.wallet),
        "totalCrossUnPnl": money(usdt.unrealised),
        "availableBalance": money(usdt.available),
        "maxWithdrawAmount": money(min(usdt.available, max(ZERO, usdt.wallet))),
        "assets": [asset_json(asset, now) for asset in account.assets.values()],
    }
    if version == 3:
        return told | {"positions": [_account_position(position, now) for position in account.held()]}
    settings = {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
    }
    positions = [
        _account_position(position, now)
        | {"leverage": text(position.leverage), "entryPrice": money(position.entry), "isolated": False}
        for position in account.positions.values()
    ]
    return settings | told | {"positions": positions}


def balance_json(account: Account, now: Nanos) -> list[dict[str, Any]]:
    """``/fapi/v3/balance``."""
    return [
        {
            "accountAlias": ALIAS,
            "asset": asset.asset,
            "balance": money(asset.wallet),
            "crossWalletBalance": money(asset.wallet),
            "crossUnPnl": money(asset.unrealised),
            "availableBalance": money(asset.available),
            "maxWithdrawAmount": money(min(asset.available, max(ZERO, asset.wallet))),
            "marginAvailable": asset.asset == MARGIN_ASSET,
            "updateTime": now // MILLISECOND,
        }
        for asset in account.assets.values()
    ]


def position_json(position: PositionFigures, order_margin: Decimal, now: Nanos, *, version: int) -> dict[str, Any]:
    """One entry of ``/fapi/v3/positionRisk`` or ``v2``."""
    told: dict[str, Any] = {
        "symbol": position.instrument.symbol,
        "positionSide": "BOTH",
        "positionAmt": text(position.quantity),
        "entryPrice": money(position.entry),
        "breakEvenPrice": money(position.entry),
        "markPrice": money(position.mark),
        "unRealizedProfit": money(position.unrealised),
        "liquidationPrice": money(position.liquidation),
        "isolatedMargin": "0",
        "notional": money(position.notional),
        "isolatedWallet": "0",
        "updateTime": now // MILLISECOND,
    }
    if version == 3:
        return told | {
            "marginAsset": position.instrument.quote,
            "initialMargin": money(position.initial + order_margin),
            "maintMargin": money(position.maintenance),
            "positionInitialMargin": money(position.initial),
            "openOrderInitialMargin": money(order_margin),
            "adl": 1 if position.quantity else 0,
            "bidNotional": "0",
            "askNotional": "0",
        }
    return told | {
        "leverage": text(position.leverage),
        "maxNotionalValue": "1000000000",
        "marginType": "cross",
        "isAutoAddMargin": "false",
        "isolated": False,
    }


def _account_position(position: PositionFigures, now: Nanos) -> dict[str, Any]:
    return {
        "symbol": position.instrument.symbol,
        "positionSide": "BOTH",
        "positionAmt": text(position.quantity),
        "unrealizedProfit": money(position.unrealised),
        "isolatedMargin": "0",
        "notional": money(position.notional),
        "isolatedWallet": "0",
        "initialMargin": money(position.initial),
        "maintMargin": money(position.maintenance),
        "updateTime": now // MILLISECOND,
    }
