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
    (``None``: the truth, or a timeout when it never arrived). ``delay``: extra travel time. ``gives_up``: the answer
    is given without waiting for the venue, so the order may arrive long after its timeout. ``copies``: how often its
    fills are reported. ``is_silent``: the private stream says nothing of it. ``fills_late``: how long after the
    order's final report its fills arrive.
    """

    executes: bool = True
    answer: Outcome | None = None
    delay: Nanos = 0
    gives_up: bool = False
    copies: int = 1
    is_silent: bool = False
    fills_late: Nanos = 0


@dataclass(frozen=True, slots=True)
class Lag:
    """How one piece of news that nobody asked for (funding, liquidation) fares: how late it comes and how often."""

    delay: Nanos = 0
    copies: int = 1


FINE = Fault()
PROMPT = Lag()


class Faults(Protocol):
    """Decides what goes wrong."""

    def draw(self, order: Order) -> Fault:
        """How this request fares."""
        ...

    def loses_query(self, client_id: ClientId) -> bool:
        """Whether a question about this order gets no answer at all."""
        ...

    def denies(self, client_id: ClientId, at: Nanos) -> bool:
        """Whether the venue says it does not know this order though it may (read lag)."""
        ...

    def hides_fills(self, client_id: ClientId) -> bool:
        """Whether the venue answers a question with the order's state but not yet with its fills."""
        ...

    def news(self) -> Lag:
        """How the next piece of news on the private stream fares."""
        ...


class NoFaults:
    """Nothing goes wrong."""

    def draw(self, order: Order) -> Fault:  # noqa: ARG002
        """Every request arrives and is answered truly."""
        return FINE

    def loses_query(self, client_id: ClientId) -> bool:  # noqa: ARG002
        """Every question is answered."""
        return False

    def denies(self, client_id: ClientId, at: Nanos) -> bool:  # noqa: ARG002
        """The venue always knows its orders."""
        return False

    def hides_fills(self, client_id: ClientId) -> bool:  # noqa: ARG002
        """Every answer names its fills."""
        return False

    def news(self) -> Lag:
        """At once, and once."""
        return PROMPT
