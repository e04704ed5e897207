import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import FxQuote
from kimp.shared.domain.instruments import upbit_spot
from kimp.shared.domain.premium import BasisRates, PremiumRates
from kimp.shared.domain.time import DAY, HOUR, MINUTE, SECOND
from kimp.shared.errors import ConfigurationError, DataError, NotRunning
from kimp.shared.settings import Data, Settings
from kimp.storage.client import AsyncStorageClient, StorageClient
from kimp.storage.client.moments import length, nanos
from kimp.storage.database import Database, Gap, GapReason
from kimp.storage.database.rows import Row

Store = Callable[[Sequence[Row]], None]


def test_a_frame_has_utc_nanoseconds_and_the_stored_numbers(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.candle(i) for i in range(5)])
    frame = client.ohlcv(rows.upbit, "1m")
    assert frame.index.name == "opened_at"
    assert str(frame.index.dtype) == "datetime64[ns, UTC]"
    assert frame.index.as_unit("ns").asi8.tolist() == [rows.start + i * MINUTE for i in range(5)]
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert frame.close.tolist() == [float(rows.candle(i).close) for i in range(5)]


def test_all_three_forms_hold_the_same(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.candle(i) for i in range(5)])
    frame, table, arrays = (client.ohlcv(rows.upbit, as_=form) for form in ("pandas", "arrow", "numpy"))
    assert table.schema.field("opened_at").type == pa.timestamp("ns", "UTC")
    assert arrays["opened_at"].dtype == np.int64
    for name in ("open", "high", "low", "close", "volume"):
        assert frame[name].tolist() == table[name].to_pylist() == arrays[name].tolist()
    assert table["opened_at"].cast(pa.int64()).to_pylist() == arrays["opened_at"].tolist() == frame.index.asi8.tolist()


SEOUL = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 2, 9, tzinfo=SEOUL),
        datetime(2026, 3, 2, tzinfo=UTC),
        date(2026, 3, 2),
        "2026-03-02",
        "2026-03-02T00:00Z",
        "2026-03-02T09:00:00+09:00",
        1_772_409_600_000_000_000,
        np.int64(1_772_409_600_000_000_000),
        pd.Timestamp("2026-03-02T09:00+09:00"),
    ],
    ids=str,
)
def test_a_moment_may_be_written_in_many_ways(moment: Any, rows: Any) -> None:
    assert nanos(moment) == rows.start


@pytest.mark.parametrize(
    "moment",
    [datetime.fromisoformat("2026-03-02"), "2026-03-02T00:00", "soon", 1_772_409_600, True, None, 1.5],
    ids=str,
)
def test_a_moment_that_could_mean_two_things_is_refused(moment: Any) -> None:
    with pytest.raises(ConfigurationError):
        nanos(moment)


@pytest.mark.parametrize("interval", ["1", "m", "1w", "-1m", "0m", 0, 1, ""])
def test_a_length_that_is_none_is_refused(interval: Any) -> None:
    with pytest.raises(ConfigurationError):
        length(interval)


def test_a_range_holds_its_start_and_not_its_end(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.candle(i) for i in range(10)])
    found = client.ohlcv(rows.upbit, "1m", rows.start + 2 * MINUTE, rows.start + 5 * MINUTE, as_="numpy")
    assert found["opened_at"].tolist() == [rows.start + i * MINUTE for i in (2, 3, 4)]
    with pytest.raises(DataError, match="start must come before"):
        client.ohlcv(rows.upbit, "1m", "2026-03-03", "2026-03-02")


def test_missing_minutes_stay_missing_unless_filling_is_asked(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.candle(i) for i in (0, 1, 4)])
    assert len(client.ohlcv(rows.upbit)) == 3
    filled = client.ohlcv(rows.upbit, fill="previous")
    assert filled.is_filled.tolist() == [False, False, True, True, False]
    made_up = filled[filled.is_filled]
    assert (made_up[["open", "high", "low", "close"]] == float(rows.candle(1).close)).all(axis=None)
    assert (made_up.volume == 0).all()
    with pytest.raises(ConfigurationError, match="fill"):
        client.ohlcv(rows.upbit, fill="linear")  # type: ignore[arg-type]


def test_hours_that_nobody_recorded_are_made_from_minutes(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.candle(i) for i in range(150)])
    hours = client.ohlcv(rows.upbit, "1h", rows.start, rows.start + 2 * HOUR, as_="numpy")
    assert hours["opened_at"].tolist() == [rows.start, rows.start + HOUR]
    assert hours["close"][0] == float(rows.candle(59).close)
    store([rows.candle(i, interval=HOUR, shift=7) for i in range(2)])
    assert client.ohlcv(rows.upbit, "1h", as_="numpy")["open"][0] == float(rows.candle(0).open) + 7


