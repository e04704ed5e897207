"""The premium of this moment: from a running collector's rows where they are fresh, else from the venues themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import USD, USDT, FxQuote
from kimp.shared.domain.instruments import Pair, default_pair
from kimp.shared.domain.premium import BasisRates
from kimp.shared.domain.time import MILLISECOND, SECOND, Nanos
from kimp.shared.messages.events import FeedLost
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Settings
from kimp.storage.collectors.board import Board, known_at
from kimp.storage.collectors.premium import Reading, read_premium
from kimp.storage.database.migrate import progress
from kimp.storage.database.pool import Database, DatabaseAway
from kimp.storage.database.reader import Reader
from kimp.storage.feeds.events import FeedEvent
from kimp.storage.feeds.merge import LiveMarket
from kimp.storage.feeds.wiring import market_feeds

LOOKED_EVERY_S = 0.05
Read = Callable[[], Reading]


async def stored_reading(settings: Settings, coin: str, clock: Clock) -> Reading | None:
    """What a running collector wrote last, if that is fresh enough to decide on; ``None`` otherwise."""
    database = Database.of(settings)
    if database.server is not None and database.server.pid is None:
        return None
    pair, board = default_pair(coin), Board(SECOND)
    try:
        async with database:
            if (await progress(database)).pending:  # nobody has collected into it yet, or with another version
                return None
            reader, now = Reader(database), clock.now()
            for leg in (pair.korea, pair.abroad):
                if (book := await reader.latest(Book, leg.id)) is not None:
                    board.tell(book)
            for base in (USD, USDT):
                if (quote := await reader.latest(FxQuote, base)) is not None:
                    board.tell(quote)
    except DatabaseAway:
        return None
    reading = read_premium(pair, board, now, settings.guards, settings.collect.size_krw)
    return reading if not reading.reasons else None


@asynccontextmanager
async def live_readings(settings: Settings, coin: str, clock: Clock) -> AsyncIterator[Read]:
    """Listens to the venues for the length of the block; the value gives the premium as of now."""
    pair, board = default_pair(coin), Board(SECOND)
    feeds = market_feeds(settings, [coin], clock=clock, dice=Random(clock.now()))
    async with LiveMarket(feeds) as market, asyncio.TaskGroup() as group:
        task = group.create_task(_listen(market, board))
        try:
            yield lambda: read_premium(pair, board, clock.now(), settings.guards, settings.collect.size_krw)
        finally:
            task.cancel()


async def _listen(market: LiveMarket, board: Board) -> None:
    async for event in market.events():
        _tell(board, event)


def _tell(board: Board, event: FeedEvent) -> None:
    match event:
        case Book() | FxQuote():
            board.tell(event)
        case FeedLost(instrument_id=instrument_id):
            board.forget(instrument_id)
        case _:
            pass


async def live_reading(settings: Settings, coin: str, clock: Clock, wait: Nanos) -> Reading:
    """The venues' premium as soon as nothing is wrong with it, or as it stands when the wait is over."""
    until = clock.now() + wait
    async with live_readings(settings, coin, clock) as read:
        while True:
            reading = read()
            if not reading.reasons or clock.now() >= until:
                return reading
            await asyncio.sleep(LOOKED_EVERY_S)


def premium_facts(pair: Pair, reading: Reading, now: Nanos, source: str) -> dict[str, Any]:
    """What ``kimp premium now --json`` promises; premiums are fractions at mid, executables for the configured size."""
    rates = reading.rates
    fx, usdt = (rates.fx, rates.usdt) if rates is not None else (None, None)
    return {
        "symbol": pair.symbol,
        "fx_basis": fx.mid if fx else None,
        "usdt_basis": usdt.mid if usdt else None,
        "executable": _executable(usdt),
        "executable_fx": _executable(fx),
        "upbit": reading.korea.mid() if reading.korea else None,
        "binance": reading.abroad.mid() if reading.abroad else None,
        "usdkrw": reading.usdkrw.value if reading.usdkrw else None,
        "usdtkrw": reading.usdtkrw.value if reading.usdtkrw else None,
        "ages_ms": {
            "upbit": _age(reading.korea.venue_at if reading.korea else None, now),
            "binance": _age(reading.abroad.venue_at if reading.abroad else None, now),
            "usdkrw": _age(known_at(reading.usdkrw) if reading.usdkrw else None, now),
            "usdtkrw": _age(known_at(reading.usdtkrw) if reading.usdtkrw else None, now),
        },
        "valid": not reading.reasons,
        "reasons": list(reading.reasons),
        "source": source,
    }


def _executable(rates: BasisRates | None) -> dict[str, Any]:
    """Entering the usual way buys Korea, leaving sells it."""
    return {
        "enter": rates.executable_buy_korea if rates else None,
        "leave": rates.executable_sell_korea if rates else None,
    }


def _age(at: Nanos | None, now: Nanos) -> int | None:
    return None if at is None else max(now - at, 0) // MILLISECOND
