"""The market's clock of the demo: sixty times as fast as the day, but never faster than this machine gets things done."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count

from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.shared.ports.clock import Clock

TICK: Nanos = 3 * MILLISECOND
"""Of the inner clock's time; shorter ones would keep the machine busy with looking at the clock."""

TICK_MAX: Nanos = 4 * MILLISECOND
"""The most that one tick counts: where others use the machine too, the market waits for us, as the real one need not."""


class PatientClock:
    """Runs ``speed`` times as fast as ``inner`` while the loop turns; a stall of the machine is none of the market.

    At sixty times the speed a tenth of a second without the processor would be six seconds in which an order was under
    way, and that is another story than the one to be shown. Somebody has to :meth:`run` it.
    """

    def __init__(self, inner: Clock, speed: int, start: Nanos) -> None:
        self._inner = inner
        self._speed = speed
        self._now = start
        self._ticked = inner.now()
        self._numbers = count()
        self._waiting: list[tuple[Nanos, int, asyncio.Future[None]]] = []

    def now(self) -> Nanos:
        """Nanoseconds since 1970 UTC, as the market has it."""
        return self._now + self._since(self._inner.now())

    async def sleep_until(self, at: Nanos) -> None:
        """Return once ``now() >= at``; at once when that has passed."""
        if at <= self.now():
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (at, next(self._numbers), future))
        await future

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            await asyncio.sleep(TICK / SECOND)
            self.tick()

    def tick(self) -> None:
        """Count what has passed, and wake whom it concerns."""
        at = self._inner.now()
        self._now += self._since(at)
        self._ticked = max(at, self._ticked)
        while self._waiting and self._waiting[0][0] <= self._now:
            future = heappop(self._waiting)[2]
            if not future.done():  # its sleeper may have been cancelled
                future.set_result(None)

    def _since(self, at: Nanos) -> Nanos:
        return min(max(at - self._ticked, 0), TICK_MAX) * self._speed
