"""Whether a key of Upbit's may be traded with: what it can do, what it must not be able to do, and for how long.

Upbit tells no key's permissions. They are found out by asking for things that change nothing: an order that is only
tested, and the cancellation of a withdrawal that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence

from kimp.order.exchanges.outcomes import Answer
from kimp.order.exchanges.upbit_client import Body, Reply, UpbitClient, read, told
from kimp.order.exchanges.upbit_forms import ApiKey, BalanceRow, Chance, Wallet, moment
from kimp.shared.domain.accounts import Check
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.time import DAY, Nanos, show

WARN_DAYS = (1, 7, 30)
"""Days before a key's end when its owner is reminded; Upbit's keys live one year and cannot be renewed."""

NO_WITHDRAWAL = "00000000-0000-4000-8000-000000000000"
"""An id no withdrawal has."""

OUT_OF_SCOPE = "out_of_scope"
WRONG_ADDRESS = ("no_authorization_ip", "no_authorization_i_p")


class UpbitExamination:
    """Looks at the account before trading; nothing is ordered, moved or changed by it."""

    def __init__(self, client: UpbitClient) -> None:
        self._client = client

    async def examine(self, instruments: Sequence[Instrument]) -> tuple[Check, ...]:
        """Every check there is; a key that does not work at all ends them."""
        settings = self._client.settings
        if not (settings.access_key and settings.secret_key):
            return (Check("upbit key", False, "열쇠가 없습니다 / no key configured"),)
        keys = await self._client.call("private_get_api_keys")
        rows = read(keys, list[ApiKey])
        if rows is None:
            return (_broken(keys),)
        checks = [
            Check("upbit key", True, "열쇠 유효 / the key works"),
            Check(
                "upbit allowed IP", True, "이 주소에서 허용됨 / Upbit binds every key to addresses; this one is allowed"
            ),
            self._expiry(rows),
            await self._view(),
        ]
        checks.append(await self._withdrawal())
        if instruments:
            checks.append(await self._orders(instruments[0]))
        checks += [await self._market(instrument) for instrument in instruments]
        checks += await self._wallets(instruments)
        return tuple(checks)

    def _expiry(self, rows: list[ApiKey]) -> Check:
        """Upbit, "API Key 목록 조회": a key ends a year after it was made."""
        name = "upbit key expiry"
        mine = next(
            (row for row in rows if row.access_key == self._client.settings.access_key.get_secret_value()), None
        )
        if mine is None:
            return Check(name, False, "목록에 이 열쇠가 없습니다 / this key is not in the account's list")
        try:
            ends_at = moment(mine.expire_at)
        except ValueError:
            return Check(name, False, "만료일을 읽을 수 없습니다 / its end cannot be read")
        return expiry(name, ends_at, self._client.now())

    async def _view(self) -> Check:
        """Permissions "자산조회" and "주문조회": without them nothing can be reconciled."""
        accounts = await self._client.call("private_get_accounts")
        orders = await self._client.call("private_get_orders_open", {"state": "wait", "limit": "1"})
        for reply in (accounts, orders):
            if not isinstance(reply, Body):
                return Check(
                    "upbit may view", False, f"{told(reply)}: 자산조회·주문조회 권한 확인 / view permissions needed"
                )
        ok = read(accounts, list[BalanceRow]) is not None
        return Check("upbit may view", ok, "자산·주문 조회 가능 / balances and orders readable" if ok else "unreadable")

    async def _orders(self, instrument: Instrument) -> Check:
        """Permission "주문하기", by an order far too small that is only tested ("주문 생성 테스트")."""
        order = {
            "market": instrument.symbol,
            "side": "bid",
            "ord_type": "limit",
            "volume": "0.00000001",
            "price": "1000",
        }
        reply = await self._client.call("private_post_orders_test", order, group="order-test")
        ok = isinstance(reply, Body) or (
            isinstance(reply, Answer) and reply.status == 400 and reply.code != OUT_OF_SCOPE
        )
        text = "주문 가능 / may place orders" if ok else f"{told(reply)}: 주문하기 권한 필요 / order permission needed"
        return Check("upbit may order", ok, text)

    async def _withdrawal(self) -> Check:
        """Permission "출금하기" must be absent; only ``out_of_scope`` proves it. "디지털 자산 출금 취소 요청" needs it.

        Since 2026-07-09 a new key with it is blocked until its owner unblocks it; it still has it.
        """
        name = "upbit may not withdraw"
        reply = await self._client.call("private_delete_withdraws_coin", {"uuid": NO_WITHDRAWAL})
        if isinstance(reply, Answer) and reply.code == OUT_OF_SCOPE:
            return Check(name, True, "출금 권한 없음 / no permission to withdraw")
        advice = "출금 권한 없는 열쇠를 쓰세요 / use a key that may not withdraw"
        return Check(name, False, f"{told(reply)}: {advice}")

    async def _market(self, instrument: Instrument) -> Check:
        """Whether the market trades."""
        name = f"upbit market {instrument.symbol}"
        reply = await self._client.call("private_get_orders_chance", {"market": instrument.symbol})
        chance = read(reply, Chance)
        if chance is None:
            return Check(name, False, told(reply))
        return Check(
            name, chance.market.state == "active", f"{chance.market.state}, {chance.bid_fee} / {chance.ask_fee}"
        )

    async def _wallets(self, instruments: Sequence[Instrument]) -> list[Check]:
        """Deposits and withdrawals of the coins: for people to know, since a closed wallet lets a premium stand alone."""
        reply = await self._client.call("private_get_status_wallet")
        states = {row.currency: row.wallet_state for row in read(reply, list[Wallet]) or ()}
        return [
            Check(f"upbit wallet {leg.base}", True, _wallet(states.get(leg.base, told(reply)))) for leg in instruments
        ]


def expiry(name: str, ends_at: Nanos, now: Nanos) -> Check:
    """How long a key still lives; its last day is no time to open a position."""
    days = (ends_at - now) // DAY
    if ends_at <= now:
        return Check(name, False, f"{show(ends_at)}에 만료됨 / expired")
    text = f"{days}일 남음, {show(ends_at)} / {days} days left"
    warned = next((limit for limit in WARN_DAYS if days < limit), None)
    if warned is None:
        return Check(name, True, text)
    return Check(name, warned != WARN_DAYS[0], f"⚠️ {text}: 새 열쇠를 발급받으세요 / make a new key")


def _broken(reply: Reply) -> Check:
    if isinstance(reply, Answer) and reply.code in WRONG_ADDRESS:
        return Check("upbit key", False, f"{told(reply)}: 허용 IP 확인 / this address is not allowed for the key")
    return Check("upbit key", False, f"{told(reply)}: 열쇠와 허용 IP 확인 / check the key and its addresses")


def _wallet(state: str) -> str:
    words = {
        "working": "입출금 가능 / open",
        "withdraw_only": "출금만 가능 / withdrawals only",
        "deposit_only": "입금만 가능 / deposits only",
        "paused": "⚠️ 입출금 중단 / paused",
        "unsupported": "⚠️ 입출금 미지원 / unsupported",
    }
    return words.get(state, state)
