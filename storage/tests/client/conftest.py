"""A client of a fresh database, and a way to write into it what collectors would."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.client import StorageClient
from kimp.storage.database.address import Address
from kimp.storage.database.pool import Database
from kimp.storage.database.rows import Row
from kimp.storage.database.upsert import Upserter


def opened(url: str) -> Database:
    return Database(Address(SecretStr(url), Path()), DatabaseSettings())


@pytest.fixture(scope="session")
def open_database() -> Callable[[str], Database]:
    return opened


@pytest.fixture
def store(url: str, run: Any) -> Callable[[Sequence[Row]], None]:
    """Writes rows as the collectors do."""

    def write(rows: Sequence[Row]) -> None:
        async def written() -> None:
            async with opened(url) as database:
                await Upserter(database).store(rows)

        run(written())

    return write


@pytest.fixture
def client(database: Database, tmp_path: Path) -> Iterator[StorageClient]:
    """A client of the database, of ``market`` and of ``archive`` in the test's directory."""
    (tmp_path / "market").mkdir()
    with StorageClient(database, market=tmp_path / "market", archive=tmp_path / "archive") as opened_client:
        yield opened_client
