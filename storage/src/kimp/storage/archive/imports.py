"""Bring your own prices: a CSV becomes one file of the layout, whole or not at all."""

import os
import tempfile
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]

from kimp.shared.domain.time import MILLISECOND
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.archive.bars import check_candles
from kimp.storage.archive.layout import Series, named_series
from kimp.storage.archive.tables import read_columns


def import_csv(source: Path, target: Path, *, replace: bool = False) -> int:
    """Turn a CSV into a Parquet file of the layout; the number of rows written.

    ``target``'s name says what is in it (``upbit_KRW-BTC_1h_mine.parquet``), hence which columns ``source`` must
    have: for candles ``ts,open,high,low,close,volume``, ``ts`` being the open time in milliseconds since 1970 UTC or
    ISO-8601 with a zone. Every row is checked before the target appears, and it appears at once: a reader never sees
    half a file, and a failure leaves none behind.

    Raises:
        ConfigurationError: no such source, a target name outside of the layout, or a target that exists and
            ``replace`` is false.
        DataError: a row cannot be true; says which.
    """
    series = named_series(target)
    if source.suffix != ".csv":
        raise ConfigurationError(f"{source.name} is not called .csv; name the CSV to import.")
    if target.suffix != ".parquet":
        raise ConfigurationError(f"The target {target.name} is not called .parquet; give it that ending.")
    if target.exists() and not replace:
        raise ConfigurationError(f"{target} is already there; choose another suffix or say that it may be replaced.")
    table = _checked(source, series)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(table, target)
    except OSError as error:
        raise ConfigurationError(
            f"{target} cannot be written ({error.strerror}); check the disk and the rights."
        ) from error
    rows: int = table.num_rows
    return rows


def _checked(source: Path, series: Series) -> pa.Table:
    times, columns = read_columns(source, series)
    if series.is_candles:
        check_candles(times, columns, source)
    elif series.stem.startswith("usdkrw") and any((values <= 0).any() for values in columns.values()):
        raise DataError(f"{source.name} holds an exchange rate that is not above zero; correct or remove that row.")
    return pa.table({"ts": times // MILLISECOND, **columns})


def _write(table: pa.Table, target: Path) -> None:
    """Write beside the target, then rename: the rename is the one step that readers see."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".unfinished", dir=target.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            pa_parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
