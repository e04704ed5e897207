from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from kimp.storage.database.backup import table_names
from kimp.storage.database.pool import Database

Run = Callable[[Coroutine[Any, Any, Any]], Any]
OURS_ALONE = {"partition_rules", "spool_progress"}
READABLE = sorted(set(table_names()) - OURS_ALONE)

RATE = "INSERT INTO fx_rates VALUES ('USD', 'bank', now(), 1391.25, now())"


async def as_role(database: Database, role: str, *statements: str) -> Any:
    """The value of the last statement, each run by that role; all is undone."""
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(f"SET LOCAL ROLE {role}")
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await transaction.rollback()


@pytest.mark.parametrize("role", ["anon", "kimp_reader", "service_role"])
def test_every_table_is_open_to_those_it_is_meant_for_and_nobody_else(database: Database, run: Run, role: str) -> None:
    async def scenario() -> None:
        async with database as opened:
            await insert(opened)
            for table in table_names():
                query = f"SELECT count(*) FROM {table}"
                is_own = role == "service_role" and table == "spool_progress"
                if is_own or (role != "anon" and table in READABLE):
                    assert await as_role(opened, role, query) == (1 if table == "fx_rates" else 0)
                else:
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await as_role(opened, role, query)

    async def insert(opened: Database) -> None:
        async with opened.connection() as connection:
            await connection.execute(RATE)

    run(scenario())


def test_only_the_service_writes(database: Database, run: Run) -> None:
    count = "SELECT count(*) FROM fx_rates"

    async def scenario() -> None:
        async with database as opened:
            assert await as_role(opened, "service_role", RATE, count) == 1
            for role in ("anon", "kimp_reader"):
                for statement in (RATE, "UPDATE fx_rates SET value = 1", "DELETE FROM fx_rates", "TRUNCATE fx_rates"):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await as_role(opened, role, statement)

    run(scenario())


def test_the_service_makes_partitions_and_others_do_not(database: Database, run: Run) -> None:
    call = "SELECT ensure_partitions('trades', '2020-01-01+00', '2020-01-01+00')"

    async def scenario() -> None:
        async with database as opened:
            assert await as_role(opened, "service_role", call) == 1
            for role in ("anon", "kimp_reader"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await as_role(opened, role, call)

    run(scenario())


def test_every_table_has_row_level_security(database: Database, run: Run) -> None:
    async def scenario() -> list[str]:
        async with database as opened, opened.connection() as connection:
            found = await connection.fetch(
                "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') "
                "AND relnamespace = 'public'::regnamespace AND NOT relrowsecurity"
            )
            return [record[0] for record in found]

    assert run(scenario()) == []


def test_no_function_is_open_to_everybody(database: Database, run: Run) -> None:
    async def scenario() -> list[str]:
        async with database as opened, opened.connection() as connection:
            found = await connection.fetch(
                "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
                "AND has_function_privilege('anon', oid, 'EXECUTE')"
            )
            return [record[0] for record in found]

    assert run(scenario()) == []


AUDIT = "INSERT INTO audit (id, at, actor, action, detail) VALUES (0, now(), 'owner', 'stop', '{\"why\": \"test\"}')"


def test_the_audit_log_is_a_chain_that_nobody_changes(database: Database, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened, opened.connection() as connection:
            for _ in range(5):
                await connection.execute(AUDIT)
            assert await connection.fetchval("SELECT array_agg(id ORDER BY id) FROM audit") == [1, 2, 3, 4, 5]
            assert await connection.fetchval("SELECT first_broken_audit()") is None
            for statement in ("UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)

    run(scenario())


@pytest.mark.parametrize(
    ("change", "broken"),
    [("UPDATE audit SET actor = 'nobody' WHERE id = 3", 3), ("DELETE FROM audit WHERE id = 2", 3)],
)
def test_a_change_behind_the_triggers_back_breaks_the_chain(
    database: Database, run: Run, change: str, broken: int
) -> None:
    async def scenario() -> None:
        async with database as opened, opened.connection() as connection:
            for _ in range(5):
                await connection.execute(AUDIT)
            await connection.execute("ALTER TABLE audit DISABLE TRIGGER audit_stays")
            await connection.execute(change)
            assert await connection.fetchval("SELECT first_broken_audit()") == broken

    run(scenario())


def test_a_ledger_entry_that_does_not_sum_to_zero_is_refused(database: Database, run: Run) -> None:
    columns = "entry_id, line, kind, at, account, asset, amount"
    line = f"INSERT INTO ledger ({columns}) VALUES ('e', {{}}, 'fill', now(), 'a', '{{}}', {{}})"

    async def book(opened: Database, *lines: str) -> None:
        async with opened.transaction() as connection:
            for statement in lines:
                await connection.execute(statement)

    async def scenario() -> None:
        async with database as opened:
            with pytest.raises(asyncpg.CheckViolationError, match="creates or loses KRW"):
                await book(opened, line.format(1, "KRW", "100.1"), line.format(2, "KRW", "-100"))
            await book(opened, line.format(1, "KRW", "100.1"), line.format(2, "KRW", "-100.1"))

    run(scenario())
