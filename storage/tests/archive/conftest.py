import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from kimp.shared.domain.time import DAY, HOUR, MILLISECOND, Nanos, from_datetime

Table = Mapping[str, Sequence[object]]
START = from_datetime(datetime(2024, 3, 4, tzinfo=UTC))  # a Monday


class Recording:
    """A directory of small recorded files that a test writes and then spoils."""

    start = START

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, table: Table) -> Path:
        path = self.directory / name
        writer = pyarrow.csv.write_csv if name.endswith(".csv") else pyarrow.parquet.write_table
        writer(pa.table(dict(table)), path)
        return path

    def candles(
        self, name: str, *, first: Nanos = START, count: int = 48, step: Nanos = HOUR, price: float = 100.0
    ) -> Path:
        return self.write(name, self.bars(first=first, count=count, step=step, price=price))

    def bars(
        self, *, first: Nanos = START, count: int = 48, step: Nanos = HOUR, price: float = 100.0
    ) -> dict[str, list[object]]:
        """``count`` bars whose open is ``price`` plus their number, closing one higher."""
        opens = [price + i for i in range(count)]
        return {
            "ts": [(first + i * step) // MILLISECOND for i in range(count)],
            "open": list(opens),
            "high": [value + 2 for value in opens],
            "low": [value - 2 for value in opens],
            "close": [value + 1 for value in opens],
            "volume": [1.5] * count,
        }

    def fixing(self, days: Sequence[int] = (-3, 0, 1), name: str = "usdkrw_ecb_1d.parquet") -> Path:
        """ECB fixings of the days counted from the start; the day's number is in the value: 1300 + day."""
        ts = [(START + day * DAY) // MILLISECOND for day in days]
        return self.write(name, {"ts": ts, "usdkrw": [1300.0 + day for day in days]})

    def funding(self, name: str = "binance_um_BTCUSDT_funding_8h.parquet") -> Path:
        ts = [(START + i * 8 * HOUR) // MILLISECOND for i in range(-3, 6)]
        return self.write(name, {"ts": ts, "funding_rate": [i * 1e-4 for i in range(-3, 6)]})


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Two days of both legs by the hour, with fixings and funding."""
    made = Recording(tmp_path)
    made.candles("upbit_KRW-BTC_1h.parquet", price=140_000.0)
    made.candles("binance_um_BTCUSDT_1h.parquet")
    made.fixing()
    made.funding()
    return made


@pytest.fixture(scope="session")
def recorded_market() -> Path:
    """The directory of real recorded data, which lies outside of the project."""
    folder = os.environ.get("KIMP_TEST_DATA")
    if folder is None:
        pytest.skip("needs recorded market data: set KIMP_TEST_DATA to the folder that holds market/ and frames/")
    return Path(folder) / "market"
