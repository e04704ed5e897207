"""What will reach the engine, before it is known when: an event that lacks nothing but the moment of its arrival."""

from __future__ import annotations

from collections.abc import Callable

from kimp.shared.domain.funding import FundingPayment
from kimp.shared.domain.orders import ClientId, Fill, OrderReport, Outcome
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.events import Event, FundingPaid, OrderAnswered, OrderFilled, OrderReported, TimerFired

EventAt = Callable[[Nanos], Event]
"""Makes the event of the moment it arrives at."""


def answered(client_id: ClientId, outcome: Outcome) -> EventAt:
    """A venue's answer to an order, or the lack of one."""
    return lambda at: OrderAnswered(at, client_id, outcome)


def reported(report: OrderReport) -> EventAt:
    """A venue's word on an order."""
    return lambda at: OrderReported(at, report)


def filled(fill: Fill) -> EventAt:
    """A trade."""
    return lambda at: OrderFilled(at, fill)


def paid(payment: FundingPayment) -> EventAt:
    """A funding settlement."""
    return lambda at: FundingPaid(at, payment)


def woken(timer: str) -> EventAt:
    """A timer the engine has set."""
    return lambda at: TimerFired(at, timer)
