"""A year of minutes as a pandas frame: from PostgreSQL and from Parquet, beside the plain ways, in one run.

    uv run python benchmarks/storage_client.py [--json] [--minutes 525600] [--repeat 7]

From the database: ``StorageClient.ohlcv`` against the driver's own ``fetch`` of the same six columns (its rows, not even
made into a frame). From the archive: the same call against pandas, DuckDB and pyarrow reading the same file. The server
is kimp's own, made for the run. Targets on a quiet machine: 0.25 s and five times the fetch; 0.03 s from the archive.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import duckdb
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]

from kimp.shared.domain.time import MILLISECOND, MINUTE
from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.client import StorageClient
from kimp.storage.database import Database, migrate
from kimp.storage.database.address import Address

START = 1_704_067_200 * 1_000_000_000
INSTRUMENT = "upbit:KRW-BTC"
FILE = "upbit_KRW-BTC_1m.parquet"
FILL_S_MAX = 600.0
TARGET_DATABASE_S, TARGET_ARCHIVE_S, TARGET_TIMES = 0.25, 0.03, 5.0

_FILL = """
INSERT INTO candles (instrument_id, interval_s, opened_at, open, high, low, close, volume, turnover, received_at)
SELECT $1, 60, at, price, price + 5000, price - 7000, price + 1000, (i % 100003 + 1) * 0.00000001, 1, at
FROM (
    SELECT i, to_timestamp($2::bigint + 60 * i) AS at, (140000000 + 1000 * (i % 997))::double precision AS price
    FROM generate_series(0, $3::bigint - 1) AS i
) AS minutes
"""
_FETCH = """
SELECT opened_at, open, high, low, close, volume FROM candles
WHERE instrument_id = $1 AND interval_s = 60 ORDER BY opened_at
"""


async def fill(database: Database, minutes: int) -> str:
    """Put the minutes into the database, in order; the server's version."""
    async with database:
        await migrate(database)
        async with database.connection() as connection:
            since, until = pd.Timestamp(START, tz="UTC"), pd.Timestamp(START + minutes * MINUTE, tz="UTC")
            await connection.execute("SELECT ensure_partitions('candles', $1, $2)", since, until)
            await connection.execute(_FILL, INSTRUMENT, START // 10**9, minutes, timeout=FILL_S_MAX)
            await connection.execute("VACUUM ANALYZE candles", timeout=FILL_S_MAX)
            found: str = await connection.fetchval("SHOW server_version")
    return found


def write_archive(path: Path, minutes: int) -> None:
    """The same minutes as a file of docs/DATA_LAYOUT.md."""
    i = np.arange(minutes)
    price = 140_000_000.0 + 1_000 * (i % 997)
    prices = {"open": price, "high": price + 5_000, "low": price - 7_000, "close": price + 1_000}
    volume = (i % 100_003 + 1) * 0.00000001
    table = pa.table({"ts": START // MILLISECOND + i * 60_000, **prices, "volume": volume})
    pa_parquet.write_table(table, path, compression="zstd")


def timed(calls: dict[str, Callable[[], Any]], minutes: int, repeat: int) -> dict[str, dict[str, float]]:
    """Seconds of each: the median and the best of some rounds, after one that nobody counts.

    In turns, so that whatever else the machine does meets all of them alike.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    assert all(len(call()) == minutes for call in calls.values())
    for _ in range(repeat):
        for name, call in calls.items():
            began = perf_counter()
            call()
            found[name].append(perf_counter() - began)
    return {name: {"read_s": median(seconds), "read_s_best": min(seconds)} for name, seconds in found.items()}


def timed_fetch(url: str, minutes: int, repeat: int) -> dict[str, float]:
    """The driver's own way, on a connection that is open already."""
    with asyncio.Runner() as runner:

        def wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
            return runner.run(coroutine)

        async def fetch(connection: Any) -> Any:
            return await connection.fetch(_FETCH, INSTRUMENT, timeout=FILL_S_MAX)

        async def connect() -> Any:
            return await asyncpg.connect(url)

        connection = wait(connect())
        seconds = timed({"fetch": lambda: wait(fetch(connection))}, minutes, min(repeat, 3))
        wait(connection.close())
    return seconds["fetch"]


def measure(directory: Path, minutes: int, repeat: int) -> dict[str, Any]:
    """All of it, one after the other."""
    database = Database(Address(SecretStr(), directory / "pg"), DatabaseSettings())
    server = asyncio.run(fill(database, minutes))
    market = directory / "market"
    market.mkdir()
    path = market / FILE
    write_archive(path, minutes)
    end = START + minutes * MINUTE
    with StorageClient(database) as client:
        database_call = {"database": lambda: client.ohlcv(INSTRUMENT, "1m", START, end)}
        from_database = timed(database_call, minutes, repeat)["database"]
        fetch = timed_fetch(database.url.get_secret_value(), minutes, repeat)
    query = "SELECT * FROM read_parquet(?)"
    with StorageClient(None, market=market) as archive:
        calls: dict[str, Callable[[], Any]] = {
            "archive": lambda: archive.ohlcv(INSTRUMENT, "1m", START, end),
            "pandas read_parquet": lambda: pd.read_parquet(path),
            "duckdb df": lambda: duckdb.sql(query, params=[str(path)]).df(),  # type: ignore[union-attr]
            "pyarrow read_table": lambda: pa_parquet.read_table(path),
        }
        peers = timed(calls, minutes, repeat)
    from_archive = peers.pop("archive")
    peers = {"asyncpg fetch": fetch, **peers}
    return {
        "name": "storage_client",
        "ours": {"rows": minutes, "database": from_database, "archive": from_archive},
        "peers": peers,
        "ratios": {
            "fetch_to_database": fetch["read_s"] / from_database["read_s"],
            "pandas_to_archive": peers["pandas read_parquet"]["read_s"] / from_archive["read_s"],
            "duckdb_to_archive": peers["duckdb df"]["read_s"] / from_archive["read_s"],
        },
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {
            "postgresql": server,
            **{name: version(name) for name in ("asyncpg", "duckdb", "pandas", "pyarrow")},
        },
    }


def main() -> None:
    """Run, print, and say whether the targets were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print facts as JSON")
    parser.add_argument("--minutes", type=int, default=525_600, help="rows; a year by default")
    parser.add_argument("--repeat", type=int, default=7, help="the median of so many runs counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kimp-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # under root the server runs as another user
        facts = measure(directory, options.minutes, options.repeat)
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for what, seconds in (facts["ours"] | facts["peers"]).items():
        if what != "rows":
            print(f"{what:20} {seconds['read_s']:.4f} s  (best {seconds['read_s_best']:.4f} s)")
    times = facts["ratios"]["fetch_to_database"]
    print(f"database   {times:.1f} times as fast as the fetch; target {TARGET_TIMES} and {TARGET_DATABASE_S} s")
    print(
        f"archive    target {TARGET_ARCHIVE_S} s, {facts['ratios']['pandas_to_archive']:.2f} of pandas' time per ours"
    )


if __name__ == "__main__":
    main()
