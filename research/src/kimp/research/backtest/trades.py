"""Closed and open pairs as rows of a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from kimp.order.engine.desk import PairDesk
from kimp.order.engine.state import FOREIGN_SIGNAL, ClosedPair, Slot
from kimp.research.backtest.result import Trade
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.money import ONE, ZERO
from kimp.shared.domain.positions import Breakdown, Position, Purpose
from kimp.shared.domain.time import Nanos
from kimp.shared.messages.records import FillBooked, Record

Fills = list[FillBooked]

RateAt = Callable[[Nanos], Decimal]
"""KRW per USDT at a moment, on the basis the strategy compares: what premiums of a report are quoted in."""


@dataclass(slots=True)
class _Bundle:
    """Coins traded on one leg: their quantity, and their price in KRW on the signal basis."""

    pieces: list[tuple[Decimal, Decimal]] = field(default_factory=list)

    def add(self, quantity: Decimal, price: Decimal) -> None:
        self.pieces.append((quantity, price))

    def take_back(self, quantity: Decimal) -> None:
        """The latest coins are undone first: that is what a repair undoes."""
        while quantity > ZERO and self.pieces:
            last, price = self.pieces.pop()
            if last > quantity:
                self.pieces.append((last - quantity, price))
            quantity -= last

    @property
    def quantity(self) -> Decimal:
        return sum((quantity for quantity, _ in self.pieces), ZERO)

    @property
    def worth(self) -> Decimal:
        return sum((quantity * price for quantity, price in self.pieces), ZERO)


class _Story:
    """A pair's fills sorted into what entered and what left, without what a repair took back again.

    An exit that reached one venue only is undone by buying back there; those two fills cost money, which the net
    shows, but they are neither the price the pair was entered at nor the one it left at.
    """

    def __init__(self, fills: Fills, position: Position, pair: Pair, rate_at: RateAt) -> None:
        self._pair = pair
        self._rate_at = rate_at
        self._korea_side = position.direction.korea_side
        legs = (pair.korea.id, pair.abroad.id)
        self.entered = {leg: _Bundle() for leg in legs}
        self.left = {leg: _Bundle() for leg in legs}
        for record in fills:
            self._take(record)

    def _take(self, record: FillBooked) -> None:
        fill = record.fill
        is_leaving = any(bundle.pieces for bundle in self.left.values())
        if self._enters(record):
            if record.purpose is Purpose.REPAIR and is_leaving:
                self.left[fill.instrument_id].take_back(fill.quantity)
            else:
                self.entered[fill.instrument_id].add(fill.quantity, self._price(record))
        elif record.purpose is Purpose.REPAIR and not is_leaving:
            self.entered[fill.instrument_id].take_back(fill.quantity)
        else:
            self.left[fill.instrument_id].add(fill.quantity, self._price(record))

    def _price(self, record: FillBooked) -> Decimal:
        is_korean = record.fill.instrument_id == self._pair.korea.id
        return record.fill.price * (ONE if is_korean else self._rate_at(record.fill.at))

    def _enters(self, record: FillBooked) -> bool:
        is_korean = record.fill.instrument_id == self._pair.korea.id
        side = self._korea_side if is_korean else self._korea_side.opposite
        return record.fill.side is side

    def premium(self, bundles: dict[str, _Bundle]) -> Decimal | None:
        """Average price in Korea over the average price abroad in won; ``None`` when a leg is missing."""
        korea, abroad = bundles[self._pair.korea.id], bundles[self._pair.abroad.id]
        if not korea.quantity or not abroad.quantity:
            return None
        return (korea.worth / korea.quantity) / (abroad.worth / abroad.quantity) - ONE


def trades_of(slot: Slot, records: list[Record], pair: Pair, rate_at: RateAt) -> tuple[Trade, ...]:
    """Every closed pair, oldest first."""
    fills = _fills_by_signal(records)
    return tuple(
        _trade(closed.position, closed.breakdown, fills[closed.position.signal_id], pair, rate_at, closed)
        for closed in slot.closed
    )


def open_trade(desk: PairDesk, records: list[Record], pair: Pair, rate_at: RateAt, at: Nanos) -> Trade | None:
    """The pair still open at the end, marked at the last mids; its ``exit_premium`` is the premium of that moment."""
    position, market = desk.slot.position, desk.market
    if position is None:
        return None
    korea, abroad = market.mark(pair.korea), market.mark(pair.abroad)
    assert korea is not None, f"nothing to mark {position.signal_id} with in Korea"
    assert abroad is not None, f"nothing to mark {position.signal_id} with abroad"
    now = korea.price / (abroad.price * rate_at(at)) - ONE
    earned = position.breakdown({pair.korea.id: korea, pair.abroad.id: abroad})
    return _trade(position, earned, _fills_by_signal(records)[position.signal_id], pair, rate_at, None, now)


def _trade(
    position: Position,
    earned: Breakdown,
    fills: Fills,
    pair: Pair,
    rate_at: RateAt,
    closed: ClosedPair | None,
    premium_now: Decimal | None = None,
) -> Trade:
    story = _Story(fills, position, pair, rate_at)
    korea_in = story.entered[pair.korea.id]
    return Trade(
        signal_id=position.signal_id,
        direction=position.direction.value,
        opened_at=position.opened_at,
        closed_at=max(record.fill.at for record in fills) if closed else None,
        quantity=korea_in.quantity,
        entry_premium=story.premium(story.entered) or ZERO,
        exit_premium=premium_now if closed is None else story.premium(story.left),
        notional=korea_in.worth,
        premium=earned.premium,
        fx=earned.fx,
        funding=earned.funding,
        fees=earned.fees,
        slippage=earned.slippage,
        net=earned.net,
        exit_reason=closed.reason if closed else "open",
    )


def _fills_by_signal(records: list[Record]) -> dict[str, Fills]:
    fills: dict[str, Fills] = {}
    for record in records:
        if isinstance(record, FillBooked) and record.signal_id != FOREIGN_SIGNAL:
            fills.setdefault(record.signal_id, []).append(record)
    return fills
