"""A strategy for storms only: it enters whenever it is flat and always asks to leave, so the engine has to say no."""

from __future__ import annotations

from decimal import Decimal

from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import Nanos
from kimp.shared.ports.strategy import Condition, MarketView, PositionView

FULL = Decimal("0.9")
"""Above this share of a full position no further tranche is asked for."""


class EagerStrategy:
    """Remembers nothing. ``share`` below one enters in tranches; from ``rests_from`` on it does nothing any more."""

    def __init__(self, direction: Direction, share: Decimal = ONE, rests_from: Nanos | None = None) -> None:
        self.direction = direction
        self.share = share
        self.rests_from = rests_from

    @property
    def name(self) -> str:
        """The name it is journaled under."""
        return "eager"

    def observe(self, view: MarketView) -> None:
        """Nothing to remember."""

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        """Enter on the better half of premiums, and otherwise try to leave."""
        if self.rests_from is not None and view.at >= self.rests_from:
            return Hold("the storm is over")
        is_long = self.direction is Direction.LONG_PREMIUM
        is_good = view.premium < ZERO if is_long else view.leave_premium > ZERO
        if position is None:
            return Enter(self.direction, "eager", self.share) if is_good else Hold("not now")
        if self.share < ONE and is_good and position.filled_share < FULL:
            return Enter(self.direction, "eager", self.share)
        return Exit("eager")

    def explain(self, view: MarketView, position: PositionView | None) -> tuple[Condition, ...]:  # noqa: ARG002
        """There is nothing to explain."""
        return ()

    @property
    def warm_up(self) -> Nanos:
        """Needs no past."""
        return 0
