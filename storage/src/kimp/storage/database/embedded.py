"""A real PostgreSQL without any set-up: initialised on first use, started when needed, stopped by the last to leave.

Whoever comes first starts the server and is its owner; others connect to it. All hold a shared lock, which the operating
system drops even on kill −9, so the last one out knows that it is the last. A server whose owner was killed goes on
and is adopted by the next user; one that was killed itself recovers from its own log when it is started again.

It listens on a Unix socket only, and wants a password even there.
"""

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kimp.shared.errors import ConfigurationError, TimedOut
from kimp.shared.settings import SecretStr
from kimp.storage.database import processes
from kimp.storage.database.binaries import Installation, installation, within_reach
from kimp.storage.database.locks import FileLock
from kimp.storage.database.place import account, reachable, socket_directory
from kimp.storage.database.server_log import explain, words_since

USER = DATABASE = "kimp"
PORT = 5432  # only names the socket: nothing listens on the network
START_S_MAX = 60.0
"""Recovery after a crash replays at most a gigabyte of log; a slow disk needs most of a minute for that."""
INITDB_S_MAX = 60.0
LOG_BYTES_MAX = 10_000_000
ROOM_MB_MIN = 128
"""A new cluster takes forty megabytes and its first log; with less room PostgreSQL dies of things that explain nothing."""

_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "64",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    # Files in the data directory: a container's /dev/shm is tiny, and a killed server would leave its segments there.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",  # our queries are short; compiling them costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
_STILL_DYING = re.compile(r'pre-existing shared memory block|lock file ".*" already exists')


