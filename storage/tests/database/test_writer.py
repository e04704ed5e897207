import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kimp.shared.domain.books import Book
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import binance_perpetual, upbit_spot
from kimp.shared.domain.premium import BasisRates, PremiumRates
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND
from kimp.shared.errors import DataError, TimedOut
from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.database import Gap, GapReason, Reader, migrate, writing
from kimp.storage.database.address import Address
from kimp.storage.database.pool import Database, DatabaseAway
from kimp.storage.database.rows import Row
from kimp.storage.database.writer import REJECTED_FILE, Writer, WriterLimits

Run = Callable[[Coroutine[Any, Any, Any]], Any]
OpenDatabase = Callable[[], Database]
KILLS = 6
ROUNDS_MAX = 40


async def count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


def one_of_each(rows: Any) -> list[Row]:
    start = rows.start
    rates = BasisRates(
        *(Decimal(text) for text in ("0.0312345678901234567890123", "0.04", "0.02")), None, Decimal("-0.01")
    )
    return [
        binance_perpetual("BTC"),
        upbit_spot("BTC"),
        rows.candle(0),
        rows.book(0),
        rows.trade(0),
        FundingRate("binance:BTCUSDT", Decimal("-0.00012345"), start, start + 8 * HOUR),
        FxQuote("USD", Decimal("1391.25"), start, start + 2 * MINUTE, "bank"),
        PremiumRates("BTC", start, None, rates),
        Gap("candles:upbit:KRW-BTC:60", start, start + 3 * MINUTE, GapReason.NO_TRADE, start + HOUR),
    ]


