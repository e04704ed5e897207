"""The account over REST: https://developers.binance.com/docs/derivatives/usds-margined-futures/account/rest-api"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

from kimp.portfolio.exchange import codes
from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.account_shapes import Account, account_json, balance_json, position_json
from kimp.portfolio.exchange.binance_wire.endpoints import Asked, Endpoint, Security
from kimp.portfolio.exchange.binance_wire.errors import Refusal, refusal
from kimp.portfolio.exchange.binance_wire.filters import Filters, text
from kimp.portfolio.exchange.binance_wire.forms import Form
from kimp.portfolio.exchange.binance_wire.records import Income, Records
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Rejected
from kimp.shared.domain.time import DAY, MILLISECOND, Nanos
from kimp.shared.ports.clock import Clock

LEVERAGE_MAX = 125
NOTIONAL_MAX = 1_000_000_000
INCOME_PERIOD: Nanos = 7 * DAY
"""What income shows when no period is sent."""

RECORDS_MAX = 1_000
SUCCESS = {"code": 200, "msg": "success"}


class MarginType(StrEnum):
    """``marginType``; only cross margin is simulated."""

    CROSSED = "CROSSED"
    ISOLATED = "ISOLATED"


class AccountDesk:
    """Shows balances, positions and income, and changes the account's settings."""

    def __init__(self, exchange: VirtualExchange, records: Records, clock: Clock, filters: dict[str, Filters]) -> None:
        self._exchange = exchange
        self._records = records
        self._clock = clock
        self._filters = filters
        self._burns_fees = False

    def endpoints(self) -> list[Endpoint]:
        """All of it."""
        v1, data, trade = "/fapi/v1", Security.USER_DATA, Security.TRADE
        versions = [
            Endpoint("GET", f"/fapi/v{version}/{name}", 5, data, answer)
            for version, name, answer in (
                (3, "account", self.account),
                (2, "account", self.account_v2),
                (3, "balance", self.balance),
                (2, "balance", self.balance),
                (3, "positionRisk", self.positions),
                (2, "positionRisk", self.positions_v2),
            )
        ]
        return [
            *versions,
            Endpoint("GET", f"{v1}/accountConfig", 5, data, self.account_config),
            Endpoint("GET", f"{v1}/symbolConfig", 5, data, self.symbol_config),
            Endpoint("GET", f"{v1}/income", 30, data, self.income),
            Endpoint("POST", f"{v1}/leverage", 1, trade, self.set_leverage),
            Endpoint("GET", f"{v1}/leverageBracket", 1, data, self.leverage_brackets),
            Endpoint("POST", f"{v1}/marginType", 1, trade, self.set_margin_type),
            Endpoint("GET", f"{v1}/positionSide/dual", 30, data, self.position_mode),
            Endpoint("POST", f"{v1}/positionSide/dual", 1, trade, self.set_position_mode),
            Endpoint("GET", f"{v1}/multiAssetsMargin", 30, data, lambda _: {"multiAssetsMargin": False}),
            Endpoint("GET", f"{v1}/commissionRate", 20, data, self.commission_rate),
            Endpoint("GET", f"{v1}/feeBurn", 30, data, lambda _: {"feeBurn": self._burns_fees}),
            Endpoint("POST", f"{v1}/feeBurn", 1, trade, self.set_fee_burn),
            Endpoint("GET", "/sapi/v1/account/apiRestrictions", 1, data, self.restrictions),
            # A stock ccxt asks for coins and margin pairs of the spot side before it loads its markets.
            Endpoint("GET", "/sapi/v1/capital/config/getall", 10, data, lambda _: []),
            Endpoint("GET", "/sapi/v1/margin/allPairs", 1, Security.KEY, lambda _: []),
        ]

    # -- figures ---------------------------------------------------------------------------------------------------

    def account(self, _asked: Asked) -> dict[str, Any]:
        """Everything, with open positions."""
        return account_json(Account(self._exchange), self._clock.now(), version=3)

    def account_v2(self, _asked: Asked) -> dict[str, Any]:
        """Everything, with all positions."""
        return account_json(Account(self._exchange), self._clock.now(), version=2)

    def balance(self, _asked: Asked) -> list[dict[str, Any]]:
        """The assets."""
        return balance_json(Account(self._exchange), self._clock.now())

    def positions(self, asked: Asked) -> list[dict[str, Any]]:
        """Open positions, and symbols with open orders."""
        return self._positions(asked.form, version=3)

    def positions_v2(self, asked: Asked) -> list[dict[str, Any]]:
        """All symbols, open or not."""
        return self._positions(asked.form, version=2)

    def _positions(self, form: Form, *, version: int) -> list[dict[str, Any]]:
        chosen = self._instrument(form).id if form.maybe("symbol") is not None else None
        ordered = {order.order.instrument_id for order in self._exchange.working()}
        now, account = self._clock.now(), Account(self._exchange)
        return [
            position_json(position, ZERO, now, version=version)
            for id_, position in account.positions.items()
            if chosen in (None, id_) and (version == 2 or position.quantity or id_ in ordered)
        ]

    def income(self, asked: Asked) -> list[dict[str, Any]]:
        """Changes of the wallet: funding, commissions, realised profit, transfers; oldest first.

        With a start the first ones from there on, otherwise the newest.
        """
        form, now = asked.form, self._clock.now()
        kind, limit = form.maybe("incomeType"), form.limit(100, RECORDS_MAX)
        symbol = self._instrument(form).symbol if form.maybe("symbol") is not None else None
        start, end = form.period()
        page = form.maybe_integer("page") or 1
        earliest = start if start is not None else (now if end is None else end) - INCOME_PERIOD
        found = [
            income
            for income in self._records.income()
            if income.at >= earliest
            and (end is None or income.at <= end)
            and kind in (None, income.kind)
            and symbol in (None, income.symbol)
        ]
        if start is None and page == 1:
            return [_income_json(income) for income in found[-limit:]]
        return [_income_json(income) for income in found[(page - 1) * limit : page * limit]]

    def commission_rate(self, asked: Asked) -> dict[str, Any]:
        """What a trade costs; makers pay the same here."""
        instrument = self._instrument(asked.form)
        rate = text(instrument.fee_rate)
        return {"symbol": instrument.symbol, "makerCommissionRate": rate, "takerCommissionRate": rate}

    def account_config(self, _asked: Asked) -> dict[str, Any]:
        """Settings of the account."""
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": self._exchange.is_hedge_mode,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        }

    def symbol_config(self, asked: Asked) -> list[dict[str, Any]]:
        """Settings of one symbol, or all."""
        chosen = self._instrument(asked.form).symbol if asked.form.maybe("symbol") is not None else None
        return [
            {
                "symbol": symbol,
                "marginType": "CROSSED",
                "isAutoAddMargin": False,
                "leverage": int(leverage),
                "maxNotionalValue": str(NOTIONAL_MAX),
            }
            for symbol, leverage in self._exchange.leverage.items()
            if chosen in (None, symbol)
        ]

    def leverage_brackets(self, asked: Asked) -> Any:
        """One bracket per symbol: the simulated venue keeps one maintenance rate whatever the size."""
        chosen = self._instrument(asked.form).id if asked.form.maybe("symbol") is not None else None
        margins = self._exchange.simulated.margins
        return [
            {
                "symbol": self._exchange.simulated.instruments[id_].symbol,
                "notionalCoef": 1.0,
                "brackets": [
                    {
                        "bracket": 1,
                        "initialLeverage": LEVERAGE_MAX,
                        "notionalCap": NOTIONAL_MAX,
                        "notionalFloor": 0,
                        "maintMarginRatio": float(margin.maintenance),
                        "cum": 0.0,
                    }
                ],
            }
            for id_, margin in margins.items()
            if chosen in (None, id_)
        ]

    def restrictions(self, asked: Asked) -> dict[str, Any]:
        """What the key may do."""
        key = asked.key
        assert key is not None
        return {
            "ipRestrict": bool(key.addresses),
            "createTime": 0,
            "enableReading": True,
            "enableWithdrawals": key.may_withdraw,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": key.may_trade,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableSpotAndMarginTrading": False,
        }

    # -- settings --------------------------------------------------------------------------------------------------

    def set_leverage(self, asked: Asked) -> dict[str, Any]:
        """Change a symbol's leverage.

        Raises:
            Refusal: −4028 not between 1 and 125, −2028 too small for what is open.
        """
        instrument = self._instrument(asked.form)
        leverage = asked.form.integer("leverage")
        if not 1 <= leverage <= LEVERAGE_MAX:
            raise Refusal(errors.BAD_LEVERAGE.about(leverage))
        refused = self._exchange.set_leverage(instrument.symbol, Decimal(leverage))
        if refused is not None:
            raise Refusal(refusal(refused))
        return {"symbol": instrument.symbol, "leverage": leverage, "maxNotionalValue": str(NOTIONAL_MAX)}

    def set_margin_type(self, asked: Asked) -> dict[str, Any]:
        """Cross margin is what there is.

        Raises:
            Refusal: −4046 already so; −4047, −4048 in use; −1130 isolated margin, which is not simulated.
        """
        instrument = self._instrument(asked.form)
        wanted = asked.form.choice("marginType", MarginType, errors.NOT_VALID.about("marginType"))
        if wanted is MarginType.CROSSED:
            raise Refusal(errors.SAME_MARGIN_TYPE)
        if any(order.order.instrument_id == instrument.id for order in self._exchange.working()):
            raise Refusal(errors.MARGIN_TYPE_WITH_ORDERS)
        if self._exchange.simulated.contracts[instrument.id].quantity:
            raise Refusal(errors.MARGIN_TYPE_WITH_POSITION)
        raise Refusal(errors.NOT_VALID.about("marginType"))

    def position_mode(self, _asked: Asked) -> dict[str, Any]:
        """Hedge mode or one-way."""
        return {"dualSidePosition": self._exchange.is_hedge_mode}

    def set_position_mode(self, asked: Asked) -> dict[str, Any]:
        """Change between them.

        Raises:
            Refusal: −4059 already so, −4067 with open orders, −4068 with a position.
        """
        refused = self._exchange.set_hedge_mode(asked.form.flag("dualSidePosition"))
        if isinstance(refused, Rejected):
            is_ordered = refused.code == codes.MODE_IN_USE and bool(self._exchange.working())
            raise Refusal(errors.POSITION_SIDE_WITH_ORDERS if is_ordered else refusal(refused))
        return SUCCESS

    def set_fee_burn(self, asked: Asked) -> dict[str, Any]:
        """Whether fees would be paid in BNB; the setting is kept, fees stay in USDT."""
        self._burns_fees = asked.form.flag("feeBurn")
        return SUCCESS

    def _instrument(self, form: Form) -> Instrument:
        filters = self._filters.get(form.text("symbol"))
        if filters is None:
            raise Refusal(errors.BAD_SYMBOL)
        return filters.instrument


def _income_json(income: Income) -> dict[str, Any]:
    return {
        "symbol": income.symbol,
        "incomeType": income.kind,
        "income": text(income.amount.value),
        "asset": income.amount.asset,
        "time": income.at // MILLISECOND,
        "info": income.note,
        "tranId": income.transaction,
        "tradeId": income.trade,
    }
