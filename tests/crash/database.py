"""The PostgreSQL the journal is mirrored into: a real one, killed −9 as a whole and started again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from kimp.storage.database.embedded import EmbeddedServer


class CrashDatabase:
    """One embedded server in a directory."""

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedServer(directory)

    @property
    def url(self) -> str:
        """How the trader connects."""
        return self._server.url.get_secret_value()

    def start(self) -> None:
        """Start it, or bring it back from its own log."""
        self._server.ensure()

    def kill(self) -> None:
        """Kill −9 the postmaster; its children notice and end."""
        if (pid := self._server.pid) is not None:
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in good order."""
        self._server.close()

    def copied(self) -> tuple[int, int]:
        """How many fills the copy has, and up to which record it goes."""
        return asyncio.run(self._copied())

    async def _copied(self) -> tuple[int, int]:
        import asyncpg

        connection = await asyncpg.connect(self.url)
        try:
            fills = await connection.fetchval("SELECT count(*) FROM fills")
            sequence = await connection.fetchval("SELECT max(sequence) FROM mirror_progress")
        finally:
            await connection.close()
        return int(fills), int(sequence)
