"""How many requests a venue lets us send, counted here so that it never has to tell us twice.

An order leaves without any waiting while there is budget; ordinary requests leave a reserve that only urgent ones
(exits, repairs) may use. What the venue's headers say overrides our own count whenever they know of more.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Mapping

import msgspec

from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.ports.clock import Clock

WAIT_MAX: Nanos = SECOND + SECOND // 2
"""Longest wait for an ordinary request: one of Upbit's windows and a half. A price older than that is no price."""

URGENT_WAIT_MAX: Nanos = 5 * SECOND
"""Longest wait for an urgent request: a naked leg would rather wait than be refused, but asks again soon anyway."""

MARGIN: Nanos = SECOND // 20
"""Added to every window: requests sent evenly may arrive bunched, and the venue counts arrivals."""

UNASKED_PAUSE: Nanos = SECOND
"""Silence after a 429 that names no time: the length of the shortest window."""

UNASKED_BAN: Nanos = 2 * MINUTE
"""Silence after a 418 that names no time: Binance's shortest ban ("LIMITS", IP Limits); Upbit's is shorter."""

BAN_MAX: Nanos = 3 * 24 * 60 * MINUTE
"""Binance's longest ban is three days ("LIMITS", IP Limits); a header that asks for more is nonsense."""

TOO_MANY, BANNED = 429, 418


class Budget(msgspec.Struct, frozen=True):
    """At most ``limit`` weights within any ``window``, of which the last ``reserve`` are for urgent requests."""

    limit: int
    window: Nanos
    reserve: int = 0


UPBIT_GROUPS: Mapping[str, tuple[Budget, ...]] = {
    "order": (Budget(12, SECOND, reserve=4),),
    "order-test": (Budget(8, SECOND, reserve=2),),
    "default": (Budget(30, SECOND, reserve=10),),
    "market": (Budget(10, SECOND, reserve=2),),
    "orderbook": (Budget(10, SECOND, reserve=2),),
}
"""Upbit, "요청 수 제한" (https://docs.upbit.com/kr/reference/rate-limits): per second and account, quotations per IP.
Orders were 8 a second before 2026-08-21 (changelog "order-rate-limit-update"); a lower number in ``Remaining-Req`` is
obeyed.
"""

BINANCE_GROUPS: Mapping[str, tuple[Budget, ...]] = {
    "weight": (Budget(2_400, MINUTE, reserve=600),),
    "orders": (Budget(300, 10 * SECOND, reserve=100), Budget(1_200, MINUTE, reserve=400)),
}
"""Binance, "General Info" and exchangeInfo's ``rateLimits`` for USDT-M; pass the venue's own numbers where read."""


