import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kimp.shared.errors import ValidationFailed
from kimp.storage.database.migrate import Migration, migrate, migrations, progress
from kimp.storage.database.pool import Database

Run = Callable[[Coroutine[Any, Any, Any]], Any]
OpenDatabase = Callable[[], Database]


def test_the_collector_tables_are_the_third_step() -> None:
    assert [step.file_name for step in migrations()][2] == "003_add_collector_tables.sql"


def test_from_empty_every_step_is_applied_once(empty_database: OpenDatabase, run: Run) -> None:
    async def scenario() -> None:
        async with empty_database() as database:
            assert (await progress(database)).pending == migrations()
            assert await migrate(database) == migrations()
            assert await migrate(database) == ()
            assert (await progress(database)).applied == migrations()

    run(scenario())


def test_processes_that_migrate_at_once_apply_each_step_once(empty_database: OpenDatabase, run: Run) -> None:
    async def one() -> tuple[Migration, ...]:
        async with empty_database() as database:
            return await migrate(database)

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one()) for _ in range(4)]
        applied = sorted((step for task in tasks for step in task.result()), key=lambda step: step.number)
        assert tuple(applied) == migrations()

    run(scenario())


def test_a_step_changed_after_it_was_applied_is_refused(empty_database: OpenDatabase, run: Run) -> None:
    async def scenario() -> None:
        async with empty_database() as database:
            await migrate(database)
            first, *rest = migrations()
            with pytest.raises(ValidationFailed, match=r"001_create_roles\.sql was changed after it was applied"):
                await migrate(database, (replace(first, sql=first.sql + "\n-- later"), *rest))

    run(scenario())


def test_other_line_endings_are_no_change() -> None:
    step = Migration(1, "first", "SELECT 1;\nSELECT 2;\n")
    assert step.checksum == replace(step, sql="SELECT 1;\r\nSELECT 2;\r\n").checksum


def test_a_missing_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "001_first.sql").write_text("SELECT 1;")
    (tmp_path / "003_third.sql").write_text("SELECT 1;")
    with pytest.raises(ValidationFailed, match="migration 002 is missing"):
        migrations(tmp_path)


def test_a_step_without_a_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "first.sql").write_text("SELECT 1;")
    with pytest.raises(ValidationFailed, match=r"first\.sql has no number"):
        migrations(tmp_path)


def test_a_database_of_a_newer_kimp_is_refused(empty_database: OpenDatabase, run: Run) -> None:
    async def scenario() -> None:
        async with empty_database() as database:
            newest = Migration(len(migrations()) + 1, "future", "SELECT 1")
            await migrate(database, (*migrations(), newest))
            with pytest.raises(ValidationFailed, match="update kimp"):
                await migrate(database)

    run(scenario())


def test_a_step_that_fails_leaves_the_database_at_the_step_before(empty_database: OpenDatabase, run: Run) -> None:
    good = Migration(1, "good", "CREATE TABLE good (number integer)")
    bad = Migration(2, "bad", "CREATE TABLE half (number integer); SELECT no_such_function();")

    async def scenario() -> None:
        async with empty_database() as database:
            with pytest.raises(asyncpg.UndefinedFunctionError):
                await migrate(database, (good, bad))
            assert (await progress(database, (good, bad))).pending == (bad,)
            async with database.connection() as connection:
                assert await connection.fetchval("SELECT to_regclass('half')") is None

    run(scenario())


def test_partitions_of_now_and_ahead_are_there_from_the_start(database: Database, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened, opened.connection() as connection:
            for table, ahead in (("candles", 2), ("orderbook_snapshots", 3), ("trades", 3), ("funding_rates", 1)):
                found = await connection.fetch("SELECT * FROM partitions_of($1)", table)
                assert len(found) == ahead + 1
                assert await connection.fetchval("SELECT now() >= $1 AND now() < $2", found[0][1], found[0][2])

    run(scenario())


def test_partitions_join_without_gap_or_overlap(database: Database, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened, opened.connection() as connection:
            span = "'2023-12-30 23:59+00', '2024-03-01 00:00+00'"
            assert await connection.fetchval(f"SELECT ensure_partitions('candles', {span})") == 4
            assert await connection.fetchval(f"SELECT ensure_partitions('candles', {span})") == 0
            assert await connection.fetchval(f"SELECT ensure_partitions('trades', {span})") == 63
            found = await connection.fetch("SELECT * FROM partitions_of('trades') WHERE to_at <= '2024-03-02 00:00+00'")
            assert all(left["to_at"] == right["from_at"] for left, right in pairwise(found))

    run(scenario())


def test_the_time_columns_have_a_brin_index(database: Database, run: Run) -> None:
    async def scenario() -> int:
        async with database as opened, opened.connection() as connection:
            return int(
                await connection.fetchval("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%ON ONLY%brin%'")
            )

    assert run(scenario()) == 6
