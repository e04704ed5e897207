"""Copies of the whole database in one file, and back, with PostgreSQL's own pg_dump and pg_restore.

A restore is one transaction: until the last row is in, the database is as it was. The password goes through the
environment, never through the arguments, which every user of the machine can see.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, unquote, urlsplit

from kimp.shared.errors import ConfigurationError, DataError, KimpError, ValidationFailed
from kimp.shared.settings import SecretStr
from kimp.storage.database.binaries import Installation, installations
from kimp.storage.database.migrate import migrations
from kimp.storage.database.pool import Connection, Database

CHUNK_BYTES = 1 << 20
NEWER_SETTING = b"SET transaction_timeout = 0;\n"
"""What pg_dump 17 and newer write at the top, and older servers do not know."""

_NOT_OURS = re.compile(r" (SCHEMA - public|COMMENT - SCHEMA public|ACL - SCHEMA public|DEFAULT ACL) ")


async def server_major(database: Database) -> int:
    """The major version of the server."""
    async with database.connection() as connection:
        return int(connection.get_server_version().major)


def client_for(major: int) -> Installation:
    """PostgreSQL's programs that can talk to a server of that version: the same version, else a newer one.

    Raises:
        ConfigurationError: there are only older ones.
    """
    able = sorted((found for found in installations() if found.major >= major), key=lambda found: found.major)
    for found in able:
        if (found.directory / "pg_dump").is_file():
            return found
    raise ConfigurationError(f"the server is PostgreSQL {major}; install the client programs of that version or newer")


def environment(url: SecretStr) -> dict[str, str]:
    """The variables that PostgreSQL's programs connect by."""
    parts = urlsplit(url.get_secret_value())
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    wanted = {
        "PGHOST": parts.hostname or query.get("host", ""),
        "PGPORT": str(parts.port or query.get("port", "")),
        "PGUSER": unquote(parts.username or query.get("user", "")),
        "PGPASSWORD": unquote(parts.password or query.get("password", "")),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
        "PGSSLMODE": query.get("sslmode", ""),
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return own | {name: value for name, value in wanted.items() if value}


def backup(url: SecretStr, target: Path, programs: Installation) -> int:
    """Write everything into ``target``; its size in bytes. The file appears whole or not at all.

    Raises:
        ConfigurationError: the target exists already, or its directory cannot be written.
        KimpError: pg_dump failed; says why.
    """
    if target.exists():
        raise ConfigurationError(f"{target} is already there; choose another name")
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)  # it holds what we earn
        # Not to stdout: pg_dump 18 then leaves a second table of contents at the end of the file.
        _run([programs.program("pg_dump"), "--format=custom", "--schema=public", "--no-owner", "-f", unfinished], url)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.rename(target)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written ({error.strerror}); check the disk") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return target.stat().st_size


async def filled_tables(database: Database) -> list[str]:
    """Our tables that hold rows, our own bookkeeping aside."""
    names = [name for name in table_names() if name not in ("partition_rules", "schema_migrations")]
    async with database.connection() as connection:
        return [name for name in names if await _has_rows(connection, name)]


async def _has_rows(connection: Connection, table: str) -> bool:
    if await connection.fetchval("SELECT to_regclass($1)", f"public.{table}") is None:
        return False
    return bool(await connection.fetchval(f"SELECT EXISTS (SELECT FROM public.{table})"))


async def refuse_to_overwrite(database: Database) -> None:
    """Stop a restore that would replace data.

    Raises:
        ValidationFailed: the database holds rows.
    """
    if filled := await filled_tables(database):
        raise ValidationFailed(
            f"the database already holds {', '.join(filled)}; restore into an empty one, or replace it with --force"
        )


def restore(url: SecretStr, source: Path, programs: Installation, server: int) -> None:
    """Replace our tables by those of a backup, in one transaction.

    Raises:
        ConfigurationError: there is no such file.
        DataError: it is no backup, or is cut short; the database is as it was.
    """
    if not source.is_file():
        raise ConfigurationError(f"there is no backup {source}; check the path")
    wanted = _contents(source, programs)
    listing = subprocess.Popen(
        [programs.program("pg_restore"), "--no-owner", "--file=-", "--use-list=/dev/stdin", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    applying = subprocess.Popen(
        [programs.program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=" + os.devnull],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(url),
    )
    with listing, applying:
        assert listing.stdin
        assert listing.stdout
        assert applying.stdin
        listing.stdin.write("".join(wanted).encode())
        listing.stdin.close()
        is_whole = _pump(listing, listing.stdout, applying.stdin, server)
        said = (applying.stderr.read() if applying.stderr else b"").decode(errors="replace")
    if not is_whole or applying.returncode != 0:
        raise DataError(f"{source} was not restored, the database is as it was: {_reason(said) or 'it is cut short'}")


def drop_statements() -> str:
    """Takes away every table and function of ours, and nothing else that may live in the same schema."""
    sql = "\n".join(step.sql for step in migrations())
    tables = [*table_names(), "schema_migrations"]
    functions = re.findall(r"^CREATE FUNCTION (\w+)", sql, re.MULTILINE)
    lines = [f"DROP TABLE IF EXISTS public.{name} CASCADE;" for name in tables]
    lines += [f"DROP FUNCTION IF EXISTS public.{name} CASCADE;" for name in functions]
    return "\n".join(lines) + "\n"


def table_names() -> list[str]:
    """Every table that a migration makes."""
    return re.findall(r"^CREATE TABLE (\w+)", "\n".join(step.sql for step in migrations()), re.MULTILINE)


def _contents(source: Path, programs: Installation) -> Iterable[str]:
    done = subprocess.run(
        [programs.program("pg_restore"), "--list", source], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DataError(f"{source} is no backup of kimp ({_reason(done.stderr)}); name one made by: kimp db backup")
    return [line for line in done.stdout.splitlines(keepends=True) if not _NOT_OURS.search(line)]


def _pump(source: subprocess.Popen[bytes], out: IO[bytes], into: IO[bytes], server: int) -> bool:
    """Feed the backup's SQL to the database; the final COMMIT only if all of it came."""
    quiet = "SET client_min_messages = warning;\n"
    try:
        into.write(f"BEGIN;\n{quiet}{_roles()}\n{drop_statements()}".encode())
        is_first = True
        while chunk := out.read(CHUNK_BYTES):
            into.write(chunk.replace(NEWER_SETTING, b"", 1) if is_first and server < 17 else chunk)
            is_first = False
        is_whole = source.wait() == 0
        if is_whole:
            into.write(b"\nCOMMIT;\n")
        into.close()
    except BrokenPipeError:  # psql met an error and left; it says which
        source.kill()
        return False
    return is_whole


def _roles() -> str:
    """A backup does not hold roles; its grants need them."""
    return migrations()[0].sql


def _run(command: Sequence[Path | str], url: SecretStr) -> None:
    done = subprocess.run(command, env=environment(url), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KimpError(f"the backup failed: {_reason(done.stderr)}")


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "error" in line.lower()]
    return (lines or said.strip().splitlines() or [""])[0]
