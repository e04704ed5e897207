"""A story: a real engine driven by hand, whose records, notices and observers are what a running trader would have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingPayment, FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Instrument, Pair, Side, Venue, default_pair
from kimp.shared.domain.money import ONE, Amount
from kimp.shared.domain.orders import Accepted, Fill, Order, OrderReport, OrderStatus, Rejected
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import DAY, HOUR, SECOND
from kimp.shared.messages.effects import Append, Effect, Notify, PlaceOrders, SetTimer
from kimp.shared.messages.events import (
    Event,
    FundingPaid,
    FundsMoved,
    MarketMoved,
    OrderAnswered,
    OrderFilled,
    OrderReported,
    SwitchChanged,
    SwitchState,
    TimerFired,
)
from kimp.shared.messages.notices import Notice
from kimp.shared.messages.records import Record
from kimp.shared.ports.strategy import Condition, MarketView, PositionView

STORY_START = 20_000 * DAY + 3 * HOUR
"""2024-10-04 12:00 KST."""


class ToldStrategy:
    """Says what it is told to, and explains itself by one threshold."""

    name = "fake"
    warm_up = 0

    def __init__(self) -> None:
        self.says: Signal = Hold("told_to")
        self.asked = 0

    def observe(self, view: MarketView) -> None: ...

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        self.shown = (view, position)
        return self.says

    def explain(self, view: MarketView, position: PositionView | None) -> tuple[Condition, ...]:
        self.asked += 1
        if position is None:
            return (Condition("premium_threshold", view.premium, "<", Decimal("0.01"), view.premium < Decimal("0.01")),)
        holds = position.net is not None and position.net > 0
        return (Condition("net_target", position.net, ">", Decimal(0), holds),)


class RuleStrategy(ToldStrategy):
    """Decides by itself, so that the same quotes make the same decisions: in below one percent, out with any profit."""

    def decide(self, view: MarketView, position: PositionView | None) -> Signal:
        (condition,) = self.explain(view, position)
        if not condition.holds:
            return Hold("not_yet")
        return Exit("net_positive") if position else Enter(Direction.LONG_PREMIUM, "premium_below_threshold")


@dataclass
class Story:
    """What happened, told step by step."""

    pair: Pair = field(default_factory=default_pair)
    settings: EngineSettings = field(default_factory=EngineSettings)
    strategy: Any = field(default_factory=ToldStrategy)
    observers: Sequence[Any] = ()
    now: int = STORY_START
    records: list[Record] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    placed: list[Order] = field(default_factory=list)
    timers: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = TradingEngine((Assignment(self.strategy, self.pair),), self.settings)
        self.trades = 0
        # Korean bid and ask, perpetual bid and ask, KRW per USD, KRW per USDT
        self.prices = [Decimal(text) for text in ("140000000", "140001000", "100000", "100000.1", "1390", "1400")]
        for venue, value, asset in ((Venue.UPBIT, "10000000", "KRW"), (Venue.BINANCE, "7000", "USDT")):
            self.feed(FundsMoved(self.now, f"start-{asset}", venue, Amount(Decimal(value), asset)))

    def feed(self, event: Event) -> None:
        self.now = max(self.now, event.at)
        effects: list[Effect] = self.engine.handle(event)
        for effect in effects:
            match effect:
                case Append(record=record):
                    self.records.append(record)
                case PlaceOrders(orders=orders):
                    self.placed.extend(orders)
                case Notify(notice=notice):
                    self.notices.append(notice)
                case SetTimer(timer=timer, at=at):
                    self.timers.append((at, timer))
        for observer in self.observers:
            observer.after(event, effects, self.engine)

    def settle(self) -> None:
        """Whatever was sent and is not over yet fills."""
        for tracked in list(self.engine.state.orders.values()):
            if not tracked.is_settled:
                self.fill(tracked.order)

    def wait(self, seconds: Any) -> None:
        until = self.now + int(Decimal(str(seconds)) * SECOND)
        while due := sorted(timer for timer in self.timers if timer[0] <= until):
            self.timers.remove(due[0])
            self.feed(TimerFired(max(due[0][0], self.now), due[0][1]))
        self.now = until

    def quote(self, premium: str | None = None, *, usdt: str | None = None, age: int = 0, skew: int = 0) -> None:
        """Both books, both rates and funding; ``premium`` is that of buying in Korea on the fx basis.

        The books are ``age`` old, the Korean one ``skew`` more.
        """
        if usdt is not None:
            self.prices[5] = Decimal(usdt)
        if premium is not None:
            wanted = self.prices[2] * self.prices[4] * (ONE + Decimal(premium))
            ask = self.pair.korea.rules.bound(wanted, Side.BUY)
            self.prices[:2] = [ask - 1000, ask]
        self.feed(MarketMoved(self.now, self._books(age, skew), self._rates(), (self._funding(),)))

    def _books(self, age: int = 0, skew: int = 0) -> tuple[Book, ...]:
        size, books = Decimal(5), []
        sides = (self.pair.korea, self.prices[:2], age + skew), (self.pair.abroad, self.prices[2:4], age)
        for leg, (bid, ask), old in sides:
            at = self.now - old
            books.append(Book(leg.id, (Level(bid, size),), (Level(ask, size),), at, at))
        return tuple(books)

    def _rates(self) -> tuple[FxQuote, ...]:
        rates = (("USD", self.prices[4]), ("USDT", self.prices[5]))
        return tuple(FxQuote(base, rate, self.now, self.now + 120 * SECOND, "test") for base, rate in rates)

    def _funding(self) -> FundingRate:
        return FundingRate(
            self.pair.abroad.id, Decimal("0.0001"), self.now, self.now // (8 * HOUR) * 8 * HOUR + 8 * HOUR
        )

    def say(self, signal: Signal) -> list[Order]:
        """The strategy says so for one quote; the orders that left because of it."""
        self.strategy.says, before = signal, len(self.placed)
        self.quote()
        self.strategy.says = Hold("told_to")
        return self.placed[before:]

    def fill(self, order: Order, quantity: Any = None, price: Any = None) -> None:
        """The order is accepted, fills (whole, unless said otherwise, at its reference) and is over."""
        leg = self.pair.instrument(order.instrument_id)
        quantity = order.quantity if quantity is None else Decimal(quantity)
        touch = {Side.BUY: 1, Side.SELL: 0}[order.side] + (0 if leg is self.pair.korea else 2)
        price = self.prices[touch] if price is None else Decimal(price)
        self.feed(OrderAnswered(self.now, order.client_id, Accepted("v")))
        if quantity:
            self.trades += 1
            fee = Amount(quantity * price * leg.fee_rate, leg.quote)
            fill = Fill(f"t{self.trades}", order.client_id, leg.id, order.side, quantity, price, fee, self.now)
            self.feed(OrderFilled(self.now, fill))
        self.feed(OrderReported(self.now, OrderReport(order.client_id, OrderStatus.DONE, quantity)))

    def enter(self, reason: str = "premium_below_threshold", share: str = "1") -> None:
        for order in self.say(Enter(Direction.LONG_PREMIUM, reason, Decimal(share))):
            self.fill(order)

    def leave(self, reason: str = "target_reached") -> None:
        for order in self.say(Exit(reason)):
            self.fill(order)

    def reject(self, order: Order) -> None:
        self.feed(OrderAnswered(self.now, order.client_id, Rejected("insufficient_funds_bid", "told to")))

    def foreign(self, leg: Instrument, side: Side, quantity: str, price: str, name: str = "autoclose-1") -> None:
        """A liquidation, or somebody's hand."""
        fee = Amount(Decimal(quantity) * Decimal(price) * leg.fee_rate, leg.quote)
        fill = Fill(f"x-{name}", name, leg.id, side, Decimal(quantity), Decimal(price), fee, self.now)
        self.feed(OrderFilled(self.now, fill))

    def pay_funding(self, usdt: str, payment_id: str) -> None:
        payment = FundingPayment(payment_id, self.pair.abroad.id, Amount(Decimal(usdt), "USDT"), self.now)
        self.feed(FundingPaid(self.now, payment))

    def turn(self, state: SwitchState, *, is_resume: bool = False) -> None:
        self.feed(SwitchChanged(self.now, state, is_resume))


