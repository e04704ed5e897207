"""Recorded market data between files of docs/DATA_LAYOUT.md and the database, both ways."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]

from kimp.shared.domain.candles import Candle
from kimp.shared.domain.funding import FundingRate
from kimp.shared.domain.fx import USD, FxQuote
from kimp.shared.domain.history import Candles
from kimp.shared.domain.instruments import InstrumentId
from kimp.shared.domain.money import ZERO, exact
from kimp.shared.domain.time import MILLISECOND, Nanos
from kimp.shared.errors import ConfigurationError
from kimp.storage.archive import read_candles
from kimp.storage.archive.layout import FUNDING_COLUMNS, INTERVALS, named_series, series_of
from kimp.storage.archive.observations import FIXINGS
from kimp.storage.archive.tables import read_columns
from kimp.storage.database.reader import Reader
from kimp.storage.database.rows import Row

ROWS_AT_ONCE = 10_000
_CANDLES = re.compile(r"(upbit|binance_um)_([A-Z0-9-]+)_(1m|5m|1h)")
_FUNDING = re.compile(r"binance_um_([A-Z0-9]+)_funding_\d+h")
_FIXING = re.compile(r"usdkrw_(\w+)_1d")
_VENUES = {"upbit": "upbit", "binance_um": "binance"}
FUNDING_HOURS = 8

Store = Callable[[Sequence[Row]], Awaitable[int]]
Progress = Callable[[int, int], None]


class Imported(msgspec.Struct, frozen=True):
    """One file that was loaded: its rows, and how many of them were new."""

    file: str
    series: str
    rows: int
    added: int


class Exported(msgspec.Struct, frozen=True):
    """One file that was written."""

    path: Path
    rows: int


def importable(path: Path) -> list[Path]:
    """The files that a path names: itself, or what of the layout lies in that directory.

    Raises:
        ConfigurationError: there is nothing to import.
    """
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if series_of(file) is not None and _is_ours(file)]
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise ConfigurationError(f"{path} holds nothing to import; docs/DATA_LAYOUT.md lists the names of files")
    return found


async def load(path: Path, reader: Reader, store: Store, now: Nanos, progress: Progress | None = None) -> Imported:
    """Load one file; every row of it is checked before the first is stored. Bars that are there already stay as
    they are, because a venue's own are more exact than a file's.

    Raises:
        ConfigurationError: the name does not say what the file holds.
        DataError: a row cannot be true; says which.
    """
    stem = named_series(path).stem
    if found := _CANDLES.fullmatch(stem):
        series, rows = f"{_VENUES[found[1]]}:{found[2]}", await _fresh_bars(path, found, reader, now)
        total = len(read_candles([path]))
    elif found := _FUNDING.fullmatch(stem):
        series, rows = f"binance:{found[1]}", list(_funding(path, f"binance:{found[1]}"))
        total = len(rows)
    elif found := _FIXING.fullmatch(stem):
        series, rows = f"{USD}:{found[1]}", list(_fixing(path, found[1]))
        total = len(rows)
    else:
        raise ConfigurationError(f"{path.name} is of a market that kimp does not collect; import Upbit or binance_um")
    added = 0
    for start in range(0, len(rows), ROWS_AT_ONCE):
        added += await store(rows[start : start + ROWS_AT_ONCE])
        if progress is not None:
            progress(min(start + ROWS_AT_ONCE, len(rows)), len(rows))
    return Imported(path.name, series, total, added)


def _is_ours(path: Path) -> bool:
    stem = named_series(path).stem
    return any(pattern.fullmatch(stem) for pattern in (_CANDLES, _FUNDING, _FIXING))


async def _fresh_bars(path: Path, found: re.Match[str], reader: Reader, now: Nanos) -> list[Row]:
    bars, interval = read_candles([path]), INTERVALS[found[3]]
    instrument_id = f"{_VENUES[found[1]]}:{found[2]}"
    known = await reader.candles(instrument_id, interval, int(bars.opened[0]), int(bars.opened[-1]) + interval)
    is_new = ~np.isin(bars.opened, known.opened)
    return [_candle(bars, int(i), instrument_id, interval, now) for i in np.flatnonzero(is_new)]


def _candle(bars: Candles, i: int, instrument_id: InstrumentId, interval: Nanos, now: Nanos) -> Candle:
    open_, high, low, close = (exact(getattr(bars, name)[i]) for name in ("open", "high", "low", "close"))
    return Candle(
        instrument_id=instrument_id,
        interval=interval,
        opened_at=int(bars.opened[i]),
        open=open_,
        # files that went through binary floats may have a close a hair outside of the bar
        high=max(open_, high, close),
        low=min(open_, low, close),
        close=close,
        volume=exact(bars.volume[i]),
        turnover=ZERO,  # the layout has no such column, and volume × price would be a guess
        is_closed=True,
        received_at=now,
    )


def _funding(path: Path, instrument_id: InstrumentId) -> Iterator[FundingRate]:
    times, columns = read_columns(path, named_series(path))
    for at, rate in zip(times.tolist(), columns["funding_rate"].tolist(), strict=True):
        yield FundingRate(instrument_id, exact(rate), at, at)


def _fixing(path: Path, source: str) -> Iterator[FxQuote]:
    rule = FIXINGS[source]
    times, columns = read_columns(path, named_series(path))
    for day, value in zip(times.tolist(), columns[rule.column].tolist(), strict=True):
        at = day + rule.known_after
        yield FxQuote(USD, exact(value), at, at + rule.valid_for, source)


async def export(
    directory: Path, coin: str, reader: Reader, start: Nanos, end: Nanos, *, replace: bool = False
) -> list[Exported]:
    """Write what the database has of a coin as files of the layout: bars, tether and funding.

    Raises:
        ConfigurationError: a file is there already and ``replace`` is false, or the disk does not take it.
    """
    legs = {f"upbit:KRW-{coin}": f"upbit_KRW-{coin}", f"binance:{coin}USDT": f"binance_um_{coin}USDT"}
    legs |= {"upbit:KRW-USDT": "upbit_KRW-USDT"}
    tables: dict[Path, pa.Table] = {}
    for instrument_id, stem in legs.items():
        for length, interval in INTERVALS.items():
            bars = await reader.candles(instrument_id, interval, start, end)
            if len(bars):
                columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")}
                tables[directory / f"{stem}_{length}.parquet"] = _table(bars.opened, columns)
    funding = await reader.funding(f"binance:{coin}USDT", start, end)
    if len(funding):
        path = directory / f"binance_um_{coin}USDT_funding_{FUNDING_HOURS}h.parquet"
        tables[path] = _table(funding.at, {FUNDING_COLUMNS[1]: funding.value})
    if there := [path for path in tables if path.exists() and not replace]:
        raise ConfigurationError(f"{there[0]} is already there; choose another directory or say --replace")
    return [Exported(path, _write(table, path)) for path, table in tables.items()]


def _table(times: np.ndarray[tuple[int, ...], np.dtype[np.int64]], columns: dict[str, object]) -> pa.Table:
    return pa.table({"ts": times // MILLISECOND, **columns})


def _write(table: pa.Table, target: Path) -> int:
    """Beside the target, then renamed: no reader ever sees half a file."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".unfinished", dir=target.parent)
        unfinished = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                pa_parquet.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written ({error.strerror}); check the disk") from error
    rows: int = table.num_rows
    return rows
