"""What feeds the engine beside the venues' own reports: quotes, the owner's switch, and the venues' dead man's handles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from kimp.shared.domain.instruments import Instrument, InstrumentId
from kimp.shared.domain.time import SECOND, Nanos
from kimp.shared.logs import get
from kimp.shared.messages.events import Event, FeedBack, FeedLost, MarketMoved, SwitchChanged, SwitchState
from kimp.shared.ports.clock import Clock
from kimp.shared.ports.exchange import Exchange
from kimp.shared.ports.market import MarketDataSource
from kimp.shared.ports.switch import EntrySwitch

RENEWALS = 3
"""A countdown is renewed so often before it would run out: two requests may be lost."""

ENDED = "market stream ended"


class TurnedSwitch(EntrySwitch, Protocol):
    """A switch that also says whether an act was the owner's resume."""

    def events(self) -> AsyncIterator[SwitchChanged]:
        """How it stands now, and every act from now on."""
        ...


class MarketPump:
    """Brings quotes to the engine. When the stream breaks, every feed counts as lost until it quotes again."""

    name = "market"

    def __init__(
        self,
        market: MarketDataSource,
        move: Callable[[MarketMoved | FeedLost | FeedBack], None],
        feeds: Sequence[InstrumentId],
        clock: Clock,
    ) -> None:
        self._market = market
        self._move = move
        self._feeds = tuple(feeds)
        self._clock = clock
        self._lost: set[InstrumentId] = set()

    async def run(self) -> None:
        """Pump until the stream ends; whatever it raises is raised, after its feeds were told to be lost."""
        stream = self._market.stream()
        try:
            async for moved in stream:
                if self._lost:
                    self._bring_back(moved)
                self._move(moved)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._lose(f"{ENDED}: {type(error).__name__}")
            raise
        else:
            self._lose(ENDED)
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    def _lose(self, reason: str) -> None:
        for feed in self._feeds:
            self._lost.add(feed)
            self._move(FeedLost(self._clock.now(), feed, reason))

    def _bring_back(self, moved: MarketMoved | FeedLost | FeedBack) -> None:
        """The new stream does not know what we said of the old one; what it says itself counts."""
        if not isinstance(moved, MarketMoved):
            self._lost.discard(moved.instrument_id)
            return
        for book in moved.books:
            if book.instrument_id in self._lost:
                self._lost.discard(book.instrument_id)
                self._move(FeedBack(moved.at, book.instrument_id))


class SwitchWatch:
    """Tells the engine what the owner does to the switch; a watcher that breaks leaves it at "no entry"."""

    name = "switch"

    def __init__(self, switch: TurnedSwitch, put: Callable[[Event], Awaitable[None]], clock: Clock) -> None:
        self._switch = switch
        self._put = put
        self._clock = clock

    async def first(self) -> None:
        """How the switch stands, and who left it so, before anything may be entered."""
        stands, events = SwitchChanged(self._clock.now(), SwitchState.REDUCING), self._switch.events()
        try:
            stands = await anext(aiter(events))
        except Exception:  # whatever it is, an unreadable switch is one that stops
            get("kimp.order.switch").exception("switch could not be read: nothing is entered")
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()
        await self._put(stands)

    async def run(self) -> None:
        """Watch for ever."""
        events = self._switch.events()
        try:
            async for event in events:
                await self._put(event)
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self._put(SwitchChanged(self._clock.now(), SwitchState.REDUCING))
            raise
        else:
            await self._put(SwitchChanged(self._clock.now(), SwitchState.REDUCING))
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()


class Countdown:
    """Keeps telling a venue that we are here, so that it cancels what rests when we are not."""

    def __init__(self, exchange: Exchange, legs: Sequence[Instrument], countdown: Nanos, clock: Clock) -> None:
        self.name = f"countdown:{exchange.venue.value}"
        self._exchange = exchange
        self._legs = tuple(legs)
        self._countdown = countdown
        self._clock = clock
        self._log = get("kimp.order.countdown")

    async def run(self) -> None:
        """Renew for ever; a renewal nobody answers is followed by the next one, on time."""
        pause = self._countdown // RENEWALS
        while True:
            due = self._clock.now() + pause
            try:
                async with asyncio.timeout(pause / SECOND):
                    await self._exchange.keep_alive(self._legs, self._countdown)
            except TimeoutError:
                self._log.warning("countdown not renewed in time", venue=self._exchange.venue.value)
            await self._clock.sleep_until(due)
