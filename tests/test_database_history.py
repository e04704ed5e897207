"""A backtest straight from the database is the backtest of the same data in files: same market, same decisions."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from kimp.research.backtest.engine import BacktestEngine
from kimp.research.backtest.request import data_hash
from kimp.research.simulation.market import simulate_market
from kimp.research.strategies.presets import build
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.history import Candles, MarketData, Observations
from kimp.shared.domain.money import exact
from kimp.shared.domain.signals import Direction
from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, MINUTE, Nanos
from kimp.shared.errors import ConfigurationError, DataError
from kimp.shared.ports.market import MarketHistory
from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.archive import read_market
from kimp.storage.client import StorageClient
from kimp.storage.database import Database, Row, migrate
from kimp.storage.database.address import Address
from kimp.storage.database.upsert import Upserter

START: Nanos = 1_704_067_200 * 1_000_000_000
DAYS = 45
UPBIT, BINANCE, TETHER = "upbit:KRW-BTC", "binance:BTCUSDT", "upbit:KRW-USDT"
FILES = {UPBIT: "upbit_KRW-BTC", BINANCE: "binance_um_BTCUSDT", TETHER: "upbit_KRW-USDT"}
NAMES = {MINUTE: "1m", HOUR: "1h"}
ECB_KNOWN_AFTER, ECB_VALID_FOR = 15 * HOUR, 5 * DAY

Series = tuple[str, Nanos, Candles]


def series() -> list[Series]:
    """Hours for long, minutes for the last two days, with the holes the simulated market has."""
    hours = simulate_market(seed=7, start=START, end=START + DAYS * DAY, interval=HOUR)
    minutes = simulate_market(seed=7, start=START + (DAYS - 2) * DAY, end=START + DAYS * DAY, interval=MINUTE)
    assert hours.usdtkrw is not None
    prices = hours.usdtkrw.value[: DAYS * 24]
    opened = START + np.arange(len(prices), dtype=np.int64) * HOUR
    tether = Candles(opened, prices, prices, prices, prices, np.ones(len(prices)))
    legs = [(UPBIT, HOUR, hours.korea), (BINANCE, HOUR, hours.abroad)]
    return [*legs, (UPBIT, MINUTE, minutes.korea), (BINANCE, MINUTE, minutes.abroad), (TETHER, HOUR, tether)]


def fixings() -> Observations:
    """A central bank's dates, without weekends, from before the beginning on."""
    days = [day for day in range(-4, DAYS) if (START // DAY + day + 3) % 7 < 5]
    return Observations(np.array([START + day * DAY for day in days]), np.array([1_330.0 + 0.5 * day for day in days]))


def settlements() -> Observations:
    times = START + np.arange(-3, DAYS * 3, dtype=np.int64) * 8 * HOUR
    return Observations(times, np.where(np.arange(len(times)) % 5, 0.0001, -0.00003))


def write_files(directory: Path) -> None:
    def write(name: str, times: np.ndarray, **columns: np.ndarray) -> None:
        table = pa.table({"ts": times // MILLISECOND, **columns})
        pyarrow.parquet.write_table(table, directory / f"{name}.parquet")

    for instrument, interval, bars in series():
        prices = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
        write(f"{FILES[instrument]}_{NAMES[interval]}", bars.opened, **prices)
    write("usdkrw_ecb_1d", fixings().at, usdkrw=fixings().value)
    write("binance_um_BTCUSDT_funding_8h", settlements().at, funding_rate=settlements().value)


def stored_rows() -> Iterator[Row]:
    """The same as the collectors would have written it."""
    for instrument, interval, bars in series():
        columns = (bars.opened, bars.open, bars.high, bars.low, bars.close, bars.volume)
        for opened, *values in zip(*(column.tolist() for column in columns), strict=True):
            exactly = [exact(value) for value in values]
            closed = opened + interval
            yield Candle(instrument, interval, opened, *exactly, Decimal(0), is_closed=True, received_at=closed)
    for day, value in zip(fixings().at.tolist(), fixings().value.tolist(), strict=True):
        known = day + ECB_KNOWN_AFTER
        yield FxQuote("USD", exact(value), known, known + ECB_VALID_FOR, "ecb")
    for at, value in zip(settlements().at.tolist(), settlements().value.tolist(), strict=True):
        yield FundingRate(BINANCE, exact(value), at, at)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("market")
    write_files(directory)
    return directory


@pytest.fixture(scope="module")
def client() -> Iterator[StorageClient]:
    """A client of a server of its own, which holds the same data in its tables."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="kimp-test-", dir=memory if os.access(memory, os.W_OK) else None))
    directory.chmod(0o755)
    database = Database(Address(SecretStr(), directory), DatabaseSettings(directory=str(directory)))

    async def fill(rows: Sequence[Row]) -> None:
        async with asyncio.timeout(60.0):
            await migrate(database)
            await Upserter(database).store(rows)

    async def prepared() -> None:
        async with database:
            await fill(list(stored_rows()))

    try:
        asyncio.run(prepared())
        with StorageClient(database) as opened:
            yield opened
    finally:
        shutil.rmtree(directory, ignore_errors=True)


RANGES: list[tuple[Nanos | None, Nanos | None]] = [
    (None, None),  # the long record wins: hours
    (START + 10 * DAY, START + 20 * DAY),
    (START + (DAYS - 1) * DAY, None),  # the finest that covers it: minutes
    (START + (DAYS - 2) * DAY + 7 * MINUTE, START + (DAYS - 1) * DAY + 11 * MINUTE),
    (None, START + 30 * DAY),
]


@pytest.mark.parametrize(("start", "end"), RANGES)
def test_the_database_gives_the_market_that_the_files_give(
    client: StorageClient, files: Path, start: Nanos | None, end: Nanos | None
) -> None:
    history: MarketHistory = client
    ours, theirs = history.load("BTC", start, end), read_market(files, start=start, end=end)
    assert (ours.interval, ours.start, ours.end) == (theirs.interval, theirs.start, theirs.end)
    assert ours.usdkrw_valid_for == theirs.usdkrw_valid_for
    assert data_hash(ours) == data_hash(theirs)
    assert ours.sources.keys() == theirs.sources.keys()


@pytest.mark.parametrize("preset", ["roadmap", "low_entry"])
def test_a_backtest_from_the_database_decides_as_one_from_files(
    client: StorageClient, files: Path, preset: str
) -> None:
    def decided(data: MarketData) -> tuple[str, int]:
        strategy = build(preset, direction=Direction.LONG_PREMIUM)
        result = BacktestEngine(data, strategy, Direction.LONG_PREMIUM).run(preset=preset)
        return result.decision_hash, result.bars

    ours, theirs = client.load("BTC"), read_market(files, start=None, end=None)
    assert decided(ours) == decided(theirs)
    assert decided(ours)[1] > 1_000


def test_resampled_bars_are_those_of_the_files(client: StorageClient, files: Path) -> None:
    start, end = START + (DAYS - 2) * DAY, START + DAYS * DAY
    ours = client.load("BTC", start, end, interval="5m")
    assert data_hash(ours) == data_hash(read_market(files, start=start, end=end, interval=5 * MINUTE))


def test_the_same_files_behind_the_client_give_the_same_market(files: Path) -> None:
    with StorageClient(None, market=files) as without_database:
        found = without_database.load("BTC")
    assert data_hash(found) == data_hash(read_market(files, start=None, end=None))


def test_a_range_that_is_not_covered_is_refused(client: StorageClient) -> None:
    with pytest.raises(DataError, match="does not cover"):
        client.load("BTC", START - DAY, START + DAY)
    with pytest.raises(DataError, match="no stored bars"):
        client.load("XRP")
    with pytest.raises(DataError, match="in order"):
        client.load("BTC", START + DAY, START)
    with pytest.raises(ConfigurationError, match="exchange rate"):
        client.load("BTC", fx="bank")
    with pytest.raises(ConfigurationError, match="divide a day"):
        client.load("BTC", interval="7m")
