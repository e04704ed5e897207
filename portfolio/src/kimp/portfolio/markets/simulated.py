"""A market that never was, live: both venues, exchange rates and funding from one seed."""

from __future__ import annotations

from kimp.portfolio.markets.bar_market import EVERY, BarMarket
from kimp.research.simulation.market import simulate_market
from kimp.research.simulation.parameters import CALIBRATED, MarketParameters
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.time import DAY, Nanos
from kimp.shared.ports.clock import Clock

DAYS = 60
"""How long a simulated market goes on unless told otherwise; a year takes half a second to make."""


class SimulatedMarket(BarMarket):
    """Minutes of ``simulate_market`` from the clock's day on, shown as ticks; the same seed and day tell the same story.

    Args:
        pair: both legs' instruments.
        clock: a faster clock makes a faster market.
        seed: of everything.
        begins: the first moment of its data, midnight UTC of the clock's day unless given.
        days: how long it lasts.
        start: where in its data to enter; ``None`` is the clock's time of day.
        every: between two books of a leg (nanoseconds).
        parameters: of the simulation.
    """

    def __init__(
        self,
        pair: Pair,
        clock: Clock,
        *,
        seed: int,
        begins: Nanos | None = None,
        days: int = DAYS,
        start: Nanos | None = None,
        every: Nanos = EVERY,
        parameters: MarketParameters = CALIBRATED,
    ) -> None:
        begins = clock.now() // DAY * DAY if begins is None else begins
        data = simulate_market(seed=seed, start=begins, end=begins + days * DAY, parameters=parameters)
        super().__init__(data, pair, clock, seed=seed, start=start, every=every)
