"""What the engine's tests share: a scripted strategy, and a bench that feeds an engine and keeps what it wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from kimp.order.engine.engine import Assignment, TradingEngine
from kimp.order.engine.settings import EngineSettings
from kimp.order.engine.state import EngineState, Slot
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingPayment, FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Instrument, Pair, Side, Venue, default_pair
from kimp.shared.domain.ledger import Ledger
from kimp.shared.domain.money import ONE, ZERO, Amount
from kimp.shared.domain.orders import Accepted, Fill, Order, OrderReport, OrderStatus, Rejected, Unknown
from kimp.shared.domain.positions import LegPosition, Position
from kimp.shared.domain.signals import Direction, Enter, Exit, Hold, Signal
from kimp.shared.domain.time import DAY, SECOND
from kimp.shared.messages.effects import Append, CancelOrder, Effect, Notify, PlaceOrders, QueryOrder, SetTimer
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
from kimp.shared.messages.records import OrderIntended, Phase, PlanMade, Record

START = 20_000 * DAY
FEE_RATE = Decimal("0.0005")
LONG = Direction.LONG_PREMIUM


class Scripted:
    """A strategy that says what it is told to say."""

    def __init__(self, name: str = "fake") -> None:
        self.name, self.says = name, Hold("told to")
        self.asked: list[Any] = []

    def observe(self, view: Any) -> None: ...

    def decide(self, view: Any, position: Any) -> Signal:
        self.asked.append((view, position))
        return self.says


@dataclass
class Bench:
    """Feeds one engine by hand, carries its effects into lists, and checks the order they come in."""

    pair: Pair = field(default_factory=default_pair)
    settings: EngineSettings = field(default_factory=EngineSettings)
    strategy: Scripted = field(default_factory=Scripted)
    engine_type: type[TradingEngine] = TradingEngine
    krw: str = "10000000"
    usdt: str = "7000"
    btc: str = "0"
    watch: Callable[[Bench], None] | None = None
    now: int = START
    records: list[Record] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    placed: list[Order] = field(default_factory=list)
    batches: list[tuple[Order, ...]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    timers: list[tuple[int, str]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = self.engine_type((Assignment(self.strategy, self.pair),), self.settings)
        self.trades = 0
        self.prices = (Decimal(144_899_000), Decimal(144_900_000), Decimal(100_000), Decimal("100000.1"), Decimal(1400))
        self.size = Decimal(5)
        for venue, value, asset in (
            (Venue.UPBIT, self.krw, "KRW"),
            (Venue.UPBIT, self.btc, self.pair.symbol),
            (Venue.BINANCE, self.usdt, "USDT"),
        ):
            if Decimal(value):
                self.fund(value, asset, venue)

    # -- feeding ---------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> list[Effect]:
        """Hand in one event and keep what the engine wants; a record must come before what it is the intent of."""
        self.now = max(self.now, event.at)
        return self.keep(self.engine.handle(event))

    def keep(self, effects: list[Effect]) -> list[Effect]:
        """Carry the effects into the lists."""
        self.effects = effects
        for effect in effects:
            match effect:
                case Append(record=record):
                    self.records.append(record)
                case PlaceOrders(orders=orders):
                    self._place(orders)
                case QueryOrder(client_id=client_id):
                    self.queries.append(client_id)
                case CancelOrder(client_id=client_id):
                    self.cancels.append(client_id)
                case SetTimer(timer=timer, at=at):
                    self.timers.append((at, timer))
                case Notify(notice=notice):
                    self.notices.append(notice)
        if self.watch:
            self.watch(self)
        return effects

    def _place(self, orders: tuple[Order, ...]) -> None:
        assert orders, "an effect that places nothing"
        intended = {record.order.client_id for record in self.records if isinstance(record, OrderIntended)}
        planned = any(isinstance(record, PlanMade) for record in self.records)
        for order in orders:
            assert planned, "an order left without a plan in the journal"
            assert order.client_id in intended, f"{order.client_id} left before its intent was journaled"
            assert order.client_id not in {sent.client_id for sent in self.placed}, f"{order.client_id} was sent twice"
            self.placed.append(order)
        self.batches.append(orders)

    def fund(self, value: str, asset: str, venue: Venue) -> None:
        self.feed(FundsMoved(self.now, f"{asset}-{len(self.records)}", venue, Amount(Decimal(value), asset)))

    def books(self) -> tuple[Book, Book]:
        korea_bid, korea_ask, abroad_bid, abroad_ask, _ = self.prices
        return (
            self.book(self.pair.korea, korea_bid, korea_ask),
            self.book(self.pair.abroad, abroad_bid, abroad_ask),
        )

    def book(self, leg: Instrument, bid: Any, ask: Any, size: Any = None, at: int | None = None) -> Book:
        at = self.now if at is None else at
        size = self.size if size is None else Decimal(size)
        return Book(leg.id, (Level(Decimal(bid), size),), (Level(Decimal(ask), size),), at, at)

    def rates(self, value: Any = None) -> tuple[FxQuote, ...]:
        rate = self.prices[4] if value is None else Decimal(value)
        return tuple(FxQuote(base, rate, self.now, self.now + 120 * SECOND, "test") for base in ("USD", "USDT"))

    def quote(self, *, premium: str | None = None, abroad: str | None = None, rate: str | None = None) -> list[Effect]:
        """Show both books and rates at the bench's time, first moved to a premium, a perpetual price or a rate."""
        _, _, bid, _, fx = self.prices
        if premium is not None or abroad is not None or rate is not None:
            now_premium = self.prices[1] / (bid * fx) - ONE if premium is None else Decimal(premium)
            bid, fx = Decimal(abroad or bid), Decimal(rate or fx)
            ask = self.pair.korea.rules.bound(bid * fx * (ONE + now_premium), Side.BUY)
            self.prices = (ask - 1000, ask, bid, bid + Decimal("0.1"), fx)
        return self.feed(MarketMoved(self.now, self.books(), self.rates()))

    def wait(self, seconds: Any) -> None:
        """Let time pass, firing every timer that falls due."""
        until = self.now + int(Decimal(str(seconds)) * SECOND)
        while due := sorted(timer for timer in self.timers if timer[0] <= until):
            at, name = due[0]
            self.timers.remove(due[0])
            self.feed(TimerFired(max(at, self.now), name))
        self.now = until

    def turn(self, state: SwitchState, *, is_resume: bool = False) -> None:
        self.feed(SwitchChanged(self.now, state, is_resume))

    # -- the strategy's word -----------------------------------------------------------------------------------------

    def enter(self, direction: Direction = LONG, share: str = "1") -> tuple[Order, ...]:
        """The strategy says enter and quotes come in; the orders that left because of it."""
        return self._say(Enter(direction, "told to", Decimal(share)))

    def leave(self) -> tuple[Order, ...]:
        """The strategy says exit and quotes come in; the orders that left because of it."""
        return self._say(Exit("told to"))

    def _say(self, signal: Signal) -> tuple[Order, ...]:
        self.strategy.says, before = signal, len(self.placed)
        self.quote()
        self.strategy.says = Hold("told to")
        return tuple(self.placed[before:])

    # -- the venues' words -------------------------------------------------------------------------------------------

    def accept(self, order: Order) -> list[Effect]:
        return self.feed(OrderAnswered(self.now, order.client_id, Accepted(f"v-{order.client_id}")))

    def reject(self, order: Order) -> list[Effect]:
        return self.feed(OrderAnswered(self.now, order.client_id, Rejected("no", "told to")))

    def unknown(self, order: Order) -> list[Effect]:
        return self.feed(OrderAnswered(self.now, order.client_id, Unknown("timeout")))

    def fill_of(self, order: Order, quantity: Any = None, price: Any = None, trade_id: str | None = None) -> Fill:
        """A fill of an order that pays the usual fee, at its limit unless said otherwise."""
        self.trades += 1
        leg = self.pair.instrument(order.instrument_id)
        quantity = order.quantity if quantity is None else Decimal(quantity)
        price = order.limit if price is None else Decimal(price)
        fee = Amount(quantity * price * leg.fee_rate, leg.quote)
        name = f"t{self.trades}" if trade_id is None else trade_id
        return Fill(name, order.client_id, leg.id, order.side, quantity, price, fee, self.now)

    def fill(self, order: Order, quantity: Any = None, price: Any = None) -> Fill:
        fill = self.fill_of(order, quantity, price)
        self.feed(OrderFilled(self.now, fill))
        return fill

    def report(
        self, order: Order, status: OrderStatus, executed: Any = 0, fills: Iterable[Fill] = (), at: int | None = None
    ) -> list[Effect]:
        report = OrderReport(order.client_id, status, Decimal(executed), tuple(fills))
        return self.feed(OrderReported(self.now if at is None else at, report))

    def done(self, order: Order, executed: Any = None, fills: Iterable[Fill] = ()) -> list[Effect]:
        return self.report(order, OrderStatus.DONE, order.quantity if executed is None else executed, fills)

    def absent(self, order: Order) -> list[Effect]:
        return self.report(order, OrderStatus.ABSENT)

    def complete(self, order: Order, quantity: Any = None, price: Any = None) -> None:
        """The usual life of an order: accepted, filled (all of it unless said otherwise), done."""
        self.accept(order)
        quantity = order.quantity if quantity is None else Decimal(quantity)
        if quantity:
            self.fill(order, quantity, price)
        self.done(order, quantity)

    def complete_all(self, orders: Iterable[Order]) -> None:
        for order in orders:
            self.complete(order)

    def foreign(self, leg: Instrument, side: Side, quantity: Any, price: Any, name: str = "autoclose-1") -> Fill:
        """A trade on our account that we never ordered."""
        return self.fill(Order(name, leg.id, side, Decimal(quantity), Decimal(price)))

    def funding(self, amount: str, payment_id: str = "f1", at: int | None = None) -> None:
        at = self.now if at is None else at
        payment = FundingPayment(payment_id, self.pair.abroad.id, Amount(Decimal(amount), "USDT"), at)
        self.feed(FundingPaid(self.now, payment))

    def funding_rate(self, rate: str) -> None:
        known = FundingRate(self.pair.abroad.id, Decimal(rate), self.now, self.now + 3600 * SECOND)
        self.feed(MarketMoved(self.now, funding=(known,)))

    def opened(self) -> Bench:
        """With a full long pair on."""
        self.complete_all(self.enter())
        assert self.phase is Phase.OPEN
        return self

    # -- what came of it ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> EngineState:
        return self.engine.state

    @property
    def slot(self) -> Slot:
        return next(iter(self.state.slots.values()))

    @property
    def desk(self) -> Any:
        return self.engine.desks[0]

    @property
    def phase(self) -> Phase:
        return self.slot.phase

    @property
    def position(self) -> Position | None:
        return self.slot.position

    @property
    def refusals(self) -> Counter[str]:
        return self.engine.refusals

    def held(self) -> tuple[Decimal, ...]:
        """What is on, leg by leg; zeros when flat."""
        legs = (self.pair.korea.id, self.pair.abroad.id)
        return tuple(self.position.leg(leg).quantity if self.position else ZERO for leg in legs)

    def of(self, kind: type) -> list[Any]:
        """The records or notices of a kind, oldest first."""
        return [kept for kept in (*self.records, *self.notices) if isinstance(kept, kind)]


