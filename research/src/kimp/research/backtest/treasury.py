"""The owner's hand: money is put on both venues at the start, and evened out between pairs as a person would do it.

Transfers are never automated (travel rule, 24 h holds), so a backtest may only assume what a person can do: once a
day at most, and only while nothing is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from kimp.order.engine.engine import TradingEngine
from kimp.order.engine.state import Slot
from kimp.shared.domain.books import Book
from kimp.shared.domain.instruments import Instrument, Pair, Side, Venue
from kimp.shared.domain.money import ONE, ZERO, Amount
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import DAY, Nanos
from kimp.shared.messages.records import Phase

TRANSFER_STEP = Decimal("0.00000001")
"""Both venues credit eight decimals; a quotient's 28 digits would be a balance that no venue can show."""

TOLERANCE = Decimal("0.01")
"""A split that is off by less than this share of the capital is left alone: nobody moves money for it."""

BUY_BACK_RESERVE = Decimal("0.25")
"""KRW beyond the coins' worth that the owner of ``SHORT_PREMIUM`` keeps in Korea: when the coin rises, buying it back
costs more than its sale brought in, while the gain lies abroad. A quarter covers what one day has ever moved, and
every day it is filled up again.
"""


class Rebalance(StrEnum):
    """When the owner evens out the venues."""

    WHEN_FLAT = "when_flat"
    NEVER = "never"

    def describe(self) -> str:
        """The rule in words."""
        if self is Rebalance.NEVER:
            return "하지 않음 · never: each venue keeps what it won or lost"
        return (
            "포지션이 없을 때 하루 한 번, 비용 없이 · by hand, at most once a day and only while flat, "
            "at the valuation rate, free of cost"
        )


class Drawers(Protocol):
    """Where the money lies: the venues of whatever drives the engine."""

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        ...

    def show(self, books: Sequence[Book], at: Nanos) -> None:
        """It is that moment now."""
        ...

    def move_funds(self, transfer_id: str, venue: Venue, amount: Amount) -> None:
        """Move money in or out, and tell the engine."""
        ...


class Treasury:
    """Puts money where the strategy needs it. ``next_look`` is when it wants to be asked again."""

    def __init__(
        self, world: Drawers, engine: TradingEngine, pair: Pair, direction: Direction, capital: Decimal
    ) -> None:
        self.next_look: Nanos = 0
        self._world = world
        self._engine = engine
        self._pair = pair
        self._capital = capital
        self._buys = direction.korea_side is Side.BUY
        self._transfers = 0

    def fund(self, at: Nanos, coin: Decimal, usdt: Decimal) -> None:
        """Put the capital on both venues before anything is decided, at KRW per coin and per USDT of that moment."""
        self._world.show((), at)
        self._even_out(coin, usdt, tolerance=ZERO)
        self._plan_next(at)

    def look(self, at: Nanos, rule: Rebalance) -> None:
        """Even the venues out if the rule and the state allow it."""
        self._plan_next(at)
        prices = self._prices()
        if prices is None or rule is Rebalance.NEVER:
            return
        if self._is_quiet():
            self._even_out(*prices, tolerance=TOLERANCE)
        elif not self._buys:
            self._fill_up_reserve(prices[0])

    def _plan_next(self, at: Nanos) -> None:
        self.next_look = (at // DAY + 1) * DAY

    def _prices(self) -> tuple[Decimal, Decimal] | None:
        """KRW per coin in Korea and KRW per USDT, or ``None`` while either is unknown."""
        book = self._engine.market.books.get(self._pair.korea.id)
        rate = self._engine.market.rate(self._engine.settings.valuation_basis)
        return None if book is None or rate is None else (book.mid(), rate)

    def _is_quiet(self) -> bool:
        return not self._world.is_busy and all(
            slot.phase is Phase.FLAT and not slot.unsettled for slot in self._slots()
        )

    def _even_out(self, coin: Decimal, usdt: Decimal, *, tolerance: Decimal) -> None:
        earned = sum((pair.breakdown.net for slot in self._slots() for pair in slot.closed), ZERO)
        total = self._capital + earned
        if total <= ZERO:
            return
        leverage = self._engine.settings.leverage
        korea, abroad = self._pair.korea, self._pair.abroad
        at_work = total * leverage / (ONE + leverage)
        wanted = [(abroad, abroad.quote, total / (ONE + leverage) / usdt, usdt)]
        if self._buys:
            wanted.append((korea, korea.quote, at_work, ONE))
        else:
            wanted.append((korea, korea.base, at_work / coin, coin))
            wanted.append((korea, korea.quote, at_work * BUY_BACK_RESERVE, ONE))
        missing = [target - self._balance(leg, asset) for leg, asset, target, _ in wanted]
        if max(abs(gap) * worth for gap, (*_, worth) in zip(missing, wanted, strict=True)) > tolerance * total:
            for gap, (leg, asset, *_) in zip(missing, wanted, strict=True):
                self._move(leg, asset, gap)

    def _fill_up_reserve(self, coin: Decimal) -> None:
        """While coins are sold: enough KRW to buy them back at today's price and some more."""
        korea = self._pair.korea
        held = sum((slot.position.leg(korea.id).quantity for slot in self._slots() if slot.position), ZERO)
        missing = -held * coin * (ONE + BUY_BACK_RESERVE) - self._balance(korea, korea.quote)
        if missing > ZERO:
            self._move(korea, korea.quote, missing)

    def _slots(self) -> Iterable[Slot]:
        return self._engine.state.slots.values()

    def _balance(self, leg: Instrument, asset: str) -> Decimal:
        return self._engine.state.ledger.wallet(leg.venue, asset)

    def _move(self, leg: Instrument, asset: str, amount: Decimal) -> None:
        self._transfers += 1
        sent = Amount(amount.quantize(TRANSFER_STEP), asset)
        self._world.move_funds(f"{self._transfers}", leg.venue, sent)
