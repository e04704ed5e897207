"""Who gives an order."""

import getpass
import os
import socket


def owner() -> str:
    """Who types, for the journal: user and host, as the system knows them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = f"uid {os.getuid()}"
    return f"cli:{name}@{socket.gethostname()}"