@dataclass
class Truth:
    """One order as its venue knows it: ``fate`` is what became of the request."""

    order: Order
    sent_at: int
    reference: Decimal
    fate: str = "under way"  # then "arrived", "refused" or "vanished"
    fills: list[Fill] = field(default_factory=list)
    hidden_until: int = 0

    @property
    def executed(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), ZERO)


@dataclass
class Storm(Bench):
    """A bench whose venues decide by dice what becomes of orders, and whose post loses, delays, doubles and shuffles.

    ``truths`` is what the venues know, ``post`` what is on its way to the engine. A request that has not arrived after
    five seconds never will: both venues drop requests that are older (recvWindow), which is why ten seconds of denial
    may count as proof.
    """

    truths: dict[str, Truth] = field(default_factory=dict)
    post: list[Callable[[], Event]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    outside: list[Fill] = field(default_factory=list)
    is_calm: bool = False

    REQUEST_LIFE = 5 * SECOND

    def keep(self, effects: list[Effect]) -> list[Effect]:
        super().keep(effects)
        for effect in effects:
            if isinstance(effect, PlaceOrders):
                for order in effect.orders:
                    tracked = self.state.orders[order.client_id]
                    self.truths[order.client_id] = Truth(order, self.now, tracked.reference)
            elif isinstance(effect, QueryOrder):
                self.asked.append(effect.client_id)
        return effects

    # -- what the venues do ----------------------------------------------------------------------------------------

    def under_way(self) -> list[Truth]:
        return [truth for truth in self.truths.values() if truth.fate == "under way"]

    def execute(self, truth: Truth, share: Decimal = ONE, better: Decimal = ZERO, pieces: int = 1) -> None:
        """The order arrives and ``share`` of it fills, ``better`` (0 to 1) of the way to the best price possible."""
        order, leg = truth.order, self.pair.instrument(truth.order.instrument_id)
        if (
            leg.id == self.pair.korea.id
            and order.side is Side.SELL
            and order.quantity > self.coins() + Decimal(self.btc)
        ):
            truth.fate = "refused"  # insufficient coins
            return
        truth.fate = "arrived"
        quantity = self._fillable(order, leg.rules.floor(order.quantity * share))
        worst, slip = order.limit, self.settings.slippage_max
        best = max(worst * (1 + 2 * slip), truth.reference) if order.side is Side.SELL else worst * (1 - 2 * slip)
        price = (worst + (best - worst) * better).quantize(Decimal("0.1"), rounding="ROUND_DOWN")
        price = max(price, worst) if order.side is Side.SELL else price
        for piece in range(pieces):
            part = leg.rules.floor(quantity / pieces) if piece < pieces - 1 else quantity - truth.executed
            if part > ZERO:
                truth.fills.append(self.fill_of(order, part, price))

    def _fillable(self, order: Order, quantity: Decimal) -> Decimal:
        if not order.reduce_only:
            return quantity
        return min(quantity, max(ZERO, -self.contracts() * order.side.sign))

    def say(self, truth: Truth, *, answers: bool = True, tells: bool = True) -> None:
        """Put on the post what an arrived or refused order makes the venue say by itself."""
        order = truth.order
        if answers:
            outcome = Accepted("v") if truth.fate == "arrived" else Rejected("no", "told to")
            self.post.append(lambda: OrderAnswered(self.now, order.client_id, outcome))
        if tells and truth.fate == "arrived":
            for fill in truth.fills:
                self.post.append(lambda fill=fill: OrderFilled(self.now, fill))
            bare = OrderReport(order.client_id, OrderStatus.DONE, truth.executed)
            self.post.append(lambda: OrderReported(self.now, bare))

    def hide(self, truth: Truth, seconds: int = 15) -> None:
        """The order executes, but the venue says nothing and denies it for a while: read lag at its worst."""
        self.execute(truth)
        truth.hidden_until = self.now + seconds * SECOND

    def doubt(self, truth: Truth) -> None:
        """The answer to the request is lost on its way."""
        self.post.append(lambda: OrderAnswered(self.now, truth.order.client_id, Unknown("timeout")))

    def reply(self, client_id: str, *, lags: bool = False, bare: bool = False) -> None:
        """Answer a question about an order as of now; ``lags`` denies one that is there, ``bare`` names no fills."""
        self.asked.remove(client_id)
        truth = self.truths[client_id]
        lags = lags or (self.now < truth.hidden_until and not self.is_calm)
        if truth.fate == "arrived" and not lags:
            fills = () if bare else tuple(truth.fills)
            report = OrderReport(client_id, OrderStatus.DONE, truth.executed, fills)
        else:
            report = OrderReport(client_id, OrderStatus.ABSENT, ZERO)
        self.post.append(lambda: OrderReported(self.now, report))

    def deliver(self, index: int = 0, *, again: bool = False) -> None:
        """Hand one letter of the post to the engine; ``again`` leaves a copy on the way."""
        letter = self.post[index] if again else self.post.pop(index)
        self.feed(letter())

    def pass_time(self, seconds: Any) -> None:
        """Let time pass; requests too old to arrive vanish."""
        self.wait(seconds)
        for truth in self.under_way():
            if self.now > truth.sent_at + self.REQUEST_LIFE:
                truth.fate = "vanished"

    def strike(self, share: Decimal = ONE) -> None:
        """The perpetual venue closes ``share`` of our contracts by force, at its own price and under its own id.

        Not while it also hides a trade of ours that it denied: a fill is booked whole, so that a liquidation of more
        than we know of cannot be told apart into ours and others'.
        """
        if any(
            truth.hidden_until and self.state.orders[id_].filled != truth.executed for id_, truth in self.truths.items()
        ):
            return
        held, leg = self.contracts(), self.pair.abroad
        quantity = leg.rules.floor(abs(held) * share)
        if quantity > ZERO:
            side = Side.BUY if held < ZERO else Side.SELL
            order = Order(f"autoclose-{len(self.outside)}", leg.id, side, quantity, self.prices[2])
            fill = self.fill_of(order)
            self.outside.append(fill)
            self.post.append(lambda: OrderFilled(self.now, fill))

    def heal(self, seconds: int = 90) -> None:
        """No more faults: whatever is under way is decided, everything is delivered, and orders fill whole."""
        self.is_calm = True
        for second in range(seconds):
            while self.under_way() or self.post or self.asked:
                for truth in self.under_way():
                    self.execute(truth)
                    self.say(truth)
                for client_id in tuple(self.asked):
                    self.reply(client_id)
                for _ in range(len(self.post)):
                    self.deliver()
            self.pass_time(1)
            if second % 2 == 0:
                self.quote()

    def step(self, dice: Random) -> None:
        """One thing happens, by dice."""
        choice = dice.random()
        flying = self.under_way()
        if not (flying or self.post or self.asked) and choice < 0.7:
            self._move(dice)
        elif flying and choice < 0.35:
            self._decide(flying[dice.randrange(len(flying))], dice)
        elif self.post and choice < 0.70:
            self.deliver(dice.randrange(len(self.post)), again=dice.random() < 0.15)
        elif self.asked and choice < 0.80:
            self.reply(dice.choice(self.asked), lags=dice.random() < 0.2, bare=dice.random() < 0.2)
        elif choice < 0.92:
            self.pass_time(dice.choice(("0.05", "0.3", "1", "4")))
        else:
            self._move(dice)

    def _decide(self, truth: Truth, dice: Random) -> None:
        fate = dice.random()
        if fate < 0.1:
            self.hide(truth)
        elif fate < 0.6:
            share = dice.choice((ZERO, Decimal("0.4"), Decimal("0.6"), ONE, ONE, ONE))
            self.execute(truth, share, Decimal(dice.randrange(11)) / 10, dice.choice((1, 1, 2, 3)))
            self.say(truth, answers=dice.random() < 0.8, tells=dice.random() < 0.8)
        elif fate < 0.8:
            truth.fate = "refused"
            self.say(truth)
        else:
            truth.fate = dice.choice(("under way", "vanished"))
            self.doubt(truth)

    def _move(self, dice: Random) -> None:
        event = dice.random()
        premium = Decimal(dice.randrange(-20, 80)) / 1000
        abroad = str((self.prices[2] * (1 + Decimal(dice.randrange(-20, 21)) / 1000)).quantize(Decimal("0.1")))
        if event < 0.15:
            self.funding(str(Decimal(dice.randrange(-300, 301)) / 100), f"f{len(self.records)}")
        elif event < 0.3:
            self.turn(dice.choice((SwitchState.ACTIVE, SwitchState.ACTIVE, SwitchState.REDUCING)))
        elif event < 0.36:
            self.strike(dice.choice((Decimal("0.3"), ONE)))
        else:
            self.strategy.says = dice.choice(
                (Enter(LONG, "dice", Decimal("0.4")), Enter(LONG, "dice"), Exit("dice"), Exit("dice"), Hold("dice"))
            )
            self.quote(premium=str(premium), abroad=abroad)
            self.strategy.says = Hold("told to")

    # -- the truth, which no engine was asked for ------------------------------------------------------------------

    def all_fills(self) -> list[Fill]:
        return [fill for truth in self.truths.values() for fill in truth.fills] + self.outside

    def contracts(self) -> Decimal:
        """What the perpetual venue holds for us."""
        return self._net(self.pair.abroad)

    def coins(self) -> Decimal:
        """What the Korean venue holds for us beyond what was there at the start."""
        return self._net(self.pair.korea)

    def _net(self, leg: Instrument) -> Decimal:
        ours = [fill for fill in self.all_fills() if fill.instrument_id == leg.id]
        return sum((fill.quantity * fill.side.sign for fill in ours), ZERO)

    def won(self) -> Decimal:
        """What the Korean wallet should hold."""
        ours = [fill for fill in self.all_fills() if fill.instrument_id == self.pair.korea.id]
        flow = sum((-fill.quantity * fill.side.sign * fill.price - fill.fee.value for fill in ours), ZERO)
        return Decimal(self.krw) + flow


def troubles(storm: Storm) -> list[str]:
    """What is wrong once a storm has healed: asked of the venues' own fills, not of the engine's belief."""
    found, ledger = [], storm.state.ledger
    if storm.state.unsettled:
        found.append(f"unsettled: {list(storm.state.unsettled)}")
    if storm.phase not in (Phase.FLAT, Phase.OPEN):
        found.append(f"stuck in {storm.phase}")
    dust = storm.pair.lot
    if abs(storm.coins() + storm.contracts()) >= dust:
        found.append(f"naked: {storm.coins()} coins against {storm.contracts()} contracts")
    if storm.coins() < ZERO:
        found.append(f"sold {-storm.coins()} coins that were not bought")
    for what, ours, theirs in (
        ("coins", ledger.wallet(Venue.UPBIT, storm.pair.symbol), storm.coins() + Decimal(storm.btc)),
        ("won", ledger.wallet(Venue.UPBIT, "KRW"), storm.won()),
        ("contracts", ledger.balance("binance:contracts", storm.pair.abroad.symbol), storm.contracts()),
    ):
        if ours != theirs:
            found.append(f"{what}: {ours} in our books, {theirs} at the venue")
    return found


@pytest.fixture(scope="session")
def troubles_of() -> Callable[[Storm], list[str]]:
    return troubles


@pytest.fixture(scope="session")
def make_storm() -> type[Storm]:
    """A class: ``make_storm()`` is a bench with venues that roll dice."""
    return Storm


@pytest.fixture(scope="session")
def make_bench() -> type[Bench]:
    """A class: ``make_bench()`` is an engine with money and no quotes yet, and a hand on everything around it."""
    return Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="session")
