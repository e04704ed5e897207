"""How often we may speak and how soon we may try again: venues ban those who do not count."""

from __future__ import annotations

from collections import deque
from random import Random

import msgspec

from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.ports.clock import Clock


class Limit(msgspec.Struct, frozen=True):
    """At most ``count`` messages within any ``window``."""

    count: int
    window: Nanos


UPBIT_LIMITS = (Limit(5, SECOND), Limit(100, MINUTE))
"""Upbit, "요청 수 제한(Rate Limits)": WebSocket data requests 5 a second and 100 a minute, per connection."""

BINANCE_LIMITS = (Limit(10, SECOND),)
"""Binance, "Websocket Market Streams": 10 incoming messages per second, pings counted; beyond that it disconnects."""

SAFETY = SECOND // 20
"""Added to every window: messages sent evenly may arrive bunched, and the venue counts arrivals."""


class Pacer:
    """Lets messages through no faster than every one of its limits allows."""

    def __init__(self, limits: tuple[Limit, ...], clock: Clock) -> None:
        self._clock = clock
        self._sent = [(limit.window + SAFETY, deque[Nanos](maxlen=limit.count)) for limit in limits]

    async def turn(self) -> None:
        """Return when one more message may be sent; it counts as sent then."""
        while (at := self._free_at()) > self._clock.now():
            await self._clock.sleep_until(at)
        now = self._clock.now()
        for _, sent in self._sent:
            sent.append(now)

    def _free_at(self) -> Nanos:
        return max((sent[0] + window for window, sent in self._sent if len(sent) == sent.maxlen), default=0)


class Backoff:
    """Growing pauses between attempts, drawn at random so that a thousand clients do not return in the same second."""

    def __init__(self, dice: Random, *, first: Nanos = SECOND // 2, cap: Nanos = 30 * SECOND) -> None:
        self._dice = dice
        self._first = first
        self._cap = cap
        self._pause = first

    def pause(self, at_least: Nanos = 0) -> Nanos:
        """The next pause: between half and all of a doubling, capped length, and never below what the venue asked for."""
        drawn = round(self._pause * (0.5 + self._dice.random() / 2))
        self._pause = min(self._pause * 2, self._cap)
        return max(drawn, at_least)

    def reset(self) -> None:
        """Begin with short pauses again: something came through."""
        self._pause = self._first
