"""WebSocket connections: routes, subscriptions and who gets which message.

Binance, "Important WebSocket Change Notice": ``/public`` carries books, touches and trades, ``/market`` aggregated trades,
mark prices and candles, ``/private`` user data. A stream asked for on another route is acknowledged and then silent.
"Live Subscribing/Unsubscribing to streams": ``{"method":"SUBSCRIBE","params":["btcusdt@depth"],"id":1}`` is answered by
``{"result":null,"id":1}``. Paths without a route are what clients used before; they carry everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from kimp.shared.domain.time import DAY, SECOND, Nanos
from kimp.shared.ports.clock import Clock

WAITING_MAX = 10_000
"""Messages a slow client may lie behind before it is sent away; the venue does not wait for anybody either."""

STREAMS_MAX = 1_024  # "A single connection can listen to a maximum of 1024 streams."
ASKED_PER_SECOND_MAX = 10  # "WebSocket connections have a limit of 10 incoming messages per second."
MESSAGE_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 300
PING_S = 180.0  # "The websocket server will send a ping frame every 3 minutes."
LIFE: Nanos = DAY
"""A single connection is only valid for 24 hours."""


class Route(StrEnum):
    """Which entrance a connection came through."""

    PUBLIC = "public"
    MARKET = "market"
    PRIVATE = "private"
    LEGACY = ""

    def carries(self, stream: str) -> bool:
        """Whether a stream speaks here; a name without ``@`` is a listen key."""
        return self is Route.LEGACY or self is _home(stream)


def _home(stream: str) -> Route:
    _, at, kind = stream.lstrip("!").partition("@")
    if not at:
        return Route.PRIVATE
    kind = kind.partition("@")[0]
    return Route.PUBLIC if kind in ("bookTicker", "trade") or kind.startswith("depth") else Route.MARKET


class Line:
    """One connection: what it asked for and what waits to be sent to it."""

    def __init__(self, route: Route, *, is_combined: bool, kinds: frozenset[str] = frozenset()) -> None:
        self.route = route
        self.is_combined = is_combined
        self.names: dict[str, None] = {}
        self.waiting: asyncio.Queue[str] = asyncio.Queue(WAITING_MAX)
        self.farewell: tuple[int, str] | None = None
        self._kinds = kinds
        self._ending = asyncio.Event()

    def tell(self, stream: str, payload: str, kind: str) -> None:
        """Queue a message of a stream; a client too slow for it is sent away."""
        if self._kinds and kind not in self._kinds:
            return
        self.put(f'{{"stream":"{stream}","data":{payload}}}' if self.is_combined else payload)

    def put(self, message: str) -> None:
        """Queue any message."""
        try:
            self.waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.end(WSCloseCode.POLICY_VIOLATION, "too slow")

    def end(self, code: int, reason: str) -> None:
        """Ask for the connection to be closed."""
        self.farewell = self.farewell or (code, reason)
        self._ending.set()

    async def ended(self) -> tuple[int, str]:
        """Wait until the venue wants this connection closed; how is returned."""
        await self._ending.wait()
        assert self.farewell is not None
        return self.farewell


class Sockets:
    """All connections of one venue."""

    def __init__(self, clock: Clock, *, life: Nanos = LIFE) -> None:
        self._clock = clock
        self._life = life
        self._lines: dict[Line, None] = {}

    def publish(self, stream: str, message: dict[str, Any]) -> None:
        """Send a message to everyone who listens to the stream on its route."""
        listeners = [line for line in self._lines if stream in line.names and line.route.carries(stream)]
        if listeners:
            payload = msgspec.json.encode(message).decode()
            for line in listeners:
                line.tell(stream, payload, str(message.get("e", "")))

    def has_listeners(self, stream: str) -> bool:
        """Whether anybody would get it."""
        return any(stream in line.names for line in self._lines)

    def listeners(self, route: Route) -> int:
        """How many connections of that route there are."""
        return sum(line.route is route for line in self._lines)

    def close_all(self, code: int = WSCloseCode.GOING_AWAY, reason: str = "") -> None:
        """Close every connection, as maintenance does."""
        for line in self._lines:
            line.end(code, reason)

    def drop_stream(self, stream: str) -> None:
        """A listen key is over: nobody listens to it any more."""
        for line in self._lines:
            line.names.pop(stream, None)

    async def converse(self, request: web.Request, line: Line, streams: Iterable[str]) -> web.WebSocketResponse:
        """Hold one connection from its opening to its end."""
        socket = web.WebSocketResponse(heartbeat=PING_S, max_msg_size=MESSAGE_BYTES_MAX)
        await socket.prepare(request)
        line.names.update(dict.fromkeys(streams))
        self._lines[line] = None
        try:
            if len(self._lines) > CONNECTIONS_MAX:
                line.end(WSCloseCode.TRY_AGAIN_LATER, "too many connections")
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._write(socket, line)),
                    group.create_task(self._close_when_ended(socket, line)),
                    group.create_task(self._age(line)),
                ]
                await self._read(socket, line)
                for helper in helpers:
                    helper.cancel()
        finally:
            del self._lines[line]
        return socket

    async def _read(self, socket: web.WebSocketResponse, line: Line) -> None:
        second, asked = -1, 0
        async for message in socket:
            now = self._clock.now() // SECOND
            second, asked = now, asked + 1 if now == second else 1
            if asked > ASKED_PER_SECOND_MAX:
                line.end(WSCloseCode.POLICY_VIOLATION, "Too many requests")
            elif message.type is WSMsgType.TEXT:
                line.put(msgspec.json.encode(answer(line, message.data)).decode())

    async def _write(self, socket: web.WebSocketResponse, line: Line) -> None:
        with suppress(ConnectionError):
            while True:
                await socket.send_str(await line.waiting.get())

    async def _close_when_ended(self, socket: web.WebSocketResponse, line: Line) -> None:
        code, reason = await line.ended()
        await socket.close(code=code, message=reason.encode())

    async def _age(self, line: Line) -> None:
        await self._clock.sleep_until(self._clock.now() + self._life)
        line.end(WSCloseCode.GOING_AWAY, "24 hours")


class _Request(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: list[str | bool] = []


def answer(line: Line, text: str) -> dict[str, Any]:
    """Carry out one live request and say so; nonsense is answered with the venue's error and changes nothing."""
    try:
        asked = msgspec.json.decode(text, type=_Request)
    except msgspec.MsgspecError:
        return {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}}
    names = [name for name in asked.params if isinstance(name, str)]
    match asked.method:
        case "SUBSCRIBE":
            if len(line.names) + len(names) > STREAMS_MAX:
                return _complaint(asked, "too many streams")
            line.names.update(dict.fromkeys(names))
        case "UNSUBSCRIBE":
            for name in names:
                line.names.pop(name, None)
        case "LIST_SUBSCRIPTIONS":
            return {"result": list(line.names), "id": asked.id}
        case "SET_PROPERTY" if asked.params[:1] == ["combined"] and len(asked.params) == 2:
            line.is_combined = bool(asked.params[1])
        case "GET_PROPERTY" if asked.params[:1] == ["combined"]:
            return {"result": line.is_combined, "id": asked.id}
        case _:
            return _complaint(asked, f"unknown variant `{asked.method}`")
    return {"result": None, "id": asked.id}


def _complaint(asked: _Request, what: str) -> dict[str, Any]:
    return {"error": {"code": 2, "msg": f"Invalid request: {what}"}, "id": asked.id}
