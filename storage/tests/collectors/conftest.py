"""A small market that is a function of time, venues on loopback that stream and remember it, and a real database."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from aiohttp import WSMsgType, web

from kimp.shared.cli import main
from kimp.shared.domain.time import MILLISECOND, MINUTE, SECOND, Nanos, from_datetime, to_datetime

BASE: Nanos = 1_790_000_000 * SECOND // MINUTE * MINUTE  # a Monday morning in Seoul
TICK: Nanos = 100 * MILLISECOND
TRADE: Nanos = 500 * MILLISECOND
TICKS_A_MINUTE = MINUTE // TICK


class FastClock:
    """A clock that runs ``speed`` times as fast as the real one; several processes agree by sharing its numbers."""

    def __init__(self, base: Nanos, origin: int, speed: int) -> None:
        self.base, self.origin, self.speed = base, origin, speed

    def now(self) -> Nanos:
        return self.base + (time.monotonic_ns() - self.origin) * self.speed

    async def sleep_until(self, at: Nanos) -> None:
        while (left := at - self.now()) > 0:
            await asyncio.sleep(left / SECOND / self.speed)


class StillClock:
    """A clock that moves only when somebody waits."""

    def __init__(self, at: Nanos) -> None:
        self.at = at

    def now(self) -> Nanos:
        return self.at

    async def sleep_until(self, at: Nanos) -> None:
        self.at = max(self.at, at)
        await asyncio.sleep(0)


# --- the market -------------------------------------------------------------------------------------------------------


class Market:
    """What really happened, minute by minute, for ever into both directions of time."""

    def __init__(self) -> None:
        self.prices = {"KRW-BTC": 140_000_000, "KRW-USDT": 1_400, "BTCUSDT": 100_000}
        self.steps = {"KRW-BTC": 1_000, "KRW-USDT": 1, "BTCUSDT": 1}
        self.busy_from: Nanos = 1 << 62

    def is_quiet(self, symbol: str, minute: int) -> bool:
        """Minutes in which nobody trades on Upbit, and in which Binance stands still."""
        if minute * MINUTE >= self.busy_from:
            return False
        return minute % 7 == 3 if symbol.startswith("KRW-") else minute % 13 == 5

    def price(self, symbol: str, at: Nanos) -> int:
        return self.prices[symbol] + (at // SECOND % 40) * self.steps[symbol]

    def trades(self, symbol: str, start: Nanos, end: Nanos) -> list[dict[str, Any]]:
        """The trades of ``[start, end)``; the id is the place in time."""
        found = []
        for number in range(-(-start // TRADE), -(-end // TRADE)):
            at = number * TRADE
            if not self.is_quiet(symbol, at // MINUTE):
                size = f"0.{number % 89 + 1:03}"
                found.append({"id": number, "at": at // MILLISECOND, "price": self.price(symbol, at), "size": size})
        return found

    def bar(self, symbol: str, minute: int) -> dict[str, Any] | None:
        trades = self.trades(symbol, minute * MINUTE, (minute + 1) * MINUTE)
        if not trades:
            return None
        prices = [trade["price"] for trade in trades]
        volume = sum(int(trade["size"][2:]) for trade in trades)  # in thousandths, so that sums are exact
        turnover = sum(int(trade["size"][2:]) * trade["price"] for trade in trades)
        return {
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": f"{volume // 1000}.{volume % 1000:03}",
            "turnover": f"{turnover // 1000}.{turnover % 1000:03}",
        }

    def levels(self, symbol: str, tick: int) -> tuple[dict[int, str], dict[int, str]]:
        """Bids and asks at one tick."""
        middle, step = self.price(symbol, tick * TICK), self.steps[symbol]
        bids = {middle - step * (i + 1): f"{tick % 9 + i + 1}.5" for i in range(20)}
        asks = {middle + step * (i + 1): f"{tick % 7 + i + 1}.25" for i in range(20)}
        return bids, asks


# --- the venues -------------------------------------------------------------------------------------------------------


class Venues:
    """Upbit, Binance and two exchange-rate sources on loopback; every fault is a dial.

    Runs in a thread of its own, so that collectors in other processes and in this one meet the same venue.
    """

    def __init__(self, clock: Any, *, host: str = "127.0.0.1") -> None:
        self.clock = clock
        self.market = Market()
        self.away: set[str] = set()
        self.refusals: list[tuple[int, Mapping[str, str]]] = []
        self.asked: list[str] = []
        self.headers: Mapping[str, str] = {}
        self.refuses_history = False
        self.halted: set[str] = set()
        self.sent_trades: dict[str, set[int]] = {}
        self.connections = 0
        self._host = host
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._sockets: set[tuple[str, web.WebSocketResponse]] = set()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Venues":
        self._thread.start()
        assert self._ready.wait(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)

    @property
    def environ(self) -> dict[str, str]:
        """Settings that lead here."""
        http, ws = f"http://{self._host}:{self.port}", f"ws://{self._host}:{self.port}"
        return {
            "KIMP__UPBIT__REST_URL": f"{http}/upbit",
            "KIMP__UPBIT__WS_URL": f"{ws}/upbit/ws",
            "KIMP__BINANCE__REST_URL": f"{http}/binance",
            "KIMP__BINANCE__WS_PUBLIC_URL": f"{ws}/binance/public",
            "KIMP__BINANCE__WS_MARKET_URL": f"{ws}/binance/market",
            "KIMP__FX__BANK_URL": f"{http}/fx/bank",
            "KIMP__FX__MARKET_URL": f"{http}/fx/market",
        }

    def leave(self, venue: str) -> None:
        """The venue goes into maintenance: connections end, requests are refused."""
        self.away.add(venue)

        async def abort() -> None:
            for name, socket in list(self._sockets):
                if name == venue and socket._req is not None and socket._req.transport is not None:
                    socket._req.transport.abort()

        asyncio.run_coroutine_threadsafe(abort(), self._loop).result(10.0)

    def return_(self, venue: str) -> None:
        self.away.discard(venue)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/upbit/ws", self._upbit_stream)
        app.router.add_get("/binance/public/stream", self._binance_stream)
        app.router.add_get("/binance/market/stream", self._binance_stream)
        app.router.add_get("/upbit/v1/candles/minutes/1", self._upbit_bars)
        app.router.add_get("/binance/fapi/v1/klines", self._binance_bars)
        app.router.add_get("/binance/fapi/v1/depth", self._binance_depth)
        app.router.add_get("/binance/fapi/v1/fundingRate", self._binance_funding)
        app.router.add_get("/binance/fapi/v1/exchangeInfo", self._binance_rules)
        app.router.add_get("/fx/{source}", self._rate)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, self._host, 0).start())
        self.port = runner.addresses[0][1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    # --- streams ---

    async def _upbit_stream(self, request: web.Request) -> web.StreamResponse:
        if "upbit" in self.away:
            return web.Response(status=503)
        socket = web.WebSocketResponse(heartbeat=None)
        await socket.prepare(request)
        message = await socket.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return socket
        parts = {part["type"]: part["codes"] for part in json.loads(message.data) if "type" in part}
        books = [code.partition(".")[0] for code in parts.get("orderbook", [])]
        return await self._stream(
            "upbit", socket, lambda tick: self._upbit_tick(tick, books, parts.get("trade", []), parts.get("ticker", []))
        )

    def _upbit_tick(self, tick: int, books: list[str], trades: list[str], tickers: list[str]) -> Iterator[str]:
        at = tick * TICK // MILLISECOND
        for code in books:
            bids, asks = self.market.levels(code, tick)
            rows = zip(bids.items(), asks.items(), strict=True)
            units = [{"bp": bid, "bs": float(b), "ap": ask, "as": float(a)} for (bid, b), (ask, a) in rows]
            yield json.dumps({"ty": "orderbook", "cd": code, "tms": at, "obu": units[:15]})
        for code in trades:
            for trade in self.market.trades(code, tick * TICK, (tick + 1) * TICK):
                self.sent_trades.setdefault(code, set()).add(trade["id"])
                side = "ASK" if trade["id"] % 2 else "BID"
                told = {"ty": "trade", "cd": code, "tp": trade["price"], "tv": float(trade["size"]), "ab": side}
                yield json.dumps(told | {"ttms": trade["at"], "tms": at, "sid": trade["id"]})
        for code in tickers if tick % 10 == 0 else ():
            told = {"ty": "ticker", "cd": code, "tp": self.market.price(code, tick * TICK), "atv24h": 1.5}
            halted = {"its": True} if code in self.halted else {}
            yield json.dumps(told | {"atp24h": 2.5, "tms": at, "ms": "ACTIVE"} | halted)

    async def _binance_stream(self, request: web.Request) -> web.StreamResponse:
        if "binance" in self.away:
            return web.Response(status=503)
        socket = web.WebSocketResponse(heartbeat=None)
        await socket.prepare(request)
        names = [name.partition("@") for name in request.query["streams"].split("/")]
        streams = [(symbol.upper(), kind) for symbol, _, kind in names]
        return await self._stream("binance", socket, lambda tick: self._binance_tick(tick, streams))

    def _binance_tick(self, tick: int, streams: list[tuple[str, str]]) -> Iterator[str]:
        at = tick * TICK // MILLISECOND
        for symbol, kind in streams:
            for data in self._binance_data(tick, at, symbol, kind):
                yield json.dumps({"stream": f"{symbol.lower()}@{kind}", "data": data | {"s": symbol, "E": at}})

    def _binance_data(self, tick: int, at: int, symbol: str, kind: str) -> Iterator[dict[str, Any]]:
        if kind.startswith("depth@"):
            rows = {}
            for side, (old, new) in zip(
                ("b", "a"),
                zip(self.market.levels(symbol, tick - 1), self.market.levels(symbol, tick), strict=True),
                strict=True,
            ):
                changed = dict.fromkeys(old, "0") | new
                rows[side] = [[str(price), size] for price, size in changed.items()]
            yield {"e": "depthUpdate", "T": at, "U": tick * 10 - 9, "u": tick * 10, "pu": tick * 10 - 10, **rows}
        elif kind == "aggTrade":
            for trade in self.market.trades(symbol, tick * TICK, (tick + 1) * TICK):
                told = {"e": "aggTrade", "a": trade["id"], "p": str(trade["price"]), "q": trade["size"]}
                yield told | {"T": trade["at"], "m": bool(trade["id"] % 2)}
        elif kind.startswith("markPrice") and tick % 10 == 0:
            due = (tick * TICK // (8 * 60 * MINUTE) + 1) * 8 * 60 * MINUTE // MILLISECOND
            yield {"e": "markPriceUpdate", "p": "100000.5", "i": "100000.4", "r": "0.00010000", "T": due}
        elif kind.startswith("kline") and tick % TICKS_A_MINUTE == 1:
            minute = tick // TICKS_A_MINUTE - 1
            if bar := self.market.bar(symbol, minute):
                prices = {key[0]: str(bar[key]) for key in ("open", "high", "low", "close")}
                yield {
                    "e": "kline",
                    "k": {"t": minute * 60_000, "i": "1m", "x": True, "v": bar["volume"], "q": bar["turnover"]}
                    | prices,
                }

    async def _stream(
        self, venue: str, socket: web.WebSocketResponse, tell: Callable[[int], Iterator[str]]
    ) -> web.WebSocketResponse:
        self._sockets.add((venue, socket))
        self.connections += 1
        reading = self._loop.create_task(self._drain(socket))
        try:
            tick = self.clock.now() // TICK + 1
            while not socket.closed and venue not in self.away:
                await self.clock.sleep_until(tick * TICK)
                for message in tell(tick):
                    await socket.send_bytes(message.encode())
                tick += 1
        except ConnectionError:
            pass
        finally:
            reading.cancel()
            self._sockets.discard((venue, socket))
        return socket

    async def _drain(self, socket: web.WebSocketResponse) -> None:
        async for _ in socket:  # answers pings and notices the end
            pass

    # --- history ---

    def _refused(self, venue: str, request: web.Request) -> web.Response | None:
        self.asked.append(str(request.rel_url))
        if venue in self.away or (self.refuses_history and "depth" not in request.path):
            return web.Response(status=503)
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return web.Response(status=status, headers=headers)
        return None

    async def _upbit_bars(self, request: web.Request) -> web.Response:
        if refused := self._refused("upbit", request):
            return refused
        symbol, limit = request.query["market"], int(request.query["count"])
        assert limit <= 200
        end = from_datetime(datetime.fromisoformat(request.query["to"].replace("Z", "+00:00"))) // MINUTE
        end = min(end, self.clock.now() // MINUTE)
        bars: list[dict[str, Any]] = []
        minute = end - 1
        while len(bars) < limit and minute > end - 3 * limit:
            if bar := self.market.bar(symbol, minute):
                stamp = to_datetime(minute * MINUTE).strftime("%Y-%m-%dT%H:%M:%S")
                prices = {"opening_price": bar["open"], "high_price": bar["high"], "low_price": bar["low"]}
                sums = {
                    "candle_acc_trade_volume": float(bar["volume"]),
                    "candle_acc_trade_price": float(bar["turnover"]),
                }
                bars.append(
                    {"market": symbol, "candle_date_time_utc": stamp, "trade_price": bar["close"]} | prices | sums
                )
            minute -= 1
        return web.json_response(bars, headers=self.headers)

    async def _binance_bars(self, request: web.Request) -> web.Response:
        if refused := self._refused("binance", request):
            return refused
        symbol, limit = request.query["symbol"], int(request.query["limit"])
        first = -(-int(request.query["startTime"]) // 60_000)
        last = int(request.query["endTime"]) // 60_000
        rows = []
        for minute in range(first, min(last + 1, self.clock.now() // MINUTE)):
            bar = self.market.bar(symbol, minute)
            if bar and len(rows) < limit:
                prices = [str(bar[key]) for key in ("open", "high", "low", "close", "volume")]
                opened = minute * 60_000
                rows.append([opened, *prices, opened + 59_999, bar["turnover"], 100, "1", "1", "0"])
        return web.json_response(rows, headers=self.headers)

    async def _binance_depth(self, request: web.Request) -> web.Response:
        if refused := self._refused("binance", request):
            return refused
        tick = self.clock.now() // TICK
        bids, asks = (list(map(list, side.items())) for side in self.market.levels(request.query["symbol"], tick))
        rows = {"bids": [[str(p), q] for p, q in bids], "asks": [[str(p), q] for p, q in asks]}
        return web.json_response({"lastUpdateId": tick * 10, "T": tick * TICK // MILLISECOND, **rows})

    async def _binance_funding(self, request: web.Request) -> web.Response:
        if refused := self._refused("binance", request):
            return refused
        step = 8 * 3_600_000
        times = range(-(-int(request.query["startTime"]) // step) * step, int(request.query["endTime"]) + 1, step)
        rows = [{"symbol": "BTCUSDT", "fundingRate": "0.00010000", "fundingTime": at + 3} for at in times]
        return web.json_response(rows)

    async def _binance_rules(self, request: web.Request) -> web.Response:
        if refused := self._refused("binance", request):
            return refused
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": "0.50"},
            {"filterType": "LOT_SIZE", "stepSize": "0.002", "minQty": "0.004"},
            {"filterType": "MIN_NOTIONAL", "notional": "50"},
        ]
        return web.json_response({"symbols": [{"symbol": "BTCUSDT", "status": "TRADING", "filters": filters}]})

    async def _rate(self, request: web.Request) -> web.Response:
        if "fx" in self.away:
            return web.Response(status=503)
        now_ms = self.clock.now() // MILLISECOND
        if request.match_info["source"] == "bank":
            return web.json_response([{"code": "FRX.KRWUSD", "basePrice": 1390.5, "timestamp": now_ms}])
        meta = {"currency": "KRW", "symbol": "KRW=X", "regularMarketPrice": 1391.0}
        meta |= {"regularMarketTime": now_ms // 1000}
        return web.json_response({"chart": {"result": [{"meta": meta}], "error": None}})


@pytest.fixture
def fast_clock() -> FastClock:
    """Twenty minutes a minute, shared with the collectors in other processes."""
    return FastClock(BASE, time.monotonic_ns(), 20)


@pytest.fixture
def still_clock() -> StillClock:
    return StillClock(BASE)


@pytest.fixture
def fast_venues(fast_clock: FastClock) -> Iterator[Venues]:
    with Venues(fast_clock) as venues:
        yield venues


@pytest.fixture
def still_venues(still_clock: StillClock) -> Iterator[Venues]:
    with Venues(still_clock) as venues:
        yield venues


@pytest.fixture
def venues() -> Iterator[Venues]:
    """Venues in real time, for the real command."""
    from kimp.storage.feeds.clocks import SystemClock

    with Venues(SystemClock()) as venues:
        venues.market.busy_from = venues.clock.now() // MINUTE * MINUTE
        yield venues


# --- a database -------------------------------------------------------------------------------------------------------

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def url(empty_url: str) -> str:
    """A database of the test's own without any table: the collector makes them."""
    return empty_url


