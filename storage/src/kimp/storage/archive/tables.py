"""One file in, checked columns out: the only place that parses Parquet and CSV.

Nothing is repaired. A column that cannot be trusted is refused with the file, the row (counted from 1, without a
CSV's header) and the time, because a backtest on quietly repaired prices proves nothing.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]
from numpy.typing import NDArray

from kimp.shared.domain.history import Times, Values
from kimp.shared.domain.time import MILLISECOND, Nanos, from_datetime, to_datetime
from kimp.shared.errors import ConfigurationError, DataError
from kimp.storage.archive.layout import Series

Columns = dict[str, Values]

# Milliseconds of 2001-09-09 and 2286-11-20: outside of them the file counts in another unit.
_TS_MIN, _TS_MAX = 10**12, 10**13


def read_times(path: Path, series: Series) -> Times:
    """The times of a file in nanoseconds, strictly increasing and on the series' grid; see :func:`read_columns`."""
    return _times(_table(path, ("ts",)), path, series)


def read_columns(path: Path, series: Series) -> tuple[Times, Columns]:
    """The times (nanoseconds) and the other columns of a file, all finite and of equal length.

    Raises:
        ConfigurationError: there is no such file.
        DataError: it is no Parquet/CSV, a column is missing or no number, a value is missing, NaN or infinite, or
            ``ts`` is not in milliseconds, not strictly increasing or not on the grid of ``series.step``.
    """
    table = _table(path, series.columns)
    times = _times(table, path, series)
    columns = {name: _numbers(table, name, path) for name in series.columns if name != "ts"}
    for name, values in columns.items():
        refuse_values(~np.isfinite(values), name, values, times, path, "not a finite number")
    return times, columns


def moment(at: Nanos) -> str:
    """A time as files and logs show it: ``2024-12-03 13:00 UTC``."""
    return to_datetime(int(at)).strftime("%Y-%m-%d %H:%M UTC")


def refuse(is_bad: NDArray[np.bool_], times: Times, path: Path, what: Callable[[int], str]) -> None:
    """Raise over the first bad row, if there is one.

    Raises:
        DataError: says ``what`` of that row, the file, the row, the time, and what to do.
    """
    if is_bad.any():
        row = int(np.argmax(is_bad))
        raise DataError(f"{path.name}, row {row + 1} ({moment(times[row])}): {what(row)}; correct or remove that row.")


def refuse_values(is_bad: NDArray[np.bool_], name: str, values: Values, times: Times, path: Path, why: str) -> None:
    """Raise over the first bad value of a column, as :func:`refuse` does."""
    refuse(is_bad, times, path, lambda row: f"{name} is {values[row]:.10g}, {why}")


def _table(path: Path, columns: Sequence[str]) -> pa.Table:
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}; check the name or the data directory.")
    try:
        table = _parse_csv(path) if path.suffix == ".csv" else pa_parquet.read_table(path)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        first_words = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        what = f"CSV ({first_words})" if path.suffix == ".csv" else "Parquet (it is cut short or something else)"
        raise DataError(f"{path.name} cannot be read as {what}; write the file anew.") from error
    for name in columns:
        if table.column_names.count(name) != 1:
            how = "is missing" if name not in table.column_names else "is there twice"
            raise DataError(
                f"{path.name}: column {name} {how} (it has {', '.join(table.column_names)}); "
                f"name the columns {', '.join(columns)}."
            )
    if table.num_rows == 0:
        raise DataError(f"{path.name} holds no rows; remove it or fill it.")
    return table


def _parse_csv(path: Path) -> pa.Table:
    """Every cell as text first, so that a wrong one can be shown as it stands."""
    names = pa_csv.open_csv(path).schema.names
    as_text = pa_csv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=False)
    return pa_csv.read_csv(path, convert_options=as_text)


def _times(table: pa.Table, path: Path, series: Series) -> Times:
    column = table["ts"].combine_chunks()
    times = _parse_times(column.to_pylist(), path) if pa.types.is_string(column.type) else _integer_times(column, path)
    step = np.diff(times, prepend=times[0] - 1)
    refuse(step <= 0, times, path, lambda i: f"ts does not come after the row before it ({moment(times[i - 1])})")
    grid = series.step // MILLISECOND
    refuse(times % series.step != 0, times, path, lambda _: f"ts is not a multiple of the {grid} ms of {series.stem}")
    return times


def _integer_times(column: pa.Array, path: Path) -> Times:
    if not pa.types.is_integer(column.type) or column.null_count:
        what = "has empty rows" if column.null_count else f"is of type {column.type}"
        raise DataError(f"{path.name}: column ts {what}; store the UTC open time as int64 milliseconds.")
    return _nanoseconds(column.to_numpy(zero_copy_only=False).astype(np.int64), path)


def _nanoseconds(milliseconds: Times, path: Path) -> Times:
    is_odd = (milliseconds < _TS_MIN) | (milliseconds >= _TS_MAX)
    if is_odd.any():
        row = int(np.argmax(is_odd))
        raise DataError(
            f"{path.name}, row {row + 1}: ts {milliseconds[row]} is no time between 2001 and 2286 in milliseconds; "
            "convert the column to milliseconds since 1970 UTC."
        )
    return milliseconds * MILLISECOND


def _parse_times(cells: Sequence[str], path: Path) -> Times:
    """Cells of a CSV: all milliseconds, or all ISO-8601 with a zone."""
    if cells[0].isdecimal():
        try:
            return _nanoseconds(np.array([int(cell) for cell in cells], dtype=np.int64), path)
        except (ValueError, OverflowError):
            row = next(i for i, cell in enumerate(cells) if not cell.isdecimal() or len(cell) > 18)
            raise _bad_time(path, row, cells[row]) from None
    times = np.empty(len(cells), dtype=np.int64)
    for row, cell in enumerate(cells):
        try:
            times[row] = from_datetime(datetime.fromisoformat(cell))
        except ValueError:
            raise _bad_time(path, row, cell) from None
    return times


def _bad_time(path: Path, row: int, cell: str) -> DataError:
    return DataError(
        f"{path.name}, row {row + 1}: ts {cell!r} is neither milliseconds nor ISO-8601 with a zone, "
        "or not like the rows before it; write 1756684800000 or 2025-09-01T00:00:00Z."
    )


def _numbers(table: pa.Table, name: str, path: Path) -> Values:
    column = table[name].combine_chunks()
    if pa.types.is_string(column.type):
        return _parse_numbers(column.to_pylist(), name, path)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise DataError(f"{path.name}: column {name} is of type {column.type}; store it as a number (double).")
    values: Values = column.to_numpy(zero_copy_only=False).astype(np.float64)  # an empty cell becomes NaN
    return values


def _parse_numbers(cells: Sequence[str], name: str, path: Path) -> Values:
    try:
        return np.array(cells, dtype=object).astype(np.float64)
    except ValueError:
        row = next(i for i, cell in enumerate(cells) if not _is_number(cell))
        raise DataError(
            f"{path.name}, row {row + 1}: {name} is {cells[row]!r}, not a number; "
            "write it with a decimal point and no separators."
        ) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
