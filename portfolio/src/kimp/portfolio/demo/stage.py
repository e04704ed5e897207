"""Sets the demo up: a clock, a market, both venues on loopback, a database, and settings that lead a trader to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from random import Random

from kimp.order.engine.engine import TradingEngine
from kimp.order.modes import MODES
from kimp.order.runtime.place import TradePlace, trade_place
from kimp.order.runtime.rhythm import Rhythm
from kimp.order.trading import TradeRequest
from kimp.portfolio.demo.pace import PatientClock
from kimp.portfolio.demo.scenario import (
    BOOKS_EVERY,
    DATA_BEGINS,
    MONEY,
    SETTINGS,
    ImpatientHand,
    Mishaps,
    Scenario,
)
from kimp.portfolio.exchange.served import ServedVenues, serve_venues
from kimp.portfolio.markets.boards import Boards
from kimp.portfolio.markets.simulated import SimulatedMarket
from kimp.portfolio.markets.tether import TETHER_MARKET, WithTether
from kimp.portfolio.paper import PaperVenues
from kimp.portfolio.serving_market import pump
from kimp.research.simulation.margin import MarginRules
from kimp.shared import logs
from kimp.shared.config import load
from kimp.shared.domain.instruments import Pair
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.errors import ConfigurationError
from kimp.shared.messages.notices import Notice
from kimp.shared.pairs import pair_of
from kimp.shared.plugins import strategy_of
from kimp.shared.ports.clock import Clock
from kimp.shared.settings import Settings
from kimp.storage.database.pool import Database
from kimp.storage.feeds.clocks import SystemClock

MODE = "paper"
"""No money of anybody's: so the files lie where `kimp why`, `pnl` and `replay` look for them unless told otherwise."""

MARKER = "demo.json"
"""Its presence says that a directory is a demo's, and may be cleared for the next one."""

DATABASE = "database"
"""The embedded database stays from one demo to the next: making it takes two seconds."""

HEAVY = ("kimp.order.exchanges.binance_transport", "ccxt.async_support.upbit")
"""Takes seconds to import, which would be minutes of the market."""

NOTICES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Told:
    """A notice and when it was given."""

    at: Nanos
    notice: Notice


class Notebook:
    """The owner's channel of this demo: notices are kept, to be told on the screen."""

    def __init__(self) -> None:
        self.notices: list[Told] = []

    def send(self, notice: Notice, at: Nanos) -> None:
        """Keep it."""
        if len(self.notices) < NOTICES_MAX:
            self.notices.append(Told(at, notice))


@dataclass(slots=True)
class Stage:
    """Everything a showing needs; ``engine`` is that of the trader now running, or of the last one."""

    scenario: Scenario
    directory: Path
    settings: Settings
    pair: Pair
    clock: Clock
    venues: PaperVenues
    mishaps: Mishaps
    database: Database
    notebook: Notebook = field(default_factory=Notebook)
    engine: TradingEngine | None = None

    @property
    def place(self) -> TradePlace:
        """Where the trader keeps its files."""
        return trade_place(self.settings, MODE)

    @property
    def capital(self) -> Mapping[str, Decimal]:
        """What lay on the venues at the start, per asset."""
        return {asset: amount for money in MONEY.values() for asset, amount in money.items()}

    def request(self) -> TradeRequest:
        """A trader as `kimp trade` makes it, with the wiring of live trading."""
        real_second = SECOND * self.scenario.speed
        return TradeRequest(
            MODE,
            self.settings,
            self.clock,
            Random(self.scenario.seed),
            warms_up=False,
            wire=MODES["live"],
            notifier=self.notebook,
            rhythm=Rhythm(switch=real_second, mailbox=real_second, pulse=real_second),
            strategy=lambda settings: ImpatientHand(strategy_of(settings)),
        )


@asynccontextmanager
async def staged(scenario: Scenario, directory: Path) -> AsyncIterator[Stage]:
    """Venues, market and database, live for the length of the block; whatever ends it, nothing stays behind running.

    Raises:
        ConfigurationError: the directory is not ours or cannot be written to; the database cannot be started.
    """
    _clear(directory)
    for module in HEAVY:
        await asyncio.to_thread(import_module, module)
    found = _settings({}, {}, directory)
    async with AsyncExitStack() as stack:
        # Held open over all of it, so that the database is not stopped and started between two traders.
        database = await stack.enter_async_context(Database.of(found, {}))
        clock = await stack.enter_async_context(_clock(scenario))
        pair, mishaps = pair_of(found, "BTC"), Mishaps(SystemClock())
        served, venues = await stack.enter_async_context(_venues(scenario, pair, clock, mishaps))
        # By its address, so that no variable of the owner's leads the copy to a database of his.
        address = {"KIMP__DATABASE__URL": database.url.get_secret_value()}
        settings = _settings(served.environment | address, served.settings, directory)
        yield Stage(scenario, directory, settings, pair, clock, venues, mishaps, database)


@asynccontextmanager
async def _clock(scenario: Scenario) -> AsyncIterator[PatientClock]:
    clock = PatientClock(SystemClock(), scenario.speed, scenario.start)
    async with asyncio.TaskGroup() as group:
        turning = group.create_task(clock.run())
        try:
            yield clock
        finally:
            turning.cancel()


@asynccontextmanager
async def _venues(
    scenario: Scenario, pair: Pair, clock: Clock, mishaps: Mishaps
) -> AsyncIterator[tuple[ServedVenues, PaperVenues]]:
    simulated = SimulatedMarket(
        pair, clock, seed=scenario.seed, begins=DATA_BEGINS, start=scenario.start, every=BOOKS_EVERY
    )
    boards, legs = Boards(), [pair.korea, TETHER_MARKET, pair.abroad]
    venues = PaperVenues(legs, MONEY, clock, margin=MarginRules(leverage=Decimal(1)))
    async with AsyncExitStack() as stack:
        stack.callback(venues.close)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        served = await stack.enter_async_context(serve_venues(venues, boards, clock, faults=mishaps.faults))
        pumping = group.create_task(pump(WithTether(simulated), boards, venues))
        try:
            yield served, venues
        finally:
            pumping.cancel()


def _settings(environment: Mapping[str, str], urls: Mapping[str, str], directory: Path) -> Settings:
    """The demo's own settings: neither the owner's files nor his environment have a say, and no key of his is read."""
    own = SETTINGS | {"data.directory": str(directory), "database.directory": str(directory / DATABASE)}
    chosen = [f"{key}={value}" for key, value in (own | dict(urls)).items()]
    return load(None, environ={**environment, "KIMP_CONFIG": str(directory)}, overrides=chosen).settings


def _clear(directory: Path) -> None:
    """Make the directory, or clear what an earlier demo left in it; nobody else's files are touched.

    Raises:
        ConfigurationError: it holds something else, or cannot be written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        marker = directory / MARKER
        if not marker.exists() and any(directory.iterdir()):
            raise ConfigurationError(f"{directory} holds something that is no demo's; choose another place with --out")
        marker.touch()
        (directory / "base.toml").touch()
        for path in sorted((directory / "trade").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"the demo cannot be written to {directory}: {error.strerror}; choose another place with --out"
        ) from error


@asynccontextmanager
async def quietly(directory: Path) -> AsyncIterator[Path]:
    """Everything that is logged goes to a file in the directory, because it would write across the picture."""
    from kimp.shared.settings import Log

    path = directory / "demo.log"
    with path.open("w", encoding="utf-8") as file:
        logs.configure(Log(level="info", format="json"), stream=file)
        try:
            yield path
        finally:
            logs.configure(Log(level="warning"))
