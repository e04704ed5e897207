import asyncio
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.client import AsyncStorageClient, StorageClient
from kimp.storage.client.seams import joined
from kimp.storage.database import Database
from kimp.storage.database.retention import maintain
from kimp.storage.database.rows import Row

Store = Callable[[Sequence[Row]], None]
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Retire = Callable[[int], list[str]]


@pytest.fixture
def retire(url: str, open_database: Callable[[str], Database], tmp_path: Path, run: Run) -> Retire:
    """Runs the retention as of a moment; the partitions it moved into files."""

    def done(now: int) -> list[str]:
        async def maintained() -> list[str]:
            async with open_database(url) as database:
                return [part.partition for part in (await maintain(database, tmp_path / "archive", now)).archived]

        return run(maintained())

    return done


def test_one_call_spans_archive_and_database(client: StorageClient, store: Store, rows: Any, retire: Retire) -> None:
    store([rows.trade(i, rows.start + i * 6 * HOUR, price="140123456.7") for i in range(12)])  # three days
    store([rows.book(i, rows.start + i * 6 * HOUR) for i in range(12)])
    before = client.trades(rows.upbit), client.orderbooks(rows.upbit)
    assert "trades_2026_03_02" in retire(rows.start + 32 * DAY)  # trades of the first day
    assert "orderbook_snapshots_2026_03_02" in retire(rows.start + 92 * DAY)
    after = client.trades(rows.upbit), client.orderbooks(rows.upbit)
    for was, now in zip(before, after, strict=True):
        assert now.equals(was)
    since = rows.start + 3 * HOUR
    assert len(client.trades(rows.upbit, since, rows.start + 30 * HOUR)) == 4
    assert len(client.trades("upbit:KRW-XRP")) == 0
    streamed = client.stream("trades", rows.upbit, rows.start, rows.start + 3 * DAY, every="1d", as_="numpy")
    assert [len(piece["price"]) for piece in streamed] == [4, 4, 4]
    kinds = client.coverage().groupby(["place", "kind"])["rows"].sum()
    assert kinds[("files", "trades")] == 12  # by now all of it is older than its time


def test_a_row_on_both_sides_of_the_seam_counts_once(
    client: StorageClient, store: Store, rows: Any, retire: Retire
) -> None:
    trades = [rows.trade(i, rows.start + i * HOUR, price="0.1") for i in range(6)]
    store(trades)
    retire(rows.start + 40 * DAY)
    late = rows.trade(99, rows.start + 90 * MINUTE)
    store([*trades[2:4], late])  # collected anew after the day had been archived
    found = client.trades(rows.upbit, as_="numpy")
    assert found["trade_id"].tolist() == [10**15 + i for i in (0, 1, 99, 2, 3, 4, 5)]
    assert (np.diff(found["venue_at"]) > 0).all()


def test_reading_during_the_retention_neither_misses_nor_doubles_a_row(
    url: str, open_database: Callable[[str], Database], store: Store, rows: Any, tmp_path: Path, run: Run
) -> None:
    count, days = 960, 40
    store([rows.trade(i, rows.start + i * HOUR) for i in range(count)])
    seen: list[int] = []

    async def read_meanwhile() -> int:
        reading = AsyncStorageClient(open_database(url), archive=tmp_path / "archive")
        async with reading as client, open_database(url) as database, asyncio.TaskGroup() as group:
            moving = group.create_task(maintain(database, tmp_path / "archive", rows.start + (days + 40) * DAY))
            while not moving.done():
                seen.append(len((await client.trades(rows.upbit, as_="numpy"))["trade_id"]))
            seen.append(len((await client.trades(rows.upbit, as_="numpy"))["trade_id"]))
        return len(moving.result().archived)

    assert run(read_meanwhile()) == days
    assert len(seen) > 2
    assert set(seen) == {count}


