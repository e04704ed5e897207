"""Whether one venue may be traded on: its clock, its rules, what lies there, and what it says of our keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from kimp.order.runtime.inquiry import CLIENT_ID_PREFIX
from kimp.shared.domain.accounts import Account, Check
from kimp.shared.domain.instruments import Instrument, Kind, Pair
from kimp.shared.domain.time import MILLISECOND
from kimp.shared.ports.exchange import Exchange
from kimp.shared.settings import Settings

AWAY = "답이 없습니다, 네트워크와 열쇠를 확인하세요 / no answer: check the network and the keys"
NAMES_MAX = 5
"""So many orders are named in one line; the rest are counted."""


@dataclass(slots=True)
class VenueSeen:
    """What a venue said, for checks that need both venues."""

    account: Account | None = None
    instruments: tuple[Instrument, ...] | None = None


async def venue_checks(
    exchange: Exchange, pairs: Sequence[Pair], settings: Settings, seen: VenueSeen
) -> tuple[Check, ...]:
    """Everything about one venue; ``seen`` keeps what it said."""
    name = exchange.venue.value
    legs = [leg for pair in pairs for leg in (pair.korea, pair.abroad) if leg.venue is exchange.venue]
    checks = [await _clock(exchange, name, settings.guards.clock_skew_max_ms)]
    seen.instruments = await exchange.instruments([leg.symbol for leg in legs])
    checks += _rules(name, legs, seen.instruments)
    checks += await exchange.examine(seen.instruments or legs, Decimal(settings.execution.leverage))
    seen.account = await exchange.account()
    checks += _account(name, legs, seen.account)
    checks.append(await _open_orders(exchange, name, legs))
    return tuple(checks)


async def _clock(exchange: Exchange, venue: str, limit_ms: int) -> Check:
    name, skew = f"{venue} clock", await exchange.clock_skew()
    if skew is None:
        return Check(name, False, AWAY)
    detail = f"{skew / MILLISECOND:+.0f} ms (한도 / limit {limit_ms} ms)"
    if abs(skew) <= limit_ms * MILLISECOND:
        return Check(name, True, detail)
    return Check(name, False, f"{detail}: 시계를 맞추세요 (NTP) / set this machine's clock")


def _rules(venue: str, legs: Sequence[Instrument], found: Sequence[Instrument] | None) -> list[Check]:
    if found is None:
        return [Check(f"{venue} rules", False, AWAY)]
    known = {leg.id: leg for leg in found}
    checks = []
    for leg in legs:
        name, told = f"{venue} rules {leg.symbol}", known.get(leg.id)
        if told is None:
            detail = "거래소에 없는 종목입니다, trade.coins를 고치세요 / not traded there: change trade.coins"
            checks.append(Check(name, False, detail))
            continue
        rules = told.rules
        detail = f"lot {rules.lot:f}, 최소 / minimum {rules.minimum_notional:f} {told.quote}, fee {told.fee_rate:.3%}"
        checks.append(Check(name, True, detail))
    return checks


def _account(venue: str, legs: Sequence[Instrument], account: Account | None) -> list[Check]:
    if account is None:
        return [Check(f"{venue} balance", False, AWAY)]
    has_coins = any(account.total(leg.base) > 0 for leg in legs if leg.kind is Kind.SPOT)
    quotes = dict.fromkeys(leg.quote for leg in legs)
    checks = [_balance(venue, asset, account.total(asset), has_coins=has_coins) for asset in quotes]
    contracts = [leg for leg in legs if leg.kind is Kind.PERPETUAL]
    checks += [
        Check(f"{venue} position {leg.symbol}", True, f"{account.contract(leg.id):f} {leg.base}") for leg in contracts
    ]
    return checks


def _balance(venue: str, asset: str, total: Decimal, *, has_coins: bool) -> Check:
    if total > 0 or has_coins:  # the money of an open pair is in its coins
        return Check(f"{venue} balance", True, f"{total:,.2f} {asset}")
    return Check(f"{venue} balance", False, f"0 {asset}: 입금하세요 / nothing there, deposit {asset} to trade")


async def _open_orders(exchange: Exchange, venue: str, legs: Sequence[Instrument]) -> Check:
    name, others, ours = f"{venue} open orders", list[str](), list[str]()
    for leg in legs:
        resting = await exchange.open_orders(leg.id)
        if resting is None:
            return Check(name, False, AWAY)
        for client_id in resting:
            (ours if client_id.startswith(CLIENT_ID_PREFIX) else others).append(f"{leg.symbol} {client_id}")
    if others:
        shown = ", ".join(others[:NAMES_MAX]) + (f" +{len(others) - NAMES_MAX}" if len(others) > NAMES_MAX else "")
        return Check(name, False, f"{shown}: 직접 낸 주문을 취소하세요 / placed by hand: cancel them first")
    if ours:
        return Check(name, True, f"{len(ours)}건 남음, 시작하면 취소합니다 / left behind, cancelled after the start")
    return Check(name, True, "없음 / none")
