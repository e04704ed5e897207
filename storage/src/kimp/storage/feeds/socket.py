"""One WebSocket connection kept alive for ever: what every streaming feed stands on.

It sends the subscription after each connection, beats, counts its messages, comes back with growing pauses, and replaces
a connection by opening the next one *before* the old one ends, so that a venue's 24 hours leave no gap.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from kimp.shared.domain.time import HOUR, MINUTE, SECOND, Nanos
from kimp.shared.ports.clock import Clock
from kimp.storage.feeds.frames import ChannelLost, ChannelOpened, Frame, Item
from kimp.storage.feeds.pace import Backoff, Limit, Pacer

OPEN_S = 10.0  # a handshake over the Pacific takes half a second; ten is lost
CLOSE_S = 2.0  # a polite farewell is not worth a slow shutdown
FIRST_FRAME_S = 10.0  # how long a successor may take to deliver before the old connection is ended regardless
BEAT_S = 30.0  # Upbit, "WebSocket 사용 및 에러 안내": idle connections are closed after about 120 s
PONG_S = 10.0
FRAME_BYTES_MAX = 4 * 1024 * 1024
LIFE: Nanos = 23 * HOUR + 30 * MINUTE
"""Binance, "Websocket Market Streams": "A single connection is only valid for 24 hours"."""
LIFE_JITTER: Nanos = 20 * MINUTE
"""Drawn off each life, so that connections opened together are not renewed together."""


class SocketPlan(msgspec.Struct, frozen=True):
    """What to connect to and what to say there: ``openings`` go out after every connection."""

    channel: str
    url: str
    limits: tuple[Limit, ...]
    openings: tuple[str, ...] = ()
    life: Nanos = LIFE


class _Line:
    """One connection and what is known of it."""

    def __init__(self, connection: ClientConnection, pacer: Pacer, ends_in: Nanos) -> None:
        self.connection = connection
        self.pacer = pacer
        self.ends_in = ends_in
        self.heard = asyncio.Event()
        self.worn = asyncio.Event()  # ended, or to be replaced
        self.ended = asyncio.Event()
        self.reason = ""


class FeedSocket:
    """Delivers one channel's messages into an inbox until it is cancelled; never raises because of the network."""

    def __init__(self, plan: SocketPlan, *, clock: Clock, dice: Random) -> None:
        self.plan = plan
        self._clock = clock
        self._dice = dice
        self._backoff = Backoff(dice)
        self._line: _Line | None = None

    async def run(self, inbox: asyncio.Queue[Item]) -> None:
        """Connect, deliver, renew, reconnect: for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                line = await self._reach(inbox)
                self._serve(line, group, inbox)
                await inbox.put(ChannelOpened(self.plan.channel, self._clock.now()))
                while (successor := await self._outlive(line, group, inbox)) is not None:
                    line = successor
                self._line = None
                await self._mourn(inbox, line.reason)

    def renew(self) -> None:
        """Replace the connection as at the end of its life: the healthy streams on it go on until the next one stands."""
        if self._line is not None:
            self._line.worn.set()

    async def send(self, message: str) -> None:
        """Send one message over the present connection, when the limits allow; dropped if there is none."""
        if self._line is not None:
            with suppress(ConnectionClosed):
                await self._say(self._line, message)

    async def _reach(self, inbox: asyncio.Queue[Item]) -> _Line:
        """A connection with its subscription sent, however many attempts it takes."""
        while True:
            try:
                return await self._open()
            except (OSError, WebSocketException, TimeoutError) as trouble:
                await self._mourn(inbox, _describe(trouble), _retry_after(trouble))

    async def _mourn(self, inbox: asyncio.Queue[Item], reason: str, at_least: Nanos = 0) -> None:
        now = self._clock.now()
        await inbox.put(ChannelLost(self.plan.channel, now, reason))
        await self._clock.sleep_until(now + self._backoff.pause(at_least))

    async def _open(self) -> _Line:
        connection = await connect(
            self.plan.url,
            origin=None,  # Upbit, "요청 수 제한": with an Origin header only one request per 10 s is allowed
            ping_interval=None,  # our own beat counts towards the limits
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            compression=None,  # a few kB/s; not worth the latency
            max_size=FRAME_BYTES_MAX,
            proxy=None,  # nothing is taken from the environment
        )
        line = _Line(connection, Pacer(self.plan.limits, self._clock), self._life())
        try:
            for message in self.plan.openings:
                await self._say(line, message)
        except BaseException:
            await _end(line)
            raise
        return line

    def _life(self) -> Nanos:
        return self.plan.life - round(min(LIFE_JITTER, self.plan.life // 10) * self._dice.random())

    async def _say(self, line: _Line, message: str) -> None:
        await line.pacer.turn()
        await line.connection.send(message)

    def _serve(self, line: _Line, group: asyncio.TaskGroup, inbox: asyncio.Queue[Item]) -> None:
        self._line = line
        group.create_task(self._pump(line, inbox))
        group.create_task(self._beat(line))

    async def _pump(self, line: _Line, inbox: asyncio.Queue[Item]) -> None:
        receive, channel, now = line.connection.recv, self.plan.channel, self._clock.now
        try:
            while True:
                payload = await receive(decode=False)
                await inbox.put(Frame(channel, now(), payload))
                if not line.heard.is_set():
                    line.heard.set()
                    self._backoff.reset()
        except ConnectionClosed as closed:
            line.reason = line.reason or _describe(closed)
        finally:
            line.ended.set()
            line.worn.set()
            await _end(line)

    async def _beat(self, line: _Line) -> None:
        """Prove the connection with a PING now and then; without a PONG it is dead, whatever the system says."""
        try:
            while not await _within(line.ended, BEAT_S):
                await line.pacer.turn()
                async with asyncio.timeout(PONG_S):
                    await (await line.connection.ping())
        except ConnectionClosed:
            return
        except TimeoutError:
            line.reason = f"no PONG within {PONG_S:.0f} s"
            await _end(line)

    async def _outlive(self, line: _Line, group: asyncio.TaskGroup, inbox: asyncio.Queue[Item]) -> _Line | None:
        """The connection that took over from this one, or ``None`` when this one ended first."""
        await _within(line.worn, line.ends_in / SECOND)
        while not line.ended.is_set():
            try:
                successor = await self._open()
            except (OSError, WebSocketException, TimeoutError) as trouble:
                pause = self._backoff.pause(_retry_after(trouble))
                await _within(line.ended, pause / SECOND)
                continue
            self._serve(successor, group, inbox)
            await _within(successor.heard, FIRST_FRAME_S)
            line.reason = "replaced"
            await _end(line)
            return successor
        return None


async def _end(line: _Line) -> None:
    with suppress(WebSocketException, OSError):
        await line.connection.close()


async def _within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _describe(trouble: Exception) -> str:
    match trouble:
        case ConnectionClosed(rcvd=received):
            return "closed 1006" if received is None else f"closed {received.code} {received.reason}".rstrip()
        case InvalidStatus():
            return f"connection refused with HTTP {trouble.response.status_code}"
        case TimeoutError():
            return "no answer to the connection request"
    return f"no connection: {trouble}"


def _retry_after(trouble: Exception) -> Nanos:
    if isinstance(trouble, InvalidStatus):
        return seconds_asked(trouble.response.headers.get("Retry-After"))
    return 0


def seconds_asked(header: str | None) -> Nanos:
    """What a ``Retry-After: 30`` asks for; dates and nonsense count as nothing."""
    return int(header) * SECOND if header is not None and header.isdigit() else 0
