"""What markets and venues themselves may do to us: crashes, drained books, slow lines, maintenance, a missing rate."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from kimp.research.chaos.monkey import CALM, Dials, swarm
from kimp.shared.domain.instruments import Venue
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.errors import ConfigurationError


class Incident(StrEnum):
    """One kind of trouble."""

    FLASH_CRASH = "flash_crash"
    LIQUIDITY_DRY = "liquidity_dry"
    LATENCY_SPIKE = "latency_spike"
    UPBIT_MAINTENANCE = "upbit_maintenance"
    BINANCE_MAINTENANCE = "binance_maintenance"
    SHORT_LIQUIDATED = "short_liquidated"
    FX_EXPIRED = "fx_expired"
    MARTIAL_LAW = "martial_law"
    FEED_LOST = "feed_lost"
    CRASH = "crash"


LASTS: dict[Incident, tuple[Nanos, Nanos]] = {
    Incident.FLASH_CRASH: (MINUTE, 5 * MINUTE),
    Incident.LIQUIDITY_DRY: (MINUTE, 10 * MINUTE),
    Incident.LATENCY_SPIKE: (MINUTE, 5 * MINUTE),
    Incident.UPBIT_MAINTENANCE: (MINUTE, 5 * MINUTE),
    Incident.BINANCE_MAINTENANCE: (MINUTE, 5 * MINUTE),
    Incident.SHORT_LIQUIDATED: (5 * MINUTE, 10 * MINUTE),
    Incident.FX_EXPIRED: (3 * MINUTE, 8 * MINUTE),
    Incident.MARTIAL_LAW: (5 * MINUTE, 15 * MINUTE),
    Incident.FEED_LOST: (10 * SECOND, 2 * MINUTE),
    Incident.CRASH: (SECOND, 30 * SECOND),
}
"""Shortest and longest duration of each."""

MAINTAINED = {Incident.UPBIT_MAINTENANCE: Venue.UPBIT, Incident.BINANCE_MAINTENANCE: Venue.BINANCE}

LIKELIHOOD = 0.3
"""Of each incident to befall one storm, in a swarm."""


@dataclass(frozen=True, slots=True)
class Episode:
    """An incident with its time: from ``start`` until before ``end`` (nanoseconds of virtual time)."""

    incident: Incident
    start: Nanos
    end: Nanos

    def progress(self, at: Nanos) -> float | None:
        """How far it has come, 0 to 1; ``None`` while it is not on."""
        return (at - self.start) / (self.end - self.start) if self.start <= at < self.end else None


@dataclass(frozen=True, slots=True)
class Weather:
    """Everything that is going to go wrong in one storm."""

    dials: Dials
    episodes: tuple[Episode, ...]
    book_shift: float

    def on(self, incident: Incident, at: Nanos) -> bool:
        """Whether that is going on now."""
        return any(episode.incident is incident and episode.start <= at < episode.end for episode in self.episodes)


PRESETS: dict[str, tuple[Dials, tuple[Incident, ...], float]] = {
    "calm": (CALM, (), 0.0),
    "flash_crash": (CALM, (Incident.FLASH_CRASH,) * 3, 0.2),
    "liquidity_dry": (CALM, (Incident.LIQUIDITY_DRY,) * 3, 0.5),
    "latency_spike": (CALM, (Incident.LATENCY_SPIKE,) * 3, 0.2),
    "partial_fill": (CALM, (), 1.0),
    "order_rejection": (Dials(rejected=0.3), (), 0.0),
    "unknown_answers": (Dials(unknown=0.3, overdue=0.2, silent=0.6, read_lag=0.5), (), 0.0),
    "late_reports": (Dials(silent=0.5, hidden_fills=0.5, late_fills=0.5, doubled=0.5), (), 0.0),
    "one_unknown_answer": (Dials(unknown=1.0, silent=1.0, unknown_max=1), (), 0.0),
    "one_leg_failure": (Dials(lost=0.3, rejected=0.2), (), 0.0),
    "exchange_maintenance": (CALM, (Incident.UPBIT_MAINTENANCE, Incident.BINANCE_MAINTENANCE), 0.2),
    "martial_law": (Dials(unknown=0.1, lost=0.1), (Incident.MARTIAL_LAW, Incident.UPBIT_MAINTENANCE), 0.5),
    "short_liquidated": (CALM, (Incident.SHORT_LIQUIDATED,), 0.1),
    "fx_expired": (CALM, (Incident.FX_EXPIRED,) * 3, 0.1),
    "crash": (Dials(unknown=0.1), (Incident.CRASH,) * 6, 0.1),
}
"""Named weathers: dials, incidents and how often the books change while orders are under way."""


def weather(seed: int, start: Nanos, end: Nanos, preset: str | None = None) -> Weather:
    """The weather of a seed between two moments: a swarm of everything, or one of the ``PRESETS``.

    Raises:
        ConfigurationError: there is no preset of that name.
    """
    dice = Random(f"weather {seed}")
    if preset is None:
        incidents = tuple(incident for incident in Incident if dice.random() < LIKELIHOOD)
        dials, book_shift = swarm(dice), dice.random() * 0.8
    elif preset in PRESETS:
        dials, incidents, book_shift = PRESETS[preset]
    else:
        raise ConfigurationError(f"there is no storm called {preset!r}; choose one of {', '.join(PRESETS)}")
    episodes = []
    for incident in incidents:
        shortest, longest = LASTS[incident]
        began = dice.randrange(start, max(start + 1, end - longest))
        episodes.append(Episode(incident, began, began + dice.randrange(shortest, longest)))
    return Weather(dials, tuple(episodes), book_shift)
