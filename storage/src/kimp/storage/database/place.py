"""Where our own server may live, and as whom: PostgreSQL refuses to run as root, and sockets want short paths."""

import os
import pwd
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir

from kimp.shared.errors import ConfigurationError
from kimp.storage.database.binaries import is_open_to_all

SOCKET_PATH_MAX = 90  # the system's limit is 103 to 107 bytes, of which the file's own name takes 14
AS_ROOT_DIRECTORY = Path("/var/lib/kimp")
SERVER_USER_OF_ROOT = "nobody"


def account() -> pwd.struct_passwd | None:
    """Whom the server runs as when we are root, because PostgreSQL refuses to run as root; else ``None``: ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVER_USER_OF_ROOT)
    except KeyError as error:
        raise ConfigurationError(
            f"PostgreSQL does not run as root, and there is no user {SERVER_USER_OF_ROOT}; run kimp as another user"
        ) from error


def reachable(directory: Path) -> Path:
    """The directory, or one in its stead that the server's user can get to: root's home is closed to it."""
    existing = next(path for path in [directory, *directory.parents] if path.is_dir())
    if is_open_to_all(existing):
        return directory
    return AS_ROOT_DIRECTORY / sha256(str(directory).encode()).hexdigest()[:12]


def socket_directory(directory: Path) -> Path:
    """Beside the data if the path is short enough for a socket, else in the system's temporary directory."""
    beside = directory / "socket"
    if len(str(beside)) <= SOCKET_PATH_MAX:
        return beside
    return Path(gettempdir()) / f"kimp-{sha256(str(directory).encode()).hexdigest()[:12]}"