@pytest.fixture(scope="session")
def make_story() -> type[Story]:
    """A class: ``make_story()`` is an engine with money and no quotes yet."""
    return Story


@pytest.fixture(scope="session")
def rule_strategy() -> type[RuleStrategy]:
    """A strategy that can be replayed, because nobody tells it what to say."""
    return RuleStrategy


@pytest.fixture(scope="session")
def traded() -> Story:
    """Three pairs of a week: one that earned, one that a repair unwound at a loss, and one still open with funding.

    Shared, so only to be read.
    """
    story = Story()
    story.quote("0.005")
    story.enter()
    story.wait(8 * 3600)
    story.pay_funding("0.7", "f1")
    story.quote("0.03", usdt="1396")
    story.leave()
    story.wait(86_400)
    story.quote("0.005")
    korea, abroad = story.say(Enter(Direction.LONG_PREMIUM, "premium_below_threshold"))
    story.reject(abroad)
    story.fill(korea)
    for _ in range(12):
        story.wait(1)
        story.quote()
        for order in [tracked.order for tracked in story.engine.state.orders.values() if not tracked.is_settled]:
            if order.instrument_id == story.pair.korea.id:
                story.fill(order)
            else:
                story.reject(order)
    story.wait(86_400)
    story.quote("0.004")
    story.enter()
    story.wait(8 * 3600)
    story.pay_funding("0.5", "f2")
    story.quote("0.001")
    return story
