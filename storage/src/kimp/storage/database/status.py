"""What a database holds: its version, its migrations, and each table's size."""

from typing import Any

from kimp.storage.database.migrate import progress
from kimp.storage.database.pool import Database

_TABLES = """
WITH RECURSIVE members AS (
    SELECT oid AS root, oid FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    UNION ALL
    SELECT members.root, inhrelid FROM pg_inherits JOIN members ON inhparent = members.oid
)
SELECT root.relname::text AS name,
       coalesce(
           sum(greatest(pg_stat_get_live_tuples(part.oid), part.reltuples)) FILTER (WHERE part.relkind = 'r'), 0
       )::bigint AS rows,
       sum(pg_total_relation_size(members.oid))::bigint AS bytes,
       count(*) - 1 AS partitions
FROM members
JOIN pg_class root ON root.oid = members.root
JOIN pg_class part ON part.oid = members.oid AND (part.relkind = 'r' OR part.oid = members.root)
GROUP BY root.relname ORDER BY root.relname
"""


async def facts(database: Database) -> dict[str, Any]:
    """Version, size, migrations and tables; row counts are the server's estimates, since counting reads everything."""
    known = await progress(database)
    async with database.connection() as connection:
        version = await connection.fetchval("SHOW server_version")
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
        tables = await connection.fetch(_TABLES)
    return {
        "version": version,
        "bytes": size,
        "migrations": {
            "applied": [step.file_name for step in known.applied],
            "pending": [step.file_name for step in known.pending],
        },
        "tables": [dict(record) for record in tables],
    }
