"""A market and the two virtual venues on it, served: what `kimp venue serve` runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random

from kimp.order.runtime.clocks import ScaledClock
from kimp.portfolio.exchange.served import ServedVenues, serve_venues
from kimp.portfolio.markets.boards import Boards
from kimp.portfolio.markets.mirrored import MirrorMarket
from kimp.portfolio.markets.replayed import ReplayedBars
from kimp.portfolio.markets.simulated import SimulatedMarket
from kimp.portfolio.markets.tether import TETHER_MARKET, WithTether
from kimp.portfolio.paper import PaperVenues
from kimp.shared.domain.instruments import Pair, Venue
from kimp.shared.errors import ConfigurationError
from kimp.shared.messages.events import MarketMoved
from kimp.shared.pairs import pair_of
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.market import MarketDataSource
from kimp.shared.settings import Settings
from kimp.storage.archive import read_market
from kimp.storage.feeds.clocks import SystemClock

SIMULATED, MIRROR = "simulated", "mirror"


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """What is to be served: the market behind, how fast its clock runs, and the money on the account at the start.

    ``state`` is where the venues keep their books over restarts; ``None`` forgets them.
    """

    settings: Settings
    market: str
    seed: int
    speed: int
    coin: str
    krw: Decimal
    usdt: Decimal
    ports: tuple[int, int, int] = (0, 0, 0)
    state: Path | None = None


@asynccontextmanager
async def serving_market(request: ServedRequest) -> AsyncIterator[ServedVenues]:
    """The venues, live for the length of the block.

    Raises:
        ConfigurationError: an unknown market, a speed that cannot be, or a port or directory that is not to be had.
        DataError: the recorded bars or a diary are damaged.
    """
    real = SystemClock()
    clock: Clock = real if request.speed == 1 else ScaledClock(real, request.speed, real.now())
    pair = pair_of(request.settings, request.coin)
    async with AsyncExitStack() as stack:
        market, boards = await _market(request, pair, clock, stack)
        venues = _venues(request, pair, clock)
        stack.callback(venues.close)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        try:
            served = await stack.enter_async_context(serve_venues(venues, boards, clock, ports=request.ports))
        except OSError as error:
            raise ConfigurationError(f"the port is taken ({error.strerror}); choose another one with --port") from error
        pumping = group.create_task(pump(market, boards, venues))
        try:
            yield served
        finally:
            pumping.cancel()


async def pump(market: MarketDataSource, boards: Boards, venues: PaperVenues) -> None:
    """Show the market to whoever asks and to the venues, for as long as it goes on."""
    async for moved in market.stream():
        if isinstance(moved, MarketMoved):
            boards.note(moved)
            venues.see(moved)


def _venues(request: ServedRequest, pair: Pair, clock: Clock) -> PaperVenues:
    if request.state is not None:
        try:
            request.state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{request.state} cannot be made: {error.strerror}") from error
    legs = list({leg.id: leg for leg in (pair.korea, TETHER_MARKET, pair.abroad)}.values())
    money = {Venue.UPBIT: {"KRW": request.krw}, Venue.BINANCE: {"USDT": request.usdt}}
    return PaperVenues(legs, money, clock, directory=request.state)


async def _market(
    request: ServedRequest, pair: Pair, clock: Clock, stack: AsyncExitStack
) -> tuple[MarketDataSource, Boards]:
    if request.market == MIRROR:
        if request.speed != 1:
            raise ConfigurationError("the real market has one speed; leave --speed out when it is mirrored")
        live = MirrorMarket(request.settings, [request.coin], clock=clock, dice=Random(request.seed))
        await stack.enter_async_context(live)
        return live, Boards()
    if request.market == SIMULATED:
        return WithTether(SimulatedMarket(pair, clock, seed=request.seed)), Boards()
    directory = Path(request.market)
    if not directory.is_dir():
        raise ConfigurationError(
            f'"{request.market}" is neither {SIMULATED}, {MIRROR} nor a directory of recorded bars (docs/DATA_LAYOUT.md)'
        )
    return WithTether(
        ReplayedBars(read_market(directory, start=None, end=None), pair, clock, seed=request.seed)
    ), Boards()
