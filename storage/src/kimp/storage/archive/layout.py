"""Which file holds what: the names and columns of recorded market data.

A file's name says what is in it, so nobody has to describe their data a second time:

    upbit_KRW-BTC_1m_2025-09.parquet       Korean leg, minute candles; everything after the interval is a free suffix
    binance_um_BTCUSDT_1h.parquet          perpetual leg, hourly candles
    binance_um_BTCUSDT_funding_8h.parquet  funding rates, stamped with their settlement
    usdkrw_ecb_1d.parquet                  won per dollar, the central bank's daily fixing
    upbit_KRW-USDT_1h.csv                  won per tether (optional)

Files that differ in their suffix alone are parts of one series.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from kimp.shared.domain.time import DAY, HOUR, MINUTE, Nanos
from kimp.shared.errors import ConfigurationError

INTERVALS: dict[str, Nanos] = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR}
"""The candle lengths a file may hold, finest first."""

CANDLE_COLUMNS = ("ts", "open", "high", "low", "close", "volume")
FUNDING_COLUMNS = ("ts", "funding_rate")
ECB_COLUMNS = ("ts", "usdkrw")
INVESTING_COLUMNS = ("ts", "open", "high", "low", "close")

_INSTRUMENT = r"(?:upbit_KRW-[A-Z0-9]+|binance_(?:um|spot)_[A-Z0-9]+(?:_mark)?)"
_TAIL = r"(?:_[^.]+)?\.(?:parquet|csv)"
_CANDLES = re.compile(rf"({_INSTRUMENT}_(1m|5m|1h)){_TAIL}")
_FUNDING = re.compile(rf"(binance_um_[A-Z0-9]+_funding_([1-9]\d?)h){_TAIL}")
_FIXING = re.compile(rf"(usdkrw_(ecb|investing)_1d){_TAIL}")


@dataclass(frozen=True, slots=True)
class Series:
    """What one file holds: ``stem`` is its name without suffix, ``columns`` the ones it must have.

    ``step`` nanoseconds is the grid its times lie on.
    """

    stem: str
    columns: tuple[str, ...]
    step: Nanos

    @property
    def is_candles(self) -> bool:
        return self.columns == CANDLE_COLUMNS


def series_of(path: Path) -> Series | None:
    """What the file called ``path`` holds, or ``None`` when its name is not part of the layout."""
    if found := _CANDLES.fullmatch(path.name):
        return Series(found[1], CANDLE_COLUMNS, INTERVALS[found[2]])
    if found := _FUNDING.fullmatch(path.name):
        # Venues change the hours between settlements, so a series named 8h may hold any whole hour.
        return Series(found[1], FUNDING_COLUMNS, HOUR)
    if found := _FIXING.fullmatch(path.name):
        return Series(found[1], ECB_COLUMNS if found[2] == "ecb" else INVESTING_COLUMNS, DAY)
    return None


def named_series(path: Path) -> Series:
    """What the file called ``path`` holds.

    Raises:
        ConfigurationError: the name is not part of the layout.
    """
    series = series_of(path)
    if series is None:
        raise ConfigurationError(
            f"The name {path.name} does not say what the file holds; call it for example upbit_KRW-BTC_1h_mine.parquet "
            "(docs/DATA_LAYOUT.md lists the names)."
        )
    return series


def files_by_stem(directory: Path) -> dict[str, list[Path]]:
    """All data files of ``directory``, in order of name, under the stem of their series.

    Raises:
        ConfigurationError: there is no such directory.
    """
    if not directory.is_dir():
        raise ConfigurationError(
            f"There is no data directory {directory}; create it or name another, laid out as docs/DATA_LAYOUT.md says."
        )
    files: dict[str, list[Path]] = {}
    for path in sorted(directory.iterdir()):
        series = series_of(path)
        if series is not None and path.is_file():
            files.setdefault(series.stem, []).append(path)
    return files
