"""Servers of a test's own, to be killed; the shared one is in the folder above."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.database.address import Address
from kimp.storage.database.embedded import EmbeddedServer
from kimp.storage.database.pool import Database
from kimp.storage.database.processes import is_postmaster, wait_until

OpenDatabase = Callable[[], Database]


@pytest.fixture
def empty_database(empty_url: str) -> OpenDatabase:
    """Opens the database without tables as often as one likes."""
    return lambda: Database(Address(SecretStr(empty_url), Path()), DatabaseSettings())


@pytest.fixture
def own_directory(new_directory: Callable[[], Path]) -> Iterator[Path]:
    """A directory for a server of the test's own; whatever still runs there afterwards is ended, by its number."""
    directory = new_directory()
    yield directory
    data = EmbeddedServer(directory).data
    pid = EmbeddedServer(directory).pid
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not is_postmaster(pid, data), 10.0)


@pytest.fixture
def own_database(own_directory: Path) -> OpenDatabase:
    """Opens a database on a server of the test's own, which may be killed."""
    settings = DatabaseSettings(directory=str(own_directory))
    return lambda: Database(Address(SecretStr(), own_directory), settings)
