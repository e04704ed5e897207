"""Clocks that are not this machine's: a market that runs faster than the day does."""

from __future__ import annotations

from kimp.shared.domain.time import Nanos
from kimp.shared.ports.clock import Clock


class ScaledClock:
    """Runs ``speed`` times as fast as ``inner`` and shows ``start`` when made: at 60 an hour passes in a minute."""

    def __init__(self, inner: Clock, speed: int, start: Nanos) -> None:
        if speed < 1:
            raise ValueError(f"a clock at {speed} times the speed would not get anywhere")
        self._inner = inner
        self._speed = speed
        self._start = start
        self._began = inner.now()

    def now(self) -> Nanos:
        """Nanoseconds since 1970 UTC, as this clock has it."""
        return self._start + (self._inner.now() - self._began) * self._speed

    async def sleep_until(self, at: Nanos) -> None:
        """Return once ``now() >= at``; at once when that has passed."""
        # Rounded up: a nanosecond early would not have reached ``at`` yet.
        await self._inner.sleep_until(self._began - (self._start - at) // self._speed)
