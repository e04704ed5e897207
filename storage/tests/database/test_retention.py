import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from kimp.shared.domain.candles import Candle
from kimp.shared.domain.time import DAY, HOUR, SECOND
from kimp.shared.errors import KimpError
from kimp.storage.database import Reader, writing
from kimp.storage.database.pool import Database
from kimp.storage.database.retention import maintain

Run = Callable[[Coroutine[Any, Any, Any]], Any]
OLD_TRADES = "trades_2026_03_02"


async def fill(database: Database, spool: Path, rows: list[Any]) -> None:
    async with writing(database, spool) as writer:
        await writer.put(rows)
        await writer.flush()
        assert writer.counters.rejected == 0


async def count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))


async def partitions(database: Database, table: str) -> list[str]:
    async with database.connection() as connection:
        found = await connection.fetch("SELECT partition_name FROM partitions_of($1)", table)
        return [record[0] for record in found]


def test_old_books_and_trades_move_to_parquet_and_the_rest_stays(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    archive = tmp_path / "archive"
    start = rows.start
    trades = [rows.trade(i, at=start + i * HOUR) for i in range(24 * 40)]
    books = [rows.book(i, at=start + i * DAY) for i in range(100)]

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path / "spool", [*trades, *books, *rows.candles(10)])
            done = await maintain(opened, archive, now=start + 100 * DAY)
            assert sum(part.rows for part in done.archived if part.table == "trades") == 24 * 40
            assert sum(part.rows for part in done.archived if part.table == "orderbook_snapshots") == 10
            assert await count(opened, "trades") == 0
            assert await count(opened, "orderbook_snapshots") == 90
            assert await count(opened, "candles") == 10
            assert (await maintain(opened, archive, now=start + 100 * DAY)).archived == ()
            assert await Reader(opened).latest(Candle, rows.upbit) is not None

    run(scenario())
    files = sorted((archive / "trades").glob("*.parquet"))
    assert len(files) == 40
    table = pa.concat_tables(pa_parquet.read_table(path) for path in files)
    assert table["trade_id"].to_pylist() == [trade.trade_id for trade in trades]
    assert table["price"].to_pylist() == [trade.price for trade in trades]
    assert table["quantity"].to_pylist() == [trade.quantity for trade in trades]
    book = pa_parquet.read_table(archive / "orderbook_snapshots" / "orderbook_snapshots_2026_03_02.parquet").to_pylist()
    assert book[0]["bid_prices"] == [float(level.price) for level in books[0].bids]
    assert not list(archive.rglob("*.unfinished"))


def test_prices_are_compressed_without_a_dictionary(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path / "spool", [rows.book(i, at=rows.start + i * SECOND) for i in range(200)])
            await maintain(opened, tmp_path, now=rows.start + 400 * DAY)

    run(scenario())
    (path,) = (tmp_path / "orderbook_snapshots").glob("*.parquet")
    group = pa_parquet.ParquetFile(path).metadata.row_group(0)
    for place in range(group.num_columns):
        column = group.column(place)
        assert column.compression == "ZSTD"
        assert ("RLE_DICTIONARY" in column.encodings) == (column.path_in_schema == "instrument_id")


def test_rows_that_arrive_late_join_the_file_of_their_day(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    first, late = [rows.trade(i) for i in range(5)], [rows.trade(i) for i in range(3, 8)]
    now = rows.start + 100 * DAY

    async def scenario() -> None:
        async with database as opened:
            for batch in (first, late):
                await fill(opened, tmp_path / "spool", batch)
                await maintain(opened, tmp_path, now=now)
            assert OLD_TRADES not in await partitions(opened, "trades")

    run(scenario())
    table = pa_parquet.read_table(tmp_path / "trades" / f"{OLD_TRADES}.parquet")
    assert table["trade_id"].to_pylist() == [rows.trade(i).trade_id for i in range(8)]


def test_when_the_file_cannot_be_written_the_rows_stay(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    (tmp_path / "trades").write_text("a file where the folder should be")

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path / "spool", [rows.trade(i) for i in range(5)])
            with pytest.raises(KimpError, match=f"{OLD_TRADES} stays in the database"):
                await maintain(opened, tmp_path, now=rows.start + 100 * DAY)
            assert await count(opened, "trades") == 5

    run(scenario())


def test_a_partition_in_use_is_left_for_the_next_time(
    database: Database, rows: Any, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kimp.storage.database.retention.LOCK_WAIT", "50ms")

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path / "spool", [rows.trade(i) for i in range(5)])
            async with opened.transaction() as connection:
                await connection.execute(f"DELETE FROM trades WHERE trade_id = {rows.trade(0).trade_id}")
                assert (await maintain(opened, tmp_path, now=rows.start + 100 * DAY)).archived == ()
            assert len((await maintain(opened, tmp_path, now=rows.start + 100 * DAY)).archived) == 1

    run(scenario())


def test_two_processes_that_archive_at_once_write_each_row_once(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    now = rows.start + 100 * DAY

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path / "spool", [rows.trade(i, at=rows.start + i * HOUR) for i in range(100)])
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(maintain(opened, tmp_path, now=now)) for _ in range(2)]
            assert sum(part.rows for task in tasks for part in task.result().archived) == 100
            assert await count(opened, "trades") == 0

    run(scenario())
    files = (tmp_path / "trades").glob("*.parquet")
    assert sum(pa_parquet.read_metadata(path).num_rows for path in files) == 100


def test_maintenance_makes_the_partitions_of_the_days_to_come(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    async def scenario() -> None:
        async with database as opened:
            now = rows.start + 3_650 * DAY
            assert (await maintain(opened, tmp_path, now=now)).partitions_made > 10
            assert (await maintain(opened, tmp_path, now=now)).partitions_made == 0
            assert "trades_2036_03_02" in await partitions(opened, "trades")

    run(scenario())


def test_a_partition_without_rows_goes_without_a_file(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened:
            async with opened.connection() as connection:
                await connection.execute("SELECT ensure_partitions('trades', '2026-03-02+00', '2026-03-02+00')")
            done = await maintain(opened, tmp_path, now=rows.start + 100 * DAY)
            assert [part.rows for part in done.archived] == [0]

    run(scenario())
    assert not list(tmp_path.rglob("*.parquet"))


def test_no_partition_can_be_read_around_its_table(database: Database, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened, opened.connection() as connection:
            assert await connection.fetchval(
                "SELECT bool_and(relrowsecurity) FROM pg_class WHERE relispartition AND relkind = 'r'"
            )
            for role in ("kimp_reader", "service_role", "anon"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await read_as(connection, role)

    async def read_as(connection: Any, role: str) -> None:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL ROLE {role}")
            partition = "candles_" + await connection.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
            await connection.execute(f"SELECT * FROM {partition}")

    run(scenario())
