"""The real clock, for those who wire the program; everybody else is handed one."""

import asyncio
import time

from kimp.shared.domain.time import SECOND, Nanos


class SystemClock:
    """This machine's idea of UTC. It may step when the machine corrects itself, so venues' own times are compared too."""

    def now(self) -> Nanos:
        """Nanoseconds since 1970 UTC."""
        return time.time_ns()

    async def sleep_until(self, at: Nanos) -> None:
        """Return once ``now() >= at``; a step of the clock is noticed when the wait ends."""
        while (left := at - self.now()) > 0:
            await asyncio.sleep(left / SECOND)