def test_nothing_stored_is_an_empty_frame_of_the_same_columns(client: StorageClient) -> None:
    for frame, column in [
        (client.ohlcv("upbit:KRW-XRP", fill="previous"), "close"),
        (client.trades("upbit:KRW-XRP"), "price"),
        (client.orderbooks("upbit:KRW-XRP", depth=2), "ask_size_2"),
        (client.funding("binance:XRPUSDT"), "rate"),
        (client.fx("USDT"), "source"),
        (client.premium("XRP", fill="previous"), "usdt_mid"),
        (client.gaps("candles:upbit:KRW-XRP:60"), "reason"),
        (client.coverage(), "rows"),
    ]:
        assert len(frame) == 0
        assert column in frame.columns
    assert client.latest("trades", "upbit:KRW-XRP") is None


def test_books_have_a_column_for_each_cell_and_nan_where_they_are_thin(
    client: StorageClient, store: Store, rows: Any
) -> None:
    store([rows.book(0), rows.book(1, depth=2)])
    frame = client.orderbooks(rows.upbit, depth=3)
    assert frame.bid_price_1.tolist() == [140_000_000.0, 140_000_000.0]
    assert frame.ask_size_3.iloc[0] == 1.00000003
    assert np.isnan(frame.ask_size_3.iloc[1])
    assert (frame.received_at - frame.index == pd.Timedelta(milliseconds=7)).all()
    with pytest.raises(ConfigurationError, match="depth"):
        client.orderbooks(rows.upbit, depth=0)


def test_trades_keep_every_digit_a_double_can_carry(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.trade(0, price="140123456.7"), rows.trade(1, price="0.00000123")])
    frame = client.trades(rows.upbit)
    assert frame.price.tolist() == [140123456.7, 0.00000123]
    assert frame.trade_id.tolist() == [10**15, 10**15 + 1]
    assert frame.sign.tolist() == [-1, 1]
    assert client.latest("trades", rows.upbit) == rows.trade(1, price="0.00000123")


def test_funding_is_what_was_known_when_it_settled(client: StorageClient, store: Store, rows: Any) -> None:
    settles = rows.start + 8 * HOUR
    store([FundingRate("binance:BTCUSDT", Decimal(rate), settles - ago, settles) for rate, ago in
           (("0.0001", HOUR), ("0.00012345", SECOND), ("0.5", -SECOND))])  # fmt: skip
    frame = client.funding("binance:BTCUSDT")
    assert frame.rate.tolist() == [0.00012345]
    assert frame.index.asi8.tolist() == [settles]


def test_exchange_rates_say_whose_they_are_and_how_long_they_hold(
    client: StorageClient, store: Store, rows: Any
) -> None:
    at = rows.start
    quotes = [("bank", "1390.5"), ("market", "1391")]
    store([FxQuote("USD", Decimal(value), at, at + 2 * MINUTE, source) for source, value in quotes])
    frame = client.fx()
    assert frame.source.tolist() == ["bank", "market"]
    assert frame.value.tolist() == [1390.5, 1391.0]
    assert (frame.valid_until - frame.index == pd.Timedelta(minutes=2)).all()
    assert client.fx(source="market").value.tolist() == [1391.0]
    assert len(client.fx("USDT")) == 0


def test_premiums_are_filled_on_request_and_marked(client: StorageClient, store: Store, rows: Any) -> None:
    basis = BasisRates(Decimal("0.031"), Decimal("0.0305"), Decimal("0.0315"), None, Decimal("0.04"))
    store([PremiumRates("BTC", rows.start + i * MINUTE, basis, None) for i in (0, 3)])
    assert len(client.premium("BTC")) == 2
    frame = client.premium("BTC", fill="previous")
    assert frame.is_filled.tolist() == [False, True, True, False]
    assert frame.fx_mid.tolist() == [0.031] * 4
    assert frame.usdt_mid.isna().all()


def test_gaps_say_how_long_and_why(client: StorageClient, store: Store, rows: Any) -> None:
    series = "candles:upbit:KRW-BTC:60"
    start = rows.start
    store([
        Gap(series, start, start + 3 * MINUTE, GapReason.NO_TRADE, start + HOUR),
        Gap(series, start + HOUR, start + 2 * HOUR, GapReason.NOT_COLLECTED, start + 2 * HOUR, start + 3 * HOUR),
    ])  # fmt: skip
    frame = client.gaps(series)
    assert frame.minutes.tolist() == [3.0, 60.0]
    assert frame.reason.tolist() == ["no_trade", "not_collected"]
    assert frame.repaired_at.isna().tolist() == [True, False]
    assert client.gaps(series, open_only=True).reason.tolist() == ["no_trade"]
    assert client.gaps(series, as_="arrow")["repaired_at"].null_count == 1


