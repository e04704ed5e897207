"""A loop whose time is virtual, a fake venue on loopback, and the recorded frames."""

import asyncio
import os
import selectors
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos

BEGAN_AT: Nanos = 1_790_000_000 * SECOND  # a Monday morning in Seoul
REAL_SECONDS_MAX = 60.0
QUIET_S = 0.001  # loopback delivers at once; a millisecond without anything to read means that nothing is on its way
TICK_S = 0.1


# --- virtual time ----------------------------------------------------------------------------------------------------


class VirtualSelector(selectors.DefaultSelector):
    """Where the loop would wait for a timer, time jumps there instead, unless a socket has something to read."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert time.monotonic() < self.loop.deadline, "the test took too long"
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        ready = super().select(QUIET_S)
        if ready:
            return ready
        if timeout is not None:
            self.loop.virtual += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that lives hours in a second; sockets are real."""

    def __init__(self) -> None:
        self.virtual = 0.0
        self.deadline = time.monotonic() + REAL_SECONDS_MAX
        selector = VirtualSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.virtual


class LoopClock:
    """The clock of the running loop."""

    def now(self) -> Nanos:
        return BEGAN_AT + round(asyncio.get_running_loop().time() * SECOND)

    async def sleep_until(self, at: Nanos) -> None:
        while (left := at - self.now()) > 0:
            await asyncio.sleep(left / SECOND)


class SteppedClock:
    """A clock that a test without a loop moves by hand."""

    def __init__(self) -> None:
        self.at = BEGAN_AT

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.at = max(self.at, at)


@pytest.fixture
def virtually() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine in virtual time."""

    def run(story: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(story)

    return run


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


@pytest.fixture
def stepped_clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def began_at() -> Nanos:
    return BEGAN_AT


# --- a venue ---------------------------------------------------------------------------------------------------------

Rows = dict[str, str]


class FakeBook:
    """A contract's true book, which changes with every tick and tells differences in Binance's manner."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.last = 1_000
        self.bids: Rows = {f"{100 - i}.0": "1.000" for i in range(30)}
        self.asks: Rows = {f"{101 + i}.0": "1.000" for i in range(30)}
        self.truth: dict[int, tuple[str, str]] = {}
        self._remember()

    def _remember(self) -> None:
        self.truth[self.last] = (self.bids["100.0"], self.asks["101.0"])

    def difference(self, now_ms: int) -> str:
        previous, first = self.last, self.last + 3
        self.last = first + 2
        size = f"{1 + self.last % 7}.500"
        self.bids["100.0"] = size
        self.asks["101.0"] = size
        self._remember()
        data = {
            "e": "depthUpdate",
            "E": now_ms,
            "T": now_ms,
            "s": self.symbol,
            "U": first,
            "u": self.last,
            "pu": previous,
            "b": [["100.0", size], ["42.0", "0.000"]],
            "a": [["101.0", size]],
        }
        return text({"stream": f"{self.symbol.lower()}@depth@100ms", "data": data})

    def snapshot(self, now_ms: int) -> dict[str, Any]:
        rows = {"bids": list(self.bids.items()), "asks": list(self.asks.items())}
        return {"lastUpdateId": self.last, "E": now_ms, "T": now_ms, **rows}