class EmbeddedServer:
    """Our own server in one directory. :meth:`ensure` may be called as often as one likes; :meth:`close` once.

    Args:
        directory: where the cluster lives; made when it is not there. As root it moves to ``/var/lib/kimp`` if the
            server's user could not get into it.
    """

    def __init__(self, directory: Path) -> None:
        self._account = account()
        self.directory = reachable(directory.expanduser().absolute()) if self._account else directory.absolute()
        self.data = self.directory / "data"
        self.log = self.directory / "server.log"
        self._socket = socket_directory(self.directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._users: int | None = None
        self.is_owner = False

    @property
    def url(self) -> SecretStr:
        """How to connect. Only good once :meth:`ensure` has been called."""
        password = quote((self.directory / "password").read_text().strip(), safe="")
        where = quote(str(self._socket), safe="")
        return SecretStr(f"postgresql://{USER}:{password}@/{DATABASE}?host={where}&port={PORT}")

    @property
    def pid(self) -> int | None:
        """The server's process, whoever started it."""
        return processes.postmaster(self.data)

    @property
    def owner_pid(self) -> int | None:
        """The process that started the server; it need not live any more."""
        try:
            return int((self.directory / "owner.pid").read_text())
        except (OSError, ValueError):
            return None

    def ensure(self) -> None:
        """Have the server running and ready: initialise, start, recover or join it.

        Raises:
            ConfigurationError: wrong version, full disk, missing rights.
            TimedOut: it did not get ready in time.
        """
        try:
            self._prepare_directory()
            with FileLock(self.directory / "start.lock"):
                self._prepare_socket()
                self._sign_in()
                if (pid := self.pid) is not None and not processes.wait_until(
                    lambda: self._is_settled(pid), START_S_MAX
                ):
                    raise TimedOut(f"the database in {self.directory} is not ready; its log: {self.log}")
                if self.pid is None:
                    self._start()
        except OSError as error:
            raise ConfigurationError(
                f"the database in {self.directory} cannot be used ({error.strerror}); check the disk and the rights"
            ) from error

    def close(self) -> bool:
        """Sign out, and stop the server when nobody else uses it; whether it was stopped."""
        if self._users is None:
            return False
        with FileLock(self.directory / "start.lock"):
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_last = True
            except BlockingIOError:
                is_last = False
            pid = self.pid
            if is_last and pid is not None:
                processes.stop(pid, self.data)
                (self.directory / "owner.pid").unlink(missing_ok=True)
                with suppress(OSError):  # it may stand in the system's temporary directory: leave nothing there
                    self._socket.rmdir()
            os.close(self._users)
            self._users, self.is_owner = None, False
        if self._process is not None and is_last:
            self._process.wait(processes.HARD_STOP_S_MAX)
        return is_last and pid is not None

    def __enter__(self) -> "EmbeddedServer":
        self.ensure()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare_directory(self) -> None:
        if not self.directory.is_dir():
            missing = [path for path in (self.directory, *self.directory.parents) if not path.exists()]
            self.directory.mkdir(parents=True, mode=0o700)
            for path in missing if self._account else ():
                path.chmod(0o755)  # whatever the umask: the server's user has to get through

    def _prepare_socket(self) -> None:
        owner = self._account.pw_uid if self._account else os.geteuid()
        if not self._socket.is_dir():
            self._socket.mkdir(mode=0o700)
            if self._account:
                os.chown(self._socket, self._account.pw_uid, self._account.pw_gid)
        if self._socket.stat().st_uid != owner:  # in a temporary directory anybody could have made it first
            raise ConfigurationError(f"{self._socket} belongs to another user; remove it or choose another directory")

    def _sign_in(self) -> None:
        if self._users is None:
            self._users = os.open(self.directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)

    def _is_settled(self, pid: int) -> bool:
        return processes.is_ready(self.data, pid) or not processes.is_postmaster(pid, self.data)

    def _start(self) -> None:
        programs = self._programs()
        if not self.data.is_dir():
            self._initialise(programs)
        for lock in (self.data / "postmaster.pid", self._socket / f".s.PGSQL.{PORT}.lock"):
            processes.clear_stale(lock, self.data)
        killed = self._process
        deadline = time.monotonic() + START_S_MAX
        while True:
            if killed is not None:
                killed.poll()  # until its parent has asked, the system still counts it among the living
            trouble = self._launch(programs, deadline)
            if trouble is None:
                break
            if not _STILL_DYING.search(trouble) or time.monotonic() > deadline:
                raise ConfigurationError(f"the database in {self.directory} does not start: {explain(trouble)}")
            time.sleep(processes.POLL_S)  # the killed server's children need a moment to notice
        (self.directory / "owner.pid").write_text(f"{os.getpid()}\n")
        self.is_owner = True

    def _launch(self, programs: Installation, deadline: float) -> str | None:
        """Start once; ``None`` when ready, else what the server said before it ended."""
        options = {**_OPTIONS, "unix_socket_directories": str(self._socket), "port": str(PORT)}
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        if self.log.is_file() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                [programs.program("postgres"), "-D", self.data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                **self._as_server(),
            )
        process = self._process

        def is_settled() -> bool:
            return process.poll() is not None or processes.is_ready(self.data, process.pid)

        if not processes.wait_until(is_settled, max(deadline - time.monotonic(), 1.0)):
            processes.stop(process.pid, self.data)
            raise TimedOut(f"the database in {self.directory} did not get ready within {START_S_MAX:.0f} s: {self.log}")
        return None if process.poll() is None else words_since(self.log, begin)

    def _programs(self) -> Installation:
        version = self.data / "PG_VERSION"
        major = int(version.read_text()) if version.is_file() else None
        found = installation(major)
        return within_reach(found, self.directory) if self._account else found

    def _initialise(self, programs: Installation) -> None:
        """Make the cluster beside its place and move it there whole, so that a crash leaves nothing half-made."""
        unfinished = self.directory / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        room = shutil.disk_usage(self.directory).free // 1_000_000
        if room < ROOM_MB_MIN:
            raise ConfigurationError(
                f"the disk of {self.directory} is full: {room} MB are free, a database needs {ROOM_MB_MIN}; free some space"
            )
        unfinished.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        slip = self.directory / "password.unfinished"
        slip.unlink(missing_ok=True)
        slip.touch(mode=0o600)
        slip.write_text(password)
        if self._account:
            for path in (unfinished, slip):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        ways = ["--auth=scram-sha-256", f"--pwfile={slip}", f"--username={USER}", "--encoding=UTF8", "--no-locale"]
        self._run([programs.program("initdb"), "-D", unfinished, *ways, "--data-checksums", "--no-instructions"])
        create = f"CREATE DATABASE {DATABASE};\n".encode()
        self._run([programs.program("postgres"), "--single", "-D", unfinished, "postgres"], create)
        if self._account:
            os.chown(slip, os.geteuid(), os.getegid())
        slip.rename(self.directory / "password")
        unfinished.rename(self.data)

    def _run(self, command: list[Any], words: bytes = b"") -> None:
        try:
            done = subprocess.run(
                command,
                input=words,
                stdout=subprocess.PIPE,
                timeout=INITDB_S_MAX,
                check=False,
                **self._as_server(),
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"the database in {self.directory} could not be made within {INITDB_S_MAX:.0f} s") from error
        said = done.stdout.decode(errors="replace")
        if done.returncode != 0 or "FATAL" in said or "ERROR" in said:
            raise ConfigurationError(f"no database can be made in {self.directory}: {explain(said)}")

    def _as_server(self) -> dict[str, Any]:
        """How the server's programs are run: away from our terminal's Ctrl-C, our variables and root's rights."""
        options: dict[str, Any] = {
            "stderr": subprocess.STDOUT,
            "cwd": self._socket,
            "start_new_session": True,
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        }
        if self._account:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return options
