"""The collector as a process: killed, cut off from venues and database, and still every row and minute is accounted for."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kimp.shared.config import load
from kimp.shared.domain.books import Book
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import default_pair
from kimp.shared.domain.premium import KimpCalculator, PremiumRates
from kimp.shared.domain.time import MINUTE, Nanos, from_datetime
from kimp.storage.collectors.backfill import BackFill
from kimp.storage.collectors.courier import Courier
from kimp.storage.collectors.history import histories
from kimp.storage.collectors.premium import size_of
from kimp.storage.database import Database, Reader
from kimp.storage.database.embedded import EmbeddedServer
from kimp.storage.database.upsert import Upserter

SCRIPT = Path(__file__).with_name("collector_script.py")
MARKETS = {"upbit:KRW-BTC": "no_trade", "upbit:KRW-USDT": "no_trade", "binance:BTCUSDT": "halted"}
KILLS = 3


@pytest.fixture
def collector(environ: dict[str, str], fast_venues: Any, fast_clock: Any, start: Any) -> Callable[..., Any]:
    """Starts a collector under the fast clock."""
    settings = {"KIMP__COLLECT__PREMIUM_S": "10", "KIMP__COLLECT__BACKFILL_HOURS": "2"}

    def begin(**more: str) -> Any:
        numbers = [str(number) for number in (fast_clock.base, fast_clock.origin, fast_clock.speed)]
        return start([sys.executable, str(SCRIPT), *numbers], environ | fast_venues.environ | settings | more)

    return begin


def acknowledged(programs: list[Any]) -> set[tuple[str, int]]:
    """What the processes promised to keep; a line cut off by the kill was not said."""
    told: set[tuple[str, int]] = set()
    for program in programs:
        for line in program.out.read_text().split("\n")[:-1]:
            told |= {(market, number) for market, number in json.loads(line)}
    return told


def stored_trades(sql: Any) -> list[tuple[str, int]]:
    return [(row[0], row[1]) for row in sql("SELECT instrument_id, trade_id FROM trades")]


def stored_minutes(sql: Any, market: str) -> dict[int, Any]:
    rows = sql("SELECT * FROM candles WHERE instrument_id = $1 AND interval_s = 60", market)
    return {from_datetime(row["opened_at"]) // MINUTE: row for row in rows}


def open_gaps(sql: Any, market: str) -> dict[int, str]:
    """The reason of each minute that an open gap explains; each is explained once."""
    reasons: dict[int, str] = {}
    query = "SELECT * FROM gaps WHERE series = $1 AND repaired_at IS NULL ORDER BY from_at"
    for row in sql(query, f"candles:{market}:60"):
        for minute in range(from_datetime(row["from_at"]) // MINUTE, from_datetime(row["to_at"]) // MINUTE):
            assert minute not in reasons, "two open gaps over the same minute"
            reasons[minute] = row["reason"]
    return reasons


def unexplained(sql: Any, market: str, end: int) -> set[int]:
    """Minutes since the first one on file that are neither there nor in the ledger."""
    stored, gaps = stored_minutes(sql, market), open_gaps(sql, market)
    return set(range(min([*stored, *gaps]), end)) - set(stored) - set(gaps)


def test_killed_again_and_again_it_loses_nothing_and_explains_every_minute(
    collector: Any, fast_venues: Any, fast_clock: Any, sql: Any, eventually: Any, run: Any, environ: Any
) -> None:
    dice, programs = Random(7), []
    for number in range(KILLS):
        if number == 1:
            fast_venues.refuses_history = True  # what is missing now cannot be had yet
        programs.append(collector())
        lines = dice.randrange(2, 8)
        eventually(lambda: len(programs[-1].lines) >= lines)  # noqa: B023 - asked in this round only
        half_a_minute_on = fast_clock.now() + MINUTE // 2
        eventually(lambda: fast_clock.now() > half_a_minute_on)  # noqa: B023
        programs[-1].kill(signal.SIGKILL)

    promised = acknowledged(programs)
    assert len(promised) > 100

    # the last one runs on: what a killed one had spooled gets in, and the minutes in which nobody looked are explained
    last = collector()
    end = fast_clock.now() // MINUTE
    eventually(lambda: promised <= set(stored_trades(sql)))
    kept = stored_trades(sql)
    assert len(kept) == len(set(kept))
    eventually(lambda: all(not unexplained(sql, market, end) for market in MARKETS))
    assert any("not_collected" in open_gaps(sql, market).values() for market in MARKETS)

    eventually(lambda: premiums_are_explained(sql, end))
    fast_venues.refuses_history = False
    eventually(lambda: all("not_collected" not in open_gaps(sql, market).values() for market in MARKETS))
    assert last.kill(signal.SIGTERM) == 0
    assert "Traceback" not in last.errors, last.errors[-3000:]

    end = fast_clock.now() // MINUTE - 1
    fetched = run(_back_fill(environ | fast_venues.environ, fast_clock, end * MINUTE))
    again = run(_back_fill(environ | fast_venues.environ, fast_clock, end * MINUTE))
    assert all(part.trouble is None for part in (*fetched, *again))
    assert [part.added for part in again] == [0, 0, 0]
    assert all(part.missing["not_collected"] == 0 for part in again)
    for market, absence in MARKETS.items():
        _compare(fast_venues.market, sql, market, absence, end)


def premiums_are_explained(sql: Any, end: int) -> bool:
    """Each ten seconds since the first premium there is one, or the ledger says that nobody looked."""
    step = 10_000_000_000
    there = {from_datetime(row[0]) // step for row in sql("SELECT at FROM kimp_rates")}
    gone: set[int] = set()
    for row in sql("SELECT from_at, to_at FROM gaps WHERE series = 'kimp_rates:BTC:10' AND repaired_at IS NULL"):
        gone |= set(range(from_datetime(row[0]) // step, from_datetime(row[1]) // step))
    assert not there & gone
    return set(range(min(there), end * MINUTE // step)) <= there | gone and bool(gone)


async def _back_fill(environ: dict[str, str], clock: Any, end: Nanos) -> list[Any]:
    settings = load(environ={name: value for name, value in environ.items() if name.startswith("KIMP__")}).settings
    async with Database.of(settings, environ) as database, Courier(clock=clock, dice=Random(1)) as courier:
        backfill = BackFill(Reader(database), Upserter(database).store, histories(settings, courier), clock)
        return [await backfill.candles(market, end - 120 * MINUTE, end) for market in MARKETS]


def _compare(market: Any, sql: Any, instrument_id: str, absence: str, end: int) -> None:
    """Every minute is what really happened, or there was nothing and the ledger says so."""
    stored, gaps = stored_minutes(sql, instrument_id), open_gaps(sql, instrument_id)
    symbol = instrument_id.partition(":")[2]
    for minute in range(end - 120, end):
        bar, row = market.bar(symbol, minute), stored.get(minute)
        if bar is None:
            assert row is None
            assert gaps[minute] == absence
            continue
        assert row is not None, (instrument_id, minute, gaps.get(minute))
        assert minute not in gaps
        assert [row[name] for name in ("open", "high", "low", "close")] == [
            bar[name] for name in ("open", "high", "low", "close")
        ]
        assert row["volume"] == float(bar["volume"])
        assert row["turnover"] == Decimal(bar["turnover"])


def test_every_premium_can_be_worked_out_again_from_what_is_stored(
    collector: Any, sql: Any, eventually: Any, run: Any, environ: Any
) -> None:
    program = collector()
    eventually(lambda: sql.one("SELECT count(*) FROM kimp_rates WHERE fx_mid IS NOT NULL") >= 3)
    assert program.kill(signal.SIGTERM) == 0
    assert run(_recomputed(environ)) >= 3


async def _recomputed(environ: dict[str, str]) -> int:
    settings = load(environ={"KIMP__DATABASE__URL": environ["KIMP__DATABASE__URL"]}).settings
    pair, last = default_pair("BTC"), 1 << 62
    async with Database.of(settings, environ) as database:
        reader = Reader(database)

        async def all_of(kind: Any) -> list[Any]:
            return [row async for rows in reader.stream(kind, 0, last) for row in rows]

        books, quotes = await all_of(Book), await all_of(FxQuote)
        premiums = await all_of(PremiumRates)
    for row in premiums:
        korea, abroad = (
            max(
                (b for b in books if b.instrument_id == leg.id and b.received_at <= row.at), key=lambda b: b.received_at
            )
            for leg in (pair.korea, pair.abroad)
        )
        usd, usdt = (
            max((q for q in quotes if q.base == base and q.at <= row.at), key=lambda q: q.at, default=None)
            for base in ("USD", "USDT")
        )
        size = size_of(pair, korea, settings.collect.size_krw)
        wanted = KimpCalculator(pair).rates(korea, abroad, now=row.at, usdkrw=usd, usdtkrw=usdt, quantity=size)
        assert row == wanted
    return len(premiums)


def test_with_the_venues_and_the_database_away_it_starts_and_catches_up(
    collector: Any,
    fast_venues: Any,
    new_directory: Callable[[], Path],
    eventually: Any,
    tmp_path: Path,
) -> None:
    directory = new_directory()
    with EmbeddedServer(directory) as server:  # makes a database, and takes it away again
        url = server.url.get_secret_value()
    for venue in ("binance", "fx"):
        fast_venues.leave(venue)
    program = collector(KIMP__DATABASE__URL=url)
    spool = tmp_path / "data" / "kimp" / "spool" / "rows.spool"
    eventually(lambda: spool.is_file() and spool.stat().st_size > 10_000)  # Upbit's rows wait on the disk
    eventually(lambda: program.lines)
    promised = acknowledged([program])
    for venue in ("binance", "fx"):
        fast_venues.return_(venue)

    def kept() -> bool:
        async def ask() -> Any:
            import asyncpg

            connection = await asyncpg.connect(url)
            try:
                trades = await connection.fetch("SELECT instrument_id, trade_id FROM trades")
                premiums = await connection.fetchval("SELECT count(*) FROM kimp_rates")
                return {(row[0], row[1]) for row in trades}, premiums
            finally:
                await connection.close()

        trades, premiums = asyncio.run(ask())
        return promised <= trades and premiums > 0

    with EmbeddedServer(directory):
        eventually(kept)
        began = time.monotonic()
        assert program.kill(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10.0
    assert "Traceback" not in program.errors, program.errors[-3000:]
