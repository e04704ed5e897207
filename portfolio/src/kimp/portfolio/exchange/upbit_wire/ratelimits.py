"""Upbit's request limits: so many a second per group, then 429, then a block that grows.

Upbit, "요청 수 제한(Rate Limits)": the quotation groups count per IP, 10 a second each; exchange requests count per
account: ``default`` 30, ``order`` 12 (8 before 2026-08-21), ``order-test`` 8 a second, cancelling everything once in two
seconds. Answers carry ``Remaining-Req: group=order; min=1800; sec=11`` (``min`` is a fixed relic). Requests with an
``Origin`` header to quotation endpoints and WebSockets: one per ten seconds. Who goes on after 429 is blocked (418), each
time for longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from kimp.portfolio.exchange.upbit_wire.errors import UpbitError, blocked, too_many_requests
from kimp.shared.domain.time import MINUTE, SECOND, Nanos

MINUTE_RELIC = 1_800
CALLERS_MAX = 10_000
"""Callers and groups remembered at once: far more than one machine has clients, small enough never to matter."""


class GroupLimit(msgspec.Struct, frozen=True):
    """``count`` requests in each ``window``."""

    count: int
    window: Nanos = SECOND


QUOTATION = GroupLimit(10)
GROUPS: Mapping[str, GroupLimit] = {
    "market": QUOTATION,
    "candles": QUOTATION,
    "crix-trades": QUOTATION,
    "ticker": QUOTATION,
    "orderbook": QUOTATION,
    "default": GroupLimit(30),
    "order": GroupLimit(12),
    "order-test": GroupLimit(8),
    "order-cancel-all": GroupLimit(1, 2 * SECOND),
}


class Limits(msgspec.Struct, frozen=True):
    """How patient the venue is. Upbit publishes the groups; how soon and for how long it blocks, it does not."""

    groups: Mapping[str, GroupLimit] = msgspec.field(default_factory=lambda: dict(GROUPS))
    origin: GroupLimit = GroupLimit(1, 10 * SECOND)
    refusals_max: int = 20
    """Refused requests within a minute until the caller is blocked."""
    first_block: Nanos = 10 * SECOND
    """The first block; every further one within the memory below lasts twice as long as the one before."""
    block_max: Nanos = 60 * MINUTE
    memory: Nanos = 60 * MINUTE
    """After so long without a block the next one is a first one again."""
    connects: GroupLimit = GroupLimit(5)
    messages: tuple[GroupLimit, ...] = (GroupLimit(5), GroupLimit(100, MINUTE))
    """Requests over one WebSocket (or connections from one caller): 5 a second and 100 a minute."""
    idle: Nanos = 120 * SECOND
    """A WebSocket over which the client says nothing for so long is closed ("WebSocket 사용 안내": 120 s)."""


class Allowance(msgspec.Struct, frozen=True):
    """What a caller may still do in this window."""

    group: str
    left: int

    @property
    def header(self) -> str:
        """The value of ``Remaining-Req``."""
        return f"group={self.group}; min={MINUTE_RELIC}; sec={self.left}"


@dataclass(slots=True)
class _Offences:
    refused: deque[Nanos]
    blocked_until: Nanos = 0
    last_block: Nanos = 0


class RequestLimits:
    """Counts requests by caller and group in the fixed windows of the venue's own clock."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._counts: dict[tuple[str, str], tuple[Nanos, int]] = {}
        self._offences: dict[str, _Offences] = {}

    def take(self, group: str, caller: str, now: Nanos) -> Allowance:
        """Count one request.

        Raises:
            UpbitError: 429 when the group is used up, 418 when the caller is blocked.
        """
        try:
            self._check_block(caller, now)
            return Allowance(group, self._count(group, self.limits.groups[group], caller, now))
        except UpbitError as error:
            error.headers["Remaining-Req"] = Allowance(group, 0).header
            raise

    def take_from_browser(self, caller: str, now: Nanos) -> None:
        """Count one request that carries an ``Origin``.

        Raises:
            UpbitError: 429 or 418.
        """
        self._check_block(caller, now)
        self._count("origin", self.limits.origin, caller, now)

    def take_connection(self, caller: str, now: Nanos) -> None:
        """Count one new WebSocket.

        Raises:
            UpbitError: 429 or 418.
        """
        self._check_block(caller, now)
        self._count("websocket-connect", self.limits.connects, caller, now)

    def _count(self, group: str, limit: GroupLimit, caller: str, now: Nanos) -> int:
        window = now // limit.window
        known_window, used = self._counts.get((group, caller), (window, 0))
        if known_window != window:
            used = 0
        if used >= limit.count:
            self._refuse(caller, now)
        if len(self._counts) >= CALLERS_MAX:
            self._counts.clear()  # strangers by the thousand: forgetting a second's counts is the lesser evil
        self._counts[(group, caller)] = (window, used + 1)
        return limit.count - used - 1

    def _check_block(self, caller: str, now: Nanos) -> None:
        known = self._offences.get(caller)
        if known is not None and now < known.blocked_until:
            raise blocked(-(-(known.blocked_until - now) // SECOND))

    def _refuse(self, caller: str, now: Nanos) -> None:
        if len(self._offences) >= CALLERS_MAX:
            self._offences.clear()
        known = self._offences.setdefault(caller, _Offences(deque(maxlen=self.limits.refusals_max)))
        known.refused.append(now)
        is_full = len(known.refused) == self.limits.refusals_max
        if is_full and now - known.refused[0] < MINUTE:
            known.refused.clear()
            is_repeated = known.last_block > 0 and now - known.blocked_until < self.limits.memory
            length = known.last_block * 2 if is_repeated else self.limits.first_block
            known.last_block = min(length, self.limits.block_max)
            known.blocked_until = now + known.last_block
            raise blocked(-(-known.last_block // SECOND))
        raise too_many_requests()


class MessageLimits:
    """Counts the requests over one WebSocket."""

    def __init__(self, limits: tuple[GroupLimit, ...]) -> None:
        self._limits = limits
        self._arrived: deque[Nanos] = deque(maxlen=max((limit.count for limit in limits), default=0) + 1)

    def permits(self, now: Nanos) -> bool:
        """Count one message; whether it is within every limit."""
        self._arrived.append(now)
        return all(sum(now - at < limit.window for at in self._arrived) <= limit.count for limit in self._limits)
