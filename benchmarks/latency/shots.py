"""One signal and when its requests were on the wire."""

from __future__ import annotations

from asyncio import selector_events
from dataclasses import dataclass, field
from resource import RUSAGE_THREAD, getrusage
from time import perf_counter_ns
from typing import Any, Protocol

from kimp.shared.domain.instruments import Venue

PATHS = {b"POST /v1/orders": Venue.UPBIT, b"POST /fapi/v1/order": Venue.BINANCE}
"""How the two requests begin, whoever sends them."""


@dataclass
class Shot:
    """One signal: moments in nanoseconds of the process's own monotonic clock."""

    begun: int = 0
    preempted: int = 0
    is_disturbed: bool = False
    written: dict[Venue, int] = field(default_factory=dict)
    answered: dict[Venue, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether both orders were sent and answered."""
        return len(self.written) == len(self.answered) == len(Venue)

    def begin(self) -> None:
        """The signal is there."""
        self.preempted = getrusage(RUSAGE_THREAD).ru_nivcsw
        self.begun = perf_counter_ns()

    def write(self, venue: Venue, at: int) -> None:
        """The request of that venue is with the kernel. Disturbed: before that somebody else got our processor."""
        self.written.setdefault(venue, at)
        self.is_disturbed |= getrusage(RUSAGE_THREAD).ru_nivcsw != self.preempted


class Wire:
    """Notes when an order's bytes were handed to the kernel, whoever sends them: it sits in asyncio's own transport."""

    def __init__(self) -> None:
        self.shot = Shot()
        kind = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]  # there is no public place
        plain = kind.write

        def write(transport: Any, data: Any) -> None:
            plain(transport, data)
            at = perf_counter_ns()
            head = bytes(data[:20])
            for path, venue in PATHS.items():
                if head.startswith(path):
                    self.shot.write(venue, at)

        kind.write = write


class Contender(Protocol):
    """Something that sends both orders and returns when both are answered."""

    async def shoot(self, shot: Shot) -> None:
        """Set ``begun``, send, note the answers."""
        ...
