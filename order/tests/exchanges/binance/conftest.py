"""A scripted Binance on loopback: documented payloads, documented errors, and a wire that breaks on demand."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import WSMsgType, web

import kimp.order.exchanges.binance_transport  # noqa: F401  # seconds, before any test's time runs
from kimp.order.exchanges.binance import BinanceExchange
from kimp.shared.domain.instruments import Instrument, Side, binance_perpetual
from kimp.shared.domain.orders import Order
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Binance, SecretStr
from kimp.storage.feeds.clocks import SystemClock

KEY, SECRET = "the-key", "the-secret"
WITHIN_S = 5.0
BTC = binance_perpetual("BTC")

HANG, RESET, TRUNCATED, NONSENSE = "hang", "reset", "truncated", "nonsense"


class FastClock:
    """Runs ``speed`` times as fast as the loop's clock, so that hours pass in a second of real sockets."""

    def __init__(self, speed: int) -> None:
        self.speed = speed

    def now(self) -> Nanos:
        return 1_790_000_000 * SECOND + round(asyncio.get_running_loop().time() * self.speed * SECOND)

    async def sleep_until(self, at: Nanos) -> None:
        while (left := at - self.now()) > 0:
            await asyncio.sleep(left / SECOND / self.speed)


class FakeBinance:
    """Answers what it was told to answer, remembers what it was asked, pushes what it is given."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.skew: Nanos = 0
        self.script: dict[str, deque[Any]] = defaultdict(deque)
        self.always: dict[str, Any] = {
            "GET /fapi/v1/ping": {},
            "POST /fapi/v1/listenKey": lambda _: {"listenKey": f"key-{self.keys}"},
            "PUT /fapi/v1/listenKey": {},
            "GET /fapi/v1/userTrades": [],
            "GET /fapi/v1/income": [],
            "GET /fapi/v1/time": lambda _: {"serverTime": (self.clock.now() + self.skew) // MILLISECOND},
        }
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: dict[str, str] = {}
        self.keys = 1
        self.is_deaf = False
        self.streams: list[tuple[str, web.WebSocketResponse]] = []
        self.opened: list[str] = []
        self.url = ""

    # -- what a test looks at and turns

    def told(self, route: str) -> list[dict[str, str]]:
        """The parameters of every request of that route."""
        return [params for name, params in self.asked if name == route]

    async def push(self, payload: Any) -> None:
        for _, stream in self.streams:
            await stream.send_json(payload)

    async def break_streams(self) -> None:
        for _, stream in list(self.streams):
            transport = stream._req.transport if stream._req is not None else None
            if transport is not None:
                transport.abort()

    # -- the server

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeBinance]:
        app = web.Application()
        app.router.add_get("/private/ws", self._stream)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await self.break_streams()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        route = f"{request.method} {request.path}"
        text = request.query_string or await request.text()
        params = dict(parse_qsl(text))
        self.asked.append((route, params))
        if "timestamp" in params:
            assert request.headers["X-MBX-APIKEY"] == KEY
            signed, _, signature = text.rpartition("&signature=")
            assert signature == hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
            assert params["recvWindow"] == "5000"
        script = self.script[route]
        answer = script.popleft() if script else self.always.get(route, (404, {}))
        answer = answer(params) if callable(answer) else answer
        return await self._send(request, answer)

    async def _send(self, request: web.Request, answer: Any) -> web.StreamResponse:
        if answer == HANG:
            await asyncio.sleep(60)
        if answer == RESET:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if answer == NONSENSE:
            return web.Response(text="<html>Bad Gateway</html>", content_type="text/html")
        if answer == TRUNCATED:
            response = web.StreamResponse(headers={"Content-Length": "500", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"orderId": 1')
            assert request.transport is not None
            request.transport.close()
            return response
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=self.headers)
        return web.json_response(body, status=status, headers=self.headers)

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse()
        await stream.prepare(request)
        key, events = request.query.get("listenKey", ""), request.query.get("events", "")
        self.opened.append(f"{key} {events}")
        if key and events and not self.is_deaf:  # otherwise connected, and silent for ever
            self.streams.append((key, stream))
        async for message in stream:
            assert message.type is not WSMsgType.ERROR
        self.streams = [(name, other) for name, other in self.streams if other is not stream]
        return stream


def settings_of(venue: FakeBinance) -> Binance:
    return Binance(
        rest_url=venue.url,
        ws_private_url=venue.url.replace("http", "ws") + "/private",
        api_key=SecretStr(KEY),
        secret_key=SecretStr(SECRET),
    )


Story = Callable[[FakeBinance, BinanceExchange], Coroutine[Any, Any, None]]


@pytest.fixture
def with_venue() -> Callable[..., None]:
    """Runs a story with a venue and an exchange that is connected to it."""

    def run(story: Story, *, speed: int = 0, within_s: float = 20.0) -> None:
        async def main() -> None:
            clock: Clock = FastClock(speed) if speed else SystemClock()
            async with (
                asyncio.timeout(within_s),
                FakeBinance(clock).serving() as venue,
                BinanceExchange(settings_of(venue), [BTC], clock, Random(7)) as exchange,
            ):
                await story(venue, exchange)

        asyncio.run(main())

    return run


@pytest.fixture
def btc() -> Instrument:
    return BTC


@pytest.fixture
def an_order() -> Order:
    return Order("kimp-0123456789abcdef0123-1-0", BTC.id, Side.SELL, Decimal("0.070"), Decimal("100000.0"))
