"""A real server for the session, with a fresh database for each test that asks for one, and made-up rows to put in."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from kimp.shared.domain.books import Book, Level
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.instruments import Side
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import MINUTE, SECOND, Nanos, from_datetime
from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.database.address import Address
from kimp.storage.database.embedded import EmbeddedServer
from kimp.storage.database.migrate import migrate
from kimp.storage.database.pool import Database

SECONDS_MAX = 60.0
MEMORY_FREE_MIN = 4 * 1024**3
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Rows:
    """Made-up market data, each row a function of its number."""

    start: Nanos = from_datetime(datetime(2026, 3, 2, tzinfo=UTC))
    upbit = "upbit:KRW-BTC"

    def candle(
        self,
        i: int,
        instrument_id: str = upbit,
        close: str | None = None,
        *,
        interval: Nanos = MINUTE,
        shift: int = 0,
    ) -> Candle:
        price = Decimal(140_000_000 + 1_000 * (i % 997) + shift)
        return Candle(
            instrument_id=instrument_id,
            interval=interval,
            opened_at=self.start + i * interval,
            open=price,
            high=price + 5_000,
            low=price - 7_000,
            close=Decimal(close) if close else price + 1_000,
            volume=Decimal("0.00000001") * (i + 1),
            turnover=Decimal("12345678901234567890.12345678") + i,
            is_closed=True,
            received_at=self.start + (i + 1) * interval + 123_456_000,
        )

    def candles(self, number: int, first: int = 0) -> list[Candle]:
        return [self.candle(i) for i in range(first, first + number)]

    def trade(self, i: int, at: Nanos | None = None, price: str = "140000000") -> PublicTrade:
        moment = self.start + i * SECOND if at is None else at
        side = Side.BUY if i % 2 else Side.SELL
        quantity = Decimal("0.00000001") * (i + 1)
        return PublicTrade(self.upbit, 10**15 + i, side, Decimal(price), quantity, moment, moment + 5_000_000)

    def book(self, i: int, at: Nanos | None = None, depth: int = 15) -> Book:
        moment = self.start + i * SECOND if at is None else at
        bids = tuple(Level(Decimal(140_000_000 - 1_000 * k), Decimal(f"0.{k + 1:08}")) for k in range(depth))
        asks = tuple(Level(Decimal(140_001_000 + 1_000 * k), Decimal(f"1.{k + 1:08}")) for k in range(depth))
        return Book(self.upbit, bids, asks, moment, moment + 7_000_000)


@pytest.fixture(scope="session")
def rows() -> Rows:
    return Rows()


@pytest.fixture(scope="session")
def new_directory() -> Iterator[Callable[[], Path]]:
    """Makes directories that a server of another user can enter too; pytest's own are closed to it under root."""
    made: list[Path] = []
    memory = Path("/dev/shm")  # a new cluster is synced to the disk file by file, which takes seconds on a slow one
    is_roomy = memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_FREE_MIN and os.access(memory, os.W_OK)

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="kimp-test-", dir=memory if is_roomy else None)))
        made[-1].chmod(0o755)
        return made[-1]

    yield make
    for directory in made:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a coroutine, at most a minute long: no test may hang."""

    def run_within(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def limited() -> Any:
            async with asyncio.timeout(SECONDS_MAX):
                return await coroutine

        return asyncio.run(limited())

    return run_within


@pytest.fixture(scope="session")
def server(new_directory: Callable[[], Path]) -> Iterator[EmbeddedServer]:
    """The server of this session; its databases come and go, it is never killed."""
    with EmbeddedServer(new_directory()) as started:
        yield started


@pytest.fixture(scope="session")
def new_database(server: EmbeddedServer, run: Run) -> Callable[[str], str]:
    """Makes an empty database, or a copy of the one named; gives its URL."""
    names = (f"test_{number}" for number in count())

    def make(template: str) -> str:
        name = next(names)

        async def create() -> None:
            connection = await asyncpg.connect(server.url.get_secret_value())
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            await connection.close()

        run(create())
        parts = urlsplit(server.url.get_secret_value())
        return urlunsplit(parts._replace(path=f"/{name}"))

    return make


@pytest.fixture(scope="session")
def template(new_database: Callable[[str], str], run: Run) -> str:
    """The name of a database with all tables, to be copied: quicker than migrating for every test."""
    url = new_database("template0")

    async def fill() -> None:
        async with Database(Address(SecretStr(url), Path()), DatabaseSettings()) as database:
            await migrate(database)

    run(fill())
    return urlsplit(url).path.removeprefix("/")


@pytest.fixture
def empty_url(new_database: Callable[[str], str]) -> str:
    """A database without any table."""
    return new_database("template0")


@pytest.fixture
def url(new_database: Callable[[str], str], template: str) -> str:
    """A database with all tables and no rows."""
    return new_database(template)


@pytest.fixture
def database(url: str) -> Database:
    """That database, to be opened with ``async with``."""
    return Database(Address(SecretStr(url), Path()), DatabaseSettings())
