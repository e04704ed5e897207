"""``kimp db``: the database itself. Light: everything heavy is imported by the command that needs it."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kimp.shared.cli import console, print_json
from kimp.shared.errors import EXIT_NOT_RUNNING
from kimp.storage.cli import load_settings, run

if TYPE_CHECKING:
    from kimp.shared.settings import Settings
    from kimp.storage.database.pool import Database

Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON. 결과를 JSON으로 출력합니다.")]

db = typer.Typer(
    help="데이터베이스를 켜고, 살피고, 백업합니다. Start, look at and back up the database.", no_args_is_help=True
)


@db.command()
def up(
    once: Annotated[
        bool, typer.Option("--once", help="준비만 하고 끝냅니다. Only prepare it, do not keep it running.")
    ] = False,
    as_json: Json = False,
) -> None:
    """데이터베이스를 켜고 테이블을 준비합니다. Start the database, bring its tables up to date, and keep it running."""
    run(_up(load_settings(), once, as_json))


@db.command()
def migrate(as_json: Json = False) -> None:
    """테이블을 최신 버전으로 올립니다. Apply the migrations that are pending."""
    applied = run(_migrate(load_settings()))
    if as_json:
        print_json({"applied": applied})
    else:
        console().print("\n".join(applied) or "이미 최신입니다 (nothing pending)")


@db.command()
def status(as_json: Json = False) -> None:
    """데이터베이스 상태를 봅니다. Show where the database is and what it holds; code 3 when it is not running."""
    facts = run(_status(load_settings()))
    if as_json:
        print_json(facts)
    else:
        _print_status(facts)
    if not facts["running"]:
        raise typer.Exit(EXIT_NOT_RUNNING)


@db.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """psql을 엽니다. Open psql; what follows is passed on to it, such as -c 'SELECT 1'."""
    raise typer.Exit(run(_psql(load_settings(), context.args)))


@db.command()
def backup(
    path: Annotated[Path | None, typer.Argument(help="파일. File to write; by default in the data directory.")] = None,
    as_json: Json = False,
) -> None:
    """전체를 한 파일로 백업합니다. Write everything into one file."""
    facts = run(_backup(load_settings(), path))
    if as_json:
        print_json(facts)
    else:
        console().print(f"{facts['path']}: {facts['bytes']:,} bytes", soft_wrap=True)


@db.command()
def restore(
    path: Annotated[Path, typer.Argument(help="백업 파일. File made by: kimp db backup")],
    force: Annotated[
        bool, typer.Option("--force", help="기존 데이터를 덮어씁니다. Replace the data that are there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """백업을 되돌립니다. Restore a backup into an empty database; all of it or nothing."""
    facts = run(_restore(load_settings(), path, force))
    if as_json:
        print_json(facts)
    else:
        console().print(f"{path}: 복원했습니다 (restored)", soft_wrap=True)


async def _up(settings: "Settings", once: bool, as_json: bool) -> None:
    from kimp.storage.database.migrate import migrate as apply
    from kimp.storage.database.pool import Database

    async with Database.of(settings) as database:
        await apply(database)
        async with database.connection() as connection:
            await connection.fetchval("SELECT ensure_partitions_ahead()")
        facts = await _facts(database)
        if as_json:
            print_json(facts)
        else:
            _print_status(facts)
        if database.server is not None and not once:
            if not as_json:
                console().print("Ctrl-C로 끝냅니다 (running; Ctrl-C ends it)")
            await _until_interrupted()


async def _until_interrupted() -> None:
    import asyncio

    sys.stdout.flush()  # whoever started us in a pipe waits for these lines
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, ended.set)
    await ended.wait()


async def _migrate(settings: "Settings") -> list[str]:
    from kimp.storage.database.migrate import migrate as apply
    from kimp.storage.database.pool import Database

    async with Database.of(settings) as database:
        return [step.file_name for step in await apply(database)]


async def _status(settings: "Settings") -> dict[str, Any]:
    from kimp.storage.database.pool import Database, DatabaseAway

    database = Database.of(settings)
    nothing = {"running": False, "kind": _kind(database), "where": database.where}
    if database.server is not None and database.server.pid is None:
        return nothing
    try:
        async with database:
            return await _facts(database)
    except DatabaseAway:
        return nothing


async def _facts(database: "Database") -> dict[str, Any]:
    from kimp.storage.database.status import facts

    server = database.server
    return {
        "running": True,
        "kind": _kind(database),
        "where": database.where,
        "pid": server.pid if server else None,
        "owner_pid": server.owner_pid if server else None,
        **await facts(database),
    }


def _kind(database: "Database") -> str:
    return "external" if database.server is None else "embedded"


async def _psql(settings: "Settings", arguments: list[str]) -> int:
    import asyncio

    from kimp.storage.database.backup import client_for, environment, server_major
    from kimp.storage.database.pool import Database

    async with Database.of(settings) as database:
        programs = client_for(await server_major(database))
        # Ctrl-C cancels a query inside of psql; it must not end us, who keep the server running for it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
        process = await asyncio.create_subprocess_exec(
            programs.program("psql"), *arguments, env=environment(database.url)
        )
        return await process.wait()


async def _backup(settings: "Settings", path: Path | None) -> dict[str, Any]:
    import asyncio

    from kimp.storage.database import backup as backups
    from kimp.storage.database.pool import Database

    async with Database.of(settings) as database:
        programs = backups.client_for(await backups.server_major(database))
        if path is None:
            async with database.connection() as connection:
                moment = await connection.fetchval(
                    "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD\"T\"HH24MISS\"Z\"')"
                )
            path = settings.data.directory / "backups" / f"kimp-{moment}.dump"
        size = await asyncio.to_thread(backups.backup, database.url, path, programs)
        return {"path": path, "bytes": size}


async def _restore(settings: "Settings", path: Path, force: bool) -> dict[str, Any]:
    import asyncio

    from kimp.storage.database import backup as backups
    from kimp.storage.database.migrate import migrate as apply
    from kimp.storage.database.pool import Database

    async with Database.of(settings) as database:
        if not force:
            await backups.refuse_to_overwrite(database)
        major = await backups.server_major(database)
        await asyncio.to_thread(backups.restore, database.url, path, backups.client_for(major), major)
        applied = [step.file_name for step in await apply(database)]
        return {"path": path, "migrated": applied}


def _print_status(facts: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    state = "실행 중 (running)" if facts["running"] else "꺼져 있음 (not running)"
    out.print(f"{state}: {facts['where']}", soft_wrap=True)
    if not facts["running"]:
        return
    pending = ", ".join(facts["migrations"]["pending"]) or "없음 (none)"
    out.print(f"PostgreSQL {facts['version']}, {facts['bytes']:,} bytes, 대기 중인 마이그레이션 (pending): {pending}")
    table = Table("테이블 (table)", "행 수 추정 (rows, estimate)", "bytes", "파티션 (partitions)")
    for entry in facts["tables"]:
        table.add_row(entry["name"], f"{entry['rows']:,}", f"{entry['bytes']:,}", str(entry["partitions"]))
    out.print(table)
