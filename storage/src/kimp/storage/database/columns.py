"""Reads a query's result straight into arrays: PostgreSQL's binary COPY format, taken apart by numpy in one step.

When no value is NULL and all have eight bytes, every row has the same length, and the whole answer is one array of
records. The query is written so that this holds: missing numbers come as NaN, missing times as the earliest integer
(what pandas calls NaT).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kimp.shared.errors import DataError
from kimp.storage.database.pool import Connection

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
HEADER_BYTES = len(SIGNATURE) + 8  # flags and the length of an extension that has never been used
TRAILER_BYTES = 2
MISSING_TIME = np.iinfo(np.int64).min
MICROSECOND = 1_000
EPOCH_2000 = 946_684_800_000_000
"""Microseconds from 1970 to 2000, where PostgreSQL counts from."""
READ_S_MAX = 600.0

_LONGEST = np.iinfo(np.int64).max // MICROSECOND - EPOCH_2000


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an answer: an expression in SQL, and the array it becomes.

    ``time`` gives int64 nanoseconds, ``number`` float64, ``integer`` int64.
    """

    name: str
    kind: Literal["time", "number", "integer"]
    nullable: bool = False

    @property
    def sql(self) -> str:
        """The expression that always has eight bytes."""
        cast = {"time": "timestamptz", "number": "double precision", "integer": "bigint"}[self.kind]
        missing = {"time": "'-infinity'", "number": "'NaN'", "integer": str(MISSING_TIME + 1)}[self.kind]
        return f"coalesce({self.name}::{cast}, {missing}::{cast})" if self.nullable else f"{self.name}::{cast}"


async def copy_columns(
    connection: Connection, columns: Sequence[Column], source: str, *arguments: Any
) -> dict[str, NDArray[Any]]:
    """``SELECT columns`` + ``source`` (from ``FROM`` on) as arrays by column name.

    Raises:
        DataError: the answer is not what was asked for.
    """
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(chunk)

    selected = ", ".join(column.sql for column in columns)
    await connection.copy_from_query(
        f"SELECT {selected} {source}", *arguments, output=keep, format="binary", timeout=READ_S_MAX
    )
    return parse(b"".join(chunks), columns)


def parse(answer: bytes, columns: Sequence[Column]) -> dict[str, NDArray[Any]]:
    """The arrays of a binary COPY answer."""
    layout = _layout(columns)
    rows, odd = divmod(len(answer) - HEADER_BYTES - TRAILER_BYTES, layout.itemsize)
    if odd or not answer.startswith(SIGNATURE) or not answer.endswith(b"\xff\xff"):
        raise DataError("the database sent rows of unequal length; a column that may be NULL is not declared so")
    table = np.frombuffer(answer, layout, count=rows, offset=HEADER_BYTES)
    if rows and not ((table["fields"] == len(columns)).all() and all(_is_whole(table, i) for i in range(len(columns)))):
        raise DataError("the database sent rows of unequal length; a column that may be NULL is not declared so")
    return {column.name: _values(table[f"value{i}"], column) for i, column in enumerate(columns)}


def _layout(columns: Sequence[Column]) -> np.dtype[np.void]:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for i, column in enumerate(columns):
        fields += [(f"length{i}", ">i4"), (f"value{i}", ">f8" if column.kind == "number" else ">i8")]
    return np.dtype(fields)


def _is_whole(table: NDArray[np.void], place: int) -> bool:
    return bool((table[f"length{place}"] == 8).all())


def _values(raw: NDArray[Any], column: Column) -> NDArray[Any]:
    if column.kind == "number":
        return raw.astype(np.float64)
    whole = raw.astype(np.int64)
    if column.kind == "time":
        is_missing = np.abs(whole) > _LONGEST if column.nullable else None  # minus infinity is the earliest integer
        whole += EPOCH_2000
        whole *= MICROSECOND
        if is_missing is not None:
            whole[is_missing | (raw == MISSING_TIME)] = MISSING_TIME
    elif column.nullable:
        whole[whole == MISSING_TIME + 1] = MISSING_TIME
    return whole
