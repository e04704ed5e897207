"""Keeps the database small without forgetting: old partitions become Parquet files, and only then are they dropped.

A file is written beside its place, synced, read back and counted before it is renamed, and the partition goes in the
same transaction; so at every moment each row is in the database or in a file that was checked. Rows that arrive late for
a day already archived are added to its file by the next run.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]

from kimp.shared.domain.time import Nanos, to_datetime
from kimp.shared.errors import DataError, KimpError
from kimp.shared.logs import get
from kimp.shared.settings import Database as DatabaseSettings
from kimp.storage.database.pool import Connection, Database
from kimp.storage.database.tables import BY_NAME, Table

ROWS_AT_ONCE = 5_000
ROW_GROUP = 50_000
ARCHIVE_S_MAX = 3_600.0
LOCK_WAIT = "5s"
"""Longer would make the writers queue up behind us; the next run tries again."""

_TIME = pa.timestamp("us", tz="UTC")
_MONEY = pa.decimal128(38, 18)
_FLOATS = pa.list_(pa.float64())
_TYPES: dict[str, pa.DataType] = {
    "instrument_id": pa.string(),
    "side": pa.string(),
    "trade_id": pa.int64(),
    "venue_at": _TIME,
    "received_at": _TIME,
    "price": _MONEY,
    "quantity": _MONEY,
    **dict.fromkeys(("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"), _FLOATS),
}


@dataclass(frozen=True, slots=True)
class Archived:
    """One partition that left the database: how many rows it had, and the file that has them now."""

    table: str
    partition: str
    rows: int
    path: Path


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What one round of maintenance did."""

    partitions_made: int
    archived: tuple[Archived, ...]


def kept_days(settings: DatabaseSettings) -> dict[str, int]:
    """How many days each table keeps; one that is not named keeps everything."""
    return {"orderbook_snapshots": settings.books_days, "trades": settings.trades_days}


async def maintain(database: Database, directory: Path, now: Nanos | None = None) -> Maintenance:
    """Make the partitions ahead, and archive and drop those past their time; to be called at start and once a day.

    Args:
        directory: where the Parquet files go, in a folder for each table.
        now: by default the database's own clock.

    Raises:
        DataError: a file does not hold what it should; its partition stays.
        KimpError: the disk does not take a file; its partition stays.
    """
    async with database.connection() as connection:
        moment = to_datetime(now) if now is not None else await connection.fetchval("SELECT now()")
        made = await connection.fetchval("SELECT ensure_partitions_ahead($1)", moment)
    archived: list[Archived | None] = []
    for name, days in kept_days(database.settings).items():
        for partition in await _past(database, name, moment - timedelta(days=days)):
            archived += [await _retire(database, BY_NAME[name], partition, directory)]
    return Maintenance(made, tuple(done for done in archived if done is not None))


async def _past(database: Database, table: str, limit: datetime) -> list[str]:
    async with database.connection() as connection:
        found = await connection.fetch("SELECT partition_name FROM partitions_of($1) WHERE to_at <= $2", table, limit)
        return [record["partition_name"] for record in found]


async def _retire(database: Database, table: Table, partition: str, directory: Path) -> Archived | None:
    path = directory / table.name / f"{partition}.parquet"
    unfinished = path.with_suffix(".unfinished")
    try:
        async with database.transaction() as connection:
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'")
            # Readers go on; a late writer waits, finds the partition gone and makes it anew.
            await connection.execute(f'LOCK TABLE "{partition}" IN SHARE ROW EXCLUSIVE MODE')
            rows = await connection.fetchval(f'SELECT count(*) FROM "{partition}"', timeout=ARCHIVE_S_MAX)
            if rows:
                await _write(connection, table, partition, path)
            await connection.execute(f'DROP TABLE "{partition}"')
    except asyncpg.LockNotAvailableError:
        get("kimp.storage.retention").info("partition in use, archiving it the next time", partition=partition)
        return None
    except asyncpg.UndefinedTableError:
        return None  # another process archived it while we waited for it
    except pa.ArrowException as error:
        raise DataError(f"{partition} cannot be archived ({error}); it stays in the database") from error
    except OSError as error:
        raise KimpError(f"{path} cannot be written ({error.strerror}); {partition} stays in the database") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return Archived(table.name, partition, rows, path)


async def _write(connection: Connection, table: Table, partition: str, path: Path) -> None:
    """The partition's rows, and those of an earlier file of the same name, as one checked file."""
    unfinished = path.with_suffix(".unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([(name, _TYPES[name]) for name in table.columns])
    query = f'SELECT {", ".join(table.columns)} FROM "{partition}" ORDER BY {", ".join(table.key)}'
    written = 0
    # The dictionary costs more than it saves on prices; names of instruments are all it is good for.
    with pa_parquet.ParquetWriter(unfinished, schema, compression="zstd", use_dictionary=["instrument_id"]) as writer:
        known: set[tuple[Any, ...]] = set()
        for part in _earlier(path):
            writer.write_table(part.cast(schema))
            written += part.num_rows
            known.update(zip(*(part[name].to_pylist() for name in table.key), strict=True))
        # The driver's own cursors stay open until the transaction ends, and an open one keeps the partition from going.
        cursor = f"archive_{table.name}"
        await connection.execute(f"DECLARE {cursor} NO SCROLL CURSOR FOR {query}")
        waiting: list[pa.RecordBatch] = []
        while records := await connection.fetch(f"FETCH {ROWS_AT_ONCE} FROM {cursor}", timeout=ARCHIVE_S_MAX):
            fresh = [record for record in records if not known or _key(record, table) not in known]
            waiting.append(_batch(fresh, schema))
            if sum(batch.num_rows for batch in waiting) >= ROW_GROUP:
                written += await asyncio.to_thread(_flush, writer, waiting, schema)
        await connection.execute(f"CLOSE {cursor}")
        written += await asyncio.to_thread(_flush, writer, waiting, schema)
    await asyncio.to_thread(_finish, unfinished, path, written)


def _earlier(path: Path) -> Iterator[pa.Table]:
    if path.is_file():
        with pa_parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)


def _key(record: Any, table: Table) -> tuple[Any, ...]:
    return tuple(record[name] for name in table.key)


def _batch(records: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.array([record[name] for record in records], schema.field(name).type) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _flush(writer: pa_parquet.ParquetWriter, waiting: list[pa.RecordBatch], schema: pa.Schema) -> int:
    whole = pa.Table.from_batches(waiting, schema)
    if whole.num_rows:
        writer.write_table(whole)
    waiting.clear()
    rows: int = whole.num_rows
    return rows


def _finish(unfinished: Path, path: Path, expected: int) -> None:
    """Sync, read back, count, and only then give it its name."""
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    with pa_parquet.ParquetFile(unfinished) as written:
        found = sum(batch.num_rows for batch in written.iter_batches())
    if found != expected:
        raise DataError(f"{path.name} holds {found} of {expected} rows; its partition stays in the database")
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
