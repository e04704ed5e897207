"""Every implementation of the Exchange port behind one door, with the venue's own books beside it as the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, Self

import pytest
from aiohttp import web

from kimp.portfolio.exchange import binance_wire, upbit_wire
from kimp.portfolio.exchange.serving import Served, serve
from kimp.portfolio.exchange.statement import account_of
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.exchange.wire_faults import WireFault
from kimp.portfolio.markets.boards import Boards
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.accounts import Account, Check
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingPayment, FundingRate
from kimp.shared.domain.instruments import Instrument, Side, Venue, binance_perpetual, upbit_spot
from kimp.shared.domain.money import ZERO
from kimp.shared.domain.orders import (
    Accepted,
    Fill,
    Order,
    OrderReport,
    OrderStatus,
    Outcome,
    Rejected,
    TimeInForce,
    Unknown,
)
from kimp.shared.domain.time import DAY, HOUR, SECOND, Nanos
from kimp.shared.messages.events import Event, MarketMoved, OrderFilled, OrderReported, VenueChanged
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.settings import Binance, SecretStr, Upbit
from kimp.storage.feeds.clocks import SystemClock

PATIENCE_S = 30.0  # no story needs one of them; a busy machine may
KEY, SECRET = "k" * 64, "s" * 64
LEGS = {Venue.UPBIT: upbit_spot("BTC"), Venue.BINANCE: binance_perpetual("BTC")}
MONEY = {
    Venue.UPBIT: {"KRW": Decimal(10_000_000), "BTC": Decimal(1)},
    Venue.BINANCE: {"USDT": Decimal(10_000)},
}
FIRST_ASK = {Venue.UPBIT: Decimal(100_001_000), Venue.BINANCE: Decimal("100000.1")}
SIZE = Decimal("0.02")
ROWS = 3


class PushedClock:
    """The real time, and as much more as a story has pushed it."""

    def __init__(self) -> None:
        self._inner = SystemClock()
        self._ahead: Nanos = 0
        self._pushed = asyncio.Event()

    def now(self) -> Nanos:
        return self._inner.now() + self._ahead

    async def sleep_until(self, at: Nanos) -> None:
        while (left := at - self.now()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left / SECOND):
                    await self._pushed.wait()

    def push(self, by: Nanos) -> None:
        self._ahead += by
        self._pushed.set()
        self._pushed = asyncio.Event()


class SkewedClock:
    """A venue's clock that is off by ``skew``."""

    def __init__(self, inner: Clock, skew: Nanos) -> None:
        self._inner = inner
        self._skew = skew

    def now(self) -> Nanos:
        return self._inner.now() + self._skew

    async def sleep_until(self, at: Nanos) -> None:
        await self._inner.sleep_until(at - self._skew)


