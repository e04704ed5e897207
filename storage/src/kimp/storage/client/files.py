"""Reads Parquet: the recorded series of docs/DATA_LAYOUT.md and, through DuckDB, what retention moved out of the database.

Only the files whose names fall into the range are opened, and of them only the row groups whose times do.
"""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]
from numpy.typing import NDArray

from kimp.shared.domain.history import Candles, Times, Values
from kimp.shared.domain.time import MILLISECOND, Nanos, to_datetime
from kimp.shared.errors import DataError
from kimp.storage.archive.bars import cut, read_candles
from kimp.storage.archive.layout import CANDLE_COLUMNS, INTERVALS, files_by_stem, named_series
from kimp.storage.archive.observations import FIXINGS
from kimp.storage.archive.tables import read_columns
from kimp.storage.client.frames import Arrays
from kimp.storage.client.moments import edge
from kimp.storage.client.seams import in_order

_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
"""Reading a file must never fetch a program from somewhere."""

_BETWEEN = "FROM read_parquet(?) WHERE instrument_id = ? AND venue_at >= ? AND venue_at < ?"
_VENUE_AT = "epoch_us(venue_at) * 1000 AS venue_at"
# By way of text, because only that rounds a decimal as PostgreSQL does, to the last bit.
_TRADES = (
    f"SELECT {_VENUE_AT}, trade_id, price::VARCHAR::DOUBLE AS price, quantity::VARCHAR::DOUBLE AS quantity, "
    "CASE side WHEN 'buy' THEN 1::BIGINT ELSE -1::BIGINT END AS sign " + _BETWEEN
)


