"""What has to be right on the Binance account before money moves: mode, margin, leverage, discounts and the key."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from kimp.order.exchanges.binance_line import BinanceLine, Reply, Told, read, weight
from kimp.order.exchanges.outcomes import Answer, Trouble
from kimp.order.exchanges.outcomes_binance import ALREADY_SO
from kimp.shared.domain.accounts import Check
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.orders import Rejected

SETTING = weight(1)
MODE = weight(30)
KEY_PERMISSION = weight(1)

PERMISSIONS_PAGE = "https://developers.binance.com/docs/wallet/account/api-key-permission"
"""Binance, "Get API Key Permission": only the wallet API tells what a key may do, and demo trading has none."""


class _Dual(msgspec.Struct, rename="camel"):
    dual_side_position: bool


class _MultiAssets(msgspec.Struct, rename="camel"):
    multi_assets_margin: bool


class _FeeBurn(msgspec.Struct, rename="camel"):
    fee_burn: bool


class _Leverage(msgspec.Struct):
    leverage: int
    symbol: str


class _Permissions(msgspec.Struct, rename="camel"):
    ip_restrict: bool
    enable_withdrawals: bool
    enable_futures: bool


class BinanceExamination:
    """Looks, puts right what may be put right without risk, and says what a person has to do."""

    def __init__(self, line: BinanceLine, *, is_real_venue: bool) -> None:
        self._line = line
        self._is_real_venue = is_real_venue

    async def examine(self, instruments: Sequence[Instrument], leverage: Decimal) -> tuple[Check, ...]:
        """Every check there is; the first that shows a key that does not work ends them."""
        mode = await self._one_way()
        if not mode.ok and mode.name == "binance key":
            return (mode,)
        checks = [Check("binance key", True, "열쇠 유효 / the key works"), mode]
        checks.append(await self._permissions())
        checks.append(await self._single_asset())
        checks.append(await self._no_discount())
        for instrument in instruments:
            checks.append(await self._crossed(instrument))
            checks.append(await self._leverage(instrument, leverage))
        return tuple(checks)

    async def _one_way(self) -> Check:
        """In hedge mode an exit could open the other side instead of closing; the venue allows the change when flat."""
        name = "binance one-way mode"
        reply = await self._line.call("fapiPrivateGetPositionSideDual", cost=MODE)
        dual = read(reply, _Dual)
        if dual is None:
            return Check("binance key", False, f"{_said(reply)}: 열쇠와 허용 IP 확인 / check the key and its IPs")
        if not dual.dual_side_position:
            return Check(name, True, "단방향 / one-way")
        params = {"dualSidePosition": "false"}
        reply = await self._line.call("fapiPrivatePostPositionSideDual", params, cost=SETTING)
        if _is_done(reply):
            return Check(name, True, "단방향으로 바꿈 / switched to one-way")
        advice = "포지션과 주문을 모두 닫고 단방향으로 바꾸세요 / close positions and orders, then choose one-way mode"
        return Check(name, False, f"{_said(reply)}: {advice}")

    async def _single_asset(self) -> Check:
        """In multi-assets mode other coins are margin too, and a balance no longer says what may be used."""
        name = "binance multi-assets mode"
        reply = await self._line.call("fapiPrivateGetMultiAssetsMargin", cost=MODE)
        mode = read(reply, _MultiAssets)
        if mode is not None and not mode.multi_assets_margin:
            return Check(name, True, "꺼짐 / off")
        if mode is not None:
            params = {"multiAssetsMargin": "false"}
            reply = await self._line.call("fapiPrivatePostMultiAssetsMargin", params, cost=SETTING)
            if _is_done(reply):
                return Check(name, True, "끔 / switched off")
        return Check(name, False, f"{_said(reply)}: 다중 자산 모드를 끄세요 / switch multi-assets mode off")

    async def _no_discount(self) -> Check:
        """Fees paid in BNB leave the USDT wallet above the ledger; whether to give the discount up is the owner's act."""
        name = "binance BNB discount"
        reply = await self._line.call("fapiPrivateGetFeeBurn", cost=MODE)
        burn = read(reply, _FeeBurn)
        if burn is not None and not burn.fee_burn:
            return Check(name, True, "꺼짐 / off")
        advice = "BNB 수수료 할인을 끄세요, 장부는 USDT로 셉니다 / switch BNB for fees off, the ledger counts USDT"
        return Check(name, False, f"{'켜짐 / on' if burn else _said(reply)}: {advice}")

    async def _crossed(self, instrument: Instrument) -> Check:
        """Isolated margin would be used up while the rest of the wallet lies idle."""
        name = f"binance margin type {instrument.symbol}"
        params = {"symbol": instrument.symbol, "marginType": "CROSSED"}
        reply = await self._line.call("fapiPrivatePostMarginType", params, cost=SETTING)
        if _is_done(reply):
            return Check(name, True, "교차 / crossed")
        return Check(name, False, f"{_said(reply)}: 교차 마진으로 바꾸세요 / choose crossed margin")

    async def _leverage(self, instrument: Instrument, leverage: Decimal) -> Check:
        """Set and read back; this needs the permission to trade, so it also proves that the key has it."""
        name = f"binance leverage {instrument.symbol}"
        if leverage != leverage.to_integral_value():
            return Check(name, False, f"{leverage}: 정수만 가능 / Binance takes whole numbers only")
        params: dict[str, str | int] = {"symbol": instrument.symbol, "leverage": int(leverage)}
        reply = await self._line.call("fapiPrivatePostLeverage", params, cost=SETTING)
        told = read(reply, _Leverage)
        if told is None:
            return Check(name, False, f"{_said(reply)}: 선물 거래 권한 확인 / does the key permit futures trading?")
        is_so = told.leverage == int(leverage) and told.symbol == instrument.symbol
        return Check(name, is_so, f"{told.leverage}x")

    async def _permissions(self) -> Check:
        """A key that may withdraw, or that works from anywhere, is refused; where the venue does not tell, say so."""
        name = "binance key permissions"
        reply = await self._line.call("sapiGetAccountApiRestrictions", cost=KEY_PERMISSION)
        told = read(reply, _Permissions)
        if told is None:
            silence = "알 수 없음 / the venue does not tell here"
            return Check(name, not self._is_real_venue, f"{silence} ({_said(reply)})")
        faults = []
        if told.enable_withdrawals:
            faults.append("출금 권한을 빼세요 / take the permission to withdraw away")
        if not told.ip_restrict:
            faults.append("허용 IP를 지정하세요 / restrict the key to your IPs")
        if not told.enable_futures:
            faults.append("선물 권한을 켜세요 / permit futures")
        return Check(name, not faults, "; ".join(faults) or "출금 불가, IP 제한 / no withdrawal, IPs restricted")


def _is_done(reply: Reply) -> bool:
    """Whether a setting is as wanted now: done, or so already."""
    return isinstance(reply, Told) or (isinstance(reply, Answer) and reply.code in ALREADY_SO)


def _said(reply: Reply) -> str:
    match reply:
        case Told():
            return "읽을 수 없는 응답 / unreadable answer"
        case Answer():
            return f"HTTP {reply.status} {reply.code} {reply.message}".rstrip()
        case Trouble():
            return reply.value
        case Rejected():
            return reply.code
