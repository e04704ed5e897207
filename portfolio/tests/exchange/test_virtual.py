"""The virtual exchange answers requests as the real venues do, and tells what it did in their order."""

import asyncio
from decimal import Decimal

from kimp.portfolio.exchange.tickets import OrderKind, OrderState, Ticket, VirtualOrder
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.orders import Accepted, Order, TimeInForce
from kimp.shared.domain.time import MILLISECOND, Nanos
from kimp.shared.messages.events import MarketMoved, OrderFilled, OrderReported
from kimp.shared.ports.exchange import Exchange

COIN, PERP = upbit_spot("BTC"), binance_perpetual("BTC")
D = Decimal


class SteppingClock:
    """Time that is exactly where the sleepers want it."""

    def __init__(self, at: Nanos = 0) -> None:
        self.at = at

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.at = max(self.at, at)
        await asyncio.sleep(0)


def upbit() -> VirtualExchange:
    venue = VirtualExchange(
        SimulatedVenue(Venue.UPBIT, [COIN], {"KRW": D(50_000_000), "BTC": D(1)}),
        SteppingClock(),
        one_way=25 * MILLISECOND,
    )
    venue.see(MarketMoved(0, (book(COIN.id, 100_000_000, 1_000, "0.1"),)))
    return venue


def book(id_: str, mid: int, tick: int, size: str) -> Book:
    bids = tuple(Level(D(mid - tick * (i + 1)), D(size)) for i in range(5))
    asks = tuple(Level(D(mid + tick * i), D(size)) for i in range(5))
    return Book(id_, bids, asks, 0, 0)


def test_the_port_is_whole() -> None:
    exchange: Exchange = upbit()
    assert exchange.venue is Venue.UPBIT


def test_a_purchase_for_an_amount_leaves_dust_and_ends_cancelled() -> None:
    venue = upbit()
    taken = venue.submit(Ticket(None, COIN.id, Side.BUY, OrderKind.PRICE, funds=D(15_000_000)))
    assert isinstance(taken, VirtualOrder)
    assert taken.state is OrderState.CANCELLED
    assert taken.funds_left is not None
    assert D(0) < taken.funds_left < 1


def test_the_answer_comes_before_fills_and_the_bare_report() -> None:
    async def play() -> None:
        venue = upbit()
        stream = venue.reports()
        order = Order("a", COIN.id, Side.BUY, D("0.15"), D(100_001_000), TimeInForce.IOC)
        told = []

        async def place() -> None:
            told.append(await venue.place(order))

        async def read() -> None:
            async for event in stream:
                told.append(event)
                if isinstance(event, OrderReported):
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(place())
        assert told[0] == Accepted("upbit-1")
        assert [type(event) for event in told[1:]] == [OrderFilled, OrderFilled, OrderReported]
        assert {event.at for event in told[1:]} == {50 * MILLISECOND}

    asyncio.run(play())
