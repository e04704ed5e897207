"""The whole collector: wires feeds, writer, keeper and supervisor from the settings, and ends cleanly.

It starts with whatever is there. While the database is away rows wait in the spool; while a venue is away its collector
keeps trying; neither holds up the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from kimp.shared.domain.instruments import Pair, default_pair
from kimp.shared.domain.time import HOUR, SECOND
from kimp.shared.errors import TimedOut
from kimp.shared.logs import get
from kimp.shared.pairs import coins_in
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Settings
from kimp.storage.collectors.backfill import BackFill
from kimp.storage.collectors.board import Board, Pulses
from kimp.storage.collectors.courier import Courier
from kimp.storage.collectors.funding import FundingCollector
from kimp.storage.collectors.history import BinanceHistory, histories
from kimp.storage.collectors.keeper import Keeper
from kimp.storage.collectors.markets import BinanceCollector, Collector, Desk, ExchangeRateCollector, UpbitCollector
from kimp.storage.collectors.premium import PremiumCollector
from kimp.storage.collectors.rules import binance_rules
from kimp.storage.collectors.supervisor import Supervisor, Unit
from kimp.storage.database.migrate import migrate
from kimp.storage.database.pool import Database, DatabaseAway
from kimp.storage.database.reader import Reader
from kimp.storage.database.upsert import Upserter
from kimp.storage.database.writer import Writer, writing
from kimp.storage.feeds.binance import BinanceSubscription
from kimp.storage.feeds.exchange_rate.decoder import RateDecoder
from kimp.storage.feeds.exchange_rate.feed import RateFeed
from kimp.storage.feeds.exchange_rate.sources import BANK, CHANNEL, MARKET
from kimp.storage.feeds.exchange_rate.tether import TETHER, TETHER_MARKET
from kimp.storage.feeds.frames import Item
from kimp.storage.feeds.live import Tap
from kimp.storage.feeds.recorder import FrameRecorder
from kimp.storage.feeds.upbit import UpbitSubscription
from kimp.storage.feeds.wiring import binance_feed, upbit_feed

SPOOL_FOLDER = "spool"
ARCHIVE_FOLDER = "archive"
SCHEMA_PAUSE = 2 * SECOND


def coins_of(settings: Settings) -> tuple[str, ...]:
    """The coins to collect.

    Raises:
        ConfigurationError: the list is empty or holds something that is no coin.
    """
    return coins_in(settings.collect.coins, "collect.coins")


def pairs_of(settings: Settings) -> dict[str, Pair]:
    """Both legs of each coin."""
    return {coin: default_pair(coin) for coin in coins_of(settings)}


@dataclass(frozen=True)
class Collecting:
    """A running collector, as seen by ``/health``, metrics and tests."""

    settings: Settings
    clock: Clock
    database: Database
    writer: Writer
    pulses: Pulses
    supervisor: Supervisor
    keeper: Keeper
    premium: PremiumCollector
    courier: Courier


class Schema:
    """Brings the tables up to date as soon as the database is there, and notes what is traded."""

    name = "schema"

    def __init__(self, database: Database, writer: Writer, pairs: Sequence[Pair], clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._pairs = pairs
        self._clock = clock
        self._log = get("kimp.storage.collectors")
        self.ready = asyncio.Event()

    async def attempt(self) -> bool:
        """One try; whether the tables are ready now.

        Raises:
            ConfigurationError: the database refuses us.
            ValidationFailed: it was made by another version of kimp.
        """
        try:
            await migrate(self._database)
            known = {instrument.id for instrument in await Reader(self._database).instruments()}
        except (DatabaseAway, TimedOut) as error:
            self._log.warning("database away, rows wait in the spool", reason=str(error))
            return False
        # published rules for what is new; what a venue itself said before stays
        legs = [leg for pair in self._pairs for leg in (pair.korea, pair.abroad)]
        await self._writer.put([leg for leg in legs if leg.id not in known])
        self.ready.set()
        return True

    async def run(self) -> None:
        """Try until it is done, then rest."""
        while not self.ready.is_set() and not await self.attempt():
            await self._clock.sleep_until(self._clock.now() + SCHEMA_PAUSE)
        await asyncio.Event().wait()


def forgiving(recorder: Tap) -> Tap:
    """Records until the disk refuses: a recording is not worth a collector."""
    is_broken = False

    def tap(item: Item) -> None:
        nonlocal is_broken
        if is_broken:
            return
        try:
            recorder(item)
        except OSError as error:
            is_broken = True
            get("kimp.storage.collectors").error("recording ended, collecting goes on", reason=str(error))

    return tap


def _close(recorder: FrameRecorder) -> None:
    with suppress(OSError):  # the disk that ended the recording
        recorder.close()


def _collectors(
    settings: Settings, pairs: dict[str, Pair], desk: Desk, dice: Random, tap: Tap | None
) -> list[Collector]:
    clock = desk.clock
    korean = tuple(pair.korea.symbol for pair in pairs.values())
    contracts = tuple(pair.abroad.symbol for pair in pairs.values())
    with_tether = tuple(dict.fromkeys((*korean, TETHER_MARKET)))
    upbit = UpbitSubscription(books=with_tether, trades=with_tether, tickers=with_tether)
    binance = BinanceSubscription(depth=contracts, trades=contracts, candles=contracts)
    marks = BinanceSubscription(marks=contracts)
    urls = {CHANNEL + BANK: settings.fx.bank_url, CHANNEL + MARKET: settings.fx.market_url}
    ids = [pair.abroad.id for pair in pairs.values()]
    markets = list(dict.fromkeys((*(pair.korea.id for pair in pairs.values()), TETHER)))

    def own_dice() -> Random:
        return Random(dice.getrandbits(64))

    return [
        UpbitCollector(lambda: upbit_feed(settings.upbit, upbit, clock=clock, dice=own_dice(), tap=tap), desk, markets),
        BinanceCollector(
            lambda: binance_feed(settings.binance, binance, clock=clock, dice=own_dice(), tap=tap), desk, ids
        ),
        FundingCollector(
            lambda: binance_feed(settings.binance, marks, clock=clock, dice=own_dice(), tap=tap), desk, ids
        ),
        ExchangeRateCollector(lambda: RateFeed(RateDecoder(), urls, clock=clock, dice=own_dice(), tap=tap), desk),
    ]


@asynccontextmanager
async def collecting(
    settings: Settings, database: Database, *, clock: Clock, dice: Random, record: Path | None = None
) -> AsyncIterator[Collecting]:
    """A running collector for the length of the block; leaving it stores what was collected.

    Raises:
        ConfigurationError: another collector writes into the same data directory, the database refuses us, or the
            coins make no sense.
        ValidationFailed: the database was made by another version of kimp.
        TimedOut: at the end, rows could neither be written nor spooled.
    """
    pairs = pairs_of(settings)
    data = settings.data.directory.expanduser()
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(writing(database, data / SPOOL_FOLDER))
        recorder = FrameRecorder(record) if record is not None else None
        if recorder is not None:
            stack.callback(_close, recorder)
        courier = await stack.enter_async_context(Courier(clock=clock, dice=Random(dice.getrandbits(64))))
        period = settings.collect.premium_s * SECOND
        desk = Desk(writer, Board(period), Pulses(), clock, settings.collect)
        collectors = _collectors(settings, pairs, desk, dice, recorder and forgiving(recorder))
        premium = PremiumCollector(pairs, desk, settings.guards)
        schema = Schema(database, writer, list(pairs.values()), clock)
        await schema.attempt()  # what waiting cannot mend is said before anything is collected
        keeper = _keeper(settings, pairs, desk, database, writer, courier, schema.ready)
        units: list[Unit] = [schema, *collectors, premium, keeper]
        supervisor = Supervisor(units, clock=clock, dice=dice)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        task = group.create_task(supervisor.run())
        stack.callback(task.cancel)
        yield Collecting(settings, clock, database, writer, desk.pulses, supervisor, keeper, premium, courier)


def _keeper(
    settings: Settings,
    pairs: dict[str, Pair],
    desk: Desk,
    database: Database,
    writer: Writer,
    courier: Courier,
    ready: asyncio.Event,
) -> Keeper:
    backfill = BackFill(Reader(database), Upserter(database).store, histories(settings, courier), desk.clock)
    binance = BinanceHistory(settings.binance.public_rest_url, courier)
    markets = [leg.id for pair in pairs.values() for leg in (pair.korea, pair.abroad)]
    return Keeper(
        backfill,
        database=database,
        writer=writer,
        markets=list(dict.fromkeys((*markets, TETHER))),
        premiums=dict.fromkeys(pairs, settings.collect.premium_s * SECOND),
        funding={pair.abroad.id: binance for pair in pairs.values()},
        clock=desk.clock,
        pulses=desk.pulses,
        reach=settings.collect.backfill_hours * HOUR,
        rules=lambda: binance_rules(
            settings.binance.public_rest_url, [pair.abroad for pair in pairs.values()], courier
        ),
        archive=settings.data.directory.expanduser() / ARCHIVE_FOLDER,
        ready=ready,
    )
