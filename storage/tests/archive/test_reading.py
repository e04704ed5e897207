"""What read_market hands to a backtest, on small files that say what they hold."""

from typing import Any

import numpy as np
import pytest

from kimp.shared.domain.history import MarketData
from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, MINUTE
from kimp.storage.archive import gaps, read_market


def read(recording: Any, **asked: Any) -> MarketData:
    return read_market(recording.directory, **({"start": None, "end": None} | asked))


def test_both_legs_come_back_as_they_were_recorded(recording: Any) -> None:
    market = read(recording)
    assert (market.base, market.interval) == ("BTC", HOUR)
    assert (market.start, market.end) == (recording.start, recording.start + 48 * HOUR)
    assert market.korea.opened.dtype == np.int64
    np.testing.assert_array_equal(market.korea.opened, recording.start + HOUR * np.arange(48))
    np.testing.assert_array_equal(market.abroad.close, 101.0 + np.arange(48))
    assert market.sources["korea"] == "upbit_KRW-BTC_1h.parquet"


def test_an_open_range_is_what_both_legs_cover(recording: Any) -> None:
    recording.candles("binance_um_BTCUSDT_1h.parquet", first=recording.start + 6 * HOUR, count=36)
    market = read(recording)
    assert (market.start, market.end) == (recording.start + 6 * HOUR, recording.start + 42 * HOUR)
    assert len(market.korea) == len(market.abroad) == 36


def test_the_end_of_a_range_is_outside_of_it(recording: Any) -> None:
    market = read(recording, start=recording.start + HOUR, end=recording.start + 3 * HOUR)
    np.testing.assert_array_equal(market.korea.opened, recording.start + HOUR * np.array([1, 2]))
    assert (market.funding.at < market.end).all()


def test_a_fixing_is_unknown_until_three_in_the_afternoon(recording: Any) -> None:
    fixings = read(recording).usdkrw
    np.testing.assert_array_equal((fixings.at - recording.start) / HOUR, [15 - 72, 15, 39])
    np.testing.assert_array_equal(fixings.value, [1297.0, 1300.0, 1301.0])


def test_the_fixing_in_force_at_the_start_is_kept_and_older_ones_are_not(recording: Any) -> None:
    recording.fixing(days=(-4, -3, 0, 1))
    fixings = read(recording, start=recording.start + 14 * HOUR, end=recording.start + 15 * HOUR).usdkrw
    np.testing.assert_array_equal(fixings.value, [1297.0])


def test_a_fixing_of_exactly_the_start_replaces_the_one_before(recording: Any) -> None:
    fixings = read(recording, start=recording.start + 15 * HOUR, end=recording.start + 16 * HOUR).usdkrw
    np.testing.assert_array_equal(fixings.value, [1300.0])


