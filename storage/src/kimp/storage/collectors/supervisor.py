"""Keeps the collectors running: one that dies is started again, and the others never notice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Protocol

import msgspec

from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.logs import get
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.pace import Backoff

FIRST_PAUSE: Nanos = SECOND // 2
PAUSE_MAX: Nanos = MINUTE
STEADY: Nanos = 5 * MINUTE
"""Having run this long, a collector's next death counts as its first."""


class Unit(Protocol):
    """Something that runs for ever."""

    name: str

    async def run(self) -> None:
        """Run until cancelled; whatever it raises is a bug, and it is run again."""
        ...


class UnitState(msgspec.Struct):
    """How one unit is doing, for ``/health`` and metrics."""

    state: str = "starting"
    restarts: int = 0
    reason: str = ""


class Supervisor:
    """Runs units side by side until cancelled."""

    def __init__(self, units: Sequence[Unit], *, clock: Clock, dice: Random) -> None:
        self._units = units
        self._clock = clock
        self._dice = dice
        self.states = {unit.name: UnitState() for unit in units}
        self._log = get("kimp.storage.supervisor")

    async def run(self) -> None:
        """Start everything, and start again what ends."""
        async with asyncio.TaskGroup() as group:
            for unit in self._units:
                group.create_task(self._keep(unit))

    async def _keep(self, unit: Unit) -> None:
        state = self.states[unit.name]
        backoff = Backoff(Random(self._dice.getrandbits(64)), first=FIRST_PAUSE, cap=PAUSE_MAX)
        while True:
            began_at = self._clock.now()
            state.state = "running"
            try:
                await unit.run()
                state.reason = "ended by itself"
            except Exception as error:  # whatever it is, the others go on
                state.reason = described(error)
                self._log.exception("collector died, starting it again", collector=unit.name)
            if self._clock.now() - began_at > STEADY:
                backoff.reset()
            state.restarts += 1
            state.state = "restarting"
            await self._clock.sleep_until(self._clock.now() + backoff.pause())


def first_of(error: BaseException) -> BaseException:
    """The first real error inside the groups that task groups make of it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def described(error: BaseException) -> str:
    """An error in one line."""
    first = first_of(error)
    return f"{type(first).__name__}: {first}"
