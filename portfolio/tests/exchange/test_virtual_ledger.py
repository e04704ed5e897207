"""Ten thousand random requests against a ledger that sees only what a client sees, and restarts that nobody can notice.

More seeds on demand: ``KIMP_LEDGER_SEEDS=20`` plays the stories of twenty seeds.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest

from kimp.portfolio.exchange import codes
from kimp.portfolio.exchange.diary import Diary
from kimp.portfolio.exchange.happenings import BooksShown, FundingSettled, Happening, OrderMoved
from kimp.portfolio.exchange.statement import account_of
from kimp.portfolio.exchange.tickets import OrderKind, Ticket, VirtualOrder
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.research.simulation.margin import MarginRules
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Instrument, Kind, Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.money import Amount
from kimp.shared.domain.orders import Rejected, TimeInForce
from kimp.shared.domain.time import MINUTE, SECOND, Nanos
from kimp.shared.messages.events import MarketMoved

D = Decimal
ZERO = D(0)
SEEDS = range(int(os.environ.get("KIMP_LEDGER_SEEDS", "2")))
COINS = {Venue.UPBIT: [upbit_spot("BTC"), upbit_spot("ETH")]}
COINS[Venue.BINANCE] = [binance_perpetual("BTC"), binance_perpetual("ETH", tick=D("0.01"), lot=D("0.01"))]
MIDS = {"KRW-BTC": 90_000_000, "KRW-ETH": 4_000_000, "BTCUSDT": 60_000, "ETHUSDT": 3_000}
OPENING = {
    Venue.UPBIT: {"KRW": D(400_000_000), "BTC": D(2), "ETH": D("30.5")},
    Venue.BINANCE: {"USDT": D(200_000)},
}
LEVERAGES = (1, 2, 4, 5)


class ReferenceLedger:
    """What an account must hold, from nothing but the fills, settlements, transfers and books a client is shown."""

    def __init__(self, legs: list[Instrument], opening: dict[str, Decimal]) -> None:
        self.legs = {leg.id: leg for leg in legs}
        self.money = {asset: Fraction(value) for asset, value in opening.items()}
        self.held = {leg.id: Fraction(0) for leg in legs if leg.kind is Kind.PERPETUAL}
        self.cost = dict.fromkeys(self.held, Fraction(0))
        self.open: dict[int, VirtualOrder] = {}
        self.books: dict[str, Book] = {}
        self.ids: set[str] = set()
        self.leverage = {leg.symbol: Fraction(1) for leg in legs}

    def hear(self, happening: Happening) -> None:
        match happening:
            case BooksShown(books=books):
                self.books |= {book.instrument_id: book for book in books if book.bids and book.asks}
            case FundingSettled(payment=payment, rate=rate):
                due = -self.held[payment.instrument_id] * self.mid(payment.instrument_id) * Fraction(rate.rate)
                assert Fraction(payment.amount.value) == cents(due)
                self.move(payment.amount)
            case OrderMoved(order=order, fill=fill):
                if fill is not None:
                    assert fill.trade_id not in self.ids, "a trade id came twice"
                    self.ids.add(fill.trade_id)
                    self.check(order)
                    self.trade(fill.instrument_id, fill.side.sign * Fraction(fill.quantity), Fraction(fill.price))
                    self.move(-fill.fee)
                self.open[order.number] = order
                if order.is_done:
                    del self.open[order.number]

    def check(self, order: VirtualOrder) -> None:
        """No fill beyond the order, its limit or its money, and the fee the venue publishes."""
        asked, fill, sign = order.ticket, order.fills[-1], order.ticket.side.sign
        assert fill.quantity > 0
        assert order.executed <= (order.order.quantity if asked.quantity is None else asked.quantity)
        assert asked.price is None or fill.price * sign <= asked.price * sign
        assert asked.funds is None or order.cash <= asked.funds
        fee = Fraction(fill.price) * Fraction(fill.quantity) * Fraction(self.legs[fill.instrument_id].fee_rate)
        assert order.client_id.startswith("autoclose") or Fraction(fill.fee.value) == cents(fee)

    def move(self, amount: Amount) -> None:
        self.money[amount.asset] = self.money.get(amount.asset, Fraction(0)) + Fraction(amount.value)

    def trade(self, id_: str, signed: Fraction, price: Fraction) -> None:
        leg = self.legs[id_]
        if leg.kind is Kind.SPOT:
            self.money[leg.base] += signed
            self.money[leg.quote] -= signed * price
            return
        held, cost, cash = self.held[id_], self.cost[id_], -signed * price
        if held * signed >= 0:
            gained = Fraction(0)
        elif abs(signed) < abs(held):  # a part of it: at the average entry price
            gained = cash - cents(cost * -signed / held)
        elif signed == -held:
            gained = cash - cost
        else:  # closed and turned
            gained = cents(cash * -held / signed) - cost
        self.money[leg.quote] += gained
        self.held[id_], self.cost[id_] = held + signed, cost - cash + gained

    def mid(self, id_: str) -> Fraction:
        book = self.books[id_]
        return (Fraction(book.bids[0].price) + Fraction(book.asks[0].price)) / 2

    def locked(self, asset: str) -> Fraction:
        contracts = [i for i in self.held if self.legs[i].quote == asset]
        locks = [abs(self.cost[i]) / self.leverage[self.legs[i].symbol] for i in contracts]
        locks += [self.lock(order, asset) for order in self.open.values()]
        return min(sum(locks, Fraction(0)), max(self.money[asset], Fraction(0)))

    def lock(self, order: VirtualOrder, asset: str) -> Fraction:
        leg, side = self.legs[order.order.instrument_id], order.order.side
        left, limit, fee = Fraction(order.left), Fraction(order.order.limit), Fraction(leg.fee_rate)
        if leg.kind is Kind.SPOT:
            needed = {leg.quote: left * limit * (1 + fee)} if side is Side.BUY else {leg.base: left}
            return needed.get(asset, Fraction(0))
        if order.order.reduce_only or asset != leg.quote:
            return Fraction(0)
        opening = max(Fraction(0), left - max(Fraction(0), -self.held[leg.id] * side.sign))
        price = limit if side is Side.BUY else max(limit, Fraction(self.books[leg.id].bids[0].price))
        loss = max(Fraction(0), (limit - self.mid(leg.id)) * side.sign)
        return opening * (price / self.leverage[leg.symbol] + price * fee + loss)


def cents(value: Fraction) -> Fraction:
    """Eight decimals, half to even, as venues write amounts."""
    return Fraction(round(value * 10**8), 10**8)


# -- the story ---------------------------------------------------------------------------------------------------------


class StoryClock:
    """The time of the step."""

    def __init__(self) -> None:
        self.at: Nanos = SECOND

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.at = max(self.at, at)


Step = Callable[[VirtualExchange], object]


class Story:
    """One venue's random requests, each a function of the venue, so that two venues can be told the same."""

    def __init__(self, venue: Venue, seed: int) -> None:
        self.dice = Random(f"{venue.value}:{seed}")
        self.venue = venue
        self.legs = COINS[venue]
        self.mids = {leg.id: D(MIDS[leg.symbol]) for leg in self.legs}
        self.clock = StoryClock()
        self.seen: Counter[str] = Counter()
        self.settles_at = self.clock.at + MINUTE
        self.count = 0

    def next(self) -> Step:
        self.count += 1
        self.clock.at += self.dice.randrange(SECOND)
        kinds = {self.order: 45, self.cancel: 12, self.move: 34, self.transfer: 3, self.maintain: 1, self.lever: 3}
        kinds[self.count_down] = 1
        return self.dice.choices(list(kinds), list(kinds.values()))[0]()

    def order(self) -> Step:
        dice, leg = self.dice, self.dice.choice(self.legs)
        side, rules = dice.choice(list(Side)), leg.rules
        price = self.mids[leg.id] * (1 + D(dice.randrange(-60, 61)) / 10_000)
        price = rules.bound(price, dice.choice(list(Side)))
        quantity = rules.floor(D(dice.randrange(1, 40_000_000)) * D(dice.choice([1, 4])) / price)
        if leg.quote == "USDT":
            quantity = rules.floor(D(dice.randrange(50, 600_000)) / price)
        kind = dice.choices(list(OrderKind), [6, 3, 2, 2] if leg.quote == "KRW" else [8, 4, 0.2, 0.2])[0]
        funds = D(dice.randrange(4_000, 60_000_000)) if kind in (OrderKind.PRICE, OrderKind.BEST) else None
        if kind is OrderKind.BEST and side is Side.SELL:
            funds = None
        waits = dice.choice(list(TimeInForce))
        if kind is OrderKind.BEST:
            waits = dice.choice([TimeInForce.IOC, TimeInForce.FOK])
        client_id = dice.choice([None, None, f"c{self.count}", f"c{self.count}", f"c{self.count - dice.randrange(40)}"])
        ticket = Ticket(
            client_id, leg.id, side, kind,
            None if funds is not None else quantity,
            price if kind is OrderKind.LIMIT else None,
            funds, waits, leg.kind is Kind.PERPETUAL and dice.random() < 0.2,
        )  # fmt: skip
        return lambda venue: venue.submit(ticket)

    def cancel(self) -> Step:
        luck = self.dice.random()
        return lambda venue: venue.withdraw(
            venue.working()[int(luck * len(venue.working()))].number
            if venue.working() and luck < 0.8
            else int(luck * 900)
        )

    def move(self) -> Step:
        dice, leg = self.dice, self.dice.choice(self.legs)
        jump = dice.choice([-D("0.45"), D("0.8")]) if dice.random() < 0.02 else D(dice.randrange(-40, 41)) / 10_000
        start, mid = MIDS[leg.symbol], self.mids[leg.id] * (1 + jump)
        self.mids[leg.id] = mid = min(max(mid, D(start) / 3), D(start) * 3)
        moved = MarketMoved(self.clock.at, (self.book(leg, one_sided=dice.random() < 0.03),), funding=self.rates())
        return lambda venue: venue.see(moved)

    def book(self, leg: Instrument, *, one_sided: bool = False) -> Book:
        dice, rules = self.dice, leg.rules
        bid = rules.bound(self.mids[leg.id], Side.BUY)
        ask = bid + rules.tick_at(bid)
        deep = D(dice.randrange(1, 8_000_000) if leg.quote == "KRW" else dice.randrange(50, 30_000))
        sizes = [rules.floor(deep * dice.randrange(1, 6) / bid) + rules.lot for _ in range(10)]
        bids = tuple(Level(bid - i * rules.tick_at(bid), size) for i, size in enumerate(sizes[:5]))
        asks = tuple(Level(ask + i * rules.tick_at(ask), size) for i, size in enumerate(sizes[5:]))
        return Book(leg.id, () if one_sided else bids, asks, self.clock.at, self.clock.at)

    def rates(self) -> tuple[FundingRate, ...]:
        if self.clock.at >= self.settles_at:
            self.settles_at += MINUTE
        due, rate = self.settles_at, D(self.dice.randrange(-300, 300)) / 1_000_000
        return tuple(FundingRate(leg.id, rate, self.clock.at, due, MINUTE) for leg in self.legs)

    def transfer(self) -> Step:
        asset = self.dice.choice(sorted(OPENING[self.venue]))
        size = D(self.dice.randrange(-30_000_000, 30_000_001)) / (1_000 if asset == "USDT" else 1)
        amount = Amount(size if asset in ("KRW", "USDT") else size / 10**8, asset)
        name = f"t{self.dice.choice([self.count, self.count // 100])}"
        return lambda venue: (venue.move_funds(name, amount), amount)

    def maintain(self) -> Step:
        is_available = self.dice.random() < 0.8
        return lambda venue: venue.maintain(is_available=is_available, reason="story")

    def lever(self) -> Step:
        symbol, leverage = self.dice.choice(self.legs).symbol, D(self.dice.choice(LEVERAGES))
        return lambda venue: (venue.set_leverage(symbol, leverage), symbol, leverage)

    def count_down(self) -> Step:
        leg, wait = self.dice.choice(self.legs), self.dice.choice([0, SECOND, 20 * SECOND])
        return lambda venue: venue.count_down(leg.id, wait)