def test_a_market_rate_is_unknown_until_its_day_is_over(recording: Any) -> None:
    days = [-3, 0, 1]
    rates = [1310.0 + day for day in days]
    prices = {"open": rates, "high": rates, "low": rates, "close": rates}
    recording.write(
        "usdkrw_investing_1d.parquet", {"ts": [(recording.start + d * DAY) // MILLISECOND for d in days], **prices}
    )
    market = read(recording, fx="investing")
    np.testing.assert_array_equal((market.usdkrw.at - recording.start) / DAY, [-2, 1])
    assert market.usdkrw_valid_for == 3 * DAY


def test_the_last_funding_before_the_start_is_kept(recording: Any) -> None:
    funding = read(recording, start=recording.start + 9 * HOUR, end=recording.start + 17 * HOUR).funding
    np.testing.assert_array_equal((funding.at - recording.start) / HOUR, [8, 16])
    np.testing.assert_allclose(funding.value, [1e-4, 2e-4])


def test_a_range_without_funding_says_so_instead_of_failing(recording: Any) -> None:
    (recording.directory / "binance_um_BTCUSDT_funding_8h.parquet").unlink()
    market = read(recording)
    assert len(market.funding) == 0
    assert market.sources["funding"] == "none recorded"


def test_minutes_pair_with_five_minutes_by_resampling(recording: Any) -> None:
    recording.candles("upbit_KRW-BTC_1m_a.parquet", count=48 * 60, step=MINUTE, price=1_000.0)
    recording.candles("binance_um_BTCUSDT_5m.parquet", count=48 * 12, step=5 * MINUTE, price=1_000.0)
    market = read(recording)
    assert market.interval == 5 * MINUTE
    second = {name: getattr(market.korea, name)[1] for name in ("open", "high", "low", "close", "volume")}
    assert second == {"open": 1005.0, "high": 1011.0, "low": 1003.0, "close": 1010.0, "volume": 7.5}
    assert market.sources["korea"] == "upbit_KRW-BTC_1m_a.parquet (resampled to 5m)"


def test_resampling_invents_no_bar_where_nobody_traded(recording: Any) -> None:
    bars = recording.bars(count=48 * 60, step=MINUTE)
    traded = [i for i in range(48 * 60) if not 10 <= i < 20 and i != 31]
    recording.write("upbit_KRW-BTC_1m.parquet", {name: [column[i] for i in traded] for name, column in bars.items()})
    recording.candles("binance_um_BTCUSDT_5m.parquet", count=48 * 12, step=5 * MINUTE)
    korea = read(recording).korea
    assert gaps(korea, 5 * MINUTE) == [(recording.start + 10 * MINUTE, recording.start + 20 * MINUTE)]


def test_a_bar_that_the_recording_holds_only_in_part_is_left_out(recording: Any) -> None:
    late = recording.start + 2 * MINUTE
    recording.candles("upbit_KRW-BTC_1m.parquet", first=late, count=48 * 60 - 5, step=MINUTE)
    recording.candles("binance_um_BTCUSDT_5m.parquet", count=48 * 12, step=5 * MINUTE)
    market = read(recording)
    assert (market.start, market.end) == (recording.start + 5 * MINUTE, recording.start + 48 * HOUR - 5 * MINUTE)


def test_a_longer_recording_wins_over_a_finer_one_when_no_range_is_asked(recording: Any) -> None:
    for name in ("upbit_KRW-BTC_5m.parquet", "binance_um_BTCUSDT_5m.parquet"):
        recording.candles(name, count=12, step=5 * MINUTE)
    assert read(recording).interval == HOUR
    assert read(recording, end=recording.start + HOUR).interval == 5 * MINUTE


def test_an_asked_interval_is_obeyed(recording: Any) -> None:
    market = read(recording, interval=4 * HOUR)
    assert (market.interval, len(market.korea)) == (4 * HOUR, 12)


def test_files_of_one_series_are_joined_and_equal_rows_count_once(recording: Any) -> None:
    later = recording.bars(first=recording.start + 40 * HOUR, count=20)
    for name in ("open", "high", "low", "close"):
        later[name] = [value + 40 for value in later[name]]
    recording.write("binance_um_BTCUSDT_1h_later.csv", later)
    recording.candles("upbit_KRW-BTC_1h.parquet", count=60)
    recording.fixing(days=(-3, 0, 1, 2))
    market = read(recording)
    np.testing.assert_array_equal(market.abroad.close, 101.0 + np.arange(60))


def test_missing_hours_are_named_and_are_no_error(recording: Any) -> None:
    bars = recording.bars()
    recording.write("upbit_KRW-BTC_1h.parquet", {name: column[:10] + column[13:] for name, column in bars.items()})
    market = read(recording)
    assert len(market.korea) == 45
    assert gaps(market.korea, HOUR) == [(recording.start + 10 * HOUR, recording.start + 13 * HOUR)]
    assert gaps(market.abroad, HOUR) == []


def test_a_hole_of_more_than_a_day_splits_a_recording(recording: Any) -> None:
    recording.candles("upbit_KRW-BTC_1h_later.parquet", first=recording.start + 80 * HOUR, count=72)
    recording.candles("binance_um_BTCUSDT_1h.parquet", count=200)
    recording.fixing(days=(-3, 0, 1, 2, 3, 4))
    market = read(recording)
    assert (market.start - recording.start, market.end - recording.start) == (80 * HOUR, 152 * HOUR)


def test_a_tether_price_is_known_when_its_candle_is_complete(recording: Any) -> None:
    assert read(recording).usdtkrw is None
    recording.candles("upbit_KRW-USDT_1h.parquet", price=1_400.0)
    tether = read(recording, start=recording.start + 5 * HOUR, end=recording.start + 7 * HOUR).usdtkrw
    assert tether is not None
    np.testing.assert_array_equal((tether.at - recording.start) / HOUR, [5, 6])
    np.testing.assert_array_equal(tether.value, [1_405.0, 1_406.0])


@pytest.mark.parametrize(
    "name", ["notes.txt", ".upbit_KRW-BTC_1h.parquet.x.unfinished", "binance_um_BTCUSDT_mark_1h.parquet"]
)
def test_other_files_in_the_directory_are_left_alone(recording: Any, name: str) -> None:
    (recording.directory / name).write_text("not market data")
    assert len(read(recording).korea) == 48
