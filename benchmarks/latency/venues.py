"""Virtual venues in a process of their own, so that they do not share an event loop with what is measured."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path

from kimp.portfolio.exchange.served import serve_venues
from kimp.portfolio.markets.boards import Boards
from kimp.portfolio.paper import PaperVenues
from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import Pair, Venue, default_pair
from kimp.shared.domain.time import HOUR, Nanos
from kimp.shared.messages.events import MarketMoved
from kimp.shared.settings import Binance, SecretStr, Upbit
from kimp.storage.feeds.clocks import SystemClock

PROGRAM = Path(__file__).parents[1] / "order_latency.py"
KOREA, ABROAD, RATE = "140000000", "100000.0", Decimal(1_400)
MONEY = {Venue.UPBIT: {"KRW": Decimal(10**12)}, Venue.BINANCE: {"USDT": Decimal(10**9)}}
SHOWN_EVERY_S = 0.05


def quotes(pair: Pair, at: Nanos) -> MarketMoved:
    """The same quotes for ever, dated now."""

    def book(instrument_id: str, price: str, step: str) -> Book:
        bids = tuple(Level(Decimal(price) - Decimal(step) * i, Decimal(5)) for i in range(1, 16))
        asks = tuple(Level(Decimal(price) + Decimal(step) * i, Decimal(5)) for i in range(15))
        return Book(instrument_id, bids, asks, at, at)

    rates = tuple(FxQuote(base, RATE, at, at + HOUR, "benchmark") for base in ("USD", "USDT"))
    return MarketMoved(at, (book(pair.korea.id, KOREA, "1000"), book(pair.abroad.id, ABROAD, "0.1")), rates)


async def serve() -> None:
    """Two accounts, each with both venues: one for kimp, which would wonder about trades of others, one for peers."""
    pair, clock = default_pair(), SystemClock()
    async with AsyncExitStack() as stack:
        all_venues, told = [], []
        for _ in range(2):
            venues, boards = PaperVenues((pair.korea, pair.abroad), MONEY, clock), Boards()
            all_venues.append((venues, boards))
            boards.note(quotes(pair, clock.now()))
            venues.see(quotes(pair, clock.now()))
            served = await stack.enter_async_context(serve_venues(venues, boards, clock))
            told.append(served.settings | {"key": served.credentials.key, "secret": served.credentials.secret})
        print(json.dumps(told), flush=True)
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        while not ended.done():
            for venues, boards in all_venues:
                moved = quotes(pair, clock.now())
                boards.note(moved)
                venues.see(moved)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), SHOWN_EVERY_S)


@asynccontextmanager
async def venues_elsewhere() -> AsyncIterator[list[dict[str, str]]]:
    """The process of :func:`serve`, and how to reach its two accounts."""
    command = [sys.executable, str(PROGRAM), "--serve"]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(await asyncio.wait_for(process.stdout.readline(), 30.0))
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10.0)


def settings_of(told: Mapping[str, str]) -> tuple[Upbit, Binance]:
    """Both venues' settings of one account."""
    key, secret = SecretStr(told["key"]), SecretStr(told["secret"])
    urls = {
        name: {k.partition(".")[2]: v for k, v in told.items() if k.startswith(f"{name}.")}
        for name in ("upbit", "binance")
    }
    return Upbit(access_key=key, secret_key=secret, **urls["upbit"]), Binance(
        api_key=key, secret_key=secret, **urls["binance"]
    )
