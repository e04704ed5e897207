"""Where the database is: our own small server, or any PostgreSQL that a URL names.

``KIMP__DATABASE__URL`` wins, then ``DATABASE_URL``; without either, kimp starts its own server in the user's data
directory. A password stands in the URL only, and no error shows it.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kimp.shared.catalogue import is_loopback
from kimp.shared.errors import ConfigurationError
from kimp.shared.settings import SecretStr, Settings

SCHEMES = ("postgresql", "postgres")
TRANSACTION_POOLER_PORT = 6543  # Supabase's and PgBouncer's usual port of transaction pooling

FOLDER = "database"
"""Where below the data directory our own server keeps its files."""


@dataclass(frozen=True, slots=True)
class Address:
    """One database: ``url`` of a server somebody else runs, or ``directory`` of our own."""

    url: SecretStr
    directory: Path

    @property
    def is_embedded(self) -> bool:
        """Whether kimp runs the server itself."""
        return not self.url


def address_of(settings: Settings, environ: Mapping[str, str]) -> Address:
    """The database these settings mean.

    Raises:
        ConfigurationError: the URL is not one of PostgreSQL.
    """
    database = settings.database
    directory = Path(database.directory).expanduser() if database.directory else settings.data.directory / FOLDER
    url = database.url or SecretStr(environ.get("DATABASE_URL", ""))
    if url:
        where = "KIMP__DATABASE__URL" if database.url else "DATABASE_URL"
        try:
            parts = urlsplit(url.get_secret_value())
            is_right = parts.scheme in SCHEMES and (parts.port is None or parts.port > 0)
        except ValueError:
            is_right = False
        if not is_right:
            raise ConfigurationError(f"{where} is no PostgreSQL URL; write postgresql://user:password@host:5432/name")
    return Address(url, directory)


def shown(url: SecretStr) -> str:
    """The URL without its password, for people."""
    parts = urlsplit(url.get_secret_value())
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    socket = parse_qs(parts.query).get("host", [""])[0]
    place = f"{parts.hostname or ''}{port}" or socket
    return f"{parts.scheme}://{user}{place}{parts.path}"


def connect_options(url: SecretStr) -> dict[str, Any]:
    """What asyncpg has to be told besides the URL.

    Behind a pooler that hands every transaction to another session, prepared statements vanish, so none are cached. TLS
    is verified towards every host outside of this machine and its local network unless the URL says otherwise.
    """
    parts = urlsplit(url.get_secret_value())
    host = parts.hostname or ""
    options: dict[str, Any] = {}
    if parts.port == TRANSACTION_POOLER_PORT or ".pooler." in host:
        options["statement_cache_size"] = 0
    is_near = not host or is_loopback(host) or "." not in host
    if not is_near and "sslmode" not in parse_qs(parts.query):
        options["ssl"] = ssl.create_default_context()
    return options
