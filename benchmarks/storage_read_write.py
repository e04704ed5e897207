"""A year of minute candles in and out of a real PostgreSQL, beside the plain ways of doing it, in one run.

    uv run python benchmarks/storage_read_write.py --json

Reading: our binary COPY into arrays, against the driver's ``fetch`` of the same columns. Writing: our writer with its
queue, staging table and upsert, against ``executemany`` of the same upsert. The server is kimp's own, made for the run.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from kimp.shared.cli import console, print_json
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.time import MINUTE, from_datetime
from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.database import Database, Reader, migrate, writing
from kimp.storage.database.address import Address
from kimp.storage.database.tables import BY_KIND

START = from_datetime(datetime(2024, 1, 1, tzinfo=UTC))
INSTRUMENT = "upbit:KRW-BTC"
READS = 7
FETCHES = 3
EXECUTEMANY_ROWS = 50_000  # enough to see its rate; all of them would take minutes
PUT_ROWS = 5_000


def candle(i: int, instrument_id: str = INSTRUMENT) -> Candle:
    opened, price = START + i * MINUTE, Decimal(140_000_000 + 1_000 * (i % 997))
    volume, turnover = Decimal(i % 100_003 + 1).scaleb(-8), Decimal(i + 1).scaleb(-5)
    prices = (price, price + 5_000, price - 7_000, price + 1_000)
    return Candle(instrument_id, MINUTE, opened, *prices, volume, turnover, True, opened + MINUTE)


async def timed(times: int, call: Callable[[], Awaitable[Any]]) -> list[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        found.append(time.perf_counter() - began)
    return found


async def measure_writing(database: Database, spool: Path, minutes: int) -> dict[str, float]:
    rows = [candle(i) for i in range(minutes)]
    async with writing(database, spool) as writer:
        began = time.perf_counter()
        for start in range(0, minutes, PUT_ROWS):
            await writer.put(rows[start : start + PUT_ROWS])
        await writer.flush(timeout_s=600)
        ours = minutes / (time.perf_counter() - began)
    table = BY_KIND[Candle]
    marks = ", ".join(f"${i}" for i in range(1, len(table.columns) + 1))
    upsert = (
        f"INSERT INTO candles ({', '.join(table.columns)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {table.update}"
    )
    values = [table.encode(candle(i, "upbit:KRW-ETH")) for i in range(min(EXECUTEMANY_ROWS, minutes))]
    async with database.connection() as connection:
        (seconds,) = await timed(1, lambda: connection.executemany(upsert, values, timeout=600))
    return {"writer": ours, "executemany": len(values) / seconds}


async def measure_reading(database: Database, minutes: int) -> dict[str, list[float]]:
    end = START + minutes * MINUTE
    reader = Reader(database)
    async with database.connection() as connection:
        await connection.execute("VACUUM ANALYZE candles", timeout=600)
        assert len(await reader.candles(INSTRUMENT, MINUTE, START, end)) == minutes  # warm, like the fetch after it
        query = (
            "SELECT opened_at, open, high, low, close, volume FROM candles "
            "WHERE instrument_id = $1 AND interval_s = 60 ORDER BY opened_at"
        )
        return {
            "ours": await timed(READS, lambda: reader.candles(INSTRUMENT, MINUTE, START, end)),
            "fetch": await timed(FETCHES, lambda: connection.fetch(query, INSTRUMENT, timeout=600)),
        }


async def run(minutes: int, directory: Path) -> dict[str, Any]:
    address = Address(SecretStr(), directory / "pg")
    async with Database(address, DatabaseSettings()) as database:
        await migrate(database)
        writes = await measure_writing(database, directory / "spool", minutes)
        reads = await measure_reading(database, minutes)
        async with database.connection() as connection:
            version = await connection.fetchval("SHOW server_version")
    ours, fetch = median(reads["ours"]), median(reads["fetch"])
    return {
        "name": "storage_read_write",
        "ours": {
            "rows": minutes,
            "read_s": ours,
            "read_s_best": min(reads["ours"]),
            "write_rows_per_s": writes["writer"],
        },
        "peers": {"asyncpg fetch": {"read_s": fetch}, "executemany": {"write_rows_per_s": writes["executemany"]}},
        "ratios": {"read": fetch / ours, "write": writes["writer"] / writes["executemany"]},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version(), "postgresql": version},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print facts as JSON")
    parser.add_argument("--minutes", type=int, default=525_600, help="rows; a year by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kimp-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # under root the server runs as another user
        facts = asyncio.run(run(arguments.minutes, directory))
    if arguments.json:
        print_json(facts)
        return
    ours, peers, ratios = facts["ours"], facts["peers"], facts["ratios"]
    fetch, many = peers["asyncpg fetch"]["read_s"], peers["executemany"]["write_rows_per_s"]
    console().print(f"read  {ours['read_s']:.3f} s, fetch {fetch:.3f} s: {ratios['read']:.1f} times faster")
    console().print(
        f"write {ours['write_rows_per_s']:,.0f} rows/s, executemany {many:,.0f}: {ratios['write']:.1f} times"
    )


if __name__ == "__main__":
    sys.exit(main())