class SimulatedExchange:
    """The simulated venue of backtests behind the port, with nothing added but the port itself."""

    def __init__(self, simulated: SimulatedVenue, clock: Clock) -> None:
        self._simulated = simulated
        self._clock = clock
        self._news: asyncio.Queue[Event] = asyncio.Queue()

    @property
    def venue(self) -> Venue:
        return self._simulated.venue

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def place(self, order: Order, *, is_urgent: bool = False) -> Outcome:  # noqa: ARG002 - the port's
        outcome = self._simulated.place(order, self._clock.now())
        if isinstance(outcome, Accepted):
            self._tell(order.client_id)
        return outcome

    async def cancel(self, client_id: str, _: str) -> Outcome:
        if not self._simulated.is_available:
            return Rejected("maintenance", "in maintenance")
        outcome = self._simulated.cancel(client_id)
        if isinstance(outcome, Accepted):
            self._tell(client_id)
        return outcome

    async def query(self, client_id: str, _: str) -> OrderReport | None:
        return self._simulated.query(client_id) if self._simulated.is_available else None

    async def account(self) -> Account | None:
        return account_of(self._simulated, is_priced=True) if self._simulated.is_available else None

    async def open_orders(self, instrument_id: str) -> tuple[str, ...] | None:
        if not self._simulated.is_available:
            return None
        resting = (resting.order for resting in self._simulated.resting)
        return tuple(order.client_id for order in resting if order.instrument_id == instrument_id)

    async def fills_since(self, instrument_id: str, since: Nanos) -> tuple[Fill, ...] | None:
        if not self._simulated.is_available:
            return None
        return tuple(
            fill for fill in self._simulated.trades if fill.instrument_id == instrument_id and fill.at >= since
        )

    async def funding_since(self, since: Nanos) -> tuple[FundingPayment, ...] | None:
        if not self._simulated.is_available:
            return None
        return tuple(payment for payment in self._simulated.income if payment.at >= since)

    async def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...] | None:
        if not self._simulated.is_available:
            return None
        return tuple(leg for leg in self._simulated.instruments.values() if {leg.symbol, leg.base} & set(symbols))

    async def clock_skew(self) -> Nanos | None:
        return 0 if self._simulated.is_available else None

    async def examine(self, *_: Any) -> tuple[Check, ...]:
        return (Check("market", self._simulated.is_available, "simulated"),)

    async def keep_alive(self, *_: Any) -> None: ...

    async def reports(self) -> AsyncIterator[Event]:
        while True:
            yield await self._news.get()

    def see(self, moved: MarketMoved) -> None:
        for fill in self._simulated.see(moved.books, moved.at):
            self._tell(fill.client_id)

    def maintain(self, *, is_available: bool, reason: str) -> None:
        self._simulated.is_available = is_available
        self._news.put_nowait(VenueChanged(self._clock.now(), self.venue, is_available, reason))

    def _tell(self, client_id: str) -> None:
        report, now = self._simulated.query(client_id), self._clock.now()
        for fill in report.fills:
            self._news.put_nowait(OrderFilled(now, fill))
        self._news.put_nowait(OrderReported(now, report))


@dataclass(frozen=True)
class Traits:
    """Where implementations may differ; everything else is demanded of all of them alike."""

    venue: Venue
    is_wire: bool = False
    has_countdown: bool = False
    uses_of_an_id: int = 1  # how many orders may bear one client id, one after the other
    burns_refused_ids: bool = False  # an id is used up even by an order that was refused
    resting_id_again: type = Rejected  # the same id while its order rests
    fok_in_vain: type = Accepted  # a fill-or-kill that cannot fill
    taking_post_only: type = Accepted  # a post-only that would take
    order_in_maintenance: type = Rejected
    cancel_in_maintenance: type = Rejected


BINANCE_RULES: dict[str, Any] = {"uses_of_an_id": 2, "taking_post_only": Rejected}
KINDS = {
    "simulated upbit": Traits(Venue.UPBIT, burns_refused_ids=True),
    "simulated binance": Traits(Venue.BINANCE, **BINANCE_RULES),
    "virtual upbit": Traits(Venue.UPBIT, burns_refused_ids=True),
    "virtual binance": Traits(Venue.BINANCE, has_countdown=True, **BINANCE_RULES),
    # an order that is only tested uses nothing up
    "upbit rehearsal": Traits(Venue.UPBIT, resting_id_again=Unknown, order_in_maintenance=Unknown),
    "upbit on the wire": Traits(
        Venue.UPBIT,
        is_wire=True,
        burns_refused_ids=True,
        resting_id_again=Unknown,
        order_in_maintenance=Unknown,
        cancel_in_maintenance=Unknown,
    ),
    "binance on the wire": Traits(
        Venue.BINANCE,
        is_wire=True,
        has_countdown=True,
        resting_id_again=Accepted,  # the order that rests is the one that was meant: adopted
        fok_in_vain=Rejected,
        **BINANCE_RULES,
    ),
}
WIRES = [name for name, traits in KINDS.items() if traits.is_wire]


