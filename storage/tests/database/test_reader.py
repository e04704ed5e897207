from collections.abc import Callable, Coroutine
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimp.shared.domain.books import Book
from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.money import exact
from kimp.shared.domain.premium import BasisRates, PremiumRates
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND, from_datetime
from kimp.shared.errors import DataError
from kimp.storage.database import Reader, writing
from kimp.storage.database.columns import MISSING_TIME, Column, copy_columns
from kimp.storage.database.pool import Database

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def fill(database: Database, spool: Path, *batches: list[Any]) -> None:
    async with writing(database, spool) as writer:
        for batch in batches:
            await writer.put(batch)
        await writer.flush()
        assert writer.counters.rejected == 0


def test_candles_in_columns_equal_a_plain_fetch(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    other = [rows.candle(i, instrument_id="binance:BTCUSDT") for i in range(50)]

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path, list(reversed(rows.candles(3_000))), other)
            start, end = rows.start + 10 * MINUTE, rows.start + 2_000 * MINUTE
            found = await Reader(opened).candles(rows.upbit, MINUTE, start, end)
            async with opened.connection() as connection:
                plain = await connection.fetch(
                    "SELECT opened_at, open, high, low, close, volume FROM candles "
                    "WHERE instrument_id = $1 "
                    "AND opened_at >= to_timestamp($2) AND opened_at < to_timestamp($3) ORDER BY 1",
                    rows.upbit,
                    start // SECOND,
                    end // SECOND,
                )
            assert len(found) == len(plain) == 1_990
            assert found.opened.tolist() == [from_datetime(record[0]) for record in plain]
            for place, name in enumerate(("open", "high", "low", "close", "volume"), 1):
                assert getattr(found, name).tolist() == [record[place] for record in plain]

    run(scenario())


def test_a_long_range_read_in_pieces_is_whole(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened:
            thinned = [rows.candle(i) for i in range(0, 200_000, 400)]
            await fill(opened, tmp_path, thinned)
            found = await Reader(opened).candles(rows.upbit, MINUTE, rows.start, rows.start + 200_000 * MINUTE)
            assert found.opened.tolist() == [candle.opened_at for candle in thinned]
            assert found.opened.dtype == np.int64

    run(scenario())


def test_what_is_missing_is_nan_in_columns_and_none_in_rows(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    known = BasisRates(Decimal("0.03"), Decimal("0.031"), Decimal("0.029"), None, Decimal("0.028"))
    premiums = [PremiumRates("BTC", rows.start, known, None), PremiumRates("BTC", rows.start + MINUTE, None, known)]

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path, premiums)
            reader = Reader(opened)
            found = await reader.premiums("BTC", rows.start, rows.start + HOUR)
            assert found["at"].tolist() == [rows.start, rows.start + MINUTE]
            np.testing.assert_array_equal(found["fx_mid"], [0.03, np.nan])
            np.testing.assert_array_equal(found["usdt_executable_sell_korea"], [np.nan, 0.028])
            assert np.isnan(found["fx_executable_buy_korea"]).all()
            assert [row async for part in reader.stream(PremiumRates, 0, rows.start + HOUR) for row in part] == premiums

    run(scenario())


def test_any_column_may_be_null_when_it_is_declared_so(database: Database, run: Run) -> None:
    moment = "'2026-03-02 00:00:00.000001+00'::timestamptz"
    source = f"FROM (VALUES ({moment}, 1.5, 7::bigint), (NULL, NULL, NULL)) AS v (t, x, n)"

    async def scenario() -> None:
        async with database as opened, opened.connection() as connection:
            columns = (Column("t", "time", True), Column("x", "number", True), Column("n", "integer", True))
            found = await copy_columns(connection, columns, source)
            assert found["t"].tolist() == [1_772_409_600_000_001_000, MISSING_TIME]
            np.testing.assert_array_equal(found["x"], [1.5, np.nan])
            assert found["n"].tolist() == [7, MISSING_TIME]
            with pytest.raises(DataError, match="NULL"):
                await copy_columns(connection, (Column("x", "number"),), source)

    run(scenario())


def test_an_empty_range_gives_empty_columns(database: Database, rows: Any, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened:
            reader = Reader(opened)
            assert len(await reader.candles(rows.upbit, MINUTE, rows.start, rows.start + 365 * DAY)) == 0
            assert len(await reader.fx("USD", rows.start, rows.start + DAY)) == 0
            assert await reader.latest(Candle, rows.upbit) is None
            assert (await reader.coverage(Candle, rows.upbit)).first is None

    run(scenario())


def test_a_stream_gives_exact_rows_in_order_of_time_and_may_be_left_early(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    trades = [rows.trade(i) for i in range(12_000)]

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path, list(reversed(trades)), [rows.book(i) for i in range(20)])
            reader = Reader(opened)
            found = [row async for part in reader.stream(PublicTrade, 0, rows.start + DAY, rows.upbit) for row in part]
            assert found == trades
            async with aclosing(reader.stream(PublicTrade, 0, rows.start + DAY)) as parts:
                async for part in parts:
                    assert part == trades[: len(part)]
                    break
            books = [row async for part in reader.stream(Book, 0, rows.start + 5 * SECOND) for row in part]
            assert books == [rows.book(i) for i in range(5)]

    run(scenario())


def test_a_settled_funding_rate_is_the_last_one_known_when_it_settled(
    database: Database, rows: Any, tmp_path: Path, run: Run
) -> None:
    due = rows.start + 8 * HOUR
    rates = [
        FundingRate("binance:BTCUSDT", Decimal("0.0001"), rows.start, due),
        FundingRate("binance:BTCUSDT", Decimal("0.0002"), due, due),
        FundingRate("binance:BTCUSDT", Decimal("-0.0003"), due + HOUR, due + 8 * HOUR),
    ]

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path, rates)
            found = await Reader(opened).funding("binance:BTCUSDT", rows.start, rows.start + DAY)
            assert found.at.tolist() == [due, due + 8 * HOUR]
            assert found.value.tolist() == [0.0002, -0.0003]

    run(scenario())


def test_exchange_rates_are_read_by_source_or_together(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    quotes = [
        FxQuote("USD", Decimal(1390 + i), rows.start + i * MINUTE, rows.start + (i + 2) * MINUTE, f"source{i % 2}")
        for i in range(6)
    ]

    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path, quotes)
            reader = Reader(opened)
            assert (await reader.fx("USD", 0, rows.start + HOUR)).value.tolist() == [1390 + i for i in range(6)]
            assert (await reader.fx("USD", 0, rows.start + HOUR, "source1")).value.tolist() == [1391, 1393, 1395]
            latest = await reader.latest(FxQuote, "USD")
            assert latest == quotes[-1]

    run(scenario())


def test_coverage_and_series_say_what_there_is(database: Database, rows: Any, tmp_path: Path, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened:
            await fill(opened, tmp_path, rows.candles(10), [rows.candle(3, instrument_id="binance:BTCUSDT")])
            reader = Reader(opened)
            coverage = await reader.coverage(Candle, rows.upbit)
            assert (coverage.rows, coverage.first, coverage.last) == (10, rows.start, rows.start + 9 * MINUTE)
            assert await reader.series(Candle) == ["binance:BTCUSDT", rows.upbit]

    run(scenario())


digits = st.integers(min_value=0, max_value=10**15 - 1)


@given(number=digits, places=st.integers(min_value=0, max_value=12))
def test_every_decimal_of_fifteen_digits_survives_eight_bytes(number: int, places: int) -> None:
    """What lets candles and books be stored as double precision."""
    value = Decimal(number).scaleb(-places)
    assert exact(float(value)) == value