def test_every_kind_of_row_comes_back_as_it_went_in(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    written = one_of_each(rows)

    async def scenario() -> None:
        async with database as opened:
            async with writing(opened, tmp_path) as writer:
                await writer.put(written)
                await writer.flush()
                assert writer.counters.written == len(written)
            reader = Reader(opened)
            found: list[Row] = list(await reader.instruments())
            for kind in (Candle, Book, PublicTrade, FundingRate, FxQuote, PremiumRates, Gap):
                found += [row async for part in reader.stream(kind, 0, rows.start + DAY) for row in part]
            assert found == written

    run(scenario())


def test_collecting_again_adds_nothing(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    everything = [*one_of_each(rows), *rows.candles(500), *(rows.trade(i) for i in range(500))]

    async def scenario() -> None:
        async with database as opened, writing(opened, tmp_path) as writer:
            await writer.put(everything)
            await writer.flush()
            before = writer.counters.written
            later = [
                msgspec.structs.replace(row, received_at=row.received_at + SECOND) if isinstance(row, Candle) else row
                for row in everything
            ]
            await writer.put(later)
            await writer.flush()
            assert writer.counters.written == before
            assert await count(opened, "candles") == 500

    run(scenario())


def test_a_corrected_candle_replaces_the_first_and_the_last_word_of_a_batch_counts(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    async def scenario() -> None:
        async with database as opened:
            async with writing(opened, tmp_path) as writer:
                await writer.put([rows.candle(0)])
                await writer.flush()
                await writer.put([rows.candle(0, close="140000500"), rows.candle(0, close="140000700")])
                await writer.flush()
            latest = await Reader(opened).latest(Candle, rows.upbit)
            assert latest is not None
            assert latest.close == Decimal(140_000_700)
            assert await count(opened, "candles") == 1

    run(scenario())


def test_an_open_candle_is_not_taken(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened, writing(opened, tmp_path) as writer:
            with pytest.raises(DataError, match="still open"):
                await writer.put([msgspec.structs.replace(rows.candle(0), is_closed=False)])

    run(scenario())


def test_a_repaired_gap_stays_repaired(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    start = rows.start
    gap = Gap("candles:x:60", start, start + MINUTE, GapReason.NOT_COLLECTED, start)

    async def scenario() -> None:
        async with database as opened:
            async with writing(opened, tmp_path) as writer:
                for row in (gap, msgspec.structs.replace(gap, repaired_at=start + HOUR), gap):
                    await writer.put([row])
                    await writer.flush()
            reader = Reader(opened)
            (found,) = await reader.gaps("candles:x:60", start, start + HOUR)
            assert found.repaired_at == start + HOUR
            assert await reader.gaps("candles:x:60", start, start + HOUR, open_only=True) == []

    run(scenario())


def test_a_row_the_database_refuses_is_put_aside_and_holds_up_no_other(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    bad = msgspec.structs.replace(rows.candle(50), high=Decimal(1))
    ancient = rows.trade(1, at=0)

    async def scenario() -> None:
        async with database as opened, writing(opened, tmp_path) as writer:
            await writer.put([*rows.candles(100)[:50], bad, ancient, *rows.candles(100)[51:]])
            await writer.flush()
            assert writer.counters.rejected == 2
            assert await count(opened, "candles") == 99

    run(scenario())
    facts = [json.loads(line) for line in (tmp_path / REJECTED_FILE).read_text().splitlines()]
    assert sorted(fact["table"] for fact in facts) == ["candles", "trades"]


def test_years_of_back_fill_make_their_own_partitions(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened, writing(opened, tmp_path) as writer:
            old = [
                msgspec.structs.replace(rows.candle(0), opened_at=rows.start - years * 366 * DAY) for years in range(6)
            ]
            await writer.put(old)
            await writer.flush()
            assert await count(opened, "candles") == 6

    run(scenario())


def test_a_dropped_partition_is_made_again(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened, writing(opened, tmp_path) as writer:
            await writer.put([rows.trade(0)])
            await writer.flush()
            async with opened.connection() as connection:
                await connection.execute("DROP TABLE trades_2026_03_02")
            await writer.put([rows.trade(1)])
            await writer.flush()
            assert (await count(opened, "trades"), writer.counters.rejected) == (1, 0)

    run(scenario())


def test_without_a_database_rows_wait_on_the_disk_and_arrive_once_in_order(
    url: str, rows: Any, tmp_path: Path, run: Run
) -> None:
    nowhere = Database(Address(SecretStr("postgresql://kimp@127.0.0.1:1/none"), Path()), DatabaseSettings())
    there = Database(Address(SecretStr(url), Path()), DatabaseSettings())

    async def scenario() -> None:
        async with nowhere as away, writing(away, tmp_path, WriterLimits(flush_s=0.01)) as writer:
            for i in range(10):
                await writer.put(rows.candles(10, first=10 * i))
                await writer.flush()
            await writer.put([rows.candle(0, close="140000700")])
            await writer.flush()
            assert (writer.counters.spooled, writer.counters.written) == (101, 0)
            assert writer.spool_bytes > 0
        async with there as back:
            async with writing(back, tmp_path) as writer:
                await writer.put(rows.candles(1, first=100))
                await writer.flush()
                assert (writer.counters.replayed, writer.spool_bytes) == (101, 0)
            assert await count(back, "candles") == 101
            assert await count(back, "spool_progress") == 0
            found = await Reader(back).candles(rows.upbit, MINUTE, rows.start, rows.start + MINUTE)
            assert found.close[0] == 140_000_700

    run(scenario())


def test_a_replay_interrupted_in_the_middle_goes_on_where_it_was(url: str, rows: Any, tmp_path: Path, run: Run) -> None:
    nowhere = Database(Address(SecretStr("postgresql://kimp@127.0.0.1:1/none"), Path()), DatabaseSettings())
    there = Database(Address(SecretStr(url), Path()), DatabaseSettings())

    async def scenario() -> None:
        async with nowhere as away, writing(away, tmp_path, WriterLimits(flush_s=0.01)) as writer:
            for i in range(4):
                await writer.put([rows.trade(i)])
                await writer.flush()
        async with there as back:
            first = Writer(back, tmp_path)
            spool = first._spool
            record = spool.read(0)
            assert record is not None
            await first._upserter.store([rows.trade(0)], (spool.id, record[1]))  # and here the collector is killed
            spool.close()
            async with back.connection() as connection:  # what a second time would bring back
                await connection.execute("DELETE FROM trades")
            async with writing(back, tmp_path) as writer:
                await until(lambda: writer.spool_bytes == 0)
                assert writer.counters.replayed == 3
            assert await count(back, "trades") == 3

    run(scenario())


async def put_one_by_one(writer: Writer, rows: list[Row]) -> None:
    for row in rows:
        await writer.put([row])


class StuckDatabase(Database):
    """Takes connections and never answers, as a network that swallows packets does."""

    stuck = True

    async def _acquire(self) -> Any:
        while self.stuck:
            await asyncio.sleep(0.01)
        return await super()._acquire()


def test_a_slow_database_makes_the_collectors_wait(url: str, rows: Any, tmp_path: Path, run: Run) -> None:
    database = StuckDatabase(Address(SecretStr(url), Path()), DatabaseSettings())
    limits = WriterLimits(queue_rows=100, batch_rows=10, flush_s=0.01)

    async def scenario() -> None:
        async with database as opened, writing(opened, tmp_path, limits) as writer:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(put_one_by_one(writer, rows.candles(1_000)), 0.3)
            assert writer.backlog == 100
            assert writer.counters.waits == 1
            with pytest.raises(TimedOut, match="100 rows are not stored"):
                await writer.flush(timeout_s=0.1)
            database.stuck = False
            await writer.flush()
            assert await count(opened, "candles") == 100

    run(scenario())


def test_ending_does_not_wait_for_a_database_that_is_stuck(url: str, rows: Any, tmp_path: Path, run: Run) -> None:
    database = StuckDatabase(Address(SecretStr(url), Path()), DatabaseSettings())

    async def scenario() -> None:
        async with database as opened:
            async with writing(opened, tmp_path, WriterLimits(flush_s=0.01, close_s=1.0)) as writer:
                await writer.put(rows.candles(20))
            assert writer.counters.spooled == 20
            database.stuck = False
            async with writing(opened, tmp_path) as writer:
                await until(lambda: writer.spool_bytes == 0)
            assert await count(opened, "candles") == 20

    run(scenario())


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1"])
def test_what_is_no_price_never_gets_in(database: Database, rows: Any, tmp_path: Path, run: Run, value: str) -> None:
    candle, trade = rows.candle(0), rows.trade(0)
    wrong = Decimal(value)
    replace = msgspec.structs.replace
    bad = [
        *(replace(candle, **{name: wrong}) for name in ("open", "high", "low", "close", "volume", "turnover")),
        *(replace(trade, **{name: wrong}) for name in ("price", "quantity")),
        FxQuote("USD", wrong, rows.start, rows.start, "bank"),
    ]

    async def scenario() -> None:
        async with database as opened, writing(opened, tmp_path) as writer:
            for row in bad:
                await writer.put([row])
                await writer.flush()
            assert (writer.counters.rejected, writer.counters.written) == (len(bad), 0)

    run(scenario())


def test_when_the_disk_is_full_too_nothing_is_dropped(url: str, rows: Any, tmp_path: Path, run: Run) -> None:
    class Switchable(Database):
        is_away = True

        async def _acquire(self) -> Any:
            if self.is_away:
                raise DatabaseAway("the test says so")
            return await super()._acquire()

    database = Switchable(Address(SecretStr(url), Path()), DatabaseSettings(spool_max_mb=0))

    async def scenario() -> None:
        async with database as opened, writing(opened, tmp_path, WriterLimits(flush_s=0.01, retry_s=0.01)) as writer:
            await writer.put(rows.candles(20))
            with pytest.raises(TimedOut):
                await writer.flush(timeout_s=0.2)
            opened.is_away = False
            await writer.flush()
            assert (await count(opened, "candles"), writer.counters.spooled) == (20, 0)

    run(scenario())


def test_killing_the_database_again_and_again_loses_and_doubles_nothing(
    own_database: OpenDatabase, rows: Any, tmp_path: Path, run: Run
) -> None:
    limits = WriterLimits(batch_rows=200, flush_s=0.005, retry_s=0.02, retry_s_max=0.2)

    async def scenario() -> None:
        async with own_database() as opened:
            await migrate(opened)
            server = opened.server
            assert server is not None
            acknowledged: list[Row] = []
            async with writing(opened, tmp_path, limits) as writer:
                victims: list[int] = []
                for _ in range(ROUNDS_MAX):
                    # A kill between two commits is noticed by nobody: go on until one has struck a batch under way.
                    if len(victims) >= KILLS and writer.counters.replayed > 0:
                        break
                    for _ in range(5):
                        first = len(acknowledged)
                        batch = [*rows.candles(150, first), *(rows.trade(i) for i in range(first, first + 150))]
                        await writer.put(batch)
                        if len(acknowledged) >= 1_500 * len(victims):
                            pid = server.pid
                            if pid is not None and pid not in victims:
                                os.kill(pid, signal.SIGKILL)
                                victims.append(pid)
                        await writer.flush()
                        acknowledged += batch
                    await until(lambda: writer.spool_bytes == 0)
                assert len(victims) >= KILLS
                assert writer.counters.replayed > 0
            wanted = {row.opened_at for row in acknowledged if isinstance(row, Candle)}
            ids = {row.trade_id for row in acknowledged if isinstance(row, PublicTrade)}
            reader = Reader(opened)
            found = await reader.candles(rows.upbit, MINUTE, rows.start, rows.start + 365 * DAY)
            assert found.opened.tolist() == sorted(wanted)
            trades = await reader.trades(rows.upbit, rows.start, rows.start + 365 * DAY)
            assert trades["trade_id"].tolist() == sorted(ids)

    run(scenario())


def test_what_a_killed_collector_had_acknowledged_is_written_by_the_next(
    own_database: OpenDatabase, rows: Any, tmp_path: Path, run: Run
) -> None:
    async def collect() -> None:
        async with own_database() as opened:
            await migrate(opened)
            writer = Writer(opened, tmp_path, WriterLimits(flush_s=0.005))
            running = asyncio.timeout(20)
            async with running, asyncio.TaskGroup() as group:
                task = group.create_task(writer.run())
                await writer.put(rows.candles(10))
                await writer.flush()
                assert opened.server is not None
                assert opened.server.pid is not None
                os.kill(opened.server.pid, signal.SIGKILL)
                await writer.put(rows.candles(10, first=10))
                await writer.flush()
                task.cancel()  # nothing more is said or done: no drain, as after kill -9

    async def restart() -> None:
        async with own_database() as opened, writing(opened, tmp_path) as writer:
            await until(lambda: writer.spool_bytes == 0)
            assert await count(opened, "candles") == 20

    run(collect())
    run(restart())


def test_the_collector_may_be_killed_at_any_moment(own_database: OpenDatabase, tmp_path: Path, run: Run) -> None:
    script = Path(__file__).with_name("collector_script.py")

    async def scenario() -> None:
        acknowledged = 0
        for round_number in range(3):
            process = await asyncio.create_subprocess_exec(
                *_python(script, own_database(), tmp_path, acknowledged), stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            async with asyncio.timeout(30):
                for _ in range(10 + 7 * round_number):
                    acknowledged = int(await process.stdout.readline())
            process.kill()
            rest = (await process.stdout.read()).split()
            acknowledged = int(rest[-1]) if rest else acknowledged
            await process.wait()
        async with own_database() as opened:
            async with writing(opened, tmp_path) as writer:
                await until(lambda: writer.spool_bytes == 0)
            async with opened.connection() as connection:
                found = await connection.fetch("SELECT trade_id, count(*) AS times FROM trades GROUP BY 1 ORDER BY 1")
            numbers = [record["trade_id"] for record in found]
            assert numbers[:acknowledged] == list(range(acknowledged))
            assert all(record["times"] == 1 for record in found)

    run(scenario())


def _python(script: Path, database: Database, spool: Path, first: int) -> list[str]:
    assert database.server is not None
    return [sys.executable, str(script), str(database.server.directory), str(spool), str(first)]