@dataclass
class Desk:
    """One implementation, what stands behind it, and the means to move the market there."""

    traits: Traits
    leg: Instrument
    exchange: Exchange
    clock: PushedClock
    venue_clock: Clock
    simulated: SimulatedVenue
    venue: Any  # what is shown the market and can go into maintenance: a virtual exchange or the wrapper above
    boards: Boards
    wires: list[WireFault | None] = field(default_factory=list)
    server: Server | None = None
    is_heard: Callable[[], bool] = lambda: True  # whether somebody listens to the venue's private stream

    def ask(self, steps: int = 0) -> Decimal:
        """The price so many steps from the best ask."""
        best = FIRST_ASK[self.traits.venue]
        return best + steps * self.leg.rules.tick_at(best)

    def bid(self, steps: int = 0) -> Decimal:
        return self.ask(-1 - steps)

    def show(self, shift: int = 0) -> None:
        """A new book, so many steps from where it was at first: fresh depth, a full row at every step."""
        asks = tuple(Level(self.ask(shift + step), SIZE) for step in range(ROWS))
        bids = tuple(Level(self.bid(step - shift), SIZE) for step in range(ROWS))
        at = self.venue_clock.now()
        self.move(MarketMoved(at, (Book(self.leg.id, bids, asks, at, at),)))

    def fund(self, rate: str, settles_at: Nanos) -> None:
        known = FundingRate(self.leg.id, Decimal(rate), self.venue_clock.now(), settles_at, 8 * HOUR)
        self.move(MarketMoved(self.venue_clock.now(), funding=(known,)))

    def move(self, moved: MarketMoved) -> None:
        self.boards.note(moved)
        self.venue.see(moved)

    def order(self, client_id: str, side: Side, quantity: str, limit: Decimal, wait: str = "ioc", **more: Any) -> Order:
        return Order(client_id, self.leg.id, side, Decimal(quantity), limit, TimeInForce(wait), **more)

    async def place(self, client_id: str, side: Side, quantity: str, limit: Decimal, wait: str = "ioc") -> Outcome:
        return await self.exchange.place(self.order(client_id, side, quantity, limit, wait))

    async def query(self, client_id: str) -> OrderReport:
        report = await self.exchange.query(client_id, self.leg.id)
        assert report is not None
        return report

    async def account(self) -> Account:
        account = await self.exchange.account()
        assert account is not None
        return account

    async def locked(self) -> Decimal:
        quote = self.leg.quote
        return next((balance.locked for balance in (await self.account()).balances if balance.asset == quote), ZERO)

    def orders_of(self, client_id: str) -> list[Any]:
        """What the venue itself has under that name."""
        return [placed for placed in self.simulated.history if placed.order.client_id == client_id]

    async def until(self, holds: Callable[[], object], push: Nanos = 0) -> None:
        """Wait until it holds, pushing the clock a little every now and then."""
        while not holds():
            self.clock.push(push)
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Told]:
        """What ``reports`` tells, from the moment that the venue has a listener."""
        reports: Any = self.exchange.reports()
        told = Told()

        async def listen() -> None:
            async for event in reports:
                told.events.append(event)

        async with asyncio.TaskGroup() as group:
            listener = group.create_task(listen())
            await self.until(self.is_heard)
            yield told
            listener.cancel()
        if hasattr(reports, "aclose"):
            await reports.aclose()


@dataclass
class Told:
    """Everything a stream told so far."""

    events: list[Event] = field(default_factory=list)

    @property
    def fills(self) -> dict[str, Fill]:
        """By trade id: told twice counts once."""
        return {event.fill.trade_id: event.fill for event in self.events if isinstance(event, OrderFilled)}

    def is_over(self, client_id: str, executed: Decimal) -> bool:
        return any(
            isinstance(event, OrderReported)
            and (event.report.client_id, event.report.status, event.report.executed)
            == (client_id, OrderStatus.DONE, executed)
            for event in self.events
        )

    def availability(self) -> list[bool]:
        return [event.is_available for event in self.events if isinstance(event, VenueChanged)]


@dataclass
class Server:
    """A wire that can be taken away and put back where it was."""

    application: Callable[[], web.Application]
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    served: Served = field(default_factory=lambda: Served("", 0))

    async def start(self) -> None:
        self.served = await self.stack.enter_async_context(serve(self.application(), port=self.served.port))

    async def stop(self) -> None:
        await self.stack.aclose()