@given(prices=st.lists(st.decimals("0.00000001", "999999999", places=8, allow_nan=False), min_size=1, max_size=60))
@settings(max_examples=20, deadline=None)
def test_a_decimal_of_the_archive_is_the_double_the_database_makes_of_it(prices: list[Decimal]) -> None:
    query = "SELECT CAST(unnest(?::VARCHAR[]) AS DECIMAL(38,18))::VARCHAR::DOUBLE"
    with duckdb.connect(":memory:") as connection:
        found = connection.sql(query, params=[[str(price) for price in prices]]).fetchall()
    assert [row[0] for row in found] == [float(price) for price in prices]


class Market:
    """Recorded files of one coin, written as docs/DATA_LAYOUT.md says."""

    def __init__(self, directory: Path, start: int) -> None:
        self.directory, self.start = directory, start

    def bars(self, name: str, first: int, count: int, price: float = 140_000_000.0) -> None:
        opens = [price + 1_000 * i for i in range(first, first + count)]
        table = {
            "ts": [(self.start + i * MINUTE) // MILLISECOND for i in range(first, first + count)],
            "open": opens,
            "high": [value + 5_000 for value in opens],
            "low": [value - 7_000 for value in opens],
            "close": [value + 1_000 for value in opens],
            "volume": [0.5] * count,
        }
        self.write(name, table)

    def write(self, name: str, table: dict[str, Any]) -> None:
        writer = pyarrow.csv.write_csv if name.endswith(".csv") else pyarrow.parquet.write_table
        writer(pa.table(table), self.directory / name)


@pytest.fixture
def market(client: StorageClient, tmp_path: Path, rows: Any) -> Market:
    assert client is not None
    return Market(tmp_path / "market", rows.start)


def test_recorded_files_and_collected_rows_are_one_series(
    client: StorageClient, store: Store, rows: Any, market: Market
) -> None:
    market.bars("upbit_KRW-BTC_1m_a.parquet", 0, 10)
    market.bars("upbit_KRW-BTC_1m_b.parquet", 10, 5)
    store([rows.candle(i, shift=7) for i in range(12, 20)])
    found = client.ohlcv(rows.upbit, as_="numpy")
    assert found["opened_at"].tolist() == [rows.start + i * MINUTE for i in range(20)]
    assert found["open"][11:13].tolist() == [140_011_000.0, 140_012_007.0]  # what was collected stands
    assert len(client.ohlcv(rows.upbit, "1m", rows.start + 5 * MINUTE, rows.start + 11 * MINUTE)) == 6


def test_text_and_overlapping_parts_read_the_same(client: StorageClient, rows: Any, market: Market) -> None:
    market.bars("upbit_KRW-BTC_1m_a.csv", 0, 10)
    market.bars("upbit_KRW-BTC_1m_b.parquet", 5, 10)
    market.bars("upbit_KRW-ETH_1m.parquet", 0, 15)
    start, end = rows.start + MINUTE, rows.start + 12 * MINUTE
    assert client.ohlcv(rows.upbit, "1m", start, end).equals(client.ohlcv("upbit:KRW-ETH", "1m", start, end))


def test_parts_that_contradict_each_other_are_refused(client: StorageClient, rows: Any, market: Market) -> None:
    market.bars("upbit_KRW-BTC_1m_a.parquet", 0, 10)
    market.bars("upbit_KRW-BTC_1m_b.parquet", 5, 10, price=1.0e8)
    with pytest.raises(DataError, match="contradicts another file"):
        client.ohlcv(rows.upbit)


def test_a_spoilt_file_is_named(client: StorageClient, rows: Any, market: Market, tmp_path: Path) -> None:
    (tmp_path / "market" / "upbit_KRW-BTC_1m.parquet").write_bytes(b"not Parquet at all")
    with pytest.raises(DataError, match="upbit_KRW-BTC_1m"):
        client.ohlcv(rows.upbit)
    market.bars("upbit_KRW-ETH_1m.parquet", 0, 3)
    market.bars("upbit_KRW-ETH_1m_b.parquet", 3, 1, price=float("nan"))
    with pytest.raises(DataError, match="upbit_KRW-ETH_1m_b"):
        client.ohlcv("upbit:KRW-ETH")


def test_a_spoilt_file_of_the_archive_is_an_error_and_never_a_hole(
    client: StorageClient, store: Store, rows: Any, retire: Retire, tmp_path: Path
) -> None:
    store([rows.trade(i) for i in range(3)])
    retire(rows.start + 40 * DAY)
    (archived,) = (tmp_path / "archive" / "trades").iterdir()
    archived.write_bytes(archived.read_bytes()[:-100])
    for ask in (lambda: client.trades(rows.upbit), client.coverage):
        with pytest.raises(DataError, match="archive cannot be read"):
            ask()


def test_recorded_files_are_covered_too(client: StorageClient, rows: Any, market: Market) -> None:
    market.bars("upbit_KRW-BTC_1m_a.parquet", 0, 10)
    market.bars("upbit_KRW-BTC_1m_b.csv", 9, 6)
    (line,) = client.coverage(as_="arrow").to_pylist()
    assert (line["place"], line["series"], line["rows"]) == ("files", "upbit_KRW-BTC_1m", 15)
    assert line["first"].value == rows.start


def test_fixings_are_known_from_their_publication_on(client: StorageClient, market: Market, rows: Any) -> None:
    days = [(rows.start + day * DAY) // MILLISECOND for day in range(3)]
    market.write("usdkrw_ecb_1d.parquet", {"ts": days, "usdkrw": [1390.0, 1391.0, 1392.0]})
    closes = {name: [1.5, 2.5, 3.5] for name in ("open", "high", "low", "close")}
    market.write("usdkrw_investing_1d.csv", {"ts": days, **closes})
    frame = client.fx(source="ecb", as_="numpy")
    assert frame["at"].tolist() == [rows.start + day * DAY + 15 * HOUR for day in range(3)]
    assert set(frame["source"]) == {"ecb"}
    both = client.fx("USD", rows.start + DAY, rows.start + 2 * DAY)
    assert dict(zip(both.source, both.value, strict=True)) == {"investing": 1.5, "ecb": 1391.0}


def test_recorded_and_collected_settlements_are_one_series(client: StorageClient, market: Market, rows: Any) -> None:
    times = [(rows.start + i * 8 * HOUR) // MILLISECOND for i in range(4)]
    market.write("binance_um_BTCUSDT_funding_8h.parquet", {"ts": times, "funding_rate": [1e-4, 2e-4, 3e-4, 4e-4]})
    found = client.funding("binance:BTCUSDT", rows.start + SECOND, rows.start + 24 * HOUR)
    assert found.rate.tolist() == [2e-4, 3e-4]
    times[0] += 1_000 * 3_600
    market.write("binance_um_BTCUSDT_funding_8h_b.parquet", {"ts": times[:2], "funding_rate": [1.5e-4, 9e-4]})
    with pytest.raises(DataError, match="contradict"):
        client.funding("binance:BTCUSDT")


def test_a_market_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with (
        StorageClient(None, market=tmp_path / "nowhere") as client,
        pytest.raises(ConfigurationError, match="no data directory"),
    ):
        client.ohlcv("upbit:KRW-BTC")


KEYS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(first=KEYS, second=KEYS)
def test_joining_gives_each_key_once_in_order_and_prefers_the_first(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    def rows(keys: list[tuple[int, int]], side: int) -> dict[str, Any]:
        columns = np.array(keys, dtype=np.int64).reshape(-1, 2)
        return {"at": columns[:, 0], "id": columns[:, 1], "side": np.full(len(keys), side)}

    found = joined(rows(first, 1), rows(second, 2), ("at", "id"))
    keys = list(zip(found["at"].tolist(), found["id"].tolist(), strict=True))
    assert keys == sorted({*first, *second})
    assert found["side"].tolist() == [1 if key in first else 2 for key in keys]
