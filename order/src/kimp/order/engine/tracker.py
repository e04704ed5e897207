"""What became of each order, by the venue's proof and never by assumption."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Accepted, Order, Outcome, Rejected
from kimp.shared.domain.positions import Purpose
from kimp.shared.domain.time import MINUTE, Nanos

LOST_WATCH = 2 * MINUTE
"""How long after its intent a lost order is still asked about. Denials may have been read before it arrived, or travel
late; if it did execute after all, its fills must be found even when the venue never pushes them.
"""


@dataclass(slots=True)
class TrackedOrder:
    """One order from intent to proof.

    ``executed`` is the quantity the venue proved to be final; until the fills seen reach it the order is not settled,
    because a terminal status may arrive before its fills. ``misses`` and ``asked`` count denials and questions of this
    run only.
    """

    order: Order
    slot: str
    signal_id: str
    purpose: Purpose
    reference: Decimal
    intended_at: Nanos
    outcome: Outcome | None = None
    executed: Decimal | None = None
    filled: Decimal = ZERO
    is_lost: bool = False
    misses: int = field(default=0, compare=False)
    asked: int = field(default=0, compare=False)
    is_alerted: bool = field(default=False, compare=False)

    @property
    def is_settled(self) -> bool:
        """Whether everything about this order is proven."""
        return self.executed is not None and self.filled >= self.executed

    @property
    def is_proven_to_exist(self) -> bool:
        """Whether the venue ever acknowledged it: then "no such order" is read lag, not an answer."""
        return isinstance(self.outcome, Accepted) or self.filled > ZERO or bool(self.executed)

    @property
    def open_quantity(self) -> Decimal:
        """How much of it may still fill, as far as we know (base coins)."""
        return ZERO if self.is_settled else self.order.quantity - self.filled

    def is_watched(self, at: Nanos) -> bool:
        """Whether it was given up so lately that asking on is worth it."""
        return self.is_lost and at < self.intended_at + LOST_WATCH

    def take_outcome(self, outcome: Outcome) -> None:
        """Note what the venue answered. A rejection is proof that nothing executed, unless there was proof of the
        contrary before; an acceptance finds a lost order again.
        """
        if isinstance(outcome, Rejected) and self.is_proven_to_exist:
            return
        if isinstance(outcome, Accepted) and self.is_lost:
            self.is_lost, self.executed = False, None
        if self.outcome is None or not isinstance(self.outcome, Accepted | Rejected):
            self.outcome = outcome
        if isinstance(outcome, Rejected) and self.executed is None:
            self.executed = ZERO

    def lose(self) -> None:
        """Take it that the order never arrived: denied often and long enough, and nothing ever spoke for it."""
        self.is_lost, self.executed = True, ZERO
