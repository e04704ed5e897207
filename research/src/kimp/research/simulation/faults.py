"""What can go wrong with one request, as data: who draws it (a script, a seed) is somebody else's business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kimp.shared.domain.orders import ClientId, Order, Outcome
from kimp.shared.domain.time import Nanos


@dataclass(frozen=True, slots=True)
class Fault:
    """How one order request fares.

    ``executes``: whether it reaches the venue at all. ``answer``: what the engine is told instead of the truth
    (``None``: the truth, or a timeout when it never arrived). ``delay``: extra travel time. ``copies``: how often its
    fills are reported. ``is_silent``: the private stream says nothing of it.
    """

    executes: bool = True
    answer: Outcome | None = None
    delay: Nanos = 0
    copies: int = 1
    is_silent: bool = False


FINE = Fault()


class Faults(Protocol):
    """Decides what goes wrong."""

    def draw(self, order: Order) -> Fault:
        """How this request fares."""
        ...

    def loses_query(self, client_id: ClientId) -> bool:
        """Whether a question about this order gets no answer at all."""
        ...

    def denies(self, client_id: ClientId) -> bool:
        """Whether the venue says it does not know this order though it may (read lag)."""
        ...


class NoFaults:
    """Nothing goes wrong."""

    def draw(self, order: Order) -> Fault:  # noqa: ARG002
        """Every request arrives and is answered truly."""
        return FINE

    def loses_query(self, client_id: ClientId) -> bool:  # noqa: ARG002
        """Every question is answered."""
        return False

    def denies(self, client_id: ClientId) -> bool:  # noqa: ARG002
        """The venue always knows its orders."""
        return False
