"""How much a client may ask: request weight per minute and orders per ten seconds and minute, then 429, then a ban.

Binance, "General Info", LIMITS: 2,400 weight per minute and address, told in ``X-MBX-USED-WEIGHT-1M``; 300 orders per
10 s and 1,200 per minute and account, told in ``X-MBX-ORDER-COUNT-10S`` and ``-1M``. Going on after 429 is answered by
418 and a ban "from 2 minutes to 3 days", and ``Retry-After`` says how many seconds to stay away.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from kimp.portfolio.exchange.binance_wire import errors
from kimp.portfolio.exchange.binance_wire.errors import Refusal
from kimp.shared.domain.time import DAY, MILLISECOND, MINUTE, SECOND, Nanos

ADDRESSES_MAX = 1_000
"""Addresses remembered; this is served on one machine, so more than a handful is somebody playing."""


class Limits(msgspec.Struct, frozen=True):
    """What is allowed; ``patience`` is how many refused requests in one minute lead to a ban."""

    weight_per_minute: int = 2_400
    orders_per_ten_seconds: int = 300
    orders_per_minute: int = 1_200
    patience: int = 10
    ban: Nanos = 2 * MINUTE
    ban_max: Nanos = 3 * DAY


@dataclass(slots=True)
class Window:
    """A counter that starts again with every interval of the clock."""

    interval: Nanos
    index: int = -1
    used: int = 0

    def add(self, amount: int, now: Nanos) -> int:
        """Count, and tell how much this interval has seen."""
        if now // self.interval != self.index:
            self.index, self.used = now // self.interval, 0
        self.used += amount
        return self.used

    def ends_in_s(self, now: Nanos) -> int:
        """Whole seconds until the counter starts again, at least one."""
        return -(-(self.interval - now % self.interval) // SECOND)


@dataclass(slots=True)
class _Address:
    weight: Window = field(default_factory=lambda: Window(MINUTE))
    refused: Window = field(default_factory=lambda: Window(MINUTE))
    banned_until: Nanos = 0
    bans: int = 0


class WeightCounter:
    """Counts for every address apart; orders are counted for the one account there is."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._addresses: dict[str, _Address] = {}
        self._orders = (Window(10 * SECOND), Window(MINUTE))

    def spend(self, address: str, weight: int, now: Nanos) -> int:
        """Count a request; returns the weight used this minute.

        Raises:
            Refusal: 429 over the limit, 418 banned.
        """
        seen = self._seen(address)
        if now < seen.banned_until:
            raise self._banned(seen, now)
        used = seen.weight.add(weight, now)
        if used <= self._limits.weight_per_minute:
            return used
        if seen.refused.add(1, now) > self._limits.patience:
            seen.banned_until = now + min(self._limits.ban << min(seen.bans, 32), self._limits.ban_max)
            seen.bans += 1
            raise self._banned(seen, now)
        raise Refusal(errors.TOO_MANY_REQUESTS.about(self._limits.weight_per_minute), seen.weight.ends_in_s(now))

    def count_order(self, now: Nanos) -> dict[str, str]:
        """Count a new order; returns the headers that tell so.

        Raises:
            Refusal: −1015 too many of them.
        """
        short, long = self._orders
        counts = short.add(1, now), long.add(1, now)
        if counts[0] > self._limits.orders_per_ten_seconds:
            raise Refusal(
                errors.TOO_MANY_ORDERS.about(self._limits.orders_per_ten_seconds, "10 SECONDS"), short.ends_in_s(now)
            )
        if counts[1] > self._limits.orders_per_minute:
            raise Refusal(errors.TOO_MANY_ORDERS.about(self._limits.orders_per_minute, "MINUTE"), long.ends_in_s(now))
        return {"X-MBX-ORDER-COUNT-10S": str(counts[0]), "X-MBX-ORDER-COUNT-1M": str(counts[1])}

    def _seen(self, address: str) -> _Address:
        if address not in self._addresses and len(self._addresses) >= ADDRESSES_MAX:
            del self._addresses[next(iter(self._addresses))]
        return self._addresses.setdefault(address, _Address())

    def _banned(self, seen: _Address, now: Nanos) -> Refusal:
        left = -(-(seen.banned_until - now) // SECOND)
        return Refusal(errors.BANNED.about(seen.banned_until // MILLISECOND), left)
