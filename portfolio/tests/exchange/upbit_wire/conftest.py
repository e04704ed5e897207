"""A virtual Upbit on loopback, a clock that is moved by hand, and a client that signs for itself."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import aiohttp
import jwt
import msgspec
import pytest

from kimp.portfolio.exchange.serving import Served, serve
from kimp.portfolio.exchange.upbit_wire import TRADING, ApiKey, Limits, UpbitWire
from kimp.portfolio.exchange.virtual import VirtualExchange
from kimp.portfolio.exchange.wire_faults import Faults
from kimp.portfolio.markets.boards import Boards
from kimp.research.simulation.venue import SimulatedVenue
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.instruments import Instrument, Venue, upbit_spot
from kimp.shared.domain.time import DAY, SECOND, Nanos
from kimp.shared.messages.events import MarketMoved
from kimp.shared.ports.clock import Clock

START: Nanos = 1_790_000_000 * SECOND
BTC = upbit_spot("BTC")
USDT = upbit_spot("USDT")
SECRET = "s" * 64  # as long as HS512 likes it
PATIENCE_S = 30.0  # no test needs one of them; a busy machine may


class HandClock:
    """Time stands still until somebody moves it."""

    def __init__(self, at: Nanos = START) -> None:
        self._now = at
        self._moved = asyncio.Condition()

    def now(self) -> Nanos:
        return self._now

    async def sleep_until(self, at: Nanos) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._now >= at)

    async def move(self, by: Nanos) -> None:
        async with self._moved:
            self._now += by
            self._moved.notify_all()


def decimals(*figures: str) -> list[Decimal]:
    return [Decimal(figure) for figure in figures]


def book(instrument: Instrument, bid: str, ask: str, at: Nanos, *, size: str = "1", rows: int = 3) -> Book:
    """Rows one tick apart, each of the same size."""
    best_bid, best_ask = decimals(bid, ask)
    tick = instrument.rules.tick_at(best_ask)
    bids = tuple(Level(best_bid - n * tick, Decimal(size)) for n in range(rows))
    asks = tuple(Level(best_ask + n * tick, Decimal(size)) for n in range(rows))
    return Book(instrument.id, bids, asks, at, at)


@dataclass
class Market:
    """A served virtual Upbit and everything a test needs to poke at it."""

    clock: Clock
    keys: dict[str, ApiKey]
    balances: dict[str, Decimal]
    limits: Limits | None = None
    faults: Faults | None = None
    exchange: VirtualExchange = field(init=False)
    boards: Boards = field(init=False)
    served: Served = field(init=False)
    wire: UpbitWire = field(init=False)

    def __post_init__(self) -> None:
        simulated = SimulatedVenue(Venue.UPBIT, [BTC, USDT], dict(self.balances))
        self.exchange, self.boards = VirtualExchange(simulated, self.clock), Boards()

    def show(self, *books: Book) -> None:
        moved = MarketMoved(self.clock.now(), tuple(books))
        self.boards.note(moved)
        self.exchange.see(moved)

    def quote(self, bid: str = "100000000", ask: str = "100001000", *, size: str = "1", rows: int = 3) -> None:
        at = self.clock.now()
        self.show(book(BTC, bid, ask, at, size=size, rows=rows))

    async def until_wanted(self, *kinds: str) -> None:
        """Wait until somebody has subscribed to all of these."""
        while not set(kinds) <= {part.kind for wanted in self.wire.subscriptions() for part in wanted.wanted}:
            await asyncio.sleep(0)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Client"]:
        self.wire = UpbitWire(self.exchange, self.boards, self.clock, self.keys, limits=self.limits, faults=self.faults)
        async with serve(self.wire.application()) as self.served, aiohttp.ClientSession() as session:
            yield Client(session, self.served, next(iter(self.keys.values())))


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: Any
    json: Any

    @property
    def error(self) -> Any:
        return self.json["error"]["name"]


NONCES = itertools.count()


@dataclass
class Client:
    """A client made of nothing but HTTP and the documented signature."""

    session: aiohttp.ClientSession
    served: Served
    key: ApiKey
    algorithm: str = "HS512"

    def token(self, plain: str = "", **claims: Any) -> str:
        payload = {"access_key": self.key.access_key, "nonce": f"nonce-{next(NONCES)}"}
        if plain:
            payload |= {"query_hash": hashlib.sha512(plain.encode()).hexdigest(), "query_hash_alg": "SHA512"}
        return jwt.encode(payload | claims, self.key.secret, algorithm=self.algorithm)

    async def call(
        self, method: str, path: str, query: str = "", body: dict[str, Any] | None = None, **options: Any
    ) -> Reply:
        """``query`` reads as people read it; it is encoded on its way. Options: token, headers."""
        plain = query or "&".join(f"{name}={value}" for name, value in (body or {}).items())
        headers = {"Authorization": f"Bearer {options.get('token') or self.token(plain)}"}
        headers |= options.get("headers", {})
        encoded = quote(query, safe="=&")
        url = f"{self.served.http_url}{path}" + (f"?{encoded}" if encoded else "")
        raw = None if body is None else msgspec.json.encode(body)
        async with self.session.request(method, url, data=raw, headers=headers) as response:
            return Reply(response.status, response.headers, msgspec.json.decode(await response.read()))

    async def get(self, path: str, query: str = "", **options: Any) -> Reply:
        return await self.call("GET", path, query, **options)

    async def order(self, side: str = "bid", *, path: str = "/v1/orders", **fields: Any) -> Reply:
        """A limit order unless it says otherwise."""
        wanted = {"market": "KRW-BTC", "side": side, "ord_type": "limit"} | fields
        return await self.call("POST", path, body={name: value for name, value in wanted.items() if value})

    def socket(self, *, is_private: bool = False, **headers: str) -> Any:
        path = "/websocket/v1/private" if is_private else "/websocket/v1"
        if is_private:
            headers = {"Authorization": f"Bearer {self.token()}"} | headers
        return self.session.ws_connect(f"{self.served.ws_url}{path}", headers=headers)


def api_key(name: str = "access", **changes: Any) -> ApiKey:
    plain = {"secret": SECRET, "expires_at": START + 400 * DAY, "permissions": TRADING}
    return ApiKey(name, **(plain | changes))


def balances(krw: str = "10000000", btc: str = "0", usdt: str = "0") -> dict[str, Decimal]:
    return {"KRW": Decimal(krw), "BTC": Decimal(btc), "USDT": Decimal(usdt)}


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run a story that may not take longer than a person would wait."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await story

    asyncio.run(bounded())


async def message(socket: Any) -> Any:
    """The next JSON message, binary or text."""
    received = await socket.receive()
    assert isinstance(received.data, str | bytes), received
    return msgspec.json.decode(received.data)


async def messages(socket: Any, count: int) -> list[Any]:
    return [await message(socket) for _ in range(count)]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def market(clock: HandClock) -> Market:
    """Ten million won, one coin and a key that may trade."""
    return Market(clock, {"trader": api_key()}, balances(btc="1"))


@pytest.fixture
def kit() -> SimpleNamespace:
    """What tests build their own markets from."""
    return SimpleNamespace(
        Market=Market,
        HandClock=HandClock,
        api_key=api_key,
        balances=balances,
        book=book,
        message=message,
        messages=messages,
        run=run,
        BTC=BTC,
        USDT=USDT,
        START=START,
    )
