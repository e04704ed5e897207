"""The virtual exchange answers requests as the real venues do, and tells what it did in their order."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from heapq import heappop, heappush
from typing import TypeVar

import pytest

from kimp.portfolio.exchange import codes
from kimp.portfolio.exchange.happenings import (
    AvailabilityMoved,
    BalancesMoved,
    BooksShown,
    Dropped,
    FundingSettled,
    OrderMoved,
)
from kimp.portfolio.exchange.tickets import OrderKind, OrderState, Ticket, VirtualOrder
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.research.simulation.margin import MarginRules
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.accounts import Balance, ContractPosition
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.orders import Accepted, Order, OrderReport, OrderStatus, Rejected, TimeInForce
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.shared.messages.events import Event, FundingPaid, MarketMoved, OrderFilled, OrderReported, VenueChanged
from kimp.shared.ports.exchange import Exchange

COIN, PERP = upbit_spot("BTC"), binance_perpetual("BTC")
ONE_WAY = 25 * MILLISECOND
IDLE_TURNS = 25
D = Decimal
T = TypeVar("T")


class VirtualClock:
    """Time that moves on when nobody has anything left to do now."""

    def __init__(self) -> None:
        self.at: Nanos = 0
        self._sleepers: list[tuple[Nanos, int, asyncio.Event]] = []
        self._count = 0

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        if at > self.at:
            self._count += 1
            woken = asyncio.Event()
            heappush(self._sleepers, (at, self._count, woken))
            await woken.wait()

    async def run(self, until: Nanos) -> None:
        """Let everything happen that is due by then."""
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self.at, _, woken = heappop(self._sleepers)
            woken.set()
            await self.settle()
        self.at = until

    @staticmethod
    async def settle() -> None:
        for _ in range(IDLE_TURNS):
            await asyncio.sleep(0)


def book(id_: str, ask: int, tick: int, size: str = "0.1", levels: int = 5) -> Book:
    bids = tuple(Level(D(ask - tick * (step + 1)), D(size)) for step in range(levels))
    asks = tuple(Level(D(ask + tick * step), D(size)) for step in range(levels))
    return Book(id_, bids, asks, 0, 0)


def upbit(one_way: Nanos = ONE_WAY) -> VirtualExchange:
    simulated = SimulatedVenue(Venue.UPBIT, [COIN], {"KRW": D(50_000_000), "BTC": D(1)})
    venue = VirtualExchange(simulated, VirtualClock(), one_way=one_way)
    venue.see(MarketMoved(0, (book(COIN.id, 100_000_000, 1_000),)))
    return venue


def binance(leverage: int = 2, wallet: int = 10_000) -> VirtualExchange:
    rules = MarginRules(leverage=D(leverage))
    venue = VirtualExchange(
        SimulatedVenue(Venue.BINANCE, [PERP], {"USDT": D(wallet)}, rules), VirtualClock(), one_way=ONE_WAY
    )
    venue.see(MarketMoved(0, (book(PERP.id, 100_000, 10),)))
    return venue


def clock_of(venue: VirtualExchange) -> VirtualClock:
    assert isinstance(venue.clock, VirtualClock)
    return venue.clock


def taken(answer: VirtualOrder | Rejected) -> VirtualOrder:
    assert isinstance(answer, VirtualOrder), answer
    return answer


def code(answer: object) -> str:
    assert isinstance(answer, Rejected), answer
    return answer.code


def listening(venue: VirtualExchange, act: Callable[[list[object]], Awaitable[None]], until: Nanos) -> list[object]:
    """What the private stream and the requests told, in the order it became known."""
    told: list[object] = []

    async def read() -> None:
        async for event in venue.reports():
            told.append(event)  # noqa: PERF401 - as it comes

    async def play() -> None:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(read())
            await clock_of(venue).settle()
            group.create_task(act(told))  # type: ignore[arg-type]
            await clock_of(venue).run(until)
            reader.cancel()

    asyncio.run(play())
    return told


def ask(venue: VirtualExchange, question: Awaitable[T], until: Nanos = SECOND) -> T:
    async def play() -> T:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(question)  # type: ignore[arg-type,var-annotated]
            await clock_of(venue).run(until)
        return task.result()  # type: ignore[no-any-return]

    return asyncio.run(play())


def test_the_port_is_whole() -> None:
    exchange: Exchange = upbit()
    assert exchange.venue is Venue.UPBIT


# -- orders over the port ----------------------------------------------------------------------------------------------


def test_the_answer_comes_first_then_every_fill_then_the_bare_report_all_in_one_moment() -> None:
    venue = upbit()
    order = Order("a", COIN.id, Side.BUY, D("0.15"), D(100_001_000), TimeInForce.IOC)

    async def act(told: list[object]) -> None:
        told.append(await venue.place(order))

    told = listening(venue, act, SECOND)
    assert told[0] == Accepted("upbit-1")
    events: list[Event] = told[1:]  # type: ignore[assignment]
    assert [type(event) for event in events] == [OrderFilled, OrderFilled, OrderReported]
    assert {event.at for event in events} == {2 * ONE_WAY}
    final = events[-1]
    assert isinstance(final, OrderReported)
    assert (final.report.status, final.report.executed, final.report.fills) == (OrderStatus.DONE, D("0.15"), ())
    assert {fill.at for fill in venue.simulated.trades} == {ONE_WAY}


def test_the_stream_goes_on_when_nobody_waits_for_the_answer_any_more() -> None:
    venue = upbit()

    async def act(_told: list[object]) -> None:
        async def place() -> None:
            await venue.place(Order("a", COIN.id, Side.BUY, D("0.1"), D(100_000_000)))

        async with asyncio.TaskGroup() as group:
            impatient = group.create_task(place())
            await venue.clock.sleep_until(ONE_WAY + 1)
            impatient.cancel()

    told = listening(venue, act, SECOND)
    assert [type(event) for event in told] == [OrderFilled, OrderReported]


def test_a_refused_order_says_so_and_the_stream_stays_silent() -> None:
    venue = upbit()

    async def act(told: list[object]) -> None:
        told.append(await venue.place(Order("a", COIN.id, Side.BUY, D(3), D(100_000_000))))

    (answer,) = listening(venue, act, SECOND)
    assert code(answer) == codes.INSUFFICIENT_FUNDS


def test_a_cancelled_order_is_told_again_with_all_its_fills() -> None:
    venue = upbit()

    async def act(told: list[object]) -> None:
        await venue.place(Order("a", COIN.id, Side.BUY, D("0.3"), D(100_001_000), TimeInForce.GTC))
        told.append(await venue.open_orders(COIN.id))
        told.append(await venue.cancel("a", COIN.id))
        told.append(await venue.cancel("a", COIN.id))

    told = listening(venue, act, SECOND)
    filled, reported = (OrderFilled, OrderReported)
    kinds = [filled, filled, reported, tuple, Accepted, filled, filled, reported, Accepted, filled, filled, reported]
    assert [type(event) for event in told] == kinds
    assert told[3] == ("a",)
    assert venue.orders()[0].state is OrderState.CANCELLED


def test_what_the_market_does_to_an_order_is_told_one_way_later() -> None:
    venue = upbit()
    taken(venue.submit(Ticket("rest", COIN.id, Side.BUY, OrderKind.LIMIT, D("0.1"), D(99_000_000))))

    async def act(_told: list[object]) -> None:
        await venue.clock.sleep_until(SECOND)
        venue.see(MarketMoved(SECOND, (book(COIN.id, 98_000_000, 1_000),)))
        assert venue.orders()[0].is_done

    event, end = listening(venue, act, 2 * SECOND)
    assert isinstance(event, OrderFilled)
    assert (event.at, event.fill.price) == (SECOND + ONE_WAY, D(99_000_000))
    assert end == OrderReported(SECOND + ONE_WAY, OrderReport(event.fill.client_id, OrderStatus.DONE, D("0.1")))


def test_in_maintenance_orders_are_refused_and_questions_stay_unanswered() -> None:
    venue = upbit()

    async def act(told: list[object]) -> None:
        venue.maintain(is_available=False, reason="work")
        told.append(await venue.place(Order("a", COIN.id, Side.BUY, D("0.1"), D(100_000_000))))
        told.append(await venue.query("a", COIN.id))
        told.append(await venue.account())
        told.append(await venue.clock_skew())
        told.append(await venue.cancel("a", COIN.id))
        venue.maintain(is_available=True, reason="over")

    told = listening(venue, act, SECOND)
    assert told[0] == VenueChanged(0, Venue.UPBIT, False, "work")
    assert code(told[1]) == codes.MAINTENANCE
    assert told[2:5] == [None] * 3
    assert code(told[5]) == codes.ORDER_NOT_FOUND
    assert told[6] == VenueChanged(7 * ONE_WAY, Venue.UPBIT, True, "over")


def test_a_reader_that_fell_behind_hears_all_of_it_from_the_records() -> None:
    venue = upbit()
    venue._reports._limit = 3
    order = [Order(f"o{number}", COIN.id, Side.SELL, D("0.01"), D(99_000_000)) for number in range(5)]

    async def play() -> list[Event]:
        stream = venue.reports()
        for each in order:
            taken(venue.submit(Ticket(each.client_id, COIN.id, Side.SELL, OrderKind.MARKET, D("0.01"))))
        await clock_of(venue).run(SECOND)
        told = []
        while {event.fill.client_id for event in told if isinstance(event, OrderFilled)} < {o.client_id for o in order}:
            told.append(await anext(stream))
        return told

    assert len(asyncio.run(play())) >= 5


# -- funding, liquidation, countdown -----------------------------------------------------------------------------------


def test_longs_pay_a_positive_rate_at_its_moment_once_and_hear_of_it() -> None:
    venue = binance()
    taken(venue.submit(Ticket(None, PERP.id, Side.BUY, OrderKind.MARKET, D("0.1"))))
    rate = FundingRate(PERP.id, D("0.001"), 0, SECOND, SECOND)

    async def act(_told: list[object]) -> None:
        venue.see(MarketMoved(0, funding=(rate,)))
        for at in (SECOND - 1, SECOND, SECOND + 1):
            await venue.clock.sleep_until(at)
            venue.see(MarketMoved(at, (book(PERP.id, 100_010, 20),), funding=(rate,)))

    (event,) = listening(venue, act, 2 * SECOND)
    assert isinstance(event, FundingPaid)
    assert event.at == SECOND + ONE_WAY
    assert event.payment.amount.value == D("-10.00000000")
    assert event.payment.at == SECOND
    assert ask(venue, venue.funding_since(0), 3 * SECOND) == (event.payment,)


def test_a_settlement_first_heard_of_when_it_is_over_is_not_settled() -> None:
    venue = binance()
    taken(venue.submit(Ticket(None, PERP.id, Side.BUY, OrderKind.MARKET, D("0.1"))))
    late = FundingRate(PERP.id, D("0.001"), SECOND + 1, SECOND, SECOND)
    venue.see(MarketMoved(SECOND + 1, (book(PERP.id, 100_010, 20),), funding=(late,)))
    assert venue.simulated.income == []
    venue.see(MarketMoved(SECOND + 2, funding=(FundingRate(PERP.id, D("0.002"), SECOND + 2, 2 * SECOND, SECOND),)))
    venue.see(MarketMoved(5 * SECOND // 2, (book(PERP.id, 100_010, 20),)))
    assert [(paid.amount.value, paid.at) for paid in venue.simulated.income] == [(D("-20.00000000"), 2 * SECOND)]


def test_a_liquidation_reaches_the_stream_the_orders_and_the_fills() -> None:
    venue = binance(leverage=2)
    taken(venue.submit(Ticket("long", PERP.id, Side.BUY, OrderKind.MARKET, D("0.18"))))
    resting = taken(venue.submit(Ticket("rest", PERP.id, Side.SELL, OrderKind.LIMIT, D("0.001"), D(120_000))))

    async def act(_told: list[object]) -> None:
        venue.see(MarketMoved(0, (book(PERP.id, 40_000, 10),)))

    told = listening(venue, act, SECOND)
    fills = [event for event in told if isinstance(event, OrderFilled)]
    assert [fill.fill.client_id for fill in fills[-1:]] == ["autoclose-0"]
    order = venue.find(client_id="autoclose-0")
    assert order is not None
    assert (order.number, order.state, order.executed) == (3, OrderState.FILLED, fills[-1].fill.quantity)
    assert resting.state is OrderState.CANCELLED
    assert venue.working() == []
    assert venue.simulated.balances["USDT"] >= 0


def test_a_countdown_that_runs_out_cancels_what_rests_and_one_that_is_renewed_does_not() -> None:
    venue = binance()
    order = taken(venue.submit(Ticket("rest", PERP.id, Side.BUY, OrderKind.LIMIT, D("0.002"), D(90_000))))

    async def act(_told: list[object]) -> None:
        await venue.keep_alive([PERP], SECOND)
        await venue.clock.sleep_until(SECOND)
        assert not venue.orders()[0].is_done
        await venue.keep_alive([PERP], SECOND)
        await venue.clock.sleep_until(3 * SECOND)
        venue.see(MarketMoved(3 * SECOND, (book(PERP.id, 90_000, 10),)))

    (event,) = listening(venue, act, 4 * SECOND)
    assert isinstance(event, OrderReported)
    assert event.report.status is OrderStatus.DONE
    assert (order.state, order.executed) == (OrderState.CANCELLED, 0)


def test_upbit_knows_no_countdown() -> None:
    venue = upbit()
    order = taken(venue.submit(Ticket("rest", COIN.id, Side.BUY, OrderKind.LIMIT, D("0.1"), D(90_000_000))))
    ask(venue, venue.keep_alive([COIN], 1))
    assert not venue.orders()[0].is_done
    assert not order.is_done


# -- the account -------------------------------------------------------------------------------------------------------


def test_free_and_locked_are_what_rests_and_what_is_margin() -> None:
    spot, margined = upbit(), binance(leverage=2)
    taken(spot.submit(Ticket(None, COIN.id, Side.BUY, OrderKind.LIMIT, D("0.1"), D(90_000_000))))
    account = ask(spot, spot.account())
    assert account is not None
    assert account.balances == (Balance("KRW", D("40995500"), D("9004500")), Balance("BTC", D(1), D(0)))
    taken(margined.submit(Ticket(None, PERP.id, Side.SELL, OrderKind.MARKET, D("0.1"))))
    account = ask(margined, margined.account())
    assert account is not None
    assert account.balances == (Balance("USDT", D("4995.5005"), D("4999.5")),)
    (held,) = account.contracts
    assert held == ContractPosition(PERP.id, D("-0.1"), D(99_990), D(99_995), held.liquidation_price)
    assert held.liquidation_price is not None
    assert D(198_000) < held.liquidation_price < D(200_000)


def test_leverage_changes_what_is_free_and_never_below_what_a_position_needs() -> None:
    venue = binance(leverage=1)
    assert code(venue.submit(Ticket(None, PERP.id, Side.SELL, OrderKind.MARKET, D("0.2")))) == codes.INSUFFICIENT_FUNDS
    assert venue.set_leverage("BTCUSDT", D(3)) is None
    assert venue.leverage == {"BTCUSDT": D(3)}
    taken(venue.submit(Ticket(None, PERP.id, Side.SELL, OrderKind.MARKET, D("0.2"))))
    assert code(venue.set_leverage("BTCUSDT", D(1))) == codes.LEVERAGE_TOO_LOW
    assert code(venue.set_hedge_mode(is_hedge_mode=True)) == codes.MODE_IN_USE
    assert code(venue.set_hedge_mode(is_hedge_mode=False)) == codes.ALREADY_SO
    assert code(venue.set_leverage("BTCUSDT", D("2.5"))) == codes.INVALID_PARAMETER
    assert code(venue.set_leverage("XRPUSDT", D(2))) == codes.INVALID_SYMBOL


def test_examining_finds_another_leverage_and_an_unknown_instrument() -> None:
    venue = binance(leverage=2)
    checks = {check.name: check.ok for check in ask(venue, venue.examine([PERP], D(1)))}
    assert checks == {f"{PERP.id} traded": True, f"{PERP.id} leverage": False, "position mode": True}
    assert ask(venue, venue.instruments(["BTC"]), 2 * SECOND) == (PERP,)
    assert ask(venue, venue.clock_skew(), 3 * SECOND) == 0


# -- kinds of orders ---------------------------------------------------------------------------------------------------


def test_a_purchase_for_an_amount_leaves_dust_and_ends_cancelled() -> None:
    order = taken(upbit().submit(Ticket(None, COIN.id, Side.BUY, OrderKind.PRICE, funds=D(15_000_000))))
    assert order.state is OrderState.CANCELLED
    assert order.funds_left is not None
    assert 0 < order.funds_left < 1
    assert order.cash + order.funds_left == 15_000_000
    assert [fill.price for fill in order.fills] == [D(100_000_000), D(100_001_000)]


def test_a_purchase_for_an_amount_that_fits_exactly_is_filled_and_one_of_the_minimum_is_taken() -> None:
    venue = upbit()
    exact = taken(venue.submit(Ticket(None, COIN.id, Side.BUY, OrderKind.PRICE, funds=D(10_000_000))))
    assert (exact.state, exact.funds_left) == (OrderState.FILLED, 0)
    least = taken(venue.submit(Ticket(None, COIN.id, Side.BUY, OrderKind.PRICE, funds=D(5_000))))
    assert 0 < least.cash <= 5_000
    assert code(venue.submit(Ticket(None, COIN.id, Side.BUY, OrderKind.PRICE, funds=D(4_999)))) == codes.BELOW_MINIMUM


def test_a_purchase_for_an_amount_needs_its_fee_too() -> None:
    venue = upbit()
    refused = venue.submit(Ticket(None, COIN.id, Side.BUY, OrderKind.PRICE, funds=D(50_000_000)))
    assert code(refused) == codes.INSUFFICIENT_FUNDS


def test_a_best_order_takes_the_first_level_only() -> None:
    venue = upbit()
    ioc = Ticket(None, COIN.id, Side.SELL, OrderKind.BEST, D("0.3"), time_in_force=TimeInForce.IOC)
    assert taken(venue.submit(ioc)).executed == D("0.1")
    fok = Ticket(None, COIN.id, Side.BUY, OrderKind.BEST, funds=D(15_000_000), time_in_force=TimeInForce.FOK)
    order = taken(venue.submit(fok))
    assert (order.executed, order.state) == (0, OrderState.CANCELLED)


def test_a_market_order_takes_what_is_there_and_the_rest_expires() -> None:
    venue = binance(leverage=20, wallet=100_000)
    order = taken(venue.submit(Ticket(None, PERP.id, Side.SELL, OrderKind.MARKET, D("0.7"))))
    assert (order.executed, order.left, order.state) == (D("0.5"), D("0.2"), OrderState.EXPIRED)
    nothing = taken(venue.submit(Ticket(None, PERP.id, Side.SELL, OrderKind.MARKET, D("0.1"))))
    assert (nothing.executed, nothing.state) == (0, OrderState.EXPIRED)


@pytest.mark.parametrize(
    "ticket",
    [
        Ticket("a", COIN.id, Side.BUY, OrderKind.MARKET, D("0.1")),
        Ticket("a", COIN.id, Side.SELL, OrderKind.PRICE, funds=D(10_000)),
        Ticket("a", COIN.id, Side.BUY, OrderKind.BEST, funds=D(10_000)),
        Ticket("a", COIN.id, Side.BUY, OrderKind.LIMIT, D("0.1")),
        Ticket("a", COIN.id, Side.BUY, OrderKind.LIMIT, D("NaN"), D(1)),
        Ticket("a", COIN.id, Side.BUY, OrderKind.LIMIT, D("1E+40"), D(100_000_000)),
        Ticket("a", COIN.id, Side.BUY, OrderKind.PRICE, funds=D("10000.123456789")),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_burns_its_identifier(ticket: Ticket) -> None:
    venue = upbit()
    assert code(venue.submit(ticket)) == codes.INVALID_PARAMETER
    sound = Ticket("a", COIN.id, Side.SELL, OrderKind.MARKET, D("0.01"))
    assert code(venue.submit(sound)) == codes.DUPLICATE_CLIENT_ID
    assert taken(venue.submit(Ticket(None, COIN.id, Side.SELL, OrderKind.MARKET, D("0.01")))).number == 1


def test_an_order_refused_without_an_identifier_uses_none_up() -> None:
    venue = upbit()
    assert code(venue.submit(Ticket(None, COIN.id, Side.SELL, OrderKind.MARKET, D(5)))) == codes.INSUFFICIENT_FUNDS
    assert taken(venue.submit(Ticket(None, COIN.id, Side.SELL, OrderKind.MARKET, D("0.01")))).number == 1


# -- listeners ---------------------------------------------------------------------------------------------------------


def test_a_listener_hears_orders_balances_books_funding_and_maintenance_in_order() -> None:
    async def play() -> list[object]:
        venue, heard = binance(), []
        async with venue.listen() as happenings:
            order = taken(venue.submit(Ticket("a", PERP.id, Side.BUY, OrderKind.MARKET, D("0.15"))))
            rate = FundingRate(PERP.id, D("0.001"), 0, SECOND, SECOND)
            venue.see(MarketMoved(SECOND, (book(PERP.id, 100_000, 10),), funding=(rate,)))
            venue.maintain(is_available=False, reason="work")
            assert order.fills
            while not happenings.empty():
                heard.append(happenings.get_nowait())
        venue.maintain(is_available=True, reason="over")
        assert happenings.empty()
        return heard

    heard = asyncio.run(play())
    kinds = [OrderMoved, OrderMoved, OrderMoved, BalancesMoved, FundingSettled, BooksShown, BalancesMoved]
    assert [type(happening) for happening in heard] == [*kinds, AvailabilityMoved]
    states = [(moved.order.state, moved.order.executed) for moved in heard if isinstance(moved, OrderMoved)]
    working, filled = OrderState.WORKING, OrderState.FILLED
    assert states == [(working, D(0)), (working, D("0.1")), (filled, D("0.15"))]
    assert heard[3] == BalancesMoved(("USDT",), 0, "order")


def test_a_listener_that_does_not_read_is_dropped_and_told_so() -> None:
    async def play() -> list[object]:
        venue = upbit()
        async with venue.listen(limit=3) as happenings:
            for at in range(10):
                venue.see(MarketMoved(at, (book(COIN.id, 100_000_000, 1_000),)))
            return [happenings.get_nowait() for _ in range(happenings.qsize())]

    assert [type(happening) for happening in asyncio.run(play())] == [BooksShown, BooksShown, Dropped]
