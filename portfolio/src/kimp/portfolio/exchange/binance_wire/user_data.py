"""What the account's own stream says, and the listen keys it is heard with.

Binance, "User Data Streams": a listen key lives 60 minutes from its last PUT; a POST while one lives returns the same and
prolongs it. "Event: Order Update", "Event: Balance and Position Update", "Event: User Data Stream Expired".
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.account_shapes import Account, PositionFigures, money
from kimp.portfolio.exchange.binance_wire.errors import Refusal
from kimp.portfolio.exchange.binance_wire.filters import text
from kimp.portfolio.exchange.binance_wire.order_shapes import average, kind, limit, status, time_in_force
from kimp.portfolio.exchange.binance_wire.records import Trade, is_liquidation
from kimp.portfolio.exchange.tickets import OrderState, VirtualOrder
from kimp.shared.domain.instruments import Instrument
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.time import MILLISECOND, MINUTE, Nanos

LISTEN_KEY_LIFE: Nanos = 60 * MINUTE


@dataclass(slots=True)
class _Lease:
    listen_key: str
    until: Nanos


class ListenKeys:
    """The listen key of each API key, as long as it lives."""

    def __init__(self, life: Nanos = LISTEN_KEY_LIFE) -> None:
        self._life = life
        self._leases: dict[str, _Lease] = {}
        self._made = 0

    def open(self, api_key: str, now: Nanos) -> str:
        """The living key, prolonged, or a new one."""
        lease = self._living(api_key, now)
        if lease is None:
            self._made += 1
            digest = sha256(f"{api_key}:{now}:{self._made}".encode()).hexdigest()
            lease = self._leases[api_key] = _Lease(digest, now + self._life)
        lease.until = now + self._life
        return lease.listen_key

    def prolong(self, api_key: str, now: Nanos) -> str:
        """Another 60 minutes.

        Raises:
            Refusal: −1125 there is none.
        """
        lease = self._living(api_key, now)
        if lease is None:
            raise Refusal(errors.NO_LISTEN_KEY)
        lease.until = now + self._life
        return lease.listen_key

    def close(self, api_key: str) -> str | None:
        """Forget the key; it is returned if there was one."""
        lease = self._leases.pop(api_key, None)
        return lease.listen_key if lease else None

    def living(self, now: Nanos) -> list[str]:
        """The keys that hear something now."""
        return [lease.listen_key for lease in self._leases.values() if now < lease.until]

    def expired(self, now: Nanos) -> list[str]:
        """The keys that have just run out; each is told once."""
        over = [api_key for api_key, lease in self._leases.items() if now >= lease.until]
        return [self._leases.pop(api_key).listen_key for api_key in over]

    def _living(self, api_key: str, now: Nanos) -> _Lease | None:
        lease = self._leases.get(api_key)
        return lease if lease is not None and now < lease.until else None


def expired_event(listen_key: str, now: Nanos) -> dict[str, Any]:
    """``listenKeyExpired``: nothing comes after it."""
    return {"e": "listenKeyExpired", "E": now // MILLISECOND, "listenKey": listen_key}


def order_event(
    order: VirtualOrder, instrument: Instrument, trade: Trade | None, at: Nanos, now: Nanos
) -> dict[str, Any]:
    """``ORDER_TRADE_UPDATE`` of an order as it was at that moment.

    Args:
        order: with the fills it had then.
        trade: the fill that happened; without one the order was taken or ended.
    """
    filled = order.executed
    told: dict[str, Any] = {
        "s": instrument.symbol,
        "c": order.client_id,
        "S": order.order.side.value.upper(),
        "o": kind(order),
        "f": time_in_force(order),
        "q": text(order.order.quantity),
        "p": text(limit(order)),
        "ap": average(order.cash, filled),
        "sp": "0",
        "x": _execution(order, trade),
        "X": status(order),
        "i": order.number,
        "l": text(trade.fill.quantity) if trade else "0",
        "z": text(filled),
        "L": text(trade.fill.price) if trade else "0",
        "n": text(trade.fill.fee.value) if trade else "0",
        "N": trade.fill.fee.asset if trade else instrument.quote,
        "T": at // MILLISECOND,
        "t": trade.number if trade else 0,
        "b": "0",
        "a": "0",
        "m": trade.is_maker if trade else False,
        "R": order.order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": kind(order),
        "ps": "BOTH",
        "cp": False,
        "rp": text(trade.realised) if trade else "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "EXPIRE_MAKER",
        "pm": "NONE",
        "gtd": 0,
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": now // MILLISECOND, "T": at // MILLISECOND, "o": told}


def _execution(order: VirtualOrder, trade: Trade | None) -> str:
    """``x``: the fills of a liquidation are ``CALCULATED``, all others trades."""
    if trade is not None:
        return "CALCULATED" if is_liquidation(order) else "TRADE"
    if not order.is_done:
        return "NEW"
    return "CANCELED" if order.state is OrderState.CANCELLED else "EXPIRED"


def account_event(
    account: Account,
    reason: str,
    changes: dict[str, Decimal],
    positions: list[tuple[PositionFigures, Decimal]],
    at: Nanos,
    now: Nanos,
) -> dict[str, Any]:
    """``ACCOUNT_UPDATE``.

    Args:
        account: as it stands.
        reason: ``ORDER``, ``FUNDING_FEE``, ``DEPOSIT`` or ``WITHDRAW``.
        changes: assets to tell, and by how much each changed other than by trading.
        positions: contracts to tell, with what each has realised so far.
    """
    balances = [
        {"a": asset, "wb": money(wallet), "cw": money(wallet), "bc": text(change)}
        for asset, change in changes.items()
        for wallet in [account.assets[asset].wallet if asset in account.assets else ZERO]
    ]
    held = [
        {
            "s": position.instrument.symbol,
            "pa": text(position.quantity),
            "ep": money(position.entry),
            "bep": money(position.entry),
            "cr": text(realised),
            "up": money(position.unrealised),
            "mt": "cross",
            "iw": "0",
            "ps": "BOTH",
        }
        for position, realised in positions
    ]
    told = {"m": reason, "B": balances, "P": held}
    return {"e": "ACCOUNT_UPDATE", "E": now // MILLISECOND, "T": at // MILLISECOND, "a": told}
