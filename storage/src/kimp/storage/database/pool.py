"""Connections to the database, and one word for every way in which it can be away.

A killed server shows itself in a dozen exceptions, some of them the driver's own bugs; here they all become
:class:`DatabaseAway`, so that callers decide one thing only: wait, or keep the rows elsewhere until it is back. Our own
server is started again by whoever notices first.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from kimp.shared.errors import ConfigurationError, NotRunning
from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr, Settings
from kimp.storage.database.address import Address, address_of, connect_options, shown
from kimp.storage.database.embedded import EmbeddedServer

Connection = Any
"""An ``asyncpg`` connection; the driver ships no types."""

LOST: tuple[type[BaseException], ...] = (
    OSError,  # refused, reset, no such socket, unreachable; TimeoutError is one too
    asyncpg.PostgresConnectionError,  # ConnectionDoesNotExistError is one
    asyncpg.InternalClientError,  # what asyncpg raises when a killed server's answer is cut short
    asyncpg.CannotConnectNowError,  # starting up, shutting down, recovering
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncio.IncompleteReadError,
)
_WRONG: tuple[type[BaseException], ...] = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
    ssl.SSLCertVerificationError,
)


RELEASE_S_MAX = 2.0
"""Giving back a connection only resets it; one that takes longer is thrown away."""


class DatabaseAway(NotRunning):
    """The database does not answer, or went away in the middle; what was under way may or may not have happened."""


class Database:
    """A pool of connections to one database; use it as an async context manager.

    Entering needs no server to be there if it is somebody else's: collectors must be able to start without one.
    """

    def __init__(self, address: Address, settings: DatabaseSettings) -> None:
        self._address = address
        self._settings = settings
        self._server = EmbeddedServer(address.directory) if address.is_embedded else None
        self._pool: Any = None

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str] | None = None) -> "Database":
        """The database that settings and environment mean."""
        return cls(address_of(settings, os.environ if environ is None else environ), settings.database)

    @property
    def settings(self) -> DatabaseSettings:
        return self._settings

    @property
    def server(self) -> EmbeddedServer | None:
        """Our own server, or ``None`` when somebody else runs the database."""
        return self._server

    @property
    def where(self) -> str:
        """The database's place for people, without a password."""
        return f"kimp's own in {self._server.directory}" if self._server else shown(self._address.url)

    @property
    def url(self) -> SecretStr:
        """How any PostgreSQL program connects. Of our own server only good while it is running."""
        return self._server.url if self._server is not None else self._address.url

    async def __aenter__(self) -> "Database":
        if self._server is not None:
            await asyncio.to_thread(self._server.ensure)
        url = self.url
        self._pool = await asyncpg.create_pool(
            url.get_secret_value(),
            min_size=0,
            max_size=self._settings.pool_max,
            timeout=self._settings.connect_timeout_s,
            command_timeout=self._settings.command_timeout_s,
            **connect_options(url),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await self._pool.close()
        except LOST:  # a timeout is one too
            self._pool.terminate()
        if self._server is not None:
            await asyncio.to_thread(self._server.close)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection for the length of the block.

        Raises:
            DatabaseAway: it cannot be reached, or was lost inside the block.
            ConfigurationError: the server is there, but refuses this user, password or database name.
        """
        connection = await self._acquire()
        try:
            yield connection
        except (*LOST, asyncpg.InterfaceError) as error:
            if isinstance(error, OSError | asyncpg.InterfaceError) and not _is_broken(connection, error):
                raise  # somebody else's: a disk that is full, a bug of ours
            _terminate(connection)  # or the pool would lend it again, in the middle of whatever it was doing
            raise self._away(error) from error
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[Connection]:
        """One connection inside one transaction: all of the block happens, or nothing; see :meth:`connection`."""
        async with self.connection() as connection, connection.transaction(**options):
            yield connection

    async def _acquire(self) -> Connection:
        try:
            return await self._connect()
        except DatabaseAway:
            if self._server is None:
                raise
            await asyncio.to_thread(self._server.ensure)
            return await self._connect()

    async def _connect(self) -> Connection:
        try:
            for _ in range(self._settings.pool_max + 1):  # all that were idle may be broken, a new one is not
                connection = await self._pool.acquire(timeout=self._settings.connect_timeout_s)
                if await self._answers(connection):
                    return connection
            raise DatabaseAway(f"the database {self.where} drops every connection; see: kimp db status")
        except _WRONG as error:
            raise ConfigurationError(f"the database {self.where} refuses us: {error}; check its URL") from error
        except LOST as error:
            raise self._away(error) from error

    async def _answers(self, connection: Connection) -> bool:
        """Whether a connection still works: one that was idle while the server died fails at its first use only."""
        is_fine = False
        try:
            await connection.execute("SELECT 1", timeout=self._settings.connect_timeout_s)
            is_fine = True
        except (*LOST, asyncpg.InterfaceError):
            _terminate(connection)
        finally:
            if not is_fine:  # also when we are cancelled here: nobody else would give it back
                await self._release(connection)
        return is_fine

    async def _release(self, connection: Connection) -> None:
        with suppress(*LOST, asyncpg.InterfaceError):  # the pool throws away by itself what it cannot reset
            await self._pool.release(connection, timeout=RELEASE_S_MAX)

    def _away(self, error: BaseException) -> DatabaseAway:
        return DatabaseAway(f"the database {self.where} does not answer ({type(error).__name__}); see: kimp db status")


def _is_broken(connection: Connection, error: BaseException) -> bool:
    return connection.is_closed() or isinstance(error, TimeoutError)


def _terminate(connection: Connection) -> None:
    with suppress(asyncpg.InterfaceError):  # when it died by itself, the pool has taken it back already
        connection.terminate()
