import asyncio
import os
import signal
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from kimp.shared.errors import ConfigurationError
from kimp.shared.settings import Data, SecretStr, Settings
from kimp.shared.settings import Database as DatabaseSettings
from kimp.storage.database.address import Address, address_of, connect_options, shown
from kimp.storage.database.backup import environment
from kimp.storage.database.pool import Database, DatabaseAway

Run = Callable[[Coroutine[Any, Any, Any]], Any]
URL = "postgresql://kimp:very-secret@db.example.org:5433/market"


def test_without_any_url_it_is_our_own_in_the_data_directory(tmp_path: Path) -> None:
    address = address_of(Settings(data=Data(directory=tmp_path)), {})
    assert address.is_embedded
    assert address.directory == tmp_path / "database"


def test_the_setting_wins_over_the_usual_variable() -> None:
    both = Settings(database=DatabaseSettings(url=SecretStr(URL)))
    assert address_of(both, {"DATABASE_URL": "postgresql://other/x"}).url == SecretStr(URL)
    assert address_of(Settings(), {"DATABASE_URL": URL}).url == SecretStr(URL)
    assert address_of(Settings(), {"DATABASE_URL": ""}).is_embedded


def test_a_directory_of_ones_own_is_used(tmp_path: Path) -> None:
    settings = Settings(database=DatabaseSettings(directory=str(tmp_path / "pg")))
    assert address_of(settings, {}).directory == tmp_path / "pg"


@pytest.mark.parametrize("url", ["mysql://localhost/x", "just words", "postgresql://host:port/x"])
def test_another_kind_of_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL is no PostgreSQL URL") as caught:
        address_of(Settings(), {"DATABASE_URL": url})
    assert url not in str(caught.value)


def test_people_see_the_place_but_not_the_password() -> None:
    assert shown(SecretStr(URL)) == "postgresql://kimp@db.example.org:5433/market"


def test_behind_a_transaction_pooler_no_statement_is_cached() -> None:
    pooler = "postgresql://postgres.abc:secret-word@aws-0-ap-northeast-2.pooler.supabase.com:6543/postgres"
    assert connect_options(SecretStr(pooler))["statement_cache_size"] == 0
    assert "statement_cache_size" not in connect_options(SecretStr(URL))


def test_tls_is_verified_towards_strangers_and_the_url_may_say_otherwise() -> None:
    context = connect_options(SecretStr(URL))["ssl"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    for near in (URL + "?sslmode=require", "postgresql://u@localhost/x", "postgresql://u@db/x", "postgresql:///x"):
        assert "ssl" not in connect_options(SecretStr(near))


def test_the_programs_get_the_password_by_their_environment_only() -> None:
    found = environment(SecretStr("postgresql://kimp:a%2Fb%40c@/market?host=%2Fvar%2Frun%2Fx&port=5432"))
    wanted = {"PGHOST": "/var/run/x", "PGPORT": "5432", "PGUSER": "kimp", "PGPASSWORD": "a/b@c", "PGDATABASE": "market"}
    assert {name: value for name, value in found.items() if name.startswith("PG")} == wanted


def test_a_server_that_does_not_answer_is_one_sentence_without_the_password(run: Run) -> None:
    away = Address(SecretStr("postgresql://kimp:very-secret@127.0.0.1:1/none"), Path())

    async def scenario() -> None:
        async with Database(away, DatabaseSettings()) as database:
            with pytest.raises(DatabaseAway, match=r"kimp@127\.0\.0\.1:1/none does not answer") as caught:
                async with database.connection():
                    pass
            assert "very-secret" not in str(caught.value)

    run(scenario())


def test_a_wrong_password_is_a_matter_of_configuration(url: str, run: Run) -> None:
    wrong = Address(SecretStr(url.replace("kimp:", "kimp:x", 1)), Path())

    async def scenario() -> None:
        async with Database(wrong, DatabaseSettings()) as database:
            with pytest.raises(ConfigurationError, match="refuses us"):
                async with database.connection():
                    pass

    run(scenario())


def test_a_connection_that_is_cut_is_away_and_the_next_one_works(database: Database, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened:
            with pytest.raises(DatabaseAway):
                async with opened.connection() as connection:
                    await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            async with opened.connection() as connection:
                assert await connection.fetchval("SELECT 1") == 1

    run(scenario())


def test_connections_that_were_idle_while_the_server_died_are_not_lent_again(own_directory: Path, run: Run) -> None:
    database = Database(Address(SecretStr(), own_directory), DatabaseSettings())

    async def hold(opened: Database, everybody: asyncio.Barrier) -> None:
        async with opened.connection() as connection:
            await connection.fetchval("SELECT 1")
            await everybody.wait()

    async def scenario() -> None:
        async with database as opened:
            assert opened.server is not None
            for _ in range(3):
                everybody = asyncio.Barrier(5)
                async with asyncio.TaskGroup() as group:
                    for _ in range(5):
                        group.create_task(hold(opened, everybody))
                pid = opened.server.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await asyncio.to_thread(opened.server.ensure)
                for _ in range(5):
                    async with opened.connection() as connection:
                        assert await connection.fetchval("SELECT 1") == 1

    run(scenario())


def test_trouble_that_is_not_the_databases_keeps_its_name(database: Database, run: Run) -> None:
    async def scenario() -> None:
        async with database as opened:
            with pytest.raises(FileNotFoundError):
                async with opened.connection():
                    Path("no such file").read_text()

    run(scenario())
