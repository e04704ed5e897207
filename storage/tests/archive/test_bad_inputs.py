"""Every bad input is one sentence: what, where, what to do; and the exit code tells a setting from data."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from kimp.shared.domain.time import DAY, HOUR, MINUTE
from kimp.shared.errors import ConfigurationError, DataError, KimpError
from kimp.storage.archive import read_candles, read_market

UPBIT = "upbit_KRW-BTC_1h.parquet"
SECOND_ROW = r"row 2 \(2024-03-04 01:00 UTC\)"


def refused(recording: Any, kind: type[KimpError], sentence: str, **asked: Any) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        read_market(recording.directory, **({"start": None, "end": None} | asked))
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert not re.search(r"[a-z]\. [A-Z]", text), "one sentence"


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("close", math.nan, f"{UPBIT}, {SECOND_ROW}: close is nan, not a finite number; correct or remove that row"),
        ("volume", math.inf, f"{SECOND_ROW}: volume is inf, not a finite number"),
        ("open", None, f"{SECOND_ROW}: open is nan, not a finite number"),
        ("low", 0.0, f"{SECOND_ROW}: low is 0, and a price is above zero"),
        ("open", -101.0, f"{SECOND_ROW}: open is -101, and a price is above zero"),
        ("high", 98.0, f"{SECOND_ROW}: high 98 is below low 99"),
        ("close", 103.001, f"{SECOND_ROW}: close is 103.001, above the bar's high"),
        ("open", 98.9, f"{SECOND_ROW}: open is 98.9, below the bar's low"),
        ("volume", -1.0, f"{SECOND_ROW}: volume is -1, and none is below zero"),
        ("ts", 1709510400000, r"row 2 \(2024-03-04 00:00 UTC\): ts does not come after the row before it"),
        ("ts", 1709514000001, f"{SECOND_ROW}: ts is not a multiple of the 3600000 ms of upbit_KRW-BTC_1h"),
        ("ts", 1709514000, "row 2: ts 1709514000 is no time between 2001 and 2286 in milliseconds"),
        ("ts", None, "column ts has empty rows; store the UTC open time as int64 milliseconds"),
    ],
)
def test_a_row_that_cannot_be_true_is_named(recording: Any, column: str, value: object, sentence: str) -> None:
    bars = recording.bars()
    bars[column][1] = value
    recording.write(UPBIT, bars)
    refused(recording, DataError, sentence)


def test_a_close_within_float_noise_of_its_high_is_the_same_price(recording: Any) -> None:
    bars = recording.bars()
    bars["close"][1] = bars["high"][1] * (1 + 1e-12)
    recording.write(UPBIT, bars)
    assert len(read_market(recording.directory, start=None, end=None).korea) == 48


def test_a_missing_column_is_named_with_those_that_are_there(recording: Any) -> None:
    bars = recording.bars()
    bars["vol"] = bars.pop("volume")
    recording.write(UPBIT, bars)
    refused(recording, DataError, rf"{UPBIT}: column volume is missing \(it has ts, open, high, low, close, vol\)")


@pytest.mark.parametrize("column", ["ts", "close"])
def test_a_column_of_the_wrong_type_is_refused(recording: Any, column: str) -> None:
    recording.write(UPBIT, recording.bars() | {column: [b"1"] * 48})
    refused(recording, DataError, f"column {column} is of type binary; store")


def test_a_csv_cell_that_is_no_number_is_shown(recording: Any) -> None:
    bars = recording.bars()
    bars["close"] = ["1,5" if i == 1 else str(value) for i, value in enumerate(bars["close"])]
    (recording.directory / UPBIT).unlink()
    recording.write("upbit_KRW-BTC_1h.csv", bars)
    refused(
        recording, DataError, "upbit_KRW-BTC_1h.csv, row 2: close is '1,5', not a number; write it with a decimal point"
    )


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing useful"])
def test_a_file_that_is_no_parquet_is_refused(recording: Any, content: bytes) -> None:
    (recording.directory / UPBIT).write_bytes(content)
    refused(recording, DataError, f"{UPBIT} cannot be read as Parquet .*; write the file anew")


def test_a_torn_csv_is_refused(recording: Any) -> None:
    (recording.directory / "upbit_KRW-BTC_1h_b.csv").write_text("ts,open,high,low,close,volume\n1709510400000,1,2\n")
    refused(recording, DataError, "upbit_KRW-BTC_1h_b.csv cannot be read as CSV .*; write the file anew")


def test_a_file_without_rows_is_refused(recording: Any) -> None:
    recording.candles(UPBIT, count=0)
    refused(recording, DataError, f"{UPBIT} holds no rows")


def test_files_that_contradict_each_other_are_refused(recording: Any) -> None:
    recording.candles("upbit_KRW-BTC_1h_other.parquet", price=140_001.0)
    refused(
        recording, DataError, r"upbit_KRW-BTC_1h_other.parquet, row 1 .*: open contradicts another file of the same"
    )


def test_exchange_rates_that_contradict_each_other_are_refused(recording: Any) -> None:
    recording.write("usdkrw_ecb_1d_b.parquet", {"ts": [recording.start // 10**6], "usdkrw": [999.0]})
    refused(recording, DataError, "usdkrw_ecb_1d_b.parquet, row 1 .*: usdkrw contradicts another file")


def test_an_exchange_rate_of_zero_is_refused(recording: Any) -> None:
    recording.write("usdkrw_ecb_1d.parquet", {"ts": [recording.start // 10**6], "usdkrw": [0.0]})
    refused(recording, DataError, "usdkrw is 0, and an exchange rate is above zero")


def test_crossed_dates_are_refused(recording: Any) -> None:
    refused(
        recording, DataError, "the start must come before the end", start=recording.start + HOUR, end=recording.start
    )


def test_equal_dates_are_an_empty_range(recording: Any) -> None:
    refused(recording, DataError, "the start must come before the end", start=recording.start, end=recording.start)


def test_a_range_shorter_than_a_bar_is_empty(recording: Any) -> None:
    asked = {"start": recording.start + 10 * MINUTE, "end": recording.start + 50 * MINUTE}
    refused(recording, DataError, "no whole bar of both legs from 2024-03-04 00:10 UTC to 2024-03-04 00:50", **asked)


@pytest.mark.parametrize(("start", "end"), [(-HOUR, HOUR), (0, 49 * HOUR), (50 * HOUR, 60 * HOUR)])
def test_a_range_beyond_the_recording_says_what_is_covered(recording: Any, start: int, end: int) -> None:
    sentence = "BTC does not cover the range from .* both legs together cover 2024-03-04 00:00 UTC to 2024-03-06 00:00"
    refused(recording, DataError, sentence, start=recording.start + start, end=recording.start + end)


def test_legs_of_different_years_have_no_time_in_common(recording: Any) -> None:
    recording.candles(UPBIT, first=recording.start + 400 * DAY)
    refused(recording, DataError, "The two legs of BTC have no time in common; add files that overlap")


def test_a_recording_without_any_exchange_rate_is_a_setting_to_correct(recording: Any) -> None:
    (recording.directory / "usdkrw_ecb_1d.parquet").unlink()
    refused(recording, ConfigurationError, "no usdkrw_ecb_1d file; without an exchange rate there is no premium")


@pytest.mark.parametrize(
    ("days", "sentence"),
    [
        ((0, 1), "no exchange rate in force from 2024-03-04 00:00 UTC to 2024-03-04 15:00 UTC"),
        ((-5,), "no exchange rate in force from 2024-03-04 15:00 UTC to 2024-03-06 00:00 UTC"),
        ((-5, 1), "no exchange rate in force from 2024-03-04 15:00 UTC to 2024-03-05 15:00 UTC"),
    ],
)
def test_an_hour_without_an_exchange_rate_is_refused(recording: Any, days: tuple[int, ...], sentence: str) -> None:
    recording.fixing(days=days)
    refused(recording, DataError, sentence)


def test_an_unknown_source_of_exchange_rates_is_refused(recording: Any) -> None:
    refused(recording, ConfigurationError, "no exchange-rate source 'yahoo'; choose ecb or investing", fx="yahoo")


def test_an_unknown_coin_says_which_file_is_missing(recording: Any) -> None:
    refused(recording, ConfigurationError, "holds no upbit_KRW-ETH_1m, _5m or _1h file", base="ETH")


@pytest.mark.parametrize("interval", [0, 7 * MINUTE, MINUTE // 2, 2 * DAY])
def test_bars_that_do_not_divide_a_day_are_refused(recording: Any, interval: int) -> None:
    refused(recording, ConfigurationError, "do not divide a day", interval=interval)


def test_a_missing_directory_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no data directory") as caught:
        read_market(tmp_path / "nowhere", start=None, end=None)
    assert caught.value.exit_code == 4


def test_a_missing_candle_file_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no file"):
        read_candles([tmp_path / UPBIT])


def test_funding_is_not_mistaken_for_candles(recording: Any) -> None:
    with pytest.raises(ConfigurationError, match="does not hold candles"):
        read_candles([recording.directory / "binance_um_BTCUSDT_funding_8h.parquet"])


def test_bad_data_exits_with_six() -> None:
    assert DataError.exit_code == 6
