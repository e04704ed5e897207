"""A collector to be killed: writes numbered trades, and prints how many are acknowledged."""

import asyncio
import sys
from decimal import Decimal
from pathlib import Path

from kimp.shared.domain.instruments import Side
from kimp.shared.domain.ticks import PublicTrade
from kimp.shared.settings import Database as DatabaseSettings
from kimp.shared.settings import SecretStr
from kimp.storage.database import Database, migrate, writing
from kimp.storage.database.address import Address
from kimp.storage.database.writer import WriterLimits

MARCH_2026 = 1_772_409_600_000_000_000
BATCH = 20


def trade(number: int) -> PublicTrade:
    at = MARCH_2026 + number * 1_000_000
    return PublicTrade("upbit:KRW-BTC", number, Side.BUY, Decimal(140_000_000), Decimal("0.01"), at, at)


async def collect(directory: Path, spool: Path, first: int) -> None:
    settings = DatabaseSettings(directory=str(directory))
    async with Database(Address(SecretStr(), directory), settings) as database:
        await migrate(database)
        async with writing(database, spool, WriterLimits(flush_s=0.001)) as writer:
            number = first
            while True:
                await writer.put([trade(i) for i in range(number, number + BATCH)])
                await writer.flush()
                number += BATCH
                print(number, flush=True)  # noqa: T201


asyncio.run(collect(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
