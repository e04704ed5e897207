"""An event loop whose time is virtual: instead of waiting for the next timer it is that moment.

The live shell itself then runs a week in seconds, and the same way every time. Timers of one instant fire in the order
in which they were set, each with everything that follows from it before the next: the order of the backtest's heap.
Time is whole nanoseconds throughout; the loop's own ``time()`` is seconds since the start of the run.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

from kimp.shared.domain.time import SECOND, Nanos

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class NothingToWaitFor(RuntimeError):
    """Every task waits for something that no timer will bring: real I/O, a thread, or each other."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at ``start`` (nanoseconds since 1970 UTC) and jumps from timer to timer.

    Raises:
        NothingToWaitFor: from ``run_until_complete``, where a real loop would hang.
    """

    def __init__(self, start: Nanos) -> None:
        self._now = self._start = start
        self._timers: list[tuple[Nanos, int, asyncio.TimerHandle, Callable[[], None]]] = []
        self._set = 0
        super().__init__(_JumpingSelector(self._jump))

    @property
    def now(self) -> Nanos:
        """Virtual nanoseconds since 1970 UTC."""
        return self._now

    def time(self) -> float:
        """Virtual seconds since the start of the run."""
        return (self._now - self._start) / SECOND

    def call_at_nanos(
        self, at: Nanos, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back at exactly that nanosecond."""
        context = copy_context() if context is None else context
        handle = asyncio.TimerHandle((at - self._start) / SECOND, callback, args, self, context)

        def fire() -> None:
            if not handle.cancelled():
                context.run(callback, *args)

        self._set += 1
        heappush(self._timers, (at, self._set, handle, fire))
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back at that second of the run, rounded to the nanosecond."""
        return self.call_at_nanos(self._start + round(when * SECOND), callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back after so many seconds, rounded to the nanosecond."""
        return self.call_at_nanos(self._now + round(delay * SECOND), callback, *args, context=context)

    def _jump(self) -> None:
        """Nothing is ready: go on to the next timer that still matters, and to that one only."""
        while self._timers:
            at, _, handle, fire = heappop(self._timers)
            if not handle.cancelled():
                self._now = max(self._now, at)
                self.call_soon(fire)
                return
        raise NothingToWaitFor(
            "no timer is set and nothing is ready: on virtual time nobody may wait for sockets, threads or each other"
        )


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: when the loop would, it lets the loop jump instead."""

    def __init__(self, jump: Callable[[], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []  # something is ready already; what came from outside is looked at when all is quiet
        ready = super().select(0)
        if not ready:
            self._jump()
        return ready


class VirtualClock:
    """The time of the virtual loop it is asked on: a ``Clock`` on which sleeping takes no time."""

    def now(self) -> Nanos:
        """Virtual nanoseconds since 1970 UTC."""
        return _running().now

    async def sleep_until(self, at: Nanos) -> None:
        """Return at exactly that nanosecond; at once when it has passed."""
        loop = _running()
        if at <= loop.now:
            return
        woken = loop.create_future()
        timer = loop.call_at_nanos(at, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _running() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "a VirtualClock tells the time inside run_virtual only"
    return loop


def run_virtual(coroutine: Coroutine[Any, Any, Result], start: Nanos) -> Result:
    """Run a coroutine to its end on virtual time that begins at ``start``; use :class:`VirtualClock` within.

    Raises:
        NothingToWaitFor: it waits for something that no timer will bring.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
        return runner.run(coroutine)