class Sql:
    """Looks into the database past all of our code."""

    def __init__(self, url: str, run: Run) -> None:
        self._url, self._run = url, run

    def __call__(self, query: str, *arguments: Any) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self._url)
            try:
                return list(await connection.fetch(query, *arguments))
            finally:
                await connection.close()

        found: list[Any] = self._run(ask())
        return found

    def one(self, query: str, *arguments: Any) -> Any:
        return self(query, *arguments)[0][0]


@pytest.fixture
def sql(url: str, run: Run) -> Sql:
    return Sql(url, run)


# --- processes --------------------------------------------------------------------------------------------------------


def eventually(is_so: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Look again and again until something is true, at most so long."""
    deadline = time.monotonic() + seconds
    waiter = threading.Event()
    while True:
        try:
            found = is_so()
        except (OSError, IndexError, asyncpg.PostgresError):
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        waiter.wait(0.02)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    return eventually


class Program:
    """One process of ours; ended by its number."""

    def __init__(self, arguments: list[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.out = log.with_suffix(".out")
        with log.open("ab") as stderr, self.out.open("ab") as stdout:
            self.process = subprocess.Popen(
                arguments, env=dict(environ), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )

    def kill(self, sign: int = signal.SIGKILL, seconds: float = 15.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sign)
        return self.process.wait(seconds)

    @property
    def lines(self) -> list[str]:
        return self.out.read_text().splitlines()

    @property
    def errors(self) -> str:
        return self.log.read_text()


@pytest.fixture
def environ(tmp_path: Path, url: str) -> dict[str, str]:
    """A clean environment whose data lie in the test's directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIMP", "DATABASE_URL"))}
    return kept | {
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "KIMP__DATABASE__URL": url,
        "KIMP__COLLECT__HTTP_PORT": "0",
        "NO_COLOR": "1",
    }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts programs, and ends those that still run when the test is over."""
    started: list[Program] = []

    def begin(arguments: list[str], environ: Mapping[str, str]) -> Program:
        started.append(Program(arguments, environ, tmp_path / f"program-{len(started)}.log"))
        return started[-1]

    yield begin
    for program in started:
        program.kill()


class Result:
    """What a command left behind."""

    def __init__(self, returncode: int, stdout: str, stderr: str) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr

    @property
    def facts(self) -> Any:
        assert self.stdout, self.stderr
        return json.loads(self.stdout)


@pytest.fixture
def kimp(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """Runs one ``kimp`` command to its end, in this process: a new one takes a second each."""
    handlers = logging.getLogger().handlers[:]

    def command(*words: str, **more: str) -> Result:
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("KIMP__", "DATABASE_URL"))]:
                patch.delenv(name)
            for name, value in (environ | more).items():
                patch.setenv(name, value)
            code = main(words)
        told = capsys.readouterr()
        return Result(code, told.out, told.err)

    yield command
    logging.getLogger().handlers[:] = handlers
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def kimp_path() -> str:
    return str(Path(sys.executable).parent / "kimp")
