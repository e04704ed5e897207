"""The owner's stop switch as a small file: whatever is unclear about it means that nothing is entered.

``{"state": "active", "by": "cli:kim", "at": 1790000000000000000, "reason": "…", "serial": 1790000000000000000}``,
replaced as a whole. Only a file that is there, whole and not older than one seen before can say ``active``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from kimp.order.runtime.trade_lock import is_taken
from kimp.shared import logs
from kimp.shared.domain.time import MILLISECOND, Nanos
from kimp.shared.errors import KimpError, TimedOut
from kimp.shared.messages.events import SwitchChanged, SwitchState
from kimp.shared.ports.clock import Clock

POLL: Nanos = 25 * MILLISECOND
"""How often a running trader looks: a stop must hold within 100 ms, and a look costs some ten microseconds."""

SIZE_MAX = 64 * 1024
"""A switch is some hundred bytes; a file beyond this is something else."""

REASON_LENGTH_MAX = 500
"""What an owner types; more is cut."""

TRY_PAUSE_S = 0.005
"""A tenth of a second in all for another hand on the switch, which needs some milliseconds; a stop does not wait longer."""

log = logs.get(__name__)


class SwitchAct(msgspec.Struct, frozen=True):
    """What somebody did to the switch. ``serial`` grows with every act, also after the file was lost."""

    state: SwitchState
    by: str
    at: Nanos
    reason: str
    serial: int


class FileSwitch:
    """The switch of one mode; an ``EntrySwitch``. One object follows it in the trader, others set it from anywhere.

    It remembers the newest act it has seen, and an older one (a backup put back) does not count. ``poll`` is in the
    clock's time: on one that runs faster than the day it should be as much longer.
    """

    def __init__(self, path: Path, clock: Clock, *, poll: Nanos = POLL) -> None:
        self.path = path
        self._clock = clock
        self._poll = poll
        self._newest = 0

    # -- reading ---------------------------------------------------------------------------------------------------

    def act(self) -> SwitchAct | None:
        """The last act as it stands, ``None`` when it is missing, torn, too old or no act at all."""
        try:
            with self.path.open("rb") as file:
                text = file.read(SIZE_MAX + 1)
            act = msgspec.json.decode(text, type=SwitchAct)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if len(text) > SIZE_MAX or act.serial < self._newest:
            return None
        self._newest = act.serial
        return act

    def state(self) -> SwitchState:
        """The state now; ``REDUCING`` unless a whole and newest act says otherwise."""
        act = self.act()
        return SwitchState.REDUCING if act is None else act.state

    async def read(self) -> SwitchState:
        """The state now, for whoever knows only the port."""
        return self.state()

    async def changes(self) -> AsyncIterator[SwitchState]:
        """Every change from now on, each within 50 ms."""
        async for event in self._events(self.act()):
            yield event.state

    async def events(self) -> AsyncIterator[SwitchChanged]:
        """What the engine is to be told: first how the switch stands, then every act and every loss of the file.

        Only a newer act that says ``ACTIVE`` is a resume; how the switch stands at the start and the same act read
        again after trouble are not, so neither lifts a halt.
        """
        act = self.act()
        yield self._told(act)
        async for event in self._events(act):
            yield event

    async def _events(self, last: SwitchAct | None) -> AsyncIterator[SwitchChanged]:
        # Serials are dated, so an act that turns up after trouble is a resume only if it was made since we look.
        known = last.serial if last is not None else max(self._newest, self._clock.now())
        state = SwitchState.REDUCING if last is None else last.state
        is_readable = last is not None
        while True:
            await self._clock.sleep_until(self._clock.now() + self._poll)
            act = self.act()
            if act is None and is_readable:
                log.error("stop switch cannot be read: nothing is entered", path=str(self.path))
            is_readable = act is not None
            found = SwitchState.REDUCING if act is None else act.state
            is_newer = act is not None and act.serial > known
            if act is not None:
                known = act.serial
            if is_newer or found is not state:
                state = found
                yield self._told(act, is_resume=is_newer and state is SwitchState.ACTIVE)

    def _told(self, act: SwitchAct | None, *, is_resume: bool = False) -> SwitchChanged:
        if act is None:
            return SwitchChanged(self._clock.now(), SwitchState.REDUCING)
        return SwitchChanged(self._clock.now(), act.state, is_resume, act.by, act.reason)

    # -- setting ---------------------------------------------------------------------------------------------------

    def set(self, state: SwitchState, by: str, reason: str) -> SwitchAct:
        """Turn the switch; on the platter when it returns. Stopping waits for nobody, resuming needs the switch alone.

        Raises:
            TimedOut: somebody else had a hand on the switch all the time (only when resuming).
            KimpError: it could not be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._alone() as is_alone:
                if state is SwitchState.ACTIVE and not is_alone:
                    raise TimedOut(f"another process is turning the switch {self.path}; look at it and try again")
                now, before = self._clock.now(), self.act()
                newest = max(self._newest, 0 if before is None else before.serial)
                act = SwitchAct(state, by, now, reason[:REASON_LENGTH_MAX], max(now, newest + 1))
                self._write(act)
        except OSError as error:
            raise KimpError(f"the stop switch {self.path} could not be written ({error}); end the trader") from error
        self._newest = act.serial
        return act

    def ensure_first_start(self, journal_length: int) -> None:
        """Allow entries when a trader starts for the very first time: nothing was ever traded, no switch ever stood."""
        if journal_length == 0 and not self.path.exists():
            self.set(SwitchState.ACTIVE, "first start", "journal empty")

    def _write(self, act: SwitchAct) -> None:
        # Named after the process: two that stop at the same moment must not write into each other's file.
        sketch = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        with sketch.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(msgspec.json.encode(act))
            file.flush()
            os.fsync(file.fileno())
        os.replace(sketch, self.path)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        file = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield is_taken(file, TRY_PAUSE_S)
        finally:
            os.close(file)