def opened(venue: Venue, clock: StoryClock, diary: Diary | None = None) -> VirtualExchange:
    return VirtualExchange(SimulatedVenue(venue, COINS[venue], dict(OPENING[venue]), MarginRules()), clock, diary=diary)


def the_same(ledger: ReferenceLedger, venue: VirtualExchange) -> None:
    """Equal to the last digit: balances, what is locked of them, contracts and what they cost."""
    simulated = venue.simulated
    assert {a: Fraction(v) for a, v in simulated.balances.items() if v} == {a: v for a, v in ledger.money.items() if v}
    assert {i: Fraction(c.quantity) for i, c in simulated.contracts.items()} == ledger.held
    assert {i: -Fraction(c.cash) for i, c in simulated.contracts.items()} == ledger.cost
    account = account_of(simulated, is_priced=venue.is_priced)
    for balance in account.balances:
        assert Fraction(balance.locked) == ledger.locked(balance.asset), balance
        assert Fraction(balance.total) == ledger.money[balance.asset]
        assert balance.free >= ZERO or ledger.money[balance.asset] < 0
    assert {order.number for order in venue.working()} == set(ledger.open)


async def compare(venue: Venue, seed: int, steps: int) -> Counter[str]:
    story = Story(venue, seed)
    exchange, ledger, seen = opened(venue, story.clock), ReferenceLedger(COINS[venue], OPENING[venue]), Counter[str]()
    async with exchange.listen() as happenings:
        exchange.see(MarketMoved(story.clock.at, tuple(story.book(leg) for leg in story.legs), funding=story.rates()))
        for _ in range(steps):
            answer = story.next()(exchange)
            match answer:
                case (None, Amount() as amount):
                    ledger.move(amount)
                    seen["transfer"] += 1
                case (None, str() as symbol, Decimal() as leverage):
                    ledger.leverage[symbol] = Fraction(leverage)
                case VirtualOrder(ticket=ticket, state=state):
                    seen[f"{ticket.kind.value} {state.value}"] += 1
                case Rejected(code=code) | (Rejected(code=code), *_):
                    seen[code] += 1
            exchange.catch_up()
            while not happenings.empty():
                happening = happenings.get_nowait()
                ledger.hear(happening)
                seen[type(happening).__name__] += 1
                if isinstance(happening, OrderMoved) and happening.order.client_id.startswith("autoclose"):
                    seen["liquidation"] += 1
            the_same(ledger, exchange)
    assert len({order.number for order in exchange.orders()}) == len(exchange.orders())
    return seen


