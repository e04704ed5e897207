"""Columns as the reader wants them: a pandas frame, an Arrow table, or bare arrays.

All three hold the same numbers. Times are UTC with nanoseconds; a missing number is NaN, a missing time NaT (Arrow:
null). In pandas the column in whose order the rows lie is the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kimp.shared.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import pyarrow as pa  # type: ignore[import-untyped]

As = Literal["pandas", "arrow", "numpy"]
"""``pandas`` gives a DataFrame, ``arrow`` a pyarrow Table, ``numpy`` a dict of arrays (times int64 nanoseconds)."""

Frame = Any
"""What ``as_`` asked for. Neither pandas nor pyarrow ships types, so this is as exact as a checker can follow."""

Arrays = Mapping[str, NDArray[Any]]
_MISSING_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Columns:
    """Equally long arrays by name, in the order of ``index``; ``times`` names those that are int64 nanoseconds."""

    arrays: Arrays
    index: str | None
    times: tuple[str, ...]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))


def shaped(columns: Columns, as_: As) -> Frame:
    """The columns as a frame, a table or arrays.

    Raises:
        ConfigurationError: there is no such form.
    """
    match as_:
        case "pandas":
            return _pandas(columns)
        case "arrow":
            return _arrow(columns)
        case "numpy":
            return dict(columns.arrays)
    raise ConfigurationError(f"as_={as_!r} is none of pandas, arrow and numpy.")


def _pandas(columns: Columns) -> pd.DataFrame:
    import pandas as pd

    data = {
        # Nanoseconds are said, not left to pandas: version 3 would make them microseconds.
        name: pd.DatetimeIndex(values.view("datetime64[ns]"), name=name).tz_localize("UTC")
        if name in columns.times
        else values
        for name, values in columns.arrays.items()
    }
    index = None if columns.index is None else data.pop(columns.index)
    if index is None:
        return pd.DataFrame(data)
    return pd.DataFrame({name: _on(index, values) for name, values in data.items()}, index=index, copy=False)


def _on(index: Any, values: Any) -> Any:
    """A column of times has an index of its own, which pandas would align by; what is meant is the order."""
    import pandas as pd

    return pd.Series(values, index=index) if isinstance(values, pd.DatetimeIndex) else values


def _arrow(columns: Columns) -> pa.Table:
    import pyarrow as pa

    def column(name: str, values: NDArray[Any]) -> Any:
        if name in columns.times:
            missing = values == _MISSING_TIME
            return pa.array(values, pa.timestamp("ns", "UTC"), mask=missing if missing.any() else None)
        return pa.array(values)

    return pa.table({name: column(name, values) for name, values in columns.arrays.items()})
