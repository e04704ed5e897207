"""How the owner's orders reach the running trader: one small file each, taken once, answered beside it.

Files need no port and no password, survive a restart of either side, and can be read by whoever audits them later. Only
who may write into the trader's own directory can order anything.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.errors import KimpError
from kimp.shared.logs import get
from kimp.shared.messages.events import CloseOrdered
from kimp.shared.ports.clock import Clock

VALID_FOR: Nanos = MINUTE
"""An order to close is meant now: one that waited longer (the trader was down) is answered, never followed."""

CODE_VALID_FOR: Nanos = 2 * MINUTE
"""Between asking what closing would cost and confirming it: prices an owner saw longer ago are not what he confirms."""

LOOK_EVERY: Nanos = SECOND // 5
UNTAKEN_AFTER: Nanos = 2 * SECOND
"""The engine answers an order at once; one it said nothing to was for a slot it does not have."""

WAITING_MAX = 100
"""Orders looked at together; more than a hand can type is a mistake and is left for the next look."""


class CloseRequest(msgspec.Struct, frozen=True):
    """The owner's order to close one slot's pair: ``command_id`` makes it count once."""

    command_id: str
    slot: str
    actor: str
    reason: str
    at: Nanos


class CloseAnswer(msgspec.Struct, frozen=True):
    """What became of an order: ``refusals`` empty means that both legs were sent."""

    command_id: str
    at: Nanos
    refusals: tuple[str, ...]


class Mailbox:
    """Orders in, answers out, both in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = get("kimp.order.mailbox")

    def order(self, request: CloseRequest) -> None:
        """Put an order there for the trader to find.

        Raises:
            KimpError: the directory cannot be written to.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            _put(self._order_file(request.command_id), msgspec.json.encode(request))
        except OSError as error:
            raise KimpError(f"the order cannot be written to {self._directory}: {error.strerror}") from error

    def waiting(self) -> list[CloseRequest]:
        """Orders not answered yet, oldest first; one that cannot be read is put aside and told."""
        found = []
        for path in sorted(self._directory.glob("*.order.json"))[:WAITING_MAX]:
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=CloseRequest))
            except (OSError, msgspec.MsgspecError) as error:
                self._log.error("an order cannot be read and is put aside", file=path.name, reason=str(error))
                path.replace(path.with_suffix(".unreadable"))
        return sorted(found, key=lambda request: (request.at, request.command_id))

    def answer(self, answer: CloseAnswer) -> None:
        """Say what became of an order, and take it out of the box."""
        _put(self._answer_file(answer.command_id), msgspec.json.encode(answer))
        self._order_file(answer.command_id).unlink(missing_ok=True)

    def answered(self, command_id: str) -> CloseAnswer | None:
        """The answer to an order, ``None`` while there is none."""
        try:
            return msgspec.json.decode(self._answer_file(command_id).read_bytes(), type=CloseAnswer)
        except (OSError, msgspec.MsgspecError):
            return None

    def _order_file(self, command_id: str) -> Path:
        return self._directory / f"{command_id}.order.json"

    def _answer_file(self, command_id: str) -> Path:
        return self._directory / f"{command_id}.answer.json"


class Postman:
    """Brings the owner's orders to the engine, and its answers back.

    Args:
        mailbox: where orders lie.
        commands: the engine's own list of orders taken, with their refusals: what stands there is answered.
        deliver: hands an event to the running engine.
        clock: the trader's.
        every: pause between two looks, in the clock's time (nanoseconds).
    """

    name = "postman"

    def __init__(
        self,
        mailbox: Mailbox,
        commands: Mapping[str, tuple[str, ...]],
        deliver: Callable[[CloseOrdered], Awaitable[None]],
        clock: Clock,
        *,
        every: Nanos = LOOK_EVERY,
    ) -> None:
        self._every = every
        self._mailbox = mailbox
        self._commands = commands
        self._deliver = deliver
        self._clock = clock
        self._delivered: dict[str, Nanos] = {}

    async def run(self) -> None:
        """Look for orders until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep_until(self._clock.now() + self._every)

    async def look(self) -> None:
        """Deliver what is new, answer what was taken, refuse what is too old."""
        now = self._clock.now()
        for request in self._mailbox.waiting():
            refusals = self._commands.get(request.command_id)
            if refusals is not None:
                self._mailbox.answer(CloseAnswer(request.command_id, now, refusals))
            elif request.command_id not in self._delivered:
                await self._bring(request, now)
            elif now > self._delivered[request.command_id] + UNTAKEN_AFTER:
                self._mailbox.answer(CloseAnswer(request.command_id, now, ("no_such_slot",)))

    async def _bring(self, request: CloseRequest, now: Nanos) -> None:
        if now > request.at + VALID_FOR:
            self._mailbox.answer(CloseAnswer(request.command_id, now, ("too_old",)))
            return
        self._delivered[request.command_id] = now
        await self._deliver(CloseOrdered(now, request.command_id, request.slot, request.actor, request.reason))


class Confirmation:
    """The second step of what cannot be undone: a code, shown once and good for two minutes."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._file = directory / "confirmation.json"
        self._clock = clock

    def offer(self, code: str, slots: tuple[str, ...]) -> None:
        """Remember what the code is for; a later offer replaces it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        _put(self._file, msgspec.json.encode(_Offer(code, slots, self._clock.now())))

    def take(self, code: str) -> tuple[str, ...] | None:
        """The slots that code was offered for, once; ``None`` when it is wrong, used or too old."""
        try:
            offer = msgspec.json.decode(self._file.read_bytes(), type=_Offer)
        except (OSError, msgspec.MsgspecError):
            return None
        if offer.code != code or self._clock.now() > offer.at + CODE_VALID_FOR:
            return None
        self._file.unlink(missing_ok=True)
        return offer.slots


class _Offer(msgspec.Struct, frozen=True):
    code: str
    slots: tuple[str, ...]
    at: Nanos


def _put(path: Path, content: bytes) -> None:
    """Write a whole file or none: a reader must never see half an order."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
