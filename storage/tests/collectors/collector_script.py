"""The collector under a fast clock, to be killed: prints the trades that are acknowledged, a line for each flush."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from random import Random
from typing import Any

from kimp.shared import logs
from kimp.shared.config import load
from kimp.shared.domain.ticks import PublicTrade
from kimp.storage.collectors.program import collecting
from kimp.storage.database import Database
from kimp.storage.database.rows import Row

FLUSHED_EVERY_S = 0.05


class FastClock:
    def __init__(self, base: int, origin: int, speed: int) -> None:
        self.base, self.origin, self.speed = base, origin, speed

    def now(self) -> int:
        return self.base + (time.monotonic_ns() - self.origin) * self.speed

    async def sleep_until(self, at: int) -> None:
        while (left := at - self.now()) > 0:
            await asyncio.sleep(left / 1_000_000_000 / self.speed)


async def acknowledge(writer: Any, taken: list[tuple[str, int]]) -> None:
    """Tell each trade once it is promised to be kept."""
    while True:
        ids, taken[:] = taken[:], []
        await writer.flush()
        if ids:
            sys.stdout.write(json.dumps(ids) + "\n")
            sys.stdout.flush()
        await asyncio.sleep(FLUSHED_EVERY_S)


async def main() -> None:
    settings = load(environ=os.environ).settings
    logs.configure(settings.log)
    clock = FastClock(*(int(word) for word in sys.argv[1:4]))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with (
        Database.of(settings) as database,
        collecting(settings, database, clock=clock, dice=Random(os.getpid())) as running,
    ):
        taken: list[tuple[str, int]] = []
        put = running.writer.put

        async def noted(rows: Sequence[Row]) -> None:
            await put(rows)
            taken.extend((row.instrument_id, row.trade_id) for row in rows if isinstance(row, PublicTrade))

        running.writer.put = noted
        async with asyncio.TaskGroup() as group:
            task = group.create_task(acknowledge(running.writer, taken))
            await ended.wait()
            task.cancel()


asyncio.run(main())