def test_ten_thousand_requests_leave_what_an_independent_ledger_says() -> None:
    upbit, binance = Counter[str](), Counter[str]()
    for seed in SEEDS:
        upbit += asyncio.run(compare(Venue.UPBIT, seed, 5_000))
        binance += asyncio.run(compare(Venue.BINANCE, seed, 5_000))
    for needed in ("limit filled", "limit working", "price cancelled", "market filled", "best cancelled", "transfer"):
        assert upbit[needed] > 3, (needed, upbit)
    for needed in ("limit filled", "limit working", "market filled", "limit expired", "FundingSettled", "liquidation"):
        assert binance[needed] > 1, (needed, binance)
    for code in (codes.INSUFFICIENT_FUNDS, codes.DUPLICATE_CLIENT_ID, codes.MAINTENANCE, codes.DUPLICATE_TRANSFER):
        assert upbit[code], (code, upbit)
        assert binance[code], (code, binance)
    assert min(binance[codes.REDUCE_ONLY], binance[codes.NOT_A_MAKER]) > 0, binance


# -- restarts ----------------------------------------------------------------------------------------------------------


def picture(venue: VirtualExchange) -> object:
    """Everything that must survive."""
    simulated = venue.simulated
    return (
        simulated.balances, simulated.contracts, simulated.history, simulated.trades, simulated.income,
        simulated.burnt_ids, [resting.order for resting in simulated.resting], simulated.margins,
        list(venue.orders()), venue.working(), venue.transfers, venue.is_hedge_mode,
    )  # fmt: skip


