"""Positions and plans as tuples of legs, and what a position has earned.

A leg keeps its signed quantity and its signed cash flow, nothing averaged and nothing divided: marked at ``m`` it has
earned ``cash + quantity · m``. So partial fills, repairs and exits in pieces need no special case, and the sums are
exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from kimp.shared.domain.instruments import InstrumentId, Side
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import Fill
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import Nanos


class Action(StrEnum):
    """What a plan is for."""

    ENTER = "enter"
    EXIT = "exit"
    REPAIR = "repair"


class Purpose(StrEnum):
    """Why an order left, or a fill happened. Only the last three may realise a loss, and each is alerted."""

    ENTER = "enter"
    EXIT = "exit"
    REPAIR = "repair"
    FOREIGN = "foreign"
    OVERRIDE = "override"


class LegPlan(msgspec.Struct, frozen=True):
    """One order of a plan: ``quantity`` base coins at ``limit`` or better; ``reference`` is the mid when it was
    decided.
    """

    instrument_id: InstrumentId
    side: Side
    quantity: Decimal
    limit: Decimal
    reference: Decimal
    reduce_only: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What was decided, in full, before anything is sent.

    ``krw_rate`` is the KRW per USDT money was valued at when it was decided, ``signal_rate`` the one the strategy compared.
    """

    signal_id: str
    strategy: str
    symbol: str
    action: Action
    direction: Direction
    legs: tuple[LegPlan, ...]
    decided_at: Nanos
    krw_rate: Decimal
    signal_rate: Decimal
    reason: str


class LegPosition(msgspec.Struct, frozen=True):
    """One leg: signed ``quantity`` (base coins) and signed ``cash`` (its quote asset: sales add, purchases take).

    ``reference_cash`` is the same at the prices decided on, ``reference_cash_krw`` that at the FX of each fill: the
    difference to ``cash`` is slippage, and between the two is what the exchange rate did. ``fees_krw`` is positive when
    paid.
    """

    instrument_id: InstrumentId
    quantity: Decimal = ZERO
    cash: Decimal = ZERO
    reference_cash: Decimal = ZERO
    reference_cash_krw: Decimal = ZERO
    fees_krw: Decimal = ZERO

    def with_fill(self, fill: Fill, reference: Decimal, krw_rate: Decimal) -> LegPosition:
        """This leg after one more fill; ``krw_rate`` is KRW per unit of the quote asset, the fee being in the quote
        asset.
        """
        signed = fill.quantity * fill.side.sign
        return LegPosition(
            instrument_id=self.instrument_id,
            quantity=self.quantity + signed,
            cash=self.cash - signed * fill.price,
            reference_cash=self.reference_cash - signed * reference,
            reference_cash_krw=self.reference_cash_krw - signed * reference * krw_rate,
            fees_krw=self.fees_krw + fill.fee.value * krw_rate,
        )


class Breakdown(msgspec.Struct, frozen=True):
    """Where a pair's money came from, in KRW; costs are negative and ``net`` is the exact sum of the others."""

    premium: Decimal
    fx: Decimal
    funding: Decimal
    fees: Decimal
    slippage: Decimal

    @property
    def net(self) -> Decimal:
        """What the pair earned after everything."""
        return self.premium + self.fx + self.funding + self.fees + self.slippage


class Mark(msgspec.Struct, frozen=True):
    """A leg's price now and the KRW worth of its quote asset (1 for a KRW leg)."""

    price: Decimal
    krw_rate: Decimal


class Position(msgspec.Struct, frozen=True):
    """Everything held and earned under one signal, from its first fill until all legs are flat."""

    signal_id: str
    strategy: str
    symbol: str
    direction: Direction
    legs: tuple[LegPosition, ...]
    opened_at: Nanos
    funding_krw: Decimal = ZERO
    funded_at: Nanos = 0
    """When the last funding settlement in the books was; a later one may be charged and not yet known."""

    @property
    def exposure(self) -> Decimal:
        """Coins not hedged: the sum of the legs, positive when long. A one-leg position is meant to be exposed."""
        return sum((leg.quantity for leg in self.legs), ZERO) if len(self.legs) > 1 else ZERO

    @property
    def is_flat(self) -> bool:
        """Whether nothing is held on any leg."""
        return all(leg.quantity == ZERO for leg in self.legs)

    def leg(self, instrument_id: InstrumentId) -> LegPosition:
        """The leg of that instrument.

        Raises:
            KeyError: the position has no such leg.
        """
        for leg in self.legs:
            if leg.instrument_id == instrument_id:
                return leg
        raise KeyError(f"position {self.signal_id} has no leg {instrument_id}")

    def with_fill(self, fill: Fill, reference: Decimal, krw_rate: Decimal) -> Position:
        """The position after one more fill on one of its legs.

        Raises:
            KeyError: the position has no such leg.
        """
        filled = self.leg(fill.instrument_id)
        legs = tuple(leg.with_fill(fill, reference, krw_rate) if leg is filled else leg for leg in self.legs)
        return msgspec.structs.replace(self, legs=legs)

    def with_funding(self, krw: Decimal, at: Nanos = 0) -> Position:
        """The position after a funding settlement at ``at``, worth ``krw`` won at that moment."""
        return msgspec.structs.replace(self, funding_krw=self.funding_krw + krw, funded_at=max(self.funded_at, at))

    def breakdown(self, marks: Mapping[InstrumentId, Mark]) -> Breakdown:
        """Earned so far with what is still held valued at ``marks``; the parts add up exactly.

        ``net = spot P&L (KRW) + perp P&L (USDT) · F1 + Σ funding · F(at settlement) − fees`` (docs/strategy.md). A flat
        leg's mark matters only by its ``krw_rate``.
        """
        premium = fx = slippage = fees = ZERO
        for leg in self.legs:
            mark = marks[leg.instrument_id]
            held = leg.quantity * mark.price * mark.krw_rate
            premium += leg.reference_cash_krw + held
            fx += leg.reference_cash * mark.krw_rate - leg.reference_cash_krw
            slippage += (leg.cash - leg.reference_cash) * mark.krw_rate
            fees -= leg.fees_krw
        return Breakdown(premium, fx, self.funding_krw, fees, slippage)


class ExitVerdict(msgspec.Struct, frozen=True):
    """Whether the pair may be closed now, and every figure behind the answer (KRW unless said otherwise).

    ``net`` is at executable prices, ``worst_net`` if both legs fill at their bounds; ``bounds`` are those limits per
    leg. ``break_even_premium`` is the Korean exit premium (fraction, valuation basis) at which net is zero with the
    perpetual where it is now; ``carry_per_day`` the funding a day at the last rate; ``days_to_break_even`` how long
    that carry needs (``None`` when it never will).
    """

    is_allowed: bool
    refusals: tuple[str, ...]
    breakdown: Breakdown | None
    net: Decimal | None
    worst_net: Decimal | None
    bounds: tuple[tuple[InstrumentId, Decimal], ...]
    premium_now: Decimal | None
    break_even_premium: Decimal | None
    carry_per_day: Decimal | None
    days_to_break_even: Decimal | None
    held_for: Nanos
