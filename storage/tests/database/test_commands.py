"""The commands as a user runs them, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kimp.storage.database.embedded import EmbeddedServer
from kimp.storage.database.migrate import migrations
from kimp.storage.database.processes import wait_until

SECONDS_MAX = 90
FEW_ROWS = """
INSERT INTO fx_rates (base, source, at, value, valid_until)
SELECT 'USD', 'bank', now() + i * interval '1 second', 1391.000000000000000001 + i, now() FROM generate_series(1, 500) i;
INSERT INTO trades
SELECT 'upbit:KRW-BTC', i, now(), now(), 'buy', 140000000, 0.00000001 * i FROM generate_series(1, 500) i;
INSERT INTO candles VALUES ('upbit:KRW-BTC', 60, now(), 1, 2, 0.5, 1.5, 0.1, 12345678901234567890.12345678, now());
INSERT INTO audit (id, at, actor, action) VALUES (0, now(), 'owner', 'stop'), (0, now(), 'owner', 'resume');
INSERT INTO ledger (entry_id, line, kind, at, account, asset, amount)
VALUES ('e', 1, 'fill', now(), 'a', 'KRW', 5), ('e', 2, 'fill', now(), 'b', 'KRW', -5);
"""
CHECKSUMS = (
    "SELECT (SELECT sum(value) FROM fx_rates), (SELECT sum(quantity) FROM trades), (SELECT sum(turnover) FROM candles), "
    "(SELECT count(*) FROM ledger), first_broken_audit() IS NULL, (SELECT count(*) FROM audit)"
)


class Kimp:
    """Runs ``kimp`` with a database of its own."""

    def __init__(self, home: Path, url: str | None = None) -> None:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("KIMP__", "DATABASE_URL", "PG"))
        }
        place = {"KIMP__DATABASE__URL": url} if url else {"KIMP__DATABASE__DIRECTORY": str(home / "pg")}
        self.environment = kept | place | {"NO_COLOR": "1", "KIMP__DATA__DIRECTORY": str(home / "data")}
        self.command = [sys.executable, "-c", "import sys; from kimp.shared.cli import main; sys.exit(main())", "db"]
        self.home = home

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code in (0, 3) else done.stderr

    def facts(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def kimp(own_directory: Path) -> Kimp:
    return Kimp(own_directory)


@pytest.fixture
def running_kimp(kimp: Kimp) -> Iterator[Kimp]:
    """The same with its server kept running, so that each command need not start it."""
    with EmbeddedServer(kimp.home / "pg"):
        yield kimp


def test_up_runs_until_it_is_told_to_end_and_leaves_no_process(kimp: Kimp) -> None:
    process = subprocess.Popen(
        [*kimp.command, "up", "--json"], env=kimp.environment, stdout=subprocess.PIPE, text=True, cwd=kimp.home
    )
    assert process.stdout is not None
    said = ""
    while not said.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, "it ended by itself"
        said += line
    facts = json.loads(said)
    assert facts["owner_pid"] == process.pid
    assert facts["migrations"]["pending"] == []
    assert kimp.facts("status")["pid"] == facts["pid"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS_MAX) == 0
    process.stdout.close()
    assert wait_until(lambda: not psutil.pid_exists(facts["pid"]), 10.0)


def test_status_of_a_database_that_is_off_is_code_three(kimp: Kimp) -> None:
    assert kimp.facts("status", code=3)["running"] is False
    assert "not running" in kimp("status", code=3)


def test_migrate_says_what_it_applied(kimp: Kimp) -> None:
    assert kimp.facts("migrate") == {"applied": [step.file_name for step in migrations()]}
    assert kimp.facts("migrate") == {"applied": []}


def test_psql_is_the_real_one(kimp: Kimp) -> None:
    assert kimp("psql", "-At", "-c", "SELECT 6 * 7").strip() == "42"
    assert "does not exist" in kimp("psql", "-c", "SELECT * FROM nothing", code=1)


def test_a_backup_restores_every_row_exactly(running_kimp: Kimp) -> None:
    kimp = running_kimp
    kimp("up", "--once")
    kimp("psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", FEW_ROWS)
    before = kimp("psql", "-At", "-c", CHECKSUMS)
    facts = kimp.facts("backup")
    backup = Path(facts["path"])
    assert backup.stat().st_size == facts["bytes"] > 0
    assert backup.stat().st_mode & 0o077 == 0
    assert "already holds" in kimp("restore", str(backup), code=6)
    kimp("psql", "-q", "-c", "DELETE FROM trades WHERE trade_id > 100")
    kimp("restore", str(backup), "--force")
    assert kimp("psql", "-At", "-c", CHECKSUMS) == before

    elsewhere = Kimp(kimp.home)
    elsewhere.environment["KIMP__DATABASE__DIRECTORY"] = str(kimp.home / "another")
    elsewhere("restore", str(backup))
    assert elsewhere("psql", "-At", "-c", CHECKSUMS) == before
    assert elsewhere("psql", "-At", "-c", "SET ROLE kimp_reader; SELECT count(*) FROM trades").split() == ["SET", "500"]


def test_a_backup_cut_short_changes_nothing(running_kimp: Kimp) -> None:
    kimp = running_kimp
    kimp("up", "--once")
    kimp("psql", "-q", "-c", FEW_ROWS)
    before = kimp("psql", "-At", "-c", CHECKSUMS)
    backup = kimp.home / "whole.dump"
    kimp("backup", str(backup))
    content = backup.read_bytes()
    for size in (len(content) - 10, len(content) * 3 // 4, 100):
        (kimp.home / "cut.dump").write_bytes(content[:size])
        assert kimp("restore", str(kimp.home / "cut.dump"), "--force", code=6).count("\n") == 1
        assert kimp("psql", "-At", "-c", CHECKSUMS) == before


def test_a_missing_or_existing_file_is_one_sentence(running_kimp: Kimp) -> None:
    kimp = running_kimp
    assert "there is no backup" in kimp("restore", "nowhere.dump", code=4)
    (kimp.home / "there.dump").write_text("x")
    assert "already there" in kimp("backup", "there.dump", code=4)
    assert "no backup of kimp" in kimp("restore", "there.dump", code=6)


def test_a_server_of_ones_own_is_used_and_never_stopped(url: str, server: EmbeddedServer, own_directory: Path) -> None:
    kimp = Kimp(own_directory, url)
    facts = kimp.facts("up")
    assert (facts["kind"], facts["owner_pid"]) == ("external", None)
    assert "kimp@" in facts["where"]
    password = (server.directory / "password").read_text()
    assert password not in json.dumps(facts)
    assert server.pid is not None


def test_a_server_that_is_not_there_is_code_three(own_directory: Path) -> None:
    kimp = Kimp(own_directory, "postgresql://kimp:very-secret@127.0.0.1:1/none")
    assert kimp.facts("status", code=3)["running"] is False
    process = subprocess.run(
        [*kimp.command, "migrate"],
        env=kimp.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert process.returncode == 3
    assert "does not answer" in process.stderr
    assert "very-secret" not in process.stderr


def test_the_module_of_the_command_is_light() -> None:
    heavy = ("asyncpg", "numpy", "pyarrow", "psutil")
    script = f"import sys, kimp.storage.db_cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
