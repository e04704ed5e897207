"""An order as a simulated venue keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Fill, Order


@dataclass(slots=True)
class VenueOrder:
    """An order, what of it filled, and whether it is over."""

    order: Order
    venue_order_id: str
    fills: list[Fill] = field(default_factory=list)
    is_done: bool = False

    @property
    def executed(self) -> Decimal:
        """Base coins filled so far."""
        return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def left(self) -> Decimal:
        """Base coins still wanted."""
        return self.order.quantity - self.executed