class FakeVenue:
    """Both venues' streams and Binance's snapshots on loopback, with every fault a dial."""

    def __init__(self) -> None:
        self.handshakes: list[tuple[float, Headers]] = []
        self.received: list[tuple[float, str]] = []
        self.asked: list[tuple[float, str]] = []
        self.endings: list[int | None] = []
        self.open_now = 0
        self.open_most = 0
        self.refuses_with: int | None = None
        self.is_silent = False
        self.stalled: set[str] = set()
        self.delayed_ms = 0
        self.repeats = False
        self.swaps = False
        self.drops = 0
        self.refusals: list[tuple[int, Mapping[str, str]]] = []
        self.rate = "1400.5"
        self.makers: dict[str, Callable[[int], list[tuple[str, str]]]] = {}
        self._connections: list[ServerConnection] = []
        self._frozen: set[ServerConnection] = set()
        self._held: str | None = None
        self._server: Server | None = None
        self._runner: web.AppRunner | None = None
        self.ws_url = self.rest_url = ""

    def now_ms(self) -> int:
        return LoopClock().now() // MILLISECOND

    async def __aenter__(self) -> "FakeVenue":
        self._server = await serve(
            self._talk, "127.0.0.1", 0, process_request=self._greet, ping_interval=None, compression=None
        )
        self.ws_url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._group = await asyncio.TaskGroup().__aenter__()
        self._heart = self._group.create_task(self._pulse())
        self.rest_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._runner is not None
        self._heart.cancel()
        await self._group.__aexit__(None, None, None)
        self._server.close()
        await self._server.wait_closed()
        await self._runner.cleanup()

    def break_all(self) -> None:
        """Every connection ends without a word: the other side sees 1006."""
        for connection in self._connections:
            connection.transport.abort()

    def freeze(self) -> None:
        """Every connection stays open and nothing passes either way, as when a router forgets it."""
        for connection in self._connections:
            connection.transport.pause_reading()
            self._frozen.add(connection)

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append((asyncio.get_running_loop().time(), request.headers))
        return connection.respond(self.refuses_with, "maintenance\n") if self.refuses_with else None

    async def _talk(self, connection: ServerConnection) -> None:
        self._connections.append(connection)
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            while True:
                message = await connection.recv()
                self.received.append((asyncio.get_running_loop().time(), str(message)))
        except ConnectionClosed:
            pass
        finally:
            self.open_now -= 1
            self._connections.remove(connection)
            self.endings.append(connection.close_code)

    async def _pulse(self) -> None:
        """Every tenth of a second each route's messages, the same ones to all of its connections."""
        while True:
            await asyncio.sleep(TICK_S)
            now_ms = self.now_ms() - self.delayed_ms
            for route, make in self.makers.items():
                wanted = [message for name, message in make(now_ms) if name not in self.stalled]
                told = wanted if route == "/market" else self._disordered(wanted)
                for message in [] if self.is_silent else told:
                    await self._say(route, message)

    def _disordered(self, messages: list[str]) -> list[str]:
        """Some lost, some told twice, two told in the wrong order."""
        told: list[str] = []
        for message in messages:
            if self.drops:
                self.drops -= 1
            elif self.swaps and self._held is None:
                self._held = message
            elif self.swaps and self._held is not None:
                told += [message, self._held]
                self._held, self.swaps = None, False
            else:
                told += [message, message] if self.repeats else [message]
        return told

    async def _say(self, route: str, message: str) -> None:
        for connection in list(self._connections):
            assert connection.request is not None
            if connection.request.path.startswith(route) and connection not in self._frozen:
                with suppress(ConnectionClosed):
                    await connection.send(message)

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((asyncio.get_running_loop().time(), request.path))
        if "depth" in request.path:
            if self.refusals:
                status, headers = self.refusals.pop(0)
                return web.Response(status=status, headers=headers)
            return web.json_response(self.books[request.query["symbol"]].snapshot(self.now_ms()))
        if "forex" in request.path:
            return web.json_response(
                [{"code": "FRX.KRWUSD", "basePrice": float(self.rate), "timestamp": self.now_ms()}]
            )
        meta = {"currency": "KRW", "symbol": "KRW=X", "regularMarketPrice": 1401.0}
        meta |= {"regularMarketTime": self.now_ms() // 1000}
        return web.json_response({"chart": {"result": [{"meta": meta}], "error": None}})

    # --- what it streams ----------------------------------------------------------------------------------------------

    books: dict[str, FakeBook]

    def streams_upbit(self, *codes: str, price: int = 1_400) -> None:
        """Books of these markets on Upbit's route."""

        def make(now_ms: int) -> list[tuple[str, str]]:
            return [(code, upbit_book(code, now_ms, price)) for code in codes]

        self.makers["/websocket"] = make

    def streams_binance(self, *symbols: str) -> None:
        """Differences of these contracts on the public route, mark prices on the market route."""
        self.books = {symbol: FakeBook(symbol) for symbol in symbols}

        def public(now_ms: int) -> list[tuple[str, str]]:
            return [(symbol, book.difference(now_ms)) for symbol, book in self.books.items()]

        def market(now_ms: int) -> list[tuple[str, str]]:
            return [(symbol + "@mark", mark(symbol, now_ms)) for symbol in self.books]

        self.makers["/public"] = public
        self.makers["/market"] = market


def text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def upbit_book(code: str, now_ms: int, price: int = 1_400) -> str:
    units = [
        {"ap": price + 1 + i, "bp": price - i, "as": 1.5, "bs": 0.5 + (now_ms // 100) % 7 + i}  # it changes
        for i in range(3)
    ]
    return text({"ty": "orderbook", "cd": code, "tms": now_ms, "obu": units})


def mark(symbol: str, now_ms: int) -> str:
    data = {"e": "markPriceUpdate", "E": now_ms, "s": symbol, "p": "100.50", "i": "100.40", "r": "0.00010000"}
    return text({"stream": f"{symbol.lower()}@markPrice@1s", "data": data | {"T": now_ms + 3_600_000}})


@pytest.fixture
def venue() -> FakeVenue:
    """To be opened with ``async with`` inside the virtual loop."""
    return FakeVenue()


Waiter = Callable[[Callable[[], bool], float], Awaitable[float]]


@pytest.fixture
def until() -> Waiter:
    """Wait until something holds, at most so many virtual seconds; tells how long it took."""

    async def wait(holds: Callable[[], bool], seconds: float) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not holds():
            assert loop.time() - began < seconds, f"did not happen within {seconds} s"
            await asyncio.sleep(seconds / 500)
        return loop.time() - began

    return wait


# --- recordings ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def recorded_frames() -> Path:
    """The directory of real recorded frames, which lies outside of the project."""
    folder = os.environ.get("KIMP_TEST_DATA")
    if folder is None:
        pytest.skip("needs recorded market data: set KIMP_TEST_DATA to the folder that holds market/ and frames/")
    return Path(folder) / "frames"
