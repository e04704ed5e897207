"""What a running trader counts and measures of itself, for status and metrics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kimp.shared.domain.time import Nanos

SAMPLES_MAX = 1_000
"""Measurements kept: some hundred pairs, enough for a 99th percentile."""


@dataclass(frozen=True, slots=True)
class OrderSample:
    """One effect that sent orders: ``started`` from the decision to the last of its requests, ``skew`` between them."""

    at: Nanos
    orders: int
    started: Nanos
    skew: Nanos


@dataclass(slots=True)
class Counters:
    """Since the start of the run; durations in nanoseconds, the newest measurements last.

    ``queue_high_water`` is the longest the order lane has been, ``coalesced`` how many market events were overtaken,
    ``answer_latencies`` the time from an order's request to its answer.
    """

    events: int = 0
    coalesced: int = 0
    queue_high_water: int = 0
    sendings: deque[OrderSample] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))
    answer_latencies: deque[Nanos] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))


@dataclass(slots=True)
class Sending:
    """The orders of one effect on their way out."""

    signal_at: Nanos
    orders: int
    starts: list[Nanos] = field(default_factory=list)

    def start(self, at: Nanos, counters: Counters) -> None:
        """One more request begins; the last one makes it a measurement."""
        self.starts.append(at)
        if len(self.starts) == self.orders:
            skew = max(self.starts) - min(self.starts)
            counters.sendings.append(OrderSample(self.signal_at, self.orders, at - self.signal_at, skew))