class Files:
    """What lies on the disk; any number of threads may read at once.

    Args:
        market: a directory of recorded data, laid out as docs/DATA_LAYOUT.md says; ``None`` if there is none.
        archive: where retention puts what it moves out of the database; it need not exist yet.
    """

    def __init__(self, market: Path | None, archive: Path | None) -> None:
        self._market = market
        self._archive = archive
        self._connection: Any = duckdb.connect(":memory:", config=_OFFLINE)
        self._opening = threading.Lock()

    def close(self) -> None:
        """Let go of the memory; nothing was written."""
        self._connection.close()

    def candles(self, instrument_id: str, interval: Nanos, start: Nanos, end: Nanos) -> Candles | None:
        """The recorded bars of exactly this length that open in ``[start, end)``; ``None`` when no file has any.

        Raises:
            DataError: a row cannot be true, or two files contradict each other.
        """
        names = {length: name for name, length in INTERVALS.items()}
        paths = self._recorded(f"{_stem(instrument_id)}_{names.get(interval)}")
        if not paths:
            return None
        found = [part for path in paths if (part := _plain_bars(path, start, end)) is not None]
        if len(found) == len(paths):
            columns = found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]
            if _is_increasing(columns[0]):
                return Candles(*columns)
        # Overlapping parts, text, or something wrong: the archive's own reader joins them, or says which row it is.
        return cut(read_candles(paths), start, end + interval - 1, interval)

    def funding(self, instrument_id: str, start: Nanos, end: Nanos) -> Arrays:
        """Recorded settlements in ``[start, end)``: ``settles_at``, ``rate``."""
        stem = f"{_stem(instrument_id)}_funding_"
        paths = [path for name, found in self._series().items() if name.startswith(stem) for path in found]
        times, rates = _observed(paths, "funding_rate")
        inside = slice(*np.searchsorted(times, (start, end)))
        return {"settles_at": times[inside], "rate": rates[inside]}

    def fixings(self, start: Nanos, end: Nanos, source: str | None) -> Arrays:
        """Daily KRW per USD that became known in ``[start, end)``: ``at``, ``value``, ``valid_until``, ``source``."""
        parts = []
        for name, rule in FIXINGS.items():
            dates, values = _observed(self._recorded(f"usdkrw_{name}_1d"), rule.column)
            known = dates + rule.known_after
            inside = slice(*np.searchsorted(known, (start, end)))
            at = known[inside] if source in (None, name) else known[:0]
            names = np.full(len(at), name)
            parts += [
                {"at": at, "value": values[inside][: len(at)], "valid_until": at + rule.valid_for, "source": names}
            ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def trades(self, instrument_id: str, start: Nanos, end: Nanos) -> Arrays | None:
        """Archived trades of ``[start, end)``, columns as ``Reader.trades`` has them; ``None`` when there are none."""
        return self._between("trades", _TRADES, instrument_id, start, end)

    def books(self, levels: Sequence[tuple[str, str]], instrument_id: str, start: Nanos, end: Nanos) -> Arrays | None:
        """Archived books of ``[start, end)``; ``levels`` are pairs of column name and the array element it is."""
        selected = ", ".join(f"coalesce({element}, 'NaN'::DOUBLE) AS {name}" for name, element in levels)
        query = f"SELECT {_VENUE_AT}, epoch_us(received_at) * 1000 AS received_at, {selected} {_BETWEEN}"
        return self._between("orderbook_snapshots", query, instrument_id, start, end)

    def coverage(self) -> list[tuple[str, str, int, Nanos, Nanos]]:
        """What there is: kind, series, rows, first and last time."""
        found: list[tuple[str, str, int, Nanos, Nanos]] = []
        for stem, paths in self._series().items():
            series = named_series(paths[0])
            times = np.unique(np.concatenate([read_columns(path, series)[0] for path in paths]))
            found += [("recorded", stem, len(times), int(times[0]), int(times[-1]))]
        for table in ("orderbook_snapshots", "trades"):
            if paths := self._archived(table, None):
                rows = self._query(
                    "SELECT instrument_id, count(*) AS rows, epoch_us(min(venue_at)) * 1000 AS first, "
                    "epoch_us(max(venue_at)) * 1000 AS last FROM read_parquet(?) GROUP BY 1 ORDER BY 1",
                    [str(path) for path in paths],
                )
                for name, count, first, last in zip(*rows.values(), strict=True):
                    found += [(table, str(name), int(count), int(first), int(last))]
        return found

    def _between(self, table: str, query: str, instrument_id: str, start: Nanos, end: Nanos) -> Arrays | None:
        edges = edge(start), edge(end)
        paths = self._archived(table, edges)
        if not paths:
            return None
        return self._query(query, [str(path) for path in paths], instrument_id, *edges)

    def _query(self, query: str, *arguments: Any) -> dict[str, Any]:
        with self._opening:  # a cursor is made by the one connection, which is not for two threads at once
            cursor = self._connection.cursor()
        try:
            found = cursor.sql(query, params=list(arguments)).fetchnumpy()
        except duckdb.Error as error:
            said = str(error).splitlines()[0]
            raise DataError(f"the archive cannot be read ({said}); restore or remove that file") from error
        finally:
            cursor.close()
        return {name: np.asarray(values) for name, values in found.items()}

    def _series(self) -> dict[str, list[Path]]:
        return {} if self._market is None else files_by_stem(self._market)

    def _recorded(self, stem: str) -> list[Path]:
        return self._series().get(stem, [])

    def _archived(self, table: str, edges: tuple[datetime, datetime] | None) -> list[Path]:
        """Retention's files, one for each day; with edges only those of their days."""
        folder = None if self._archive is None else self._archive / table
        if folder is None or not folder.is_dir():
            return []
        return [
            path
            for path in sorted(folder.glob(f"{table}_*.parquet"))
            if edges is None or _touches(path.stem.removeprefix(f"{table}_"), edges)
        ]


def _plain_bars(path: Path, start: Nanos, end: Nanos) -> list[NDArray[Any]] | None:
    """The columns of one file's bars in ``[start, end)``, times in nanoseconds; ``None`` if it takes a closer look.

    Of one plain series pyarrow is the faster of the two readers, by a third. Only the row groups around the range
    are read.
    """
    if path.suffix != ".parquet":
        return None
    since, until = (-(-at // MILLISECOND) for at in (start, end))
    try:
        with pa_parquet.ParquetFile(path) as file:
            groups = [place for place in range(file.num_row_groups) if _overlaps(file.metadata, place, since, until)]
            table = file.read_row_groups(groups, columns=list(CANDLE_COLUMNS))
    except (pa.ArrowException, OSError):
        return None
    if tuple(table.column_names) != CANDLE_COLUMNS or any(column.null_count for column in table.columns):
        return None
    columns = [column.to_numpy() for column in table.columns]
    if (
        columns[0].dtype != np.int64
        or not _is_increasing(columns[0])
        or not all(np.isfinite(values).all() for values in columns)
    ):
        return None
    inside = slice(*np.searchsorted(columns[0], (since, until)))
    return [
        columns[0][inside] * MILLISECOND,
        *(values[inside].astype(np.float64, copy=False) for values in columns[1:]),
    ]


def _is_increasing(times: NDArray[Any]) -> bool:
    return bool((times[1:] > times[:-1]).all())


def _overlaps(metadata: Any, place: int, since: int, until: int) -> bool:
    group = metadata.row_group(place)
    for column in range(group.num_columns):
        known = group.column(column)
        if known.path_in_schema == "ts" and known.statistics is not None and known.statistics.has_min_max:
            return bool(known.statistics.min < until and known.statistics.max >= since)
    return True


def _touches(day: str, edges: tuple[datetime, datetime]) -> bool:
    try:
        begins = datetime.strptime(day, "%Y_%m_%d").replace(tzinfo=UTC)
    except ValueError:
        return True  # another period: its times are looked at instead
    return begins < edges[1] and edges[0] < begins + timedelta(days=1)


def _observed(paths: Sequence[Path], column: str) -> tuple[Times, Values]:
    """All files of a small series as one, in order of time; a row that two files hold counts once.

    Raises:
        DataError: two files contradict each other.
    """
    if not paths:
        return np.empty(0, np.int64), np.empty(0)
    parts = [read_columns(path, named_series(path)) for path in paths]
    rows = {
        "at": np.concatenate([part[0] for part in parts]),
        "value": np.concatenate([part[1][column] for part in parts]),
    }
    found = in_order(rows, ("at", "value"))
    repeated = np.flatnonzero(np.diff(found["at"]) == 0)
    if len(repeated):
        when = to_datetime(int(found["at"][repeated[0]]))
        raise DataError(f"{paths[0].name} and its other parts contradict each other at {when:%Y-%m-%d %H:%M} UTC")
    return found["at"], found["value"]


def _stem(instrument_id: str) -> str:
    """How the files call an instrument: ``upbit:KRW-BTC`` is ``upbit_KRW-BTC``, a perpetual ``binance_um_BTCUSDT``."""
    return instrument_id.replace("binance:", "binance_um_").replace(":", "_")
