"""Upbit on the wire, as far as its documentation goes: answers are scripted, requests are kept."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar
from urllib.parse import unquote

import pytest
from aiohttp import WSCloseCode, WSMsgType, web

from kimp.order.exchanges.upbit import UpbitExchange
from kimp.shared.domain.instruments import upbit_spot
from kimp.shared.settings import SecretStr, Upbit
from kimp.storage.feeds.clocks import SystemClock

ACCESS_KEY, SECRET_KEY = "canary-access-key", "canary-secret-key"
T = TypeVar("T")
Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    headers: dict[str, str]
    claims: dict[str, Any]
    peer: Any


@dataclass
class FakeUpbit:
    """Answers each endpoint with what was scripted for it, the last one again and again."""

    answers: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Asked] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    socket_headers: list[dict[str, str]] = field(default_factory=list)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    ended: int = 0
    socket_status: int = 101
    url: str = ""

    def on(self, endpoint: str, *answers: Any) -> None:
        """``on("POST /v1/orders", (201, {...}))``; an answer may be a script too."""
        self.answers[endpoint] = list(answers)

    def requests(self, endpoint: str) -> list[Asked]:
        method, path = endpoint.split()
        return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.heard:
            await self.heard.wait_for(condition)

    async def push(self, message: dict[str, Any]) -> None:
        await self.sockets[-1].send_bytes(json.dumps(message).encode())

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/websocket/v1/private":
            return await self._socket(request)
        text = await request.text()
        self.asked.append(
            Asked(
                request.method,
                request.path,
                dict(request.query),
                json.loads(text) if text else {},
                dict(request.headers),
                claims_of(request, text),
                request.transport.get_extra_info("peername") if request.transport else None,
            )
        )
        async with self.heard:
            self.heard.notify_all()
        script = self.answers.get(f"{request.method} {request.path}") or [(200, [])]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if callable(answer):
            found: web.StreamResponse = await answer(request)
            return found
        status, body, *headers = answer
        return web.json_response(body, status=status, headers=headers[0] if headers else None)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.socket_headers.append(dict(request.headers))
        if self.socket_status != 101:
            return web.Response(status=self.socket_status)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.said.append(message.data)
                async with self.heard:
                    self.heard.notify_all()
        self.ended += 1
        async with self.heard:
            self.heard.notify_all()
        return socket


def claims_of(request: web.Request, text: str) -> dict[str, Any]:
    """What the JWT says, its signature and query hash checked as Upbit checks them."""
    words = request.headers.get("Authorization", "")
    if not words:
        return {}
    head, claims, signature = words.removeprefix("Bearer ").split(".")
    wanted = hmac.new(SECRET_KEY.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "==") == wanted
    told: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=="))
    query = "&".join(f"{k}={v}" for k, v in json.loads(text).items()) if text else unquote(request.query_string)
    if query:
        assert told["query_hash"] == hashlib.sha512(query.encode()).hexdigest()
    return told


@asynccontextmanager
async def serving() -> AsyncIterator[FakeUpbit]:
    fake = FakeUpbit()
    fake.on(
        "GET /v1/orderbook/instruments", (200, [{"market": "KRW-BTC", "quote_currency": "KRW", "tick_size": "1000"}])
    )
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = str(runner.addresses[0][1])
    try:
        yield fake
    finally:
        for socket in fake.sockets:
            with suppress(Exception):
                await socket.close(code=WSCloseCode.GOING_AWAY)
        await runner.cleanup()


def settings_for(fake: FakeUpbit) -> Upbit:
    return Upbit(
        rest_url=f"http://127.0.0.1:{fake.url}",
        ws_private_url=f"ws://127.0.0.1:{fake.url}/websocket/v1/private",
        access_key=SecretStr(ACCESS_KEY),
        secret_key=SecretStr(SECRET_KEY),
    )


Play = Callable[[Callable[[UpbitExchange, FakeUpbit], Coroutine[Any, Any, T]]], T]


@pytest.fixture
def play() -> Play[Any]:
    """Runs a scene with an exchange and the venue it talks to."""

    def run(scene: Callable[[UpbitExchange, FakeUpbit], Coroutine[Any, Any, T]]) -> T:
        async def both() -> T:
            async with serving() as fake:
                exchange = UpbitExchange(settings_for(fake), [upbit_spot("BTC")], SystemClock(), Random(1))
                async with asyncio.timeout(15), exchange:
                    return await scene(exchange, fake)

        return asyncio.run(both())

    return run


@pytest.fixture
def stage() -> Any:
    """The pieces of a scene, for tests that need another exchange: server and settings."""
    return serving, settings_for