def pair() -> Pair:
    return default_pair()


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def book_of() -> Callable[..., Book]:
    """Makes a book out of (price, size) levels."""

    def make(leg: Instrument, bids: Iterable[tuple[Any, Any]], asks: Iterable[tuple[Any, Any]], at: int = 0) -> Book:
        sides = [tuple(Level(Decimal(price), Decimal(size)) for price, size in side) for side in (bids, asks)]
        return Book(leg.id, *sides, at, at)

    return make


@pytest.fixture(scope="session")
def position_of(pair: Pair) -> Callable[..., Position]:
    """Makes a position out of (leg, side, quantity, price, KRW rate) trades that paid the usual fee."""

    def make(
        direction: Direction, trades: Iterable[tuple[Instrument, Side, Any, Any, Any]], funding: Any = 0
    ) -> Position:
        legs = (LegPosition(pair.korea.id), LegPosition(pair.abroad.id))
        position = Position("signal", "fake", pair.symbol, direction, legs, START)
        for number, (leg, side, quantity, price, rate) in enumerate(trades):
            quantity, price = Decimal(quantity), Decimal(price)
            fee = Amount(quantity * price * leg.fee_rate, leg.quote)
            fill = Fill(str(number), "id", leg.id, side, quantity, price, fee, START)
            position = position.with_fill(fill, price, Decimal(rate))
        return position.with_funding(Decimal(funding))

    return make


@pytest.fixture(scope="session")
def conservation_faults() -> Callable[[Ledger], list[str]]:
    """Names what a ledger created or lost: assets whose accounts do not sum to zero."""

    def faults(ledger: Ledger) -> list[str]:
        totals: dict[str, Fraction] = {}
        for (_, asset), value in ledger.balances().items():
            totals[asset] = totals.get(asset, Fraction(0)) + Fraction(value)
        return [f"{asset} sums to {float(total)}" for asset, total in totals.items() if total]

    return faults
