"""Bringing one's own CSV: whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kimp.shared.domain.time import HOUR
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.archive import import_csv, read_candles

HEADER = "ts,open,high,low,close,volume\n"


def csv(directory: Path, *rows: str, header: str = HEADER) -> Path:
    path = directory / "mine.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1709510400000", "1709514000000"),
        ("2024-03-04T00:00:00Z", "2024-03-04T01:00:00+00:00"),
        ("2024-03-04T09:00:00+09:00", "2024-03-04 10:00:00+09:00"),
    ],
)
def test_times_in_milliseconds_or_iso_8601_become_the_same_file(tmp_path: Path, first: str, second: str) -> None:
    target = tmp_path / "market" / "upbit_KRW-BTC_1h_mine.parquet"
    source = csv(tmp_path, f"{first},1,3,1,2,0.5", f"{second},2,4,2,3,0")
    assert import_csv(source, target) == 2
    candles = read_candles([target])
    np.testing.assert_array_equal(candles.opened, 1709510400 * 10**9 + HOUR * np.arange(2))
    np.testing.assert_array_equal(candles.close, [2.0, 3.0])
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            "2024-03-04T00:00:00,1,3,1,2,0",
            "mine.csv, row 1: ts '2024-03-04T00:00:00' is neither milliseconds nor ISO-8601",
        ),
        ("04.03.2024,1,3,1,2,0", "mine.csv, row 1: ts '04.03.2024' is neither"),
        ("1709510400000,1,3,1,,0", "mine.csv, row 1: close is '', not a number"),
        ("1709510400000,1,3,1,5,0", "mine.csv, row 1 .*: close is 5, above the bar's high"),
        ("1709510400001,1,3,1,2,0", "mine.csv, row 1 .*: ts is not a multiple of the 3600000 ms"),
    ],
)
def test_a_bad_row_leaves_nothing_behind(tmp_path: Path, row: str, sentence: str) -> None:
    target = tmp_path / "market" / "upbit_KRW-BTC_1h_mine.parquet"
    with pytest.raises(DataError, match=sentence):
        import_csv(csv(tmp_path, row), target)
    assert not target.parent.exists()


def test_mixed_times_are_refused(tmp_path: Path) -> None:
    source = csv(tmp_path, "1709510400000,1,3,1,2,0", "2024-03-04T01:00:00Z,1,3,1,2,0")
    with pytest.raises(DataError, match="row 2: ts '2024-03-04T01:00:00Z' is neither"):
        import_csv(source, tmp_path / "upbit_KRW-BTC_1h.parquet")


def test_a_target_that_exists_is_replaced_only_when_told(tmp_path: Path) -> None:
    target = tmp_path / "upbit_KRW-BTC_1h.parquet"
    import_csv(csv(tmp_path, "1709510400000,1,3,1,2,0"), target)
    before = target.read_bytes()
    newer = csv(tmp_path, "1709510400000,1,3,1,3,0")
    with pytest.raises(ConfigurationError, match="is already there"):
        import_csv(newer, target)
    assert target.read_bytes() == before
    import_csv(newer, target, replace=True)
    assert read_candles([target]).close[0] == 3.0


def test_a_replacement_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "upbit_KRW-BTC_1h.parquet"
    import_csv(csv(tmp_path, "1709510400000,1,3,1,2,0"), target)
    with pytest.raises(DataError):
        import_csv(csv(tmp_path, "1709510400000,1,3,1,nan,0"), target, replace=True)
    assert read_candles([target]).close[0] == 2.0


def test_an_unwritable_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a directory is wanted")
    source = csv(tmp_path, "1709510400000,1,3,1,2,0")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        import_csv(source, tmp_path / "taken" / "upbit_KRW-BTC_1h.parquet")


def test_a_rename_that_fails_leaves_no_unfinished_file(tmp_path: Path) -> None:
    target = tmp_path / "upbit_KRW-BTC_1h.parquet"
    target.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        import_csv(csv(tmp_path, "1709510400000,1,3,1,2,0"), target, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", target.name]


@pytest.mark.parametrize("name", ["btc.parquet", "upbit_KRW-BTC_2h.parquet", "upbit_KRW-BTC_1h.csv"])
def test_a_target_outside_of_the_layout_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"does not say what the file holds|not called \.parquet"):
        import_csv(csv(tmp_path, "1709510400000,1,3,1,2,0"), tmp_path / name)


def test_a_missing_source_is_a_setting_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no file"):
        import_csv(tmp_path / "mine.csv", tmp_path / "upbit_KRW-BTC_1h.parquet")


def test_fixings_and_funding_can_be_brought_too(tmp_path: Path) -> None:
    fixing = csv(tmp_path, "2024-03-04T00:00:00Z,1333.5", header="ts,usdkrw\n")
    assert import_csv(fixing, tmp_path / "usdkrw_ecb_1d_mine.parquet") == 1
    funding = csv(tmp_path, "2024-03-04T08:00:00Z,-0.0001", header="ts,funding_rate\n")
    assert import_csv(funding, tmp_path / "binance_um_BTCUSDT_funding_8h_mine.parquet") == 1


def test_a_rate_of_zero_is_not_imported(tmp_path: Path) -> None:
    source: Any = csv(tmp_path, "2024-03-04T00:00:00Z,0", header="ts,usdkrw\n")
    with pytest.raises(DataError, match="not above zero"):
        import_csv(source, tmp_path / "usdkrw_ecb_1d.parquet")
