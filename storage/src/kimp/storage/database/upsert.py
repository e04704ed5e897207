"""Writes rows so that writing them again changes nothing: COPY into a staging table, then insert what is new.

One call is one transaction. Missing partitions are made first, because a back-fill may begin years ago.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import asyncpg  # type: ignore[import-untyped]

from kimp.shared.domain.time import Nanos, from_datetime, to_datetime
from kimp.storage.database.pool import Connection, Database
from kimp.storage.database.rows import Row
from kimp.storage.database.tables import BY_KIND, KEEP_FIRST, Table, Values

EARLIEST: Nanos = from_datetime(datetime(2009, 1, 1, tzinfo=UTC))
"""No market of ours is older; an earlier time is a venue's zero, and would get a partition of its own."""
LATEST: Nanos = from_datetime(datetime(2100, 1, 1, tzinfo=UTC))

ROW_FAULTS: tuple[type[Exception], ...] = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    ValueError,
    TypeError,
    ArithmeticError,  # a NaN price, a number too large for its column
)
"""What a row itself can be to blame for; everything else is the database's trouble, and passes."""

COPY_S_MAX = 120.0

Mark = tuple[str, int]
"""A spool's id and how far of it this transaction writes down as done."""


class Upserter:
    """Stores rows of any kind; remembers which partitions it has seen."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, set[int]] = {}

    async def store(self, rows: Sequence[Row], mark: Mark | None = None) -> int:
        """Write the rows, all or none; how many were new or said something new.

        Raises:
            DatabaseAway: nobody knows whether it happened; do it again.
            Exception: one of ``ROW_FAULTS``, when a row cannot be stored; nothing was.
        """
        try:
            return await self._store(rows, mark)
        except asyncpg.CheckViolationError as error:
            if "no partition of relation" not in str(error):
                raise
            self._seen.clear()  # retention dropped one that we knew
            return await self._store(rows, mark)

    async def _store(self, rows: Sequence[Row], mark: Mark | None) -> int:
        groups = [(table, records(table, group)) for table, group in by_table(rows)]
        async with self._database.connection() as connection:
            for table, values in groups:
                await self._ensure_partitions(connection, table, values)
            written = 0
            async with connection.transaction():
                for table, values in groups:
                    written += await _write(connection, table, values)
                if mark is not None:
                    await connection.execute(_SET_PROGRESS, *mark)
        return written

    async def _ensure_partitions(self, connection: Connection, table: Table, values: Sequence[Values]) -> None:
        if not table.is_partitioned:
            return
        assert table.time is not None
        place = table.columns.index(table.time)
        days = {record[place].toordinal() for record in values}
        known = self._seen.setdefault(table.name, set())
        if missing := sorted(days - known):
            moments = [datetime.fromordinal(day).replace(tzinfo=UTC) for day in missing]
            await connection.execute(_ENSURE, table.name, moments)
            known.update(missing)


_ENSURE = "SELECT sum(ensure_partitions($1, moment, moment)) FROM unnest($2::timestamptz[]) AS moment"
_SET_PROGRESS = """
INSERT INTO spool_progress (spool_id, position) VALUES ($1, $2)
ON CONFLICT (spool_id) DO UPDATE SET position = excluded.position, updated_at = now()
"""


def by_table(rows: Iterable[Row]) -> list[tuple[Table, list[Row]]]:
    """The rows of each table, in the order they came."""
    groups: dict[str, tuple[Table, list[Row]]] = {}
    for row in rows:
        table = BY_KIND[type(row)]
        groups.setdefault(table.name, (table, []))[1].append(row)
    return list(groups.values())


def records(table: Table, rows: Iterable[Row]) -> list[Values]:
    """The rows as the table holds them; of several with the same key, the last one where the last word counts.

    Raises:
        ValueError: a time lies outside of any market's history.
    """
    values = [table.encode(row) for row in rows]
    if table.time is not None:
        place = table.columns.index(table.time)
        for record in values:
            if not _EARLIEST <= record[place] < _LATEST:
                raise ValueError(f"{table.time} is {record[place]:%Y-%m-%d}")
    if table.update == KEEP_FIRST:
        return values
    places = [table.columns.index(name) for name in table.key]
    return list({tuple(record[place] for place in places): record for record in values}.values())


_EARLIEST, _LATEST = to_datetime(EARLIEST), to_datetime(LATEST)


async def _write(connection: Connection, table: Table, values: Sequence[Values]) -> int:
    # The staging table belongs to the session; where a pooler lends us another one, it is made there too.
    staging = f"staging_{table.name}"
    columns = ", ".join(table.columns)
    await connection.execute(
        f"CREATE TEMP TABLE IF NOT EXISTS {staging} (LIKE {table.name} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
    )
    await connection.copy_records_to_table(
        staging, schema_name="pg_temp", columns=table.columns, records=values, timeout=COPY_S_MAX
    )
    action = f"UPDATE SET {table.update}" if table.update != KEEP_FIRST else "NOTHING"
    status: str = await connection.execute(
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM pg_temp.{staging} "
        f"ON CONFLICT ({', '.join(table.key)}) DO {action}",
        timeout=COPY_S_MAX,
    )
    return int(status.rsplit(" ", 1)[1])