@asynccontextmanager
async def a_desk(
    name: str, skew: Nanos = 0, leg: Instrument | None = None, money: dict[str, Decimal] | None = None
) -> AsyncIterator[Desk]:
    traits, clock = KINDS[name], PushedClock()
    leg = leg or LEGS[traits.venue]
    simulated = SimulatedVenue(traits.venue, [leg], dict(money or MONEY[traits.venue]))
    venue_clock = SkewedClock(clock, skew)
    if name.startswith("simulated"):
        bare = SimulatedExchange(simulated, venue_clock)
        desk = Desk(traits, leg, bare, clock, venue_clock, simulated, bare, Boards())
        desk.show()
        yield desk
        return
    virtual = VirtualExchange(simulated, venue_clock)
    desk = Desk(traits, leg, virtual, clock, venue_clock, simulated, virtual, Boards())
    desk.show()
    if name.startswith("virtual"):
        yield desk
        return
    async with AsyncExitStack() as stack:
        desk.server = Server(_application(desk, virtual))
        stack.push_async_callback(desk.server.stop)
        await desk.server.start()
        desk.exchange = await stack.enter_async_context(_adapter(name, desk, virtual))
        yield desk


def _application(desk: Desk, virtual: VirtualExchange) -> Callable[[], web.Application]:
    def faults(request: web.Request) -> WireFault | None:
        return desk.wires[0] if desk.wires and "websocket" not in request.headers.get("Upgrade", "") else None

    wire: Any
    if desk.traits.venue is Venue.UPBIT:
        keys = {"trader": upbit_wire.ApiKey(KEY, SECRET, desk.clock.now() + 100 * DAY)}
        wire = upbit_wire.UpbitWire(virtual, desk.boards, desk.venue_clock, keys, faults=faults)

        def is_heard() -> bool:
            return any(part.kind == "myOrder" for wanted in wire.subscriptions() for part in wanted.wanted)

    else:
        key = binance_wire.ApiKey(SECRET)
        wire = binance_wire.BinanceWire(virtual, desk.boards, desk.venue_clock, {KEY: key}, faults=faults)
        is_heard = wire.account_listeners
    if desk.traits.is_wire:
        desk.is_heard = is_heard
    made: Callable[[], web.Application] = wire.application
    return made


def _adapter(name: str, desk: Desk, virtual: VirtualExchange) -> Any:
    from kimp.order.exchanges.binance import BinanceExchange
    from kimp.order.exchanges.rehearsal import UpbitRehearsal
    from kimp.order.exchanges.upbit import UpbitExchange

    assert desk.server is not None
    served, key, secret = desk.server.served, SecretStr(KEY), SecretStr(SECRET)
    if desk.traits.venue is Venue.BINANCE:
        binance = Binance(
            rest_url=served.http_url, ws_private_url=f"{served.ws_url}/private", api_key=key, secret_key=secret
        )
        return BinanceExchange(binance, [desk.leg], desk.clock, Random(1))
    upbit = Upbit(
        rest_url=served.http_url,
        ws_url=f"{served.ws_url}/websocket/v1",
        ws_private_url=f"{served.ws_url}/websocket/v1/private",
        access_key=key,
        secret_key=secret,
    )
    if "rehearsal" in name:
        return UpbitRehearsal(upbit, virtual, desk.clock, Random(1))
    return UpbitExchange(upbit, [desk.leg], desk.clock, Random(1))


Story = Callable[[Desk], Awaitable[None]]


def told_by(name: str) -> Callable[..., None]:
    def run(story: Story, **options: Any) -> None:
        async def whole() -> None:
            async with asyncio.timeout(PATIENCE_S), a_desk(name, **options) as desk:
                await story(desk)

        asyncio.run(whole())

    return run


@pytest.fixture(scope="session", autouse=True)
def imported() -> None:
    """Seconds of importing that are nobody's venue's."""
    import ccxt.async_support.upbit  # noqa: F401

    import kimp.order.exchanges.binance_transport  # noqa: F401


@pytest.fixture(scope="session")
def pushed_clock() -> type[PushedClock]:
    """The clock that is pushed by whoever tells the story: a busy machine slows it down with everything else."""
    return PushedClock


@pytest.fixture(scope="session")
def desk_of() -> Any:
    """``async with desk_of("upbit on the wire", leg=…, money=…) as desk``."""
    return a_desk


@pytest.fixture(params=KINDS)
def tell(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Tell a story of a desk of every kind."""
    return told_by(request.param)


@pytest.fixture(params=WIRES)
def tell_on_the_wire(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Tell a story of a desk whose venue is reached over sockets."""
    return told_by(request.param)
