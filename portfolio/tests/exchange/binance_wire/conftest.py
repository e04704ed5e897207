"""A virtual Binance on loopback, a clock moved by hand, and a client that signs by itself."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import yarl

from kimp.portfolio.exchange.binance_wire import ApiKey, BinanceWire, Limits
from kimp.portfolio.exchange.serving import Served, serve
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.exchange.wire_faults import WireFault
from kimp.portfolio.markets.boards import Boards
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.instruments import Venue, binance_perpetual
from kimp.shared.domain.time import HOUR, MILLISECOND, SECOND, Nanos
from kimp.shared.messages.events import MarketMoved
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.clocks import SystemClock

BEGAN_AT: Nanos = 1_790_000_000 * SECOND
PATIENCE_S = 10.0
KEY, SECRET = "A" * 64, "s" * 64
BTC = binance_perpetual("BTC")
ETH = binance_perpetual("ETH", tick=Decimal("0.01"), minimum_notional=Decimal(20))


class HandClock:
    """Time passes only when a test says so."""

    def __init__(self) -> None:
        self.at = BEGAN_AT
        self._moved = asyncio.Condition()

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self.at >= at)

    async def advance(self, by: Nanos) -> None:
        async with self._moved:
            self.at += by
            self._moved.notify_all()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def refusal(self) -> tuple[int, int, str]:
        return self.status, self.json["code"], self.json["msg"]


@dataclass
class Rig:
    """Everything of one virtual Binance."""

    clock: Clock
    exchange: VirtualExchange
    boards: Boards
    wire: BinanceWire
    served: Served
    session: aiohttp.ClientSession
    faults: dict[str, WireFault] = field(default_factory=dict)
    key: str = KEY
    secret: str = SECRET

    def show(self, price: str, *, size: str = "5", instrument: Any = BTC, levels: int = 20) -> None:
        """A new book: bids from ``price`` down, asks from a tick above it up."""
        tick, now = instrument.rules.bands[0].tick, self.clock.now()
        bid = Decimal(price)
        bids = tuple(Level(bid - tick * n, Decimal(size)) for n in range(levels))
        asks = tuple(Level(bid + tick * (n + 1), Decimal(size)) for n in range(levels))
        self.move(MarketMoved(now, (Book(instrument.id, bids, asks, now, now),)))

    def move(self, moved: MarketMoved) -> None:
        self.boards.note(moved)
        self.exchange.see(moved)

    def fund(self, rate: str, *, settles_at: Nanos, interval: Nanos = 8 * HOUR) -> None:
        now = self.clock.now()
        self.move(MarketMoved(now, funding=(FundingRate(BTC.id, Decimal(rate), now, settles_at, interval),)))

    async def ask(self, method: str, path: str, **params: Any) -> Answer:
        """A public request."""
        return await self._send(method, path, urlencode(params), {})

    async def signed(self, method: str, path: str, **params: Any) -> Answer:
        """A signed request of this moment."""
        fields = {"timestamp": self.clock.now() // MILLISECOND} | params
        query = urlencode({name: value for name, value in fields.items() if value is not None})
        signature = hmac.new(self.secret.encode(), query.encode(), sha256).hexdigest()
        return await self._send(method, path, f"{query}&signature={signature}", {"X-MBX-APIKEY": self.key})

    async def keyed(self, method: str, path: str) -> Answer:
        return await self._send(method, path, "", {"X-MBX-APIKEY": self.key})

    async def order(self, **params: Any) -> Answer:
        """A limit order to sell 0.1 BTC at 101,000, unless told otherwise."""
        usual = {
            "symbol": "BTCUSDT",
            "side": "SELL",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.1",
            "price": "101000",
        }
        return await self.signed("POST", "/fapi/v1/order", **(usual | params))

    async def raw(self, method: str, path: str, query: str, headers: dict[str, str], body: str = "") -> Answer:
        return await self._send(method, path, query, headers, body)

    async def _send(self, method: str, path: str, query: str, headers: dict[str, str], body: str = "") -> Answer:
        url = yarl.URL(f"{self.served.http_url}{path}{'?' if query else ''}{query}", encoded=True)
        if body:
            headers = headers | {"Content-Type": "application/x-www-form-urlencoded"}
        async with self.session.request(method, url, headers=headers, data=body or None) as response:
            return Answer(response.status, response.headers, await response.text())

    @asynccontextmanager
    async def listening(self, path: str) -> AsyncIterator["Listener"]:
        async with self.session.ws_connect(f"{self.served.ws_url}{path}") as socket:
            yield Listener(socket)


class Listener:
    """One WebSocket connection of a client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> Any:
        return json.loads(await asyncio.wait_for(self.socket.receive_str(), PATIENCE_S))

    async def until(self, kind: str) -> Any:
        """The next event of that kind; others are passed over."""
        while True:
            message = await self.next()
            event = message.get("data", message)
            if event.get("e") == kind:
                return event

    async def closed(self) -> int | None:
        """Wait until the venue has closed it."""
        while True:
            message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                return self.socket.close_code

    async def ask(self, method: str, *params: Any) -> Any:
        await self.socket.send_json({"method": method, "params": list(params), "id": 7})
        return await self.next()


Story = Callable[[Rig], Awaitable[None]]


@asynccontextmanager
async def a_rig(clock: Clock, *, usdt: str = "100000", **options: Any) -> AsyncIterator[Rig]:
    simulated = SimulatedVenue(Venue.BINANCE, [BTC, ETH], {"USDT": Decimal(usdt)})
    exchange, boards = VirtualExchange(simulated, clock), Boards()
    faults: dict[str, WireFault] = {}
    keys = {
        KEY: ApiKey(SECRET),
        "B" * 64: ApiKey(SECRET, may_trade=False),
        "C" * 64: ApiKey(SECRET, addresses=("203.0.113.7",)),
    } | options.pop("keys", {})
    wire = BinanceWire(exchange, boards, clock, keys, faults=lambda request: faults.get(request.path), **options)
    async with serve(wire.application()) as served, aiohttp.ClientSession() as session:
        rig = Rig(clock, exchange, boards, wire, served, session, faults)
        rig.show("100000")
        yield rig


@pytest.fixture
def tell() -> Callable[..., None]:
    """Run a story against a virtual Binance whose clock stands still until it is moved."""

    def run(story: Story, **options: Any) -> None:
        async def whole() -> None:
            async with a_rig(HandClock(), **options) as rig, asyncio.timeout(60):
                await story(rig)

        asyncio.run(whole())

    return run


@pytest.fixture
def tell_live() -> Callable[..., None]:
    """The same on the real clock, for clients that bring their own."""

    def run(story: Story, **options: Any) -> None:
        async def whole() -> None:
            async with a_rig(SystemClock(), limits=Limits(weight_per_minute=1_000_000), **options) as rig:
                async with asyncio.timeout(60):
                    await story(rig)

        asyncio.run(whole())

    return run