class _Window:
    """What was spent within one budget's window, oldest first."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.length = budget.window + MARGIN
        self.spent = 0
        self._entries: deque[tuple[Nanos, int]] = deque()

    def forget(self, now: Nanos) -> None:
        entries = self._entries
        while entries and entries[0][0] + self.length <= now:
            self.spent -= entries.popleft()[1]

    def add(self, now: Nanos, weight: int) -> None:
        if weight > 0:
            self._entries.append((now, weight))
            self.spent += weight

    def free_at(self, weight: int, *, is_urgent: bool) -> Nanos:
        """When enough has left the window for this weight; zero when there is room now."""
        allowed = self.budget.limit - (0 if is_urgent else self.budget.reserve)
        excess = self.spent + weight - allowed
        if excess <= 0:
            return 0
        for at, spent in self._entries:
            excess -= spent
            if excess <= 0:
                return at + self.length
        raise AssertionError(f"a request of weight {weight} never fits {self.budget}")


class RateLimiter:
    """Grants requests by group; refuses rather than waiting long, because an old order is worse than none.

    Args:
        clock: the time.
        groups: the venue's budgets by group, such as :data:`UPBIT_GROUPS`.
    """

    def __init__(self, clock: Clock, groups: Mapping[str, tuple[Budget, ...]]) -> None:
        self._clock = clock
        self._groups = {name: [_Window(budget) for budget in budgets] for name, budgets in groups.items()}
        self._silent_until: dict[str, Nanos] = dict.fromkeys(groups, 0)

    @property
    def groups(self) -> Collection[str]:
        """The groups there are."""
        return self._groups.keys()

    async def acquire(self, group: str, weight: int = 1, *, is_urgent: bool = False) -> bool:
        """Whether the request may be sent now; it is counted then. Waits for the budget to refill, but not long.

        ``False`` means: send nothing (for an order, :data:`kimp.order.exchanges.outcomes.RATE_LIMITED`).

        Raises:
            KeyError: there is no such group.
        """
        now = self._clock.now()
        deadline = now + (URGENT_WAIT_MAX if is_urgent else WAIT_MAX)
        while (at := self._free_at(group, weight, now, is_urgent=is_urgent)) > now:
            if at > deadline:
                return False
            await self._clock.sleep_until(at)
            now = self._clock.now()
        for window in self._groups[group]:
            window.add(now, weight)
        return True

    def room(self, group: str, *, is_urgent: bool = False) -> int:
        """How much weight could be sent this moment without waiting."""
        now = self._clock.now()
        if self._silent_until[group] > now:
            return 0
        lefts = []
        for window in self._groups[group]:
            window.forget(now)
            lefts.append(window.budget.limit - (0 if is_urgent else window.budget.reserve) - window.spent)
        return max(0, min(lefts))

    def used(self, group: str, window: Nanos, count: int) -> None:
        """Take the venue's word that ``count`` was spent in its present ``window``, if that is more than we know of."""
        now = self._clock.now()
        for mine in self._groups[group]:
            if mine.budget.window == window:
                mine.forget(now)
                mine.add(now, min(count, mine.budget.limit) - mine.spent)

    def remaining(self, group: str, window: Nanos, count: int) -> None:
        """Take the venue's word that only ``count`` may still be sent in its present ``window``."""
        for mine in self._groups[group]:
            if mine.budget.window == window:
                self.used(group, window, mine.budget.limit - count)

    def silence(self, pause: Nanos, group: str | None = None) -> None:
        """Send nothing of this group (or of any) for so long; the venue asked for it."""
        until = self._clock.now() + min(pause, BAN_MAX)
        for name in self._silent_until if group is None else (group,):
            self._silent_until[name] = max(self._silent_until[name], until)

    def _free_at(self, group: str, weight: int, now: Nanos, *, is_urgent: bool) -> Nanos:
        at = self._silent_until[group]
        for window in self._groups[group]:
            window.forget(now)
            at = max(at, window.free_at(weight, is_urgent=is_urgent))
        return at


def obey_refusal(limiter: RateLimiter, group: str, status: int, headers: Mapping[str, str], message: str = "") -> None:
    """Be silent as a 429 (this group) or a 418 (everything) asks; other statuses change nothing.

    Upbit's page ("요청 수 제한") says that the time of a block comes with the 418 but not where, so the text is read too.
    """
    if status not in (TOO_MANY, BANNED):
        return
    asked = _seconds(header(headers, "Retry-After")) or _seconds_in(message)
    if status == TOO_MANY:
        limiter.silence(asked or UNASKED_PAUSE, group)
    else:
        limiter.silence(asked or UNASKED_BAN)


def read_upbit(limiter: RateLimiter, headers: Mapping[str, str]) -> None:
    """Take note of ``Remaining-Req: group=order; min=1800; sec=11``; ``min`` is deprecated and means nothing."""
    line = header(headers, "Remaining-Req")
    fields = dict(part.strip().split("=", 1) for part in line.split(";") if "=" in part)
    group, left = fields.get("group", ""), fields.get("sec", "")
    if group in limiter.groups and left.isdecimal():
        limiter.remaining(group, SECOND, int(left))


_BINANCE_HEADERS = (
    ("X-MBX-USED-WEIGHT-1M", "weight", MINUTE),
    ("X-MBX-ORDER-COUNT-10S", "orders", 10 * SECOND),
    ("X-MBX-ORDER-COUNT-1M", "orders", MINUTE),
)


def read_binance(limiter: RateLimiter, headers: Mapping[str, str]) -> None:
    """Take note of ``X-MBX-USED-WEIGHT-1M`` and ``X-MBX-ORDER-COUNT-10S`` / ``-1M``."""
    for name, group, window in _BINANCE_HEADERS:
        count = header(headers, name)
        if count.isdecimal():
            limiter.used(group, window, int(count))


def header(headers: Mapping[str, str], name: str) -> str:
    """A header whatever its capitals: proxies and client libraries change them."""
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), "")


def _seconds(text: str) -> Nanos:
    return int(text) * SECOND if text.isdecimal() else 0


_DURATION = re.compile(r"(\d{1,6})\s*(초|분|sec|min)", re.IGNORECASE)


def _seconds_in(message: str) -> Nanos:
    """The duration in a text such as ``"blocked for 60 seconds"`` or ``"1분 후"``; zero without one."""
    found = _DURATION.search(message)
    if found is None:
        return 0
    unit = SECOND if found[2].lower() in ("초", "sec") else MINUTE
    return int(found[1]) * unit
