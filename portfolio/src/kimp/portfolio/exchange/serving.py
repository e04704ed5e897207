"""Puts a virtual venue on this machine's own network, where any client of the real venue can reach it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

LOOPBACK = "127.0.0.1"
"""The only address by default: what is served here would take orders from anybody who reaches it."""

SHUTDOWN_S = 2.0  # open sockets are told to close; one that does not listen is not waited for


@dataclass(frozen=True, slots=True)
class Served:
    """Where an application can be reached: base URLs without a trailing slash."""

    host: str
    port: int

    @property
    def http_url(self) -> str:
        """``http://127.0.0.1:41234``."""
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """``ws://127.0.0.1:41234``."""
        return f"ws://{self.host}:{self.port}"


@asynccontextmanager
async def serve(application: web.Application, *, host: str = LOOPBACK, port: int = 0) -> AsyncIterator[Served]:
    """Serve an application for as long as the block runs; port 0 takes any free one.

    Raises:
        OSError: the port is taken.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        yield Served(host, int(bound[1]))
    finally:
        await runner.cleanup()
