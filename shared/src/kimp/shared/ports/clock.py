"""Time as a port: only adapters read real clocks."""

from typing import Protocol

from kimp.shared.domain.time import Nanos


class Clock(Protocol):
    """The time now, and waiting for a later one."""

    def now(self) -> Nanos:
        """Nanoseconds since 1970 UTC."""
        ...

    async def sleep_until(self, at: Nanos) -> None:
        """Return once ``now() >= at``; at once when that has passed."""
        ...
