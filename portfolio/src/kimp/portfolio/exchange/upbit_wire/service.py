"""The exchange API's endpoints about the account and its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kimp.portfolio.exchange.upbit_wire.accounts import Accounts
from kimp.portfolio.exchange.upbit_wire.calls import Answer, Call
from kimp.portfolio.exchange.upbit_wire.errors import UpbitError, known
from kimp.portfolio.exchange.upbit_wire.figures import kst_second, text
from kimp.portfolio.exchange.upbit_wire.keys import ApiKey
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.shared.domain.instruments import Instrument

MAX_TOTAL = "1000000000"
"""The largest order in won (Upbit, "주문 가능 정보 조회": max_total)."""

BID_TYPES = ("best_fok", "best_ioc", "limit", "limit_fok", "limit_ioc", "price")
ASK_TYPES = ("best_fok", "best_ioc", "limit", "limit_fok", "limit_ioc", "market")


class Service:
    """Answers about balances, fees, wallets and keys."""

    def __init__(
        self, exchange: VirtualExchange, markets: Mapping[str, Instrument], accounts: Accounts, keys: Sequence[ApiKey]
    ) -> None:
        self._exchange = exchange
        self._markets = markets
        self._accounts = accounts
        self._keys = keys

    def accounts(self, call: Call) -> Answer:  # noqa: ARG002 - it takes no parameters
        """GET /v1/accounts."""
        return Answer(self._accounts.all())

    def chance(self, call: Call) -> Answer:
        """GET /v1/orders/chance: our fees, the market's minimum, what both sides may use."""
        instrument = self._markets.get(call.required("market"))
        if instrument is None:
            raise known("notfoundmarket")
        fee, minimum = text(instrument.fee_rate), text(instrument.rules.minimum_notional)
        return Answer(
            {
                "bid_fee": fee,
                "ask_fee": fee,
                "maker_bid_fee": fee,
                "maker_ask_fee": fee,
                "market": {
                    "id": instrument.symbol,
                    "name": f"{instrument.base}/{instrument.quote}",
                    "order_types": ["limit"],
                    "order_sides": ["ask", "bid"],
                    "bid_types": list(BID_TYPES),
                    "ask_types": list(ASK_TYPES),
                    "bid": {"currency": instrument.quote, "min_total": minimum},
                    "ask": {"currency": instrument.base, "min_total": minimum},
                    "max_total": MAX_TOTAL,
                    "state": "active",
                },
                "bid_account": self._accounts.one(instrument.quote),
                "ask_account": self._accounts.one(instrument.base),
            }
        )

    def keys(self, call: Call) -> Answer:
        """GET /v1/api_keys: every key of the account that has not expired, and until when it lives."""
        living = [key for key in self._keys if call.now < key.expires_at]
        return Answer([{"access_key": key.access_key, "expire_at": kst_second(key.expires_at)} for key in living])

    def wallets(self, call: Call) -> Answer:
        """GET /v1/status/wallet: everything works."""
        assets = dict.fromkeys(leg.base for leg in self._markets.values())
        return Answer([_wallet(asset, call) for asset in assets])

    def withdrawal_chance(self, call: Call) -> Answer:
        """GET /v1/withdraws/chance: what a key without the permission to see withdrawals is not told."""
        asset = call.required("currency")
        return Answer(
            {
                "member_level": {
                    "security_level": 4,
                    "fee_level": 0,
                    "email_verified": True,
                    "identity_auth_verified": True,
                    "bank_account_verified": True,
                    "locked": False,
                    "wallet_locked": False,
                },
                "currency": {
                    "code": asset,
                    "withdraw_fee": "0",
                    "is_coin": asset != "KRW",
                    "wallet_state": "working",
                    "wallet_support": ["deposit", "withdraw"],
                },
                "account": self._accounts.one(asset),
                "withdraw_limit": {
                    "currency": asset,
                    "onetime": "0",
                    "daily": "0",
                    "remaining_daily": "0",
                    "fixed": 8,
                    "can_withdraw": False,
                },
            }
        )

    def nothing(self, call: Call) -> Answer:  # noqa: ARG002 - there is nothing, whatever is asked
        """Lists of deposits and withdrawals: the virtual venue moves no money in or out by itself."""
        return Answer([])

    def refuse_withdrawal(self, call: Call) -> Answer:  # noqa: ARG002 - always refused
        """POST /v1/withdraws/…: nothing can leave a virtual venue.

        Raises:
            UpbitError: always.
        """
        raise UpbitError(400, "withdraw_address_not_registered", "출금 허용 주소로 등록되지 않은 주소입니다.")

    def no_withdrawal(self, call: Call) -> Answer:
        """DELETE /v1/withdraws/coin: there is never one to cancel.

        Raises:
            UpbitError: always.
        """
        call.required("uuid")
        raise UpbitError(404, "withdraw_not_found", "출금 정보를 찾지 못했습니다.")


def _wallet(asset: str, call: Call) -> dict[str, Any]:
    return {
        "currency": asset,
        "wallet_state": "working",
        "block_state": "normal",
        "block_height": 1,
        "block_updated_at": kst_second(call.now),
        "block_elapsed_minutes": 0,
        "net_type": asset,
        "network_name": asset,
    }