def test_coverage_and_instruments_tell_what_there_is(client: StorageClient, store: Store, rows: Any) -> None:
    store([upbit_spot("BTC"), *(rows.candle(i) for i in range(7)), rows.trade(0)])
    frame = client.coverage().set_index(["kind", "series"])
    minutes = frame.loc[("candles", rows.upbit)]
    assert (minutes["rows"], minutes["interval_s"], minutes["place"]) == (7, 60, "database")
    assert minutes["last"] - minutes["first"] == pd.Timedelta(minutes=6)
    assert frame.loc[("trades", rows.upbit), "rows"] == 1
    assert client.instruments() == [upbit_spot("BTC")]


def test_a_stream_gives_every_row_once_in_stretches(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.trade(i, rows.start + i * 10 * MINUTE) for i in range(20)])
    store([rows.candle(i) for i in range(200)])
    end = rows.start + 6 * HOUR
    pieces = list(client.stream("trades", rows.upbit, rows.start, end, every="1h", as_="numpy"))
    assert [len(piece["trade_id"]) for piece in pieces] == [6, 6, 6, 2]  # the empty hours are left out
    assert np.concatenate([piece["trade_id"] for piece in pieces]).tolist() == [10**15 + i for i in range(20)]
    bars = pd.concat(list(client.stream("ohlcv", rows.upbit, rows.start, end, every="30m")))
    assert bars.equals(client.ohlcv(rows.upbit))
    with pytest.raises(ConfigurationError, match="whole bars"):
        list(client.stream("ohlcv", rows.upbit, rows.start, end, every="90s"))


def test_both_clients_answer_alike(
    url: str, open_database: Any, client: StorageClient, store: Store, rows: Any, run: Any
) -> None:
    store([rows.candle(i) for i in range(5)])

    async def awaited() -> Any:
        async with AsyncStorageClient(open_database(url)) as other:
            return await other.ohlcv(rows.upbit), [
                f async for f in other.stream("ohlcv", rows.upbit, rows.start, "2026-03-03")
            ]

    frame, (streamed,) = run(awaited())
    assert frame.equals(client.ohlcv(rows.upbit))
    assert streamed.equals(frame)


def test_one_client_serves_a_running_loop_and_many_threads(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.candle(i) for i in range(50)])

    async def in_a_notebook() -> Any:
        return client.ohlcv(rows.upbit)

    expected = asyncio.run(in_a_notebook())
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(client.ohlcv(rows.upbit))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert len(found) == 8
    assert all(frame.equals(expected) for frame in found)


def test_a_closed_client_says_so(database: Database) -> None:
    client = StorageClient(database)
    with pytest.raises(NotRunning, match="not open"):
        client.ohlcv("upbit:KRW-BTC")
    client.open()
    client.close()
    client.close()
    with pytest.raises(NotRunning, match="not open"):
        client.trades("upbit:KRW-BTC")


def test_a_database_without_tables_says_what_to_run(empty_url: str, open_database: Any) -> None:
    with StorageClient(open_database(empty_url)) as client:
        for ask in (client.ohlcv, client.trades):
            with pytest.raises(ConfigurationError, match="kimp db migrate"):
                ask("upbit:KRW-BTC")


def test_a_database_that_is_away_is_said_in_one_sentence(open_database: Any) -> None:
    with (
        StorageClient(open_database("postgresql://kimp:secret@127.0.0.1:1/kimp")) as client,
        pytest.raises(NotRunning, match="does not answer") as caught,
    ):
        client.ohlcv("upbit:KRW-BTC")
    assert "secret" not in str(caught.value)


def test_an_unknown_form_is_refused(client: StorageClient) -> None:
    with pytest.raises(ConfigurationError, match="none of pandas, arrow and numpy"):
        client.ohlcv("upbit:KRW-BTC", as_="polars")  # type: ignore[arg-type]


def test_settings_say_where_everything_lies(tmp_path: Path, url: str, store: Store, rows: Any) -> None:
    store([rows.trade(0)])
    (tmp_path / "market").mkdir()
    settings = Settings(data=Data(directory=tmp_path))
    with StorageClient.of(settings, {"DATABASE_URL": url}) as client:
        assert len(client.trades(rows.upbit)) == 1
        assert len(client.ohlcv(rows.upbit)) == 0


def test_a_client_without_a_database_reads_files_and_says_what_it_cannot(tmp_path: Path) -> None:
    with StorageClient(None, market=tmp_path) as client:
        assert len(client.ohlcv("upbit:KRW-BTC")) == 0
        assert len(client.fx("USD", "2026-03-02", "2026-03-03")) == 0
        with pytest.raises(ConfigurationError, match="database"):
            client.premium()


def test_times_outside_of_any_market_are_only_edges(client: StorageClient, store: Store, rows: Any) -> None:
    store([rows.candle(0)])
    assert len(client.ohlcv(rows.upbit, "1m", rows.start - 300 * DAY, rows.start + 300 * DAY)) == 1
