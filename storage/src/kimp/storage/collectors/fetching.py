"""The work behind ``kimp data fetch`` and ``kimp data import``, with its progress shown on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from kimp.shared.cli import error_console
from kimp.shared.domain.time import MINUTE
from kimp.shared.errors import ConfigurationError
from kimp.shared.settings import Settings
from kimp.storage.archive import import_csv
from kimp.storage.collectors.backfill import BackFill
from kimp.storage.collectors.courier import Courier
from kimp.storage.collectors.files import importable, load
from kimp.storage.collectors.history import BinanceHistory, histories
from kimp.storage.collectors.keeper import SETTLED
from kimp.storage.collectors.program import coins_of
from kimp.storage.database.migrate import migrate
from kimp.storage.database.pool import Database
from kimp.storage.database.reader import Reader
from kimp.storage.database.upsert import Upserter
from kimp.storage.feeds.clocks import SystemClock
from kimp.storage.feeds.exchange_rate.tether import TETHER
from kimp.storage.feeds.rest import Unanswered
from kimp.storage.options import moment_of

MARKET_FOLDER = "market"
Advance = Callable[[int, int], None]


@contextmanager
def progress_of(label: str) -> Iterator[Advance]:
    """A bar with rate and remaining time, on a terminal only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = error_console()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


async def fetch(settings: Settings, begin: str | None, end: str, coin: str | None) -> dict[str, Any]:
    """Back-fill bars and funding of a range; what is there already is not asked for.

    Raises:
        ConfigurationError: the range is crossed.
        DatabaseAway: the database does not answer.
    """
    clock = SystemClock()
    now = clock.now()
    start, stop = moment_of(begin, "--from", now), moment_of(end, "--to", now)
    assert start is not None
    assert stop is not None
    start, stop = start // MINUTE * MINUTE, min(stop, now - SETTLED) // MINUTE * MINUTE
    if start >= stop:
        raise ConfigurationError("the range to fetch ends before it begins; choose an earlier --from")
    coins = coins_of(settings) if coin is None else (coin.upper(),)
    markets = [market for each in coins for market in (f"upbit:KRW-{each}", f"binance:{each}USDT")]
    dice = Random(now)
    async with Database.of(settings) as database, Courier(clock=clock, dice=dice) as courier:
        await migrate(database)
        store = Upserter(database).store
        backfill = BackFill(Reader(database), store, histories(settings, courier), clock)
        filled = []
        for market in dict.fromkeys((*markets, TETHER)):
            with progress_of(market) as advance:
                filled.append(await backfill.candles(market, start, stop, progress=advance))
        funding, trouble = 0, None
        history = BinanceHistory(settings.binance.public_rest_url, courier)
        try:
            for each in coins:
                funding += await store(await history.funding(f"binance:{each}USDT", start, stop))
        except Unanswered as error:
            trouble = error.reason
        added = sum(part.added for part in filled)
        return {"series": filled, "added": added, "funding": funding, "trouble": trouble, "requests": courier.requests}


async def import_files(settings: Settings, path: Path, name: str | None, replace: bool) -> dict[str, Any]:
    """Load a file or a directory; with a ``name``, a CSV becomes a file of the layout in the data directory first.

    Raises:
        ConfigurationError: nothing to import, or a name outside of the layout.
        DataError: a row cannot be true; says which. Files before it are loaded.
    """
    if name is not None:
        target = settings.data.directory.expanduser() / MARKET_FOLDER / name
        import_csv(path, target, replace=replace)
        path = target
    found = importable(path)
    clock = SystemClock()
    async with Database.of(settings) as database:
        await migrate(database)
        store, reader = Upserter(database).store, Reader(database)
        done = []
        for file in found:
            with progress_of(file.name) as advance:
                done.append(await load(file, reader, store, clock.now(), advance))
    return {"files": done, "added": sum(part.added for part in done)}