def begin_anew(story: Story, *venues: VirtualExchange) -> None:
    """Books, countdowns and maintenance are not remembered over a restart: show the same to all."""
    moved = MarketMoved(story.clock.at, tuple(story.book(leg) for leg in story.legs), funding=story.rates())
    for venue in venues:
        for leg in story.legs:
            venue.count_down(leg.id, 0)
        venue.maintain(is_available=True, reason="restart")
        venue.see(moved)


@pytest.mark.parametrize("venue", Venue)
def test_nobody_can_tell_a_venue_that_restarted_from_one_that_did_not(tmp_path: Path, venue: Venue) -> None:
    resting = sum(restarted(tmp_path / f"{seed}.sqlite", Story(venue, 1_000 + seed)) for seed in SEEDS)
    assert resting > 0


def restarted(path: Path, story: Story) -> int:
    """Tell one story to two venues, of which one dies again and again; how many orders rested in its deaths."""
    venue = story.venue
    diary = Diary(path)
    steady, mortal = opened(venue, story.clock), opened(venue, story.clock, diary)
    begin_anew(story, steady, mortal)
    restarts = resting = 0
    for _ in range(500):
        if story.dice.random() < 0.06:
            begin_anew(story, steady, mortal)
            diary.close()
            diary = Diary(path)
            mortal = opened(venue, story.clock, diary)
            restarts += 1
            resting += len(mortal.working())
            assert picture(mortal) == picture(steady)
            begin_anew(story, steady, mortal)
        step = story.next()
        assert step(mortal) == step(steady)
        assert picture(mortal) == picture(steady)
    diary.close()
    assert restarts > 10
    return resting
