"""The wiring table: what stands behind each port in each mode, one function per column (docs/architecture.md).

This is the only place that knows of modes. Everything else is handed an exchange, a market and a clock, and cannot tell
paper from live.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from kimp.order.runtime.place import TradePlace
from kimp.shared.domain.instruments import Instrument, Pair, Venue
from kimp.shared.logs import get
from kimp.shared.messages.events import FeedBack, FeedLost, MarketMoved
from kimp.shared.plugins import VENUES, plugin
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.ports.market import MarketDataSource
from kimp.shared.settings import Settings
from kimp.storage.collectors.courier import Courier
from kimp.storage.collectors.rules import binance_rules
from kimp.storage.feeds.merge import LiveMarket
from kimp.storage.feeds.rest import Unanswered
from kimp.storage.feeds.wiring import market_feeds

VIRTUAL = "virtual"
"""The virtual exchange's name among the plug-ins: it lives in a package above this one."""


RULES_S_MAX = 5.0
"""How long paper waits for the venue's rules before it takes the documented ones."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a mode is wired from; the same for all of them."""

    settings: Settings
    pairs: tuple[Pair, ...]
    place: TradePlace
    clock: Clock
    dice: Random


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a mode comes down to: where orders go, and where quotes come from."""

    exchanges: Mapping[Venue, Exchange]
    market: MarketDataSource


class VirtualVenues(Protocol):
    """Both virtual venues, as the plug-in opens them."""

    @property
    def exchanges(self) -> Mapping[Venue, Exchange]:
        """One exchange per venue."""
        ...

    def see(self, moved: MarketMoved) -> None:
        """Show them the market; must happen before the engine sees it, or orders meet older books than it decided on."""
        ...


class OpenVirtualVenues(Protocol):
    """What the plug-in is: opens the virtual venues of some pairs, with their books in the place's directory."""

    def __call__(
        self, settings: Settings, pairs: Sequence[Pair], place: TradePlace, clock: Clock
    ) -> AbstractAsyncContextManager[VirtualVenues]: ...


Wire = Callable[[Surroundings], AbstractAsyncContextManager[Wiring]]


class LiveQuotes:
    """The real venues' public streams. Every ``stream`` connects anew, so that one that broke can simply be begun again."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def stream(self) -> AsyncIterator[MarketMoved | FeedLost | FeedBack]:
        """Events in the order they arrived."""
        around = self._around
        coins = [pair.symbol for pair in around.pairs]
        feeds = market_feeds(around.settings, coins, clock=around.clock, dice=_fork(around))
        async with LiveMarket(feeds) as market:
            stream = market.stream()
            try:
                async for moved in stream:
                    yield moved
            finally:
                await stream.aclose()


class ShownToVenues:
    """The market as the engine gets it, shown to the virtual venues first."""

    def __init__(self, market: MarketDataSource, venues: VirtualVenues) -> None:
        self._market = market
        self._venues = venues

    async def stream(self) -> AsyncIterator[MarketMoved | FeedLost | FeedBack]:
        """Events in the order they arrived."""
        stream = self._market.stream()
        try:
            async for moved in stream:
                if isinstance(moved, MarketMoved):
                    self._venues.see(moved)
                yield moved
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()  # its connections end with ours, not whenever somebody notices


@asynccontextmanager
async def paper(around: Surroundings) -> AsyncIterator[Wiring]:
    """Live quotes, virtual venues in this process: no key is needed and no order leaves the machine."""
    around = await _by_todays_rules(around)
    async with _virtual(around) as venues:
        yield Wiring(venues.exchanges, ShownToVenues(LiveQuotes(around), venues))


@asynccontextmanager
async def testnet(around: Surroundings) -> AsyncIterator[Wiring]:
    """Real requests without real money: Upbit checks each order and a virtual venue fills it; Binance is its demo."""
    from kimp.order.exchanges.binance import BinanceExchange
    from kimp.order.exchanges.rehearsal import UpbitRehearsal

    settings, clock = around.settings, around.clock
    async with _virtual(around) as venues, AsyncExitStack() as stack:
        upbit = UpbitRehearsal(settings.upbit, venues.exchanges[Venue.UPBIT], clock, _fork(around))
        binance = BinanceExchange(settings.binance, _legs(around, Venue.BINANCE), clock, _fork(around))
        exchanges: dict[Venue, Exchange] = {
            Venue.UPBIT: await stack.enter_async_context(upbit),
            Venue.BINANCE: await stack.enter_async_context(binance),
        }
        yield Wiring(exchanges, ShownToVenues(LiveQuotes(around), venues))


@asynccontextmanager
async def live(around: Surroundings) -> AsyncIterator[Wiring]:
    """Real money."""
    from kimp.order.exchanges.binance import BinanceExchange
    from kimp.order.exchanges.upbit import UpbitExchange

    settings, clock = around.settings, around.clock
    async with AsyncExitStack() as stack:
        upbit = UpbitExchange(settings.upbit, _legs(around, Venue.UPBIT), clock, _fork(around))
        binance = BinanceExchange(settings.binance, _legs(around, Venue.BINANCE), clock, _fork(around))
        exchanges: dict[Venue, Exchange] = {
            Venue.UPBIT: await stack.enter_async_context(upbit),
            Venue.BINANCE: await stack.enter_async_context(binance),
        }
        yield Wiring(exchanges, LiveQuotes(around))


async def _by_todays_rules(around: Surroundings) -> Surroundings:
    """The pairs with Binance's public tick, lot and minimum of today, so that paper refuses what live would refuse;
    where the venue does not answer in time, the documented ones stand. Upbit's bands are documented and the same for all.
    """
    contracts = [pair.abroad for pair in around.pairs]
    try:
        async with asyncio.timeout(RULES_S_MAX), Courier(clock=around.clock, dice=_fork(around)) as courier:
            found = await binance_rules(around.settings.binance.public_rest_url, contracts, courier)
    except (Unanswered, TimeoutError) as trouble:
        get("kimp.order.modes").warning("rules of Binance unknown, documented ones stand", reason=str(trouble))
        return around
    ruled = {leg.id: leg for leg in found}
    pairs = tuple(Pair(pair.symbol, pair.korea, ruled.get(pair.abroad.id, pair.abroad)) for pair in around.pairs)
    return replace(around, pairs=pairs)


def _virtual(around: Surroundings) -> AbstractAsyncContextManager[VirtualVenues]:
    open_venues: OpenVirtualVenues = plugin(VENUES, VIRTUAL, "virtual exchange")
    return open_venues(around.settings, around.pairs, around.place, around.clock)


def _legs(around: Surroundings, venue: Venue) -> list[Instrument]:
    return [leg for pair in around.pairs for leg in (pair.korea, pair.abroad) if leg.venue is venue]


def _fork(around: Surroundings) -> Random:
    """Dice of their own, so that one part's throws do not change another's story."""
    return Random(around.dice.getrandbits(64))


MODES: Mapping[str, Wire] = {"paper": paper, "testnet": testnet, "live": live}
"""Every mode of `kimp trade`. Backtests and storms are wired in research, where their driver is."""
