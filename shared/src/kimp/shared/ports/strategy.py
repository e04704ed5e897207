"""A strategy as a port: a pure decision over what it has observed."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

import msgspec

from kimp.shared.domain.signals import Direction, Signal
from kimp.shared.domain.time import Nanos


class MarketView(msgspec.Struct, frozen=True, gc=False):
    """What a strategy may know at ``at``.

    ``premium`` is that of buying in Korea and ``leave_premium`` that of selling there (fractions, on the basis the
    strategy was configured with; at the touch, or executable for the real size when the engine asks again before
    entering). ``funding_rate`` is the last known rate per settlement, ``None`` while unknown. ``usdkrw`` is the
    official rate, ``None`` while not valid.
    """

    at: Nanos
    premium: Decimal
    leave_premium: Decimal
    funding_rate: Decimal | None
    usdkrw: Decimal | None


class PositionView(msgspec.Struct, frozen=True, gc=False):
    """The open pair as a strategy may know it: ``net`` is what closing at executable prices would earn now (KRW), after
    everything.

    ``net`` is ``None`` while no trustworthy prices exist. ``capital`` is all the money at work or waiting (KRW, at
    cost); ``filled_share`` how much of a full-size position is on.
    """

    direction: Direction
    opened_at: Nanos
    net: Decimal | None
    capital: Decimal
    filled_share: Decimal


class Condition(msgspec.Struct, frozen=True):
    """One comparison behind a decision, for people: ``actual`` is compared with ``needed`` by ``relation`` (``>``, ``<``).

    ``None`` means not known (yet), and then it does not hold. Fractions and KRW as in the views.
    """

    name: str
    actual: Decimal | None
    relation: str
    needed: Decimal | None
    holds: bool


class Strategy(Protocol):
    """Decides; keeps state only as a fold over the views it was given, so that replaying history restores it."""

    @property
    def name(self) -> str:
        """The name it is registered and journaled under."""
        ...

    def observe(self, view: MarketView) -> None:
        """Take note of a view: windows and indicators are updated here and nowhere else."""
        ...

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        """What to do now; without side effects."""
        ...

    def explain(self, view: MarketView, position: PositionView | None) -> tuple[Condition, ...]:
        """Every comparison ``decide`` makes or would make on these views, with its figures; without side effects."""
        ...

    @property
    def warm_up(self) -> Nanos:
        """How much history its windows need before it may be asked; zero without windows."""
        ...
