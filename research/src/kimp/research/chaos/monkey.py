"""Decides by a seed what goes wrong between the engine and the venues: the same seed, the same misfortunes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from math import inf
from random import Random

from kimp.research.simulation.faults import FINE, PROMPT, Fault, Lag
from kimp.shared.domain.orders import ClientId, Order, Rejected, Unknown
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos

DELAY_MAX: Nanos = 4 * SECOND
"""A request older than this is refused by the venue itself: Binance's recvWindow is 5 s."""

READ_LAG_MAX: Nanos = 4 * SECOND
"""How long after the first question a venue may still deny an order it has taken."""

DENIALS_MAX = 4


@dataclass(frozen=True, slots=True)
class Dials:
    """How likely each fault is (fractions of requests, questions or news); all zero is a quiet day.

    ``lost``: the request never arrives. ``unknown``: it executes, and its answer is lost. ``overdue``: the answer is
    given up on, and the request arrives seconds later. ``rejected``: a gateway refuses it. ``delayed``: it travels
    slowly. ``doubled``: its reports come twice. ``silent``: the private stream says nothing of it. ``late_fills``: its
    final report comes before its fills. ``read_lag``: the venue denies it for a while. ``lost_query``: a question gets
    no answer. ``hidden_fills``: an answer comes without the fills. ``late_news`` and ``doubled_news``: funding and
    liquidations. ``unknown_max`` stops losing answers after so many.
    """

    lost: float = 0.0
    unknown: float = 0.0
    overdue: float = 0.0
    rejected: float = 0.0
    delayed: float = 0.0
    doubled: float = 0.0
    silent: float = 0.0
    late_fills: float = 0.0
    read_lag: float = 0.0
    lost_query: float = 0.0
    hidden_fills: float = 0.0
    late_news: float = 0.0
    doubled_news: float = 0.0
    unknown_max: float = inf


STRONGEST = Dials(
    lost=0.25,
    unknown=0.35,
    overdue=0.15,
    rejected=0.35,
    delayed=0.4,
    doubled=0.5,
    silent=0.6,
    late_fills=0.4,
    read_lag=0.5,
    lost_query=0.5,
    hidden_fills=0.5,
    late_news=0.5,
    doubled_news=0.5,
)
"""Each dial at its hardest; a swarm draws below these."""

CALM = Dials()


def swarm(dice: Random, strongest: Dials = STRONGEST) -> Dials:
    """A draw of which faults are on and how hard: about half of them, so that each is also seen without the others."""
    drawn = {}
    for dial in fields(Dials):
        if dial.name == "unknown_max":
            continue
        is_on, strength = dice.random() < 0.5, dice.random()
        drawn[dial.name] = getattr(strongest, dial.name) * strength if is_on else 0.0
    return Dials(**drawn)


class ChaosMonkey:
    """Implements ``Faults`` by a seed. ``fired`` counts what really happened, so that a storm can prove it stormed."""

    def __init__(self, seed: int, dials: Dials) -> None:
        self.dials = dials
        self.fired: Counter[str] = Counter()
        self._random = Random(f"monkey {seed}")
        self._lagging: dict[ClientId, tuple[Nanos, int]] = {}

    def heal(self) -> None:
        """From now on nothing goes wrong any more."""
        self.dials = CALM
        self._lagging.clear()

    def draw(self, order: Order) -> Fault:
        """How this request fares."""
        dials, delay = self.dials, 0
        if dials is CALM:
            return FINE
        if self._fires("delayed", dials.delayed):
            delay = self._within(50 * MILLISECOND, DELAY_MAX)
        if self._fires("lost", dials.lost):
            return Fault(executes=False, delay=delay)
        if self._fires("rejected", dials.rejected):
            return Fault(executes=False, answer=Rejected("gateway", f"{order.client_id} was refused"), delay=delay)
        answer, gives_up = None, False
        if self._fires("overdue", dials.overdue):
            answer, gives_up, delay = Unknown("timeout"), True, self._within(SECOND, DELAY_MAX)
        elif self.fired["unknown"] < dials.unknown_max and self._fires("unknown", dials.unknown):
            answer = Unknown("reset")
        late = self._fires("late_fills", dials.late_fills)
        return Fault(
            answer=answer,
            delay=delay,
            gives_up=gives_up,
            copies=2 if self._fires("doubled", dials.doubled) else 1,
            is_silent=self._fires("silent", dials.silent),
            fills_late=self._within(MILLISECOND, 2 * SECOND) if late else 0,
        )

    def loses_query(self, client_id: ClientId) -> bool:  # noqa: ARG002
        """Whether a question about this order gets no answer at all."""
        return self._fires("lost_query", self.dials.lost_query)

    def denies(self, client_id: ClientId, at: Nanos) -> bool:
        """Whether the venue denies this order: a lag is drawn at the first question, bounded in time and in number."""
        if self.dials is CALM:
            return False
        if client_id not in self._lagging:
            lags = self._random.random() < self.dials.read_lag
            until = at + self._within(MILLISECOND, READ_LAG_MAX) if lags else at
            self._lagging[client_id] = (until, self._random.randint(1, DENIALS_MAX) if lags else 0)
        until, left = self._lagging[client_id]
        if at >= until or left == 0:
            return False
        self._lagging[client_id] = (until, left - 1)
        self.fired["read_lag"] += 1
        return True

    def hides_fills(self, client_id: ClientId) -> bool:  # noqa: ARG002
        """Whether an answer comes without its fills."""
        return self._fires("hidden_fills", self.dials.hidden_fills)

    def news(self) -> Lag:
        """How the next funding or liquidation is reported."""
        if self.dials is CALM:
            return PROMPT
        late = self._fires("late_news", self.dials.late_news)
        copies = 2 if self._fires("doubled_news", self.dials.doubled_news) else 1
        return Lag(self._within(MILLISECOND, 3 * SECOND) if late else 0, copies)

    def _fires(self, name: str, likelihood: float) -> bool:
        if likelihood <= 0.0 or self._random.random() >= likelihood:
            return False
        self.fired[name] += 1
        return True

    def _within(self, least: Nanos, most: Nanos) -> Nanos:
        return self._random.randrange(least, most)
