"""How often a trader looks at its own small files and says how it is."""

from __future__ import annotations

from dataclasses import dataclass

from kimp.order.operators.mailbox import LOOK_EVERY
from kimp.order.runtime.pulse import BEAT
from kimp.order.runtime.switch import POLL
from kimp.shared.domain.time import Nanos


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Pauses in the clock's time (nanoseconds): on a clock that runs faster than the day they should be as much longer,
    or a simulated week is spent looking at a stop switch that nobody turns.
    """

    switch: Nanos = POLL
    mailbox: Nanos = LOOK_EVERY
    pulse: Nanos = BEAT


LIVE = Rhythm()
"""That of a trader on the real clock."""
