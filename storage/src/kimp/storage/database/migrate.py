"""Brings a database's tables up to this version of kimp: numbered SQL files, each applied once, in order.

What was applied is written down with a checksum, so that a file edited later is noticed instead of silently meaning two
things. Several processes may start at once; one of them does the work and the others wait.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from kimp.shared.errors import ValidationFailed
from kimp.storage.database.pool import Connection, Database

LOCK = 0x6B696D70  # "kimp": the same number in every process, whatever its version
MIGRATION_S_MAX = 600.0

_NAME = re.compile(r"(\d{3})_([a-z0-9_]+)\.sql")
_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step and the SQL that makes it."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def file_name(self) -> str:
        return f"{self.number:03}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class Progress:
    """Which steps a database has behind it, and which it needs."""

    applied: tuple[Migration, ...]
    pending: tuple[Migration, ...]


def migrations(directory: Traversable | None = None) -> tuple[Migration, ...]:
    """The steps this version of kimp knows, in order.

    Raises:
        ValidationFailed: a number is missing or there twice.
    """
    folder = directory or files("kimp.storage.database") / "migrations"
    found = []
    for entry in folder.iterdir():
        if match := _NAME.fullmatch(entry.name):
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
        elif entry.name.endswith(".sql"):
            raise ValidationFailed(f"the migration {entry.name} has no number; call it like 003_add_tables.sql")
    found.sort(key=lambda step: step.number)
    for position, step in enumerate(found, 1):
        if step.number != position:
            raise ValidationFailed(
                f"migration {position:03} is missing or twice (found {step.file_name}); reinstall kimp"
            )
    return tuple(found)


async def migrate(database: Database, steps: tuple[Migration, ...] | None = None) -> tuple[Migration, ...]:
    """Apply what is pending; the steps this call applied.

    Raises:
        ValidationFailed: the database was made by a newer kimp or from other files.
        DatabaseAway: it cannot be reached; nothing is half-applied.
    """
    known = migrations() if steps is None else steps
    done: list[Migration] = []
    for _ in known:
        async with database.transaction() as connection:
            # The lock ends with the transaction: behind a pooler there is no session that could hold one longer.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK, timeout=MIGRATION_S_MAX)
            await connection.execute("SET LOCAL search_path TO public")
            await connection.execute(_LEDGER)
            pending = compare(known, await _applied(connection)).pending
            if not pending:
                break
            await connection.execute(pending[0].sql, timeout=MIGRATION_S_MAX)
            await connection.execute(
                "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
                pending[0].number,
                pending[0].name,
                pending[0].checksum,
            )
        done.append(pending[0])
    return tuple(done)


async def progress(database: Database, steps: tuple[Migration, ...] | None = None) -> Progress:
    """What was applied and what is pending, without changing anything."""
    known = migrations() if steps is None else steps
    async with database.connection() as connection:
        is_there = await connection.fetchval("SELECT to_regclass('public.schema_migrations') IS NOT NULL")
        return compare(known, await _applied(connection) if is_there else [])


def compare(known: tuple[Migration, ...], applied: list[tuple[int, str, str]]) -> Progress:
    """Check what a database says was applied (number, name, checksum) against the files.

    Raises:
        ValidationFailed: they contradict each other; says where.
    """
    for position, (number, name, checksum) in enumerate(applied):
        if position >= len(known):
            raise ValidationFailed(f"the database has migration {number:03}_{name}, unknown to this kimp; update kimp")
        step = known[position]
        if step.number != number:
            raise ValidationFailed(
                f"the database lacks migration {step.number:03}, but has {number:03}; restore it from a backup"
            )
        if step.checksum != checksum:
            raise ValidationFailed(
                f"migration {step.file_name} was changed after it was applied; restore the file, "
                "and put the change into a new one"
            )
    return Progress(known[: len(applied)], known[len(applied) :])


async def _applied(connection: Connection) -> list[tuple[int, str, str]]:
    rows = await connection.fetch("SELECT number, name, checksum FROM public.schema_migrations ORDER BY number")
    return [(row["number"], row["name"], row["checksum"]) for row in rows]
